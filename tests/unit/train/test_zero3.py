"""ZeRO stage 3 on all genes at once, feed-forward layer whole and in pieces: the losses of the plain engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
import torch
from bulkrnabert.models import layers
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.train.batches import MicroBatch
from bulkrnabert.train.config import TrainConfig
from bulkrnabert.train.engine import TorchEngine
from bulkrnabert.train.engine_deepspeed import DeepSpeedEngine
from bulkrnabert.train.losses import MaskedLanguageModel

kind, layers.PIECEWISE_FROM_GENES, layers.GENES_A_PIECE = sys.argv[1], int(sys.argv[2]), 16
model = BulkRNABertConfig(n_genes=40, embed_dim=16, init_gene_embed_dim=8, n_heads=2, ffn_embed_dim=32, n_layers=2)
train = TrainConfig(
    steps=4, global_batch_size=4, micro_batch_size=2, learning_rate=1e-2, validate_every=2, checkpoint_every=2
)
objective = MaskedLanguageModel(BulkRNABert(model, torch.Generator().manual_seed(0)))
cpu = torch.device("cpu")
engine = TorchEngine(objective, train, cpu) if kind == "torch" else DeepSpeedEngine(objective, train, cpu, 3)
losses = []
for step in range(3):
    generator = torch.Generator().manual_seed(step)
    ids, targets = (torch.randint(0, 64, shape, generator=generator) for shape in ((4, 40), (4, 6)))
    total = 0.0
    for start in range(2 * engine.rank, 4, 2 * engine.world_size):
        rows = slice(start, start + 2)
        batch = MicroBatch(ids[rows], torch.arange(6).repeat(2, 1), targets[rows], None)
        total += float(engine.accumulate(batch).loss.detach()) / 2
    losses += engine.sum_over_processes([total])
    engine.update(1e-2)
if engine.rank == 0:
    print("LOSSES", json.dumps(losses))
engine.close()
"""


def losses(script: Path, repository: Path, launcher: list[str], kind: str, threshold: int) -> list[float]:
    environment = dict(os.environ, PYTHONPATH=str(repository), DS_ACCELERATOR="cpu", OMP_NUM_THREADS="1")
    done = subprocess.run(
        [*launcher, str(script), kind, str(threshold)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("LOSSES"))
    return list(json.loads(line.removeprefix("LOSSES ")))


@pytest.mark.slow
def test_all_genes_under_stage_3(tmp_path: Path, repository: Path) -> None:
    script = tmp_path / "steps.py"
    script.write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    expected = losses(script, repository, [sys.executable], "torch", 10_000)
    for threshold in (10_000, 1):
        assert losses(script, repository, torchrun, "deepspeed", threshold) == pytest.approx(expected, abs=1e-5)
