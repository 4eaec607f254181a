"""Plans that stay, plans that the portal has outrun, plans from elsewhere, and files that need a token."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bulkrnabert.data.sources.gdc import GdcClient
from bulkrnabert.data.sources.gdc_download import (
    DownloadOptions,
    DownloadSummary,
    download,
    download_plan,
    planned_folder,
)
from bulkrnabert.data.sources.gdc_faults import Fault
from bulkrnabert.data.sources.gdc_plan import Plan, PlannedFile, read_plan
from bulkrnabert.data.sources.gdc_standin import ServerHandle, serve
from bulkrnabert.data.sources.gdc_token import read_token
from bulkrnabert.data.synthetic import SyntheticStudy
from bulkrnabert.errors import ConfigError, DataError, PortalAnswerError, PortalError

BOTH = ("TCGA-SYNA", "TCGA-SYNB")
FLIP = Fault(fault="release_flip", path="/status", times=0)
REPLAN = DownloadOptions(use_replan=True)


@pytest.fixture(scope="module")
def study() -> SyntheticStudy:
    return SyntheticStudy.create(seed=7, cohorts=2, patients_per_cohort=13, genes=200, probes=100)


def client_of(portal: ServerHandle, **options: Any) -> GdcClient:
    return GdcClient(portal.url, **{"n_retries": 3, "backoff_s": 0.01, "max_retry_after_s": 0.2, **options})


def fetch(
    study: SyntheticStudy,
    out: Path,
    *faults: Fault,
    projects: tuple[str, ...] = BOTH,
    options: DownloadOptions | None = None,
    **more: Any,
) -> tuple[DownloadSummary, ServerHandle]:
    with serve(study, faults) as portal, client_of(portal) as client:
        done = download(client, out, projects, "rnaseq", api_name="p", options=options or DownloadOptions(), **more)
        return done, portal


def contents(folder: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(".transfer/")}


def planned(study: SyntheticStudy, like: PlannedFile, **facts: Any) -> PlannedFile:
    """The plan's record of a file of the study that no plan would hold."""
    file = next(one for one in study.all_files.values() if all(getattr(one, key) == facts[key] for key in facts))
    md5, size = study.integrity(file.file_id)
    changes = {"file_id": file.file_id, "file_name": file.file_name, "md5": md5, "size": size, "access": file.access}
    return like.model_copy(update={**changes, "sample_id": "TCGA-XX-0001-01A"})


# ---- the same request again ----


def test_a_folder_keeps_its_plan(study: SyntheticStudy, tmp_path: Path) -> None:
    fetch(study, tmp_path)
    before = contents(tmp_path)
    again, portal = fetch(study, tmp_path)
    assert {request.path for request in portal.requests} == {"/status"}
    assert contents(tmp_path) == before
    assert again.n_fetched == 0


def test_a_plan_is_kept_though_the_portal_would_choose_otherwise(study: SyntheticStudy, tmp_path: Path) -> None:
    fetch(study, tmp_path)
    plan = read_plan(tmp_path)
    shorter = plan.model_copy(update={"files": plan.files[1:]})
    shorter.save(tmp_path)
    again, _ = fetch(study, tmp_path)
    assert again.plan == read_plan(tmp_path) == shorter
    assert len((tmp_path / "manifest.tsv").read_text().splitlines()) == len(plan.files)


def test_clinical_records_that_are_gone_are_asked_for_again(study: SyntheticStudy, tmp_path: Path) -> None:
    fetch(study, tmp_path)
    before = contents(tmp_path)
    (tmp_path / "cases.json").unlink()
    _, portal = fetch(study, tmp_path)
    assert contents(tmp_path) == before
    assert portal.data_requests == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projects": BOTH[:1]}, "projects TCGA-SYNA,TCGA-SYNB instead of TCGA-SYNA"),
        ({"sample_types": "all"}, "sample types 'tumor' instead of 'all'"),
    ],
)
def test_another_request_needs_another_folder_or_a_word(
    study: SyntheticStudy, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, Any], message: str
) -> None:
    fetch(study, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=rf"another request \({message}\); choose another --out, or give --replan"):
        fetch(study, tmp_path, **change)
    assert contents(tmp_path) == before
    again, _ = fetch(study, tmp_path, options=REPLAN, **change)
    assert read_plan(tmp_path) == again.plan
    is_smaller = "projects" in change
    assert ("files are not in the plan and are not used" in caplog.text) == is_smaller
    assert again.n_kept > 0


