"""A finished run as an RO-Crate, what must not leave, and the log of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from bulkrnabert.cli import _run
from bulkrnabert.errors import DataError
from bulkrnabert.evaluate.audit import FIRST, append_audit, check_audit

FILE = {"file_id": "00000000-0000-4000-8000-000000000001", "file_name": "a.tsv", "md5": "0" * 32, "size": 7}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    write(folder / "cohorts/summary.json", {"cohorts": [], "genes": {"n_kept": 1}, "data_access": "open"})
    write(folder / "cohorts/clinical.tsv", "patient_id\nP1\n")
    plan = {"source": "gdc", "api": "https://user:secret@portal", "data_release": "Data Release 45.0"}
    write(folder / "download/TCGA-A.plan.json", {**plan, "files": [{**FILE, "access": "open"}]})
    write(folder / "encoders/r0f0/provenance.json", {"split_sha256": "ab" * 32, "code_sha256": "cd" * 32})
    write(folder / "predictions/survival.pan/predictions.parquet", "rows")
    write(folder / "report.html", "<html></html>")
    write(folder / "mlflow/mlflow.db", "database")
    run = {"pipeline_version": "1.2", "run_name": "happy_euler", "params": {"seed": 3}, "command_line": "nextflow run"}
    write(
        folder / "pipeline_info/run.json", {**run, "start": "2026-01-01T00:00:00Z", "complete": "2026-01-02T00:00:00Z"}
    )
    return folder


def crate(results: Path, out: Path, *more: str) -> int:
    return _run(["crate", "--results", str(results), "--out", str(out), *more])


def graph_of(out: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((out / "ro-crate-metadata.json").read_text())
    assert content["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    graph = {entity["@id"]: entity for entity in content["@graph"]}
    assert len(graph) == len(content["@graph"])
    return graph


def test_the_crate(results: Path, tmp_path: Path) -> None:
    image = "bulkrnabert@sha256:" + "ef" * 32
    assert crate(results, tmp_path / "crate", "--image", image) == 0
    graph = graph_of(tmp_path / "crate")
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    root, run = graph["./"], graph["#run"]
    assert root["conditionsOfAccess"] == "open" and root["splitSha256"] == ["ab" * 32]
    parts = {part["@id"] for part in root["hasPart"]}
    assert parts == {"cohorts/summary.json", "encoders/r0f0/provenance.json", "report.html", "pipeline_info/run.json"}
    assert {path.relative_to(tmp_path / "crate").as_posix() for path in (tmp_path / "crate").rglob("*.*")} == {
        *parts,
        "ro-crate-metadata.json",
    }
    assert graph["report.html"]["sha256"] == hashlib.sha256(b"<html></html>").hexdigest()
    given = graph[f"#gdc-{FILE['file_id']}"]
    assert (given["md5"], given["dataRelease"], given["contentSize"]) == ("0" * 32, "Data Release 45.0", 7)
    assert "secret" not in json.dumps(given)
    assert {link["@id"] for link in run["instrument"]} == {"#software", "#container"}
    assert graph["#container"]["name"] == image and graph["#parameter-seed"]["value"] == "3"
    assert run["startTime"] == "2026-01-01T00:00:00Z" and graph["#software"]["version"] == "1.2"
    links = [link["@id"] for link in (*run["object"], *run["result"], *root["hasPart"])]
    assert set(links) <= set(graph)
    (line,) = (json.loads(text) for text in (results / "audit.jsonl").read_text().splitlines())
    assert line["event"] == "export" and line["previous_sha256"] == FIRST
    assert line["crate_sha256"] == hashlib.sha256((tmp_path / "crate/ro-crate-metadata.json").read_bytes()).hexdigest()


def test_patients_go_along_only_when_asked_for_and_open(
    results: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert crate(results, tmp_path / "all", "--with-patients") == 0
    assert "cohorts/clinical.tsv" in graph_of(tmp_path / "all")
    write(results / "cohorts/summary.json", {"cohorts": [], "genes": {"n_kept": 1}, "data_access": "local"})
    assert crate(results, tmp_path / "local", "--with-patients") == 2
    assert "leave --with-patients out" in capfd.readouterr().err and not (tmp_path / "local").exists()
    assert crate(results, tmp_path / "local") == 0
    assert graph_of(tmp_path / "local")["./"]["conditionsOfAccess"] == "local"


@pytest.mark.parametrize("where", ["summary", "plan", "weights", "unknown"])
def test_controlled_data_stay(where: str, results: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if where == "plan":
        write(results / "download/B.plan.json", {"files": [FILE, {**FILE, "access": "controlled"}]})
    elif where == "weights":
        write(results / "encoders/r0f1/provenance.json", {"data_access": "controlled"})
    else:
        access = "controlled" if where == "summary" else "embargoed"
        write(results / "cohorts/summary.json", {"cohorts": [], "genes": {"n_kept": 1}, "data_access": access})
    assert crate(results, tmp_path / "crate") == 2
    assert "data-access class controlled" in capfd.readouterr().err and not (tmp_path / "crate").exists()
    assert json.loads((results / "audit.jsonl").read_text())["event"] == "export refused"


def test_the_log_shows_that_it_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for number in range(3):
        append_audit(path, "export", {"number": number})
    assert check_audit(path) != FIRST
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0].replace('"number": 0', '"number": 9'), *lines[1:]]) + "\n")
    with pytest.raises(DataError, match="line 2: does not follow"):
        append_audit(path, "export", {})
    path.write_text("nonsense\n")
    with pytest.raises(DataError, match="line 1: is no line of an audit log"):
        check_audit(path)


def test_bad_input(results: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert crate(results, tmp_path / "crate", "--image", "bulkrnabert:latest") == 2
    assert crate(results, results / "crate") == 2
    assert crate(tmp_path, tmp_path.parent / f"{tmp_path.name}-crate") == 2
    said = capfd.readouterr().err
    assert "has no digest" in said and "lies in --results" in said and "no cohorts/summary.json here" in said
