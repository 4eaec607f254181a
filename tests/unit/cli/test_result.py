"""The end of a command: one line for people, one document for machines, nothing written on a dry run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from bulkrnabert.cli import _run, program
from bulkrnabert.cli._look import dry_run_option, stage
from bulkrnabert.cli._result import finish

CONTEXT = click.Context(program, info_name="bulkrnabert")
WITHOUT_JSON = {"completion", "serve-gdc"}


def document(capfd: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    shown = capfd.readouterr()
    return json.loads(shown.out), shown.err.splitlines()[-1].split(": ", 1)[1]


@pytest.mark.parametrize("name", program.list_commands(CONTEXT))
def test_commands_have_json(name: str) -> None:
    command = program.get_command(CONTEXT, name)
    assert command is not None
    has = any("--json" in parameter.opts for parameter in command.params)
    assert has == (name not in WITHOUT_JSON)


def test_one_document_and_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "study.json"
    sizes = ["--cohorts", "2", "--patients-per-cohort", "5", "--genes", "200", "--probes", "100"]
    assert _run(["synth", *sizes, "--out", str(out), "--json"]) == 0
    found, line = document(capfd)
    assert (found["command"], found["out"], found["n_patients"]) == ("synth", str(out), 10)
    assert found["projects"] == ["TCGA-SYNA", "TCGA-SYNB"]
    following = f"bulkrnabert download --api embedded:{out} --projects TCGA-SYNA,TCGA-SYNB --out RAW"
    assert found["next"] == following
    assert line == f"{out}: {found['what']}; next: {following}"
    assert _run(["synth", *sizes, "--out", str(out)]) == 0
    assert capfd.readouterr().out == ""


def test_download_split_and_preprocess_say_what_they_would_do(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    study, raw, cohorts = tmp_path / "study.json", tmp_path / "raw", tmp_path / "cohorts"
    sizes = ["--cohorts", "2", "--patients-per-cohort", "12", "--genes", "200", "--probes", "100"]
    assert _run(["synth", *sizes, "--out", str(study)]) == 0
    download = ["download", "--api", f"embedded:{study}", "--projects", "TCGA-SYNA,TCGA-SYNB", "--out", str(raw)]
    capfd.readouterr()
    assert _run([*download, "--dry-run", "--json"]) == 0
    planned, line = document(capfd)
    assert not raw.exists() and line.startswith("nothing was written; would be fetched: ")
    assert _run([*download, "--json"]) == 0
    fetched, _ = document(capfd)
    assert fetched["n_fetched"] == planned["n_files"] == sum(one["n_files"] for one in planned["projects"].values())
    assert fetched["n_bytes"] == planned["n_bytes"] and fetched["n_kept"] == 0
    assert fetched["next"] == f"bulkrnabert preprocess --raw {raw} --out COHORTS"

    preprocess = ["preprocess", "--raw", str(raw), "--out", str(cohorts), "--json"]
    assert _run([*preprocess, "--dry-run"]) == 0
    checked, _ = document(capfd)
    assert not cohorts.exists() and checked["out"] is None
    assert _run(preprocess) == 0
    written, _ = document(capfd)
    assert sum(one["n_samples"] for one in written["cohorts"]) <= checked["modalities"][0]["n_samples"]

    split = ["split", "--cohorts", str(cohorts), "--folds", "2", "--out", str(tmp_path / "splits"), "--json"]
    assert _run([*split, "--dry-run"]) == 0
    dry, _ = document(capfd)
    assert not (tmp_path / "splits").exists() and dry["out"] is None
    assert _run(split) == 0
    real, _ = document(capfd)
    assert real["out"] == str(tmp_path / "splits" / "splits.tsv")
    assert {key: real[key] for key in ("n_samples", "encoders", "jobs")} == {
        key: dry[key] for key in ("n_samples", "encoders", "jobs")
    }
    assert real["encoders"] == ["r0f0", "r0f1"]


def test_an_error_leaves_standard_output_empty(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(["split", "--cohorts", str(tmp_path / "none"), "--out", str(tmp_path / "out"), "--json"]) == 2
    shown = capfd.readouterr()
    assert shown.out == "" and "Error: " in shown.err.splitlines()[-1]


def test_workers_of_a_run_say_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @stage("probe-of-the-test", {"example": "bulkrnabert probe-of-the-test"})
    @dry_run_option
    def command(dry_run: bool) -> None:
        finish(None, "done", dry=dry_run)

    command.main(["--json", "--dry-run"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["dry"] is True
    monkeypatch.setenv("RANK", "1")
    command.main(["--json"], standalone_mode=False)
    assert capsys.readouterr().out == ""
