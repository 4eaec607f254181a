"""The stand-in portal's searches beyond plain pages: facets, flat tables, manifests, versions, survival, shapes."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from bulkrnabert.data.sources.gdc_filters import FilterError, compile_filter, without_field
from bulkrnabert.data.sources.gdc_standin import ServerHandle, serve
from bulkrnabert.data.sources.gdc_survival import survival_answer
from bulkrnabert.data.synthetic import SyntheticStudy

RNASEQ = {"op": "=", "content": {"field": "experimental_strategy", "value": "RNA-Seq"}}


@pytest.fixture(scope="module")
def study() -> SyntheticStudy:
    return SyntheticStudy.create(
        seed=6, cohorts=3, patients_per_cohort=12, genes=200, probes=100, normal_share=0.0, more_oddities=True
    )


@pytest.fixture(scope="module")
def portal(study: SyntheticStudy) -> Iterator[ServerHandle]:
    with serve(study) as handle:
        yield handle


def post(portal: ServerHandle, path: str, **parameters: object) -> requests.Response:
    return requests.post(f"{portal.url}{path}", json=parameters, timeout=5)


def hits(portal: ServerHandle, path: str, **parameters: object) -> list[dict]:
    response = post(portal, path, size=500, **parameters)
    assert response.status_code == 200, response.text
    return response.json()["data"]["hits"]


def leaf(op: str, field: str, value: object) -> dict:
    return {"op": op, "content": {"field": field, "value": value}}


# ---- facets ----


def test_facets_count_records_by_value(portal: ServerHandle, study: SyntheticStudy) -> None:
    body = post(portal, "/v0/files", size=0, facets="cases.project.project_id,access,platform").json()["data"]
    assert body["hits"] == []
    files = [file for file in study.all_files.values() if file.change == "released"]
    assert body["pagination"] == {
        **{"count": 0, "total": len(files), "size": 0, "from": 0, "sort": "", "page": 1, "pages": len(files)}
    }
    counts = Counter(file.patient.project_id for file in files)
    buckets = body["aggregations"]["cases.project.project_id"]["buckets"]
    assert {bucket["key"]: bucket["doc_count"] for bucket in buckets} == counts
    assert [bucket["doc_count"] for bucket in buckets] == sorted(counts.values(), reverse=True)
    platforms = {bucket["key"] for bucket in body["aggregations"]["platform"]["buckets"]}
    assert {"illumina methylation epic", "illumina methylation epic v2", "illumina human methylation 27"} <= platforms


def test_a_facet_ignores_the_filter_on_its_own_field_only(portal: ServerHandle) -> None:
    filters = {"op": "and", "content": [RNASEQ, leaf("in", "cases.project.project_id", ["TCGA-SYNA"])]}
    found = post(portal, "/files", filters=filters, facets="cases.project.project_id,experimental_strategy").json()
    aggregations = found["data"]["aggregations"]
    assert len(aggregations["cases.project.project_id"]["buckets"]) == 3
    by_project = {one["key"]: one["doc_count"] for one in aggregations["cases.project.project_id"]["buckets"]}
    strategies = {one["key"]: one["doc_count"] for one in aggregations["experimental_strategy"]["buckets"]}
    assert by_project["TCGA-SYNA"] == strategies["rna-seq"] == found["data"]["pagination"]["total"]
    assert set(strategies) == {"rna-seq", "methylation array"}


def test_facets_have_a_bucket_for_those_without_a_value(portal: ServerHandle) -> None:
    body = post(portal, "/cases", size=0, facets="demographic.vital_status").json()["data"]
    buckets = {one["key"]: one["doc_count"] for one in body["aggregations"]["demographic.vital_status"]["buckets"]}
    assert buckets["_missing"] == 2  # no_clinical and null_groups
    assert sum(buckets.values()) == 36


def test_unknown_facets_are_a_warning(portal: ServerHandle) -> None:
    body = post(portal, "/cases", facets="diagnoses.tumor_stage").json()
    assert body["warnings"] == {"facets": "unrecognized values: [diagnoses.tumor_stage]"}
    assert "aggregations" not in body["data"]


def test_without_field_prunes_leaves() -> None:
    def same(name: str) -> str:
        return name

    one, two = leaf("=", "a", 1), leaf("=", "b", 2)
    assert without_field(one, "a", same) is None
    assert without_field(one, "b", same) == one
    assert without_field({"op": "and", "content": [one, two]}, "a", same) == {"op": "and", "content": [two]}
    assert without_field({"op": "or", "content": [one, one]}, "a", same) is None
    assert without_field(None, "a", same) is None


# ---- missing ----


def test_missing_overlooks_records_without_the_whole_group(portal: ServerHandle, study: SyntheticStudy) -> None:
    missing = leaf("is", "demographic.days_to_death", "MISSING")
    cases = {case["case_id"]: case for case in study.cases()}
    found = {hit["id"] for hit in hits(portal, "/cases", filters=missing)}
    expected = {
        case_id
        for case_id, case in cases.items()
        if case.get("demographic") and case["demographic"]["days_to_death"] is None
    }
    assert found == expected
    with serve(study, missing_needs_parent=False) as other:
        everybody = {hit["id"] for hit in hits(other, "/cases", filters=missing)}
    assert len(everybody - found) == 2
    present = {hit["id"] for hit in hits(portal, "/cases", filters={"op": "not", "content": missing["content"]})}
    assert present.isdisjoint(everybody)
    assert present | everybody == set(cases)


def test_missing_by_hand() -> None:
    record = {"visits": [{"day": 1}, {}], "empty": {}}
    for path, quirk, plain in (
        ("visits.day", False, False),
        ("visits.hour", True, True),
        ("empty.x", True, True),
        ("absent.x", False, True),
        ("absent", True, True),
    ):
        content = leaf("is", path, "MISSING")
        assert compile_filter(content, lambda name: name, missing_needs_parent=True)(record) is quirk, path
        assert compile_filter(content, lambda name: name)(record) is plain, path
    with pytest.raises(FilterError):
        compile_filter(leaf("is", "x", "1"), lambda name: name)


# ---- joins ----


def test_cases_are_found_by_their_files_and_files_by_their_cases(portal: ServerHandle, study: SyntheticStudy) -> None:
    only_rna = {hit["submitter_id"] for hit in hits(portal, "/cases", filters=leaf("=", "files.platform", "Illumina"))}
    assert study.truth["oddities"]["methylation_only"] not in only_rna
    assert study.truth["oddities"]["rnaseq_only"] in only_rna
    dead = {"op": "and", "content": [RNASEQ, leaf("=", "cases.demographic.vital_status", "Dead")]}
    fields = "cases.demographic.vital_status,cases.submitter_id"
    for hit in hits(portal, "/files", filters=dead, fields=fields):
        assert hit["cases"][0]["demographic"] == {"vital_status": "Dead"}
    nobody = study.truth["oddities"]["no_clinical"]
    cases = hits(portal, "/cases", filters=leaf("=", "submitter_id", nobody), expand="samples,files,diagnoses")
    assert "diagnoses" not in cases[0]
    assert cases[0]["samples"][0]["submitter_id"].startswith(nobody)
    assert {file["data_type"] for file in cases[0]["files"]} == {
        "Gene Expression Quantification",
        "Methylation Beta Value",
    }


def test_ids_of_a_case_name_its_samples_and_aliquots(portal: ServerHandle, study: SyntheticStudy) -> None:
    barcode = study.truth["oddities"]["two_vials"]
    case = hits(portal, "/cases", filters=leaf("=", "submitter_id", barcode))[0]
    assert sorted(case["submitter_sample_ids"]) == [f"{barcode}-01A", f"{barcode}-01B"]
    assert len(case["submitter_aliquot_ids"]) == len(case["aliquot_ids"]) == 4
    assert f"{barcode}-01A-11" in case["submitter_portion_ids"]
    assert f"{barcode}-01A-11R" in case["submitter_analyte_ids"]


def test_project_summary(portal: ServerHandle, study: SyntheticStudy) -> None:
    url = f"{portal.url}/projects/TCGA-SYNB?expand=summary,summary.data_categories,summary.experimental_strategies"
    summary = requests.get(url, timeout=5).json()["data"]["summary"]
    own = [file for file in study.all_files.values() if file.patient.project_id == "TCGA-SYNB"]
    released = [file for file in own if file.change == "released"]
    assert summary["case_count"] == 12
    assert summary["file_count"] == len(released)
    assert summary["file_size"] == sum(study.integrity(file.file_id)[1] for file in released)
    assert [one["data_category"] for one in summary["data_categories"]] == [
        "DNA Methylation",
        "Transcriptome Profiling",
    ]


def test_cases_are_found_by_the_md5_of_a_file(portal: ServerHandle, study: SyntheticStudy) -> None:
    file = study.files()[3]
    md5, size = study.integrity(file["file_id"])
    found = hits(portal, "/cases", filters=leaf("=", "files.md5sum", md5), fields="files.md5sum,files.file_size")
    assert [hit["id"] for hit in found] == [file["cases"][0]["case_id"]]
    assert {"md5sum": md5, "file_size": size} in found[0]["files"]


# ---- other forms ----


def test_flat_table(portal: ServerHandle, study: SyntheticStudy) -> None:
    fields = "file_id,acl,cases.samples.submitter_id"
    response = post(portal, "/files", filters=RNASEQ, fields=fields, format="TSV", size=4, sort="file_id:asc")
    assert response.headers["Content-Type"] == "text/tab-separated-values"
    rows = list(csv.DictReader(response.text.splitlines(), delimiter="\t"))
    columns = ["acl.0", "cases.0.samples.0.submitter_id", "file_id", "id"]
    assert list(rows[0]) == columns
    assert len(rows) == 4
    for row in rows:
        assert study.all_files[row["file_id"]].sample_barcode == row["cases.0.samples.0.submitter_id"]
    assert post(portal, "/files", filters=leaf("=", "file_id", "none"), format="tsv").text == ""


def test_pretty_is_the_same_content(portal: ServerHandle) -> None:
    plain, pretty = (
        requests.get(f"{portal.url}/projects?sort=project_id{end}", timeout=5) for end in ("", "&pretty=true")
    )
    assert plain.json() == pretty.json()
    assert "\n" not in plain.text
    assert "\n  " in pretty.text


def manifest_rows(text: str) -> list[dict[str, str]]:
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    assert list(rows[0]) == ["id", "filename", "md5", "size", "state"]
    return rows


def test_manifest_of_a_search_ignores_the_size(portal: ServerHandle, study: SyntheticStudy) -> None:
    response = post(portal, "/files", filters=RNASEQ, return_type="manifest", size=2)
    rows = manifest_rows(response.text)
    expected = {record["file_id"] for record in study.files() if record["experimental_strategy"] == "RNA-Seq"}
    assert {row["id"] for row in rows} == expected
    assert response.headers["Content-Disposition"].startswith("attachment; filename=gdc_manifest_")
    assert post(portal, "/cases", return_type="manifest").status_code == 400


@pytest.mark.parametrize("method", ["path", "query", "json", "form"])
def test_manifest_of_ids(portal: ServerHandle, study: SyntheticStudy, method: str) -> None:
    ids = [record["file_id"] for record in study.files()[:3]]
    url = f"{portal.url}/manifest"
    response = {
        "path": lambda: requests.get(f"{url}/{','.join(ids)}", timeout=5),
        "query": lambda: requests.get(url, params={"ids": ",".join(ids)}, timeout=5),
        "json": lambda: requests.post(url, json={"ids": ids}, timeout=5),
        "form": lambda: requests.post(url, data={"ids": ids}, timeout=5),
    }[method]()
    rows = manifest_rows(response.text)
    assert [(row["id"], row["md5"], int(row["size"])) for row in rows] == [(one, *study.integrity(one)) for one in ids]
    assert requests.get(f"{url}/{ids[0]},nobody", timeout=5).status_code == 404
    assert requests.get(url, timeout=5).status_code == 400


def test_versions_in_every_form(portal: ServerHandle, study: SyntheticStudy) -> None:
    old = next(file for file in study.all_files.values() if file.change == "superseded")
    other = study.files()[0]["file_id"]
    url = f"{portal.url}/files/versions"
    expected = requests.get(f"{url}/{old.file_id},{other}", timeout=5).json()
    assert [one["latest_id"] for one in expected] == [old.replaced_by, other]
    assert requests.post(url, json={"ids": [old.file_id, other]}, timeout=5).json() == expected
    assert requests.post(url, data={"ids": [old.file_id, other]}, timeout=5).json() == expected
    manifest = f"id\tfilename\tmd5\tsize\tstate\n{old.file_id}\tx\ty\t1\tz\n{other}\tx\ty\t1\tz\n"
    headers = {"Content-Type": "text/tsv"}
    assert requests.post(f"{url}/manifest", data=manifest, headers=headers, timeout=5).json() == expected
    assert requests.post(url, json={"ids": []}, timeout=5).status_code == 400
    assert requests.get(f"{url}/nobody", timeout=5).status_code == 404


def test_notifications_and_odd_methods(portal: ServerHandle) -> None:
    notes = requests.get(f"{portal.url}/notifications", timeout=5).json()["data"]
    assert set(notes[0]) == {"level", "components", "message"}
    for method, path, status in (
        ("POST", "/status", 405),
        ("POST", "/history/x", 405),
        ("PUT", "/files", 405),
        ("DELETE", "/data/x", 405),
        ("GET", "/v0", 404),
        ("GET", "/v0x/status", 404),
        ("PATCH", "/nothing", 404),
        ("GET", "/history/nobody", 404),
        ("GET", "/annotations/nobody", 404),
    ):
        response = requests.request(method, f"{portal.url}{path}", timeout=5)
        assert response.status_code == status, (method, path)
        assert response.json()["message"]
    head = requests.head(f"{portal.url}/v0/status", timeout=5)
    assert (head.status_code, head.content) == (200, b"")
    chunked = requests.post(f"{portal.url}/files", data=iter([b"{}"]), timeout=5)
    assert chunked.status_code == 411


# ---- survival ----


def case_of(number: int, vital_status: str, days: int | None) -> dict:
    dead = vital_status == "Dead"
    return {
        "case_id": str(number),
        "submitter_id": f"P{number}",
        "project": {"project_id": "X"},
        "demographic": {"vital_status": vital_status, "days_to_death": days if dead else None},
        "diagnoses": [{"days_to_last_follow_up": None if dead else days}],
        "follow_ups": [],
    }


def test_survival_curve_by_hand() -> None:
    """Five at risk; deaths at 2 and 4: S falls to 4/5 after 2 and, with three at risk, to 4/5 x 2/3 after 4."""
    people = [("Dead", 2), ("Alive", 3), ("Dead", 4), ("Alive", 5), ("Alive", 6), ("Not Reported", 7), ("Dead", None)]
    answer = survival_answer([[case_of(number, *person) for number, person in enumerate(people)]])
    donors = answer["results"][0]["donors"]
    assert [donor["time"] for donor in donors] == [2, 3, 4, 5, 6]
    assert [donor["censored"] for donor in donors] == [False, True, False, True, True]
    estimates = [donor["survivalEstimate"] for donor in donors]
    assert estimates == pytest.approx([1, 0.8, 0.8, 0.8 * 2 / 3, 0.8 * 2 / 3])
    assert answer["overallStats"] == {}
    assert survival_answer([[]])["results"][0]["donors"] == []


def test_survival_of_the_portals_example_is_reproduced(shared: Path) -> None:
    real = json.loads((shared / "fixtures/gdc/gdc_docs/survival_one.json").read_text())["results"][0]["donors"]
    cases = [
        {
            **case_of(0, "Alive" if donor["censored"] else "Dead", donor["time"]),
            **{"case_id": donor["id"], "submitter_id": donor["submitter_id"]},
            "project": {"project_id": donor["project_id"]},
        }
        for donor in real
    ]
    ours = survival_answer([cases])["results"][0]["donors"]
    key = lambda donor: (donor["time"], donor["id"])  # noqa: E731
    for mine, theirs in zip(sorted(ours, key=key), sorted(real, key=key), strict=True):
        assert mine["survivalEstimate"] == pytest.approx(theirs["survivalEstimate"])
        assert set(mine) == set(theirs)


def test_survival_route(portal: ServerHandle, study: SyntheticStudy) -> None:
    url = f"{portal.url}/analysis/survival"
    filters = [leaf("=", "cases.project.project_id", project) for project in ("TCGA-SYNA", "TCGA-SYNB")]
    two = requests.get(url, params={"filters": json.dumps(filters)}, timeout=5).json()
    assert len(two["results"]) == 2
    assert 0 <= two["overallStats"]["pValue"] <= 1
    one = requests.post(url, json={"filters": filters[:1]}, timeout=5).json()
    assert one["overallStats"] == {}
    assert one["results"][0]["donors"] == two["results"][0]["donors"]
    everybody = requests.get(url, timeout=5).json()["results"][0]["donors"]
    assert min(donor["time"] for donor in everybody) == -31
    assert study.truth["oddities"]["vital_status_not_reported"] not in {donor["submitter_id"] for donor in everybody}
    assert requests.get(url, params={"filters": "{}"}, timeout=5).status_code == 400
    assert requests.get(url, params={"filters": "[{]"}, timeout=5).status_code == 400


# ---- the shapes of real bodies ----

# Keys that only some bodies have: slides, consent, what one release had and another has not.
AT_TIMES = {"slide_ids", "submitter_slide_ids", "consent_type", "days_to_consent", "lost_to_followup"}
AT_TIMES |= {"days_to_lost_to_followup", "index_date", "latest_md5"}


def keys_of(value: object, path: str = "") -> dict[str, set[str]]:
    """Keys of the objects at each nesting, over all items of a list."""
    found: dict[str, set[str]] = {}
    if isinstance(value, dict):
        found[path] = set(value)
        items = [(f"{path}.{key}", item) for key, item in value.items()]
    else:
        items = [(path, item) for item in value] if isinstance(value, list) else []
    for below, item in items:
        for where, keys in keys_of(item, below).items():
            found[where] = found.get(where, set()) | keys
    return found


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("files_page_2026", "/files?from=0&size=2&sort=file_size:asc&pretty=true"),
        ("files_size2", "/files?fields=file_name&size=2"),
        ("files_from101_size5", "/files?fields=file_name&from=11&size=5"),
        ("files_fields_page", "/files?fields=cases.submitter_id,file_id,file_name,file_size"),
        ("file_single", "/files/{file}?pretty=true"),
        ("cases_default_page_of_10", "/cases?size=100"),
        ("case_by_barcode", "/cases?size=100"),
        ("cases_fields_compact", "/cases?fields=submitter_id&sort=submitter_id:asc&size=5"),
        ("cases_facets_size0", "/cases?facets=project.primary_site&size=0"),
        ("case_excludeifany_empty_page", '/cases?filters={"op":"=","content":{"field":"state","value":"x"}}'),
        ("projects_page", "/projects?from=0&size=2&sort=project_id:asc&pretty=true"),
        ("projects_facet_size0", "/projects?facets=program.name&size=0&sort=program.name:asc"),
        (
            "project_single_expand",
            "/projects/TCGA-SYNA?expand=summary,summary.experimental_strategies,summary.data_categories&pretty=true",
        ),
        ("annotations", "/annotations?from=0&size=2&pretty=true"),
        ("history", "/history/{file}"),
        ("file_versions_two_ids", "/files/versions/{file},{other}?pretty=true"),
        ("survival_one", "/analysis/survival"),
    ],
)
def test_bodies_have_the_keys_of_real_ones(
    portal: ServerHandle, study: SyntheticStudy, shared: Path, name: str, path: str
) -> None:
    real = json.loads((shared / f"fixtures/gdc/gdc_docs/{name}.json").read_text())
    if name == "cases_facets_size0":
        path = path.replace("project.primary_site", "primary_site")
        real["data"]["aggregations"]["primary_site"] = real["data"]["aggregations"].pop("project.primary_site")
    path = path.format(file=study.files()[0]["file_id"], other=study.files()[1]["file_id"]) if "{f" in path else path
    response = requests.get(f"{portal.url}/v0{path}", timeout=5)
    assert response.status_code == 200, response.text
    ours, theirs = keys_of(response.json()), keys_of(real)
    assert set(ours) == set(theirs)
    for where, keys in theirs.items():
        assert ours[where] ^ keys <= AT_TIMES, where
