"""Workers that a signal ends: the exit status, the message, and that nobody is left waiting."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from bulkrnabert import keys
from bulkrnabert.errors import RunMeAgain, TrainingError
from bulkrnabert.train import launch

MODEL = {"embed_dim": 16, "init_gene_embed_dim": 8, "n_heads": 2, "ffn_embed_dim": 32, "n_layers": 1}
TRAIN = {
    "steps": 100_000,
    "global_batch_size": 4,
    "micro_batch_size": 2,
    "genes_per_step": 20,
    "learning_rate": 1e-3,
    "validate_every": 50_000,
    "checkpoint_every": 50_000,
}
TIMEOUT_S = 200


def outcome_of(folder: Path, status: int, noted: int | None) -> BaseException | None:
    """What the launcher makes of torchrun's status and of the status that a worker's parent noted first."""
    if noted is not None:
        (folder / "first_failure").write_text(f"{noted}\n")
    try:
        launch._raise_outcome(folder, status)
    except TrainingError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("status", "noted", "exit_code"),
    [
        pytest.param(1, 137, 137, id="a worker was killed for its memory"),
        pytest.param(1, 143, 143, id="cancelled"),
        pytest.param(1, 139, 139, id="crashed in compiled code"),
        pytest.param(-9, None, 137, id="torchrun itself was killed"),
        pytest.param(1, 1, 1, id="a worker failed by itself"),
        pytest.param(1, None, 1, id="torchrun failed by itself"),
        pytest.param(-9, 1, 1, id="the first failure counts"),
        pytest.param(1, 255, 1, id="no signal has this number"),
    ],
)
def test_exit_code(tmp_path: Path, status: int, noted: int | None, exit_code: int) -> None:
    error = outcome_of(tmp_path, status, noted)
    assert isinstance(error, TrainingError)
    assert error.exit_code == exit_code
    assert isinstance(error, launch.WorkerKilledError) == (exit_code != 1)


def test_the_message_says_what_to_do(tmp_path: Path) -> None:
    message = str(outcome_of(tmp_path, 1, 128 + signal.SIGKILL))
    assert "was killed (SIGKILL), most likely because the memory" in message
    assert "more memory, or make micro_batch_size or --processes smaller" in message
    assert "goes on from the last checkpoint" in message
    assert "was ended by SIGTERM" in str(outcome_of(tmp_path, 1, 128 + signal.SIGTERM))


def test_an_outcome_that_was_agreed_on_counts_more(tmp_path: Path) -> None:
    def work() -> None:
        raise RunMeAgain("later")

    launch.report_outcome(tmp_path, work)
    (tmp_path / "first_failure").write_text("137\n")
    with pytest.raises(RunMeAgain, match="later"):
        launch._raise_outcome(tmp_path, 1)


def test_a_process_killed_after_the_training_was_done(tmp_path: Path) -> None:
    launch.report_outcome(tmp_path, lambda: None)
    assert outcome_of(tmp_path, 0, None) is None
    error = outcome_of(tmp_path, 1, 137)
    assert isinstance(error, launch.WorkerKilledError)


def parent_of(note: Path, *command: str) -> list[str]:
    return ["sh", "-c", launch._WORKER_PARENT, "sh", str(note), *command]


@pytest.mark.parametrize(("script", "status"), [("kill -9 $$", 137), ("exit 3", 3), ("exit 0", 0)])
def test_a_workers_parent_notes_the_first_failure(tmp_path: Path, script: str, status: int) -> None:
    note = tmp_path / "note"
    assert subprocess.run(parent_of(note, "sh", "-c", script), check=False).returncode == status
    assert note.is_file() == (status != 0)
    assert subprocess.run(parent_of(note, "sh", "-c", "exit 4"), check=False).returncode == 4
    assert note.read_text() == f"{status or 4}\n"


def test_a_workers_parent_outlives_a_signal(tmp_path: Path) -> None:
    """As torchrun and schedulers send it: to the whole group. The worker saves first; its parent waits for that."""
    save = "import signal, sys, time; signal.signal(15, lambda *_: (time.sleep(0.5), sys.exit(75))); time.sleep(60)"
    command = parent_of(tmp_path / "note", sys.executable, "-c", f"open('ready', 'w'); {save}")
    process = subprocess.Popen(command, start_new_session=True, cwd=tmp_path)
    wait_for(lambda: (tmp_path / "ready").is_file(), process)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == 75


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def pretrain(tokens: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    (folder / "model.yaml").write_text(yaml.safe_dump(MODEL))
    (folder / "train.yaml").write_text(yaml.safe_dump(TRAIN))
    files = ["--tokens", tokens, "--model-config", folder / "model.yaml", "--train-config", folder / "train.yaml"]
    options = ("--device", "cpu", "--out", str(folder / "out"), *options)
    return subprocess.Popen(
        [sys.executable, "-m", "bulkrnabert.cli", "pretrain", *files, *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_training(folder: Path) -> bool:
    records = folder / "out.state" / keys.RECORDS_JSONL
    return records.is_file() and '"kind": "train"' in records.read_text()


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    family = psutil.Process(process.pid).children(recursive=True)
    return [one for one in family if one.name() != "sh" and "RANK" in one.environ()]


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_worker_killed_from_outside_ends_the_command_with_137(tokens_folder: Path, tmp_path: Path, rank: str) -> None:
    process = pretrain(tokens_folder, tmp_path, "--processes", "2")
    wait_for(lambda: is_training(tmp_path), process)
    family = psutil.Process(process.pid).children(recursive=True)
    both = workers(process)
    assert len(both) == 2
    next(one for one in both if one.environ()["RANK"] == rank).kill()
    _, messages = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 137, messages
    assert messages.count("Error: a training process was killed (SIGKILL)") == 1
    assert not psutil.wait_procs(family, timeout=30)[1]


def test_a_single_process_dies_by_itself(tokens_folder: Path, tmp_path: Path) -> None:
    process = pretrain(tokens_folder, tmp_path, "--engine", "torch")
    wait_for(lambda: is_training(tmp_path), process)
    process.kill()
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == -signal.SIGKILL  # 137 in a shell


@pytest.mark.slow
def test_nobody_waits_for_a_first_worker_that_found_the_state_in_use(tokens_folder: Path, tmp_path: Path) -> None:
    """It gives up after half a minute; the other would wait for it in the collective start for half an hour."""
    (tmp_path / "out.state").mkdir()
    with (tmp_path / "out.state" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = pretrain(tokens_folder, tmp_path, "--processes", "2")
        _, messages = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 75, messages
    assert messages.count("Error:") == 1
    assert "another run is training in this folder" in messages
