"""Records of a training that goes on, and a server that goes away in the middle."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from bulkrnabert.cli import _run
from bulkrnabert.errors import DataError, PortalError
from bulkrnabert.evaluate import tracking
from bulkrnabert.evaluate.tracking import import_mlflow, keep_trying
from bulkrnabert.evaluate.tracking_live import Ending, follow_records

pytest.importorskip("mlflow")


class Store:
    """A real MLflow store in a file, an experiment of its own for each test."""

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri = uri
        self.experiment = experiment
        self.client = import_mlflow().MlflowClient(tracking_uri=uri)

    def look(self, records: Path, name: str = "live") -> str:
        """What a follower does that comes, looks once and is told to end."""
        return follow_records(records, self.uri, self.experiment, name, patience_s=0.0, is_over=lambda: True)

    def follow(self, records: Path, *contents: list[str]) -> str:
        """What a follower does that finds the first content, then at each look the next one."""
        later = iter(contents)

        def pause(_seconds: float) -> None:
            records.write_text("".join(next(later)))

        pause(0.0)
        return follow_records(records, self.uri, self.experiment, "live", patience_s=0.0, pause=pause)

    def runs(self) -> list[Any]:
        found = self.client.get_experiment_by_name(self.experiment)
        return [] if found is None else list(self.client.search_runs([found.experiment_id]))

    def status(self, run_id: str) -> str:
        return str(self.client.get_run(run_id).info.status)

    def steps(self, run_id: str, metric: str = "train/loss") -> list[int]:
        return [point.step for point in self.client.get_metric_history(run_id, metric)]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'server.db'}"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow makes a folder where it stands."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store(uri: str, request: pytest.FixtureRequest) -> Store:
    return Store(uri, request.node.name)


def training(last: int, speed: float, *, is_whole: bool = False) -> list[str]:
    """Lines as `pretrain` writes them; before its first step, trainings with other settings look alike."""
    lines = [{"kind": "validation", "step": 0, "loss": 9.0}]
    lines += [{"kind": "train", "step": n, "loss": 1 / n, "tokens_per_s": speed + n} for n in range(1, last + 1)]
    lines += [{"kind": "summary", "step": last, "loss": 0.5}] if is_whole else []
    return [json.dumps(line) + "\n" for line in lines]


def test_whole_lines_are_sent_once(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    assert store.look(path) == "" and store.runs() == []
    path.write_text("".join(training(0, 1.0)))
    assert store.look(path) == "" and store.runs() == []
    path.write_text("".join(training(1, 1.0)) + '{"kind": "train", "st')
    run_id = store.look(path)
    assert store.look(path) == run_id and store.steps(run_id) == [1] and store.status(run_id) == "KILLED"
    path.write_text("".join(training(3, 1.0, is_whole=True)))
    assert follow_records(path, store.uri, store.experiment, "live", patience_s=0.0) == run_id
    assert store.steps(run_id) == [1, 2, 3] and store.status(run_id) == "FINISHED"
    assert store.steps(run_id, "validation/loss") == [0] and store.steps(run_id, "summary/loss") == [3]
    assert follow_records(path, store.uri, store.experiment, "live", patience_s=0.0) == run_id  # all of it is there


def test_text_flags_and_what_is_not_finite_are_no_points() -> None:
    record = {"kind": "train", "step": 1, "loss": 2.0, "note": "text", "is_good": True, "nan": float("nan")}
    assert list(tracking.record_points([record])) == [("train/loss", 2.0, 1)]


def test_what_a_resumed_training_writes_again_is_not_sent_again(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(training(8, 1000.0)))
    run_id = store.look(path)
    path.write_text("".join(training(4, 1000.0)))  # cut to its checkpoint
    assert store.look(path) == run_id
    rewritten = training(4, 1000.0) + training(12, 98765.0, is_whole=True)[5:]  # lines of another length
    path.write_text("".join(rewritten))
    assert store.look(path) == run_id
    assert store.steps(run_id) == list(range(1, 13)) and store.status(run_id) == "FINISHED"


def test_a_second_training_in_the_same_place_has_a_run_of_its_own(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(training(20, 1.0)))
    first = store.look(path)
    store.client.update_run(first, status="RUNNING")  # its follower was killed
    path.write_text("".join(training(60, 20000.0, is_whole=True)))
    second = store.look(path)
    assert second != first and store.steps(second) == list(range(1, 61)) and store.steps(first) == list(range(1, 21))
    assert (store.status(first), store.status(second)) == ("KILLED", "FINISHED")


def test_a_training_that_begins_again_while_it_is_followed(store: Store, tmp_path: Path) -> None:
    whole = training(30, 2.0, is_whole=True)
    store.follow(tmp_path / "records.jsonl", training(20, 1.0), training(0, 2.0), whole)
    found = {run.info.status: len(store.steps(run.info.run_id)) for run in store.runs()}
    assert found == {"KILLED": 20, "FINISHED": 30}


def test_runs_of_one_name_in_two_places_are_two(store: Store, tmp_path: Path) -> None:
    ids = set()
    for place in ("one", "two"):
        path = tmp_path / place / "records.jsonl"
        path.parent.mkdir()
        path.write_text("".join(training(5, 1.0)))
        ids.add(store.look(path))
    assert len(ids) == len(store.runs()) == 2 and all(store.steps(run_id) == [1, 2, 3, 4, 5] for run_id in ids)
    assert not any(str(tmp_path) in value for run in store.runs() for value in run.data.tags.values())


@pytest.mark.parametrize("line", ["loss 0.3", '"a text"', '{"step": 4, "loss": 0.3}', '{"kind": "train", "loss": 0.3}'])
def test_a_line_that_is_no_record_is_named(store: Store, tmp_path: Path, line: str) -> None:
    spoilt = [*training(2, 1.0), line + "\n"]
    with pytest.raises(DataError, match=r"records\.jsonl, line 4: .* is no record of a pretraining: expected"):
        store.follow(tmp_path / "records.jsonl", training(2, 1.0), spoilt)
    (run,) = store.runs()
    assert store.steps(run.info.run_id) == [1, 2] and run.info.status == "FAILED"


@pytest.fixture
def ending() -> Iterator[Ending]:
    before = signal.getsignal(signal.SIGTERM)
    yield Ending()
    signal.signal(signal.SIGTERM, before)


def test_a_signal_ends_the_pause_and_the_training(ending: Ending) -> None:
    started = time.monotonic()
    ending.pause(0.01)
    assert not ending.is_over()
    os.kill(os.getpid(), signal.SIGTERM)
    ending.pause(60.0)
    assert ending.is_over() and time.monotonic() - started < 30


def refusal(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} of http://me:pw@proxy/artifacts", response=response)


def test_a_proxy_that_takes_no_file_of_this_size(
    study: Any, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking.time, "sleep", lambda _seconds: pytest.fail("a refusal does not pass by waiting"))
    monkeypatch.setattr(tracking._Store, "put_file", lambda *_given: (_ for _ in ()).throw(refusal(413)))
    tracked = tracking.TrackedRun(study.metrics, [], [], study.run, None)
    with pytest.raises(PortalError, match=r"did not take the run: 413 .*files of this size") as caught:
        tracking.send_to_server(tracked, tmp_path / "out", "refused", uri, patience_s=60.0)
    assert "me:pw" not in str(caught.value) and not (tmp_path / "out").exists()


def test_records_that_are_refused(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(training(2, 1.0)))
    client = import_mlflow().MlflowClient
    monkeypatch.setattr(client, "log_batch", lambda *_given, **_named: (_ for _ in ()).throw(refusal(403)))
    with pytest.raises(PortalError, match=r"does not take the records of .*: 403"):
        store.look(path)


@pytest.mark.parametrize(
    ("error", "n_tries"), [(refusal(503), 3), (refusal(413), 1), (requests.ConnectionError("reset"), 3)]
)
def test_files_are_sent_again_where_waiting_helps(
    error: requests.RequestException, n_tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = itertools.count(1)

    def work() -> str:
        if next(count) < 3:
            raise error
        return "done"

    monkeypatch.setattr(tracking.time, "sleep", lambda _seconds: None)
    if n_tries == 3:
        assert keep_trying(work, 60.0, "server") == "done"
    else:
        with pytest.raises(requests.HTTPError):
            keep_trying(work, 60.0, "server")
    assert next(count) == n_tries + 1


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
    assert json.loads((tmp_path / "out" / tracking.SERVER_RECEIPT).read_text())["run_id"] in {
        run.info.run_id for run in runs
    }


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


def names(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def test_a_server_gets_the_run_as_well_as_the_folder(study: Any, uri: str, tmp_path: Path) -> None:
    given = ["track", "--metrics", str(study.metrics), "--out", "mlflow", "--experiment", "both"]
    assert _run([*given, "--tracking-uri", uri]) == 0
    assert {"mlflow.db", "mlartifacts", "mlflow_run.json", "mlflow_server.json"} == names("mlflow")
    receipts = [json.loads(Path("mlflow", f"mlflow_{name}.json").read_text()) for name in ("run", "server")]
    assert "open_with" in receipts[0] and receipts[1]["tracking_uri"] == uri
    for address, receipt in zip((f"sqlite:///{tmp_path}/mlflow/mlflow.db", uri), receipts, strict=True):
        client = import_mlflow().MlflowClient(tracking_uri=address)
        assert client.get_run(receipt["run_id"]).info.status == "FINISHED"


def test_a_server_that_is_away_costs_the_sending_alone(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    given = ["track", "--metrics", str(study.metrics), "--out", "mlflow", "--patience", "0"]
    assert _run([*given, "--tracking-uri", "http://me:pw@127.0.0.1:9"]) == 1
    assert {"mlflow.db", "mlartifacts", "mlflow_run.json"} == names("mlflow")
    said = capfd.readouterr().err
    assert "did not take the run" in said and "me:pw" not in said
