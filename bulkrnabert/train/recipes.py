"""What differs between the models when they are pretrained, behind one interface, and where each model's is found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from bulkrnabert import keys
from bulkrnabert.data.tokens import Tokens
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.models.encoder import Encoder, EncoderConfig
from bulkrnabert.models.registry import build_model
from bulkrnabert.train.batches import Batch, Parts, ValidationBatch
from bulkrnabert.train.config import TrainConfig
from bulkrnabert.train.losses import Objective, Prediction
from bulkrnabert.train.mixture import SampleOrder


@dataclass(frozen=True)
class RunData:
    """What a run learns from, with its settings.

    Attributes:
        tokens: The tokens folder; only rows of `parts` are read.
        parts: Rows to train and to validate on.
        order: Which row stands at each place of the run.
        train: Settings, of the recipe's own class.
        seed: Seed of everything that is drawn.
    """

    tokens: Tokens
    parts: Parts
    order: SampleOrder
    train: TrainConfig
    seed: int


@dataclass(frozen=True)
class Validation:
    """How well a model does on the patients set aside.

    Attributes:
        loss: Lower is better; it decides which state is the best.
        measures: What else the model is judged by, by record key; None where not estimable.
        n_samples: Samples it was measured on.
    """

    loss: float
    measures: Mapping[str, float | None]
    n_samples: int

    def record(self) -> dict[str, Any]:
        """All of it under the keys of `records.jsonl`."""
        return {"loss": self.loss, **self.measures, "n_samples": self.n_samples}


@dataclass(frozen=True)
class CardText:
    """The lines of the model card in which models differ.

    Attributes:
        title: What the model is and how it was trained.
        unit: Unit of the values before binning.
        model: Sizes; follows the number of parameters.
        training: What a step sees; follows the number of steps.
        metrics: Rows of the table of metrics, as (metric, value).
    """

    title: str
    unit: str
    model: str
    training: str
    metrics: list[tuple[str, str]]


class Recipe(ABC):
    """How one kind of model is pretrained: everything that loop and engines do not know.

    All draws come from `masking.seeded_generator` by step and place, so that batches do not depend on processes,
    accumulation or restarts.

    Attributes:
        name: Name in `models.registry`, and `brb.model` of the tokens folder.
        train_config: Class of the training settings.
        model: Sizes of the model.
        data: What the run learns from.
    """

    name: ClassVar[str]
    train_config: ClassVar[type[TrainConfig]] = TrainConfig

    def __init__(self, model: EncoderConfig, data: RunData) -> None:
        self.model = model
        self.data = data

    @classmethod
    @abstractmethod
    def configure(cls, path: Path, tokens: Tokens, train: TrainConfig) -> EncoderConfig:
        """The model's sizes from a YAML file, with the genes of the tokens folder.

        Raises:
            ConfigError: the file is wrong, or does not fit the tokens or the settings.
            DataError: a token of the training part cannot be learnt from.
        """

    def build(self) -> Encoder:
        """The network with random weights, drawn from the run's seed."""
        return build_model(self.name, self.model, torch.Generator().manual_seed(self.data.seed))

    def start_from_data(self, network: Encoder) -> None:  # noqa: B027 - most models have nothing to do here
        """Put what the training samples give, without any training, into a new network."""

    @abstractmethod
    def objective(self, network: Encoder, use_bf16: bool) -> Objective:
        """The network with its loss; its `forward` takes the tensors of a batch in the order of the batch's fields."""

    @abstractmethod
    def n_tokens_at(self, step: int) -> int:
        """Tokens of a sample that a step (from 0) puts through the model."""

    @abstractmethod
    def flops_at(self, step: int) -> int:
        """Floating-point operations of one sample in a step, forward and backward (twice the forward), an estimate."""

    @abstractmethod
    def micro_batch(self, step: int, start: int, size: int) -> Batch:
        """Samples `start` to `start + size` of the global batch of a step (from 0)."""

    @abstractmethod
    def validation_batches(self, rank: int, world_size: int) -> Iterator[ValidationBatch]:
        """This process's share of the validation part, the same at every call; equally many on all, not none."""

    @abstractmethod
    def step_measures(self, sums: Mapping[str, float]) -> dict[str, float | None]:
        """Measures of a step beside the loss, by record key.

        Args:
            sums: `Prediction.sums`, added up over micro-batches and processes.
        """

    @abstractmethod
    def validation_sums(self, batch: Batch, prediction: Prediction) -> dict[str, float]:
        """What one validation batch adds to the sums of the validation; the same keys for every batch."""

    @abstractmethod
    def validation(self, sums: Mapping[str, float]) -> Validation:
        """The validation from its sums over all batches and processes."""

    @abstractmethod
    def card(self, validation: Validation) -> CardText:
        """The model's own lines of the model card."""


def _bulkrnabert() -> type[Recipe]:
    from bulkrnabert.train.recipes_bulkrnabert import BulkRNABertRecipe

    return BulkRNABertRecipe


def _mojo() -> type[Recipe]:
    from bulkrnabert.train.recipes_mojo import MojoRecipe

    return MojoRecipe


def _gexbert() -> type[Recipe]:
    from bulkrnabert.train.recipes_gexbert import GexBERTRecipe

    return GexBERTRecipe


_RECIPES: dict[str, Callable[[], type[Recipe]]] = {
    keys.BULKRNABERT: _bulkrnabert,
    keys.MOJO: _mojo,
    keys.GEXBERT: _gexbert,
}


def recipe_class(model: str) -> type[Recipe]:
    """The recipe of a kind of model; imported at the first call, so that the others cost nothing.

    Raises:
        ConfigError: no recipe for this model.
    """
    if model not in _RECIPES:
        raise ConfigError(
            f"the tokens were made for a model {model!r} that cannot be pretrained: choose one of "
            f"{', '.join(_RECIPES)} with `bulkrnabert tokenize --model`"
        )
    return _RECIPES[model]()


def check_token_ids(tokens: Tokens, n_bins: int) -> None:
    """Check that every token of the training part is a bin or missing.

    Raises:
        DataError: one is not (names the first sample and gene).
    """
    is_wrong = (tokens.token_ids >= n_bins) & (tokens.token_ids != keys.MASK_ID) & tokens.is_training[:, None]
    if is_wrong.any():
        row, column = np.argwhere(is_wrong)[0]
        raise DataError(
            f"{int(is_wrong.sum())} tokens of the training part are neither one of {n_bins} bins nor {keys.MASK_ID} "
            f"(missing): the first is {tokens.token_ids[row, column]} at sample "
            f"{tokens.samples[keys.SAMPLE_ID].iloc[row]}, gene {tokens.gene_ids[column % len(tokens.gene_ids)]}; "
            "tokenize with a tokenizer that clips at the top bin"
        )
