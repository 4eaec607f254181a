"""`download`: which files, by merged cohorts, rules and manifests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bulkrnabert.cli import _run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.json"
    assert _run(["synth", "--out", str(path), "--cohorts", "2", "--patients-per-cohort", "4", "--genes", "200"]) == 0
    return path


def run(study: Path, out: Path, *options: str) -> int:
    return _run(["download", "--api", f"embedded:{study}", "--out", str(out), *options])


def plan_of(out: Path) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((out / "plan.json").read_text())
    return plan


def test_a_merged_cohort_is_its_projects(study: Path, tmp_path: Path) -> None:
    assert run(study, tmp_path / "raw", "--projects", "BOTH=tcga-syna+TCGA-SYNB", "--plan-only") == 0
    assert run(study, tmp_path / "raw", "--projects", "BOTH=TCGA-SYNA+TCGA-SYNB", "--plan-only") == 0
    plan = plan_of(tmp_path / "raw")
    assert plan["projects"] == ["TCGA-SYNA", "TCGA-SYNB"]
    assert plan["merged"] == {"BOTH": ["TCGA-SYNA", "TCGA-SYNB"]}
    assert {file["project_id"] for file in plan["files"]} == {"TCGA-SYNA", "TCGA-SYNB"}
    assert run(study, tmp_path / "all", "--projects", "all-tcga", "--plan-only") == 0
    assert plan_of(tmp_path / "all")["files"] == plan["files"]


def test_rules_of_ones_own(study: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("tissue: primary\nffpe: keep\nplate: highest\n")
    request = ("--projects", "TCGA-SYNA", "--plan-only")
    assert run(study, tmp_path / "raw", *request, "--rules", str(rules)) == 0
    plan = plan_of(tmp_path / "raw")
    assert plan["sample_types"] == plan["rules"]["tissue"] == "primary"
    assert plan["rules"]["plate"] == "highest"
    assert run(study, tmp_path / "raw", *request, "--rules", str(rules)) == 0
    rules.write_text("tissue: primary\nffpe: exclude\nplate: highest\n")
    assert run(study, tmp_path / "raw", *request, "--rules", str(rules)) == 2


def test_other_rules_need_another_folder(study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(study, tmp_path / "raw", "--projects", "TCGA-SYNA", "--plan-only") == 0
    assert run(study, tmp_path / "raw", "--projects", "TCGA-SYNA", "--plan-only", "--rules", "firehose") == 2
    assert "other rules of selection: order, vial, portion, plate" in capfd.readouterr().err


def test_a_manifest(study: Path, tmp_path: Path) -> None:
    assert run(study, tmp_path / "a", "--projects", "TCGA-SYNA", "--sample-types", "all") == 0
    manifest = tmp_path / "gdc_manifest.txt"
    manifest.write_bytes((tmp_path / "a/manifest.tsv").read_bytes())
    assert run(study, tmp_path / "b", "--manifest", str(manifest)) == 0
    assert (tmp_path / "b/manifest.tsv").read_bytes() == manifest.read_bytes()
    assert run(study, tmp_path / "c", "--manifest", str(manifest), "--sample-types", "primary") == 0
    some = plan_of(tmp_path / "c")
    assert {file["rule"] for file in some["rejected"]} == {"sample_type"}
    rejected = (tmp_path / "c/rejected.tsv").read_text().splitlines()
    assert len(rejected) == 1 + len(some["rejected"])
    assert len(plan_of(tmp_path / "a")["files"]) == len(some["files"]) + len(some["rejected"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--projects", "TCGA-SYNA", "--manifest", "m.txt"], "give either --projects"),
        (["--manifest", "m.txt", "--plan-only"], "--plan-only makes one"),
        (["--manifest", "m.txt"], "m.txt"),
        (["--projects", "GBMLGG"], "no project 'TCGA-GBM'"),
        (["--projects", "A=TCGA-SYNA+TCGA-SYNB,B=TCGA-SYNA+TCGA-SYNC"], "TCGA-SYNA would be in A and B"),
        (["--projects", "TCGA-SYNA", "--rules", "broad"], "choose one of default, firehose"),
        (["--projects", "TCGA-SYNA", "--rules", "none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_bad_requests(
    study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run(study, tmp_path / "raw", *options) == 2
    shown = capfd.readouterr().err
    assert message in shown
    assert "Traceback" not in shown