def test_what_lies_beside_the_plan_is_listed(
    study: SyntheticStudy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fetch(study, tmp_path)
    assert "not in the plan" not in caplog.text
    (tmp_path / "old").mkdir()
    (tmp_path / "old/x.tsv").write_text("stale")
    fetch(study, tmp_path)
    assert f"1 files are not in the plan and are not used, as {Path('old/x.tsv')}" in caplog.text


# ---- another release ----


def test_another_release_is_explained_and_nothing_is_changed(study: SyntheticStudy, tmp_path: Path) -> None:
    first, _ = fetch(study, tmp_path)
    superseded = planned(study, first.plan.files[0], change="superseded", modality="rnaseq")
    ffpe = next(file for file in first.plan.rejected if file.rule == "not_ffpe")
    left_out = PlannedFile.model_validate({key: getattr(ffpe, key) for key in PlannedFile.model_fields})
    withdrawn = first.plan.files[0].model_copy(update={"file_id": "0" * 8 + "-0000" * 3 + "-" + "0" * 12})
    old = first.plan.model_copy(update={"files": (superseded, left_out, withdrawn, *first.plan.files[3:])})
    old.save(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(DataError) as caught:
        fetch(study, tmp_path, FLIP)
    message = str(caught.value)
    n_files = len(first.plan.files)
    assert "holds a plan of 'Data Release 1.0 - January 01, 2026 (synthetic)'" in message
    assert "now serves 'Data Release 2.0" in message
    assert f"{n_files - 3} of {n_files} planned files stay; 3 are new; " in message
    successor = study.all_files[superseded.file_id].replaced_by
    assert (
        f"1 superseded ({superseded.file_id} (TCGA-XX-0001-01A): superseded in data release 1.0, replaced by" in message
    )
    assert successor in message
    assert f"1 withdrawn ({withdrawn.file_id} ({withdrawn.sample_id}): no longer listed)" in message
    assert f"1 left out now ({left_out.file_id} ({left_out.sample_id}): not_ffpe)" in message
    assert "Give --replan" in message
    assert caught.value.exit_code == 2
    assert contents(tmp_path) == before

    again, _ = fetch(study, tmp_path, FLIP, options=REPLAN)
    assert again.plan.files == first.plan.files
    assert again.plan.data_release.startswith("Data Release 2.0")
    assert again.n_fetched == 0
    assert "Data Release 2.0" in (tmp_path / "manifest.tsv").read_text()


def test_a_failed_replan_leaves_the_folder_as_it_was(study: SyntheticStudy, tmp_path: Path) -> None:
    fetch(study, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(PortalAnswerError, match="warns"):
        fetch(study, tmp_path, FLIP, Fault(fault="warnings", path="/files"), options=REPLAN)
    assert contents(tmp_path) == before


def test_a_release_that_changes_during_the_download(study: SyntheticStudy, tmp_path: Path) -> None:
    with pytest.raises(PortalError, match=r"data release changed from .*1.0.* to .*2.0"):
        fetch(study, tmp_path, Fault(fault="release_flip", path="/status", nth=3, times=0))
    assert not (tmp_path / "manifest.tsv").exists()
    with pytest.raises(DataError, match="0 are new"):
        fetch(study, tmp_path, FLIP)
    assert fetch(study, tmp_path, FLIP, options=REPLAN)[0].n_fetched == 0


# ---- plans from elsewhere ----


def test_a_plan_gives_the_same_folder_on_another_machine(study: SyntheticStudy, tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    with serve(study) as portal, client_of(portal) as client:
        with planned_folder(client, there, BOTH, "rnaseq", api_name="p"):
            assert set(contents(there)) == {"plan.json", "cases.json", "rejected.tsv"}
        assert portal.data_requests == []
        plan = read_plan(there)
        done = download_plan(client, here, plan, cases_json=there / "cases.json")
        n_searches = sum(request.path == "/cases" for request in portal.requests)
        assert done.n_fetched == len(plan.files)
        # without its clinical records, they are asked for
        download_plan(client, tmp_path / "alone", plan)
        assert sum(request.path == "/cases" for request in portal.requests) > n_searches
        download(client, there, BOTH, "rnaseq")
    assert contents(here) == contents(there) == contents(tmp_path / "alone")


@pytest.mark.parametrize(("content", "message"), [("{", "cannot be read"), ("{}", "expected a list")])
def test_clinical_records_that_are_none(study: SyntheticStudy, tmp_path: Path, content: str, message: str) -> None:
    fetch(study, tmp_path / "a", projects=BOTH[:1])
    (tmp_path / "cases.json").write_text(content)
    with (
        serve(study) as portal,
        client_of(portal) as client,
        pytest.raises(DataError, match=rf"cases\.json: {message}"),
    ):
        download_plan(client, tmp_path / "b", read_plan(tmp_path / "a"), cases_json=tmp_path / "cases.json")
    assert not (tmp_path / "b/plan.json").exists()


def test_a_plan_of_another_release_is_fetched_as_it_is(
    study: SyntheticStudy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fetch(study, tmp_path / "a")
    plan = read_plan(tmp_path / "a")
    with serve(study, [FLIP]) as portal, client_of(portal) as client:
        download_plan(client, tmp_path / "b", plan)
    assert "ids and md5 of the plan decide what is fetched" in caplog.text
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_plan_names_what_the_portal_has_replaced(study: SyntheticStudy, tmp_path: Path) -> None:
    fetch(study, tmp_path / "a")
    plan = read_plan(tmp_path / "a")
    superseded = planned(study, plan.files[0], change="superseded", modality="rnaseq")
    redacted = planned(study, plan.files[0], change="redacted")
    old = plan.model_copy(update={"files": (plan.files[0], superseded, redacted)})
    with serve(study) as portal, client_of(portal) as client:
        with pytest.raises(PortalError) as caught:
            download_plan(client, tmp_path / "b", old)
        lines = (tmp_path / "b/failed.tsv").read_text().splitlines()
    assert caught.value.exit_code == 1
    successor = study.all_files[superseded.file_id].replaced_by
    assert f"answered 404 (superseded in data release 1.0, replaced by {successor})" in str(caught.value)
    assert "answered 451 (redacted" in str(caught.value)
    assert len(lines) == 3
    assert not (tmp_path / "b/manifest.tsv").exists()


def test_another_plan_needs_another_folder(study: SyntheticStudy, tmp_path: Path) -> None:
    fetch(study, tmp_path)
    plan = read_plan(tmp_path)
    other = plan.model_copy(update={"files": plan.files[:2]})
    with serve(study) as portal, client_of(portal) as client:
        assert download_plan(client, tmp_path, plan).n_fetched == 0
        with pytest.raises(ConfigError, match="files of another plan; choose another --out, or give --replan"):
            download_plan(client, tmp_path, other)
        download_plan(client, tmp_path, other, REPLAN)
        assert portal.data_requests == []
    assert read_plan(tmp_path) == other


@pytest.mark.parametrize(("key", "value"), [("file_id", "../../x"), ("file_name", "../evil"), ("file_name", "/x")])
def test_a_plan_does_not_lead_out_of_the_folder(study: SyntheticStudy, tmp_path: Path, key: str, value: str) -> None:
    fetch(study, tmp_path / "a", projects=BOTH[:1])
    plan = read_plan(tmp_path / "a")
    evil = plan.model_copy(update={"files": (plan.files[0].model_copy(update={key: value}),)})
    with serve(study) as portal, client_of(portal) as client:
        with pytest.raises(DataError, match="expected a UUID and a plain name"):
            download_plan(client, tmp_path / "b/c", evil)
        assert portal.data_requests == []


def test_a_plan_with_a_file_twice(study: SyntheticStudy, tmp_path: Path) -> None:
    fetch(study, tmp_path / "a", projects=BOTH[:1])
    plan = read_plan(tmp_path / "a")
    double = plan.model_copy(update={"files": plan.files[:1] * 2})
    with serve(study) as portal, client_of(portal) as client, pytest.raises(DataError, match="is planned twice"):
        download_plan(client, tmp_path / "b", double)


# ---- controlled files ----


@pytest.fixture
def controlled(study: SyntheticStudy, tmp_path: Path) -> Plan:
    """A plan with one controlled file among open ones."""
    fetch(study, tmp_path / "open", projects=BOTH[:1])
    plan = read_plan(tmp_path / "open")
    file = planned(study, plan.files[0], access="controlled", modality="rnaseq")
    return plan.model_copy(update={"files": (*plan.files[:2], file)})


def test_controlled_files_are_not_asked_for_without_a_token(
    study: SyntheticStudy, tmp_path: Path, controlled: Plan
) -> None:
    with serve(study) as portal, client_of(portal) as client:
        with pytest.raises(ConfigError, match=r"1 of 3 planned files are not open, as .*: give --token-file"):
            download_plan(client, tmp_path / "raw", controlled)
        assert portal.requests == []
    assert not (tmp_path / "raw").exists()


def test_controlled_files_come_with_a_token(study: SyntheticStudy, tmp_path: Path, controlled: Plan) -> None:
    with serve(study) as portal, client_of(portal, token=SecretStr("good")) as client:
        assert download_plan(client, tmp_path / "raw", controlled).n_fetched == 3
        sent = {file.file_id: client.remote_file(tmp_path, file).headers for file in controlled.files}
    assert [headers for headers in sent.values() if headers] == [{"X-Auth-Token": "good"}]
    assert sent[controlled.files[2].file_id]
    assert "good" not in (tmp_path / "raw/plan.json").read_text()


def test_a_refused_token_is_not_shown(
    study: SyntheticStudy, tmp_path: Path, controlled: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "my-very-own-token"
    with serve(study) as portal, client_of(portal, token=SecretStr(secret)) as client:
        with pytest.raises(PortalError, match=r"answered 403: .*token is invalid or expired") as caught:
            download_plan(client, tmp_path / "raw", controlled)
        shown = str(caught.value) + caplog.text + repr(client.__dict__) + repr(portal.requests)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "raw").rglob("*") if path.is_file())
    assert secret not in shown
    assert secret.encode() not in everything


def test_a_token_travels_encrypted_or_not_at_all() -> None:
    token = SecretStr("secret")
    with pytest.raises(ConfigError, match=r"--api http://portal\.example: a token is sent over https only"):
        GdcClient("http://portal.example", token=token)
    with pytest.raises(ConfigError) as caught:
        GdcClient("http://user:word@portal.example", token=token)
    assert "word" not in str(caught.value)
    for api in ("https://portal.example", "http://127.0.0.1:80"):
        with GdcClient(api, token=token) as client:
            assert client.has_token


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"abc-def", 0o644, r"others than its owner may use it \(mode 644\); run `chmod 600"),
        (b"abc-def", 0o620, "chmod 600"),
        (b"", 0o600, "holds no token"),
        (b"abc def", 0o600, "holds no token"),
        (b"abc\ndef", 0o600, "holds no token"),
        ("abc-dé".encode(), 0o600, "holds no token"),
        (None, 0o600, "cannot be read: No such file"),
    ],
)
def test_token_files_that_are_refused(tmp_path: Path, content: bytes | None, mode: int, message: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(ConfigError, match=message) as caught:
        read_token(path)
    assert "abc" not in str(caught.value)


def test_a_token_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("abc-def\n")
    path.chmod(0o600)
    token = read_token(path)
    assert token.get_secret_value() == "abc-def"
    assert "abc" not in repr(token) + str(token)


# ---- searching ----


def sizes_asked(portal: ServerHandle) -> list[tuple[int, int]]:
    return [(request.parameters["from"], request.parameters["size"]) for request in portal.requests]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(fault="status", status=504), [(0, 20), (0, 20), (20, 20)]),
        (Fault(fault="status", status=500, times=2), [(0, 20), (0, 20), (0, 10), (10, 10), (20, 10)]),
        (Fault(fault="html_status", status=502, times=3), [(0, 20), (0, 20), (0, 10), (0, 10), (10, 10), (20, 10)]),
        (Fault(fault="status", status=429, times=3), [(0, 20)] * 4 + [(20, 20)]),  # asks for patience, not for less
        (Fault(fault="stall", seconds=60, times=2), [(0, 20), (0, 20), (0, 10), (10, 10), (20, 10)]),
    ],
    ids=lambda value: value.fault if isinstance(value, Fault) else "",
)
def test_a_page_that_is_too_large_is_halved(
    study: SyntheticStudy, fault: Fault, expected: list[tuple[int, int]]
) -> None:
    patience = {"idle_timeout_s": 1.5} if fault.fault == "stall" else {}
    with serve(study, [fault]) as portal, client_of(portal, **patience) as client:
        hits = client.query("cases", sort="case_id", page_size=20)
        assert sizes_asked(portal) == expected
    assert [hit["case_id"] for hit in hits] == sorted(case["case_id"] for case in study.cases())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(fault="wrong_pages", path="/cases"), r"`pagination\.pages` is 4 where 3 is expected .*do not fit"),
        (Fault(fault="empty_page", path="/cases", nth=2), "do not fit together"),
        (Fault(fault="from_1_based", path="/cases", times=0), "do not fit together"),
        (Fault(fault="duplicate_hit", path="/cases", nth=2), "do not fit together"),
        (Fault(fault="missing_hit", path="/cases", nth=2), "do not fit together"),
        (Fault(fault="total_changes", path="/cases", nth=3), "changed from 26 to 27 while reading"),
        (Fault(fault="warnings", path="/cases", nth=2), "the portal warns"),
        (Fault(fault="redirect", path="/cases", text="http://elsewhere.example/"), "a redirect to http://elsewhere"),
        (Fault(fault="status", status=500, path="/cases", times=0), "answered 500 .*, after 4 tries"),
        (Fault(fault="close_before_headers", path="/cases", times=0), "no answer .*, after 4 tries"),
    ],
    ids=lambda value: value.fault if isinstance(value, Fault) else "",
)
def test_pages_that_do_not_fit(study: SyntheticStudy, fault: Fault, message: str) -> None:
    with (
        serve(study, [fault]) as portal,
        client_of(portal) as client,
        pytest.raises(PortalError, match=f"(?s)/cases: .*{message}"),
    ):
        client.query("cases", sort="case_id", page_size=10)


