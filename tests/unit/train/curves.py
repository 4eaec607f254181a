"""Loss curves of one small run, trained in every way that is asked for; a program for `torchrun` as well as alone.

    torchrun --nproc-per-node 2 curves.py OUT.json deepspeed:0:1 deepspeed:3:4:piecewise ...

A way is `engine:ZeRO stage:accumulation`, with `:piecewise` for a feed-forward layer that works on pieces of the genes,
or `:per_target` for a loss that is divided by its targets, as it must not be.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from bulkrnabert import keys
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokens import Tokens
from bulkrnabert.models import layers
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.train.batches import split_off_validation
from bulkrnabert.train.checkpoint import StateFolder
from bulkrnabert.train.config import MaskedTrainConfig
from bulkrnabert.train.engine import Engine, TorchEngine
from bulkrnabert.train.engine_deepspeed import DeepSpeedEngine
from bulkrnabert.train.loop import Trainer
from bulkrnabert.train.losses import MaskedLanguageModel, MaskedPrediction
from bulkrnabert.train.mixture import mix_cohorts
from bulkrnabert.train.recipes import RunData
from bulkrnabert.train.recipes_bulkrnabert import BulkRNABertRecipe
from bulkrnabert.train.records import RecordWriter
from bulkrnabert.train.stopping import StopWatch

N_SAMPLES = 40
N_GENES = 40
GLOBAL_BATCH = 8
SEED = 0
MODEL = BulkRNABertConfig(
    n_genes=N_GENES,
    embed_dim=16,
    init_gene_embed_dim=8,
    n_heads=2,
    ffn_embed_dim=32,
    n_layers=2,
    has_bin_statistics=True,
)
WHOLE_FEED_FORWARD = layers.PIECEWISE_FROM_GENES, layers.GENES_A_PIECE
PIECES_OF_16_GENES = 1, 16


class PerTarget(MaskedLanguageModel):
    """The loss as a mean over the targets, whose number differs between micro-batches."""

    def forward(self, *tensors: Any) -> MaskedPrediction:
        """The prediction with that loss."""
        prediction = super().forward(*tensors)
        return replace(prediction, loss=prediction.loss * tensors[2].numel() / prediction.sums["n_targets"])


def run_data(micro_batch_size: int) -> RunData:
    """All genes at each step; every fifth sample has four measured genes only, fewer than are to be masked."""
    rng = np.random.default_rng(0)
    token_ids = (rng.integers(0, 60, N_GENES) + rng.integers(0, 4, (N_SAMPLES, N_GENES))).astype(np.uint8)
    token_ids[::5, 4:] = keys.MASK_ID
    samples = pd.DataFrame(
        {
            keys.SAMPLE_ID: [f"S{row}" for row in range(N_SAMPLES)],
            keys.PATIENT_ID: [f"P{row}" for row in range(N_SAMPLES)],
            keys.COHORT: "A",
            keys.PART: keys.TRAIN,
        }
    )
    tokenizer = BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=5.0)
    tokens = Tokens(
        samples=samples,
        token_ids=token_ids,
        gene_ids=tuple(f"ENSG{gene:011d}" for gene in range(N_GENES)),
        tokenizers={keys.RNASEQ: tokenizer},
        split_id="all",
        split_sha256="ab" * 32,
    )
    train = MaskedTrainConfig(
        steps=6,
        global_batch_size=GLOBAL_BATCH,
        micro_batch_size=micro_batch_size,
        learning_rate=1e-2,
        validate_every=3,
        checkpoint_every=6,
    )
    parts = split_off_validation(samples, train.validation_fraction, SEED)
    order = mix_cohorts(samples, parts.fit_idx, None, train.steps * GLOBAL_BATCH, SEED)
    return RunData(tokens, parts, order, train, SEED)


def curve(way: str, folder: Path) -> list[float]:
    """Losses of all steps and validations of the run, in their order; on every process of it."""
    name, stage, n_accumulated, *variants = way.split(":")
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    is_piecewise, is_per_target = "piecewise" in variants, "per_target" in variants
    layers.PIECEWISE_FROM_GENES, layers.GENES_A_PIECE = PIECES_OF_16_GENES if is_piecewise else WHOLE_FEED_FORWARD
    recipe = BulkRNABertRecipe(MODEL, run_data(GLOBAL_BATCH // n_processes // int(n_accumulated)))
    network = recipe.build()
    assert isinstance(network, BulkRNABert)
    recipe.start_from_data(network)
    objective, cpu = PerTarget(network) if is_per_target else recipe.objective(network, False), torch.device("cpu")
    engine: Engine
    if name == "torch":
        engine = TorchEngine(objective, recipe.data.train, cpu)
    else:
        engine = DeepSpeedEngine(objective, recipe.data.train, cpu, int(stage))  # type: ignore[arg-type]
    own = folder / f"{way}:{engine.rank}"
    own.mkdir()
    states = StateFolder(own, {}, keep_best=False)
    with RecordWriter(states.records_path, 0) as records:
        Trainer(engine, recipe, states, records, StopWatch(None, time.time())).run(0)
    found: list[dict[str, Any]] = [json.loads(line) for line in states.records_path.read_text().splitlines()]
    return [record["loss"] for record in found]


def main() -> None:
    """Write `{way: losses}`; only the first process."""
    out, *ways = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        curves = {way: curve(way, Path(folder)) for way in ways}
    if os.environ.get("RANK", "0") == "0":
        Path(out).write_text(json.dumps(curves))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
