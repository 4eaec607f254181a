"""Scripted misbehaviour of the stand-in portal, so that a client can be shown to survive it."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from bulkrnabert.config import FrozenConfig
from bulkrnabert.errors import ConfigError

FaultKind = Literal[
    "status",
    "retry_after",
    "html_status",
    "html_200",
    "json_200",
    "empty_200",
    "redirect",
    "delay",
    "close_before_headers",
    "truncate",
    "chunked_cut",
    "short_body",
    "reset",
    "stall",
    "drip",
    "corrupt",
    "gzip_encoding",
    "no_length",
    "no_content_md5",
    "bad_header_md5",
    "no_disposition",
    "disposition",
    "ignore_range",
    "bad_content_range",
    "wrong_range_length",
    "file_changed",
    "tar_missing_member",
    "tar_extra_member",
    "tar_traversal_member",
    "tar_absolute_member",
    "tar_symlink_member",
    "tar_duplicate_member",
    "tar_corrupt_member",
    "tar_bad_manifest",
    "wrong_md5",
    "wrong_size",
    "file_name",
    "drop_field",
    "null_field",
    "two_cases",
    "warnings",
    "total_changes",
    "wrong_pages",
    "duplicate_hit",
    "missing_hit",
    "empty_page",
    "from_1_based",
    "release_flip",
]

# What each does, for those who write a script.
FAULTS: Mapping[FaultKind, str] = {
    "status": "answer `status` with a JSON body, and `retry_after` as its header where that is given",
    "retry_after": "answer 429 with `retry_after`: seconds, an HTTP date, `in:2` for a date in 2 s, or empty for none",
    "html_status": "answer `status` with an HTML body, as a proxy does",
    "html_200": "HTML in place of the answer, with status 200",
    "json_200": "a JSON error in place of the answer, with status 200",
    "empty_200": "no body, with status 200",
    "redirect": "answer 302 to `text`, an address or a path",
    "delay": "wait `seconds` before the answer",
    "close_before_headers": "close the connection before the first byte of the answer",
    "truncate": "announce the whole length, send `at_bytes`, close",
    "chunked_cut": "send `at_bytes` in chunks, close without the last chunk",
    "short_body": "send `at_bytes` as if they were the whole: a clean end",
    "reset": "send `at_bytes`, reset the connection",
    "stall": "send `at_bytes`, wait `seconds`, then the rest",
    "drip": "send `bytes_per_s` and no faster",
    "corrupt": "flip the byte at `at_bytes`",
    "gzip_encoding": "send the body packed, with Content-Encoding: gzip",
    "no_length": "no Content-Length: the end of the connection is the end of the body",
    "no_content_md5": "no Content-MD5",
    "bad_header_md5": "another Content-MD5",
    "no_disposition": "no Content-Disposition",
    "disposition": "`text` as the file name in Content-Disposition",
    "ignore_range": "answer a Range with 200 and the whole file",
    "bad_content_range": "a Content-Range of other bytes than those sent",
    "wrong_range_length": "one byte fewer than the Range asked for, with a Content-Length to match",
    "file_changed": "another version of the file: one line more, another ETag and Content-MD5",
    "tar_missing_member": "an archive without its last file",
    "tar_extra_member": "an archive with a file that nobody asked for",
    "tar_traversal_member": "an archive with a member outside of its folder",
    "tar_absolute_member": "an archive with a member at an absolute path",
    "tar_symlink_member": "an archive with a symbolic link",
    "tar_duplicate_member": "an archive with its last file twice, the second time with other bytes",
    "tar_corrupt_member": "an archive whose last file has its first byte flipped",
    "tar_bad_manifest": "an archive whose MANIFEST.txt has other md5 sums",
    "wrong_md5": "metadata: another md5sum",
    "wrong_size": "metadata: a file_size one larger",
    "file_name": "metadata: `text` as the name of every file",
    "drop_field": "metadata: hits without the field `text`, a dotted path",
    "null_field": "metadata: hits with null at the field `text`, a dotted path",
    "two_cases": "metadata: files that belong to two cases",
    "warnings": "search: a warning about an unknown field",
    "total_changes": "search: `pagination.total` one larger",
    "wrong_pages": "search: `pagination.pages` one larger",
    "duplicate_hit": "search: the first hit twice, in place of the last",
    "missing_hit": "search: without the last hit",
    "empty_page": "search: no hits",
    "from_1_based": "search: `from` counts from 1, so that pages overlap by one",
    "release_flip": "/status: another data release",
}


class Fault(FrozenConfig):
    """One fault: which requests it strikes and what happens then.

    In a file, a script is a JSON list of objects with these keys; only `fault` must be there. Faults that strike the
    same request add up, in the order of the script; of several that replace the answer, the first counts.

    Attributes:
        fault: What happens, one of `FAULTS`.
        method: `GET`, `POST` or `*`.
        path: Regular expression, found anywhere in the path (without `/v0`).
        nth: First matching request that is struck, from 1.
        times: Requests that are struck from then on; 0 for all.
        each_path: Count requests of every path by itself, as in "the first try of every file".
        status: For `status` and `html_status`.
        retry_after: For `status` and `retry_after`.
        at_bytes: Position in the body that is sent.
        seconds: For `stall` and `delay`.
        bytes_per_s: For `drip`.
        text: For `redirect`, `disposition`, `file_name`, `drop_field` and `null_field`.
    """

    fault: FaultKind
    method: str = "*"
    path: str = ""
    nth: int = Field(default=1, ge=1)
    times: int = Field(default=1, ge=0)
    each_path: bool = False
    status: int = Field(default=503, ge=400, le=599)
    retry_after: str | None = None
    at_bytes: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0)
    bytes_per_s: float = Field(default=1000.0, gt=0)
    text: str = ""

    @field_validator("path")
    @classmethod
    def _is_a_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return value

    def matches(self, method: str, path: str) -> bool:
        """Whether a request is of the kind that this fault strikes."""
        return self.method in ("*", method) and re.search(self.path, path) is not None


def read_faults(path: Path) -> list[Fault]:
    """Read a JSON list of faults.

    Raises:
        ConfigError: the file is no such list; names every wrong entry at once.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(entries, list):
        raise ConfigError(
            f"{path}: expected a list of faults, found {type(entries).__name__}; write it as"
            ' [{"fault": "truncate", "path": "/data/", "at_bytes": 100}]'
        )
    faults, problems = [], []
    for number, entry in enumerate(entries, start=1):
        try:
            faults.append(Fault.from_mapping(entry, f"{path}, entry {number}"))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join([*problems, "`bulkrnabert serve-gdc --list-faults` says what there is"]))
    return faults


def describe_faults() -> str:
    """The faults, one a line, and the keys of an entry with their defaults."""
    width = max(len(name) for name in FAULTS)
    lines = [f"{name:<{width}}  {what}" for name, what in FAULTS.items()]
    keys = [f"{name}={json.dumps(info.get_default())}" for name, info in Fault.model_fields.items() if name != "fault"]
    return "\n".join([*lines, "", "Other keys of an entry, with defaults:", "  " + ", ".join(keys)])


class FaultScript:
    """Counts requests and says which faults strike each; safe to use from several threads."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = list(faults)
        self._counts: Counter[tuple[int, str]] = Counter()
        self._lock = threading.Lock()

    def strike(self, method: str, path: str) -> list[Fault]:
        """Faults for one request, in the order of the script; `/v0` before a path makes no difference."""
        path = re.sub(r"^/v0(?=/|$)", "", path)
        struck = []
        with self._lock:
            for index, fault in enumerate(self._faults):
                if not fault.matches(method, path):
                    continue
                key = (index, path if fault.each_path else "")
                self._counts[key] += 1
                n_after = self._counts[key] - fault.nth
                if n_after >= 0 and (fault.times == 0 or n_after < fault.times):
                    struck.append(fault)
        return struck
