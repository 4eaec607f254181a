"""The user's settings for the Python package index, in the words of pip, uv and requests alike."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from pathlib import Path

_ALWAYS = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "UV_NO_PROGRESS": "1",
    "UV_PYTHON_DOWNLOADS": "never",
}
_UNWANTED = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_USER",
    "PIP_REQUIRE_VIRTUALENV",
    "VIRTUAL_ENV",
)


def parse_pip_config(listing: str) -> dict[str, str]:
    """Settings out of `pip config list`, later lines winning.

    Args:
        listing: Lines as `global.index-url='https://…'`.
    Returns:
        Value by option name without its section, as `index-url`; options of other commands than install are left out.
    """
    settings: dict[str, str] = {}
    for line in listing.splitlines():
        name, equals, value = line.partition("=")
        section, _, option = name.strip().partition(".")
        if not equals or section not in {"global", "install", ":env:"}:
            continue
        try:
            settings[option] = str(ast.literal_eval(value.strip()))
        except (ValueError, SyntaxError):
            continue
    return settings


def installer_environment(environ: Mapping[str, str], pip_config: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment for pip, uv and requests in which a setting made for one holds for all.

    What the user set for a program itself is never changed; only gaps are filled.

    Args:
        environ: The user's environment. Not modified.
        pip_config: Settings of pip's configuration files, by option name.
    """
    config = dict(pip_config or {})
    env = {name: value for name, value in environ.items() if name not in _UNWANTED}

    def fill(name: str, *values: str | None) -> None:
        value = next((value for value in values if value), None)
        if value and not env.get(name):
            env[name] = value

    fill("HTTPS_PROXY", env.get("https_proxy"), env.get("ALL_PROXY"), env.get("PIP_PROXY"), config.get("proxy"))
    certificates = (env.get("PIP_CERT"), config.get("cert"), env.get("SSL_CERT_FILE"), env.get("REQUESTS_CA_BUNDLE"))
    for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        fill(name, *certificates)
    index = (env.get("UV_DEFAULT_INDEX"), env.get("UV_INDEX_URL"), env.get("PIP_INDEX_URL"), config.get("index-url"))
    fill("PIP_INDEX_URL", *index)
    if not env.get("UV_INDEX_URL"):
        fill("UV_DEFAULT_INDEX", *index)
    if not env.get("UV_INDEX"):
        fill("UV_EXTRA_INDEX_URL", env.get("PIP_EXTRA_INDEX_URL"), _words(config.get("extra-index-url")))
    fill("UV_FIND_LINKS", _find_links(env.get("PIP_FIND_LINKS") or config.get("find-links") or ""))
    fill("UV_INSECURE_HOST", env.get("PIP_TRUSTED_HOST"), _words(config.get("trusted-host")))
    fill("UV_HTTP_TIMEOUT", env.get("PIP_DEFAULT_TIMEOUT"), config.get("timeout"), "60")
    if (env.get("PIP_NO_INDEX") or config.get("no-index") or "0").lower() in {"1", "true", "yes", "on"}:
        fill("UV_NO_INDEX", "1")
    return env | _ALWAYS


def _words(value: str | None) -> str | None:
    return " ".join(value.split()) if value else None


def _find_links(value: str) -> str:
    """uv takes commas where pip takes blanks, and stops at a folder that is not there where pip goes on."""
    places = [place for place in value.split() if "://" in place or os.access(Path(place).expanduser(), os.R_OK)]
    return ",".join(places)
