"""The pipeline on a real SLURM: jobs cancelled, cut short, lost or never started; GPUs; two nodes; a head job."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from safetensors.numpy import load_file

from tests.pipeline.conftest import Finished, Nextflow, copy_project
from tests.slurm.conftest import Slurm

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.pipeline,
    pytest.mark.slow,
    pytest.mark.timeout(2400),
]

T = TypeVar("T")

# A poll every second: nothing else here makes the tests quicker than a cluster would be.
FAST = "executor { pollInterval = '1 sec'; queueStatInterval = '2 sec'; exitReadTimeout = '5 sec' }\n"
# Some 70 s on one core of a quiet machine, cut at 29 s. A state every few steps: on a busy one an attempt does few.
TRAINING = """\
steps: 400
global_batch_size: 64
micro_batch_size: 16
genes_per_step: 128
learning_rate: 1.0e-3
validate_every: 20
checkpoint_every: 20
"""
OPTIONS = ("--protocol", "transductive", "--baselines", "none", "--train_config", "train.yaml")
TORCH = ("--engine", "torch", "--steps", "400")
SITE = ("--pretrain_hours", "0.009", "--gpus", "1", "--gpu_type", "fake", "--gpu_queue", "gpu", "--max_hours", "0.9")
# 1: before the task itself ran, when Nextflow's wrapper trips over a process that it has not started yet.
CANCELLED = {"143", "1"}
NO_STATUS = {"2147483647", "-"}  # the job left no exit file


@dataclass(frozen=True)
class Run:
    """A run of the `test` profile that had to put up with everything in `Trouble`."""

    project: Path
    nextflow: Nextflow
    finished: Finished

    def exits(self, process: str) -> list[str]:
        """Exit status of each attempt, in order."""
        rows = [row for row in self.finished.trace("out") if row["name"].split(" ")[0].endswith(f":{process}")]
        return [row["exit"] for row in sorted(rows, key=lambda row: int(row["task_id"]))]

    def task_folder(self, process: str) -> Path:
        """Folder of the last attempt."""
        rows = [row for row in self.finished.trace("out") if row["name"].split(" ")[0].endswith(f":{process}")]
        return Path(max(rows, key=lambda row: int(row["task_id"]))["workdir"])


class _RunIsOver(Exception):  # noqa: N818 - not an error
    pass


class Trouble(threading.Thread):
    """What happens on a cluster in the meantime."""

    def __init__(self, slurm: Slurm, work: Path) -> None:
        super().__init__(daemon=True)
        self._slurm = slurm
        self._work = work
        self._is_over = threading.Event()
        self.done: list[str] = []

    def run(self) -> None:
        with contextlib.suppress(_RunIsOver):
            self._make_trouble()

    def _make_trouble(self) -> None:
        self._cancel("PREPROCESS", "RUNNING")
        self._wait(lambda: list(self._work.glob("states/*/*/pointer.json")))
        self._cancel("PRETRAIN", "RUNNING")
        self._wait(lambda: self._slurm.jobs("PRETRAIN", "RUNNING"))
        for node in ("n1", "n2"):
            self._slurm.set_node(node, "drain")
        self._cancel("PRETRAIN", "PENDING")
        for node in ("n1", "n2"):
            self._slurm.set_node(node, "resume")
        self.done.append("drained")
        for job in self._wait(lambda: self._slurm.jobs("EMBED", "RUNNING")):
            self._slurm.set_node(job.node, "down")
            self._slurm.set_node(job.node, "resume")
            self.done.append("lost EMBED")

    def end(self) -> None:
        self._is_over.set()
        self.join(30)

    def _cancel(self, name: str, state: str) -> None:
        for job in self._wait(lambda: self._slurm.jobs(name, state)):
            self._slurm.command("scancel", job.job_id)
            self.done.append(f"cancelled {state} {name}")

    def _wait(self, look: Callable[[], T]) -> T:
        """What is seen, once there is something."""
        while not (seen := look()):
            if self._is_over.is_set():
                raise _RunIsOver
            time.sleep(0.2)
        return seen


@pytest.fixture(scope="module")
def run(repository: Path, slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    project = copy_project(repository, folder / "project")
    launch = folder / "launch"
    launch.mkdir()
    (launch / "fast.config").write_text(FAST)
    (launch / "train.yaml").write_text(TRAINING)
    trouble = Trouble(slurm, launch / "work")
    trouble.start()
    nextflow = Nextflow(repository / "nextflow", launch, {"SLURM_CONF": str(slurm.configuration)})
    finished = nextflow(
        "run", str(project), "-profile", "slurm,test", "-c", "fast.config", "--outdir", "out", *OPTIONS, *TORCH, *SITE,
        timeout_s=1800,
    )  # fmt: skip
    trouble.end()
    assert finished.returncode == 0, finished.output
    expected = ["cancelled RUNNING PREPROCESS", "cancelled RUNNING PRETRAIN", "cancelled PENDING PRETRAIN"]
    assert trouble.done == [*expected, "drained", "lost EMBED"]
    return Run(project, nextflow, finished)


def test_report_is_there(run: Run) -> None:
    assert "<svg" in (run.nextflow.folder / "out" / "report.html").read_text()


def test_a_cancelled_job_was_retried(run: Run) -> None:
    cancelled, last = run.exits("PREPROCESS")
    assert cancelled in {*CANCELLED, *NO_STATUS}
    assert last == "0"


def test_a_job_of_a_lost_node_was_retried(run: Run) -> None:
    lost, last = run.exits("EMBED")
    assert lost in {*CANCELLED, *NO_STATUS}
    assert last == "0"


def test_training_cut_into_pieces_has_the_weights_of_an_undisturbed_one(run: Run, tmp_path: Path) -> None:
    exits = run.exits("PRETRAIN")
    # Stopped by itself before its time limit, or by SLURM's signal, which may come up to a minute early.
    assert {"75", "140"} & set(exits), exits
    assert CANCELLED & set(exits), exits
    assert NO_STATUS & set(exits)  # cancelled before it started
    assert exits[-1] == "0"
    folder = run.task_folder("PRETRAIN")
    tokens = next(path.parent for path in folder.glob("*/tokens.parquet"))
    brb = [str(run.nextflow.launcher.parent / ".venv" / "bin" / "python"), "-m", "bulkrnabert.cli", "pretrain"]
    options = ["--tokens", str(tokens), "--preset", "tiny", "--train-config", "train.yaml", "--engine", "torch"]
    options = [*options, "--threads", "1", "--device", "cpu", "--out", str(tmp_path / "undisturbed")]
    subprocess.run([*brb, *options], cwd=run.nextflow.folder, check=True, timeout=1800)
    ours = load_file(folder / "all" / "model.safetensors")
    undisturbed = load_file(tmp_path / "undisturbed" / "model.safetensors")
    assert ours.keys() == undisturbed.keys()
    for name, values in undisturbed.items():
        assert (ours[name] == values).all(), name


def test_gpus_are_asked_for_by_type(run: Run) -> None:
    wrapper = (run.task_folder("PRETRAIN") / ".command.run").read_text()
    assert "#SBATCH --gres=gpu:fake:1\n" in wrapper
    assert "#SBATCH -p gpu\n" in wrapper
    others = (run.task_folder("PREPROCESS") / ".command.run").read_text()
    assert "--gres" not in others and "#SBATCH -p" not in others


def test_no_task_asks_for_more_time_than_the_partition_gives(run: Run) -> None:
    assert "#SBATCH -t 00:54:00\n" in (run.task_folder("PREPROCESS") / ".command.run").read_text()


def test_two_nodes_train_one_encoder(run: Run) -> None:
    deepspeed = ("--engine", "deepspeed", "--nodes", "2", "--steps", "10", "--gpus", "1")
    finished = run.nextflow(
        "run", str(run.project), "-profile", "slurm,test", "-c", "fast.config", "--outdir", "two", "-resume",
        *OPTIONS, *deepspeed, timeout_s=900,
    )  # fmt: skip
    assert finished.returncode == 0, finished.output
    last = (run.nextflow.folder / "two" / "encoders" / "all" / "records.jsonl").read_text().splitlines()[-1]
    summary = json.loads(last)
    assert (summary["n_processes"], summary["step"], summary["engine"]) == (2, 10, "deepspeed")
    assert not {"DOWNLOAD", "PREPROCESS", "TOKENIZE"} & set(finished.executed("two"))


def test_a_head_job_on_a_cluster_that_says_little(plain_slurm: Slurm, repository: Path, tmp_path: Path) -> None:
    """Asked for more than half an hour or for any memory, this cluster lets a job wait for ever, or refuses it."""
    project = copy_project(repository, tmp_path / "project")
    environment = {**os.environ, "SLURM_CONF": str(plain_slurm.configuration)}
    environment["BRB_LAUNCHER"] = str(repository / "nextflow")
    (tmp_path / "fast.config").write_text(FAST)
    submitted = subprocess.run(
        ["sbatch", "--wait", "--output=head.log", "--mem=0", "--time=30", project / "conf" / "slurm_head_job.sh",
         "-profile", "slurm,demo", "-stub-run", "-c", "fast.config", "--outdir", "out"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert submitted.returncode == 0, submitted.stderr + (tmp_path / "head.log").read_text()
    assert (tmp_path / "out" / "report.html").is_file()
    for wrapper in (path.read_text() for path in (tmp_path / "work").glob("*/*/.command.run")):
        assert "#SBATCH -t 00:30:00\n" in wrapper and "#SBATCH --mem=0\n" in wrapper


def test_a_partition_that_is_not_there_is_named(plain_slurm: Slurm, repository: Path, tmp_path: Path) -> None:
    nextflow = Nextflow(repository / "nextflow", tmp_path, {"SLURM_CONF": str(plain_slurm.configuration)})
    finished = nextflow("run", str(repository), "-profile", "slurm,demo", "--queue", "long")
    assert finished.returncode == 2
    assert "--queue long: no such partition on this SLURM; there are debug" in finished.output
