"""MLflow import: names, parameters, the folder, and (slow) a real server on the moved folder."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from bulkrnabert.errors import DataError, PortalError
from bulkrnabert.evaluate import artefacts, tracking
from tests.unit.evaluate.mlflow_servers import serve

pytest.importorskip("mlflow")


def tracked_run(study: Any, report: Path | None = None) -> tracking.TrackedRun:
    return tracking.TrackedRun(study.metrics, study.checkpoints, study.predictions, study.run, report)


def query(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True) as connection:
        return connection.execute(statement).fetchall()


@pytest.fixture(scope="module")
def folder(hostile_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tracked") / "mlflow"
    report = out.parent / "report.html"
    report.write_text("<title>the report</title>")
    tracking.write_folder(tracked_run(hostile_study, report), out, "bulkrnabert")
    return out


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("embedding_mlp/macro_f1", "embedding_mlp/macro_f1"),
        ("embedding + Cox MLP/c_index", "embedding_Cox_MLP/c_index"),
        ("<b>x</b> & $y$", "b_x/b_y"),
        ("a//b/../c", "a/_/b/_/c"),
        ("é" * 3, "_"),
        ("x" * 300, "x" * 250),
    ],
)
def test_names_are_what_mlflow_takes(name: str, cleaned: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    assert tracking.clean_name(name) == cleaned
    _validate_metric_name(tracking.clean_name(name))


def test_parameters_are_flat_text_without_credentials() -> None:
    values = {"train": {"lr": 0.1, "deep": {"n": None}}, "uri": "http://me:pw@host", "long": "x" * 7000}
    flat = tracking.flatten_parameters(values)
    assert flat == {"train.lr": "0.1", "train.deep.n": "None", "uri": "http://…@host", "long": "x" * 6000}


def test_the_command_quotes_its_folder() -> None:
    assert tracking.server_command("my results/mlflow").startswith("cd 'my results/mlflow' && ")


def test_one_parent_and_a_nested_run_a_job(folder: Path, hostile_study: Any) -> None:
    runs = dict(query(folder, "SELECT run_uuid, name FROM runs WHERE status = 'FINISHED'"))
    parents = dict(query(folder, "SELECT run_uuid, value FROM tags WHERE key = 'mlflow.parentRunId'"))
    (top,) = set(runs) - set(parents)
    assert runs[top] == "curious_curie"
    assert set(parents.values()) == {top}
    names = sorted(runs[run] for run in parents)
    assert names[0] == "pretrain r0f0"
    assert len(names) == 1 + 7
    assert json.loads((folder / "mlflow_run.json").read_text())["run_id"] == top


def test_training_metrics_keep_their_steps(folder: Path) -> None:
    rows = query(folder, "SELECT step FROM metrics WHERE key = 'validation/masked_accuracy' ORDER BY step")
    assert [step for (step,) in rows] == list(range(50, 401, 50))


def test_probe_metrics_have_their_bounds(folder: Path) -> None:
    rows = dict(query(folder, "SELECT key, value FROM metrics WHERE key LIKE 'embedding_mlp/macro_f1%'"))
    assert rows == {
        "embedding_mlp/macro_f1": 0.957,
        "embedding_mlp/macro_f1_low": 0.945,
        "embedding_mlp/macro_f1_high": 0.969,
    }


def test_the_parent_carries_the_headline_and_the_splits(folder: Path) -> None:
    run_id = json.loads((folder / "mlflow_run.json").read_text())["run_id"]
    metrics = dict(query(folder, f"SELECT key, value FROM metrics WHERE run_uuid = '{run_id}'"))
    tags = dict(query(folder, f"SELECT key, value FROM tags WHERE run_uuid = '{run_id}'"))
    assert metrics["cancer_type/macro_f1/baseline"] == 0.968
    assert metrics["survival/c_index_within_weighted/model"] == 0.61
    assert tags["brb.split_sha256"] == "5f" * 32
    assert tags["best/survival/model"] == "embedding_cox_mlp"
    params = dict(query(folder, f"SELECT key, value FROM params WHERE run_uuid = '{run_id}'"))
    assert params["folds"] == "5"


def test_nothing_names_the_place_or_a_secret(folder: Path) -> None:
    content = (folder / "mlflow.db").read_bytes()
    assert str(folder.parent).encode() not in content
    assert str(Path.cwd()).encode() not in content
    assert b":secret@" not in content
    assert all(
        location.startswith("mlflow-artifacts:/") for (location,) in query(folder, "SELECT artifact_uri FROM runs")
    )
    assert not (Path.cwd() / "mlruns").exists()


def test_a_second_time_replaces_the_folder(folder: Path, hostile_study: Any) -> None:
    out = shutil.copytree(folder, folder.parent / "again")
    tracking.write_folder(tracked_run(hostile_study), out, "bulkrnabert")
    assert query(out, "SELECT count(*) FROM runs") == [(9,)]
    assert sorted(path.name for path in out.iterdir()) == ["mlartifacts", "mlflow.db", "mlflow_run.json"]
    assert not list(folder.parent.glob(".*"))


def test_a_file_that_is_no_prediction(study: Any, tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(DataError, match="not a predictions file"):
        tracking.write_folder(replace(tracked_run(study), predictions=[path]), tmp_path / "out", "x")
    path.write_text("no parquet")
    with pytest.raises(DataError, match="not a predictions file"):
        tracking.write_folder(replace(tracked_run(study), predictions=[path]), tmp_path / "out", "x")
    assert not (tmp_path / "out").exists()


def test_two_files_of_one_job_are_both_kept(study: Any, tmp_path: Path) -> None:
    job = study.predictions[0]
    numbers = artefacts.read_numbers(study.metrics)
    found = tracking._find_jobs(numbers, [job, job])
    assert found[0] == tracking._Job("cancer_type", "pan", [job, job])
    assert len(found) == 7


def test_a_server_that_is_away(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(PortalError, match="did not take the run") as caught:
        tracking.send_to_server(tracked_run(study), tmp_path / "out", "x", "http://me:pw@127.0.0.1:9")
    assert "me:pw" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_moved_folder_opens_in_a_real_server(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved here"
    shutil.copytree(folder, moved)
    run_id = json.loads((moved / "mlflow_run.json").read_text())["run_id"]
    with serve(moved) as address:
        listed = requests.get(f"{address}/api/2.0/mlflow/artifacts/list", params={"run_id": run_id}, timeout=20).json()
        assert {item["path"] for item in listed["files"]} == {"metrics.json", "report.html"}
        page = requests.get(f"{address}/get-artifact", params={"run_id": run_id, "path": "report.html"}, timeout=20)
        assert page.text == "<title>the report</title>"
        experiments = requests.get(
            f"{address}/api/2.0/mlflow/experiments/search", params={"max_results": 10}, timeout=20
        ).json()
        assert {item["name"] for item in experiments["experiments"]} == {"Default", "bulkrnabert"}


@pytest.mark.slow
def test_a_server_takes_a_run_and_a_second_import_replaces_the_first(study: Any, tmp_path: Path) -> None:
    few = replace(tracked_run(study), checkpoints=study.checkpoints[:2])
    (tmp_path / "store").mkdir()
    with serve(tmp_path / "store") as address:
        for _ in range(2):
            tracking.send_to_server(few, tmp_path / "out", "shared", address)
        receipt = json.loads((tmp_path / "out" / "mlflow_server.json").read_text())
        found = requests.post(
            f"{address}/api/2.0/mlflow/runs/search",
            json={"experiment_ids": [receipt["experiment_id"]], "max_results": 100},
            timeout=20,
        ).json()["runs"]
        assert len(found) == 1 + 2 + 7
        downloaded = requests.get(
            f"{address}/get-artifact", params={"run_id": receipt["run_id"], "path": "metrics.json"}, timeout=20
        )
        assert downloaded.content == study.metrics.read_bytes()
