"""What a BulkRNABert's pretraining will need before it starts: memory, time and price, and settings that fit.

Sizes are counted tensor by tensor as in `models.layers`; times are operations over a rate (`planner_cpu` measures it).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from bulkrnabert.data.masking import n_masked
from bulkrnabert.errors import ConfigError
from bulkrnabert.models.bulkrnabert import BulkRNABertConfig
from bulkrnabert.models.layers import GENES_A_PIECE, PIECEWISE_FROM_GENES
from bulkrnabert.train.batches import validation_rows_at_once
from bulkrnabert.train.config import MaskedTrainConfig
from bulkrnabert.train.devices import Device
from bulkrnabert.train.engine_deepspeed import ZeroStage
from bulkrnabert.train.recipes_bulkrnabert import flops_per_sample

FP32 = 4
BF16 = 2
GIB = 2**30
# CUDA context, libraries' workspaces and the caching allocator's first blocks.
GPU_OVERHEAD_BYTES = GIB
# What is asked for is less than what is there: fragments of the allocator, other users of the host.
USABLE_SHARE = 0.9
STAGES: tuple[ZeroStage, ...] = (0, 1, 2, 3)


@dataclass(frozen=True)
class Job:
    """A run to plan.

    Attributes:
        model: Sizes, with its genes.
        train: Settings.
        n_samples: Samples to train and validate on.
        n_devices: Processes, one a device.
        is_bf16: Autocast to bf16 with fp32 weights.
    """

    model: BulkRNABertConfig
    train: MaskedTrainConfig
    n_samples: int
    n_devices: int
    is_bf16: bool

    @property
    def n_parameters(self) -> int:
        """Trained numbers of the network."""
        model = self.model
        width, inner, ffn = model.embed_dim, model.n_heads * model.head_dim, model.ffn_embed_dim
        tables = model.n_embedding_rows * width
        if model.use_gene_embedding:
            tables += model.n_genes * model.init_gene_embed_dim
            if model.project_gene_embedding:
                tables += (model.init_gene_embed_dim + 1) * width
        attention = 3 * (width + 1) * inner + (inner + 1) * width
        feed_forward = (width + 1) * ffn + (ffn + 1) * width
        return tables + model.n_layers * (attention + feed_forward + 4 * width) + (width + 1) * model.n_bins

    def n_genes_at(self, is_full: bool) -> int:
        """Genes of a step: of the subset, or all of them."""
        every = self.model.n_genes
        return every if is_full else min(self.train.genes_per_step or every, every)

    @property
    def step_kinds(self) -> list[tuple[int, int]]:
        """Steps of the run by their genes, as (genes, steps)."""
        n_full = self.train.full_length_steps
        kinds = [(self.n_genes_at(False), self.train.steps - n_full), (self.n_genes_at(True), n_full)]
        return [(n_genes, n_steps) for n_genes, n_steps in kinds if n_steps]

    @property
    def most_genes(self) -> int:
        """Genes of the largest step, which decides the memory."""
        return max(n_genes for n_genes, _ in self.step_kinds)


@dataclass(frozen=True)
class Settings:
    """What can be changed without changing the result beyond rounding."""

    micro_batch_size: int
    is_checkpointing: bool
    zero_stage: ZeroStage


@dataclass(frozen=True)
class Memory:
    """Peak memory of one process, bytes.

    Attributes:
        weights: Parameters, fp32 (and their bf16 copies under autocast).
        gradients: fp32.
        optimizer: Adam's two moments, fp32.
        activations: What the forward pass keeps for the backward pass.
        working: The backward pass's own tensors, and the head with the loss on the masked positions; or what a
            validation needs above that.
        data: Tokens, where they are in the same memory.
        framework: Libraries; communication buffers.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    working: int
    data: int
    framework: int

    @property
    def total(self) -> int:
        """All of it."""
        parts = (self.weights, self.gradients, self.optimizer, self.activations, self.working)
        return sum(parts) + self.data + self.framework


def estimate_memory(job: Job, settings: Settings, framework_bytes: int, holds_data: bool) -> Memory:
    """Peak memory of one process.

    Args:
        job: The run.
        settings: Of the run.
        framework_bytes: Taken before the model is made.
        holds_data: The tokens are in this memory: a CPU's.
    """
    n, stage = job.n_parameters, settings.zero_stage
    shares = job.n_devices
    n_genes = job.most_genes
    activations = settings.micro_batch_size * _kept_bytes(job, n_genes, settings.is_checkpointing)
    working = settings.micro_batch_size * _working_bytes(job, n_genes)
    # A validation keeps nothing for a backward pass, but may put more samples through at once than a micro-batch.
    n_seen = job.n_genes_at(False)
    validation = validation_rows_at_once(n_seen) * _forward_bytes(job, n_seen)
    # DeepSpeed's two communication buckets hold all parameters each, and stages 1 to 3 a flat fp32 copy of their share.
    buffers = 0 if stage == 0 else 2 * FP32 * n + FP32 * n // shares
    return Memory(
        weights=FP32 * n // (shares if stage == 3 else 1) + (BF16 * n if job.is_bf16 else 0),
        gradients=FP32 * n // (shares if stage >= 2 else 1),
        optimizer=2 * FP32 * n // (shares if stage >= 1 else 1),
        activations=activations,
        working=max(working, validation - activations),
        data=job.n_samples * job.model.n_genes if holds_data else 0,
        framework=framework_bytes + buffers,
    )


