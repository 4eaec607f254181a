"""One file from a server to its final name: goes on where it broke off, and is verified before it is believed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Protocol

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from bulkrnabert.data.sources.transfer_folder import DISK_FULL
from bulkrnabert.data.sources.transfer_http import (
    TRANSIENT_STATUS,
    TransferPolicy,
    announced_md5,
    describe_failure,
    get,
    refusal_text,
    shorten,
    whole_number,
)
from bulkrnabert.errors import PortalAnswerError

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 18
PROGRESS_BYTES = 1 << 20
PROGRESS_SHARE = 20
PART = ".part"
QUARANTINE = ".quarantine"


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Attributes:
        file_id: How messages name it; unique among the files of a transfer.
        url: Where it is.
        target: Final path, from metadata; never from what the server says.
        size: Bytes, or None when unknown.
        md5: Hex, or None when unknown: then what the server announces counts (`Content-MD5`, `x-goog-hash`), if
            anything.
        headers: Sent to the file's own host only; never shown.
        label: Said beside the id, for example the sample.
        redirect_hosts: Hosts beside its own that may serve it; they get none of the headers.
    """

    file_id: str
    url: str
    target: Path
    size: int | None = None
    md5: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    label: str = ""
    redirect_hosts: Collection[str] = ()

    @property
    def part(self) -> Path:
        """Where it grows."""
        return self.target.with_name(f"{self.target.name}{PART}")

    @property
    def quarantine(self) -> Path:
        """Where a body lies that is not the expected one, to be looked at."""
        return self.target.with_name(f"{self.target.name}{QUARANTINE}")

    @property
    def name(self) -> str:
        """Id and label."""
        return f"{self.file_id} ({self.label})" if self.label else self.file_id


class Progress(Protocol):
    """What hears of the bytes of a transfer, from several threads."""

    def resume(self, n_bytes: int) -> None:
        """Bytes of an earlier run were found."""

    def advance(self, n_bytes: int) -> None:
        """Bytes arrived; negative when they were thrown away."""


class FailedError(Exception):
    """A file cannot be had for good.

    Args:
        reason: What went wrong.
        is_outage: Whether the next file would fail in the same way.
    """

    def __init__(self, reason: str, *, is_outage: bool = False) -> None:
        super().__init__(reason)
        self.is_outage = is_outage


