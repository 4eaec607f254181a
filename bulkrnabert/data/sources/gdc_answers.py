"""Requests and answers of the stand-in portal, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PortalRequest:
    """A request as the portal sees it; `parameters` come from the query string, a form or a JSON body."""

    method: str
    path: str
    parameters: Mapping[str, Any]
    byte_range: str | None = None


@dataclass(frozen=True)
class PortalResponse:
    """An answer, and how the connection treats it.

    Attributes:
        cut_at: Bytes after which the connection breaks; None for a whole answer.
        is_reset: Whether it breaks with a reset rather than an ordinary close.
        stall: (bytes, seconds): pause after so many bytes.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    is_reset: bool = False
    stall: tuple[int, float] | None = None


def json_response(status: int, content: object, headers: Mapping[str, str] | None = None) -> PortalResponse:
    """An answer with a JSON body."""
    body = json.dumps(content).encode()
    return PortalResponse(status, body, {"Content-Type": "application/json", **(headers or {})})
