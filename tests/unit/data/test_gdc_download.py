"""The download: what is chosen, what arrives, and what happens when the portal or the network misbehaves."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from bulkrnabert.data.sources.gdc import GdcClient, read_plan
from bulkrnabert.data.sources.gdc_download import DownloadSummary, download
from bulkrnabert.data.sources.gdc_faults import Fault
from bulkrnabert.data.sources.gdc_standin import ServerHandle, serve
from bulkrnabert.data.synthetic import SyntheticStudy
from bulkrnabert.errors import ConfigError, DataError, PortalAnswerError, PortalError

BOTH = ("TCGA-SYNA", "TCGA-SYNB")


@pytest.fixture(scope="module")
def study() -> SyntheticStudy:
    return SyntheticStudy.create(seed=7, cohorts=2, patients_per_cohort=13, genes=200, probes=100)


def client_of(portal: ServerHandle, **options: Any) -> GdcClient:
    return GdcClient(portal.url, **{"n_retries": 3, "backoff_s": 0.01, "max_retry_after_s": 0.2, **options})


def fetch(
    study: SyntheticStudy, out: Path, faults: tuple[Fault, ...] = (), projects: tuple[str, ...] = BOTH, **options: Any
) -> tuple[DownloadSummary, ServerHandle]:
    n_workers = options.pop("n_workers", 4)
    with serve(study, faults) as portal, client_of(portal, n_connections=n_workers) as client:
        return download(client, out, projects, options.pop("modality", "rnaseq"), **options), portal


def contents(folder: Path) -> dict[str, bytes]:
    """What a raw folder holds for its readers; `.transfer` has times of this machine."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(".transfer/")}


# ---- the ordinary case ----


def test_raw_folder(study: SyntheticStudy, tmp_path: Path) -> None:
    summary, portal = fetch(study, tmp_path / "raw")
    plan = read_plan(tmp_path / "raw")
    assert plan == summary.plan
    assert plan.projects == BOTH
    assert plan.data_release == "Data Release 1.0 - January 01, 2026 (synthetic)"
    assert summary.n_fetched == len(plan.files) == len(portal.data_requests)
    for file in plan.files:
        body = (tmp_path / "raw" / file.file_id / file.file_name).read_bytes()
        assert body == study.file_body(file.file_id)
        assert (hashlib.md5(body).hexdigest(), len(body)) == (file.md5, file.size)
    lines = (tmp_path / "raw/manifest.tsv").read_text().splitlines()
    assert lines[0] == "id\tfilename\tmd5\tsize\trelease"
    first = plan.files[0]
    assert lines[1] == f"{first.file_id}\t{first.file_name}\t{first.md5}\t{first.size}\t{plan.data_release}"
    assert len(lines) == 1 + len(plan.files)
    names = {path.name for path in (tmp_path / "raw").iterdir() if path.is_file()}
    assert names == {"plan.json", "cases.json", "manifest.tsv", "rejected.tsv"}


def test_every_oddity_is_handled(study: SyntheticStudy, tmp_path: Path) -> None:
    summary, _ = fetch(study, tmp_path)
    plan = summary.plan
    patients = [file.patient_id for file in plan.files]
    odd = study.truth["oddities"]
    rules = {(file.patient_id, file.rule) for file in plan.rejected if file.rule != "sample_type"}
    assert rules == {
        (odd["two_aliquots"], "one_aliquot_a_sample"),
        (odd["two_vials"], "one_sample_a_patient"),
        (odd["metastatic"], "one_sample_a_patient"),
        (odd["ffpe_vial"], "not_ffpe"),
        (odd["ffpe_only"], "not_ffpe"),
        (odd["controlled_file"], "open_access"),
        (odd["redaction_annotation"], "not_redacted"),
    }
    assert len(patients) == len(set(patients))
    without_file = {odd[name] for name in ("ffpe_only", "controlled_file", "redaction_annotation", "methylation_only")}
    assert set(patients) == {patient.barcode for patient in study.patients} - without_file
    planned = {file.file_id for file in plan.files}
    assert not planned & {file.file_id for file in study.all_files.values() if file.change != "released"}
    assert {file.sample_type for file in plan.files} == {"Primary Tumor"}
    assert {file.sample_id[-3:] for file in plan.files} == {"01A"}


