"""The training loop: the same for every engine."""

from __future__ import annotations

import logging
import math
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from tqdm import tqdm

from bulkrnabert.data.masking import IGNORED, seeded_generator
from bulkrnabert.errors import RunMeAgain, TrainingError
from bulkrnabert.logs import shows_progress
from bulkrnabert.models.bulkrnabert import BulkRNABertConfig
from bulkrnabert.train.batches import BatchSource
from bulkrnabert.train.checkpoint import StateFolder, TrainingState
from bulkrnabert.train.config import TrainConfig
from bulkrnabert.train.engine import Engine, run_objective
from bulkrnabert.train.losses import spearman
from bulkrnabert.train.records import NoRecords, RecordWriter
from bulkrnabert.train.schedule import learning_rate
from bulkrnabert.train.stopping import StopWatch

logger = logging.getLogger(__name__)

N_LOG_LINES = 10


@dataclass(frozen=True)
class Validation:
    """How well masked bins of the patients set aside are predicted.

    Attributes:
        loss: Mean cross-entropy of a masked position, nats.
        masked_accuracy: Share of masked positions whose most likely bin is the true one.
        baseline_accuracy: The same for each gene's most frequent bin in the rows trained on: what needs no network.
        spearman: Rank correlation of true and predicted bins, mean over samples; None where not estimable.
        n_samples: Samples it was measured on.
    """

    loss: float
    masked_accuracy: float
    baseline_accuracy: float
    spearman: float | None
    n_samples: int


