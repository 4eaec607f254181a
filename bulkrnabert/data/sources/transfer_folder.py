"""The folder that a transfer fills: its lock, what was verified in it, and room on its disk."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.keys import CASES_JSON, FAILED_TSV, MANIFEST_TSV, PLAN_JSON, REJECTED_TSV
from bulkrnabert.provenance import NO_LOCKS

logger = logging.getLogger(__name__)

RECORDS_FOLDER = ".transfer"
LOCK_FILE = "lock"
VERIFIED_FILE = "verified"
LISTS = (PLAN_JSON, CASES_JSON, REJECTED_TSV, FAILED_TSV, MANIFEST_TSV)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def folder_lock(folder: Path, *, use_wait: bool = False) -> Iterator[None]:
    """Keep other downloads out of a folder while the block runs; makes the folder when absent.

    The lock goes with the process, however that ends. Lists that a killed one left half written are removed.

    Args:
        folder: Folder to fill.
        use_wait: Wait for another download to end, instead of stopping.
    Raises:
        ConfigError: another download is at work there (says which process).
        DataError: the folder cannot be written.
    """
    path = folder / RECORDS_FOLDER / LOCK_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror}; choose another --out") from error
    with handle:
        is_alone = _lock(folder, handle, use_wait)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        holder = f"process {os.getpid()} on {socket.gethostname()}, since {now}\n"
        try:
            os.ftruncate(handle.fileno(), 0)
            os.write(handle.fileno(), holder.encode())
        except OSError as error:
            raise DataError(f"{folder}: cannot be written: {error.strerror}; choose another --out") from error
        if is_alone:
            _remove_unfinished_lists(folder)
        yield


def _lock(folder: Path, handle: IO[str], use_wait: bool) -> bool:
    """Whether nobody else is at work here now; False where that cannot be known."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        handle.seek(0)
        holder = handle.read().strip() or "an unknown process"
        if not use_wait:
            raise ConfigError(
                f"{folder}: another download is at work here ({holder}); let it end or stop it, then run this again,"
                " or give --wait to wait for it"
            ) from error
        logger.info("%s: waiting for another download (%s)", folder, holder)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        logger.warning("%s: this file system has no locks; run only one download at a time into it", folder)
        return False
    return True


def _remove_unfinished_lists(folder: Path) -> None:
    # By name: a folder may be shared with commands that take no lock, and `atomic_path` serves those as well.
    left = [aside for name in LISTS for aside in folder.glob(f".{name}.????????.part")]
    for aside in left:
        shutil.rmtree(aside, ignore_errors=True)
    if left:
        logger.info("%s: removed %d unfinished lists of a download that was killed", folder, len(left))


def md5_of_file(path: Path) -> str:
    """Hex md5 of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@dataclass(frozen=True)
class _Seen:
    size: int
    mtime_ns: int
    md5: str


class VerifiedFiles:
    """Which files of a folder were verified, by size and time of change, so that a rerun need not read them again.

    A line is appended for every file; the last line of a path counts, and one that was cut off does not.

    Args:
        folder: Folder that a transfer fills.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / RECORDS_FOLDER / VERIFIED_FILE
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._gap = ""
        if self._path.is_file():
            text = self._path.read_text(encoding="utf-8", errors="replace")
            self._gap = "" if text.endswith("\n") else "\n"
            for line in text.splitlines():
                fields = line.split("\t")
                if len(fields) == 5 and fields[4] == "." and fields[1].isdigit() and fields[2].isdigit():
                    self._seen[fields[0]] = _Seen(int(fields[1]), int(fields[2]), fields[3])

    def md5(self, path: Path, *, use_reading: bool = False) -> str | None:
        """Hex md5 of a file as it is now, or None when there is none; read only when it is new or has changed.

        Args:
            path: A file in the folder.
            use_reading: Read it in any case.
        """
        if not path.is_file():
            return None
        status = path.stat()
        seen = self._seen.get(self._name(path))
        if not use_reading and seen is not None and (seen.size, seen.mtime_ns) == (status.st_size, status.st_mtime_ns):
            return seen.md5
        return md5_of_file(path)

    def recorded_md5(self, path: Path) -> str | None:
        """Hex md5 of a file when it was verified last, whatever it is now; None when it never was."""
        seen = self._seen.get(self._name(path))
        return None if seen is None else seen.md5

    def add(self, path: Path, md5: str) -> None:
        """Record that a file has just been verified."""
        status = path.stat()
        seen = _Seen(status.st_size, status.st_mtime_ns, md5)
        name = self._name(path)
        with self._lock:
            if self._seen.get(name) == seen:
                return
            self._seen[name] = seen
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as handle:
                handle.write(f"{self._gap}{name}\t{seen.size}\t{seen.mtime_ns}\t{seen.md5}\t.\n")
            self._gap = ""

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def free_bytes(folder: Path) -> int:
    """Free space on the disk of a folder, which may not exist yet."""
    above = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
    return shutil.disk_usage(above).free


def disk_full(folder: Path, n_needed: int) -> DataError:
    """The error of a full disk: what is needed still, and what is free."""
    return DataError(
        f"{folder}: the disk is too full: {n_needed / 1e6:,.1f} MB are still to be fetched ({n_needed} bytes) and"
        f" {free_bytes(folder) / 1e6:,.1f} MB are free; make room or choose another --out, then run it again: what"
        " has arrived is kept"
    )
