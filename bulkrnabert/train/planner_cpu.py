"""How fast this machine's processor takes training steps, measured in seconds rather than assumed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from bulkrnabert.data.masking import n_masked
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.train.batches import MicroBatch
from bulkrnabert.train.engine import build_optimizer, run_objective
from bulkrnabert.train.loop import peak_memory_bytes
from bulkrnabert.train.losses import MaskedLanguageModel
from bulkrnabert.train.planner import Job, Settings, recomputed_flops
from bulkrnabert.train.recipes_bulkrnabert import flops_per_sample

MOST_GENES = 2048
TOKENS_AT_ONCE = 4096
MEASURE_FOR_S = 1.5
MIN_REPEATS = 3
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class CpuSpeed:
    """What the calibration found.

    Attributes:
        n_threads: Threads that torch uses.
        attention_flops_per_s: Of attention, forward and backward together.
        other_flops_per_s: Of everything else in a step: products, norms, activations, loss.
        update_s: One optimizer step with clipping.
        framework_bytes: Resident before the model was made.
        memory_bytes: Of the machine.
    """

    n_threads: int
    attention_flops_per_s: float
    other_flops_per_s: float
    update_s: float
    framework_bytes: int
    memory_bytes: int


def calibrate(job: Job) -> CpuSpeed:
    """Time attention alone, then real steps of the run's model on at most 2,048 genes, and the optimizer.

    Args:
        job: The run; its precision is fp32, as training on a CPU is.
    """
    framework_bytes = _framework_bytes(job)
    model = job.model
    n_genes = min(job.most_genes, MOST_GENES)
    size = max(1, min(job.train.micro_batch_size, TOKENS_AT_ONCE // n_genes))
    n_mask = n_masked(n_genes, job.train.mask_fraction)
    generator = torch.Generator().manual_seed(0)
    attention_s = _time_attention(model, size, n_genes, generator)
    attention_rate = size * _attention_flops(model, n_genes, n_genes) / attention_s
    objective = MaskedLanguageModel(BulkRNABert(model, generator))
    batch = _random_batch(model, size, n_genes, n_mask, generator)
    optimizer = build_optimizer(objective, job.train)

    def step() -> None:
        run_objective(objective, batch, _CPU).loss.backward()  # type: ignore[no-untyped-call]

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(objective.parameters(), job.train.clip_norm)
        optimizer.step()

    step_s = _best(step)
    in_step_s = size * _all_attention_flops(model, n_genes, n_mask) / attention_rate
    other = flops_per_sample(model, n_genes, n_mask) - _all_attention_flops(model, n_genes, n_mask)
    other_s = max(step_s - in_step_s, 0.05 * step_s)
    return CpuSpeed(
        n_threads=torch.get_num_threads(),
        attention_flops_per_s=attention_rate,
        other_flops_per_s=size * other / other_s,
        update_s=_best(update),
        framework_bytes=framework_bytes,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def cpu_step_seconds(job: Job, settings: Settings, speed: CpuSpeed) -> dict[int, float]:
    """Seconds of a step, by its genes."""
    seconds = {}
    for n_genes, _ in job.step_kinds:
        n_mask = n_masked(n_genes, job.train.mask_fraction)
        attention = _all_attention_flops(job.model, n_genes, n_mask)
        other = flops_per_sample(job.model, n_genes, n_mask) - attention
        again = recomputed_flops(job, n_genes, settings.is_checkpointing)
        if settings.is_checkpointing:
            attention += attention // 3
            again = other // 3
        per_sample_s = attention / speed.attention_flops_per_s + (other + again) / speed.other_flops_per_s
        seconds[n_genes] = job.train.global_batch_size * per_sample_s + speed.update_s
    return seconds


def _framework_bytes(job: Job) -> int:
    """Resident after the step of a model of no size, which loads what libraries load at their first use."""
    sizes = {"n_genes": 8, "embed_dim": 8, "init_gene_embed_dim": 8, "n_heads": 1, "key_size": 8, "ffn_embed_dim": 8}
    model = job.model.model_copy(update={**sizes, "n_layers": 1})
    generator = torch.Generator().manual_seed(0)
    objective = MaskedLanguageModel(BulkRNABert(model, generator))
    optimizer = build_optimizer(objective, job.train)
    run_objective(objective, _random_batch(model, 1, 8, 2, generator), _CPU).loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(objective.parameters(), job.train.clip_norm)
    optimizer.step()
    return peak_memory_bytes(_CPU)


def _random_batch(
    model: BulkRNABertConfig, size: int, n_genes: int, n_mask: int, generator: torch.Generator
) -> MicroBatch:
    """Random bins of the first genes, the first of which are masked."""
    return MicroBatch(
        inputs=torch.randint(0, model.n_bins, (size, n_genes), generator=generator),
        masked_idx=torch.arange(n_mask).repeat(size, 1),
        targets=torch.randint(0, model.n_bins, (size, n_mask), generator=generator),
        gene_idx=torch.arange(n_genes),
    )


def _time_attention(model: BulkRNABertConfig, size: int, n_genes: int, generator: torch.Generator) -> float:
    shape = (3, size, n_genes, model.n_heads, model.head_dim)
    query, key, value = (
        part.transpose(1, 2).detach().requires_grad_() for part in torch.randn(shape, generator=generator)
    )

    def attend() -> None:
        functional.scaled_dot_product_attention(query, key, value).sum().backward()  # type: ignore[no-untyped-call]

    return _best(attend)


def _attention_flops(model: BulkRNABertConfig, n_queries: int, n_keys: int) -> int:
    """Of one layer, forward and backward (twice the forward)."""
    return 3 * 4 * n_queries * n_keys * model.n_heads * model.head_dim


def _all_attention_flops(model: BulkRNABertConfig, n_genes: int, n_mask: int) -> int:
    """Of all layers of one sample; the last asks for the masked genes only."""
    return (model.n_layers - 1) * _attention_flops(model, n_genes, n_genes) + _attention_flops(model, n_mask, n_genes)


def _best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of at least three runs, after one to warm up.

    Processor time over threads, not the clock's: what other users of the machine take is not counted.
    """
    work()
    n_threads = torch.get_num_threads()
    best, started, n_done = float("inf"), time.process_time(), 0
    while n_done < MIN_REPEATS or time.process_time() - started < MEASURE_FOR_S:
        before = time.process_time()
        work()
        best = min(best, (time.process_time() - before) / n_threads)
        n_done += 1
    return best