def recomputed_flops(job: Job, n_genes: int, is_checkpointing: bool) -> int:
    """Operations of one sample that are done a second time in the backward pass."""
    n_mask = n_masked(n_genes, job.train.mask_fraction)
    if is_checkpointing:
        return flops_per_sample(job.model, n_genes, n_mask) // 3
    model = job.model
    per_position = 4 * model.embed_dim * model.ffn_embed_dim
    positions = (model.n_layers - 1) * n_genes if n_genes >= PIECEWISE_FROM_GENES else 0
    positions += n_mask if n_mask >= PIECEWISE_FROM_GENES else 0
    return per_position * positions


def traffic_bytes(job: Job, n_genes: int) -> int:
    """Memory traffic of one sample's step: what is kept is written once and read twice."""
    return 3 * _kept_bytes(job, n_genes, is_checkpointing=False)


def _kept_bytes(job: Job, n_genes: int, is_checkpointing: bool) -> int:
    """What one sample's forward pass keeps: full blocks, then the last, which asks for the masked genes only."""
    model = job.model
    n_mask = n_masked(n_genes, job.train.mask_fraction)
    stream = FP32 * n_genes * model.embed_dim
    if is_checkpointing:
        return model.n_layers * stream + _kept_by_block(job, n_genes, n_genes)
    return (model.n_layers - 1) * _kept_by_block(job, n_genes, n_genes) + _kept_by_block(job, n_genes, n_mask)


def _kept_by_block(job: Job, n_genes: int, n_queries: int) -> int:
    model = job.model
    small = BF16 if job.is_bf16 else FP32
    width, inner, ffn = model.embed_dim, model.n_heads * model.head_dim, model.ffn_embed_dim
    # Input of the first norm (the stream, fp32), its output, keys and values.
    every = n_genes * (FP32 * width + small * (width + 2 * inner))
    # Gathered normed rows, query, attention's output and its sums, input of the second norm.
    asking = n_queries * (small * 2 * inner + FP32 * (model.n_heads + width))
    if n_queries < n_genes:
        asking += n_queries * small * width
    if n_queries < PIECEWISE_FROM_GENES:
        asking += n_queries * small * (width + 2 * ffn)
    return every + asking


def _working_bytes(job: Job, n_genes: int) -> int:
    """The larger of a block's backward tensors and the head's: logits, their softmax and gradient in fp32."""
    model = job.model
    small = BF16 if job.is_bf16 else FP32
    inner = model.n_heads * model.head_dim
    rows = min(n_genes, GENES_A_PIECE) if n_genes >= PIECEWISE_FROM_GENES else n_genes
    feed_forward = rows * small * (2 * model.embed_dim + 4 * model.ffn_embed_dim)
    # Gradients of output, query, key, value; of the stream twice; attention's own copies of three of them.
    attention = n_genes * (small * 7 * inner + FP32 * 2 * model.embed_dim)
    head = 3 * FP32 * n_masked(n_genes, job.train.mask_fraction) * model.n_bins
    return max(feed_forward, attention) + head


def _forward_bytes(job: Job, n_genes: int) -> int:
    """What one sample needs at once in a forward pass alone: the stream, a norm's output, attention, feed-forward.

    Attention is counted as eight tensors: query, key, value, what comes out, and as much again that the kernel and the
    allocator were measured to take.
    """
    model = job.model
    small = BF16 if job.is_bf16 else FP32
    numbers = model.embed_dim + 8 * model.n_heads * model.head_dim
    if n_genes < PIECEWISE_FROM_GENES:
        numbers += 2 * model.ffn_embed_dim
    return n_genes * (2 * FP32 * model.embed_dim + small * numbers)


@dataclass(frozen=True)
class Choice:
    """Settings with the memory that they need."""

    settings: Settings
    memory: Memory
    fits: bool