@dataclass(frozen=True)
class Speed:
    """What the steps of this process's life cost.

    Attributes:
        n_steps: Steps taken in this attempt.
        train_s: Seconds in them, validation and checkpoints left out.
        tokens_per_s: Gene tokens a second, over all processes; None where no step was taken.
        flops_per_s: Floating-point operations a second of the model itself (estimate), over all processes.
        peak_memory_bytes: Largest memory of the first process: of the GPU if it has one, else resident.
    """

    n_steps: int
    train_s: float
    tokens_per_s: float | None
    flops_per_s: float | None
    peak_memory_bytes: int


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run has to report."""

    validation: Validation
    speed: Speed


@dataclass(frozen=True)
class _StepOutcome:
    loss: float
    masked_accuracy: float
    grad_norm: float | None
    wants_stop: bool


class Trainer:
    """One run on one engine.

    Args:
        engine: Runs passes and updates.
        source: Batches.
        config: Settings.
        model_config: Sizes of the model.
        seed: Seed of the run.
        states: Where states are saved; rank 0 writes.
        records: Where records go.
        stop: Says when to stop early.
    """

    def __init__(
        self,
        engine: Engine,
        source: BatchSource,
        config: TrainConfig,
        model_config: BulkRNABertConfig,
        seed: int,
        states: StateFolder,
        records: RecordWriter | NoRecords,
        stop: StopWatch,
    ) -> None:
        self._engine = engine
        self._source = source
        self._config = config
        self._model_config = model_config
        self._seed = seed
        self._states = states
        self._records = records
        self._stop = stop
        self._most_frequent_bins = source.most_frequent_bins()
        self._train_s = 0.0
        self._n_tokens = 0
        self._flops = 0

    def run(self, start_step: int) -> TrainingResult:
        """Train from a step to the last one.

        Raises:
            RunMeAgain: stopped early, state saved.
            TrainingError: the loss is not finite.
        """
        steps = self._config.steps
        if start_step == 0:
            self._record_validation(0, self.validate())
        validation = None
        for step in tqdm(range(start_step, steps), initial=start_step, total=steps, disable=not shows_progress()):
            outcome = self._timed_step(step)
            done = step + 1
            validation = None
            if done % self._config.validate_every == 0 or done == steps:
                validation = self.validate()
                self._record_validation(done, validation)
            is_stopping = outcome.wants_stop and done < steps
            if done % self._config.checkpoint_every == 0 or done == steps or is_stopping:
                self._save(done, validation)
            if is_stopping:
                raise RunMeAgain(
                    f"stopped after step {done} of {steps} ({self._stop.last_reason or 'asked to'}), state saved in "
                    f"{self._states.folder}: run the same command again to go on"
                )
        return TrainingResult(validation or self.validate(), self._speed(steps - start_step))

    def validate(self) -> Validation:
        """Predict the masked positions of the patients set aside (collective)."""
        engine, objective = self._engine, self._engine.objective
        loss_sum = n_correct = n_targets = n_baseline = n_correlated = n_samples = correlation_sum = 0.0
        objective.eval()
        with torch.no_grad():
            for item in self._source.validation_batches(engine.rank, engine.world_size):
                batch = item.batch
                prediction = run_objective(objective, batch, engine.device)
                if not item.counts:
                    continue
                targets = batch.targets.numpy()
                predicted = prediction.predicted.cpu().numpy()
                loss_sum += float(prediction.loss) * targets.size
                n_correct += float(prediction.n_correct)
                n_targets += float(prediction.n_targets)
                n_baseline += float((self._most_frequent_bins[item.genes[batch.masked_idx.numpy()]] == targets).sum())
                n_samples += len(targets)
                for true_row, predicted_row in zip(targets, predicted, strict=True):
                    has_target = true_row != IGNORED
                    value = spearman(true_row[has_target], predicted_row[has_target], self._model_config.n_bins)
                    correlation_sum += value or 0.0
                    n_correlated += value is not None
        objective.train()
        sums = [loss_sum, n_correct, n_targets, n_baseline, correlation_sum, n_correlated, n_samples]
        loss_sum, n_correct, n_targets, n_baseline, correlation_sum, n_correlated, n_samples = (
            engine.sum_over_processes(sums)
        )
        if not math.isfinite(loss_sum):
            raise TrainingError(f"the validation loss is {loss_sum}: lower learning_rate in the training configuration")
        return Validation(
            loss=loss_sum / n_targets,
            masked_accuracy=n_correct / n_targets,
            baseline_accuracy=n_baseline / n_targets,
            spearman=correlation_sum / n_correlated if n_correlated else None,
            n_samples=int(n_samples),
        )

    def _timed_step(self, step: int) -> _StepOutcome:
        started = time.perf_counter()
        rate = learning_rate(step, self._config)
        outcome = self._step(step, rate)
        elapsed = time.perf_counter() - started
        n_samples, n_genes = self._config.global_batch_size, self._source.n_genes_at(step)
        self._train_s += elapsed
        self._n_tokens += n_samples * n_genes
        self._flops += n_samples * flops_per_sample(self._model_config, n_genes, self._source.n_masked_at(step))
        tokens_per_s = n_samples * n_genes / elapsed
        self._records.write(
            {
                "kind": "train",
                "step": step + 1,
                "loss": outcome.loss,
                "masked_accuracy": outcome.masked_accuracy,
                "lr": rate,
                "grad_norm": outcome.grad_norm,
                "tokens_per_s": round(tokens_per_s, 1),
            }
        )
        if (step + 1) % max(1, self._config.steps // N_LOG_LINES) == 0 and not shows_progress():
            logger.info(
                "step %d of %d: loss %.3f, masked accuracy %.3f, %.0f tokens/s",
                step + 1,
                self._config.steps,
                outcome.loss,
                outcome.masked_accuracy,
                tokens_per_s,
            )
        return outcome

    def _step(self, step: int, rate: float) -> _StepOutcome:
        engine = self._engine
        size = self._config.micro_batch_size
        n_micro = self._config.accumulation(engine.world_size)
        loss = n_correct = n_targets = 0.0
        for number in range(n_micro):
            start = (number * engine.world_size + engine.rank) * size
            batch = self._source.micro_batch(step, start, size)
            with self._seeded_dropout(step, start):
                prediction = engine.accumulate(batch)
            loss += float(prediction.loss.detach()) / (n_micro * engine.world_size)
            n_correct += float(prediction.n_correct)
            n_targets += float(prediction.n_targets)
        wants_stop = float(self._stop.reason() is not None)
        loss, n_correct, n_targets, n_wanting = engine.sum_over_processes([loss, n_correct, n_targets, wants_stop])
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {step + 1} of {self._config.steps} (learning rate {rate:.3g}): training "
                "stopped, no checkpoint was written under the final name. Lower learning_rate, or use precision fp32"
            )
        grad_norm = engine.update(rate)
        if grad_norm is not None and not math.isfinite(grad_norm):
            raise TrainingError(
                f"the gradient norm is {grad_norm} at step {step + 1} of {self._config.steps} (learning rate "
                f"{rate:.3g}): training stopped, no checkpoint was written under the final name. Lower learning_rate"
            )
        return _StepOutcome(loss, n_correct / max(1.0, n_targets), grad_norm, n_wanting > 0)

    @contextmanager
    def _seeded_dropout(self, step: int, start: int) -> Iterator[None]:
        """Dropout draws that depend on the step and the place in the global batch alone."""
        if self._model_config.dropout == 0:
            yield
            return
        devices = [self._engine.device] if self._engine.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int(seeded_generator(self._seed, "dropout", step, start).integers(2**62)))
            yield

    def _record_validation(self, step: int, validation: Validation) -> None:
        self._records.write({"kind": "validation", "step": step, **asdict(validation)})
        if self._engine.rank == 0:
            logger.info(
                "validation at step %d: loss %.3f, masked accuracy %.3f (most frequent bin of each gene: %.3f)",
                step,
                validation.loss,
                validation.masked_accuracy,
                validation.baseline_accuracy,
            )

    def _save(self, step: int, validation: Validation | None) -> None:
        weights, moments = self._engine.weights(), self._engine.moments()
        if self._engine.rank == 0:
            self._states.save(
                TrainingState(
                    step=step,
                    weights=weights,
                    moments=moments,
                    validation_loss=None if validation is None else validation.loss,
                    records_bytes=self._records.n_bytes(),
                    engine=describe_engine(self._engine),
                )
            )
        self._engine.sum_over_processes([0.0])  # no process runs ahead of the writing one

    def _speed(self, n_steps: int) -> Speed:
        seconds = self._train_s
        return Speed(
            n_steps=n_steps,
            train_s=round(seconds, 3),
            tokens_per_s=round(self._n_tokens / seconds, 1) if seconds else None,
            flops_per_s=round(self._flops / seconds) if seconds else None,
            peak_memory_bytes=peak_memory_bytes(self._engine.device),
        )


def describe_engine(engine: Engine) -> str:
    """Engine, number of processes and device, as text."""
    return f"{engine.name}, {engine.world_size} x {engine.device.type}"


def flops_per_sample(config: BulkRNABertConfig, n_genes: int, n_masked: int) -> int:
    """Floating-point operations of one sample forward and backward (twice the forward), an estimate.

    Counts the matrix products of blocks and head; recomputation under activation checkpointing is not counted. The last
    block asks for the masked positions only.
    """
    width, inner = config.embed_dim, config.n_heads * config.head_dim
    keys_values = n_genes * 4 * width * inner
    per_query = 4 * width * inner + 4 * width * config.ffn_embed_dim + 4 * n_genes * inner
    blocks = config.n_layers * keys_values + ((config.n_layers - 1) * n_genes + n_masked) * per_query
    head = 2 * n_masked * width * config.n_bins
    return 3 * (blocks + head)


def peak_memory_bytes(device: torch.device) -> int:
    """Largest memory so far: allocated on the GPU, or resident in this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
