"""An append-only log of what left a results folder; each line holds the hash of the one before."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bulkrnabert.errors import DataError

FIRST = "0" * 64


def append_audit(path: Path, event: str, facts: Mapping[str, Any]) -> None:
    """Add one line: time, user, event, facts, and the hash of the line before.

    Args:
        path: The log; made where it is missing.
        event: What happened, as `export` or `export refused`.
        facts: JSON values.
    Raises:
        DataError: the log was changed, or cannot be written.
    """
    previous = check_audit(path)
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "user": _user(),
        "event": event,
        **facts,
        "previous_sha256": previous,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        raise DataError(f"{path}: the audit log cannot be written: {error.strerror}; nothing was exported") from error


def check_audit(path: Path) -> str:
    """Hash of the last line (zeros where there is no log), after looking at every line.

    Raises:
        DataError: a line was changed, added or taken out in between (names it).
    """
    if not path.exists():
        return FIRST
    previous = FIRST
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found = json.loads(text).get("previous_sha256")
        except (ValueError, AttributeError) as error:
            raise DataError(f"{path} line {number}: is no line of an audit log: {error}") from error
        if found != previous:
            raise DataError(f"{path} line {number}: does not follow from the line before; the log was changed")
        previous = hashlib.sha256(text.encode()).hexdigest()
    return previous


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        return f"uid {os.getuid()}"
