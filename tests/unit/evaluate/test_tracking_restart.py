"""A server that is killed and started again, a connection that loses answers: nothing is lost or there twice."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bulkrnabert.evaluate import tracking
from bulkrnabert.evaluate.tracking import import_mlflow
from bulkrnabert.evaluate.tracking_live import follow_records
from tests.unit.evaluate.mlflow_servers import Server, losing_answers, serve

pytest.importorskip("mlflow")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

N_JOBS = 6
PATIENCE_S = 300.0


def test_imports_and_a_training_outlive_a_server_that_is_killed(study: Any, tmp_path: Path) -> None:
    server = Server(tmp_path / "store")
    server.start()
    records = tmp_path / "records.jsonl"
    lines = [json.dumps({"kind": "train", "step": step, "loss": 1 / step}) + "\n" for step in range(1, 41)]
    runs = []
    for number in range(N_JOBS):
        path = tmp_path / f"run{number}.json"
        facts = {"run_name": f"job{number}", "session_id": f"session{number}", "params": {"seed": number}}
        path.write_text(json.dumps(facts))
        runs.append(tracking.TrackedRun(study.metrics, study.checkpoints[:1], [], path, None))
    client = import_mlflow().MlflowClient(tracking_uri=server.address)

    def trains() -> None:
        for line in lines:
            with records.open("a") as handle:
                handle.write(line)
            time.sleep(0.3)

    def send(number: int) -> None:
        tracking.send_to_server(runs[number], tmp_path / f"out{number}", "shared", server.address, PATIENCE_S)

    training = threading.Thread(target=trains)
    try:
        with ThreadPoolExecutor(N_JOBS + 1) as pool:
            training.start()
            jobs = [pool.submit(send, number) for number in range(N_JOBS)]
            live = pool.submit(
                follow_records, records, server.address, "shared", "live", patience_s=PATIENCE_S, pause_s=0.5
            )
            _wait_until(lambda: _n_runs(client) > N_JOBS)  # in the middle of all of them
            assert not all(job.done() for job in jobs)
            server.kill()
            server.start()
            training.join()
            with records.open("a") as handle:
                handle.write(json.dumps({"kind": "summary", "step": 40, "loss": 0.025}) + "\n")
            for job in jobs:
                job.result()
            live_id = live.result()
        (experiment,) = (one for one in client.search_experiments() if one.name == "shared")
        found = client.search_runs([experiment.experiment_id], max_results=1000)
        assert {run.info.status for run in found} == {"FINISHED"}
        for number in range(N_JOBS):
            receipt = json.loads((tmp_path / f"out{number}" / tracking.SERVER_RECEIPT).read_text())
            (parent,) = (run for run in found if run.info.run_name == f"job{number}")
            assert parent.info.run_id == receipt["run_id"] and parent.data.params["seed"] == str(number)
            children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
            assert len(children) == len({run.info.run_name for run in children}) == 1 + 7
            (pretrain,) = (run for run in children if run.info.run_name.startswith("pretrain"))
            history = client.get_metric_history(pretrain.info.run_id, "validation/masked_accuracy")
            assert sorted(point.step for point in history) == list(range(50, 401, 50))
        assert len(found) == N_JOBS * 9 + 1
        assert {point.step for point in client.get_metric_history(live_id, "train/loss")} == set(range(1, 41))
    finally:
        server.kill()


def test_answers_that_get_lost_leave_nothing_twice(
    study: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLflow's client sends such a request again by itself, and what the first one made is there already."""
    tracked = tracking.TrackedRun(study.metrics, study.checkpoints[:1], study.predictions, study.run, None)
    records = tmp_path / "records.jsonl"
    records.write_text(json.dumps({"kind": "summary", "step": 3, "loss": 0.5}) + "\n")
    with serve(tmp_path / "store") as server:
        with losing_answers(server) as (address, lost):
            for _ in range(2):
                tracking.send_to_server(tracked, tmp_path / "out", "shared", address, PATIENCE_S)
            live_id = follow_records(records, address, "shared", "live", patience_s=PATIENCE_S)
        assert capsys.readouterr().out == ""  # a task shows it, and --json has its document there
        assert [path for path in lost if path.endswith("/runs/create")]
        client = import_mlflow().MlflowClient(tracking_uri=server)
        ids = {one.name: one.experiment_id for one in client.search_experiments()}
        imported = client.search_runs([ids["shared"]])
        assert {run.info.status for run in imported} == {"FINISHED"}
        assert len(imported) == len({run.info.run_name for run in imported}) == 1 + 1 + 7 + 1
        assert [(point.step, point.value) for point in client.get_metric_history(live_id, "summary/loss")] == [(3, 0.5)]


def _n_runs(client: Any) -> int:
    return sum(
        len(client.search_runs([one.experiment_id], max_results=1000))
        for one in client.search_experiments()
        if one.name == "shared"
    )


def _wait_until(is_so: Any) -> None:
    deadline = time.monotonic() + 240
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.2)
