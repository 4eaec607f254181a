"""Durations, the margin before the time limit, signals, and the launcher's folder."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from pathlib import Path

import pytest

from bulkrnabert.errors import ConfigError, DataError, RunMeAgain, TrainingError
from bulkrnabert.train import launch
from bulkrnabert.train.stopping import STOP_SIGNALS, StopWatch, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("00:02:30", 150), ("48:00:00", 172800), ("1-02:00:00", 93600)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2h", "10:00", "1:2:3:4", "-5", "0", "1-00"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(ConfigError, match="time limit"):
        parse_duration(text)


def test_no_limit_never_stops() -> None:
    assert StopWatch(None, started=0.0).reason() is None


def test_stops_a_tenth_before_the_limit() -> None:
    assert StopWatch(100, started=time.time() - 80).reason() is None
    assert StopWatch(100, started=time.time() - 95).reason() == "the time limit is near"


def test_margin_is_at_most_five_minutes() -> None:
    assert StopWatch(100_000, started=time.time() - 99_000).reason() is None
    assert StopWatch(100_000, started=time.time() - 99_800).reason() == "the time limit is near"


def test_signals_and_the_stop_file(tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        stop = StopWatch(None, started=time.time())
        stop.install_signals()
        assert stop.reason() is None
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.reason() == "received SIGUSR1"
        assert stop.last_reason == "received SIGUSR1"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    stop = StopWatch(None, time.time(), tmp_path)
    assert stop.reason() is None
    (tmp_path / launch.STOP_FILE).touch()
    assert stop.reason() == "received a signal"


@pytest.mark.parametrize("error", [RunMeAgain("later"), TrainingError("not finite")])
def test_agreed_errors_reach_the_launcher(tmp_path: Path, error: Exception) -> None:
    def work() -> None:
        raise error

    launch.report_outcome(tmp_path, work)
    with pytest.raises(type(error), match=str(error)):
        launch._raise_outcome(tmp_path, 0)


def test_other_errors_reach_the_launcher_and_end_the_worker(tmp_path: Path) -> None:
    def work() -> None:
        raise DataError("wrong")

    with pytest.raises(DataError):
        launch.report_outcome(tmp_path, work)
    assert json.loads((tmp_path / "outcome.json").read_text())["message"] == "wrong"
    with pytest.raises(ConfigError, match="wrong"):
        launch._raise_outcome(tmp_path, 1)


def test_success_and_missing_outcome(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="status 9 and left no result"):
        launch._raise_outcome(tmp_path, 9)
    launch.report_outcome(tmp_path, lambda: None)
    launch._raise_outcome(tmp_path, 0)
    with pytest.raises(TrainingError, match="ended with status 1"):
        launch._raise_outcome(tmp_path, 1)


def test_a_launcher_is_known_by_its_lock(tmp_path: Path) -> None:
    assert launch._launcher_is_gone(tmp_path)
    with (tmp_path / "alive").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert not launch._launcher_is_gone(tmp_path)
    assert launch._launcher_is_gone(tmp_path)
