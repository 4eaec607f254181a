"""Every documented answer of the GDC is read as the documentation says, and what is none is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bulkrnabert.data.sources.gdc_filters import compile_filter, read_filter
from bulkrnabert.data.sources.gdc_hits import read_file_record, sample_kind
from bulkrnabert.data.sources.gdc_pages import (
    error_text,
    read_history,
    read_search_page,
    read_single,
    read_survival_curves,
    read_versions,
    unknown_fields,
)
from bulkrnabert.data.sources.gdc_rules import SelectionRules
from bulkrnabert.data.sources.gdc_selection import select_files
from bulkrnabert.errors import PortalAnswerError, PortalError

# file -> records on the page, all records, page, pages
PAGES = {
    "annotations": (2, 2361, 1, 1181),
    "annotations_by_entity": (3, 3, 1, 1),
    "case_by_barcode": (1, 1, 1, 1),
    "case_exclude_op": (1, 1, 1, 1),
    "case_excludeifany_empty_page": (0, 0, 0, 0),
    "case_in_op": (1, 1, 1, 1),
    "cases_default_page_of_10": (10, 23793, 1, 2380),
    "cases_facets_size0": (0, 1202, 1, 1202),
    "cases_fields_compact": (5, 86962, 1, 17393),
    "cases_fields_pretty": (5, 86962, 1, 17393),
    "cases_filter_small": (1, 1, 1, 1),
    "cases_not_missing": (5, 3306, 1, 662),
    "cases_page_2017": (5, 14551, 1, 2911),
    "cases_sort_page": (10, 86962, 1, 8697),
    "files_fields_page": (10, 931947, 1, 93195),
    "files_from101_size5": (5, 931947, 21, 186390),
    "files_page_2017": (2, 274724, 1, 137362),
    "files_page_2026": (2, 931947, 1, 465974),
    "files_size2": (2, 931947, 1, 465974),
    "projects_facet_size0": (0, 79, 1, 79),
    "projects_filter_page": (10, 14, 1, 2),
    "projects_page": (2, 78, 1, 39),
    "projects_page_5": (5, 86, 1, 18),
    "range_or_page": (1, 23221, 1, 23221),
}
SINGLES = {"project_single_expand", "file_single", "file_expand_samples"}
HISTORIES = {"history"}
VERSIONS = {"file_versions_two_ids", "file_versions_from_manifest"}
SURVIVAL = {"survival_one"}
QUESTIONS = {"files_post_payload", "cases_facets_post_payload", "range_or_payload"}
ERRORS = {"error_403_slicing"}
OTHERS = {"quicksearch", "quicksearch_short", "gene_expression_availability"}
KINDS = [set(PAGES), SINGLES, HISTORIES, VERSIONS, SURVIVAL, QUESTIONS, ERRORS, OTHERS]
ALL = sorted(set().union(*KINDS))


@pytest.fixture(scope="module")
def gdc(shared: Path) -> Path:
    return shared / "fixtures/gdc"


def body(gdc: Path, name: str, folder: str = "gdc_docs") -> Any:
    return json.loads((gdc / folder / f"{name}.json").read_text())


def test_every_recorded_answer_has_a_test(gdc: Path) -> None:
    recorded = {Path(entry["file"]).stem for entry in json.loads((gdc / "gdc_docs/index.json").read_text())}
    assert recorded == set(ALL) == {path.stem for path in (gdc / "gdc_docs").glob("*.json")} - {"index"}
    assert sum(len(kind) for kind in KINDS) == len(ALL)
    assert {path.stem for path in (gdc / "synthetic").glob("*.json")} == {
        "cases_survival_page",
        "files_star_page",
        "status",
        "warning_unknown_field",
    }


# ---- pages ----


@pytest.mark.parametrize("name", sorted(PAGES))
def test_pages(gdc: Path, name: str) -> None:
    page = read_search_page(name, body(gdc, name))
    n_hits, total, number, pages = PAGES[name]
    assert (len(page.hits), page.total, page.page, page.pages) == (n_hits, total, number, pages)
    assert page.sort in ("", "file_size:asc")
    assert all(hit["id"] for hit in page.hits)
    assert bool(page.facets) == ("facet" in name)


def test_words_for_no_sorting_mean_the_same(gdc: Path) -> None:
    written = {str(body(gdc, name)["data"]["pagination"]["sort"]) for name in PAGES}
    assert written == {"", "None", "file_size:asc"}


def test_facets(gdc: Path) -> None:
    sites = read_search_page("", body(gdc, "cases_facets_size0")).facets["project.primary_site"]
    assert list(sites.items())[:2] == [("kidney", 1202), ("brain", 1191)]
    assert all(site == site.lower() for site in sites)
    assert read_search_page("", body(gdc, "projects_facet_size0")).facets["program.name"]["TCGA"] == 33


def test_a_page_that_is_another_one_than_was_asked_for(gdc: Path) -> None:
    page = body(gdc, "files_from101_size5")
    assert read_search_page("", page, size=5, start=101).start == 101
    with pytest.raises(PortalError, match=r"`pagination.from` is 101 where 102 is expected"):
        read_search_page("", page, size=5, start=102)
    assert read_search_page("", page, size=500, start=101).size == 5
    with pytest.raises(PortalError, match=r"`pagination.size` is 5 where 4 is expected"):
        read_search_page("", page, size=4, start=101)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("files_page_2026", "count", 3),
        ("files_page_2026", "pages", 465973),
        ("files_page_2026", "page", 2),
        ("case_excludeifany_empty_page", "page", 1),
        ("cases_facets_size0", "pages", 1),
    ],
)
def test_arithmetic_that_does_not_hold(gdc: Path, name: str, key: str, value: int) -> None:
    page = body(gdc, name)
    page["data"]["pagination"][key] = value
    with pytest.raises(PortalError, match=f"`pagination.{key}` is {value} where .* do not fit together"):
        read_search_page("", page)


@pytest.mark.parametrize(("key", "value"), [("total", "931947"), ("total", None), ("from", -1), ("size", True)])
def test_numbers_that_are_none(gdc: Path, key: str, value: object) -> None:
    page = body(gdc, "files_page_2026")
    page["data"]["pagination"][key] = value
    with pytest.raises(PortalAnswerError, match=f"`pagination.{key}`"):
        read_search_page("", page)


@pytest.mark.parametrize("name", sorted(set(ALL) - set(PAGES)))
def test_what_is_no_page(gdc: Path, name: str) -> None:
    with pytest.raises(PortalAnswerError, match=r"^place: expected `data"):
        read_search_page("place", body(gdc, name))


def test_warnings_are_errors(gdc: Path) -> None:
    for read in (read_search_page, read_single):
        with pytest.raises(PortalAnswerError, match=r"warns .*demographic\.gender"):
            read("", body(gdc, "warning_unknown_field", "synthetic"))


# ---- other answers ----


@pytest.mark.parametrize(
    ("name", "key"),
    [("project_single_expand", "project_id"), ("file_single", "file_id"), ("file_expand_samples", "cases")],
)
def test_single_records(gdc: Path, name: str, key: str) -> None:
    assert key in read_single("", body(gdc, name))


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_is_no_single_record(gdc: Path, name: str) -> None:
    with pytest.raises(PortalAnswerError, match="found a page of a search"):
        read_single("", body(gdc, name))


def test_history(gdc: Path) -> None:
    old, new = read_history("", body(gdc, "history"))
    assert (old.change, old.version, old.data_release) == ("superseded", "1", "12.0")
    assert (new.change, new.file_id) == ("released", "76b3f4d8-c6b7-4662-ac42-1d27d4684281")


def test_versions(gdc: Path) -> None:
    superseded, other = read_versions("", body(gdc, "file_versions_two_ids"))
    assert superseded.latest_id == "76b3f4d8-c6b7-4662-ac42-1d27d4684281"
    assert superseded.latest_md5 is None  # the portal leaves it out
    assert (superseded.latest_release, other.size) == ("37.0", 6653119038)
    listed = read_versions("", body(gdc, "file_versions_from_manifest"))
    assert [file.latest_id == file.file_id for file in listed] == [True, True, False]
    assert [file.latest_md5 == file.md5 for file in listed] == [True, True, False]


@pytest.mark.parametrize("value", ["NA", None, ""])
def test_a_file_without_successor(gdc: Path, value: object) -> None:
    lines = body(gdc, "file_versions_two_ids")
    lines[0]["latest_id"] = value
    assert read_versions("", lines)[0].latest_id is None


@pytest.mark.parametrize("name", sorted(set(ALL) - HISTORIES - VERSIONS))
def test_what_is_no_list_of_versions(gdc: Path, name: str) -> None:
    for read in (read_history, read_versions):
        with pytest.raises(PortalAnswerError, match="expected a list of records"):
            read("", body(gdc, name))


def test_histories_and_versions_are_not_the_same(gdc: Path) -> None:
    with pytest.raises(PortalAnswerError, match="uuid is None"):
        read_history("", body(gdc, "file_versions_two_ids"))
    with pytest.raises(PortalAnswerError, match="id is None"):
        read_versions("", body(gdc, "history"))
    with pytest.raises(PortalAnswerError, match="has size '12'"):
        read_versions("", [{"id": "a", "size": "12"}])


def test_a_version_that_says_only_what_took_its_place() -> None:
    (file,) = read_versions("", [{"id": "a", "latest_id": "b", "latest_version": "2"}])
    assert (file.latest_id, file.md5, file.size, file.latest_release) == ("b", None, None, "")


@pytest.mark.parametrize(
    ("warnings", "fields"),
    [
        ({"fields": "unrecognized values: [annotations.status, version]"}, {"annotations.status", "version"}),
        ({"fields": "unrecognized values: []"}, set()),
        ({"fields": "unrecognized values: [version]", "facets": "unrecognized values: [x]"}, set()),
        ({"expand": "unrecognized values: [demographic]"}, set()),
        ({"fields": "something else"}, set()),
        ({}, set()),
        (None, set()),
    ],
)
def test_fields_that_a_portal_does_not_know(warnings: object, fields: set[str]) -> None:
    assert unknown_fields({"data": {}, "warnings": warnings}) == fields


def test_survival_with_negative_times(gdc: Path) -> None:
    answer = body(gdc, "survival_one")
    (curve,) = read_survival_curves("", answer)
    assert {donor.project_id for donor in curve} == {"TCGA-DLBC"}
    assert (curve[0].patient_id, curve[0].time_days, curve[0].is_censored) == ("TCGA-RQ-A6JB", 1.0, True)
    answer["results"][0]["donors"][0]["time"] = -31
    assert read_survival_curves("", answer)[0][0].time_days == -31
    assert Counter(donor.is_censored for donor in curve)[False] > 0


@pytest.mark.parametrize("value", [None, "12", True])
def test_survival_times_that_are_none(gdc: Path, value: object) -> None:
    answer = body(gdc, "survival_one")
    answer["results"][0]["donors"][0]["time"] = value
    with pytest.raises(PortalAnswerError, match="'TCGA-RQ-A6JB' has time"):
        read_survival_curves("", answer)


@pytest.mark.parametrize("name", sorted(set(ALL) - SURVIVAL))
def test_what_is_no_survival_curve(gdc: Path, name: str) -> None:
    with pytest.raises(PortalAnswerError, match="expected `results`"):
        read_survival_curves("", body(gdc, name))


def test_refusals(gdc: Path) -> None:
    refusal = body(gdc, "error_403_slicing")
    assert error_text(refusal).startswith("Your token is invalid or expired")
    assert error_text({"error": "x"}) == "x"
    with pytest.raises(PortalAnswerError, match="the portal says: Your token is invalid"):
        read_single("", refusal)
    assert not any(error_text(body(gdc, name)) for name in set(ALL) - ERRORS)


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_documented_questions_follow_the_grammar(gdc: Path, name: str) -> None:
    filters = read_filter(body(gdc, name)["filters"])
    assert compile_filter(filters, lambda field: field)({}) is False


# ---- records ----


@pytest.mark.parametrize("name", ["files_page_2017", "files_page_2026", "files_fields_page", "files_size2"])
def test_records_that_were_asked_for_without_md5_are_no_candidates(gdc: Path, name: str) -> None:
    hits = body(gdc, name)["data"]["hits"]
    if "md5sum" in hits[0]:  # the interface of 2017 gave it unasked, and cases only when asked
        records = [read_file_record(hit) for hit in hits]
        assert [(record.n_cases, record.n_aliquots, record.state) for record in records] == [(0, 0, "live")] * 2
        selection = select_files(hits, "rnaseq")
        assert {file.reason for file in selection.rejected} == {"no case is named"}
    else:
        with pytest.raises(PortalAnswerError, match=r"file_id|md5sum"):
            select_files(hits, "rnaseq")


def test_a_sample_before_its_type_was_split(gdc: Path) -> None:
    (case,) = body(gdc, "file_expand_samples")["data"]["cases"]
    assert sample_kind(case["samples"][0]) == ("normal", "10")


def test_candidates_of_the_star_page(gdc: Path) -> None:
    page = read_search_page("", body(gdc, "files_star_page", "synthetic"))
    assert len(page.hits) == page.total == 6
    selection = select_files(page.hits, "rnaseq")
    assert sorted(file.aliquot_id for file in selection.files) == [
        "TCGA-ZZ-0001-01A-11R-A10U-07",
        "TCGA-ZZ-0002-01A-21R-A277-07",
    ]
    assert {file.aliquot_id: (file.rule, file.reason.split(":")[0]) for file in selection.rejected} == {
        "TCGA-ZZ-0001-01A-11R-A277-07": (
            "one_aliquot_a_sample",
            "TCGA-ZZ-0001-01A-11R-A10U-07 (file 12b7722f-a10d-5285-b7a1-ccf7014ff617) is used for this sample",
        ),
        "TCGA-ZZ-0001-11A-11R-A10U-07": (
            "sample_type",
            "sample type 'Solid Tissue Normal' (11); only tumours are wanted",
        ),
        "TCGA-ZZ-0002-01B-01R-A277-07": ("not_ffpe", "FFPE sample"),
        "TCGA-ZZ-0003-06A-11R-A18S-07": ("not_redacted", "redaction"),
    }
    everything = select_files(page.hits, "rnaseq", SelectionRules(tissue="all", redactions="keep"))
    assert len(everything.files) == 4


def test_the_page_of_cases(gdc: Path) -> None:
    page = read_search_page("", body(gdc, "cases_survival_page", "synthetic"))
    assert len(page.hits) == page.total
    # null, empty and absent groups all occur
    assert any("demographic" not in hit or hit["demographic"] is None for hit in page.hits)


def test_the_status_is_no_page(gdc: Path) -> None:
    with pytest.raises(PortalAnswerError, match="expected `data`"):
        read_search_page("", body(gdc, "status", "synthetic"))
