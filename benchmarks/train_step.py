"""What `bulkrnabert plan --device cpu` predicts for a training step, or a measured step, in this process.

A step is forward, backward and update of one micro-batch; the peak includes a validation's forward pass. Seconds are
processor time over threads, so that a busy machine gives the same numbers as a quiet one. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from timing import fastest, peak_bytes

SIZES = {
    "small-1024": ("small", 1024, 4),
    "small-4096": ("small", 4096, 2),
    "paper-1024": ("paper", 1024, 2),
    "paper-4096": ("paper", 4096, 1),
    "paper-19062": ("paper", 19_062, 1),
}
MEASURE_FOR_S = 2.0
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


def measure(preset: str, n_genes: int, batch: int, subset: int | None = None) -> dict[str, float]:
    """Fastest step, and peak memory of this process before and with a validation.

    Args:
        preset: Sizes of the model.
        n_genes: Its genes.
        batch: Samples of the step.
        subset: Genes that the step sees; None: all.
    """
    import torch

    from bulkrnabert.data.masking import n_masked
    from bulkrnabert.models.bulkrnabert import BulkRNABert
    from bulkrnabert.train.batches import MicroBatch, validation_rows_at_once
    from bulkrnabert.train.engine import TorchEngine, run_objective
    from bulkrnabert.train.losses import MaskedLanguageModel

    job = make_job(preset, n_genes, batch)
    generator = torch.Generator().manual_seed(0)
    cpu = torch.device("cpu")
    engine = TorchEngine(MaskedLanguageModel(BulkRNABert(job.model, generator)), job.train, cpu)
    n_seen = subset or n_genes
    n_mask = n_masked(n_seen, job.train.mask_fraction)

    def draw(size: int) -> MicroBatch:
        return MicroBatch(
            inputs=torch.randint(0, 64, (size, n_seen), generator=generator),
            masked_idx=torch.randperm(n_seen, generator=generator)[:n_mask].repeat(size, 1),
            targets=torch.randint(0, 64, (size, n_mask), generator=generator),
            gene_idx=None if subset is None else torch.randperm(n_genes, generator=generator)[:subset].sort().values,
        )

    inputs = draw(batch)

    def step() -> None:
        engine.accumulate(inputs)
        engine.update(1e-3)

    is_long = n_seen >= ONCE_FROM_GENES
    found = fastest(step, 0 if is_long else MEASURE_FOR_S, not is_long)
    step_peak = peak_bytes()
    if subset is None:
        with torch.no_grad():
            run_objective(engine.objective, draw(validation_rows_at_once(n_genes)), cpu)
    return {
        "step_s": found["seconds"],
        "wall_s": found["wall_s"],
        "step_peak_bytes": step_peak,
        "peak_bytes": peak_bytes(),
    }


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


def main() -> None:
    """Predict or measure one size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--role", choices=["measure", "predict"], default="measure")
    parser.add_argument("--subset", type=int, help="genes that the step sees, of those of the model; default all")
    parser.add_argument("--size", choices=list(SIZES), default="small-1024", help="preset and genes")
    options = parser.parse_args()
    if options.role == "predict":
        print(json.dumps(predict(*SIZES[options.size])))
    else:
        print(json.dumps(measure(*SIZES[options.size], options.subset)))


if __name__ == "__main__":
    main()
