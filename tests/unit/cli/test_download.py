"""The commands `synth`, `download` and `serve-gdc`, as a user calls them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from bulkrnabert.cli import _run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.json"
    assert _run(["synth", "--out", str(path), "--cohorts", "2", "--patients-per-cohort", "4", "--genes", "200"]) == 0
    return path


def test_synth_then_download(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "raw"
    arguments = ["download", "--api", f"embedded:{study}", "--projects", "TCGA-SYNB,TCGA-SYNA", "--out", str(out)]
    assert _run(arguments) == 0
    plan = json.loads((out / "plan.json").read_text())
    assert plan["api"] == "embedded:study.json"
    assert plan["projects"] == ["TCGA-SYNA", "TCGA-SYNB"]
    assert plan["modality"] == "rnaseq"
    assert set(plan["files"][0]) >= {
        *("file_id", "file_name", "md5", "size", "project_id", "case_id", "patient_id", "sample_id"),
        *("aliquot_id", "sample_type", "is_ffpe", "access"),
    }
    assert set(plan["rejected"][0]) == {*plan["files"][0], "rule", "reason"}
    assert (out / "manifest.tsv").is_file()
    assert _run(arguments) == 0


def test_synth_is_the_same_every_time(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json", "c.json")]
    for path, seed in zip(paths, ("0", "0", "1"), strict=True):
        assert _run(["synth", "--out", str(path), "--seed", seed]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()
    assert json.loads(paths[0].read_text())["kind"] == "synthetic-study"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--projects", "TCGA-SYNZ"], "no project 'TCGA-SYNZ'"),
        (["--projects", " , "], "names no project"),
        (["--projects", "TCGA-SYNA", "--modality", "protein"], "'protein' is not one of"),
        (["--projects", "TCGA-SYNA", "--workers", "0"], "--workers"),
        (["--projects", "TCGA-SYNA", "--api", "embedded:none.json"], "none.json: cannot be read"),
        (["--projects", "TCGA-SYNA", "--api", "ftp://host"], "is no address"),
    ],
)
def test_bad_requests_exit_2_with_one_message(
    study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    out = tmp_path / "raw"
    assert _run(["download", "--api", f"embedded:{study}", "--out", str(out), *options]) == 2
    shown = capfd.readouterr().err
    assert message in shown
    assert "Traceback" not in shown
    assert not out.exists()


def test_synth_refuses_impossible_sizes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(["synth", "--out", str(tmp_path / "s.json"), "--cohorts", "99"]) == 2
    assert "`cohorts`: Input should be less than or equal to 26 (found 99)" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def start_server(*options: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "bulkrnabert.cli", "serve-gdc", "--port", "0", *options]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    for line in server.stderr:
        found = re.search(r"serving .* at (http://\S+)", line)
        if found:
            return server, found[1]
    raise AssertionError("the server did not start")


def test_serve_gdc_serves_until_interrupted(study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text('[{"fault": "html_200", "path": "/projects", "times": 0}]')
    server, url = start_server("--study", str(study), "--faults", str(faults))
    try:
        assert requests.get(f"{url}/v0/status", timeout=5).json()["status"] == "OK"
        assert _run(["download", "--api", url, "--projects", "TCGA-SYNA", "--out", str(tmp_path / "raw")]) == 2
        assert "/projects: expected JSON" in capfd.readouterr().err
        port = url.rsplit(":", 1)[1]
        assert _run(["serve-gdc", "--port", port, "--study", str(study)]) == 2
        assert f"--port {port} cannot be used" in capfd.readouterr().err
    finally:
        server.send_signal(signal.SIGINT)
        _, rest = server.communicate(timeout=10)
    assert server.returncode == 0
    assert "Traceback" not in rest


@pytest.mark.parametrize("stage", ["synth", "download", "serve-gdc"])
def test_help_is_quick_to_load(stage: str) -> None:
    code = (
        "import sys; from bulkrnabert.cli import _run; assert _run([sys.argv[1], '--help']) == 0; "
        "sys.exit(bool({'torch', 'numpy', 'requests'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, stage], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--out" in done.stdout or stage == "serve-gdc"
