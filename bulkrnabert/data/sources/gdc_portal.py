"""What the stand-in portal answers, without HTTP: a request in, status, headers and body out."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bulkrnabert.data.sources.gdc_answers import PortalRequest, PortalResponse, json_response
from bulkrnabert.data.sources.gdc_faults import Fault, answer_instead, spoil
from bulkrnabert.data.sources.gdc_filters import (
    FilterError,
    Json,
    compile_filter,
    leaf_paths,
    project,
    sort_records,
)
from bulkrnabert.data.synthetic import SyntheticStudy
from bulkrnabert.data.synthetic_patients import (
    Outcome,
    Patient,
    annotation_record,
    case_record,
)

MAX_URL = 8000
_INTEGRITY_FIELDS = {"md5sum", "file_size"}
_DEFAULT_FILE_FIELDS = {
    "data_format",
    "access",
    "file_name",
    "submitter_id",
    "data_category",
    "acl",
    "type",
    "file_size",
    "created_datetime",
    "updated_datetime",
    "file_id",
    "data_type",
    "state",
    "experimental_strategy",
    "version",
    "data_release",
}


class _RefusalError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.response = json_response(status, {"message": message})


@dataclass(frozen=True)
class _Endpoint:
    """One searchable kind of record.

    Attributes:
        name: `files`, `cases`, `projects` or `annotations`.
        records: All records; of files without md5 and size.
        known: Paths that a request may name.
        defaults: Paths that are answered when none are named.
    """

    name: str
    records: list[Json]
    known: set[str]
    defaults: set[str]

    @property
    def groups(self) -> set[str]:
        """Names that `expand` knows."""
        parts = (path.split(".") for path in self.known)
        return {".".join(path[:depth]) for path in parts for depth in range(1, len(path))}

    def resolve(self, name: str) -> str:
        """Path of a field, whose name may start with the endpoint's own."""
        for path in (name, name.removeprefix(f"{self.name}.")):
            if path in self.known:
                return path
        raise FilterError(f"unknown field {name!r} on /{self.name}")


