"""What each fault does to an answer of the stand-in portal."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from email.utils import formatdate
from hashlib import md5

from bulkrnabert.data.sources.gdc_answers import PortalRequest, PortalResponse, json_response, ranged
from bulkrnabert.data.sources.gdc_faults import Fault
from bulkrnabert.data.sources.gdc_filters import Json
from bulkrnabert.data.sources.gdc_tar import MANIFEST_NAME, TarMember, is_gzip, pack, unpack

_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
_OTHER_RELEASE = "Data Release 2.0 - February 02, 2026 (synthetic)"
_OTHER_MD5 = "0" * 32
_CHANGE = b"# changed\n"
_EVIL = b"this must not be written\n"


def answer_instead(fault: Fault) -> PortalResponse | None:
    """The answer that a fault gives in place of the right one, or None when it leaves the right one be."""
    html = {"Content-Type": "text/html"}
    match fault.fault:
        case "status":
            return json_response(fault.status, {"message": "try again later"}, _retry_after(fault.retry_after))
        case "retry_after":
            asked = "0" if fault.retry_after is None else fault.retry_after
            return json_response(429, {"message": "try again later"}, _retry_after(asked))
        case "html_status":
            return PortalResponse(fault.status, _HTML, {**html, **_retry_after(fault.retry_after)})
        case "html_200":
            return PortalResponse(200, _HTML, html)
        case "json_200":
            return json_response(200, {"message": "internal error"})
        case "empty_200":
            return PortalResponse(200, b"", html)
        case "redirect":
            return PortalResponse(302, b"", {"Location": fault.text})
        case "close_before_headers":
            return PortalResponse(0, b"", is_silent=True)
    return None


def _retry_after(asked: str | None) -> dict[str, str]:
    if not asked:
        return {}
    ahead = re.fullmatch(r"in:(-?\d+)", asked)
    return {"Retry-After": formatdate(time.time() + int(ahead[1]), usegmt=True) if ahead else asked}


def ask_otherwise(request: PortalRequest, fault: Fault) -> PortalRequest:
    """The request as the portal misunderstands it; unchanged by most faults."""
    start = str(request.parameters.get("from", "0"))
    if fault.fault != "from_1_based" or not start.isdigit():
        return request
    return replace(request, parameters={**request.parameters, "from": max(0, int(start) - 1)})


def spoil(response: PortalResponse, fault: Fault, request: PortalRequest) -> PortalResponse:
    """The right answer with a fault in it; errors keep their content."""
    if fault.fault == "delay":
        return replace(response, delay_s=response.delay_s + fault.seconds)
    if response.is_silent or response.status >= 400:
        return response
    if fault.fault in _DELIVERY:
        return _DELIVERY[fault.fault](response, fault)
    if fault.fault in _HEADERS:
        return replace(response, headers=_HEADERS[fault.fault](dict(response.headers), fault))
    if response.whole is not None:
        return _spoil_file(response, response.whole, fault, request)
    if fault.fault in _MEMBERS and response.framing == "chunked":
        members = _MEMBERS[fault.fault](unpack(response.body))
        return replace(response, body=pack(members, is_gzip(response.body)))
    if response.headers.get("Content-Type") != "application/json":
        return response
    return _spoil_json(response, fault, request)


# ---- how the bytes travel ----


def _corrupt(response: PortalResponse, fault: Fault) -> PortalResponse:
    if not response.body:
        return response
    at = min(fault.at_bytes, len(response.body) - 1)
    return replace(response, body=response.body[:at] + _flipped(response.body[at:]))


def _flipped(body: bytes) -> bytes:
    return bytes([body[0] ^ 0xFF]) + body[1:] if body else b"\xff"


def _packed(response: PortalResponse, _fault: Fault) -> PortalResponse:
    body = gzip.compress(response.body, 1, mtime=0)
    return replace(response, body=body, headers={**response.headers, "Content-Encoding": "gzip"})


_DELIVERY: dict[str, Callable[[PortalResponse, Fault], PortalResponse]] = {
    "truncate": lambda response, fault: replace(response, cut_at=fault.at_bytes),
    "chunked_cut": lambda response, fault: replace(response, cut_at=fault.at_bytes, framing="chunked"),
    "short_body": lambda response, fault: replace(response, body=response.body[: fault.at_bytes]),
    "reset": lambda response, fault: replace(response, cut_at=fault.at_bytes, is_reset=True),
    "stall": lambda response, fault: replace(response, stall=(fault.at_bytes, fault.seconds)),
    "drip": lambda response, fault: replace(response, bytes_per_s=fault.bytes_per_s),
    "no_length": lambda response, _fault: replace(response, framing="close"),
    "corrupt": _corrupt,
    "gzip_encoding": _packed,
}


# ---- headers ----


def _without(name: str) -> Callable[[dict[str, str], Fault], dict[str, str]]:
    return lambda headers, _fault: {key: value for key, value in headers.items() if key != name}


def _with(name: str, value: Callable[[Fault], str]) -> Callable[[dict[str, str], Fault], dict[str, str]]:
    return lambda headers, fault: {**headers, name: value(fault)} if name in headers else headers


def _shifted_range(headers: dict[str, str], _fault: Fault) -> dict[str, str]:
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", ""))
    if match is None:
        return headers
    first, last, size = (int(number) for number in match.groups())
    return {**headers, "Content-Range": f"bytes {first + 1}-{last + 1}/{size}"}


_HEADERS: dict[str, Callable[[dict[str, str], Fault], dict[str, str]]] = {
    "no_content_md5": _without("Content-MD5"),
    "bad_header_md5": _with("Content-MD5", lambda _fault: _OTHER_MD5),
    "no_disposition": _without("Content-Disposition"),
    "disposition": _with("Content-Disposition", lambda fault: f"attachment; filename={fault.text}"),
    "bad_content_range": _shifted_range,
}


# ---- files and parts of files ----


def _spoil_file(response: PortalResponse, whole: bytes, fault: Fault, request: PortalRequest) -> PortalResponse:
    if fault.fault == "ignore_range" and response.status == 206:
        headers = {key: value for key, value in response.headers.items() if key != "Content-Range"}
        return replace(response, status=200, body=whole, headers=headers)
    if fault.fault == "wrong_range_length" and response.status == 206:
        return replace(response, body=response.body[:-1])
    if fault.fault == "file_changed":
        changed = whole + _CHANGE
        digest = md5(changed, usedforsecurity=False).hexdigest()
        headers = {key: value for key, value in response.headers.items() if key != "Content-Range"}
        again = ranged(changed, {**headers, "Content-MD5": digest, "ETag": f'"{digest}"'}, request)
        return replace(response, status=again.status, body=again.body, headers=again.headers, whole=again.whole)
    return response


# ---- archives ----


def _without_last(members: list[TarMember]) -> list[TarMember]:
    return members[:-1]


def _with_member(member: TarMember) -> Callable[[list[TarMember]], list[TarMember]]:
    return lambda members: [*members, member]


def _last_twice(members: list[TarMember]) -> list[TarMember]:
    return [*members, replace(members[-1], body=_flipped(members[-1].body))]


def _last_corrupt(members: list[TarMember]) -> list[TarMember]:
    return [*members[:-1], replace(members[-1], body=_flipped(members[-1].body))]


def _other_manifest(members: list[TarMember]) -> list[TarMember]:
    def other(member: TarMember) -> TarMember:
        if member.name != MANIFEST_NAME:
            return member
        return replace(member, body=re.sub(rb"\b[0-9a-f]{32}\b", _OTHER_MD5.encode(), member.body))

    return [other(member) for member in members]


_NOBODY = "00000000-0000-4000-8000-000000000000"
_MEMBERS: dict[str, Callable[[list[TarMember]], list[TarMember]]] = {
    "tar_missing_member": _without_last,
    "tar_extra_member": _with_member(TarMember(f"{_NOBODY}/extra.tsv", _EVIL)),
    "tar_traversal_member": _with_member(TarMember("../evil.tsv", _EVIL)),
    "tar_absolute_member": _with_member(TarMember("/evil/evil.tsv", _EVIL)),
    "tar_symlink_member": _with_member(TarMember(f"{_NOBODY}/link.tsv", link="/evil/evil.tsv")),
    "tar_duplicate_member": _last_twice,
    "tar_corrupt_member": _last_corrupt,
    "tar_bad_manifest": _other_manifest,
}


# ---- searches and status ----


def _spoil_json(response: PortalResponse, fault: Fault, request: PortalRequest) -> PortalResponse:
    try:
        content = json.loads(response.body)
    except ValueError:  # another fault has struck the body already
        return response
    if fault.fault == "release_flip" and request.path == "/status":
        content["data_release"] = _OTHER_RELEASE
    elif isinstance(content, dict) and isinstance(content.get("data"), dict) and "hits" in content["data"]:
        if fault.fault == "warnings":
            content["warnings"] = {"fields": "unrecognized values: [demographic.gender]"}
        _spoil_page(content["data"], fault)
    return replace(response, body=json.dumps(content).encode())


def _spoil_page(data: Json, fault: Fault) -> None:
    hits = data["hits"]
    match fault.fault:
        case "total_changes":
            data["pagination"]["total"] += 1
        case "wrong_pages":
            data["pagination"]["pages"] += 1
        case "duplicate_hit":
            data["hits"] = [*hits[:1], *hits[:-1]]
        case "missing_hit":
            data["hits"] = hits[:-1]
        case "empty_page":
            data["hits"] = []
        case "wrong_md5":
            _change_values(hits, ["md5sum"], lambda _value: _OTHER_MD5)
        case "wrong_size":
            _change_values(hits, ["file_size"], lambda value: int(str(value)) + 1)
        case "file_name":
            _change_values(hits, ["file_name"], lambda _value: fault.text)
        case "null_field":
            _change_values(hits, fault.text.split("."), lambda _value: None)
        case "drop_field":
            _change_values(hits, fault.text.split("."), None)
        case "two_cases":
            for hit in hits:
                if hit.get("cases"):
                    hit["cases"] = [hit["cases"][0], {**hit["cases"][0], "case_id": _NOBODY}]


def _change_values(record: object, keys: Sequence[str], change: Callable[[object], object] | None) -> None:
    """Change in place what a path reaches, across lists; None takes it away."""
    if isinstance(record, list):
        for item in record:
            _change_values(item, keys, change)
    elif isinstance(record, dict) and keys[0] in record:
        if len(keys) > 1:
            _change_values(record[keys[0]], keys[1:], change)
        elif change is None:
            del record[keys[0]]
        else:
            record[keys[0]] = change(record[keys[0]])
