"""A finished run as an RO-Crate, and what must not leave."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulkrnabert.cli import _run
from bulkrnabert.errors import DataError
from bulkrnabert.evaluate import audit
from bulkrnabert.evaluate.audit import FIRST
from bulkrnabert.evaluate.crate import PatientIds

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
    begun, line = (json.loads(text) for text in (results / "audit.jsonl").read_text().splitlines())
    assert (begun["event"], line["event"]) == ("export begun", "export") and begun["previous_sha256"] == FIRST
    assert (
        "crate_sha256" not in begun
        and line["crate_sha256"] == hashlib.sha256((tmp_path / "crate/ro-crate-metadata.json").read_bytes()).hexdigest()
    )


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


def fill_with_patients(folder: Path, first: str, second: str, withdrawn: str) -> None:
    """Ids of patients and samples wherever a run may leave them, beside files that hold none."""
    write(folder / "cohorts/clinical.tsv", f"patient_id\ttime_days\n{first}\t7\n{second}\t9\n")
    write(folder / "cohorts/rejected.tsv", f'sample_id\tpatient_id\treason\n{first}-11A\t{first}\t"a normal\n')
    pair = {"cohort": "A", "n_paired_samples": 0, "n_paired_patients": 0, "n_rnaseq_only": 1, "n_methylation_only": 1}
    summary = {"cohorts": [], "genes": {"n_kept": 1}, "data_access": "open"}
    pairs = [{**pair, "other_vials": [{"patient_id": first, "rnaseq": [f"{first}-01A"]}]}]
    write(folder / "cohorts/summary.json", {**summary, "pairs": pairs})
    pq.write_table(pa.table({"sample_id": [f"{second}-01A"], "values": [[0.5]]}), folder / "cohorts/A.rnaseq.parquet")
    write(folder / "splits/splits.tsv", f"sample_id\tpatient_id\n{first}-01A\t{first}\n")
    write(folder / "numbers/embedding_maps.json", {"sample_ids": [f"{first}-01A"], "patient_ids": [first]})
    write(folder / "numbers/metrics.json", {"metrics": [{"n_samples": 12, "value": 0.1}]})
    write(folder / "retraining/changes/changes.tsv", f"kind\tsample_id\tpatient_id\nwithdrawn\t\t{withdrawn}\n")
    write(folder / "retraining/changes/CHANGES.md", f"- {withdrawn}-01A, learnt from\n")
    write(folder / "retraining/decision/DECISION.md", f"- {withdrawn}-01A, learnt from\n")
    write(folder / "retraining/decision/decision.json", {"promote": True})
    write(folder / "attributions/a/samples.tsv", f"sample_id\tpredicted\n{first}-01A\tA\n")
    write(folder / "attributions/b/samples.tsv", f"patient_id\tpredicted\n{first}\tA\n")
    pq.write_table(pa.table({"sample_id": [f"{first}-01A"]}), folder / "attributions/a/attributions.parquet")
    write(folder / "attributions/a/attributions.tsv", "gene_id\tmean\nENSG1\t0.5\n")
    write(folder / "doctor.json", [{"found": f"'{second}-01A' looks broken", "sample_id": second}])
    write(folder / "report.html", f'<script>{{"samples":["{first}-01A"],"patients":["{first}"]}}</script>')
    write(folder / f"gexbert/{second}.json", {})
    (folder / "finetuned/a/model").mkdir(parents=True)
    (folder / "finetuned/a/model/model.safetensors").write_bytes(b"weights \xff")


KEPT = {
    "attributions/a/attributions.tsv",
    "cohorts/summary.json",
    "encoders/r0f0/provenance.json",
    "finetuned/a/model/model.safetensors",
    "numbers/metrics.json",
    "pipeline_info/run.json",
    "retraining/decision/decision.json",
    "ro-crate-metadata.json",
}


@pytest.mark.parametrize("ids", [("TCGA-SA-0001", "TCGA-SB-0002", "TCGA-SC-0003"), ("12", "1002", "13")])
def test_nobody_is_named_in_a_crate_without_patients(
    ids: tuple[str, str, str], results: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fill_with_patients(results, *ids)
    shutil.rmtree(results / "download")
    out = tmp_path / "crate"
    assert crate(results, out, "--json") == 0
    found = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    # An id of digits alone in the name of a file is a number like any other.
    assert set(found) == KEPT | ({"gexbert/1002.json"} if ids[0] == "12" else set())
    for name, path in found.items():
        content = path.read_bytes().decode(errors="replace")
        patterns = ids if ids[0] != "12" else [f'"{text}' for text in ids]
        assert not [one for one in patterns if one in content and name != "ro-crate-metadata.json"], name
        assert ids[0] != "TCGA-SA-0001" or not [one for one in ids if one in content]
    pairs = json.loads(found["cohorts/summary.json"].read_text())["pairs"]
    assert pairs[0]["n_other_vials"] == 1 and "other_vials" not in pairs[0]
    hashed = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}
    assert graph_of(out)["cohorts/summary.json"]["sha256"] == hashed["cohorts/summary.json"]
    said = json.loads(capfd.readouterr().out)
    everything = {path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file()}
    assert set(said["stays"]) == everything - set(found) - {"mlflow/mlflow.db", "audit.jsonl"}
    assert f"{len(said['stays'])} files that tell of single patients stay" in said["what"]


def test_with_patients_all_goes_along(results: Path, tmp_path: Path) -> None:
    fill_with_patients(results, "TCGA-SA-0001", "TCGA-SB-0002", "TCGA-SC-0003")
    assert crate(results, tmp_path / "crate", "--with-patients") == 0
    for name in ("cohorts/summary.json", "report.html", "retraining/changes/CHANGES.md", "attributions/a/samples.tsv"):
        assert (tmp_path / "crate" / name).read_bytes() == (results / name).read_bytes()


def test_hashes_of_patients_stay_where_the_data_are_not_open(results: Path, tmp_path: Path) -> None:
    write(results / "encoders/r0f0/provenance.json", {"split_sha256": "ab", "patient_hashes": ["0123456789abcdef"]})
    assert crate(results, tmp_path / "open") == 0
    write(results / "cohorts/summary.json", {"cohorts": [], "genes": {"n_kept": 1}, "data_access": "local"})
    assert crate(results, tmp_path / "local") == 0
    name = "encoders/r0f0/provenance.json"
    assert json.loads((tmp_path / "open" / name).read_text())["patient_hashes"] == ["0123456789abcdef"]
    assert json.loads((tmp_path / "local" / name).read_text()) == {"split_sha256": "ab", "patient_hashes": None}


def test_the_metadata_name_nobody(results: Path, tmp_path: Path) -> None:
    write(results / "cohorts/clinical.tsv", "patient_id\nTCGA-SA-0001\n")
    path = results / "pipeline_info/run.json"
    write(path, {**json.loads(path.read_text()), "command_line": "nextflow run --input TCGA-SA-0001.csv"})
    write(results / "download/A.plan.json", {"files": [{**FILE, "file_name": "TCGA-SA-0001.tsv", "access": "open"}]})
    assert crate(results, tmp_path / "crate") == 0
    text = (tmp_path / "crate/ro-crate-metadata.json").read_text()
    assert "TCGA-SA-0001" not in text and f"gdc-{FILE['file_id']}" in text
    assert not (tmp_path / "crate/pipeline_info/run.json").exists()


def test_ids_are_found_as_whole_words() -> None:
    ids = PatientIds(["TCGA-SA-0001", "S 1", "Zoë<2>", "7", "301", "x", "", "--"])
    for text in (
        "in TCGA-SA-0001.",
        "TCGA-SA-0001-01A_raw",
        '"S 1"',
        '"Zo\\u00eb<2>"',
        "Zoë&lt;2&gt;",
        "['301']",
        ">x<",
    ):
        assert ids.first_in(text) is not None, text
    for text in ("TCGA-SA-00012", "TCGA-SA 0001", "S 12", '"n": 301, "x_y": 7', "2 of 7 samples", "x = 301", "--", ""):
        assert ids.first_in(text) is None, text


def test_passwords_stay(results: Path, tmp_path: Path) -> None:
    server = "http://me:secret@host:5000"
    run = {"command_line": f"nextflow run --mlflow_uri {server} -resume", "params": {"mlflow_uri": server, "seed": 3}}
    write(results / "pipeline_info/run.json", run)
    write(results / "download/B.manifest.tsv", f'{server}\t"http://host"\tme@host\n')
    for more in ([], ["--with-patients"]):
        assert crate(results, tmp_path / "crate", *more) == 0
        for path in (tmp_path / "crate").rglob("*"):
            assert path.is_dir() or b"secret" not in path.read_bytes(), path
        told = json.loads((tmp_path / "crate/pipeline_info/run.json").read_text())
        assert told["params"] == {"mlflow_uri": "http://…@host:5000", "seed": 3}
        assert told["command_line"] == "nextflow run --mlflow_uri http://…@host:5000 -resume"
    assert (tmp_path / "crate/download/B.manifest.tsv").read_text() == 'http://…@host:5000\t"http://host"\tme@host\n'


def test_nothing_leaves_where_the_log_cannot_be_written(
    results: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "broken.jsonl", "nonsense\n")
    assert crate(results, tmp_path / "crate", "--audit", str(tmp_path / "broken.jsonl")) == 2
    write(tmp_path / "file", "")
    assert crate(results, tmp_path / "crate", "--audit", str(tmp_path / "file/audit.jsonl")) == 2
    said = capfd.readouterr().err
    assert "line 1: is no line of an audit log" in said and "nothing was exported" in said
    appended: list[str] = []

    def fail_later(path: Path, event: str, facts: dict[str, Any]) -> str:
        appended.append(event)
        if len(appended) == 2:
            raise DataError(f"{path}: the disk is full")
        return FIRST

    monkeypatch.setattr(audit, "append_audit", fail_later)
    assert crate(results, tmp_path / "crate") == 2
    assert appended == ["export begun", "export"]
    assert not [path for path in tmp_path.iterdir() if "crate" in path.name]


def test_bad_input(results: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert crate(results, tmp_path / "crate", "--image", "bulkrnabert:latest") == 2
    assert crate(results, results / "crate") == 2
    assert crate(tmp_path, tmp_path.parent / f"{tmp_path.name}-crate") == 2
    assert crate(results, tmp_path, "--audit", str(tmp_path.parent / "audit.jsonl")) == 2
    assert crate(results, tmp_path / "crate", "--audit", str(tmp_path / "crate/audit.jsonl")) == 2
    write(results / "cohorts/A.rnaseq.parquet", "rows")
    assert crate(results, tmp_path / "crate") == 2
    said = capfd.readouterr().err
    assert "has no digest" in said and "lies in --results" in said and "no cohorts/summary.json here" in said
    assert "holds --results" in said and "lies in --out" in said and "A.rnaseq.parquet: is no Parquet table" in said