class Portal:
    """Answers requests about a study in the shape of the GDC's interface.

    Unsorted pages come in another order every time, as the real ones may.

    Args:
        study: The world to serve.
    """

    def __init__(self, study: SyntheticStudy) -> None:
        self._study = study
        self._shuffle = random.Random(study.config.seed)
        self._lock = threading.Lock()
        self._endpoints = {endpoint.name: endpoint for endpoint in self._make_endpoints(study)}
        self._routes: list[tuple[re.Pattern[str], Callable[[PortalRequest, re.Match[str]], PortalResponse]]] = [
            (re.compile(r"/status"), lambda _request, _match: json_response(200, study.status())),
            (re.compile(r"/(files|cases|projects|annotations)"), self._search),
            (re.compile(r"/(files|cases|projects|annotations)/_mapping"), self._mapping),
            (re.compile(r"/files/versions/([^/]+)"), self._versions),
            (re.compile(r"/(files|cases|projects|annotations)/([^/]+)"), self._single),
            (re.compile(r"/history/([^/]+)"), self._history),
            (re.compile(r"/data(?:/([^/]+))?"), self._data),
        ]

    @staticmethod
    def _make_endpoints(study: SyntheticStudy) -> list[_Endpoint]:
        # Records that have every optional group, so that the known fields do not depend on who is in the study.
        seed = study.config.seed
        patient = Patient(study.project_ids[0], 0, "TCGA-S0-0000", "", frozenset({"follow_up_elsewhere"}))
        full_case = case_record(seed, patient, Outcome(time_days=1, is_dead=False))
        annotation = annotation_record(seed, patient)
        files, cases, projects = study.files(), study.cases(), study.projects()
        file_fields = leaf_paths(files) | leaf_paths(annotation, "annotations") | _INTEGRITY_FIELDS
        case_fields = leaf_paths(full_case)
        return [
            _Endpoint("files", files, file_fields, _DEFAULT_FILE_FIELDS),
            _Endpoint("cases", cases, case_fields, {path for path in case_fields if "." not in path}),
            _Endpoint("projects", projects, leaf_paths(projects), leaf_paths(projects)),
            _Endpoint(
                "annotations",
                study.annotations(),
                leaf_paths(annotation),
                {path for path in leaf_paths(annotation) if "." not in path},
            ),
        ]

    def answer(self, request: PortalRequest, faults: Sequence[Fault] = ()) -> PortalResponse:
        """The answer to a request, spoilt by the faults that strike it."""
        path = re.sub(r"^/v0(?=/|$)", "", request.path)
        for fault in faults:
            response = answer_instead(fault)
            if response is not None:
                return response
        try:
            response = self._route(replace(request, path=path))
        except FilterError as error:
            response = json_response(400, {"error": "Bad Request", "message": str(error)})
        except _RefusalError as refusal:
            response = refusal.response
        for fault in faults:
            response = spoil(response, fault, path)
        return response

    def _route(self, request: PortalRequest) -> PortalResponse:
        for pattern, handler in self._routes:
            match = pattern.fullmatch(request.path)
            if match is not None:
                return handler(request, match)
        raise _RefusalError(404, f"no such endpoint: {request.path}")

    # ---- search ----

    def _search(self, request: PortalRequest, match: re.Match[str]) -> PortalResponse:
        endpoint = self._endpoints[match[1]]
        parameters = request.parameters
        _refuse_unserved(parameters)
        size = _whole_number(parameters, "size", 10)
        start = _whole_number(parameters, "from", 0)
        sort = str(parameters.get("sort") or "")
        filters = parameters.get("filters")
        records = endpoint.records
        if _needs_integrity(filters, sort):
            records = [self._study.with_integrity(record) for record in records]
        if filters:
            is_found = compile_filter(filters, endpoint.resolve)
            records = [record for record in records if is_found(record)]
        records = sort_records(records, sort, endpoint.resolve) if sort else self._shuffled(records)
        wanted, warnings = _wanted_fields(endpoint, parameters)
        page = [self._project(endpoint, record, wanted) for record in records[start : start + size]]
        total = len(records)
        pagination = {
            "count": len(page),
            "total": total,
            "size": size,
            "from": start,
            "sort": sort,
            "page": start // size + 1 if total and size else int(total > 0),
            "pages": -(-total // size) if size else total,
        }
        return json_response(200, {"data": {"hits": page, "pagination": pagination}, "warnings": warnings})

    def _shuffled(self, records: list[Json]) -> list[Json]:
        with self._lock:
            return self._shuffle.sample(records, len(records))

    def _project(self, endpoint: _Endpoint, record: Json, wanted: set[str]) -> Json:
        if endpoint.name == "files" and wanted & _INTEGRITY_FIELDS:
            record = self._study.with_integrity(record)
        return project(record, wanted)

    def _single(self, request: PortalRequest, match: re.Match[str]) -> PortalResponse:
        endpoint = self._endpoints[match[1]]
        record = next((record for record in endpoint.records if record["id"] == match[2]), None)
        if record is None:
            raise _RefusalError(404, f"The requested entity was not found: {match[2]}")
        wanted, warnings = _wanted_fields(endpoint, request.parameters)
        return json_response(200, {"data": self._project(endpoint, record, wanted), "warnings": warnings})

    def _mapping(self, _request: PortalRequest, match: re.Match[str]) -> PortalResponse:
        endpoint = self._endpoints[match[1]]
        return json_response(
            200,
            {
                "fields": sorted(endpoint.known),
                "expand": sorted(endpoint.groups),
                "defaults": sorted(endpoint.defaults),
            },
        )

    # ---- files ----

    def _history(self, _request: PortalRequest, match: re.Match[str]) -> PortalResponse:
        history = self._study.history(match[1])
        if not history:
            raise _RefusalError(404, f"no file {match[1]}")
        return json_response(200, history)

    def _versions(self, _request: PortalRequest, match: re.Match[str]) -> PortalResponse:
        return json_response(200, [self._version(file_id) for file_id in match[1].split(",")])

    def _version(self, file_id: str) -> Json:
        history = self._study.history(file_id)
        if not history:
            raise _RefusalError(404, f"no file {file_id}")
        own = next(version for version in history if version["uuid"] == file_id)
        answer = {"id": file_id, "version": own["version"], "release": own["data_release"]}
        for prefix, version in (("", own), ("latest_", history[-1])):
            md5, size = self._study.integrity(version["uuid"])
            name = self._study.all_files[version["uuid"]].file_name
            answer |= {f"{prefix}filename": name, f"{prefix}md5": md5, f"{prefix}size": size}
        return answer | {"latest_id": history[-1]["uuid"], "latest_version": history[-1]["version"]}

    def _data(self, request: PortalRequest, match: re.Match[str]) -> PortalResponse:
        file_id = match[1] or ""
        if request.method != "GET" or not file_id or "," in file_id:
            raise _RefusalError(400, "this stand-in serves one file a request: GET /data/{file_id}")
        file = self._study.all_files.get(file_id)
        if file is None or file.change == "superseded":
            raise _RefusalError(404, f"no file {file_id}")
        if file.change == "redacted":
            raise _RefusalError(451, f"file {file_id} was redacted")
        if file.access != "open":
            raise _RefusalError(403, "You don't have access to the data: Please specify a X-Auth-Token")
        body = self._study.file_body(file_id)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f"attachment; filename={file.file_name}",
            "Content-MD5": self._study.integrity(file_id)[0],
            "Accept-Ranges": "bytes",
        }
        return _ranged(body, headers, request.byte_range)