def test_cases_are_kept_as_the_portal_sent_them(study: SyntheticStudy, tmp_path: Path) -> None:
    fetch(study, tmp_path)
    cases = json.loads((tmp_path / "cases.json").read_text())
    expected = {case["case_id"]: case for case in study.cases()}
    assert [case["case_id"] for case in cases] == sorted(expected)
    for case in cases:
        assert case == case | expected[case["case_id"]]


def test_methylation(study: SyntheticStudy, tmp_path: Path) -> None:
    summary, _ = fetch(study, tmp_path, modality="methylation")
    odd = study.truth["oddities"]
    assert (odd["smaller_array"], "one_array") in {(file.patient_id, file.rule) for file in summary.plan.rejected}
    assert odd["rnaseq_only"] not in {file.patient_id for file in summary.plan.files}
    assert all(file.file_name.endswith("level3betas.txt") for file in summary.plan.files)


def test_normal_samples_when_wanted(study: SyntheticStudy, tmp_path: Path) -> None:
    summary, _ = fetch(study, tmp_path, sample_types="all")
    normal = [file for file in summary.plan.files if file.sample_type == "Solid Tissue Normal"]
    assert normal
    assert not [file for file in summary.plan.rejected if file.rule == "sample_type"]
    # one patient's two files have the same name and lie side by side
    same = [file for file in summary.plan.files if file.patient_id == study.truth["oddities"]["same_file_name"]]
    assert len(same) == 2
    assert len({file.file_name for file in same}) == 1


