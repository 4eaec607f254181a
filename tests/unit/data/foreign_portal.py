"""A second GDC-shaped portal, as plain as the documentation allows, that shares no code with the stand-in.

It knows only the documented fields, and has habits that the documentation leaves open.
"""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
RELEASE = "Data Release 45.0 - December 04, 2025"
_DOCUMENTED = """
    file_id file_name md5sum file_size state access version data_release data_format type analysis.workflow_type
    platform cases.case_id cases.submitter_id cases.project.project_id cases.samples.sample_id
    cases.samples.submitter_id cases.samples.sample_type cases.samples.tissue_type cases.samples.tumor_descriptor
    cases.samples.specimen_type cases.samples.preservation_method cases.samples.portions.is_ffpe
    cases.samples.portions.analytes.aliquots.aliquot_id cases.samples.portions.analytes.aliquots.submitter_id
    associated_entities.entity_submitter_id associated_entities.entity_id associated_entities.entity_type
    annotations.annotation_id annotations.category annotations.classification annotations.notes
"""
FIELDS = frozenset(_DOCUMENTED.split())
SUCCESSOR = "00000000-0000-0000-0000-000000000002"
BARCODES = (
    "TCGA-ZZ-0001-01A-11R-A001-07",
    "TCGA-ZZ-0001-01B-11R-A001-07",
    "TCGA-ZZ-0002-01A-11R-A001-07",
    "TCGA-ZZ-0002-11A-11R-A001-07",
    "TCGA-ZZ-0003-06A-11H-A001-07",
    "TCGA-ZZ-0004-01A-11R-A001-07",
)
CHOSEN = (BARCODES[0], BARCODES[2], BARCODES[4], BARCODES[5])
_NAMES = {"01": "Primary Tumor", "11": "Solid Tissue Normal", "06": "Metastatic"}


@dataclass(frozen=True)
class Habits:
    """What the documentation leaves open.

    Attributes:
        unknown: Documented fields that the portal does not know (any more).
        page_limit: Records that it gives a page, whatever is asked for.
        has_new_types: Whether samples have `tissue_type` and the like.
        has_old_type: Whether samples have `sample_type`.
        has_warnings: Whether an answer without warnings has the key.
        quotes_sizes: Whether sizes are texts.
        is_chunked: Whether bodies come in chunks, without a length.
        breaks_after: Bytes after which each answer with a file breaks off; 0 for never.
        nonsense: Answers to the first question of each kind: a status and a body.
        moves: Whether the first question of each kind is answered with a redirect to the same address.
        gone: Aliquot whose file is listed, and not served any more; its history begins with the newest version.
    """

    unknown: tuple[str, ...] = ()
    page_limit: int = 10_000
    has_new_types: bool = True
    has_old_type: bool = True
    has_warnings: bool = True
    quotes_sizes: bool = False
    is_chunked: bool = False
    breaks_after: int = 0
    nonsense: tuple[int, bytes] | None = None
    moves: bool = False
    gone: str = ""


