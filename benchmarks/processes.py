"""Tokens a second of `bulkrnabert pretrain` on one or several processes of this machine, one thread each.

Writes tokens of random bins, runs the real command on them through `torchrun` and gloo where there are several
processes, and reads the speed from the run's own records: steps alone, without start, validation and checkpoint. The
global batch is the same for any number of processes. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from bulkrnabert import keys
from bulkrnabert.config import preset_path
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokens import Tokens, write_tokens

N_SAMPLES = 64
GLOBAL_BATCH, MICRO_BATCH = 8, 2


def write_inputs(folder: Path, n_genes: int, n_steps: int) -> None:
    """Tokens, and the settings of a run that validates and saves at its end only."""
    ids = np.random.default_rng(0).integers(0, 64, (N_SAMPLES, n_genes), dtype=np.uint8)
    samples = pd.DataFrame({keys.SAMPLE_ID: [f"s{row}" for row in range(N_SAMPLES)]})
    samples[keys.PATIENT_ID], samples[keys.COHORT], samples[keys.PART] = samples[keys.SAMPLE_ID], "c", keys.TRAIN
    tokenizer = BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=5.0)
    genes = tuple(f"ENSG{gene:011}" for gene in range(n_genes))
    (folder / "tokens").mkdir()
    write_tokens(folder / "tokens", Tokens(samples, ids, genes, {keys.RNASEQ: tokenizer}, keys.ALL_SPLIT, ""))
    settings = {
        **{"steps": n_steps, "global_batch_size": GLOBAL_BATCH, "micro_batch_size": MICRO_BATCH},
        **{"learning_rate": 1e-3, "validate_every": n_steps, "checkpoint_every": n_steps},
        "gene_embedding_start": "random",
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(settings))


def measure(n_processes: int, engine: str, zero_stage: int, n_genes: int, n_steps: int) -> dict[str, float]:
    """Run the command; speed of the steps behind the first, and seconds of the whole.

    Raises:
        SystemExit: the command failed; its messages are on standard error.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, n_genes, n_steps)
        command = [sys.executable, "-m", "bulkrnabert.cli", "pretrain", "--tokens", str(folder / "tokens")]
        command += ["--model-config", str(preset_path("model", "paper")), "--train-config", str(folder / "train.yaml")]
        command += ["--engine", engine, "--zero-stage", str(zero_stage), "--processes", str(n_processes)]
        command += ["--threads", "1", "--device", "cpu", "--out", str(folder / "encoder")]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        whole_s = time.perf_counter() - started
        if done.returncode:
            sys.exit(done.stderr[-2000:])
        records = [json.loads(line) for line in (folder / "encoder" / keys.RECORDS_JSONL).read_text().splitlines()]
    speeds = [float(record["tokens_per_s"]) for record in records if record["kind"] == "train"][1:]
    return {"tokens_per_s": float(np.median(speeds)), "tokens_per_s_best": max(speeds), "whole_s": whole_s}


def main() -> None:
    """Measure one way of running."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--engine", choices=["torch", "deepspeed"], default="torch")
    parser.add_argument("--zero-stage", type=int, choices=range(4), default=1)
    parser.add_argument("--genes", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    found = measure(options.processes, options.engine, options.zero_stage, options.genes, options.steps)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
