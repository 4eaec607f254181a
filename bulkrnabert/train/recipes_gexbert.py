"""How a GexBERT is pretrained: some genes of a sample are read, others restored.

Letters: B samples, K input genes, T target genes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from bulkrnabert import keys
from bulkrnabert.data.binning import Z_LIMIT
from bulkrnabert.data.coexpression import coexpression_table
from bulkrnabert.data.factors import fit_factors, fit_prototypes
from bulkrnabert.data.masking import seeded_generator
from bulkrnabert.data.tokens import Tokens
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.models.encoder import Encoder
from bulkrnabert.models.gexbert import GexBERT, GexBERTConfig
from bulkrnabert.train.batches import Batch, ValidationBatch, validation_shares
from bulkrnabert.train.config import TrainConfig
from bulkrnabert.train.data_statistics import start_statistics, with_statistics
from bulkrnabert.train.losses import Prediction
from bulkrnabert.train.losses_gexbert import Restoration, RestoredPrediction
from bulkrnabert.train.recipes import CardText, Recipe, RunData, Validation, check_token_ids

SAMPLES_PER_PROTOTYPE = 10
VALIDATION_KNOWN_SHARES = (0.1, 0.5, 0.9)


class RestorationConfig(TrainConfig):
    """Settings of restoring genes.

    Attributes:
        min_known: Fewest input genes of a step.
        max_known: Most input genes of a step; each step draws one number for all of its samples. The cost of a step is
            bounded by it, whatever the length of the gene list.
        targets_per_step: Genes of a sample that are restored in a step, none of them among the input.
        hidden_fraction: Share of the input genes whose value is hidden, so that the embedding of a missing value is
            learned where the data lack nothing.
        deviation_weight: Weight of the stated deviation in the loss, beside half the squared error (head `gaussian`).
        tables_start: How each gene's direction (of its value) and readout start: `random`, or `coexpression`, main
            directions of co-expression in the training samples (docs/decisions/0022-gexbert-training.md). Gene
            embeddings start at random, as published.
    """

    min_known: int = Field(ge=1)
    max_known: int = Field(ge=1)
    targets_per_step: int = Field(ge=1)
    hidden_fraction: float = Field(default=0.1, ge=0, lt=1)
    deviation_weight: float = Field(default=0.1, gt=0)
    tables_start: Literal["random", "coexpression"] = "coexpression"

    @model_validator(mode="after")
    def _check_known(self) -> Self:
        if self.min_known > self.max_known:
            raise ValueError(f"min_known {self.min_known} is more than max_known {self.max_known}")
        return self


@dataclass(frozen=True)
class RestorationBatch(Batch):
    """Samples with some genes known and some to restore.

    Attributes:
        known_ids: Token ids of the input genes, shape (B, K), int64; `<mask>` where hidden, `<pad>` beyond the genes
            that a sample has.
        known_idx: Which genes they are, shape (B, K), int64.
        target_idx: Genes to restore, shape (B, T), int64.
        targets: Their standardised values, shape (B, T), float32; NaN where there is none.
    """

    known_ids: Tensor
    known_idx: Tensor
    target_idx: Tensor
    targets: Tensor


class GexBERTRecipe(Recipe):
    """Restoration of random genes from random others.

    Measures: `rmse` and `pearson` of restored values of the validation patients, in standardised units, over inputs of
    10, 50 and 90 % of the most genes that a step reads; `baseline_rmse`, the same for the gene's mean. Values beyond
    the outer bins count as at their edges, in training and here.
    """

    name = keys.GEXBERT
    train_config = RestorationConfig
    model: GexBERTConfig

    def __init__(self, model: GexBERTConfig, data: RunData) -> None:
        super().__init__(model, data)
        assert isinstance(data.train, RestorationConfig)
        assert data.tokens.values is not None and model.max_known is not None
        self.train = data.train
        self._values = data.tokens.values
        self._token_ids = data.tokens.token_ids
        self._n_genes = len(data.tokens.gene_ids)
        self._max_known = model.max_known

    @classmethod
    def configure(cls, path: Path, tokens: Tokens, train: TrainConfig) -> GexBERTConfig:
        """As `Recipe.configure`."""
        assert isinstance(train, RestorationConfig)
        n_genes = len(tokens.gene_ids)
        model = GexBERTConfig.from_yaml(path).with_genes(n_genes)
        if tokens.values is None:
            raise DataError(
                f"the tokens have no column `{keys.VALUES}` of standardised values: run "
                "`bulkrnabert tokenize --model gexbert`"
            )
        if model.n_bins != tokens.tokenizer.n_bins or model.value_limit != Z_LIMIT:
            raise ConfigError(
                f"{path}: {model.n_bins} bins up to {model.value_limit:g}, the tokenizer has "
                f"{tokens.tokenizer.n_bins} up to {Z_LIMIT:g}: make them equal"
            )
        if n_genes < 2 or train.min_known > n_genes - 1:
            raise ConfigError(
                f"min_known {train.min_known}, but there are {n_genes} genes: a step needs that many to read and one "
                "to restore; lower min_known, or tokenize more genes"
            )
        check_token_ids(tokens, model.n_bins)
        n_training = int(tokens.is_training.sum())
        fitting = {
            "max_known": min(train.max_known, n_genes - 1),
            "n_factors": min(model.n_factors, n_genes - 1),
            "n_prototypes": min(model.n_prototypes, n_training // SAMPLES_PER_PROTOTYPE),
        }
        return with_statistics(model.model_copy(update=fitting), tokens)

    def start_from_data(self, network: Encoder) -> None:
        """Each gene's usual bin, co-expression for each gene's direction and readout, and the linear factors."""
        assert isinstance(network, GexBERT)
        token_ids = self._token_ids[self.data.parts.fit_idx]
        statistics = start_statistics(network, token_ids, self.data.seed)
        if self.train.tables_start == "coexpression":
            rng = np.random.default_rng(self.data.seed)
            table = coexpression_table(token_ids, statistics, self.model.n_bins, self.model.embed_dim, rng)
            network.start_tables(torch.from_numpy(table))
        if network.factors is not None:
            limit = self.model.value_limit
            values = np.clip(self._values[self.data.parts.fit_idx], -limit, limit)
            model = fit_factors(values, self.model.n_factors, self.data.seed)
            n_prototypes, prototypes = self.model.n_prototypes, np.zeros((self._n_genes, 0), np.float32)
            if n_prototypes:
                prototypes = fit_prototypes(values, n_prototypes, self.data.seed)
            network.factors.set(*map(torch.from_numpy, (model.loading, model.noise, prototypes)))

    def objective(self, network: Encoder, use_bf16: bool) -> Restoration:
        """As `Recipe.objective`."""
        assert isinstance(network, GexBERT)
        return Restoration(network, self.train.deviation_weight, use_bf16)

    def n_known_at(self, step: int) -> int:
        """Input genes of a step."""
        generator = seeded_generator(self.data.seed, "genes", step)
        return int(generator.integers(min(self.train.min_known, self._max_known), self._max_known + 1))

    def n_tokens_at(self, step: int) -> int:
        """As `Recipe.n_tokens_at`."""
        n_known = self.n_known_at(step)
        return n_known + self._n_targets(n_known)

    def flops_at(self, step: int) -> int:
        """As `Recipe.flops_at`."""
        n_known = self.n_known_at(step)
        return flops_per_sample(self.model, n_known, self._n_targets(n_known))

    def micro_batch(self, step: int, start: int, size: int) -> RestorationBatch:
        """As `Recipe.micro_batch`."""
        n_global = self.train.global_batch_size
        rows = self.data.order.rows(step * n_global + np.arange(start, start + size))
        generators = [seeded_generator(self.data.seed, "mask", step, place) for place in range(start, start + size)]
        return self._draw(rows, self.n_known_at(step), self.train.hidden_fraction, generators)

    def validation_batches(self, rank: int, world_size: int) -> Iterator[ValidationBatch]:
        """As `Recipe.validation_batches`."""
        for share in validation_shares(self.data.parts.validation_idx, rank, world_size):
            for number, known_share in enumerate(VALIDATION_KNOWN_SHARES):
                n_known = max(1, round(known_share * self._max_known))
                generators = [
                    seeded_generator(self.data.seed, "validation_mask", int(row), number) for row in share.rows
                ]
                yield ValidationBatch(self._draw(share.rows, n_known, 0.0, generators), share.counts)

    def step_measures(self, sums: Mapping[str, float]) -> dict[str, float | None]:
        """As `Recipe.step_measures`."""
        return {"rmse": _root_mean(sums["squared_error"], sums["n_targets"])}

    def validation_sums(self, batch: Batch, prediction: Prediction) -> dict[str, float]:
        """As `Recipe.validation_sums`."""
        assert isinstance(batch, RestorationBatch) and isinstance(prediction, RestoredPrediction)
        is_target = ~batch.targets.isnan().numpy()
        true = batch.targets.numpy()[is_target].astype(np.float64)
        restored = prediction.mean.cpu().numpy()[is_target].astype(np.float64)
        return {
            "loss": float(prediction.loss) * is_target.size,
            "n_targets": float(is_target.sum()),
            "squared_error": float(((true - restored) ** 2).sum()),
            "true": float(true.sum()),
            "restored": float(restored.sum()),
            "true_true": float((true**2).sum()),
            "restored_restored": float((restored**2).sum()),
            "true_restored": float((true * restored).sum()),
            "n_samples": len(is_target) / len(VALIDATION_KNOWN_SHARES),
        }

    def validation(self, sums: Mapping[str, float]) -> Validation:
        """As `Recipe.validation`."""
        n = max(1.0, sums["n_targets"])
        covariance = sums["true_restored"] / n - sums["true"] / n * sums["restored"] / n
        variances = [sums[f"{name}_{name}"] / n - (sums[name] / n) ** 2 for name in ("true", "restored")]
        is_varied = min(variances) > 0
        return Validation(
            loss=sums["loss"] / n,
            measures={
                "rmse": _root_mean(sums["squared_error"], sums["n_targets"]),
                "pearson": covariance / math.sqrt(variances[0] * variances[1]) if is_varied else None,
                "baseline_rmse": _root_mean(sums["true_true"], sums["n_targets"]),
            },
            n_samples=round(sums["n_samples"]),
        )

    def card(self, validation: Validation) -> CardText:
        """As `Recipe.card`."""
        model, train, measures = self.model, self.train, validation.measures
        summary = f"a summary of {model.summary_layers} layers" if model.summary_layers else "no summary"
        if model.n_factors:
            summary += f",\n{model.n_factors} linear factors, {model.n_prototypes} prototypes"
        shown = {name: "not estimable" if value is None else f"{value:.4f}" for name, value in measures.items()}
        return CardText(
            title="GexBERT, pretrained by restoring random genes from random others",
            unit=self.data.tokens.tokenizer.unit,
            model=f"{model.n_genes:,} genes, {model.n_layers} encoder and {model.decoder_layers} decoder layers of "
            f"width {model.embed_dim},\n{model.n_heads} heads, feed-forward {model.ffn_embed_dim}, {summary}; values "
            f"as `{model.value_embedding}`, head `{model.head}`.",
            training=f"{train.global_batch_size} samples, {train.min_known} to {self._max_known} genes read and up to "
            f"{train.targets_per_step} restored",
            metrics=[
                ("loss", f"{validation.loss:.4f}"),
                ("RMSE of restored values (standardised)", shown["rmse"]),
                ("RMSE of each gene's mean", shown["baseline_rmse"]),
                ("Pearson correlation", shown["pearson"]),
            ],
        )

    def _n_targets(self, n_known: int) -> int:
        return min(self.train.targets_per_step, self._n_genes - n_known)

    def _draw(
        self,
        rows: NDArray[np.int64],
        n_known: int,
        hidden_fraction: float,
        generators: list[np.random.Generator],
    ) -> RestorationBatch:
        """Choose each sample's input genes and targets among the genes that it has a value of.

        A sample with few values has `<pad>` in its last input columns and no value for its last targets.
        """
        shape, n_targets = (len(rows), n_known), self._n_targets(n_known)
        known_ids = np.full(shape, keys.PAD_ID, dtype=np.int64)
        known_idx = np.zeros(shape, dtype=np.int64)
        target_idx = np.zeros((len(rows), n_targets), dtype=np.int64)
        targets = np.full((len(rows), n_targets), np.nan, dtype=np.float32)
        known_ids[:, 0] = keys.MASK_ID  # a sample without any value has one column all the same
        for number, (row, generator) in enumerate(zip(rows, generators, strict=True)):
            measured = np.flatnonzero(self._token_ids[row] < self.model.n_bins)
            chosen = generator.choice(measured, min(n_known + n_targets, len(measured)), replace=False)
            read, restored = chosen[:n_known], chosen[n_known:]
            ids = self._token_ids[row, read].astype(np.int64)
            ids[generator.random(len(read)) < hidden_fraction] = keys.MASK_ID
            known_ids[number, : len(read)], known_idx[number, : len(read)] = ids, read
            target_idx[number, : len(restored)] = restored
            values = self._values[row, restored]
            targets[number, : len(restored)] = np.clip(values, -self.model.value_limit, self.model.value_limit)
        return RestorationBatch(
            known_ids=torch.from_numpy(known_ids),
            known_idx=torch.from_numpy(known_idx),
            target_idx=torch.from_numpy(target_idx),
            targets=torch.from_numpy(targets),
        )


def flops_per_sample(config: GexBERTConfig, n_known: int, n_targets: int) -> int:
    """Floating-point operations of one sample forward and backward (twice the forward), an estimate.

    Counts the matrix products of encoder, decoder and summary, and the factors, which have no backward; recomputation
    is not counted.
    """
    D, F = config.embed_dim, config.ffn_embed_dim
    encoder = config.n_layers * n_known * (8 * D * D + 4 * D * F + 4 * n_known * D)
    decoder = config.decoder_layers * (n_targets * (4 * D * D + 4 * D * F + 4 * n_known * D) + n_known * 4 * D * D)
    R, C, S = config.n_factors, config.n_prototypes, config.summary_dim or D
    summary = 0
    if config.summary_layers:
        summary = 2 * ((R + C) or 2 * D) * S + config.summary_layers * 4 * S * config.summary_ffn_dim
        summary += (2 * S * D if config.summary_dim else 0) + (n_targets * 2 * S if R else 0)
    head = n_targets * 2 * D * (D + (2 if config.head == "gaussian" else config.n_bins))
    factors = n_known * (2 * R * R + 2 * R + 4 * C) + R**3 // 3 + n_targets * (R * R + 2 * R)
    return 3 * (encoder + decoder + summary + head) + factors


def _root_mean(total: float, n: float) -> float | None:
    return math.sqrt(total / n) if n else None
