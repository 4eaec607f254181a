"""Verified transfers, whatever the source: many files, a few at a time, each whole and right or not there at all.

One GET a file; a `.part` goes on where an earlier run broke off; size and md5 decide; only then does the file take its
final name. A caller holds `folder_lock` around planning and `fetch_all`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import requests
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from bulkrnabert.data.sources.transfer_file import (
    CannotWriteError,
    FailedError,
    FileTransfer,
    Progress,
    RemoteFile,
    StoppedError,
)
from bulkrnabert.data.sources.transfer_folder import VerifiedFiles, disk_full, folder_lock, free_bytes
from bulkrnabert.data.sources.transfer_http import TransferPolicy, is_loopback, open_session
from bulkrnabert.errors import DataError, PortalError, join_problems
from bulkrnabert.logs import shows_progress

__all__ = [
    "FailedFile",
    "RemoteFile",
    "TransferError",
    "TransferPolicy",
    "TransferSummary",
    "fetch_all",
    "folder_lock",
    "is_loopback",
    "open_session",
]

logger = logging.getLogger(__name__)

LOG_LINES = 10
MIN_OUTAGES = 8
JOIN_S = 2.0
_SHOWN = 5

Explain = Callable[[RemoteFile, int], str]


@dataclass(frozen=True)
class FailedFile:
    """A file that a transfer could not fetch, and why."""

    file: RemoteFile
    reason: str


class TransferError(PortalError):
    """Files could not be fetched and verified.

    Attributes:
        failures: Every file that is missing, sorted by id.
    """

    def __init__(self, message: str, failures: Sequence[FailedFile]) -> None:
        super().__init__(message)
        self.failures = tuple(failures)


@dataclass(frozen=True)
class TransferSummary:
    """What a transfer did.

    Attributes:
        n_fetched: Files fetched by this run.
        n_kept: Files that were there already, verified.
        n_bytes: Size of the files fetched by this run.
        md5: Hex md5 of every file, by file id.
    """

    n_fetched: int
    n_kept: int
    n_bytes: int
    md5: Mapping[str, str]


def fetch_all(
    session: requests.Session,
    files: Sequence[RemoteFile],
    policy: TransferPolicy,
    *,
    folder: Path,
    explain: Explain | None = None,
    use_reading: bool = False,
) -> TransferSummary:
    """Have every file under its final name, fetching those that are not there or not right.

    Args:
        session: From `open_session`.
        files: What to have; the targets lie in `folder`.
        policy: How patient to be, and how many at once.
        folder: Folder to fill, locked by the caller; the record of verified files is kept in it.
        explain: What the source says about a file that its server refuses with a status; may be empty.
        use_reading: Read every file that is there, and do not believe size and time of change.
    Raises:
        TransferError: files could not be had (lists them); the others are kept.
        DataError: the disk is full, or cannot be written.
    """
    _check_targets(files, folder)
    verified = VerifiedFiles(folder)
    todo: Sequence[RemoteFile] = files
    try:
        md5, todo = _split_by_presence(files, folder, verified, use_reading)
        _check_space(todo, folder)
        if todo:
            md5 |= _Workers(session, policy, explain).run(todo, verified)
    except CannotWriteError as problem:
        if problem.is_full:
            raise disk_full(folder, _missing_bytes(todo)) from problem
        raise DataError(
            f"{problem}; mend it or choose another --out, then run it again: what has arrived is kept"
        ) from problem
    return TransferSummary(
        n_fetched=len(todo),
        n_kept=len(files) - len(todo),
        n_bytes=sum(file.target.stat().st_size for file in todo),
        md5=md5,
    )


def _check_targets(files: Sequence[RemoteFile], folder: Path) -> None:
    targets = {file.target for file in files}
    if len(targets) != len(files) or len({file.file_id for file in files}) != len(files):
        raise ValueError("two files of a transfer have the same id or target")
    outside = [target for target in targets if not target.is_relative_to(folder) or ".." in target.parts]
    if outside:
        raise ValueError(f"{outside[0]} is not in {folder}")


def _split_by_presence(
    files: Sequence[RemoteFile], folder: Path, verified: VerifiedFiles, use_reading: bool
) -> tuple[dict[str, str], list[RemoteFile]]:
    """The md5 of the files that are there and right, by id, and the files that are to be fetched."""
    present: dict[str, str] = {}
    todo: list[RemoteFile] = []
    changed: list[str] = []
    for file in files:
        expected = file.md5 or verified.recorded_md5(file.target)
        found = verified.md5(file.target, use_reading=use_reading)
        is_right_size = found is None or file.size is None or file.target.stat().st_size == file.size
        if found is not None and found == expected and is_right_size:
            _record(verified, file, found)
            present[file.file_id] = found
            continue
        todo.append(file)
        if found is not None:
            changed.append(str(file.target.relative_to(folder)))
            file.target.replace(file.quarantine)
    if changed:
        logger.warning(
            "%s: %d files are not as they should be (changed or damaged), set aside and fetched again: %s%s",
            folder,
            len(changed),
            ", ".join(changed[:_SHOWN]),
            ", …" if len(changed) > _SHOWN else "",
        )
    return present, todo


def _missing_bytes(files: Sequence[RemoteFile]) -> int:
    there = {file.part: file.part.stat().st_size for file in files if file.part.is_file()}
    return sum(max((file.size or 0) - there.get(file.part, 0), 0) for file in files if not file.target.is_file())


def _check_space(todo: Sequence[RemoteFile], folder: Path) -> None:
    n_needed = _missing_bytes(todo)
    if n_needed > free_bytes(folder):
        raise disk_full(folder, n_needed)


class _Display:
    """A bar on a terminal; elsewhere about ten lines."""

    def __init__(self, files: Sequence[RemoteFile]) -> None:
        self._n_files = len(files)
        self._n_bytes = sum(file.size or 0 for file in files) if all(file.size is not None for file in files) else None
        self._n_files_done = 0
        self._n_bytes_done = 0
        self._n_bytes_found = 0
        self._n_lines = 0
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._bar = tqdm(
            total=self._n_bytes,
            unit="B",
            unit_scale=True,
            desc=f"0 of {self._n_files} files",
            disable=not shows_progress(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def resume(self, n_bytes: int) -> None:
        with self._lock:
            self._n_bytes_done += n_bytes
            self._n_bytes_found += n_bytes
            if not self._bar.disable:
                self._bar.initial += n_bytes
                self._bar.n += n_bytes

    def advance(self, n_bytes: int) -> None:
        with self._lock:
            self._n_bytes_done += n_bytes
            self._bar.update(n_bytes)
            self._say()

    def end_file(self) -> None:
        with self._lock:
            self._n_files_done += 1
            self._bar.set_description(f"{self._n_files_done} of {self._n_files} files", refresh=False)
            self._say()

    def _say(self) -> None:
        share = self._n_files_done / self._n_files
        if self._n_bytes:
            share = min(self._n_bytes_done / self._n_bytes, 1.0)
        if not self._bar.disable or int(share * LOG_LINES) <= self._n_lines:
            return
        self._n_lines = int(share * LOG_LINES)
        elapsed = max(time.monotonic() - self._started, 1e-3)
        n_fetched = self._n_bytes_done - self._n_bytes_found
        rate = max(n_fetched / elapsed, 1.0)
        left_s = elapsed * (1 - share) / share if self._n_bytes is None else (self._n_bytes - self._n_bytes_done) / rate
        logger.info(
            "%d of %d files, %.1f%s MB, %.1f MB/s, %.0f s left",
            self._n_files_done,
            self._n_files,
            self._n_bytes_done / 1e6,
            "" if self._n_bytes is None else f" of {self._n_bytes / 1e6:.1f}",
            rate / 1e6,
            left_s,
        )


class _Workers:
    """Threads that fetch files. They are daemons: an interrupt need not wait for a server that says nothing."""

    def __init__(self, session: requests.Session, policy: TransferPolicy, explain: Explain | None) -> None:
        self._session = session
        self._policy = policy
        self._explain = explain
        self._stop = threading.Event()
        self._todo: queue.SimpleQueue[RemoteFile | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[RemoteFile, str | BaseException]] = queue.SimpleQueue()

    def run(self, files: Sequence[RemoteFile], verified: VerifiedFiles) -> dict[str, str]:
        """Fetch files; returns their md5 by id.

        Raises:
            TransferError: files could not be had.
            CannotWriteError: the disk does not take them.
        """
        md5: dict[str, str] = {}
        failed: list[FailedFile] = []
        n_outages = 0
        with _showing(files) as progress, self._threads(len(files), progress):
            for file in files:
                self._todo.put(file)
            for _ in files:
                file, outcome = self._done.get()
                if isinstance(outcome, str):
                    _record(verified, file, outcome)
                    md5[file.file_id] = outcome
                    n_outages = 0
                elif isinstance(outcome, FailedError):
                    failed.append(FailedFile(file, str(outcome)))
                    n_outages = n_outages + 1 if outcome.is_outage else 0
                else:
                    raise outcome
                progress.end_file()
                if n_outages >= max(MIN_OUTAGES, 2 * self._policy.n_workers):
                    break
        if failed:
            raise _transfer_error(files, md5, failed)
        return md5

    @contextmanager
    def _threads(self, n_files: int, progress: Progress) -> Iterator[None]:
        threads = [
            threading.Thread(target=self._work, args=(progress,), daemon=True, name=f"fetch-{number}")
            for number in range(min(self._policy.n_workers, n_files))
        ]
        try:
            for thread in threads:
                thread.start()
            yield
        finally:
            self._stop.set()
            for _ in threads:
                self._todo.put(None)
            ends = time.monotonic() + JOIN_S
            for thread in threads:
                thread.join(max(ends - time.monotonic(), 0.0))

    def _work(self, progress: Progress) -> None:
        while not self._stop.is_set():
            file = self._todo.get()
            if file is None:
                return
            transfer = FileTransfer(self._session, file, self._policy, self._stop, progress, self._explain)
            try:
                self._done.put((file, transfer.fetch()))
            except StoppedError:
                return
            except FailedError as error:
                self._done.put((file, error))
            except BaseException as error:  # noqa: BLE001 - raised again where the transfer was asked for
                self._stop.set()
                self._done.put((file, error))


def _record(verified: VerifiedFiles, file: RemoteFile, md5: str) -> None:
    try:
        verified.add(file.target, md5)
    except OSError as error:
        raise CannotWriteError(file.target, error) from error


@contextmanager
def _showing(files: Sequence[RemoteFile]) -> Iterator[_Display]:
    package = logging.getLogger("bulkrnabert")
    with logging_redirect_tqdm([package]) if shows_progress() else nullcontext(), _Display(files) as progress:
        yield progress


def _transfer_error(files: Sequence[RemoteFile], md5: Mapping[str, str], failed: list[FailedFile]) -> TransferError:
    tried = {failure.file.file_id for failure in failed} | set(md5)
    untried = [
        FailedFile(file, "not tried: the server serves nothing any more") for file in files if file.file_id not in tried
    ]
    failed = sorted(failed, key=lambda failure: failure.file.file_id)
    problems = [f"{failure.file.name}: {failure.reason}" for failure in failed]
    if untried:
        problems.append(f"{len(untried)} more were not tried, because the server serves nothing any more")
    title = (
        f"{len(failed) + len(untried)} of {len(files)} files could not be fetched; the others are kept, run it again to"
        " go on"
    )
    return TransferError(join_problems(title, problems), [*failed, *untried])
