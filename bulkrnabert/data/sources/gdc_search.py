"""Search as the GDC answers it: pages, fields, facets, warnings and the flat table; used by the stand-in portal."""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from bulkrnabert.data.sources.gdc_answers import (
    PortalResponse,
    RefusalError,
    is_set,
    json_response,
    named_values,
)
from bulkrnabert.data.sources.gdc_filters import (
    FilterError,
    Json,
    compile_filter,
    project,
    read_filter,
    sort_records,
    values_at,
    without_field,
)
from bulkrnabert.data.sources.gdc_records import FROM_BODIES, Endpoint, endpoints_of
from bulkrnabert.data.synthetic import SyntheticStudy

MISSING_BUCKET = "_missing"
FORMATS = ("json", "tsv")
# The index keeps identifiers and names as they are; every other text comes back from a facet in lower case.
_KEEPS_CASE = re.compile(r"(^|\.)(name|[a-z_]*id)$")


class Search:
    """Answers searches about a study.

    Unsorted records come in another order every time, as the real ones may.

    Args:
        study: The world to search.
        missing_needs_parent: Whether `is MISSING` overlooks records that lack the whole group, as the GDC does.
    """

    def __init__(self, study: SyntheticStudy, missing_needs_parent: bool) -> None:
        self._study = study
        self._missing_needs_parent = missing_needs_parent
        self._shuffle = random.Random(study.config.seed)
        self._lock = threading.Lock()
        self.endpoints = endpoints_of(study)

    def find(self, endpoint: Endpoint, filters: object) -> list[Json]:
        """Records that a filter finds, all of them for None.

        Raises:
            FilterError: the filter does not follow the grammar.
        """
        records = endpoint.records
        if _names_body_fields(filters):
            records = [self._with_body_fields(endpoint, record) for record in records]
        if not filters:
            return records
        is_found = compile_filter(filters, endpoint.resolve, self._missing_needs_parent)
        return [record for record in records if is_found(record)]

    def page(self, endpoint: Endpoint, parameters: Mapping[str, Any]) -> PortalResponse:
        """One page of a search.

        Raises:
            FilterError, RefusalError: the question is malformed.
        """
        layout = _format(parameters)
        size = _whole_number(parameters, "size", 10)
        start = _whole_number(parameters, "from", 0)
        sort = ",".join(named_values(parameters, "sort"))
        filters = read_filter(parameters.get("filters") or None)
        records = self.find(endpoint, filters)
        if _names_body_fields(sort):
            records = [self._with_body_fields(endpoint, record) for record in records]
        records = sort_records(records, sort, endpoint.resolve) if sort else self._shuffled(records)
        wanted, warnings = _wanted_fields(endpoint, parameters)
        hits = [self._project(endpoint, record, wanted) for record in records[start : start + size]]
        if layout == "tsv":
            return PortalResponse(200, _table(hits).encode(), {"Content-Type": "text/tab-separated-values"})
        total = len(records)
        data: Json = {"hits": hits}
        facets = named_values(parameters, "facets")
        if facets:
            aggregations, unknown = self._aggregate(endpoint, facets, filters)
            if aggregations:
                data["aggregations"] = aggregations
            if unknown:
                warnings["facets"] = _unrecognised(unknown)
        data["pagination"] = {
            "count": len(hits),
            "total": total,
            "size": size,
            "from": start,
            "sort": sort,
            "page": start // size + 1 if total and size else int(total > 0),
            "pages": -(-total // size) if size else total,
        }
        return json_response(200, {"data": data, "warnings": warnings}, indent=_indent(parameters))

    def single(self, endpoint: Endpoint, entity_id: str, parameters: Mapping[str, Any]) -> PortalResponse:
        """One record by its id.

        Raises:
            RefusalError: there is none.
        """
        record = endpoint.by_id.get(entity_id)
        if record is None:
            raise RefusalError(404, f"The requested entity was not found: {entity_id}")
        wanted, warnings = _wanted_fields(endpoint, parameters)
        hit = self._project(endpoint, record, wanted)
        if "id" not in named_values(parameters, "fields"):
            hit = {key: value for key, value in hit.items() if key != "id"}
        return json_response(200, {"data": hit, "warnings": warnings}, indent=_indent(parameters))

    def mapping(self, endpoint: Endpoint) -> PortalResponse:
        """The names that a search of this kind knows."""
        fields = sorted(endpoint.known)
        content = {
            "fields": fields,
            "expand": sorted(endpoint.groups),
            "defaults": sorted(endpoint.defaults),
            "nested": sorted(group for group in endpoint.groups if _is_list(endpoint.records, group)),
            "multi": [],
            "_mapping": {f"{endpoint.name}.{name}": {"doc_type": endpoint.name, "field": name} for name in fields},
        }
        return json_response(200, content)

    # ---- parts ----

    def _shuffled(self, records: list[Json]) -> list[Json]:
        with self._lock:
            return self._shuffle.sample(records, len(records))

    def _project(self, endpoint: Endpoint, record: Json, wanted: set[str]) -> Json:
        if any(path.rpartition(".")[2] in FROM_BODIES for path in wanted):
            record = self._with_body_fields(endpoint, record)
        return project(record, wanted)

    def _with_body_fields(self, endpoint: Endpoint, record: Json) -> Json:
        """A record with what only the bodies of its files tell."""
        if endpoint.name == "files":
            return self._study.with_integrity(record)
        if endpoint.name == "cases":
            return {**record, "files": [self._study.with_integrity(file) for file in record.get("files", [])]}
        if endpoint.name == "projects":
            own = [
                file["file_id"]
                for file in self.endpoints["files"].records
                if file["cases"][0]["project"]["project_id"] == record["project_id"]
            ]
            size = sum(self._study.integrity(file_id)[1] for file_id in own)
            return {**record, "summary": {**record["summary"], "file_size": size}}
        return record

    def _aggregate(self, endpoint: Endpoint, facets: list[str], filters: object) -> tuple[Json, list[str]]:
        """Counts of records by value, and the facets that are no field."""
        aggregations: Json = {}
        unknown = []
        for name in facets:
            try:
                path = endpoint.resolve(name)
            except FilterError:
                unknown.append(name)
                continue
            # A facet shows what could be chosen instead, and so ignores the choice made on its own field.
            others = without_field(filters, path, endpoint.resolve)
            counts: Counter[str] = Counter()
            for record in self.find(endpoint, others):
                values = {_bucket_key(path, value) for value in values_at(record, path)}
                counts.update(values or {MISSING_BUCKET})
            ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            aggregations[name] = {"buckets": [{"doc_count": count, "key": key} for key, count in ordered]}
        return aggregations, unknown


def _bucket_key(path: str, value: object) -> str:
    text = str(value)
    return text if _KEEPS_CASE.search(path) else text.lower()


def _is_list(records: list[Json], group: str) -> bool:
    def reaches(record: object, keys: list[str]) -> bool:
        if isinstance(record, list):
            return not keys or any(reaches(item, keys) for item in record)
        return isinstance(record, dict) and bool(keys) and reaches(record.get(keys[0]), keys[1:])

    return any(reaches(record, group.split(".")) for record in records[:50])


def _format(parameters: Mapping[str, Any]) -> str:
    layout = str(parameters.get("format") or "json").lower()
    if layout not in FORMATS:
        raise RefusalError(400, f"format {layout!r}: this stand-in answers {' and '.join(FORMATS)}")
    return layout


def _indent(parameters: Mapping[str, Any]) -> int | None:
    return 2 if is_set(parameters, "pretty") else None


def _whole_number(parameters: Mapping[str, Any], name: str, default: int) -> int:
    value = str(parameters.get(name, "")).strip() or str(default)
    if not re.fullmatch(r"\d{1,9}", value):
        raise RefusalError(400, f"{name} must be a whole number of at least 0, found {value!r}")
    return int(value)


def _names_body_fields(question: object) -> bool:
    asked = json.dumps(question)
    return any(name in asked for name in FROM_BODIES)


def _unrecognised(names: list[str]) -> str:
    return f"unrecognized values: [{', '.join(names)}]"


def _wanted_fields(endpoint: Endpoint, parameters: Mapping[str, Any]) -> tuple[set[str], Json]:
    """Paths to answer, and the warnings about names that the portal does not know."""
    fields, groups = named_values(parameters, "fields"), named_values(parameters, "expand")
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
    return wanted, {key: _unrecognised(names) for key, names in unknown.items() if names}


def _table(hits: list[Json]) -> str:
    """Records as tab-separated text: a column for each path of any of them, lists by number, in alphabetical order."""
    rows = [dict(_flat(hit, "")) for hit in hits]
    columns = sorted({path for row in rows for path in row})
    lines = ["\t".join(columns)] + ["\t".join(row.get(column, "") for column in columns) for row in rows]
    return "\r\n".join(lines) + "\r\n" if rows else ""


def _flat(value: object, path: str) -> list[tuple[str, str]]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [pair for key, item in items for pair in _flat(item, f"{path}.{key}" if path else str(key))]
    return [(path, "" if value is None else str(value))]
