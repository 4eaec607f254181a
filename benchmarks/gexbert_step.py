"""A pretraining step of GexBERT with a gene list of some length, in this process.

A step is the draw of a batch, forward, backward and update, with as many input and target genes in every row of the
table, so that the length of the gene list is all that changes. `--preset` takes the numbers of genes read and restored
from preset `small` instead of fixed small ones: what a run costs. Seconds are processor time over threads, so that a
busy machine gives the same numbers as a quiet one. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

N_KNOWN, N_TARGETS, N_SAMPLES, BATCH = 64, 32, 128, 32
N_STEPS, N_WARM_UP = 32, 4


def measure(n_genes: int, is_preset: bool) -> dict[str, float]:
    """Median step, its draw alone, and peak memory of this process.

    Args:
        n_genes: Length of the gene list.
        is_preset: Genes read and restored, and steps of a run, as preset `small` has them.
    """
    import numpy as np
    import pandas as pd
    import torch

    from bulkrnabert import keys
    from bulkrnabert.config import preset_path
    from bulkrnabert.data.tokenizer import BinnedTokenizer
    from bulkrnabert.data.tokens import Tokens
    from bulkrnabert.models.gexbert import GexBERTConfig
    from bulkrnabert.train.batches import split_off_validation
    from bulkrnabert.train.engine import TorchEngine
    from bulkrnabert.train.loop import peak_memory_bytes
    from bulkrnabert.train.mixture import mix_cohorts
    from bulkrnabert.train.recipes import RunData
    from bulkrnabert.train.recipes_gexbert import GexBERTRecipe, RestorationConfig

    values = np.random.default_rng(0).normal(size=(N_SAMPLES, n_genes)).astype(np.float32)
    samples = pd.DataFrame({keys.SAMPLE_ID: np.arange(N_SAMPLES).astype(str), keys.COHORT: "c", keys.PART: keys.TRAIN})
    samples[keys.PATIENT_ID] = samples[keys.SAMPLE_ID]
    tokenizer = BinnedTokenizer(
        unit="zscore",
        edges_kind="gene_standardised",
        gene_means=(0.0,) * n_genes,
        gene_deviations=(1.0,) * n_genes,
    )
    tokens = Tokens(
        samples=samples,
        token_ids=tokenizer.encode(values, "zscore"),
        gene_ids=tuple(map(str, range(n_genes))),
        tokenizers={keys.RNASEQ: tokenizer},
        split_id=keys.ALL_SPLIT,
        split_sha256="",
        model=keys.GEXBERT,
        values=values,
    )
    if is_preset:
        train = RestorationConfig.from_yaml(preset_path("train", "small", keys.GEXBERT))
    else:
        fixed: dict[str, Any] = {"global_batch_size": BATCH, "micro_batch_size": BATCH, "targets_per_step": N_TARGETS}
        fixed |= {"min_known": N_KNOWN, "max_known": N_KNOWN, "learning_rate": 1e-3}
        train = RestorationConfig(steps=100, validate_every=100, checkpoint_every=100, **fixed)
    model = GexBERTRecipe.configure(preset_path("model", "small", keys.GEXBERT), tokens, train)
    assert isinstance(model, GexBERTConfig)
    parts = split_off_validation(samples, train.validation_fraction, seed=0)
    order = mix_cohorts(samples, parts.fit_idx, None, N_STEPS * train.global_batch_size, seed=0)
    recipe = GexBERTRecipe(model, RunData(tokens, parts, order, train, seed=0))
    engine = TorchEngine(recipe.objective(recipe.build(), use_bf16=False), train, torch.device("cpu"))
    steps, draws = [], []
    for step in range(N_STEPS):
        started = time.process_time()
        batch = recipe.micro_batch(step, 0, train.micro_batch_size)
        drawn = time.process_time()
        engine.accumulate(batch)
        engine.update(1e-3)
        steps.append(time.process_time() - started)
        draws.append(drawn - started)
    return {
        "step_s": float(np.median(steps[N_WARM_UP:])) / torch.get_num_threads(),
        "mean_step_s": float(np.mean(steps[N_WARM_UP:])) / torch.get_num_threads(),
        "run_steps": float(train.steps),
        "draw_s": float(np.median(draws[N_WARM_UP:])),
        "peak_bytes": float(peak_memory_bytes(engine.device)),
    }


def main() -> None:
    """Measure one length of the gene list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, default=1000, help="length of the gene list")
    parser.add_argument("--preset", action="store_true", help="genes read and restored as in preset small")
    options = parser.parse_args()
    print(json.dumps(measure(options.genes, options.preset)))


if __name__ == "__main__":
    main()
