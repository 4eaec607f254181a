"""A GTF from a server, to a temporary folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from bulkrnabert.data.sources.transfer import (
    RemoteFile,
    TransferPolicy,
    fetch_all,
    folder_lock,
    is_loopback,
    open_session,
)
from bulkrnabert.errors import ConfigError

SAFE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$")


def is_url(text: str) -> bool:
    """Whether a text is an address and no path."""
    return re.match(r"^[a-z][a-z0-9+.-]*://", text) is not None


@contextmanager
def fetched(url: str, beside: Path, policy: TransferPolicy | None = None) -> Iterator[Path]:
    """Fetch a file for as long as the block lasts.

    Args:
        url: `http` or `https`.
        beside: The file lies in a temporary folder beside this path.
        policy: How patient to be; the default of transfers when left out.
    Raises:
        ConfigError: no such address.
        TransferError: the file cannot be had.
    """
    parts = urlsplit(url)
    name = Path(parts.path).name
    if parts.scheme not in ("http", "https") or not SAFE_NAME.match(name):
        raise ConfigError(
            f"{url}: expected an http(s) address that ends in a file name; GENCODE has its files there too"
        )
    beside.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{beside.name}.", dir=beside.parent) as aside, folder_lock(Path(aside)):
        folder = Path(aside)
        session = open_session(1, use_environment=not is_loopback(url))
        with session:
            file = RemoteFile(name, url, folder / name)
            fetch_all(session, [file], policy or TransferPolicy(n_workers=1), folder=folder)
        yield file.target
