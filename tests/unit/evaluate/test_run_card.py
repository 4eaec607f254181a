"""What a finished run adds to the card of its model, and the TRIPOD+AI list."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from huggingface_hub import ModelCard

from bulkrnabert.cli.card import command
from bulkrnabert.errors import BulkRNABertError
from bulkrnabert.evaluate.tripod import ITEMS

SPLIT = "ab" * 32
METHOD = "BulkRNABert, IA3"


def metric(method: str, name: str, value: float | None, **more: Any) -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - 0.05, value + 0.05)
    facts = {"task": "survival", "scope": "pan", "method": method, "metric": name, "value": value, "role": "model"}
    counts = {"n_patients": 90, "n_events": 40, "n_pretrained_patients_in_test": 0}
    return {**facts, **counts, "low": low, "high": high, "split_sha256": SPLIT, **more}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    for name in ("numbers", "cohorts", "download", "pipeline_info"):
        (folder / name).mkdir(parents=True)
    metrics = [
        metric(METHOD, "c_index_within_weighted", 0.61234),
        metric(METHOD, "uno_c", None, reason="fewer than 5 events"),
        metric("MOJO embedding + Cox", "c_index_within_weighted", 0.7),
        metric("BulkRNABert embedding + Cox", "c_index_within_weighted", 0.59),
        metric("PCA + Cox", "c_index_within_weighted", 0.6, role="baseline"),
    ]
    numbers = {"split_sha256": SPLIT, "protocol": "leak-free", "seed": 0, "metrics": metrics}
    (folder / "numbers" / "metrics.json").write_text(json.dumps(numbers))
    cohort = {"cohort": "TCGA-A", "source": "gdc", "unit": "tpm", "n_samples": 95, "n_patients": 90}
    summary = {
        "cohorts": [{**cohort, "n_with_survival": 90, "n_events": 40, "endpoint": "OS"}],
        "rejected": [{"cohort": "TCGA-A", "rule": "sample_type", "n": 7}, {"cohort": "TCGA-A", "rule": "ffpe", "n": 2}],
        "genes": {"n_kept": 1500},
        "unit": "tpm",
        "data_access": "open",
    }
    (folder / "cohorts" / "summary.json").write_text(json.dumps(summary))
    file = {"file_id": "f1", "file_name": "f1.tsv", "md5": "0", "size": 1, "access": "open"}
    plan = {"source": "gdc", "data_release": "43.0", "files": [file]}
    (folder / "download" / "TCGA-A.plan.json").write_text(json.dumps(plan))
    trace = "name\tstatus\trealtime\tcpus\nPRETRAIN (r0f0)\tCOMPLETED\t2h\t3\n"
    (folder / "pipeline_info" / "trace.tsv").write_text(trace)
    return folder


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model": "bulkrnabert", "config": {}}))
    (folder / "provenance.json").write_text(json.dumps({"split_sha256": SPLIT}))
    (folder / "README.md").write_text("# An encoder\n\n## Environmental cost\nTraining: 1 hour.\n\n## Data\n- x\n")
    return folder


@pytest.fixture
def finetuned(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    members = [
        {"split_id": name, "n_samples": 72, "best_epoch": epoch, "network": {"gene_idx": None}}
        for name, epoch in (("r0f0", 3), ("r0f1", 5))
    ]
    config = {
        "model": "bulkrnabert",
        "kind": "finetuned",
        "method": METHOD,
        "scope": "pan",
        "start": "pretrained",
        "seed": 0,
        "split_sha256": SPLIT,
        "tasks": [{"name": "survival", "label_column": "", "classes": []}],
        "members": members,
    }
    (folder / "config.json").write_text(json.dumps(config))
    record = {"split_sha256": SPLIT, "patient_hashes": ["ab"] * 90, "code_sha256": "c0de"}
    (folder / "provenance.json").write_text(json.dumps(record))
    return folder


def run(*arguments: object) -> BulkRNABertError | None:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, BulkRNABertError):
        raise result.exception
    return result.exception


def test_an_encoder_gets_the_numbers_of_all_encoders_of_its_kind(encoder: Path, results: Path) -> None:
    for _ in range(2):
        assert run("--model", encoder, "--results", results, "--gpus", 1) is None
    text = (encoder / "README.md").read_text()
    card = ModelCard(text)
    found = {(one.metric_name, one.metric_value) for one in card.data.eval_results}
    assert found == {
        (f"C-index within cohorts, {METHOD}", 0.6123),
        ("C-index within cohorts, BulkRNABert embedding + Cox", 0.59),
    }
    assert "| 0.612 [0.562, 0.662] | 90 | 40 |" in text
    assert "| Uno's C | not estimable: fewer than 5 events | 90 | 40 |" in text
    assert "MOJO" not in text
    assert "Portal and data release: gdc, release 43.0." in text
    assert "by rule: ffpe 2, sample_type 7." in text
    assert text.count("6.00 CPU hours and 2.00 GPU hours") == 1 and "Training: 1 hour." in text
    assert f"Protocol `leak-free`, splits sha256 `{SPLIT}`" in text
    assert sorted(path.name for path in encoder.iterdir()) == ["README.md", "config.json", "provenance.json"]


def test_a_fine_tuned_model_gets_its_own_numbers_and_the_list(finetuned: Path, results: Path, tmp_path: Path) -> None:
    assert run("--model", finetuned, "--results", results, "--out", tmp_path / "out") is None
    card = ModelCard((tmp_path / "out" / "README.md").read_text())
    assert [one.metric_name for one in card.data.eval_results] == [f"C-index within cohorts, {METHOD}"]
    with (tmp_path / "out" / "TRIPOD+AI.csv").open() as handle:
        rows = {row["item"]: row for row in csv.DictReader(handle)}
    assert list(rows) == list(ITEMS)
    assert {name.rstrip("abcdefg") for name in rows} == {str(number) for number in range(1, 28)}
    assert rows["21"]["answer"] == "survival: 90 patients, 40 events."
    assert "Endpoint of the run: OS" in rows["8a"]["answer"]
    assert "c_index_within_weighted 0.612 [0.562, 0.662]" in rows["23a"]["answer"]
    assert "epochs 3 to 5" in rows["12c"]["answer"]
    assert all(row["status"] == "for the authors" and not row["answer"] for row in (rows["1"], rows["17"], rows["18a"]))
    page = (tmp_path / "out" / "TRIPOD+AI.md").read_text()
    assert page.count("\n| 23a |") == 1 and "hand in the list of the\nstatement itself" in page
    assert sorted(path.name for path in finetuned.iterdir()) == ["config.json", "provenance.json"]


def test_without_a_run_the_model_speaks_alone(finetuned: Path) -> None:
    assert run("--model", finetuned) is None
    text = (finetuned / "TRIPOD+AI.csv").read_text()
    assert "Training samples by member: r0f0 72, r0f1 72." in text and "0.612" not in text


def test_refusals(encoder: Path, finetuned: Path, results: Path, tmp_path: Path) -> None:
    (encoder / "provenance.json").write_text(json.dumps({"split_sha256": "cd" * 32}))
    assert "made under splits cdcdcdcdcdcd…, the numbers are of abababababab…" in str(
        run("--model", encoder, "--results", results)
    )
    config = json.loads((finetuned / "config.json").read_text())
    (finetuned / "config.json").write_text(json.dumps({**config, "method": "BulkRNABert, full fine-tuning"}))
    assert "no number in numbers/metrics.json is of this model" in str(run("--model", finetuned, "--results", results))
    summary = json.loads((results / "cohorts" / "summary.json").read_text())
    (results / "cohorts" / "summary.json").write_text(json.dumps({**summary, "data_access": "controlled"}))
    assert "data of access class controlled; its numbers stay with it" in str(
        run("--model", finetuned, "--results", results)
    )


def test_small_counts_of_closed_data_are_not_told(encoder: Path, results: Path) -> None:
    summary = json.loads((results / "cohorts" / "summary.json").read_text())
    summary["data_access"] = "local"
    summary["cohorts"][0]["n_events"] = 3
    (results / "cohorts" / "summary.json").write_text(json.dumps(summary))
    assert run("--model", encoder, "--results", results) is None
    assert "| 95 | 90 | 90 | <5 |" in (encoder / "README.md").read_text()
