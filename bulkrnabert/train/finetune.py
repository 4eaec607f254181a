"""Fine-tuning of an encoder with heads: whole-batch gradients, early stopping inside the training part."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from bulkrnabert.config import FrozenConfig
from bulkrnabert.data.masking import seeded_generator
from bulkrnabert.errors import TrainingError
from bulkrnabert.logs import shows_progress
from bulkrnabert.models.adapters import AdapterConfig
from bulkrnabert.models.finetuned import FinetunedNetwork
from bulkrnabert.train.targets import Target
from bulkrnabert.train.whole_batch import backward_whole_batch, encode_all

logger = logging.getLogger(__name__)


class FinetuneConfig(FrozenConfig):
    """Settings of fine-tuning; the presets in `conf/task` are its YAML form. The paper states none of the rates.

    Attributes:
        adapter: What of the encoder is trained.
        pooling: Over genes; `auto`: `marker` where the encoder keeps bin statistics, else `mean`.
        layer: Layer whose output is pooled, from 1; null: the last.
        head_hidden: Widths of the heads' hidden layers; empty: linear heads that start as the fitted probe.
        head_dropout: After each hidden layer.
        max_epochs: Passes over the training part, at most.
        patience: Epochs without a better inner validation loss after which the search for the best epoch ends.
        inner_fraction: Share of the training patients that decide when to stop.
        batch_size: Samples a step; a survival task sees all samples in every step.
        micro_batch_size: Samples encoded at once; bounds the memory, and changes nothing else.
        genes_per_step: Random genes that a step sees, the same for all of its samples; null: all genes.
        learning_rate: Of the adapter and the pooling.
        head_learning_rate: Of the heads.
        weight_decay: Decoupled, of adapter and heads.
        clip_norm: Largest gradient norm of a step.
    """

    adapter: AdapterConfig = AdapterConfig()
    pooling: str = Field(default="auto", pattern="^(auto|mean|max|marker|attention)$")
    layer: int | None = Field(default=None, ge=1)
    head_hidden: tuple[int, ...] = ()
    head_dropout: float = Field(default=0.1, ge=0, lt=1)
    max_epochs: int = Field(default=30, ge=1)
    patience: int = Field(default=5, ge=1)
    inner_fraction: float = Field(default=0.2, gt=0, le=0.5)
    batch_size: int = Field(default=64, ge=1)
    micro_batch_size: int = Field(default=32, ge=1)
    genes_per_step: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    head_learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)


@dataclass(frozen=True)
class FinetuneData:
    """Samples of one fine-tuning run.

    Attributes:
        token_ids: Shape (samples, genes), uint8, in the encoder's gene order. Not modified.
        targets: The tasks.
    """

    token_ids: NDArray[np.uint8]
    targets: Sequence[Target]


@dataclass(frozen=True)
class Curve:
    """Inner validation loss before the first epoch and after each, nats; lower is better."""

    losses: tuple[float, ...]

    @property
    def best_epoch(self) -> int:
        """Epochs after which the loss was lowest; 0: fine-tuning did not help."""
        return int(np.argmin(self.losses))


class Finetuner:
    """Trains one network.

    Args:
        network: With its heads started. Modified.
        data: All samples.
        config: Settings.
        seed: Decides order and gene subsets.
        device: Where the network is.
    """

    def __init__(
        self, network: FinetunedNetwork, data: FinetuneData, config: FinetuneConfig, seed: int, device: torch.device
    ) -> None:
        self.network = network.to(device)
        self._tokens = torch.from_numpy(np.ascontiguousarray(data.token_ids))
        self._targets = data.targets
        self._config = config
        self._seed = seed
        self._device = device
        self._optimizer = self._build_optimizer()

    def standardise(self, rows: NDArray[np.int64]) -> Tensor:
        """Pooled embeddings of the training rows with all genes; the network's standardisation is set from them."""
        pooled = self.pooled(rows)
        self.network.set_standardisation(pooled)
        return pooled

    def pooled(self, rows: NDArray[np.int64]) -> Tensor:
        """Pooled embeddings with all genes, without gradients, shape (rows, E)."""
        self.network.eval()
        return encode_all(lambda part: self._encode(part, None), torch.from_numpy(rows), self._config.micro_batch_size)

    def outputs(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """Each task's output with all genes, without gradients, shape (rows, O) each."""
        pooled = self.pooled(rows)
        with torch.no_grad():
            return self.network.outputs(pooled)

    def search(self, fit: NDArray[np.int64], inner: NDArray[np.int64]) -> Curve:
        """Train on `fit` until the loss on `inner` no longer falls."""
        losses = [self.loss(inner)]
        for epoch in tqdm(range(self._config.max_epochs), desc="search", disable=not shows_progress()):
            self._epoch(fit, epoch)
            losses.append(self.loss(inner))
            if len(losses) - 1 - int(np.argmin(losses)) >= self._config.patience:
                break
        return Curve(tuple(losses))

    def fit(self, rows: NDArray[np.int64], n_epochs: int) -> None:
        """Train on `rows` for a number of epochs."""
        for epoch in tqdm(range(n_epochs), desc="fit", disable=not shows_progress()):
            self._epoch(rows, epoch)

    def loss(self, rows: NDArray[np.int64]) -> float:
        """Sum of the tasks' losses on rows, with all genes."""
        outputs = self.outputs(rows)
        numbers = torch.from_numpy(rows)
        return sum(float(target.loss(outputs[target.name], numbers)) for target in self._targets)

    def _epoch(self, rows: NDArray[np.int64], epoch: int) -> None:
        order = rows[seeded_generator(self._seed, "order", epoch).permutation(len(rows))]
        whole = any(target.needs_all_rows for target in self._targets)
        size = len(rows) if whole else min(self._config.batch_size, len(rows))
        for number in range(math.ceil(len(order) / size)):
            self._step(torch.from_numpy(order[number * size : (number + 1) * size]), epoch, number)

    def _step(self, rows: Tensor, epoch: int, number: int) -> None:
        self.network.train()
        self.network.encoder.eval()  # its output must be the same in both passes of a whole batch
        genes = self._genes(epoch, number)
        self._optimizer.zero_grad(set_to_none=True)
        parameters = self.network.encoder_parameters()
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(int(seeded_generator(self._seed, "dropout", epoch, number).integers(2**62)))
            loss = backward_whole_batch(
                lambda part: self._encode(part, genes),
                lambda pooled: self._whole_loss(pooled, rows),
                rows,
                self._config.micro_batch_size,
                parameters,
            )
        if not math.isfinite(float(loss)):
            raise TrainingError(
                f"the fine-tuning loss is {float(loss)} in epoch {epoch + 1}: lower learning_rate in the task "
                "configuration"
            )
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._config.clip_norm)
        self._optimizer.step()

    def _whole_loss(self, pooled: Tensor, rows: Tensor) -> Tensor:
        outputs = self.network.outputs(pooled)
        losses = [target.loss(outputs[target.name], rows) for target in self._targets]
        return torch.stack([loss.double() for loss in losses]).sum()

    def _encode(self, rows: Tensor, genes: Tensor | None) -> Tensor:
        tokens = self._tokens[rows] if genes is None else self._tokens[rows][:, genes]
        on_gpu = self._device.type == "cuda"
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=on_gpu):
            return self.network.pooled(tokens.to(self._device), None if genes is None else genes.to(self._device))

    def _genes(self, epoch: int, number: int) -> Tensor | None:
        n_genes, wanted = self._tokens.shape[1], self._config.genes_per_step
        if wanted is None or wanted >= n_genes:
            return None
        generator = seeded_generator(self._seed, "genes", epoch, number)
        return torch.from_numpy(np.sort(generator.choice(n_genes, size=wanted, replace=False, shuffle=False)))

    def _build_optimizer(self) -> torch.optim.AdamW:
        groups = [
            {"params": self.network.encoder_parameters(), "lr": self._config.learning_rate},
            {"params": list(self.network.heads.parameters()), "lr": self._config.head_learning_rate},
        ]
        groups = [group for group in groups if group["params"]]
        return torch.optim.AdamW(groups, weight_decay=self._config.weight_decay)