@dataclass
class ForeignPortal:
    """A portal while it runs: its address, the bodies of its files by id, and the paths it was asked for."""

    habits: Habits
    url: str = ""
    asked: list[str] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    files: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        for barcode in BARCODES:
            self.files.append(self._file(barcode))

    def _file(self, barcode: str) -> Json:
        file_id = str(uuid.uuid5(uuid.NAMESPACE_OID, barcode))
        content = hashlib.sha256(barcode.encode()).hexdigest().encode() * 100
        self.bodies[file_id] = content
        code = barcode[13:15]
        sample: Json = {
            "submitter_id": barcode[:16],
            "preservation_method": None,
            "portions": [{"is_ffpe": False, "analytes": [{"aliquots": [{"submitter_id": barcode}]}]}],
        }
        if self.habits.has_old_type:
            sample["sample_type"] = _NAMES[code]
        if self.habits.has_new_types:
            sample["tissue_type"] = "Normal" if code == "11" else "Tumor"
            sample["tumor_descriptor"] = {"01": "Primary", "06": "Metastatic"}.get(code, "Not Applicable")
            sample["specimen_type"] = "Solid Tissue"
        return {
            "id": file_id,
            "file_id": file_id,
            "file_name": _file_name(barcode),
            "md5sum": hashlib.md5(content, usedforsecurity=False).hexdigest(),
            "file_size": str(len(content)) if self.habits.quotes_sizes else len(content),
            "state": "released",
            "access": "open",
            "cases": [
                {"case_id": barcode[:12], "submitter_id": barcode[:12], "project": _PROJECT, "samples": [sample]}
            ],
        }

    def is_gone(self, file_id: str) -> bool:
        """Whether a file is not served any more."""
        return any(
            file["file_id"] == file_id and file["file_name"] == _file_name(self.habits.gone) for file in self.files
        )

    def page(self, kind: str, question: Json) -> Json:
        """One page of a search for `projects`, `cases` or `files`; everything it has is what is looked for."""
        patients = sorted({barcode[:12] for barcode in BARCODES})
        records = {
            "projects": [{"id": "TCGA-ZZ"} | _PROJECT],
            "cases": [{"id": name, "case_id": name, "submitter_id": name, "project": _PROJECT} for name in patients],
            "files": sorted(self.files, key=lambda file: str(file["file_id"])),
        }[kind]
        size, start = min(int(question["size"]), self.habits.page_limit), int(question["from"])
        hits, total = records[start : start + size], len(records)
        names = [name for name in str(question.get("fields", "")).split(",") if name]
        strange = [name for name in names if name not in FIELDS.difference(self.habits.unknown)]
        warnings = {"fields": f"unrecognized values: [{', '.join(strange)}]"} if strange else {}
        pagination = {"count": len(hits), "total": total, "size": size, "from": start, "sort": "None"}
        pagination |= {"page": start // size + 1, "pages": -(-total // size)}
        answer: Json = {"data": {"hits": hits, "pagination": pagination}}
        return answer | ({"warnings": warnings} if warnings or self.habits.has_warnings else {})


_PROJECT = {"project_id": "TCGA-ZZ"}


def _file_name(barcode: str) -> str:
    return f"{barcode}.tsv"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    portal: ForeignPortal

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, question: Json) -> None:
        portal, kind = self.portal, self.path.removeprefix("/api/").split("/")
        is_first = self.path not in portal.asked
        portal.asked.append(self.path)
        if kind[0] == "data" and portal.is_gone(kind[1]):
            self._send(404, b'{"message": "not found"}')
        elif kind[0] == "history":
            lines = [(SUCCESSOR, "2", "released", "32.0"), (kind[1], "1", "superseded", "12.0")]
            keys = ("uuid", "version", "file_change", "data_release")
            self._send(200, json.dumps([dict(zip(keys, line, strict=True)) for line in lines]).encode())
        elif kind[0] == "data":
            self._send_file(portal.bodies[kind[1]])
        elif is_first and portal.habits.moves:
            self._send(307, b"", {"Location": self.path})
        elif is_first and portal.habits.nonsense:
            self._send(*portal.habits.nonsense)
        elif kind[0] == "status":
            self._send(200, json.dumps({"data_release": RELEASE, "status": "OK", "tag": "8.5.0"}).encode())
        else:
            self._send(200, json.dumps(portal.page(kind[0], question)).encode())

    def _send_file(self, content: bytes) -> None:
        limit, start = self.portal.habits.breaks_after, 0
        if self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        self._send(206 if start else 200, content[start:], headers, limit)

    def _send(self, code: int, content: bytes, headers: Json | None = None, limit: int = 0) -> None:
        is_chunked = self.portal.habits.is_chunked
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        framing = ("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", str(len(content)))
        self.send_header(*framing)
        self.end_headers()
        sent = content[: limit or None]
        if is_chunked:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(sent), sent) if sent else b"")
        else:
            self.wfile.write(sent)
        if len(sent) < len(content):
            self.close_connection = True
        elif is_chunked:
            self.wfile.write(b"0\r\n\r\n")


@contextmanager
def foreign_portal(habits: Habits) -> Iterator[ForeignPortal]:
    """A portal on this machine while the block runs."""
    portal = ForeignPortal(habits)
    handler = type("Handler", (_Handler,), {"portal": portal})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        portal.url = f"http://127.0.0.1:{server.server_address[1]}/api/"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield portal
        finally:
            server.shutdown()
            thread.join()
