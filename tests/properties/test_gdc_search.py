"""Laws of the GDC's filters, projections and pages, and of the choice of files."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkrnabert.data.sources.gdc import GdcClient
from bulkrnabert.data.sources.gdc_answers import PortalRequest, ranged
from bulkrnabert.data.sources.gdc_filters import (
    FilterError,
    compile_filter,
    leaf_paths,
    project,
    sort_records,
    values_at,
    without_field,
)
from bulkrnabert.data.sources.gdc_portal import Portal
from bulkrnabert.data.sources.gdc_rules import SelectionRules
from bulkrnabert.data.sources.gdc_selection import select_files
from bulkrnabert.data.sources.gdc_standin import ServerHandle, serve
from bulkrnabert.data.synthetic import SyntheticStudy

FIELDS = ("name", "size", "parts.kind", "parts.items.code")
words = st.sampled_from(["a", "b", "ab", "abc"])
numbers = st.integers(-3, 3)

records = st.fixed_dictionaries(
    {"id": st.uuids().map(str)},
    optional={
        "name": st.none() | words,
        "size": st.none() | numbers,
        "parts": st.lists(
            st.fixed_dictionaries(
                {"kind": words}, optional={"items": st.lists(st.fixed_dictionaries({"code": numbers}), max_size=2)}
            ),
            max_size=3,
        ),
    },
)
leaves = st.builds(
    lambda op, field, value: {"op": op, "content": {"field": field, "value": value}},
    st.sampled_from(["=", "!=", "in", "exclude", "excludeifany"]),
    st.sampled_from(FIELDS),
    words | numbers | st.lists(words | numbers, min_size=1, max_size=3),
) | st.builds(
    lambda op, field: {"op": op, "content": {"field": field, "value": "MISSING"}},
    st.sampled_from(["is", "not"]),
    st.sampled_from(FIELDS),
)
filters = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda op, parts: {"op": op, "content": parts},
        st.sampled_from(["and", "or"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


def found(content: object, record: dict[str, Any]) -> bool:
    return compile_filter(content, lambda name: name)(record)


def leaf(op: str, field: str, value: object) -> dict[str, Any]:
    return {"op": op, "content": {"field": field, "value": value}}


TWO_PARTS = {"id": "1", "name": "abc", "size": 10, "parts": [{"kind": "a"}, {"kind": "b", "items": [{"code": 7}]}]}


@pytest.mark.parametrize(
    ("op", "field", "value", "is_found"),
    [
        ("=", "name", "abc", True),
        ("=", "name", ["x", "abc"], True),
        ("=", "name", "a*", True),
        ("=", "name", "*d", False),
        ("=", "name", "a[b]c", False),
        ("=", "size", "10", True),
        ("in", "parts.kind", ["b"], True),
        ("=", "parts.items.code", 7, True),
        ("!=", "parts.kind", "a", False),
        ("exclude", "parts.kind", ["a"], True),  # not every part is an a
        ("exclude", "parts.kind", ["a", "b"], False),
        ("excludeifany", "parts.kind", ["a"], False),
        ("excludeifany", "parts.kind", ["c"], True),
        ("!=", "absent", "a", True),
        ("exclude", "absent", ["a"], True),
        ("<", "size", "9", False),  # as numbers, not as text
        ("<=", "size", 10, True),
        (">", "size", 9, True),
        (">=", "name", "abb", True),
        (">", "absent", 0, False),
        ("is", "parts.items.code", "MISSING", False),
        ("is", "absent", "missing", True),
        ("not", "absent", "MISSING", False),
        ("not", "name", None, True),
    ],
)
def test_operators(op: str, field: str, value: object, is_found: bool) -> None:
    assert found(leaf(op, field, value), TWO_PARTS) is is_found


def test_booleans_are_written_as_json_does() -> None:
    assert found(leaf("=", "is_ffpe", True), {"is_ffpe": True})
    assert found(leaf("=", "is_ffpe", "true"), {"is_ffpe": True})
    assert not found(leaf("=", "is_ffpe", False), {"is_ffpe": True})


def test_a_filter_may_be_text_but_not_bottomless() -> None:
    assert found('{"op": "=", "content": {"field": "name", "value": "abc"}}', TWO_PARTS)
    nested: dict[str, Any] = leaf("=", "name", "abc")
    for _ in range(1000):
        nested = {"op": "and", "content": [nested]}
    with pytest.raises(FilterError, match="nested deeper"):
        found(nested, TWO_PARTS)


@given(records, filters, filters)
def test_and_or_are_those_of_logic(record: dict[str, Any], one: dict[str, Any], two: dict[str, Any]) -> None:
    before = copy.deepcopy(record)
    assert found({"op": "and", "content": [one, two]}, record) == (found(one, record) and found(two, record))
    assert found({"op": "or", "content": [one, two]}, record) == (found(one, record) or found(two, record))
    assert record == before


@given(records, st.sampled_from(FIELDS), st.lists(words | numbers, min_size=1, max_size=3))
def test_opposites(record: dict[str, Any], field: str, value: list[Any]) -> None:
    assert found(leaf("in", field, value), record) != found(leaf("excludeifany", field, value), record)
    assert found(leaf("is", field, "MISSING"), record) != found(leaf("not", field, "MISSING"), record)
    if not found(leaf("exclude", field, value), record):
        assert not found(leaf("excludeifany", field, value), record)


@given(records, st.sampled_from(FIELDS))
def test_missing_finds_no_more_when_it_needs_the_group(record: dict[str, Any], field: str) -> None:
    missing, present = leaf("is", field, "MISSING"), leaf("not", field, "MISSING")
    strict = compile_filter(missing, lambda name: name, missing_needs_parent=True)(record)
    assert found(missing, record) or not strict
    assert compile_filter(present, lambda name: name, missing_needs_parent=True)(record) == found(present, record)


@given(records, filters, st.sampled_from(FIELDS))
def test_a_filter_without_a_field_does_not_depend_on_it(
    record: dict[str, Any], content: dict[str, Any], field: str
) -> None:
    rest = without_field(content, field, lambda name: name)
    assert f'"field": "{field}"' not in json.dumps(rest)
    if rest is not None and "." not in field:
        without = {key: value for key, value in record.items() if key != field}
        assert found(rest, record) == found(rest, without)


@given(st.binary(min_size=1, max_size=40), st.lists(st.integers(0, 40), max_size=4))
def test_ranges_join_to_the_whole(body: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    parts = []
    for first, last in itertools.pairwise(edges):
        request = PortalRequest("GET", "/data/x", {}, byte_range=f"bytes={first}-{last - 1}")
        answer = ranged(body, {"ETag": '"e"'}, request)
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes {first}-{last - 1}/{len(body)}"
        parts.append(answer.body)
    assert b"".join(parts) == body


@given(records, st.sets(st.sampled_from(FIELDS)))
def test_projection_keeps_what_was_asked_and_nothing_else(record: dict[str, Any], wanted: set[str]) -> None:
    projected = project(record, wanted)
    assert leaf_paths(projected) <= wanted | {"id"}
    assert projected["id"] == record["id"]
    for field in wanted:
        assert values_at(projected, field) == values_at(record, field)
    assert project(projected, wanted) == projected


@given(st.lists(records, max_size=8), st.sampled_from(["size:asc", "name:desc,size:asc", "parts.items.code:asc"]))
def test_sorting_loses_nothing_and_does_not_depend_on_the_order(rows: list[dict[str, Any]], sort: str) -> None:
    ordered = sort_records(rows, f"{sort},id", lambda name: name)
    assert sorted(row["id"] for row in ordered) == sorted(row["id"] for row in rows)
    assert sort_records(rows[::-1], f"{sort},id", lambda name: name) == ordered
    if sort == "size:asc":
        sizes = [row["size"] for row in ordered if row.get("size") is not None]
        assert sizes == sorted(sizes)
        assert all(row.get("size") is None for row in ordered[len(sizes) :])


# ---- pages ----

STUDY = SyntheticStudy.create(seed=11, cohorts=2, patients_per_cohort=11, genes=200, probes=100)
PORTAL = Portal(STUDY)


@pytest.fixture(scope="module")
def served() -> Iterator[ServerHandle]:
    with serve(STUDY) as handle:
        yield handle


def page(**parameters: Any) -> dict[str, Any]:
    return json.loads(PORTAL.answer(PortalRequest("POST", "/cases", parameters)).body)["data"]


@given(st.integers(0, 40), st.integers(0, 40))
def test_page_arithmetic(size: int, start: int) -> None:
    data = page(size=str(size), **{"from": start})
    pagination = data["pagination"]
    total = len(STUDY.patients)
    assert pagination["total"] == total
    assert pagination["count"] == len(data["hits"]) == max(0, min(size, total - start))
    if size:
        assert pagination["page"] == start // size + 1
        assert (pagination["pages"] - 1) * size < total <= pagination["pages"] * size


@given(st.integers(1, 30))
def test_sorted_pages_join_to_the_whole(size: int) -> None:
    ids = []
    for start in range(0, len(STUDY.patients), size):
        ids += [hit["id"] for hit in page(size=size, sort="case_id:asc", **{"from": start})["hits"]]
    assert ids == sorted(patient.case_id for patient in STUDY.patients)


@settings(max_examples=15)
@given(page_size=st.integers(1, 60))
def test_the_client_reads_every_record_whatever_the_page(served: ServerHandle, page_size: int) -> None:
    with GdcClient(served.url) as client:
        hits = client.query("cases", sort="case_id", page_size=page_size)
    assert [hit["case_id"] for hit in hits] == sorted(patient.case_id for patient in STUDY.patients)


@given(st.sampled_from(["demographic.vital_status", "project.project_id", "diagnoses.ajcc_pathologic_stage", "id"]))
def test_facets_count_every_record(field: str) -> None:
    data = page(size=0, facets=field)
    counts = [bucket["doc_count"] for bucket in data["aggregations"][field]["buckets"]]
    assert sum(counts) >= data["pagination"]["total"]
    if field != "diagnoses.ajcc_pathologic_stage":  # a case may have several diagnoses
        assert sum(counts) == data["pagination"]["total"]


# ---- the choice of files ----

RNASEQ = [STUDY.with_integrity(record) for record in STUDY.files() if record["experimental_strategy"] == "RNA-Seq"]


@given(st.permutations(RNASEQ), st.sampled_from(["tumor", "all"]))
@settings(max_examples=25)
def test_the_choice_does_not_depend_on_the_order_and_loses_no_file(hits: list[dict[str, Any]], tissue: Any) -> None:
    rules = SelectionRules(tissue=tissue)
    selection = select_files(hits, "rnaseq", rules)
    assert selection == select_files(RNASEQ, "rnaseq", rules)
    everything = [*selection.files, *selection.rejected]
    assert sorted(file.file_id for file in everything) == sorted(hit["file_id"] for hit in hits)
    tissues = [(file.patient_id, file.sample_type == "Solid Tissue Normal") for file in selection.files]
    assert len(set(tissues)) == len(tissues)
    assert not any(file.is_ffpe for file in selection.files)


@given(st.sets(st.integers(0, len(RNASEQ) - 1)))
@settings(max_examples=25)
def test_taking_away_rejected_files_changes_no_choice(indices: set[int]) -> None:
    rules = SelectionRules(tissue="all")
    chosen = select_files(RNASEQ, "rnaseq", rules).files
    ids = {file.file_id for file in chosen}
    kept = [hit for index, hit in enumerate(RNASEQ) if hit["file_id"] in ids or index not in indices]
    assert select_files(kept, "rnaseq", rules).files == chosen
