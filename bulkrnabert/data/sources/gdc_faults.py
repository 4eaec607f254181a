"""Scripted misbehaviour of the stand-in portal, so that a client can be shown to survive it."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from bulkrnabert.config import FrozenConfig
from bulkrnabert.data.sources.gdc_answers import PortalResponse, json_response
from bulkrnabert.data.sources.gdc_filters import Json
from bulkrnabert.errors import ConfigError

_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"

FaultKind = Literal[
    "status",  # answer `status` (with Retry-After when `retry_after` is given), JSON body
    "retry_after",  # answer 429 with Retry-After
    "html_status",  # answer `status` with an HTML body, as a proxy does
    "html_200",  # HTML in place of the answer, with status 200
    "json_200",  # a JSON error in place of the answer, with status 200
    "empty_200",
    "truncate",  # announce the whole length, send `at_bytes`, close
    "reset",  # send `at_bytes`, reset the connection
    "stall",  # send `at_bytes`, wait `seconds`, then the rest
    "corrupt",  # flip the byte at `at_bytes`
    "wrong_md5",  # metadata: another md5sum
    "file_name",  # metadata: `text` as the name of every file
    "warnings",  # search: a warning about an unknown field
    "total_changes",  # search: `pagination.total` one larger
    "duplicate_hit",  # search: the first hit twice
    "missing_hit",  # search: without the last hit
    "release_flip",  # /status: another data release
]


class Fault(FrozenConfig):
    """One fault: which requests it strikes and what happens then.

    Attributes:
        method: `GET`, `POST` or `*`.
        path: Regular expression, found anywhere in the path (without `/v0`).
        nth: First matching request that is struck, from 1.
        times: Requests that are struck from then on; 0 for all.
        each_path: Count requests of every path by itself, as in "the first try of every file".
    """

    fault: FaultKind
    method: str = "*"
    path: str = ""
    nth: int = Field(default=1, ge=1)
    times: int = Field(default=1, ge=0)
    each_path: bool = False
    status: int = Field(default=503, ge=400, le=599)
    retry_after: str = "0"
    at_bytes: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0)
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
        ConfigError: the file is no such list (says which entry).
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(entries, list):
        raise ConfigError(f"{path}: expected a list of faults, found {type(entries).__name__}")
    return [Fault.from_mapping(entry, f"{path}, entry {number}") for number, entry in enumerate(entries, start=1)]


class FaultScript:
    """Counts requests and says which faults strike each; safe to use from several threads."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = list(faults)
        self._counts: Counter[tuple[int, str]] = Counter()
        self._lock = threading.Lock()

    def strike(self, method: str, path: str) -> list[Fault]:
        """Faults for one request, in the order of the script."""
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


def answer_instead(fault: Fault) -> PortalResponse | None:
    """The answer that a fault gives in place of the right one, or None when it leaves the right one be."""
    html = {"Content-Type": "text/html"}
    if fault.fault in ("status", "retry_after"):
        is_status = fault.fault == "status"
        headers = {} if is_status else {"Retry-After": fault.retry_after}
        return json_response(fault.status if is_status else 429, {"message": "try again later"}, headers)
    if fault.fault == "html_status":
        return PortalResponse(fault.status, _HTML, html)
    if fault.fault == "html_200":
        return PortalResponse(200, _HTML, html)
    if fault.fault == "json_200":
        return json_response(200, {"message": "internal error"})
    if fault.fault == "empty_200":
        return PortalResponse(200, b"", html)
    return None


def spoil(response: PortalResponse, fault: Fault, path: str) -> PortalResponse:
    """The right answer with a fault in it; errors stay as they are."""
    if response.status >= 400:
        return response
    if fault.fault == "corrupt" and response.body:
        at = min(fault.at_bytes, len(response.body) - 1)
        body = response.body[:at] + bytes([response.body[at] ^ 0xFF]) + response.body[at + 1 :]
        return replace(response, body=body)
    if fault.fault in ("truncate", "reset"):
        return replace(response, cut_at=fault.at_bytes, is_reset=fault.fault == "reset")
    if fault.fault == "stall":
        return replace(response, stall=(fault.at_bytes, fault.seconds))
    if response.headers.get("Content-Type") != "application/json":
        return response
    content = json.loads(response.body)
    if fault.fault == "release_flip" and path == "/status":
        content["data_release"] = "Data Release 2.0 - February 02, 2026 (synthetic)"
    elif "hits" in content.get("data", {}):
        _spoil_page(content, fault)
    return json_response(response.status, content)


def _spoil_page(content: Json, fault: Fault) -> None:
    hits = content["data"]["hits"]
    if fault.fault == "warnings":
        content["warnings"] = {"fields": "unrecognized values: [demographic.gender]"}
    elif fault.fault == "total_changes":
        content["data"]["pagination"]["total"] += 1
    elif fault.fault == "duplicate_hit":
        content["data"]["hits"] = [*hits[:1], *hits[:-1]]
    elif fault.fault == "missing_hit":
        content["data"]["hits"] = hits[:-1]
    for hit in hits:
        if fault.fault == "wrong_md5" and "md5sum" in hit:
            hit["md5sum"] = "0" * 32
        if fault.fault == "file_name" and "file_name" in hit:
            hit["file_name"] = fault.text
