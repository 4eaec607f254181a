"""A user's own list of files: manifests of the GDC, and the plan that fetches exactly what one lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from bulkrnabert.data.sources.delimited import TextRow, read_cells
from bulkrnabert.data.sources.gdc import GdcClient
from bulkrnabert.data.sources.gdc_hits import FileRecord, read_file_record
from bulkrnabert.data.sources.gdc_pages import LatestFile, read_versions
from bulkrnabert.data.sources.gdc_plan import Json, Plan, is_file_id, is_md5
from bulkrnabert.data.sources.gdc_planning import FILE_FIELDS, OPTIONAL_FIELDS, WANTED_FILES, check_release
from bulkrnabert.data.sources.gdc_rules import Modality, SelectionRules
from bulkrnabert.data.sources.gdc_selection import Selection, select_files
from bulkrnabert.errors import DataError, PortalAnswerError, join_problems

IDS_A_REQUEST = 500
IDS_A_LOOKUP = 50
MAX_LOOKED_UP = 200
_COLUMNS = ("id", "filename", "md5", "size")


@dataclass(frozen=True)
class ManifestFile:
    """One line of a manifest.

    Attributes:
        size: Bytes.
        state: Empty where the manifest does not say it.
        new_id: What took the file's place, in a mapping between data releases; None when nothing did or it is not said.
    """

    file_id: str
    file_name: str
    md5: str
    size: int
    state: str = ""
    new_id: str | None = None


def read_manifest(path: Path) -> tuple[ManifestFile, ...]:
    """Read a manifest of the GDC: `id filename md5 size state`, separated by tabs; further columns do not matter.

    Reads the `manifest.tsv` of a raw folder too, and the mappings between releases that the GDC publishes (`new_id`).

    Raises:
        DataError: columns are missing, or lines are no files or stand there twice (lists them).
    """
    header, *rows = read_cells(path)
    names = [cell.lower() for cell in header.cells]
    missing = [column for column in _COLUMNS if column not in names]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)} in {', '.join(header.cells[:10])}; expected a manifest of the GDC"
            " with id, filename, md5, size and state"
        )
    if not rows:
        raise DataError(f"{path}: the manifest lists no file")
    problems: list[str] = []
    files: dict[str, ManifestFile] = {}
    for row in rows:
        file = _read_line(row, names)
        if isinstance(file, str):
            problems.append(f"line {row.number}: {file}")
        elif file.file_id in files:
            problems.append(f"line {row.number}: file {file.file_id} is listed before")
        else:
            files[file.file_id] = file
    if problems:
        raise DataError(join_problems(str(path), problems))
    return tuple(files.values())


def _read_line(row: TextRow, names: Sequence[str]) -> ManifestFile | str:
    """A file; a text says what is wrong with the line."""
    cells = dict(zip(names, row.cells, strict=False))
    file_id, md5, size = (cells.get(name, "").lower() for name in ("id", "md5", "size"))
    if not is_file_id(file_id):
        return f"id {cells.get('id', '')!r}; expected a UUID"
    if not is_md5(md5):
        return f"md5 {cells.get('md5', '')!r} of {file_id}; expected 32 hexadecimal digits"
    if not (size.isascii() and size.isdigit()):
        return f"size {size!r} of {file_id}; expected a number of bytes"
    new_id = cells.get("new_id", "").lower()
    return ManifestFile(
        file_id=file_id,
        file_name=cells.get("filename", ""),
        md5=md5,
        size=int(size),
        state=cells.get("state", ""),
        new_id=new_id if is_file_id(new_id) else None,
    )


def plan_from_manifest(
    client: GdcClient,
    manifest: Sequence[ManifestFile],
    modality: Modality,
    api_name: str,
    rules: SelectionRules | None = None,
) -> Plan:
    """Ask the portal about the files of a manifest, and plan to fetch them.

    Args:
        client: The portal.
        manifest: From `read_manifest`.
        modality: What the files are.
        api_name: How the plan names the portal.
        rules: Which of the files are wanted; None for every one of them.
    Raises:
        DataError: the portal does not have a file (any more), has another content for it, or it is of another kind
            (lists them, with what took their place); or the rules leave none.
        PortalError: the portal's answers cannot be used, or its data release changed meanwhile.
    """
    before = client.status()
    ids = sorted(file.file_id for file in manifest)
    fields = (*FILE_FIELDS, *WANTED_FILES[modality])
    hits: list[Json] = []
    for start in range(0, len(ids), IDS_A_REQUEST):
        filters = _filter_of(ids[start : start + IDS_A_REQUEST])
        hits += client.query("files", sort="file_id", filters=filters, fields=fields, optional_fields=OPTIONAL_FIELDS)
    check_release(client, before.data_release)
    problems = _problems(client, manifest, hits, modality)
    if problems:
        raise DataError(join_problems("manifest", problems))
    selection = _take_all(hits) if rules is None else select_files(hits, modality, rules)
    if not selection.files:
        raise DataError(f"nothing to download: the rules leave out all {len(hits)} files of the manifest")
    projects = tuple(sorted({file.project_id for file in selection.files}))
    return Plan(
        api=api_name,
        api_tag=before.tag,
        data_release=before.data_release,
        projects=projects,
        modality=modality,
        sample_types="all" if rules is None else rules.tissue,
        rules=rules,
        files=selection.files,
        rejected=selection.rejected,
    )


def _filter_of(ids: Sequence[str]) -> Json:
    return {"op": "in", "content": {"field": "file_id", "value": list(ids)}}


def _problems(
    client: GdcClient, manifest: Sequence[ManifestFile], hits: Sequence[Json], modality: Modality
) -> list[str]:
    """What speaks against fetching the files of a manifest, a line a file."""
    found = {str(hit.get("file_id")): hit for hit in hits}
    fates = _fates(client, [file for file in manifest if file.file_id not in found])
    problems = []
    for file in sorted(manifest, key=lambda file: file.file_id):
        named = f"{file.file_id} ({file.file_name})"
        if file.file_id not in found:
            problems.append(f"{named}: {fates[file.file_id]}")
            continue
        record = read_file_record(found[file.file_id])
        other = _other_kind(found[file.file_id], modality)
        if other:
            problems.append(f"{named}: {other}; expected {modality} files")
        elif (record.planned.md5, record.planned.size) != (file.md5, file.size):
            problems.append(
                f"{named}: md5 {file.md5} and {file.size} bytes in the manifest, {record.planned.md5} and"
                f" {record.planned.size} at the portal; get a new manifest"
            )
        elif not _is_of_one(record):
            problems.append(
                f"{named}: made from {record.n_cases} cases, {record.n_samples} samples and {record.n_aliquots}"
                " aliquots; expected one of each"
            )
    return problems


def _is_of_one(record: FileRecord) -> bool:
    return record.n_cases == record.n_samples == record.n_aliquots == 1


def _other_kind(hit: Json, modality: Modality) -> str:
    """What a file is that is not of a modality; empty when it is."""
    for field, wanted in WANTED_FILES[modality].items():
        group, _, name = field.rpartition(".")
        home = hit.get(group) if group else hit
        value = home.get(name) if isinstance(home, dict) else None
        if value != wanted:
            return f"{name} {value!r}"
    return ""


def _take_all(hits: Sequence[Json]) -> Selection:
    files = (read_file_record(hit).planned for hit in hits)
    return Selection(files=tuple(sorted(files, key=lambda file: file.file_id)), rejected=())


def _fates(client: GdcClient, lost: Sequence[ManifestFile]) -> dict[str, str]:
    """What has become of files that the portal does not list, in words; the first 200 are looked up."""
    fates = {
        file.file_id: f"not at the portal; replaced by {file.new_id}" if file.new_id else "not at the portal"
        for file in lost
    }
    asked = sorted(fates)[:MAX_LOOKED_UP]
    for start in range(0, len(asked), IDS_A_LOOKUP):
        piece = asked[start : start + IDS_A_LOOKUP]
        answered = _newest(client, piece)
        if not answered:  # one id that the portal never had makes it refuse the whole list
            answered = tuple(file for file_id in piece for file in _newest(client, [file_id]))
        for file in answered:
            if file.latest_id in (None, file.file_id):
                after = f" after data release {file.latest_release}" if file.latest_release else ""
                fates[file.file_id] = f"withdrawn{after}, nothing took its place"
            else:
                release = f" (data release {file.latest_release})" if file.latest_release else ""
                fates[file.file_id] = f"superseded, replaced by {file.latest_id}{release}"
    return fates


def _newest(client: GdcClient, ids: Sequence[str]) -> tuple[LatestFile, ...]:
    """The newest versions of some files; none when the portal does not tell."""
    place = f"{client.api}/files/versions"
    try:
        response = client.session.get(
            f"{place}/{','.join(ids)}", timeout=client.policy.timeout_s, allow_redirects=False
        )
        if response.status_code != requests.codes.ok:
            return ()
        return tuple(file for file in read_versions(place, response.json()) if file.file_id in ids)
    except (requests.RequestException, ValueError, PortalAnswerError):
        return ()