def test_pages_are_read_to_the_end(study: SyntheticStudy, tmp_path: Path) -> None:
    with serve(study) as portal, client_of(portal) as client:
        hits = client.query("files", sort="file_id", fields=["file_id"], page_size=7)
        searches = [one for one in portal.requests if one.path == "/files"]
    assert [hit["file_id"] for hit in hits] == sorted(record["file_id"] for record in study.files())
    assert len(searches) == -(-len(hits) // 7)
    assert {one.method for one in searches} == {"POST"}


def test_same_request_same_folder(study: SyntheticStudy, tmp_path: Path) -> None:
    def run(name: str, **options: Any) -> dict[str, bytes]:
        fetch(study, tmp_path / name, api_name="portal", **options)
        return contents(tmp_path / name)

    assert run("a", n_workers=1) == run("b", n_workers=8, projects=BOTH[::-1])


def test_no_more_than_the_workers_at_once(study: SyntheticStudy, tmp_path: Path) -> None:
    slow = Fault(fault="stall", path="/data/", times=0, seconds=0.01)
    with serve(study, [slow]) as portal, client_of(portal, n_connections=3) as client:
        download(client, tmp_path, BOTH, "rnaseq")
        # Three, and of each the one before that the server is not quite done with.
        assert 2 <= portal.max_in_flight <= 6


# ---- going on ----


def test_a_second_run_asks_for_no_data(study: SyntheticStudy, tmp_path: Path) -> None:
    first, _ = fetch(study, tmp_path, api_name="portal")
    before = contents(tmp_path)
    again, portal = fetch(study, tmp_path, api_name="portal")
    assert portal.data_requests == []
    assert (again.n_fetched, again.n_kept) == (0, len(first.plan.files))
    assert contents(tmp_path) == before


def test_a_damaged_file_is_fetched_again(study: SyntheticStudy, tmp_path: Path) -> None:
    first, _ = fetch(study, tmp_path)
    damaged, missing = first.plan.files[:2]
    path = tmp_path / damaged.file_id / damaged.file_name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (tmp_path / missing.file_id / missing.file_name).unlink()
    again, portal = fetch(study, tmp_path)
    assert sorted(request.path for request in portal.data_requests) == [
        f"/data/{damaged.file_id}",
        f"/data/{missing.file_id}",
    ]
    assert again.n_fetched == 2
    assert path.read_bytes() == study.file_body(damaged.file_id)


def test_after_a_failure_the_rest_is_fetched(study: SyntheticStudy, tmp_path: Path) -> None:
    bad = one_file_id(study)
    with pytest.raises(PortalError, match=bad):
        fetch(study, tmp_path, (Fault(fault="corrupt", path=f"/data/{bad}", times=0),))
    assert not (tmp_path / "manifest.tsv").exists()
    assert [path.suffix for path in (tmp_path / bad).iterdir()] == [".quarantine"]
    assert (tmp_path / "failed.tsv").read_text().splitlines()[1].startswith(f"{bad}\t")
    again, _ = fetch(study, tmp_path)
    assert again.n_fetched == 1
    assert (tmp_path / "manifest.tsv").exists()
    assert not (tmp_path / "failed.tsv").exists()
    assert len(list((tmp_path / bad).iterdir())) == 1


def final_files(raw: Path) -> list[Path]:
    """Files under their final names."""
    return [path for path in raw.glob("*/*") if path.suffix in (".tsv", ".txt")]


def one_file_id(study: SyntheticStudy) -> str:
    """A file that every plan of these tests holds."""
    patient = study.truth["oddities"]["no_clinical"]
    return next(
        file.file_id
        for file in study.all_files.values()
        if file.patient.barcode == patient and file.modality == "rnaseq" and file.is_tumor
    )


def test_a_failing_run_leaves_no_manifest_of_an_older_one(study: SyntheticStudy, tmp_path: Path) -> None:
    first, _ = fetch(study, tmp_path)
    file = first.plan.files[0]
    (tmp_path / file.file_id / file.file_name).unlink()
    with pytest.raises(PortalError):
        fetch(study, tmp_path, (Fault(fault="corrupt", path="/data/", times=0),))
    assert not (tmp_path / "manifest.tsv").exists()


def test_another_modality_needs_another_folder(study: SyntheticStudy, tmp_path: Path) -> None:
    fetch(study, tmp_path)
    with pytest.raises(ConfigError, match="holds rnaseq files; choose another --out for methylation"):
        fetch(study, tmp_path, modality="methylation")


# ---- faults that pass ----


@pytest.mark.parametrize(
    "fault",
    [
        Fault(fault="status", status=503, times=2),
        Fault(fault="html_status", status=502, times=2),
        Fault(fault="status", path="/data/", status=500, each_path=True),
        Fault(fault="status", path="/data/", status=405, each_path=True),
        Fault(fault="retry_after", path="/files", retry_after="0"),
        Fault(fault="retry_after", path="/files", retry_after="soon"),
        Fault(fault="truncate", path="/data/", at_bytes=1000, each_path=True),
        Fault(fault="truncate", path="/files", at_bytes=10),
        Fault(fault="reset", path="/data/", at_bytes=1000, each_path=True),
        Fault(fault="reset", path="/cases", at_bytes=0),
        Fault(fault="corrupt", path="/data/", at_bytes=50, each_path=True, times=2),
        Fault(fault="html_200", path="/data/", each_path=True),
        Fault(fault="json_200", path="/data/", each_path=True),
        Fault(fault="empty_200", path="/data/", each_path=True),
        Fault(fault="stall", path="/data/", seconds=0.02, each_path=True),
    ],
    ids=lambda fault: f"{fault.fault} {fault.path} {fault.status}",
)
def test_transient_faults_do_no_harm(study: SyntheticStudy, tmp_path: Path, fault: Fault) -> None:
    summary, _ = fetch(study, tmp_path, (fault,), projects=BOTH[:1], n_workers=8)
    assert (tmp_path / "manifest.tsv").exists()
    for file in summary.plan.files:
        assert (tmp_path / file.file_id / file.file_name).read_bytes() == study.file_body(file.file_id)
    assert not list(tmp_path.rglob("*.part"))


def test_an_absurd_retry_after_is_capped(study: SyntheticStudy, tmp_path: Path) -> None:
    began = time.monotonic()
    fetch(study, tmp_path, (Fault(fault="retry_after", path="/status", retry_after="3600"),))
    assert 0.2 <= time.monotonic() - began < 5


def test_a_stalled_connection_is_given_up_and_tried_again(study: SyntheticStudy, tmp_path: Path) -> None:
    stalled = Fault(fault="stall", path="/data/", at_bytes=100, seconds=60)
    with serve(study, [stalled]) as portal, client_of(portal, idle_timeout_s=1.5) as client:
        began = time.monotonic()
        summary = download(client, tmp_path, BOTH[:1], "rnaseq")
        assert time.monotonic() - began < 30
        assert len(portal.data_requests) == len(summary.plan.files) + 1


def test_loopback_ignores_a_proxy(study: SyntheticStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    fetch(study, tmp_path, projects=BOTH[:1])


# ---- faults that stay ----


def test_every_failed_file_is_listed(study: SyntheticStudy, tmp_path: Path) -> None:
    with pytest.raises(PortalError) as caught:
        fetch(study, tmp_path, (Fault(fault="truncate", path="/data/", at_bytes=9, times=0),), projects=BOTH[:1])
    message = str(caught.value)
    plan = read_plan(tmp_path)
    n_files = len(plan.files)
    assert message.startswith(f"{n_files} of {n_files} files could not be fetched")
    assert all(file.file_id in message and file.sample_id in message for file in plan.files)
    assert caught.value.exit_code == 1
    assert not (tmp_path / "manifest.tsv").exists()
    assert not final_files(tmp_path)
    lines = [line.split("\t") for line in (tmp_path / "failed.tsv").read_text().splitlines()]
    assert lines[0] == ["id", "sample_id", "reason"]
    assert [line[:2] for line in lines[1:]] == [[file.file_id, file.sample_id] for file in plan.files]


def test_wrong_md5_in_the_metadata(study: SyntheticStudy, tmp_path: Path) -> None:
    with pytest.raises(PortalError, match=r"md5 [0-9a-f]{32} instead of 0{32}"):
        fetch(study, tmp_path, (Fault(fault="wrong_md5", path="/files", times=0),), projects=BOTH[:1])


@pytest.mark.parametrize(
    ("status", "message"), [(404, "answered 404"), (451, "answered 451"), (403, "answered 403: .*try again later")]
)
def test_a_refused_file_is_not_asked_for_again(
    study: SyntheticStudy, tmp_path: Path, status: int, message: str
) -> None:
    bad = one_file_id(study)
    with serve(study, [Fault(fault="status", status=status, path=f"/data/{bad}", times=0)]) as portal:
        with client_of(portal) as client, pytest.raises(PortalError, match=f"{bad}.*{message}"):
            download(client, tmp_path, BOTH, "rnaseq")
        assert len([one for one in portal.data_requests if bad in one.path]) == 1


def test_a_replaced_file_is_explained(study: SyntheticStudy) -> None:
    old = next(file for file in study.all_files.values() if file.change == "superseded")
    with serve(study) as portal, client_of(portal) as client:
        assert str(client.fate(old.file_id)) == f"superseded in data release 1.0, replaced by {old.replaced_by}"
        assert client.fate("nobody") is None


def test_hostile_names_stay_inside_the_folder(study: SyntheticStudy, tmp_path: Path) -> None:
    evil = Fault(fault="file_name", path="/files", text="../../../evil.tsv", times=0)
    summary, _ = fetch(study, tmp_path / "deep/raw", (evil,), projects=BOTH[:1])
    assert {file.file_name for file in summary.plan.files} == {"evil.tsv"}
    assert not list(tmp_path.glob("*.tsv"))


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (Fault(fault="html_200", times=0), PortalAnswerError, "expected JSON, found <html>.*address of a GDC portal"),
        (Fault(fault="empty_200", times=0), PortalAnswerError, "expected JSON"),
        (Fault(fault="json_200", path="/files", times=0), PortalAnswerError, "the portal says: internal error"),
        (Fault(fault="warnings", path="/files"), PortalAnswerError, "warns.*demographic.gender"),
        (Fault(fault="status", status=404, path="/cases"), PortalAnswerError, "/cases: answered 404.*GDC portal"),
        (Fault(fault="status", status=500, path="/files", times=0), PortalError, "/files: answered 500"),
        (Fault(fault="total_changes", path="/cases"), PortalError, "changed from 27 to 26 while reading"),
        (Fault(fault="total_changes", path="/cases", times=0), PortalError, "do not fit together"),
        (Fault(fault="duplicate_hit", path="/cases"), PortalError, "do not fit together"),
        (Fault(fault="missing_hit", path="/files", times=0), PortalError, "do not fit together"),
        (Fault(fault="release_flip", nth=2), PortalError, "data release changed from .*1.0.* to .*2.0"),
        (Fault(fault="release_flip", nth=3), PortalError, "data release changed from .*1.0.* to .*2.0"),
    ],
    ids=lambda value: f"{value.fault} {value.path} {value.nth}" if isinstance(value, Fault) else "",
)
def test_portals_that_answer_nonsense(
    study: SyntheticStudy, tmp_path: Path, fault: Fault, kind: type[PortalError], message: str
) -> None:
    if fault.fault == "release_flip":
        fault = fault.model_copy(update={"path": "/status"})
    with pytest.raises(kind, match=f"(?s){message}"):
        fetch(study, tmp_path, (fault,))
    assert not (tmp_path / "manifest.tsv").exists()


