"""The training loop: the same for every engine."""

from __future__ import annotations

import logging
import math
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from bulkrnabert.data.masking import seeded_generator
from bulkrnabert.errors import RunMeAgain, TrainingError
from bulkrnabert.logs import progress, shows_progress
from bulkrnabert.train.checkpoint import StateFolder, TrainingState
from bulkrnabert.train.engine import Engine, run_objective
from bulkrnabert.train.recipes import Recipe, Validation
from bulkrnabert.train.records import NoRecords, RecordWriter
from bulkrnabert.train.schedule import learning_rate
from bulkrnabert.train.stopping import StopWatch

logger = logging.getLogger(__name__)

N_LOG_LINES = 10


@dataclass(frozen=True)
class Speed:
    """What the steps of this process's life cost.

    Attributes:
        n_steps: Steps taken in this attempt.
        train_s: Seconds in them, validation and checkpoints left out.
        tokens_per_s: Tokens a second, over all processes; None where no step was taken.
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
    measures: dict[str, float | None]
    grad_norm: float | None
    wants_stop: bool


class Trainer:
    """One run on one engine.

    Args:
        engine: Runs passes and updates.
        recipe: Batches and measures of the model's kind.
        states: Where states are saved; rank 0 writes.
        records: Where records go.
        stop: Says when to stop early.
    """

    def __init__(
        self,
        engine: Engine,
        recipe: Recipe,
        states: StateFolder,
        records: RecordWriter | NoRecords,
        stop: StopWatch,
    ) -> None:
        self._engine = engine
        self._recipe = recipe
        self._config = recipe.data.train
        self._states = states
        self._records = records
        self._stop = stop
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
        for step in progress(range(start_step, steps), what="pretrain", unit="step", total=steps, initial=start_step):
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
        """Measure the model on the patients set aside (collective)."""
        engine, recipe, objective = self._engine, self._recipe, self._engine.objective
        sums: dict[str, float] = {}
        objective.eval()
        with torch.no_grad():
            for item in recipe.validation_batches(engine.rank, engine.world_size):
                prediction = run_objective(objective, item.batch, engine.device)
                for name, value in recipe.validation_sums(item.batch, prediction).items():
                    sums[name] = sums.get(name, 0.0) + (value if item.counts else 0.0)
        objective.train()
        validation = recipe.validation(self._summed(sums))
        if not math.isfinite(validation.loss):
            raise TrainingError(
                f"the validation loss is {validation.loss}: lower learning_rate in the training configuration"
            )
        return validation

    def _timed_step(self, step: int) -> _StepOutcome:
        started = time.perf_counter()
        rate = learning_rate(step, self._config)
        outcome = self._step(step, rate)
        elapsed = time.perf_counter() - started
        n_samples, n_tokens = self._config.global_batch_size, self._recipe.n_tokens_at(step)
        self._train_s += elapsed
        self._n_tokens += n_samples * n_tokens
        self._flops += n_samples * self._recipe.flops_at(step)
        tokens_per_s = n_samples * n_tokens / elapsed
        self._records.write(
            {
                "kind": "train",
                "step": step + 1,
                "loss": outcome.loss,
                **outcome.measures,
                "lr": rate,
                "grad_norm": outcome.grad_norm,
                "tokens_per_s": round(tokens_per_s, 1),
            }
        )
        if (step + 1) % max(1, self._config.steps // N_LOG_LINES) == 0 and not shows_progress():
            logger.info(
                "step %d of %d: %s, %.0f tokens/s",
                step + 1,
                self._config.steps,
                describe_measures(outcome.loss, outcome.measures),
                tokens_per_s,
            )
        return outcome

    def _step(self, step: int, rate: float) -> _StepOutcome:
        engine = self._engine
        size = self._config.micro_batch_size
        n_micro = self._config.accumulation(engine.world_size)
        loss = 0.0
        sums: dict[str, float] = {}
        for number in range(n_micro):
            start = (number * engine.world_size + engine.rank) * size
            batch = self._recipe.micro_batch(step, start, size)
            with self._seeded_dropout(step, start):
                prediction = engine.accumulate(batch)
            loss += float(prediction.loss.detach()) / (n_micro * engine.world_size)
            for name, value in prediction.sums.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        wants_stop = float(self._stop.reason() is not None)
        loss, n_wanting, *values = engine.sum_over_processes([loss, wants_stop, *sums.values()])
        measures = self._recipe.step_measures(dict(zip(sums, values, strict=True)))
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
        return _StepOutcome(loss, measures, grad_norm, n_wanting > 0)

    def _summed(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Named sums over all processes (collective)."""
        return dict(zip(sums, self._engine.sum_over_processes(list(sums.values())), strict=True))

    @contextmanager
    def _seeded_dropout(self, step: int, start: int) -> Iterator[None]:
        """Dropout draws that depend on the step and the place in the global batch alone."""
        if self._recipe.model.dropout == 0:
            yield
            return
        devices = [self._engine.device] if self._engine.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            generator = seeded_generator(self._recipe.data.seed, "dropout", step, start)
            torch.manual_seed(int(generator.integers(2**62)))
            yield

    def _record_validation(self, step: int, validation: Validation) -> None:
        self._records.write({"kind": "validation", "step": step, **validation.record()})
        if self._engine.rank == 0:
            logger.info("validation at step %d: %s", step, describe_measures(validation.loss, validation.measures))

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


def describe_measures(loss: float, measures: Mapping[str, float | None]) -> str:
    """Loss and measures as text; what is not estimable is left out."""
    known = {"loss": loss, **{name: value for name, value in measures.items() if value is not None}}
    return ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in known.items())


def peak_memory_bytes(device: torch.device) -> int:
    """Largest memory so far: allocated on the GPU, or resident in this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
