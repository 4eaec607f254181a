"""Fine-tuning of an encoder with heads: whole-batch gradients, early stopping inside the training part."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from bulkrnabert import keys
from bulkrnabert.config import FrozenConfig
from bulkrnabert.data.masking import seeded_generator
from bulkrnabert.errors import ConfigError, TrainingError
from bulkrnabert.logs import progress
from bulkrnabert.models.adapters import AdapterConfig
from bulkrnabert.models.finetuned import FinetunedNetwork, FinetunePooling
from bulkrnabert.train.dropped_omics import DroppableTokens, consistency_loss
from bulkrnabert.train.targets import Target
from bulkrnabert.train.whole_batch import backward_whole_batch, encode_all

logger = logging.getLogger(__name__)

TOKENS_WITHOUT_GRADIENT = 2**16


class FinetuneConfig(FrozenConfig):
    """Settings of fine-tuning; the presets in `conf/task` are its YAML form. The paper states none of the rates.

    Attributes:
        adapter: What of the encoder is trained.
        pooling: Over genes; `auto`: the first of `eigengene`, `marker` and `mean` that the encoder has statistics for.
        layer: Layer whose output is pooled, from 1; null: the last.
        head_hidden: Widths of the heads' hidden layers; empty: linear heads that start as the fitted probe.
        head_dropout: After each hidden layer.
        head_layer_norm: Normalise after each hidden layer.
        head_kernel: Random Fourier features of a Gaussian kernel that a classifier's head reads in place of hidden
            layers; it starts as kernel ridge regression (docs/decisions/0027-panel-heads.md). 0: none.
        max_epochs: Passes over the training part, at most; 0: heads as they start.
        patience: Epochs without a better inner validation loss after which the search for the best epoch ends.
        inner_fraction: Share of the training patients that decide when to stop.
        inner_genes: Genes, drawn once, on which they are judged; null: all. Every other judgement is on all genes.
        refit: Train anew on the whole training part for the best number of epochs; without it the weights of the best
            epoch are kept, which never saw the patients that decided when to stop, at half the time.
        batch_size: Samples a step; where survival is among the tasks, a step sees all samples, and is an epoch.
        micro_batch_size: Samples encoded with gradients at once; bounds the memory, and changes nothing else. Below the
            samples of a step, each sample is encoded twice a step.
        genes_per_step: Random genes that a step sees, the same for all of its samples; null: all genes. A frozen
            encoder always sees all, and so does one that cannot read subsets (MOJO); the same holds for `inner_genes`.
        learning_rate: Of the adapter and the pooling.
        head_learning_rate: Of the heads.
        weight_decay: Decoupled, of adapter and heads.
        clip_norm: Largest gradient norm of a step.
        modality_dropout: For models of several omics: probability, in each step, that a sample that has several is fed
            once more with one of them as `<mask>`. The copies add their task loss, by their share of the samples.
        consistency_weight: Weight of the term that brings the pooled embeddings of a sample and its copy together;
            needs `modality_dropout`.
        consistency_temperature: Divides the cosines of that term.
    """

    adapter: AdapterConfig = AdapterConfig()
    pooling: FinetunePooling | Literal["auto"] = "auto"
    layer: int | None = Field(default=None, ge=1)
    head_hidden: tuple[int, ...] = ()
    head_dropout: float = Field(default=0.1, ge=0, lt=1)
    head_layer_norm: bool = False
    head_kernel: int = Field(default=0, ge=0)
    max_epochs: int = Field(default=30, ge=0)
    patience: int = Field(default=5, ge=1)
    inner_fraction: float = Field(default=0.2, gt=0, le=0.5)
    inner_genes: int | None = Field(default=None, ge=1)
    refit: bool = True
    batch_size: int = Field(default=64, ge=1)
    micro_batch_size: int = Field(default=32, ge=1)
    genes_per_step: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    head_learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    modality_dropout: float = Field(default=0.0, ge=0, le=1)
    consistency_weight: float = Field(default=0.0, ge=0)
    consistency_temperature: float = Field(default=0.1, gt=0)

    @model_validator(mode="after")
    def _copies_are_made(self) -> Self:
        if self.consistency_weight > 0 and self.modality_dropout == 0:
            raise ValueError("consistency_weight needs copies with an omic left out: set modality_dropout above 0")
        return self

    @model_validator(mode="after")
    def _head_fits(self) -> Self:
        if self.head_kernel and self.head_hidden:
            raise ValueError("head_kernel stands in place of hidden layers: set head_hidden to [], or head_kernel to 0")
        if self.head_kernel and self.modality_dropout:
            raise ValueError("head_kernel does not start from copies without an omic: set modality_dropout to 0")
        if self.pooling == "values" and self.adapter.kind != "none":
            raise ValueError(
                f"pooling: values reads nothing that adapter {self.adapter.kind} could train: set adapter to none"
            )
        return self


class TaskConfig(FrozenConfig):
    """Settings of every task; a preset, or a YAML file of your own that names the tasks that it sets.

    Attributes:
        cancer_type: Of a classifier.
        survival: Of a survival model.
        joint: Of both on one encoder.
    """

    cancer_type: FinetuneConfig = FinetuneConfig()
    survival: FinetuneConfig = FinetuneConfig()
    joint: FinetuneConfig = FinetuneConfig()

    def of_tasks(self, tasks: Sequence[str]) -> FinetuneConfig:
        """Settings of one task, or of several together."""
        if len(tasks) > 1:
            return self.joint
        return self.survival if tasks[0] == keys.SURVIVAL else self.cancer_type


@dataclass(frozen=True)
class FinetuneData:
    """Samples of one fine-tuning run.

    Attributes:
        token_ids: Shape (samples, columns), uint8: the genes that the network reads, omic after omic. Not modified.
        targets: The tasks.
        start: Pooled embeddings by the encoder as it was pretrained, all genes, shape (rows, E), for the rows that will
            be used (see `DroppableTokens`: samples, then samples without an omic); they stand in for an encoder that is
            not trained.
        n_omics: Omics among the columns.
    """

    token_ids: NDArray[np.uint8]
    targets: Sequence[Target]
    start: Tensor
    n_omics: int = 1


@dataclass(frozen=True)
class Curve:
    """How a search for the number of epochs went.

    Attributes:
        losses: Inner validation loss before the first epoch and after each, nats; lower is better.
        train_losses: Mean loss of each epoch's steps.
        seconds: Wall-clock time of each epoch, with its judgement.
    """

    losses: tuple[float, ...]
    train_losses: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()

    @property
    def best_epoch(self) -> int:
        """Epochs after which the loss was lowest; 0: fine-tuning did not help."""
        return int(np.argmin(self.losses))


class Finetuner:
    """Trains one network.

    Args:
        network: Modified.
        data: All samples.
        config: Settings.
        seed: Decides order and gene subsets.
        device: Where the network is put.
    """

    def __init__(
        self, network: FinetunedNetwork, data: FinetuneData, config: FinetuneConfig, seed: int, device: torch.device
    ) -> None:
        self.network = network.to(device)
        if config.modality_dropout > 0 and data.n_omics == 1:
            raise ConfigError(
                "modality_dropout is for models that read several omics, and this one reads a single one: set it (and "
                "consistency_weight) to 0"
            )
        self._tokens = DroppableTokens(data.token_ids, data.n_omics)
        self._targets = data.targets
        self._start = data.start.to(device)
        self._is_frozen = not network.encoder_parameters()
        self._config = config
        self._seed = seed
        self._device = device
        self._optimizer = self._build_optimizer()

    def standardise(self, rows: NDArray[np.int64]) -> Tensor:
        """Set the network's standardisation from these rows' start embeddings, which are returned standardised."""
        start = self._start[torch.from_numpy(rows).to(self._device)]
        self.network.set_standardisation(start)
        return self.network.standardised(start)

    def outputs(self, rows: NDArray[np.int64], without: int | None = None) -> dict[str, Tensor]:
        """Each task's output with all genes, without gradients, shape (rows, O) each.

        Args:
            rows: Samples.
            without: Number of an omic that is fed as `<mask>`; None: all omics as they are.
        """
        numbers = torch.from_numpy(rows)
        return self._outputs(numbers if without is None else self._tokens.without(numbers, without), None)

    def search(self, fit: NDArray[np.int64], inner: NDArray[np.int64]) -> Curve:
        """Train on `fit` until the loss on `inner` no longer falls; the weights of the best epoch are put back."""
        losses = [self._inner_loss(inner)]
        train_losses: list[float] = []
        seconds: list[float] = []
        best = self._copy_of_trained()
        for epoch in progress(range(self._config.max_epochs), what="search, at most", unit="epoch"):
            started = time.monotonic()
            train_losses.append(self._epoch(fit, epoch))
            losses.append(self._inner_loss(inner))
            seconds.append(time.monotonic() - started)
            logger.debug("epoch %d: loss %.4f, inner loss %.4f", epoch + 1, train_losses[-1], losses[-1])
            best_epoch = int(np.argmin(losses))
            if best_epoch == len(losses) - 1:
                best = self._copy_of_trained()
            elif len(losses) - 1 - best_epoch >= self._config.patience:
                break
        self.network.load_state_dict(best, strict=False)
        return Curve(tuple(losses), tuple(train_losses), tuple(seconds))

    def fit(self, rows: NDArray[np.int64], n_epochs: int) -> None:
        """Train on `rows` for a number of epochs."""
        for epoch in progress(range(n_epochs), what="fit", unit="epoch"):
            self._epoch(rows, epoch)

    def _inner_loss(self, rows: NDArray[np.int64]) -> float:
        """Sum of the tasks' losses on rows; with `modality_dropout` also without each omic, weighted as in training."""
        numbers = torch.from_numpy(rows)
        genes = self._draw_genes(self._config.inner_genes, seeded_generator(self._seed, "validation_genes"))
        loss = self._loss_without_gradients(numbers, numbers, genes)
        if self._config.modality_dropout > 0:
            several = numbers[torch.from_numpy(self._tokens.has_omic[rows].sum(axis=1) > 1)]
            share = self._config.modality_dropout * len(several) / len(rows) / self._tokens.n_omics
            for omic in range(self._tokens.n_omics if len(several) else 0):
                copies = self._tokens.without(several, omic)
                loss += share * self._loss_without_gradients(copies, several, genes)
        return loss

    def _loss_without_gradients(self, numbers: Tensor, samples: Tensor, genes: Tensor | None) -> float:
        outputs = self._outputs(numbers, genes)
        return sum(float(target.loss(outputs[target.name], samples)) for target in self._targets)

    def _outputs(self, numbers: Tensor, genes: Tensor | None) -> dict[str, Tensor]:
        self.network.eval()
        n_genes = self._tokens.n_columns if genes is None else len(genes)
        pooled = encode_all(lambda part: self._encode(part, genes), numbers, _rows_at_once(n_genes), self._device)
        with torch.no_grad():
            return self.network.outputs(pooled)

    def _copy_of_trained(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.network.own_tensors().items()}

    def _epoch(self, rows: NDArray[np.int64], epoch: int) -> float:
        order = rows[seeded_generator(self._seed, "order", epoch).permutation(len(rows))]
        whole = any(target.needs_all_rows for target in self._targets)
        size = len(rows) if whole else min(self._config.batch_size, len(rows))
        n_steps = math.ceil(len(order) / size)
        losses = [
            self._step(torch.from_numpy(order[number * size : (number + 1) * size]), epoch, number)
            for number in range(n_steps)
        ]
        return sum(losses) / n_steps

    def _step(self, rows: Tensor, epoch: int, number: int) -> float:
        self.network.train()
        self.network.encoder.eval()  # its output must be the same in both passes of a whole batch
        genes = self._draw_genes(self._config.genes_per_step, seeded_generator(self._seed, "genes", epoch, number))
        copies = torch.from_numpy(
            self._tokens.draw(
                rows.numpy(), self._config.modality_dropout, seeded_generator(self._seed, "dropped_omic", epoch, number)
            )
        )
        self._optimizer.zero_grad(set_to_none=True)
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(int(seeded_generator(self._seed, "dropout", epoch, number).integers(2**62)))
            loss = float(
                backward_whole_batch(
                    lambda part: self._encode(part, genes),
                    lambda pooled: self._whole_loss(pooled, rows, copies),
                    torch.cat([rows, copies]),
                    self._config.micro_batch_size,
                    self.network.encoder_parameters(),
                    self._device,
                )
            )
        if not math.isfinite(loss):
            raise TrainingError(
                f"the fine-tuning loss is {loss} in epoch {epoch + 1}: lower learning_rate in the task configuration"
            )
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._config.clip_norm)
        self._optimizer.step()
        return loss

    def _whole_loss(self, pooled: Tensor, rows: Tensor, copies: Tensor) -> Tensor:
        """Loss of a step: of the samples and, by their share, of their copies without an omic; and what ties both."""
        whole, dropped = pooled[: len(rows)], pooled[len(rows) :]
        loss = self._task_loss(whole, rows)
        if not len(copies):
            return loss
        samples = copies % len(self._tokens)
        loss = loss + len(copies) / len(rows) * self._task_loss(dropped, samples)
        if self._config.consistency_weight > 0:
            by_sample = rows.argsort()
            own = by_sample[torch.searchsorted(rows[by_sample], samples)].to(whole.device)
            both = self.network.standardised(whole[own]), self.network.standardised(dropped)
            tie = consistency_loss(*both, self._config.consistency_temperature)
            loss = loss + self._config.consistency_weight * tie.double().cpu()
        return loss

    def _task_loss(self, pooled: Tensor, rows: Tensor) -> Tensor:
        outputs = self.network.outputs(pooled)
        losses = [target.loss(outputs[target.name], rows) for target in self._targets]
        return torch.stack([loss.double().cpu() for loss in losses]).sum()

    def _encode(self, rows: Tensor, genes: Tensor | None) -> Tensor:
        if self._is_frozen:
            return self._start[rows.to(self._device)]
        pooled = _pool(self.network, self._tokens.take(rows), genes, self._device)
        n_constant = self.network.n_constant
        if genes is None or not n_constant:
            return pooled
        # Scores of a subset are a noisy guess at those of all genes, which are known and do not change.
        return torch.cat([pooled[:, :-n_constant], self._start[rows.to(self._device), -n_constant:]], dim=1)

    def _draw_genes(self, wanted: int | None, generator: np.random.Generator) -> Tensor | None:
        n_genes = self._tokens.n_columns
        if wanted is None or wanted >= n_genes or not self.network.encoder.reads_subsets:
            return None
        return torch.from_numpy(np.sort(generator.choice(n_genes, size=wanted, replace=False, shuffle=False)))

    def _build_optimizer(self) -> torch.optim.AdamW:
        groups = [
            {"params": self.network.encoder_parameters(), "lr": self._config.learning_rate},
            {"params": list(self.network.heads.parameters()), "lr": self._config.head_learning_rate},
        ]
        groups = [group for group in groups if group["params"]]
        return torch.optim.AdamW(groups, weight_decay=self._config.weight_decay)


def pooled_embeddings(network: FinetunedNetwork, token_ids: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Pooled embeddings of samples with all genes that the network reads, without gradients, shape (samples, E)."""
    network.to(device).eval()
    tokens = torch.from_numpy(np.ascontiguousarray(token_ids))
    rows = torch.arange(len(tokens))
    size = _rows_at_once(tokens.shape[1])
    return encode_all(lambda part: _pool(network, tokens[part], None, device), rows, size, device)


def _rows_at_once(n_genes: int) -> int:
    return max(1, TOKENS_WITHOUT_GRADIENT // n_genes)


def _pool(network: FinetunedNetwork, tokens: Tensor, genes: Tensor | None, device: torch.device) -> Tensor:
    on_gpu = device.type == "cuda"
    if genes is not None:
        tokens, genes = tokens[:, genes], genes.to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=on_gpu):
        return network.pooled(tokens.to(device), genes)