def _ranged(body: bytes, headers: dict[str, str], byte_range: str | None) -> PortalResponse:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", byte_range or "")
    if match is None:
        return PortalResponse(200, body, headers)
    first, last = int(match[1]), min(int(match[2] or len(body)), len(body) - 1)
    if first > last:
        return PortalResponse(416, b"", {"Content-Range": f"bytes */{len(body)}"})
    return PortalResponse(
        206, body[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(body)}"}
    )


def _refuse_unserved(parameters: Mapping[str, Any]) -> None:
    if str(parameters.get("format", "json")).lower() != "json":
        raise _RefusalError(400, "this stand-in answers JSON only")
    for name in ("facets", "return_type"):
        if name in parameters:
            raise _RefusalError(400, f"this stand-in does not serve {name!r}")


def _whole_number(parameters: Mapping[str, Any], name: str, default: int) -> int:
    value = str(parameters.get(name, default))
    if not re.fullmatch(r"\d{1,9}", value):
        raise _RefusalError(400, f"{name} must be a whole number of at least 0, found {value!r}")
    return int(value)


def _needs_integrity(filters: object, sort: str) -> bool:
    asked = json.dumps(filters) + sort
    return any(name in asked for name in _INTEGRITY_FIELDS)


def _names(parameters: Mapping[str, Any], key: str) -> list[str]:
    value = parameters.get(key) or ""
    names = value if isinstance(value, list) else str(value).split(",")
    return [str(name).strip() for name in names if str(name).strip()]


def _wanted_fields(endpoint: _Endpoint, parameters: Mapping[str, Any]) -> tuple[set[str], Json]:
    """Paths to answer, and the warnings about names that the portal does not know."""
    fields, groups = _names(parameters, "fields"), _names(parameters, "expand")
    wanted: set[str] = set()
    unknown: dict[str, list[str]] = {"fields": [], "expand": []}
    for name in fields:
        try:
            wanted.add(endpoint.resolve(name))
        except FilterError:
            unknown["fields"].append(name)
    if not fields:
        wanted |= endpoint.defaults
    for name in groups:
        group = name.removeprefix(f"{endpoint.name}.") if name not in endpoint.groups else name
        if group not in endpoint.groups:
            unknown["expand"].append(name)
        wanted |= {path for path in endpoint.known if path.rpartition(".")[0] == group}
    warnings = {key: f"unrecognized values: [{', '.join(names)}]" for key, names in unknown.items() if names}
    return wanted, warnings
