"""One run, one curve: plain torch and DeepSpeed's ZeRO 0 to 3, one and two processes, with and without accumulation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

CURVES = Path(__file__).with_name("curves.py")
REFERENCE = "torch:0:1"
PLAIN = [REFERENCE, "torch:0:4", "torch:0:1:piecewise"]
PER_TARGET = ["torch:0:1:per_target", "torch:0:4:per_target"]
WITHIN = 1e-5
WAYS = [f"deepspeed:{stage}:{n_accumulated}" for stage in range(4) for n_accumulated in (1, 4)]
WAYS += ["deepspeed:3:1:piecewise"]


def run(repository: Path, out: Path, launcher: list[str], ways: list[str]) -> dict[str, list[float]]:
    environment = dict(os.environ, PYTHONPATH=str(repository), DS_ACCELERATOR="cpu", OMP_NUM_THREADS="1")
    done = subprocess.run(
        [*launcher, str(CURVES), str(out), *ways], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, list[float]] = json.loads(out.read_text())
    return found


@pytest.fixture(scope="module")
def plain(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    out = tmp_path_factory.mktemp("curves") / "torch.json"
    return run(repository, out, [sys.executable], [*PLAIN, *PER_TARGET])


def assert_one_curve(reference: list[float], curves: dict[str, list[float]]) -> None:
    assert len(reference) == 9  # six steps, three validations
    for way, losses in curves.items():
        assert np.abs(np.subtract(losses, reference)).max() < WITHIN, way


def test_accumulation_on_plain_torch(plain: dict[str, list[float]]) -> None:
    assert_one_curve(plain[REFERENCE], {way: plain[way] for way in PLAIN})


def test_a_loss_divided_by_its_targets_would_be_noticed(plain: dict[str, list[float]]) -> None:
    """The control: samples differ in their measured genes, so that a mean over targets depends on the micro-batches."""
    whole, accumulated = (plain[way] for way in PER_TARGET)
    assert np.abs(np.subtract(whole, accumulated)).max() > 100 * WITHIN


@pytest.mark.slow
@pytest.mark.parametrize("n_processes", [1, 2])
def test_zero_stages(repository: Path, tmp_path: Path, plain: dict[str, list[float]], n_processes: int) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n_processes)]
    curves = run(repository, tmp_path / "curves.json", torchrun, WAYS)
    assert list(curves) == WAYS
    assert_one_curve(plain[REFERENCE], curves)
