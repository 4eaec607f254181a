"""The stand-in portal answers as the GDC does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from bulkrnabert.data.sources.gdc_faults import Fault
from bulkrnabert.data.sources.gdc_standin import ServerHandle, serve
from bulkrnabert.data.synthetic import SyntheticStudy

STAR = {"op": "=", "content": {"field": "analysis.workflow_type", "value": "STAR - Counts"}}


@pytest.fixture(scope="module")
def study() -> SyntheticStudy:
    return SyntheticStudy.create(seed=5, cohorts=2, patients_per_cohort=12, genes=200, probes=100)


@pytest.fixture(scope="module")
def portal(study: SyntheticStudy) -> Iterator[ServerHandle]:
    with serve(study) as handle:
        yield handle


def ask(portal: ServerHandle, path: str, **parameters: object) -> dict:
    response = requests.post(f"{portal.url}{path}", json=parameters, timeout=5)
    assert response.status_code == 200, response.text
    return response.json()


def refused(portal: ServerHandle, path: str, **parameters: object) -> str:
    response = requests.post(f"{portal.url}{path}", json=parameters, timeout=5)
    assert response.status_code == 400
    return response.json()["message"]


def same_shape(ours: object, real: object, where: str = "") -> None:
    """Every key of the example is in ours, with a value of the same type; lists are judged by their first item."""
    assert type(ours) is type(real), where
    if isinstance(real, dict):
        for key, value in real.items():
            assert key in ours, f"{where}.{key}"
            same_shape(ours[key], value, f"{where}.{key}")
    elif isinstance(real, list) and real:
        same_shape(ours[0], real[0], f"{where}[0]")


# ---- shapes ----


def test_status(portal: ServerHandle, shared: Path) -> None:
    body = requests.get(f"{portal.url}/v0/status", timeout=5).json()
    same_shape(body, json.loads((shared / "fixtures/gdc/synthetic/status.json").read_text()))
    assert body["data_release"].startswith("Data Release 1.0 - ")


def test_default_files_page_looks_like_a_real_one(portal: ServerHandle, shared: Path) -> None:
    real = json.loads((shared / "fixtures/gdc/gdc_docs/files_page_2026.json").read_text())
    ours = ask(portal, "/files")
    same_shape(ours["data"]["pagination"] | {"sort": ""}, real["data"]["pagination"])
    assert set(ours["data"]["hits"][0]) == set(real["data"]["hits"][0])
    assert ours["warnings"] == {}
    assert ours["data"]["pagination"]["size"] == 10
    assert ours["data"]["pagination"]["from"] == 0


def test_files_page_with_samples_looks_like_the_documented_one(portal: ServerHandle, shared: Path) -> None:
    real = json.loads((shared / "fixtures/gdc/synthetic/files_star_page.json").read_text())
    fields = (
        "file_id,file_name,md5sum,file_size,state,access,data_format,data_category,data_type,experimental_strategy,type,"
        "version,data_release,analysis.workflow_type,cases.case_id,cases.submitter_id,cases.project.project_id,"
        "cases.samples.sample_id,cases.samples.submitter_id,cases.samples.sample_type,cases.samples.tissue_type,"
        "cases.samples.tumor_descriptor,cases.samples.specimen_type,cases.samples.preservation_method,"
        "cases.samples.portions.is_ffpe,cases.samples.portions.analytes.aliquots.aliquot_id,"
        "cases.samples.portions.analytes.aliquots.submitter_id,associated_entities.entity_submitter_id,"
        "associated_entities.entity_id,associated_entities.entity_type,associated_entities.case_id"
    )
    ours = ask(portal, "/files", filters=STAR, fields=fields, sort="file_id:asc")
    for hit in ours["data"]["hits"]:
        same_shape(hit, real["data"]["hits"][0])
        assert set(hit) == set(real["data"]["hits"][0])


def test_cases_page_looks_like_the_documented_one(portal: ServerHandle, shared: Path) -> None:
    real = json.loads((shared / "fixtures/gdc/synthetic/cases_survival_page.json").read_text())["data"]["hits"][0]
    page = ask(portal, "/cases", expand="demographic,diagnoses,follow_ups,project", size=100)
    alive = next(hit for hit in page["data"]["hits"] if hit.get("follow_ups"))
    assert set(real) <= set(alive)
    assert set(real["follow_ups"][0]) == set(alive["follow_ups"][0])
    assert set(alive["demographic"]) <= set(real["demographic"])
    assert {"days_to_last_follow_up", "diagnosis_is_primary_disease"} <= set(alive["diagnoses"][0])


def test_history_and_versions_look_like_real_ones(portal: ServerHandle, study: SyntheticStudy, shared: Path) -> None:
    old = next(file for file in study.all_files.values() if file.change == "superseded")
    history = requests.get(f"{portal.url}/history/{old.file_id}", timeout=5).json()
    real = json.loads((shared / "fixtures/gdc/gdc_docs/history.json").read_text())
    same_shape(history, real)
    assert [version["file_change"] for version in history] == ["superseded", "released"]
    versions = requests.get(f"{portal.url}/files/versions/{old.file_id}", timeout=5).json()
    assert versions[0]["latest_id"] == old.replaced_by
    assert versions[0]["latest_md5"] == study.integrity(str(old.replaced_by))[0]


def test_projects_and_annotations(portal: ServerHandle, study: SyntheticStudy) -> None:
    projects = ask(portal, "/projects", sort="project_id:asc")["data"]["hits"]
    assert [project["project_id"] for project in projects] == ["TCGA-SYNA", "TCGA-SYNB"]
    annotations = ask(portal, "/annotations")["data"]["hits"]
    assert [one["classification"] for one in annotations] == ["Redaction"] * len(study.annotations())


def test_single_entity_has_no_pagination(portal: ServerHandle) -> None:
    body = requests.get(f"{portal.url}/projects/TCGA-SYNA", timeout=5).json()
    assert body["data"]["project_id"] == "TCGA-SYNA"
    assert set(body) == {"data", "warnings"}
    assert requests.get(f"{portal.url}/projects/TCGA-NONE", timeout=5).status_code == 404


def test_mapping_lists_fields(portal: ServerHandle) -> None:
    mapping = requests.get(f"{portal.url}/cases/_mapping", timeout=5).json()
    assert "follow_ups.days_to_follow_up" in mapping["fields"]
    assert {"demographic", "diagnoses", "follow_ups", "project", "project.program", "samples"} <= set(mapping["expand"])
    assert "summary" not in mapping["expand"]
    assert "diagnoses" in mapping["nested"]
    assert "demographic" not in mapping["nested"]
    assert set(mapping) == {"fields", "expand", "defaults", "nested", "multi", "_mapping"}


# ---- searching ----


def test_get_with_filters_in_the_query_string(portal: ServerHandle) -> None:
    filters = {"op": "in", "content": {"field": "files.cases.project.project_id", "value": ["TCGA-SYNB"]}}
    response = requests.get(
        f"{portal.url}/files", params={"filters": json.dumps(filters), "fields": "cases.project.project_id"}, timeout=5
    )
    hits = response.json()["data"]["hits"]
    assert {hit["cases"][0]["project"]["project_id"] for hit in hits} == {"TCGA-SYNB"}
    assert set(hits[0]) == {"id", "cases"}


def test_post_form(portal: ServerHandle) -> None:
    response = requests.post(f"{portal.url}/projects", data={"size": "1", "sort": "project_id:desc"}, timeout=5)
    assert [hit["id"] for hit in response.json()["data"]["hits"]] == ["TCGA-SYNB"]


def test_unsorted_pages_are_unstable_and_sorted_ones_are_not(portal: ServerHandle) -> None:
    def ids(**parameters: object) -> list[str]:
        return [hit["id"] for hit in ask(portal, "/files", size=50, **parameters)["data"]["hits"]]

    assert ids() != ids()
    assert ids(sort="file_id:asc") == ids(sort="file_id:asc")


def test_empty_result(portal: ServerHandle, shared: Path) -> None:
    nothing = {"op": "=", "content": {"field": "file_id", "value": "none"}}
    page = ask(portal, "/files", filters=nothing)["data"]
    real = json.loads((shared / "fixtures/gdc/gdc_docs/case_excludeifany_empty_page.json").read_text())["data"]
    assert page["hits"] == []
    for key in ("count", "total", "page", "pages", "from"):
        assert page["pagination"][key] == real["pagination"][key]


def test_unknown_field_is_a_warning_in_the_real_words(portal: ServerHandle, shared: Path) -> None:
    body = ask(portal, "/cases", fields="submitter_id,demographic.gender", size=1)
    real = json.loads((shared / "fixtures/gdc/synthetic/warning_unknown_field.json").read_text())
    assert body["warnings"] == real["warnings"]
    assert set(body["data"]["hits"][0]) == set(real["data"]["hits"][0])
    assert ask(portal, "/cases", expand="exposures")["warnings"] == {"expand": "unrecognized values: [exposures]"}


def test_files_can_be_sought_by_md5(portal: ServerHandle, study: SyntheticStudy) -> None:
    file_id = study.files()[0]["file_id"]
    by_md5 = {"op": "=", "content": {"field": "md5sum", "value": study.integrity(file_id)[0]}}
    assert [hit["id"] for hit in ask(portal, "/files", filters=by_md5)["data"]["hits"]] == [file_id]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"size": -1}, "size must be a whole number"),
        ({"from": "x"}, "from must be a whole number"),
        ({"filters": {"op": "=", "content": {"field": "demographic.shoe_size", "value": 1}}}, "unknown field"),
        ({"filters": {"op": "near", "content": {"field": "file_id", "value": 1}}}, "unknown operator"),
        ({"filters": {"op": "and", "content": {}}}, "needs a list of filters"),
        ({"filters": {"op": "in", "content": {"field": "file_id"}}}, "needs a value"),
        ({"filters": {"op": "<", "content": {"field": "file_size", "value": [1, 2]}}}, "needs one value"),
        ({"filters": {"op": "is", "content": {"field": "file_id", "value": "x"}}}, "MISSING"),
        ({"filters": "{broken"}, "no JSON"),
        ({"filters": [1]}, "expected"),
        ({"sort": "file_id:up"}, "sort direction"),
        ({"sort": "shoe_size"}, "unknown field"),
        ({"format": "YAML"}, "answers json and tsv"),
        ({"return_type": "table"}, "expected `manifest`"),
    ],
)
def test_malformed_questions_are_refused(portal: ServerHandle, parameters: dict, message: str) -> None:
    assert message in refused(portal, "/files", **parameters)


def test_malformed_bodies_are_refused(portal: ServerHandle) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (b"{", b"[1]", b"\xff\xfe"):
        assert requests.post(f"{portal.url}/files", data=body, headers=headers, timeout=5).status_code == 400


def test_long_addresses_are_refused(portal: ServerHandle) -> None:
    assert requests.get(f"{portal.url}/files?filters={'x' * 8000}", timeout=5).status_code == 414


def test_unknown_endpoint(portal: ServerHandle) -> None:
    assert requests.get(f"{portal.url}/submission", timeout=5).status_code == 404


# ---- data ----


def test_what_is_not_served(portal: ServerHandle, study: SyntheticStudy) -> None:
    def status_of(file_id: str) -> int:
        return requests.get(f"{portal.url}/data/{file_id}", timeout=5).status_code

    files = study.all_files.values()
    assert status_of("00000000-0000-4000-8000-000000000000") == 404
    assert status_of(next(file.file_id for file in files if file.access == "controlled")) == 403
    assert status_of(next(file.file_id for file in files if file.change == "redacted")) == 451
    assert status_of(next(file.file_id for file in files if file.change == "superseded")) == 404
    assert status_of("a,b") == 404
    assert status_of("") == 400


# ---- the server ----


def test_requests_are_logged(study: SyntheticStudy) -> None:
    with serve(study) as handle:
        requests.post(f"{handle.url}/projects", json={"size": 1}, timeout=5)
        assert handle.wait_until_idle()  # an answer is whole for the client a moment before the server is done with it
        requests.get(f"{handle.url}/data/{study.files()[0]['file_id']}", headers={"Range": "bytes=0-1"}, timeout=5)
    first = handle.requests[0]
    assert (first.method, first.path, first.status) == ("POST", "/projects", 200)
    assert first.parameters == {"size": 1}
    assert [one.byte_range for one in handle.data_requests] == ["bytes=0-1"]
    assert handle.max_in_flight == 1


def test_the_port_is_free_again_afterwards(study: SyntheticStudy) -> None:
    with serve(study) as handle:
        port = int(handle.url.rsplit(":", 1)[1])
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{handle.url}/status", timeout=5)
    with serve(study, port=port) as again:
        assert again.url == handle.url


# ---- faults ----


def test_fault_strikes_the_nth_match_only(study: SyntheticStudy) -> None:
    faults = [Fault(fault="status", path="^/status$", nth=2, times=2, status=500)]
    with serve(study, faults) as handle:
        answers = [requests.get(f"{handle.url}/status", timeout=5).status_code for _ in range(5)]
    assert answers == [200, 500, 500, 200, 200]


def test_fault_can_count_each_path_by_itself(study: SyntheticStudy) -> None:
    with serve(study, [Fault(fault="status", path="/", each_path=True)]) as handle:
        answers = [requests.get(f"{handle.url}{path}", timeout=5).status_code for path in ("/status", "/cases") * 2]
    assert answers == [503, 503, 200, 200]
