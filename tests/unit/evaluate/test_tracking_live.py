"""Records of a training that goes on, and a server that goes away in the middle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bulkrnabert.cli import _run
from bulkrnabert.evaluate import tracking
from bulkrnabert.evaluate.tracking import import_mlflow, keep_trying
from bulkrnabert.evaluate.tracking_live import BYTES_TAG, _send_new

RECORDS = [
    {"kind": "train", "step": 1, "loss": 2.0, "note": "text", "is_good": True},
    {"kind": "validation", "step": 1, "loss": float("nan"), "masked_accuracy": 0.5},
    {"kind": "summary", "step": 2, "loss": 1.0},
]


class Server:
    """What `_send_new` asks of a client, remembered."""

    def __init__(self) -> None:
        self.points: list[tuple[str, float, int]] = []
        self.tags = {BYTES_TAG: "0"}
        self.is_away = False

    def get_run(self, _run_id: str) -> Any:
        if self.is_away:
            raise import_mlflow().exceptions.MlflowException("away")
        return type("Run", (), {"data": type("Data", (), {"tags": self.tags})})

    def log_batch(self, _run_id: str, metrics: list[Any]) -> None:
        self.points += [(metric.key, metric.value, metric.step) for metric in metrics]

    def set_tag(self, _run_id: str, key: str, value: str) -> None:
        self.tags[key] = value


def write(path: Path, n: int, tail: str = "") -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS[:n]) + tail)


def test_whole_lines_are_sent_once(tmp_path: Path) -> None:
    server, path = Server(), tmp_path / "records.jsonl"
    assert _send_new(server, "run", path) == ""
    write(path, 1, tail='{"kind": "train", "st')
    assert _send_new(server, "run", path) == "train" and _send_new(server, "run", path) == ""
    assert server.points == [("train/loss", 2.0, 1)]
    write(path, 3)
    assert _send_new(server, "run", path) == "summary"
    assert server.points == [("train/loss", 2.0, 1), ("validation/masked_accuracy", 0.5, 1), ("summary/loss", 1.0, 2)]


def test_records_that_were_cut_off_are_sent_again(tmp_path: Path) -> None:
    server, path = Server(), tmp_path / "records.jsonl"
    write(path, 2)
    _send_new(server, "run", path)
    write(path, 1)
    assert _send_new(server, "run", path) == "train" and server.points[-1] == ("train/loss", 2.0, 1)


def test_work_is_done_again_until_the_patience_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    pauses: list[float] = []
    monkeypatch.setattr(tracking.time, "sleep", pauses.append)
    failures = [MlflowException("restarting"), MlflowException("restarting")]

    def work() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert keep_trying(work, 60.0, "server") == "done" and pauses == [2.0, 4.0]
    failures = [MlflowException("restarting")]
    with pytest.raises(MlflowException):
        keep_trying(work, 0.0, "server")
    failures = [MlflowException("no such thing", error_code=3)]  # RESOURCE_DOES_NOT_EXIST... is no passing error
    assert failures[0].error_code not in tracking.PASSING_ERRORS
    with pytest.raises(MlflowException):
        keep_trying(work, 60.0, "server")


def test_an_import_that_broke_off_is_begun_again(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try dies after some runs; what is there in the end is there once."""
    from mlflow.exceptions import MlflowException

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracking.time, "sleep", lambda _seconds: None)
    log_probe, n_calls = tracking._log_probe, [0]

    def dies_once(*given: Any) -> None:
        n_calls[0] += 1
        if n_calls[0] == 2:
            raise MlflowException("the server restarts")
        log_probe(*given)

    monkeypatch.setattr(tracking, "_log_probe", dies_once)
    tracked = tracking.TrackedRun(study.metrics, study.checkpoints, [], study.run, None)
    uri = f"sqlite:///{tmp_path / 'server.db'}"
    tracking.send_to_server(tracked, tmp_path / "out", "shared", uri, patience_s=60.0)
    client = import_mlflow().MlflowClient(tracking_uri=uri)
    (experiment,) = (one for one in client.search_experiments() if one.name == "shared")
    runs = client.search_runs([experiment.experiment_id])
    names = sorted(run.info.run_name for run in runs)
    assert len(names) == len(set(names)) and {run.info.status for run in runs} == {"FINISHED"}
    assert sum("mlflow.parentRunId" not in run.data.tags for run in runs) == 1
    assert json.loads((tmp_path / "out" / "mlflow_run.json").read_text())["run_id"] in {run.info.run_id for run in runs}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--follow", "records.jsonl"], "--follow sends records to --tracking-uri"),
        (["--out", "mlflow"], "--metrics and --out are missing"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(["track", *arguments]) == 2
    assert message in capfd.readouterr().err