def test_a_page_is_not_asked_for_beyond_the_limit(study: SyntheticStudy) -> None:
    with GdcClient("http://127.0.0.1:9") as client, pytest.raises(ValueError, match="2001 is not in 1 to 2000"):
        client.query("cases", sort="case_id", page_size=2001)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(fault="drop_field", path="/files", text="md5sum", times=0), "md5sum None"),
        (Fault(fault="null_field", path="/files", text="md5sum", times=0), "md5sum None"),
        (Fault(fault="wrong_size", path="/files", times=0), r"bytes announced instead of \d+"),
        (Fault(fault="wrong_md5", path="/files", times=0), "again and again; kept as .*quarantine"),
    ],
    ids=lambda value: value.fault if isinstance(value, Fault) else "",
)
def test_metadata_that_is_wrong(study: SyntheticStudy, tmp_path: Path, fault: Fault, message: str) -> None:
    with pytest.raises(PortalError, match=f"(?s){message}"):
        fetch(study, tmp_path, fault, projects=BOTH[:1])
    assert not (tmp_path / "manifest.tsv").exists()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(fault="ignore_range", path="/data/", times=0),
        Fault(fault="bad_content_range", path="/data/", nth=2, each_path=True),
        Fault(fault="wrong_range_length", path="/data/", nth=2, each_path=True),
        Fault(fault="file_changed", path="/data/", each_path=True),
        Fault(fault="no_length", path="/data/", times=0),
        Fault(fault="no_content_md5", path="/data/", times=0),
        Fault(fault="bad_header_md5", path="/data/", times=0),
        Fault(fault="disposition", path="/data/", text="../../evil", times=0),
        Fault(fault="no_disposition", path="/data/", times=0),
        Fault(fault="gzip_encoding", path="/data/", nth=2, each_path=True),
        Fault(fault="close_before_headers", path="/data/", each_path=True),
        Fault(fault="chunked_cut", path="/data/", at_bytes=700, nth=2, each_path=True),
        Fault(fault="short_body", path="/data/", at_bytes=700, nth=2, each_path=True),
        Fault(fault="drip", path="/data/", bytes_per_s=200_000, times=0),
    ],
    ids=lambda fault: fault.fault,
)
def test_resumed_files_arrive_whole_whatever_the_server_makes_of_it(
    study: SyntheticStudy, tmp_path: Path, fault: Fault
) -> None:
    """Every file breaks off once, after 1,000 bytes, so that most requests of this test ask for the rest."""
    breaks = Fault(fault="reset", path="/data/", at_bytes=1000, each_path=True)
    done, portal = fetch(study, tmp_path, breaks, fault, projects=BOTH[:1])
    for file in done.plan.files:
        assert (tmp_path / file.file_id / file.file_name).read_bytes() == study.file_body(file.file_id)
    assert len(list(tmp_path.glob("*/*"))) == len(done.plan.files) + 2  # the lock and the record of verified files
    if fault.fault not in ("file_changed", "close_before_headers", "no_length"):
        assert any(re.fullmatch(r"bytes=1000-", request.byte_range or "") for request in portal.data_requests)


def test_nothing_is_fetched_twice_that_arrived(study: SyntheticStudy, tmp_path: Path) -> None:
    breaks = Fault(fault="reset", path="/data/", at_bytes=5000, each_path=True)
    with serve(study, [breaks]) as portal, client_of(portal) as client:
        plan = download(client, tmp_path, BOTH[:1], "rnaseq").plan
        assert portal.wait_until_idle()
        asked = {file.file_id: [one for one in portal.data_requests if file.file_id in one.path] for file in plan.files}
    for file in plan.files:
        assert [request.byte_range for request in asked[file.file_id]] == [None, "bytes=5000-"]
        assert [request.bytes_sent for request in asked[file.file_id]] == [5000, file.size - 5000]
    assert json.loads((tmp_path / "plan.json").read_text())["data_release"] == plan.data_release
