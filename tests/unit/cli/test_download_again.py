"""`download` as a user calls it twice, interrupts it, and moves its plans about."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkrnabert.cli import _run
from bulkrnabert.data.sources.gdc_faults import Fault
from bulkrnabert.data.sources.gdc_standin import ServerHandle, serve
from bulkrnabert.data.sources.transfer import folder_lock
from bulkrnabert.data.synthetic import SyntheticStudy

STUDY = SyntheticStudy.create(seed=4, cohorts=2, patients_per_cohort=4, genes=200, oddities=False)


@pytest.fixture
def portal() -> Iterator[ServerHandle]:
    with serve(STUDY) as handle:
        yield handle


def options(portal: ServerHandle, out: Path, *more: str) -> list[str]:
    return ["download", "--api", portal.url, "--projects", "TCGA-SYNA,TCGA-SYNB", "--out", str(out), *more]


def test_plan_only_then_elsewhere(portal: ServerHandle, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert _run(options(portal, here, "--plan-only")) == 0
    plan = json.loads((here / "plan.json").read_text())
    shown = capfd.readouterr().out.splitlines()
    n_bytes = [
        sum(file["size"] for file in plan["files"] if file["project_id"] == project) for project in plan["projects"]
    ]
    assert shown[0] == f"TCGA-SYNA: 4 files, {n_bytes[0]} bytes (0.1 MB), {len(plan['rejected']) // 2} left out"
    assert shown[2] == f"{here / 'plan.json'}: 8 files, {sum(n_bytes)} bytes, {plan['data_release']}"
    assert portal.data_requests == []

    n_before = len(portal.requests)
    fetch = ["download", "--api", portal.url, "--out", str(there), "--plan", str(here / "plan.json"), "--workers", "2"]
    assert _run(fetch) == 0
    assert {request.path.split("/")[1] for request in portal.requests[n_before:]} == {"status", "data"}
    assert len(portal.data_requests) == 8
    for name in ("plan.json", "cases.json"):
        assert (there / name).read_bytes() == (here / name).read_bytes()
    assert _run(options(portal, here)) == 0
    assert (there / "manifest.tsv").read_bytes() == (here / "manifest.tsv").read_bytes()


def test_verify_notices_what_size_and_time_hide(portal: ServerHandle, tmp_path: Path) -> None:
    assert _run(options(portal, tmp_path)) == 0
    path = next(tmp_path.glob("*/*.tsv"))
    body, status = path.read_bytes(), path.stat()
    path.write_bytes(body[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert _run(options(portal, tmp_path)) == 0
    assert path.read_bytes() == body[::-1]
    assert _run(options(portal, tmp_path, "--verify")) == 0
    assert path.read_bytes() == body
    assert len(portal.data_requests) == 9


def test_a_plan_only_in_a_complete_folder_changes_nothing(
    portal: ServerHandle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def state() -> dict[Path, tuple[bytes, int]]:
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}

    assert _run(options(portal, tmp_path)) == 0
    before, n_files = state(), len(portal.data_requests)
    capfd.readouterr()
    fewer = ["download", "--api", portal.url, "--projects", "TCGA-SYNA", "--out", str(tmp_path), "--replan"]
    assert _run([*fewer, "--plan-only"]) == 0
    shown = capfd.readouterr().out
    assert "complete; a new plan would change: 4 of 8 planned files stay; 0 are new" in shown
    assert "Nothing was changed" in shown and "without --plan-only" in shown
    assert state() == before and len(portal.data_requests) == n_files
    assert _run(fewer) == 0
    assert len((tmp_path / "manifest.tsv").read_text().splitlines()) == 1 + 4


def test_two_downloads_into_one_folder(portal: ServerHandle, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with folder_lock(tmp_path / "raw"):
        assert _run(options(portal, tmp_path / "raw")) == 2
    shown = capfd.readouterr().err
    assert f"another download is at work here (process {os.getpid()} on " in shown
    assert "Traceback" not in shown
    assert portal.data_requests == []

    command = [sys.executable, "-m", "bulkrnabert.cli", *options(portal, tmp_path / "raw", "--wait")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert len(portal.data_requests) == 8  # the second finds everything there


def test_an_interrupt_is_said_once_and_what_has_arrived_is_kept(tmp_path: Path) -> None:
    slow = Fault(fault="drip", path="/data/", bytes_per_s=400, times=0)
    with serve(STUDY, [slow]) as portal:
        command = [sys.executable, "-m", "bulkrnabert.cli", *options(portal, tmp_path)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        ends = time.monotonic() + 300
        n_begun = 0
        while n_begun < 4 and time.monotonic() < ends:
            time.sleep(0.02)
            n_begun = sum(path.stat().st_size > 0 for path in tmp_path.glob("*/*.tsv.part"))
        assert n_begun == 4
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, shown = process.communicate(timeout=60)
        assert time.monotonic() - began < 30
    assert process.returncode == 130
    assert shown.splitlines()[-1] == "Error: interrupted; run the same command again to go on"
    assert shown.count("interrupted") == 1
    assert "Traceback" not in shown
    assert list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "manifest.tsv").exists()
    with serve(STUDY) as portal:
        assert _run(options(portal, tmp_path)) == 0
        assert sum(request.byte_range is not None for request in portal.data_requests) == 4


def test_files_that_are_missing_end_the_command_with_1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lasting = Fault(fault="status", status=404, path="/data/", nth=3, times=1)
    with serve(STUDY, [lasting]) as portal:
        assert _run(options(portal, tmp_path)) == 1
        shown = capfd.readouterr().err
        assert "Error: 1 of 8 files could not be fetched; the others are kept, run it again to go on" in shown
        assert f"the whole list: {tmp_path / 'failed.tsv'}" in shown
        assert _run(options(portal, tmp_path)) == 0
        assert len(portal.data_requests) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --projects, or --plan"),
        (["--projects", "TCGA-SYNA", "--plan", "plan.json"], "give either --projects, or --plan"),
        (["--plan", "plan.json", "--plan-only"], "--plan-only makes one"),
        (["--plan", "plan.json", "--modality", "methylation"], "--modality is not used with --plan; the plan says it"),
        (["--plan", "plan.json", "--rules", "firehose"], "--rules is not used with --plan"),
        (["--plan", "plan.json", "--access", "all"], "--access is not used with --plan"),
        (["--projects", "TCGA-SYNA", "--rules", "mine"], "no selection preset named 'mine'"),
        (["--projects", "TCGA-SYNA", "--rules", "mine.yaml"], "mine.yaml: cannot be read"),
        (["--plan", "none.json"], "none.json: not a download plan"),
        (["--projects", "TCGA-SYNA", "--token-file", "none"], "--token-file none: cannot be read"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run(["download", "--api", "http://127.0.0.1:9", "--out", "raw", *arguments]) == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "raw").exists()


def test_other_rules_are_another_request(
    portal: ServerHandle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _run(options(portal, tmp_path / "raw")) == 0
    assert _run(options(portal, tmp_path / "raw", "--rules", "firehose")) == 2
    assert "other rules of selection: " in capfd.readouterr().err
    rules = tmp_path / "rules.yaml"
    rules.write_text("plate: highest\n")
    assert _run(options(portal, tmp_path / "raw", "--rules", str(rules))) == 2
    assert "other rules of selection: plate" in capfd.readouterr().err
    assert _run(options(portal, tmp_path / "raw", "--rules", str(rules), "--replan")) == 0
    assert json.loads((tmp_path / "raw/plan.json").read_text())["rules"]["plate"] == "highest"


def test_controlled_files_are_asked_for_with_a_token_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study = SyntheticStudy.create(seed=7, cohorts=2, patients_per_cohort=13, genes=200)
    token = tmp_path / "token"
    token.write_text("good\n")
    token.chmod(0o600)
    with serve(study) as portal:
        wanted = options(portal, tmp_path / "raw", "--access", "all")
        assert _run(wanted) == 2
        assert "planned files are not open" in capfd.readouterr().err
        assert portal.data_requests == []
        assert _run([*wanted, "--token-file", str(token)]) == 0
    assert "good" not in capfd.readouterr().err
    accesses = [file["access"] for file in json.loads((tmp_path / "raw/plan.json").read_text())["files"]]
    assert accesses.count("controlled") == 1


def test_a_token_file_that_others_may_read(
    portal: ServerHandle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    token = tmp_path / "token"
    token.write_text("very-secret-token")
    token.chmod(0o640)
    arguments = options(portal, tmp_path / "raw", "--token-file", str(token))
    assert _run(arguments) == 2
    shown = capfd.readouterr().err
    assert f"run `chmod 600 {token}`" in shown
    assert "secret" not in shown.replace(str(token), "")
    assert portal.requests == []
    token.chmod(0o600)
    assert _run(["--verbose", *arguments]) == 0
    assert "very-secret" not in capfd.readouterr().err
