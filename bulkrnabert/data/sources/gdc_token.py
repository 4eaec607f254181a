"""The token for controlled files: read with care, shown nowhere."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from pydantic import SecretStr

from bulkrnabert.errors import ConfigError

TOKEN_HEADER = "X-Auth-Token"  # noqa: S105 - a header's name
_TOKEN = re.compile(r"[!-~]{1,10000}")


def read_token(path: Path) -> SecretStr:
    """Read the token that the portal gave to its user.

    Raises:
        ConfigError: others may read the file, or it holds no token; the message shows nothing of its content.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(f"--token-file {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--token-file {path}: holds no token, which is one line of ASCII") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"--token-file {path}: others than its owner may use it (mode {stat.S_IMODE(mode):o}); run `chmod 600"
            f" {path}`"
        )
    if not _TOKEN.fullmatch(text):
        raise ConfigError(f"--token-file {path}: holds no token, which is one word on one line")
    return SecretStr(text)