class CannotWriteError(Exception):
    """The disk does not take what arrives."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path}: cannot be written: {error.strerror}")
        self.is_full = error.errno in DISK_FULL


class StoppedError(Exception):
    """The transfer as a whole has ended."""


class _TryAgainError(Exception):
    """What happened may pass.

    Args:
        reason: What happened.
        response: An answer that may say how long to wait.
        is_useless: Whether what has arrived must be thrown away.
        is_wrong_body: Whether a whole body arrived that is not the expected one.
        is_outage: Whether the next file would fail in the same way.
    """

    def __init__(
        self,
        reason: str,
        *,
        response: requests.Response | None = None,
        is_useless: bool = False,
        is_wrong_body: bool = False,
        is_outage: bool = False,
    ) -> None:
        super().__init__(reason)
        self.response = response
        self.is_useless = is_useless
        self.is_wrong_body = is_wrong_body
        self.is_outage = is_outage


@dataclass(frozen=True)
class _PartRecord:
    """What a part is a part of; written beside it, so that no other version is ever continued.

    Attributes:
        validator: Strong ETag or date of change, as `If-Range` takes it; empty when the server gave none.
    """

    size: int | None
    md5: str | None
    validator: str


class FileTransfer:
    """Fetches one file.

    Args:
        session: From `open_session`.
        file: What to fetch.
        policy: Patience.
        stop: Set when the transfer as a whole ends; waits end with it.
        progress: Told of every byte.
        explain: What its source says about a file that the server refuses with this status; may be empty.
    """

    def __init__(
        self,
        session: requests.Session,
        file: RemoteFile,
        policy: TransferPolicy,
        stop: threading.Event,
        progress: Progress,
        explain: Callable[[RemoteFile, int], str] | None = None,
    ) -> None:
        self._session = session
        self._file = file
        self._policy = policy
        self._stop = stop
        self._progress = progress
        self._explain = explain
        self._record_path = file.part.with_name(f"{file.part.name}.json")
        self._record = _PartRecord(file.size, file.md5, "")
        self._digest = hashlib.md5(usedforsecurity=False)
        self._n_bytes = 0

    def fetch(self) -> str:
        """Fetch the file under its final name; returns its md5.

        Raises:
            FailedError: it cannot be had.
            CannotWriteError: the disk does not take it.
            StoppedError: the transfer has ended.
        """
        try:
            self._continue_part()
        except OSError as error:
            raise CannotWriteError(self._file.part, error) from error
        n_failed = 0
        furthest = self._n_bytes
        while True:
            if self._stop.is_set():
                raise StoppedError
            try:
                if not self._is_whole():
                    self._fetch_rest()
                return self._finish()
            except _TryAgainError as problem:
                if self._n_bytes >= furthest + self._progress_bytes():
                    furthest, n_failed = self._n_bytes, 0
                n_failed += 1
                if n_failed > self._policy.n_retries:
                    self._give_up(problem)
                if problem.is_useless:
                    self._start_over()
                logger.warning(
                    "%s: %s; try %d of %d", self._file.name, problem, n_failed + 1, self._policy.n_retries + 1
                )
                self._stop.wait(self._policy.wait_s(n_failed - 1, problem.response))

    def _progress_bytes(self) -> int:
        """Bytes that make a failed try count as one that got on: one in twenty, at most 1 MiB."""
        size = self._record.size
        return PROGRESS_BYTES if size is None else min(PROGRESS_BYTES, max(size // PROGRESS_SHARE, 1))

    def _give_up(self, problem: _TryAgainError) -> None:
        reason = str(problem)
        if problem.is_wrong_body:
            self._file.part.replace(self._file.quarantine)
            self._record_path.unlink(missing_ok=True)
            reason += f", again and again; kept as {self._file.quarantine} to look at"
        elif problem.is_useless:
            self._start_over()
        raise FailedError(reason, is_outage=problem.is_outage) from problem

    # ---- the part ----

    def _continue_part(self) -> None:
        """Take up what an earlier run has left, if it is of the same version."""
        part = self._file.part
        if not part.is_file():
            return
        record = self._read_record()
        n_bytes = part.stat().st_size
        if (
            record is None
            or self._file.size not in (None, record.size)
            or self._file.md5 not in (None, record.md5)
            or not (record.md5 or record.validator)
            or (record.size is not None and n_bytes > record.size)
        ):
            part.unlink()
            return
        self._record = record
        with part.open("rb") as handle:
            while chunk := handle.read(CHUNK_BYTES):
                self._digest.update(chunk)
        self._n_bytes = n_bytes
        self._progress.resume(n_bytes)

    def _read_record(self) -> _PartRecord | None:
        try:
            return _PartRecord(**json.loads(self._record_path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def _start_over(self) -> None:
        self._file.part.unlink(missing_ok=True)
        self._record_path.unlink(missing_ok=True)
        self._record = _PartRecord(self._file.size, self._file.md5, "")
        self._digest = hashlib.md5(usedforsecurity=False)
        self._count(-self._n_bytes)

    def _count(self, n_bytes: int) -> None:
        self._n_bytes += n_bytes
        self._progress.advance(n_bytes)

    def _is_whole(self) -> bool:
        return self._n_bytes == self._record.size and self._file.part.is_file()

    # ---- the request ----

    def _fetch_rest(self) -> None:
        try:
            response = get(
                self._session, self._file.url, self._request_headers(), self._policy, self._file.redirect_hosts
            )
        except PortalAnswerError as error:
            raise FailedError(str(error)) from error
        except requests.RequestException as error:
            text = f"no answer ({self._hide(describe_failure(error))})"
            raise _TryAgainError(text, is_outage=True) from error
        with response:
            self._check_status(response)
            self._check_kind(response)
            if response.status_code == 206:
                self._check_range(response)
            else:
                self._begin(response)
            self._receive(response)

    def _request_headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", **self._file.headers}
        if self._n_bytes:
            headers["Range"] = f"bytes={self._n_bytes}-"
            if self._record.validator:
                headers["If-Range"] = self._record.validator
        return headers

    def _check_status(self, response: requests.Response) -> None:
        code = response.status_code
        if code == 200 or (code == 206 and self._n_bytes):
            return
        if code in (206, 416):
            raise _TryAgainError(f"the server answered {code} to a request for {self._asked()}", is_useless=True)
        text = refusal_text(response, self._secrets())
        if code in TRANSIENT_STATUS:
            raise _TryAgainError(f"the server answered {code}: {text}", response=response, is_outage=True)
        explanation = self._explain(self._file, code) if self._explain is not None else ""
        raise FailedError(
            f"the server answered {code} ({explanation})" if explanation else f"the server answered {code}: {text}",
            is_outage=code in (401, 403),
        )

    def _asked(self) -> str:
        return f"the bytes from {self._n_bytes}" if self._n_bytes else "the whole file"

    def _check_range(self, response: requests.Response) -> None:
        """The rest must be the rest of the same version, all of it."""
        text = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", text.strip())
        length = whole_number(response.headers.get("Content-Length"))
        if match is None or int(match[1]) != self._n_bytes:
            raise _TryAgainError(
                f"the server answered {self._asked()} with Content-Range {shorten(text, 60)!r}", is_useless=True
            )
        n_rest = int(match[2]) - int(match[1]) + 1
        n_all = self._record.size if match[3] == "*" else int(match[3])
        if n_all is not None and (
            n_all != int(match[2]) + 1 or n_all != (n_all if self._record.size is None else self._record.size)
        ):
            raise _TryAgainError(f"Content-Range {text!r} does not reach the end of the file", is_useless=True)
        if length is not None and length != n_rest:
            raise _TryAgainError(f"{length} bytes announced for Content-Range {text!r}", is_useless=True)
        validator = _validator(response)
        if validator and self._record.validator and validator != self._record.validator:
            raise _TryAgainError("the file has changed on the server meanwhile", is_useless=True)

    def _check_kind(self, response: requests.Response) -> None:
        """What can be known before a byte is read: an answer that is not the file costs nothing that has arrived."""
        length = whole_number(response.headers.get("Content-Length"))
        if length == 0 and self._file.size != 0:
            raise _TryAgainError("an empty answer arrived in place of the file", response=response)
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", self._file.headers.get("Accept-Encoding")):
            raise _TryAgainError(f"the answer is compressed (Content-Encoding: {shorten(encoding, 40)})")
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        for word in ("html", "json"):
            if kind.endswith(word) and not self._file.target.name.endswith(word):
                text = refusal_text(response, self._secrets())
                raise _TryAgainError(f"{word.upper()} arrived in place of the file: {text}", response=response)
        size = self._file.size
        if response.status_code == 200 and None not in (length, size) and length != size:
            raise _TryAgainError(f"{length} bytes announced instead of {size}")

    def _begin(self, response: requests.Response) -> None:
        """Start from the beginning, and remember of which version."""
        announced = announced_md5(response.headers)
        if announced is not None and self._file.md5 is not None and announced != self._file.md5:
            logger.warning(
                "%s: the server announces md5 %s, the metadata %s; the metadata decides",
                self._file.name,
                announced,
                self._file.md5,
            )
        length = whole_number(response.headers.get("Content-Length"))
        try:
            self._start_over()
            self._record = _PartRecord(
                length if self._file.size is None else self._file.size,
                self._file.md5 or announced,
                _validator(response),
            )
            self._file.target.parent.mkdir(parents=True, exist_ok=True)
            self._record_path.write_text(json.dumps(asdict(self._record)), encoding="utf-8")
        except OSError as error:
            raise CannotWriteError(self._file.part, error) from error

    def _receive(self, response: requests.Response) -> None:
        try:
            handle = self._file.part.open("ab", buffering=0)
        except OSError as error:
            raise CannotWriteError(self._file.part, error) from error
        with handle:
            while chunk := self._next_chunk(response):
                self._write(handle, chunk)
                if self._stop.is_set():
                    raise StoppedError
                if self._record.size is not None and self._n_bytes > self._record.size:
                    raise _TryAgainError(
                        f"more than the {self._record.size} bytes that were announced", is_useless=True
                    )
        if self._record.size is not None and self._n_bytes < self._record.size:
            raise _TryAgainError(
                f"{self._n_bytes} bytes arrived instead of {self._record.size}", is_useless=self._n_bytes == 0
            )

    def _next_chunk(self, response: requests.Response) -> bytes:
        try:
            # `read1` hands over what has arrived, so that a broken connection loses nothing.
            return response.raw.read1(CHUNK_BYTES, decode_content=False) or b""
        except (HTTPError, OSError) as error:
            is_idle = isinstance(error, ReadTimeoutError)
            what = f"nothing arrived for {self._policy.idle_timeout_s:g} s" if is_idle else "the answer broke off"
            raise _TryAgainError(f"{what} after {self._n_bytes} bytes") from error

    def _write(self, handle: IO[bytes], chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            try:
                n_written = handle.write(rest)
            except OSError as error:
                raise CannotWriteError(self._file.part, error) from error
            self._digest.update(rest[:n_written])
            self._count(n_written)
            rest = rest[n_written:]

    # ---- the end ----

    def _finish(self) -> str:
        found = self._digest.hexdigest()
        expected = self._record.md5
        if expected is not None and found != expected:
            raise _TryAgainError(f"md5 {found} instead of {expected}", is_useless=True, is_wrong_body=True)
        try:
            with self._file.part.open("rb") as handle:
                os.fsync(handle.fileno())
            self._file.part.replace(self._file.target)
            self._record_path.unlink(missing_ok=True)
            self._file.quarantine.unlink(missing_ok=True)
        except OSError as error:
            raise CannotWriteError(self._file.target, error) from error
        return found

    def _secrets(self) -> list[str]:
        return [value for name, value in self._file.headers.items() if name.lower() != "accept-encoding"]

    def _hide(self, text: str) -> str:
        for secret in self._secrets():
            text = text.replace(secret, "…")
        return text


def _validator(response: requests.Response) -> str:
    """What names the version of a file: a strong ETag, else the date of its change, else nothing."""
    etag = response.headers.get("ETag", "").strip()
    if etag and not etag.startswith("W/"):
        return str(etag)
    return str(response.headers.get("Last-Modified", "").strip())
