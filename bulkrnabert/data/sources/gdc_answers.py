"""Requests and answers of the stand-in portal, as values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Framing = Literal["length", "chunked", "close"]


@dataclass(frozen=True)
class PortalRequest:
    """A request as the portal sees it; `parameters` come from the query string, a form or a JSON body.

    Attributes:
        byte_range: The `Range` header.
        if_range: The `If-Range` header.
        token: The `X-Auth-Token` header.
        text: The body, where it is text and neither a form nor JSON.
    """

    method: str
    path: str
    parameters: Mapping[str, Any]
    byte_range: str | None = None
    if_range: str | None = None
    token: str | None = None
    text: str = ""


@dataclass(frozen=True)
class PortalResponse:
    """An answer, and how the connection treats it.

    Attributes:
        cut_at: Bytes of the body after which the connection breaks; None for a whole answer.
        is_reset: Whether it breaks with a reset rather than an ordinary close.
        stall: (bytes, seconds): pause after so many bytes.
        framing: How the end of the body is told: by `Content-Length`, by chunks, or by closing the connection.
        bytes_per_s: Speed of the body; None for as fast as it goes.
        delay_s: Wait before the first byte of the answer.
        is_silent: The connection closes before the first byte of the answer.
        whole: The file that a part was cut from, where the answer is a file or a part of one.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    is_reset: bool = False
    stall: tuple[int, float] | None = None
    framing: Framing = "length"
    bytes_per_s: float | None = None
    delay_s: float = 0.0
    is_silent: bool = False
    whole: bytes | None = None


class RefusalError(Exception):
    """An answer other than 200.

    Attributes:
        response: What is answered.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.response = json_response(status, {"message": message})


def json_response(
    status: int, content: object, headers: Mapping[str, str] | None = None, indent: int | None = None
) -> PortalResponse:
    """An answer with a JSON body."""
    body = json.dumps(content, indent=indent).encode()
    return PortalResponse(status, body, {"Content-Type": "application/json", **(headers or {})})


def ranged(body: bytes, headers: Mapping[str, str], request: PortalRequest) -> PortalResponse:
    """A file, or the part of it that the request's `Range` and `If-Range` ask for.

    Args:
        body: The whole file.
        headers: Of the whole answer; `ETag` and `Last-Modified` are what `If-Range` is compared with.
        request: Only one range is known (`bytes=a-b`, `bytes=a-`, `bytes=-n`); other forms are answered whole.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.byte_range or "")
    is_current = request.if_range is None or request.if_range in (headers.get("ETag"), headers.get("Last-Modified"))
    if match is None or not (match[1] or match[2]) or not is_current:
        return PortalResponse(200, body, headers, whole=body)
    if match[1]:
        first, last = int(match[1]), min(int(match[2] or len(body)), len(body) - 1)
    else:
        first, last = max(0, len(body) - int(match[2])), len(body) - 1
    if first > last:
        return PortalResponse(416, b"", {"Content-Range": f"bytes */{len(body)}"})
    return PortalResponse(
        206,
        body[first : last + 1],
        {**headers, "Content-Range": f"bytes {first}-{last}/{len(body)}"},
        whole=body,
    )


def named_values(parameters: Mapping[str, Any], key: str) -> list[str]:
    """A parameter that holds several names: a list, or text with commas."""
    value = parameters.get(key) or ""
    parts = value if isinstance(value, list) else [value]
    return [name.strip() for part in parts for name in str(part).split(",") if name.strip()]


def is_set(parameters: Mapping[str, Any], key: str) -> bool:
    """Whether a switch is on: it is there, with no value or one other than `false`, `0` or `no`."""
    return key in parameters and str(parameters[key]).lower() not in ("false", "0", "no")