def test_a_total_that_changes_between_pages(study: SyntheticStudy) -> None:
    fault = Fault(fault="total_changes", path="/cases", nth=2)
    with (
        serve(study, [fault]) as portal,
        client_of(portal) as client,
        pytest.raises(PortalError, match="changed from 26 to 27 while reading"),
    ):
        client.query("cases", sort="case_id", page_size=10)


def test_nobody_answers(tmp_path: Path) -> None:
    with (
        GdcClient("http://127.0.0.1:9", n_retries=1, backoff_s=0.0) as client,
        pytest.raises(PortalError, match=r"no answer .*after 2 tries; check the portal's address.*and the network"),
    ):
        download(client, tmp_path / "raw", BOTH, "rnaseq")
    assert not (tmp_path / "raw").exists()


# ---- requests that do not fit ----


def test_unknown_projects_are_all_named_with_the_nearest(study: SyntheticStudy, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        fetch(study, tmp_path, projects=("tcga-synx", "TCGA-SYNB", "TARGET"))
    assert "no project 'TCGA-SYNX'" in str(caught.value)
    assert "the nearest are TCGA-SYNA" in str(caught.value)
    assert "no project 'TARGET'" in str(caught.value)
    assert "no project 'TCGA-SYNB'" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_cohort_without_files(tmp_path: Path) -> None:
    """One patient a cohort: the first is FFPE only in a study of 22 cohorts, where each has one oddity."""
    study = SyntheticStudy.create(cohorts=22, patients_per_cohort=1, genes=200)
    odd = study.truth["oddities"]
    project = {patient.barcode: patient.project_id for patient in study.patients}
    with pytest.raises(DataError, match=r"all \d are left out \(1 by not_ffpe"):
        fetch(study, tmp_path, projects=(project[odd["ffpe_only"]],))
    with pytest.raises(DataError, match="has no rnaseq file to fetch: the portal has none"):
        fetch(study, tmp_path, projects=(project[odd["methylation_only"]],))
    assert not list(tmp_path.iterdir())


def test_an_address_that_is_none() -> None:
    with pytest.raises(ConfigError, match="is no address"):
        GdcClient("api.example")


def test_a_folder_that_cannot_be_written(study: SyntheticStudy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written.*choose another --out"):
        fetch(study, tmp_path / "file/raw", projects=BOTH[:1])


def test_folders_without_a_plan(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no plan\.json here; make the folder with `bulkrnabert download`"):
        read_plan(tmp_path)
    (tmp_path / "plan.json").write_text('{"source": "gdc"}')
    with pytest.raises(DataError, match="not a download plan"):
        read_plan(tmp_path)