def choose_settings(
    job: Job, memory_bytes: int, framework_bytes: int, holds_data: bool, zero_stage: ZeroStage | None
) -> Choice:
    """The fastest settings that fit: the configured micro-batch, else checkpointing, else smaller micro-batches.

    Higher ZeRO stages are tried last, because they cost communication; where nothing fits, the leanest settings.

    Args:
        job: The run.
        memory_bytes: Of one device.
        framework_bytes: Taken before the model is made.
        holds_data: The tokens are in this memory.
        zero_stage: Fixed; None to choose.
    """
    choice = None
    for settings in _candidates(job, zero_stage):
        memory = estimate_memory(job, settings, framework_bytes, holds_data)
        choice = Choice(settings, memory, memory.total <= USABLE_SHARE * memory_bytes)
        if choice.fits:
            return choice
    assert choice is not None
    return choice


def largest_micro_batch(choice: Choice, job: Job, memory_bytes: int, framework_bytes: int, holds_data: bool) -> int:
    """The largest micro-batch that divides the batch and fits beside the other settings; 0 if none does."""
    fitting = [
        size
        for size in _divisors(job)
        if estimate_memory(
            job,
            Settings(size, choice.settings.is_checkpointing, choice.settings.zero_stage),
            framework_bytes,
            holds_data,
        ).total
        <= USABLE_SHARE * memory_bytes
    ]
    return max(fitting, default=0)


def _candidates(job: Job, zero_stage: ZeroStage | None) -> Iterator[Settings]:
    stages = (zero_stage,) if zero_stage is not None else STAGES[: 1 if job.n_devices == 1 else None]
    configured = job.train.micro_batch_size
    sizes = [configured, *sorted((size for size in _divisors(job) if size < configured), reverse=True)]
    only_checkpointing = job.model.use_activation_checkpointing
    for stage in stages:
        for size in sizes:
            for is_checkpointing in (True,) if only_checkpointing else (False, True):
                yield Settings(size, is_checkpointing, stage)


def _divisors(job: Job) -> list[int]:
    per_device = job.train.global_batch_size // job.n_devices
    return [size for size in range(1, per_device + 1) if per_device % size == 0]


@dataclass(frozen=True)
class Speed:
    """How long steps take.

    Attributes:
        step_s: Seconds of a step, by its genes.
        validation_s: Seconds of one validation.
        tokens_per_s: Over the run's steps, all devices.
        total_s: Of the run.
    """

    step_s: dict[int, float]
    validation_s: float
    tokens_per_s: float
    total_s: float


def run_time(job: Job, step_s: dict[int, float]) -> Speed:
    """Time of a run from the time of its steps, with validations at a third of a step's time a sample."""
    train = job.train
    steps_s = sum(step_s[n_genes] * n_steps for n_genes, n_steps in job.step_kinds)
    n_tokens = sum(n_genes * n_steps for n_genes, n_steps in job.step_kinds) * train.global_batch_size
    n_validation = max(1, math.ceil(train.validation_fraction * job.n_samples))
    validation_s = n_validation / train.global_batch_size * step_s[job.n_genes_at(False)] / 3 if step_s else 0.0
    n_validations = train.steps // train.validate_every + 1
    return Speed(step_s, validation_s, n_tokens / steps_s, steps_s + n_validations * validation_s)


def gpu_step_seconds(job: Job, settings: Settings, device: Device, mfu: float) -> dict[int, float]:
    """Seconds of a step by its genes: operations at the assumed share of the peak, and the traffic beside them."""
    seconds = {}
    per_device = job.train.global_batch_size / job.n_devices
    for n_genes, _ in job.step_kinds:
        flops = flops_per_sample(job.model, n_genes, n_masked(n_genes, job.train.mask_fraction))
        flops += recomputed_flops(job, n_genes, settings.is_checkpointing)
        compute_s = flops / (device.peak_bf16_tflops * 1e12 * mfu)
        traffic_s = traffic_bytes(job, n_genes) / (device.bandwidth_gb_per_s * 1e9)
        seconds[n_genes] = per_device * (compute_s + traffic_s)
    return seconds


def check_job(job: Job, zero_stage: ZeroStage | None) -> None:
    """Check what would stop the run itself.

    Raises:
        ConfigError: the batch does not divide over the devices, or a ZeRO stage without a second device.
    """
    if job.train.global_batch_size % job.n_devices:
        raise ConfigError(
            f"global_batch_size {job.train.global_batch_size} does not divide over {job.n_devices} devices: change one"
        )
    per_device = job.train.global_batch_size // job.n_devices
    if per_device % job.train.micro_batch_size:
        raise ConfigError(
            f"micro_batch_size {job.train.micro_batch_size} does not divide the {per_device} samples of each of "
            f"{job.n_devices} devices: change one"
        )
    if zero_stage and job.n_devices == 1:
        raise ConfigError(f"ZeRO stage {zero_stage} shares out nothing on one device: use --zero-stage 0 or auto")
