"""How a BulkRNABert is pretrained: masked language modelling over expression bins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bulkrnabert import keys
from bulkrnabert.data.coexpression import coexpression_table
from bulkrnabert.data.masking import IGNORED
from bulkrnabert.data.tokens import Tokens
from bulkrnabert.errors import ConfigError
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.encoder import Encoder
from bulkrnabert.train.batches import Batch, BatchSource, MicroBatch, ValidationBatch
from bulkrnabert.train.config import MaskedTrainConfig, TrainConfig
from bulkrnabert.train.data_statistics import start_statistics, with_statistics
from bulkrnabert.train.losses import MaskedLanguageModel, MaskedPrediction, Prediction, spearman
from bulkrnabert.train.recipes import CardText, Recipe, RunData, Validation, check_token_ids


class BulkRNABertRecipe(Recipe):
    """Masked language modelling of a BulkRNABert.

    Measures: `masked_accuracy`, the share of masked positions whose most likely bin is the true one;
    `baseline_accuracy`, the same for each gene's most frequent bin in the rows trained on, which needs no network;
    `spearman`, rank correlation of true and predicted bins, mean over samples. The validation loss is the mean
    cross-entropy of a masked position in nats.
    """

    name = keys.BULKRNABERT
    train_config = MaskedTrainConfig
    model: BulkRNABertConfig

    def __init__(self, model: BulkRNABertConfig, data: RunData) -> None:
        super().__init__(model, data)
        assert isinstance(data.train, MaskedTrainConfig)
        self.train = data.train
        self.source = BatchSource(data.tokens.token_ids, data.parts, data.order, data.train, model.n_bins, data.seed)

    @classmethod
    def configure(cls, path: Path, tokens: Tokens, train: TrainConfig) -> BulkRNABertConfig:  # noqa: ARG003 - all fit
        """As `Recipe.configure`."""
        model = BulkRNABertConfig.from_yaml(path).with_genes(len(tokens.gene_ids))
        model = with_statistics(model, tokens)
        if model.n_bins != tokens.tokenizer.n_bins:
            raise ConfigError(
                f"{path}: n_bins {model.n_bins}, the tokenizer has {tokens.tokenizer.n_bins}: make them equal"
            )
        if model.n_embedding_rows < keys.N_TOKEN_IDS:
            raise ConfigError(
                f"{path}: n_embedding_rows {model.n_embedding_rows}, expected at least {keys.N_TOKEN_IDS}: without a "
                "row of its own, <mask> cannot be told from the top bin in training"
            )
        check_token_ids(tokens, model.n_bins)
        return model

    def start_from_data(self, network: Encoder) -> None:
        """Each gene's usual bin, the eigengenes, and co-expression for the gene embedding."""
        assert isinstance(network, BulkRNABert)
        token_ids = self.data.tokens.token_ids[self.data.parts.fit_idx]
        statistics = start_statistics(network, token_ids, self.data.seed)
        if self.train.gene_embedding_start == "coexpression" and self.model.use_gene_embedding:
            rng = np.random.default_rng(self.data.seed)
            table = coexpression_table(token_ids, statistics, self.model.n_bins, self.model.init_gene_embed_dim, rng)
            network.start_gene_embedding(torch.from_numpy(table))

    def objective(self, network: Encoder, use_bf16: bool) -> MaskedLanguageModel:
        """As `Recipe.objective`."""
        assert isinstance(network, BulkRNABert)
        return MaskedLanguageModel(network, use_bf16)

    def n_tokens_at(self, step: int) -> int:
        """As `Recipe.n_tokens_at`."""
        return self.source.n_genes_at(step)

    def flops_at(self, step: int) -> int:
        """As `Recipe.flops_at`."""
        return flops_per_sample(self.model, self.source.n_genes_at(step), self.source.n_masked_at(step))

    def micro_batch(self, step: int, start: int, size: int) -> MicroBatch:
        """As `Recipe.micro_batch`."""
        return self.source.micro_batch(step, start, size)

    def validation_batches(self, rank: int, world_size: int) -> Iterator[ValidationBatch]:
        """As `Recipe.validation_batches`."""
        return self.source.validation_batches(rank, world_size)

    def step_measures(self, sums: Mapping[str, float]) -> dict[str, float | None]:
        """As `Recipe.step_measures`."""
        return {"masked_accuracy": sums["n_correct"] / max(1.0, sums["n_targets"])}

    def validation_sums(self, batch: Batch, prediction: Prediction) -> dict[str, float]:
        """As `Recipe.validation_sums`."""
        assert isinstance(batch, MicroBatch)
        assert isinstance(prediction, MaskedPrediction)
        targets = batch.targets.numpy()
        predicted = prediction.predicted.cpu().numpy()
        masked_idx = batch.masked_idx.numpy()
        genes = masked_idx if batch.gene_idx is None else batch.gene_idx.numpy()[masked_idx]
        correlations = [
            spearman(true_row[true_row != IGNORED], predicted_row[true_row != IGNORED], self.model.n_bins)
            for true_row, predicted_row in zip(targets, predicted, strict=True)
        ]
        return {
            "loss": float(prediction.loss) * targets.size,
            "n_correct": float(prediction.sums["n_correct"]),
            "n_targets": float(prediction.sums["n_targets"]),
            "n_baseline": float((self._most_frequent_bins[genes] == targets).sum()),
            "correlation": sum(value or 0.0 for value in correlations),
            "n_correlated": float(sum(value is not None for value in correlations)),
            "n_samples": float(len(targets)),
        }

    def validation(self, sums: Mapping[str, float]) -> Validation:
        """As `Recipe.validation`."""
        n_targets, n_correlated = sums["n_targets"], sums["n_correlated"]
        return Validation(
            loss=sums["loss"] / n_targets,
            measures={
                "masked_accuracy": sums["n_correct"] / n_targets,
                "baseline_accuracy": sums["n_baseline"] / n_targets,
                "spearman": sums["correlation"] / n_correlated if n_correlated else None,
            },
            n_samples=int(sums["n_samples"]),
        )

    def card(self, validation: Validation) -> CardText:
        """As `Recipe.card`."""
        model, train, measures = self.model, self.train, validation.measures
        subset = train.genes_per_step
        genes = "all genes" if subset is None else f"{min(subset, model.n_genes)} genes a step"
        correlation = measures["spearman"]
        return CardText(
            title="BulkRNABert encoder, pretrained by masked language modelling",
            unit=self.data.tokens.tokenizer.unit,
            model=f"{model.n_genes:,} genes, {model.n_bins} bins, {model.n_layers} layers of width {model.embed_dim},\n"
            f"{model.n_heads} heads, feed-forward {model.ffn_embed_dim}.",
            training=f"{train.global_batch_size} samples x {genes}, {train.mask_fraction:.0%} of the genes masked",
            metrics=[
                ("loss (nats)", f"{validation.loss:.4f}"),
                ("masked accuracy", f"{measures['masked_accuracy']:.4f}"),
                ("masked accuracy of each gene's most frequent bin", f"{measures['baseline_accuracy']:.4f}"),
                (
                    "Spearman of true and predicted bins",
                    "not estimable" if correlation is None else f"{correlation:.3f}",
                ),
            ],
        )

    @cached_property
    def _most_frequent_bins(self) -> NDArray[np.int64]:
        return self.source.most_frequent_bins()


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
