"""An append-only log of what left a results folder; each line holds the hash of the one before."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import getpass
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from bulkrnabert.errors import DataError
from bulkrnabert.provenance import NO_LOCKS

logger = logging.getLogger(__name__)

FIRST = "0" * 64
_CURE = "keep it for whoever looks into that, and give another file with --audit"


def append_audit(path: Path, event: str, facts: Mapping[str, Any]) -> str:
    """Add one line: time, user, event, facts, and the hash of the line before. One process at a time.

    Args:
        path: The log; made where it is missing.
        event: What happened, as `export` or `export refused`.
        facts: JSON values.
    Returns:
        Hash of the new line. Kept elsewhere it shows later that the log was cut short, which the log alone does not.
    Raises:
        DataError: the log was changed, or cannot be read or written.
    """
    try:
        with _locked(path) as handle:
            line = {
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "user": _user(),
                "event": event,
                **facts,
                "previous_sha256": _last_hash(path, handle.readall()),
            }
            text = json.dumps(line).encode()
            _append(handle, text + b"\n")
    except OSError as error:
        raise DataError(
            f"{path}: the audit log cannot be written: {error.strerror}; nothing was exported. Make room or mend its"
            " permissions, or give another file with --audit"
        ) from error
    return hashlib.sha256(text).hexdigest()


def check_audit(path: Path) -> str:
    """Hash of the last line (zeros where there is no log), after looking at every line.

    A line at the end that is missing, or a last line that was changed, is not seen: nothing comes after it.

    Raises:
        DataError: a line was changed, added or taken out in between (names it), or the log cannot be read.
    """
    if not path.exists():
        return FIRST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the audit log cannot be read: {error.strerror}; mend its permissions") from error
    return _last_hash(path, content)


def _last_hash(path: Path, content: bytes) -> str:
    *lines, rest = content.split(b"\n")
    if rest:
        raise DataError(f"{path} line {len(lines) + 1}: is cut off; {_CURE}")
    previous = FIRST
    for number, text in enumerate(lines, start=1):
        try:
            found = json.loads(text).get("previous_sha256")
        except (ValueError, AttributeError) as error:
            raise DataError(f"{path} line {number}: is no line of an audit log: {error}; {_CURE}") from error
        if found != previous:
            raise DataError(f"{path} line {number}: does not follow from the line before; the log was changed: {_CURE}")
        previous = hashlib.sha256(text).hexdigest()
    return previous


@contextmanager
def _locked(path: Path) -> Iterator[FileIO]:
    """The log, open for reading and appending, with other processes kept out until the block ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            logger.warning("%s: this file system has no locks; run only one export at a time", path)
        handle.seek(0)
        yield handle


def _append(handle: FileIO, line: bytes) -> None:
    """Write a line whole, or leave the log as it was."""
    size = os.fstat(handle.fileno()).st_size
    try:
        if handle.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(handle.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(handle.fileno(), size)
        raise


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        return f"uid {os.getuid()}"
