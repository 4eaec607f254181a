"""The records of a run: one JSON object a line, written as it goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

Value = str | int | float | bool | None


class RecordWriter:
    """Appends records to a file, after cutting it to the length that it had at the checkpoint.

    Args:
        path: `records.jsonl`.
        n_bytes: What to keep of an older file; 0 starts anew.
    """

    def __init__(self, path: Path, n_bytes: int) -> None:
        self._file = path.open("ab")
        self._file.truncate(n_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, record: Mapping[str, Value]) -> None:
        """Append one record; a value that is not finite is refused."""
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def n_bytes(self) -> int:
        """Length of the file so far."""
        return self._file.tell()


class NoRecords:
    """Takes the records of the processes above rank 0, and keeps none."""

    def write(self, record: Mapping[str, Value]) -> None:
        """Do nothing."""

    def n_bytes(self) -> int:
        """Nothing was written."""
        return 0
