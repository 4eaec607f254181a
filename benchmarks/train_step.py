"""What `bulkrnabert plan --device cpu` predicts for a training step, against measured steps, each in a fresh process.

A step is forward, backward and update of one micro-batch of full-length samples; the peak includes a validation's
forward pass. Seconds are processor time over
threads, so that a busy machine gives the same numbers as a quiet one. Writes JSON, prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SIZES = {
    "small-1024": ("small", 1024, 4),
    "small-4096": ("small", 4096, 2),
    "paper-1024": ("paper", 1024, 2),
    "paper-4096": ("paper", 4096, 1),
    "paper-19062": ("paper", 19_062, 1),
}
QUICK = ("small-1024", "small-4096", "paper-1024", "paper-4096")
N_REPEATS = 3
ONCE_FROM_GENES = 8192
N_SAMPLES = 64


def make_job(preset: str, n_genes: int, batch: int) -> Any:
    """The run of which one step is measured."""
    from bulkrnabert.config import preset_path
    from bulkrnabert.models.bulkrnabert import BulkRNABertConfig
    from bulkrnabert.train.config import MaskedTrainConfig
    from bulkrnabert.train.planner import Job

    model = BulkRNABertConfig.from_yaml(preset_path("model", preset)).with_genes(n_genes)
    train = MaskedTrainConfig(
        steps=100,
        global_batch_size=batch,
        micro_batch_size=batch,
        learning_rate=1e-3,
        validate_every=100,
        checkpoint_every=100,
    )
    return Job(model=model, train=train, n_samples=N_SAMPLES, n_devices=1, is_bf16=False)


def measure(preset: str, n_genes: int, batch: int) -> dict[str, float]:
    """Fastest step and peak memory of this process."""
    import torch

    from bulkrnabert.data.masking import n_masked
    from bulkrnabert.models.bulkrnabert import BulkRNABert
    from bulkrnabert.train.batches import VALIDATION_BATCH_SIZE, MicroBatch
    from bulkrnabert.train.engine import TorchEngine, run_objective
    from bulkrnabert.train.loop import peak_memory_bytes
    from bulkrnabert.train.losses import MaskedLanguageModel

    job = make_job(preset, n_genes, batch)
    generator = torch.Generator().manual_seed(0)
    cpu = torch.device("cpu")
    engine = TorchEngine(MaskedLanguageModel(BulkRNABert(job.model, generator)), job.train, cpu)
    n_mask = n_masked(n_genes, job.train.mask_fraction)

    def draw(size: int) -> MicroBatch:
        return MicroBatch(
            inputs=torch.randint(0, 64, (size, n_genes), generator=generator),
            masked_idx=torch.randperm(n_genes, generator=generator)[:n_mask].repeat(size, 1),
            targets=torch.randint(0, 64, (size, n_mask), generator=generator),
            gene_idx=None,
        )

    inputs = draw(batch)
    best = float("inf")
    for _ in range(N_REPEATS if n_genes < ONCE_FROM_GENES else 1):
        started = time.process_time()
        engine.accumulate(inputs)
        engine.update(1e-3)
        best = min(best, (time.process_time() - started) / torch.get_num_threads())
    with torch.no_grad():
        run_objective(engine.objective, draw(VALIDATION_BATCH_SIZE), cpu)
    return {"step_s": best, "peak_bytes": float(peak_memory_bytes(cpu))}


def predict(preset: str, n_genes: int, batch: int) -> dict[str, float]:
    """What the planner says."""
    from bulkrnabert.train.planner import Settings, estimate_memory
    from bulkrnabert.train.planner_cpu import calibrate, cpu_step_seconds

    job = make_job(preset, n_genes, batch)
    started = time.perf_counter()
    speed = calibrate(job)
    calibration_s = time.perf_counter() - started
    settings = Settings(batch, is_checkpointing=False, zero_stage=0)
    memory = estimate_memory(job, settings, speed.framework_bytes, holds_data=True)
    return {
        "step_s": cpu_step_seconds(job, settings, speed)[n_genes],
        "peak_bytes": float(memory.total),
        "calibration_s": calibration_s,
    }


def in_fresh_process(role: str, name: str) -> dict[str, float]:
    """Run one measurement or prediction in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--role", role, "--size", name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def main() -> None:
    """Compare prediction and measurement for every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out 19,062 genes")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--role", choices=["measure", "predict"], help=argparse.SUPPRESS)
    parser.add_argument("--size", choices=list(SIZES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        print(json.dumps({"measure": measure, "predict": predict}[options.role](*SIZES[options.size])))
        return
    rows = []
    for name in QUICK if options.quick else SIZES:
        predicted, measured = in_fresh_process("predict", name), in_fresh_process("measure", name)
        rows.append({"size": name, "batch": SIZES[name][2], "predicted": predicted, "measured": measured})
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")
    print("| model, genes | batch | step predicted / measured (s) | ratio | peak predicted / measured (GiB) | ratio |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        predicted, measured = row["predicted"], row["measured"]
        print(
            f"| {row['size']} | {row['batch']} | {predicted['step_s']:.2f} / {measured['step_s']:.2f} "
            f"| {predicted['step_s'] / measured['step_s']:.2f} "
            f"| {predicted['peak_bytes'] / 2**30:.2f} / {measured['peak_bytes'] / 2**30:.2f} "
            f"| {predicted['peak_bytes'] / measured['peak_bytes']:.2f} |"
        )


if __name__ == "__main__":
    main()
