"""Downloads, manifests and versions as the GDC answers them; used by the stand-in portal."""

from __future__ import annotations

import gzip

from bulkrnabert.data.sources.gdc_answers import (
    PortalRequest,
    PortalResponse,
    RefusalError,
    is_set,
    json_response,
    named_values,
    ranged,
)
from bulkrnabert.data.sources.gdc_filters import Json
from bulkrnabert.data.sources.gdc_tar import MANIFEST_NAME, TarMember, pack
from bulkrnabert.data.synthetic import SyntheticStudy
from bulkrnabert.data.synthetic_patients import SyntheticFile, concerns

GOOD_TOKEN = "good"  # noqa: S105 - the one that tests send
MANIFEST_COLUMNS = ("id", "filename", "md5", "size", "state")
LAST_MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"
_STAMP = "20260101_000000"
_TEXT = "text/tab-separated-values"


class Downloads:
    """Answers requests for bodies, manifests and versions of files.

    Args:
        study: The world to serve.
    """

    def __init__(self, study: SyntheticStudy) -> None:
        self._study = study

    def data(self, request: PortalRequest, ids: list[str]) -> PortalResponse:
        """The body of one file, or an archive of several; one bad id refuses them all.

        Raises:
            RefusalError: no id, or one that is unknown, withdrawn or closed.
        """
        if not ids:
            raise RefusalError(400, "no ids: expected /data/{id}, /data/{id},{id} or a body with `ids`")
        files = [self._served_file(file_id, request.token) for file_id in dict.fromkeys(ids)]
        parameters = request.parameters
        if len(files) == 1 and not is_set(parameters, "tarfile"):
            return self._one(files[0], request, is_set(parameters, "compress"))
        is_packed = not is_set(parameters, "tarfile") or is_set(parameters, "compress")
        members = [TarMember(MANIFEST_NAME, self._manifest_text(files).encode())]
        for file in files:
            members.append(TarMember(f"{file.file_id}/{file.file_name}", self._study.file_body(file.file_id)))
            notes = self._annotations_text(file)
            if notes:
                members.append(TarMember(f"{file.file_id}/annotations.txt", notes.encode()))
        suffix, kind = ("tar.gz", "application/gzip") if is_packed else ("tar", "application/x-tar")
        headers = {
            "Content-Type": kind,
            "Content-Disposition": f"attachment; filename=gdc_download_{_STAMP}.000000.{suffix}",
        }
        return PortalResponse(200, pack(members, is_packed), headers, framing="chunked")

    def manifest(self, ids: list[str]) -> PortalResponse:
        """The manifest of the files, closed ones included.

        Raises:
            RefusalError: no id, or an unknown one.
        """
        if not ids:
            raise RefusalError(400, "no ids: expected /manifest/{ids} or a body with `ids`")
        for file_id in ids:
            self._known_file(file_id)
        return self._manifest([self._study.all_files[file_id] for file_id in ids])

    def manifest_of(self, records: list[Json]) -> PortalResponse:
        """The manifest of the files that a search found, whatever the page."""
        return self._manifest([self._study.all_files[record["file_id"]] for record in records])

    def history(self, file_id: str) -> PortalResponse:
        """Versions of a file, oldest first.

        Raises:
            RefusalError: an unknown id.
        """
        self._known_file(file_id)
        return json_response(200, self._study.history(file_id))

    def versions(self, ids: list[str]) -> PortalResponse:
        """For each file, its own and its latest version.

        Raises:
            RefusalError: no id, or an unknown one.
        """
        if not ids:
            raise RefusalError(400, "no ids: expected /files/versions/{ids} or a body with `ids`")
        return json_response(200, [self._version(file_id) for file_id in ids])

    # ---- parts ----

    def _known_file(self, file_id: str) -> SyntheticFile:
        file = self._study.all_files.get(file_id)
        if file is None:
            raise RefusalError(404, f"no file {file_id}")
        return file

    def _served_file(self, file_id: str, token: str | None) -> SyntheticFile:
        file = self._known_file(file_id)
        if file.change == "superseded":
            raise RefusalError(404, f"no file {file_id}")
        if file.change == "redacted":
            raise RefusalError(451, f"file {file_id} was redacted")
        if file.access != "open" and token != GOOD_TOKEN:
            raise RefusalError(
                403,
                "You don't have access to the data: Please specify a X-Auth-Token"
                if token is None
                else "Your token is invalid or expired. Please get a new token from GDC Data Portal.",
            )
        return file

    def _one(self, file: SyntheticFile, request: PortalRequest, is_packed: bool) -> PortalResponse:
        body = self._study.file_body(file.file_id)
        if is_packed:
            headers = {
                "Content-Type": "application/gzip",
                "Content-Disposition": f"attachment; filename={file.file_name}.gz",
            }
            return PortalResponse(200, gzip.compress(body, 1, mtime=0), headers, framing="chunked")
        md5 = self._study.integrity(file.file_id)[0]
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f"attachment; filename={file.file_name}",
            "Content-MD5": md5,
            "ETag": f'"{md5}"',
            "Last-Modified": LAST_MODIFIED,
            "Accept-Ranges": "bytes",
        }
        return ranged(body, headers, request)

    def _manifest(self, files: list[SyntheticFile]) -> PortalResponse:
        headers = {
            "Content-Type": _TEXT,
            "Content-Disposition": f"attachment; filename=gdc_manifest_{_STAMP}.txt",
        }
        return PortalResponse(200, self._manifest_text(files).encode(), headers)

    def _manifest_text(self, files: list[SyntheticFile]) -> str:
        lines = ["\t".join(MANIFEST_COLUMNS)]
        for file in files:
            md5, size = self._study.integrity(file.file_id)
            lines.append("\t".join((file.file_id, file.file_name, md5, str(size), "released")))
        return "\n".join(lines) + "\n"

    def _annotations_text(self, file: SyntheticFile) -> str:
        columns = ("id", "entity_submitter_id", "entity_type", "entity_id", "category", "classification", "notes")
        own = [note for note in self._study.annotations() if concerns(note, file)]
        rows = ["\t".join(str(note[column]) for column in columns) for note in own]
        return "\n".join(["\t".join(columns), *rows]) + "\n" if rows else ""

    def _version(self, file_id: str) -> Json:
        self._known_file(file_id)
        history = self._study.history(file_id)
        own = next(version for version in history if version["uuid"] == file_id)
        answer: Json = {"id": file_id}
        for prefix, version in (("", own), ("latest_", history[-1])):
            md5, size = self._study.integrity(version["uuid"])
            release = version["data_release"]
            answer |= {
                f"{prefix}id": version["uuid"],
                f"{prefix}filename": self._study.all_files[version["uuid"]].file_name,
                f"{prefix}version": version["version"],
                f"{prefix}md5": md5,
                f"{prefix}size": size,
                f"{prefix}state": "validated",
                f"{prefix}release": [release] if prefix else release,
            }
        return answer


def ids_of_request(request: PortalRequest, in_path: str | None) -> list[str]:
    """Ids in the path, in the parameter `ids`, or in the first column of a manifest that was sent."""
    if in_path:
        return [file_id for file_id in in_path.split(",") if file_id]
    if request.text:
        rows = [line.split("\t") for line in request.text.splitlines() if line.strip()]
        return [row[0] for row in rows if row[0] != MANIFEST_COLUMNS[0]]
    return named_values(request.parameters, "ids")
