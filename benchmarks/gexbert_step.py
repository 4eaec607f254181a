"""Cost of a pretraining step of GexBERT against the number of genes that are known.

A step is the draw of a batch, forward, backward and update, with as many input and target genes in every row of the
table, so that the length of the gene list is all that changes. Seconds are processor time, so that a busy machine gives
the same numbers as a quiet one; each list has a fresh process. Prints a Markdown table; `--out` writes JSON, `--plot`
an SVG.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

N_GENES = (100, 300, 1000, 3000, 10_000, 20_000)
N_KNOWN, N_TARGETS, N_SAMPLES, BATCH = 64, 32, 128, 32
N_STEPS = 12


def measure(n_genes: int) -> dict[str, float]:
    """Median step, its draw alone, and peak memory of this process."""
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
    train = RestorationConfig(
        steps=100,
        global_batch_size=BATCH,
        micro_batch_size=BATCH,
        min_known=N_KNOWN,
        max_known=N_KNOWN,
        targets_per_step=N_TARGETS,
        learning_rate=1e-3,
        validate_every=100,
        checkpoint_every=100,
    )
    model = GexBERTRecipe.configure(preset_path("model", "small", keys.GEXBERT), tokens, train)
    assert isinstance(model, GexBERTConfig)
    parts = split_off_validation(samples, train.validation_fraction, seed=0)
    order = mix_cohorts(samples, parts.fit_idx, None, train.steps * BATCH, seed=0)
    recipe = GexBERTRecipe(model, RunData(tokens, parts, order, train, seed=0))
    engine = TorchEngine(recipe.objective(recipe.build(), use_bf16=False), train, torch.device("cpu"))
    steps, draws = [], []
    for step in range(N_STEPS):
        started = time.process_time()
        batch = recipe.micro_batch(step, 0, BATCH)
        drawn = time.process_time()
        engine.accumulate(batch)
        engine.update(1e-3)
        steps.append(time.process_time() - started)
        draws.append(drawn - started)
    return {
        "step_s": float(np.median(steps[2:])) / torch.get_num_threads(),
        "draw_s": float(np.median(draws[2:])),
        "peak_bytes": float(peak_memory_bytes(engine.device)),
    }


def plot(rows: list[dict[str, float]], path: Path) -> None:
    """Step and draw against the length of the gene list."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.5, 3.2), layout="constrained")
    genes = [row["n_genes"] for row in rows]
    axes.plot(genes, [1e3 * row["step_s"] for row in rows], marker="o", label="whole step")
    axes.plot(genes, [1e3 * row["draw_s"] for row in rows], marker="s", label="of it, drawing the batch")
    axes.set(xscale="log", ylim=(0, None), xlabel="genes known", ylabel="milliseconds a step, one core")
    axes.set_title(f"{BATCH} samples, {N_KNOWN} genes read, {N_TARGETS} restored", fontsize="medium")
    axes.legend()
    figure.savefig(path)


def main() -> None:
    """Measure every length of the gene list, each in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--plot", type=Path, help="SVG file to write")
    parser.add_argument("--n-genes", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.n_genes:
        print(json.dumps({"n_genes": options.n_genes, **measure(options.n_genes)}))
        return
    rows = []
    for n_genes in N_GENES:
        command = [sys.executable, __file__, "--n-genes", str(n_genes)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")
    if options.plot:
        plot(rows, options.plot)
    print("| genes known | step (ms) | of it, drawing the batch (ms) | peak memory (MiB) |")
    print("|---|---|---|---|")
    for row in rows:
        step, draw, peak = row["step_s"], row["draw_s"], row["peak_bytes"]
        print(f"| {row['n_genes']:,} | {1e3 * step:.0f} | {1e3 * draw:.1f} | {peak / 2**20:.0f} |")


if __name__ == "__main__":
    main()
