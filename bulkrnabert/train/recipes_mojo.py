"""How a MOJO is pretrained: masked language modelling of every omic at once, samples of one omic among them.

Letters: B samples, C columns (genes, omic after omic), G genes, M masked positions of a sample in one omic, O omics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from bulkrnabert import keys
from bulkrnabert.data.coexpression import BinStatistics, coexpression_table
from bulkrnabert.data.masking import IGNORED, Purpose, mask_tokens, n_masked, seeded_generator
from bulkrnabert.data.tokens import Tokens
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.models.encoder import Encoder
from bulkrnabert.models.mojo import Mojo, MojoConfig
from bulkrnabert.models.mojo_cost import flops_per_sample
from bulkrnabert.train.batches import Batch, BatchSource, MicroBatch, ValidationBatch
from bulkrnabert.train.config import MaskedTrainConfig, TrainConfig
from bulkrnabert.train.data_statistics import start_statistics, with_statistics
from bulkrnabert.train.losses import MaskedPrediction, Objective, Prediction, spearman
from bulkrnabert.train.recipes import CardText, Recipe, RunData, Validation, check_token_ids


class MojoTrainConfig(MaskedTrainConfig):
    """Settings of masked language modelling over several omics (docs/decisions/0023-one-omic-samples.md).

    Attributes:
        drop_omic_fraction: Share of the samples with several omics of which one, drawn evenly, is fed as if it were
            absent.
        restore_dropped: The dropped omic is to be predicted too, at as many genes as an omic that is there: the model
            learns to restore one omic from another. Otherwise only the omic that is left has targets.
    """

    drop_omic_fraction: float = Field(default=0.0, ge=0, le=1)
    restore_dropped: bool = True

    @model_validator(mode="after")
    def _check_all_genes(self) -> Self:
        if self.genes_per_step is not None or self.full_length_steps:
            raise ValueError(
                "genes_per_step and full_length_steps are for models that read subsets: the convolutions need every "
                "gene in its place; leave both out"
            )
        return self


class OmicBatchSource(BatchSource):
    """Batches in which every omic is masked by itself.

    A sample has as many chosen positions in each omic, all of them without a target where the omic is absent. Beside
    what `BatchSource` takes:

    Args:
        n_omics: Blocks that the columns fall into.
        config: Settings.
    """

    def __init__(self, data: RunData, config: MojoTrainConfig, n_bins: int, n_omics: int) -> None:
        super().__init__(data.tokens.token_ids, data.parts, data.order, config, n_bins, data.seed)
        self._n_bins = n_bins
        self._n_omics = n_omics
        self._drop_omic_fraction = config.drop_omic_fraction
        self._restores = config.restore_dropped
        self._mask_fraction = config.mask_fraction
        self._ids = data.tokens.token_ids
        self._run_seed = data.seed

    @property
    def n_masked_an_omic(self) -> int:
        """Chosen positions M of a sample in each omic."""
        return n_masked(self.n_genes // self._n_omics, self._mask_fraction)

    def mask(
        self,
        rows: NDArray[np.int64],
        gene_idx: NDArray[np.int64],
        mask_purpose: Purpose,
        mask_positions: list[tuple[int, ...]],
    ) -> MicroBatch:
        """As `BatchSource.mask`, omic after omic from one stream a sample; omics are dropped in training only."""
        assert len(gene_idx) == self.n_genes
        generators = [seeded_generator(self._run_seed, mask_purpose, *position) for position in mask_positions]
        blocks = np.split(self._ids[rows], self._n_omics, axis=1)
        dropped = self._draw_dropped(blocks, generators) if mask_purpose == "mask" else None
        inputs, masked_idx, targets = [], [], []
        for number, block in enumerate(blocks):
            masked = mask_tokens(block, generators, mask_fraction=self._mask_fraction, n_bins=self._n_bins)
            if dropped is not None:
                masked.inputs[dropped == number] = keys.MASK_ID
                if not self._restores:
                    masked.targets[dropped == number] = IGNORED
            inputs.append(masked.inputs)
            masked_idx.append(masked.masked_idx + number * block.shape[1])
            targets.append(masked.targets)
        return MicroBatch(
            inputs=torch.from_numpy(np.concatenate(inputs, axis=1)).long(),
            masked_idx=torch.from_numpy(np.concatenate(masked_idx, axis=1)),
            targets=torch.from_numpy(np.concatenate(targets, axis=1)),
            gene_idx=None,
        )

    def _draw_dropped(
        self, blocks: list[NDArray[np.uint8]], generators: list[np.random.Generator]
    ) -> NDArray[np.int64] | None:
        """Omic that each sample loses, -1 for none, shape (B,)."""
        if self._drop_omic_fraction == 0:
            return None
        is_there = np.stack([(block < self._n_bins).any(axis=1) for block in blocks], axis=1)
        dropped = np.full(len(generators), -1, dtype=np.int64)
        for row, generator in enumerate(generators):
            present = np.flatnonzero(is_there[row])
            wants, which = generator.random(), generator.random()
            if len(present) > 1 and wants < self._drop_omic_fraction:
                dropped[row] = present[int(which * len(present))]
        return dropped


@dataclass(frozen=True)
class OmicPrediction(MaskedPrediction):
    """As `MaskedPrediction`, for the chosen positions of all omics: loss is the sum over omics of each omic's own.

    Sums, for each omic: `loss_<omic>` (cross-entropy over its targets), `n_correct_<omic>`, `n_targets_<omic>`.
    """


class OmicLanguageModel(Objective):
    """A MOJO with one cross-entropy an omic, summed; heads run on the chosen positions only.

    Args:
        network: The encoder.
        use_bf16: Run it under bfloat16 autocast; weights and loss stay float32.
    """

    network: Mojo

    def __init__(self, network: Mojo, use_bf16: bool = False) -> None:
        super().__init__()
        self.network = network
        self.use_bf16 = use_bf16

    def forward(self, inputs_BC: Tensor, chosen_idx_BM: Tensor, targets_BM: Tensor, gene_idx: None) -> OmicPrediction:
        """Predict the chosen positions.

        Args:
            inputs_BC: Token ids with chosen positions hidden.
            chosen_idx_BM: Columns to predict, as many an omic, omic after omic.
            targets_BM: True bins, `IGNORED` where there is none.
            gene_idx: None: the model reads all genes.
        """
        assert gene_idx is None
        omics = self.network.config.omics
        # Here, not around the call: DeepSpeed switches off an autocast that it did not configure itself.
        with torch.autocast(inputs_BC.device.type, dtype=torch.bfloat16, enabled=self.use_bf16):
            chosen_BMS = self.network.encode_chosen(inputs_BC, chosen_idx_BM)
            logits = {
                omic: self.network.lm_logits(part_BMS.flatten(0, 1), omic)
                for omic, part_BMS in zip(omics, chosen_BMS.chunk(len(omics), dim=1), strict=True)
            }
        loss = inputs_BC.new_zeros((), dtype=torch.float32)
        sums: dict[str, Tensor] = {}
        predicted = []
        for (omic, logits_NV), part_BM in zip(logits.items(), targets_BM.chunk(len(omics), dim=1), strict=True):
            targets_N = part_BM.flatten()
            summed = functional.cross_entropy(logits_NV.float(), targets_N, ignore_index=IGNORED, reduction="sum")
            predicted_N = logits_NV.argmax(dim=-1)
            # Divided by B x M, not by the positions with a target: then the mean over micro-batches does not depend on
            # how the global batch is cut.
            loss = loss + summed / targets_N.numel()
            sums |= {
                f"loss_{omic}": summed.detach(),
                f"n_correct_{omic}": (predicted_N == targets_N).sum(),
                f"n_targets_{omic}": (targets_N != IGNORED).sum(),
            }
            predicted.append(predicted_N.view_as(part_BM))
        return OmicPrediction(loss=loss, sums=sums, predicted=torch.cat(predicted, dim=1))


class MojoRecipe(Recipe):
    """Masked language modelling of a MOJO.

    Measures, over all omics and for each (`…_<omic>`): `masked_accuracy`, `baseline_accuracy`, `loss_<omic>` in nats;
    and `spearman`, mean over samples and omics (as for a BulkRNABert). The validation loss is the sum over omics of the
    mean cross-entropy of a masked position. An omic without a target in the step or the part has no measures (null).
    """

    name = keys.MOJO
    train_config = MojoTrainConfig
    model: MojoConfig

    def __init__(self, model: MojoConfig, data: RunData) -> None:
        super().__init__(model, data)
        assert isinstance(data.train, MojoTrainConfig)
        self.train = data.train
        self.source = OmicBatchSource(data, data.train, model.n_bins, len(model.omics))

    @classmethod
    def configure(cls, path: Path, tokens: Tokens, train: TrainConfig) -> MojoConfig:
        """As `Recipe.configure`; the omics are those of the tokens folder."""
        assert isinstance(train, MojoTrainConfig)
        model = MojoConfig.from_yaml(path).with_genes(len(tokens.gene_ids))
        if "omic_names" in model.model_fields_set and model.omic_names != tokens.omics:
            raise ConfigError(
                f"{path}: omic_names {', '.join(model.omic_names)}, but the tokens are of {', '.join(tokens.omics)}: "
                "leave omic_names out, or tokenize the omics that it names"
            )
        model = with_statistics(model.model_copy(update={"omic_names": tokens.omics}), tokens)
        for omic, tokenizer in tokens.tokenizers.items():
            if model.n_bins != tokenizer.n_bins:
                raise ConfigError(
                    f"{path}: n_bins {model.n_bins}, the {omic} tokenizer has {tokenizer.n_bins}: make them equal"
                )
            if model.n_ids_of(omic) < keys.N_TOKEN_IDS:
                raise ConfigError(f"{path}: n_token_ids of {omic} is below {keys.N_TOKEN_IDS}: leave n_token_ids out")
        if model.window > model.n_genes:
            raise ConfigError(
                f"{path}: n_downsamples {model.n_downsamples} makes one position of {model.window} genes, and there "
                f"are {model.n_genes}: lower n_downsamples"
            )
        check_token_ids(tokens, model.n_bins)
        _check_omics(tokens, model.n_bins)
        return model

    def start_from_data(self, network: Encoder) -> None:
        """Each column's usual bin, the eigengenes, and co-expression for the gene embedding."""
        assert isinstance(network, Mojo)
        token_ids, n_bins, omics = (
            self.data.tokens.token_ids[self.data.parts.fit_idx],
            self.model.n_bins,
            self.model.omics,
        )
        statistics = start_statistics(network, token_ids, self.data.seed)
        if self.train.gene_embedding_start == "random" or not self.model.use_gene_embedding:
            return
        # A share of the gene embedding's width an omic, so that likeness in every omic adds up.
        rng = np.random.default_rng(self.data.seed)
        shares = [len(part) for part in np.array_split(np.arange(self.model.init_gene_embed_dim), len(omics))]
        means, deviations = (np.split(part, len(omics)) for part in (statistics.mean, statistics.deviation))
        tables = [
            coexpression_table(block, BinStatistics(mean, deviation), n_bins, width, rng)
            for block, mean, deviation, width in zip(
                np.split(token_ids, len(omics), axis=1), means, deviations, shares, strict=True
            )
            if width
        ]
        network.start_gene_embedding(torch.from_numpy(np.concatenate(tables, axis=1)))

    def objective(self, network: Encoder, use_bf16: bool) -> OmicLanguageModel:
        """As `Recipe.objective`."""
        assert isinstance(network, Mojo)
        return OmicLanguageModel(network, use_bf16)

    def n_tokens_at(self, step: int) -> int:  # noqa: ARG002 - all steps are alike
        """As `Recipe.n_tokens_at`: one for each gene and omic."""
        return self.model.n_columns

    def flops_at(self, step: int) -> int:  # noqa: ARG002 - all steps are alike
        """As `Recipe.flops_at`."""
        return 3 * flops_per_sample(self.model, self.source.n_masked_an_omic)

    def micro_batch(self, step: int, start: int, size: int) -> MicroBatch:
        """As `Recipe.micro_batch`."""
        return self.source.micro_batch(step, start, size)

    def validation_batches(self, rank: int, world_size: int) -> Iterator[ValidationBatch]:
        """As `Recipe.validation_batches`."""
        return self.source.validation_batches(rank, world_size)

    def step_measures(self, sums: Mapping[str, float]) -> dict[str, float | None]:
        """As `Recipe.step_measures`."""
        return {"masked_accuracy": self._share("n_correct", sums), **self._by_omic(sums)}

    def validation_sums(self, batch: Batch, prediction: Prediction) -> dict[str, float]:
        """As `Recipe.validation_sums`."""
        assert isinstance(batch, MicroBatch)
        assert isinstance(prediction, OmicPrediction)
        sums = {name: float(value) for name, value in prediction.sums.items()}
        is_baseline_right = self._most_frequent_bins[batch.masked_idx.numpy()] == batch.targets.numpy()
        parts = [
            np.split(values, len(self.model.omics), axis=1)
            for values in (batch.targets.numpy(), prediction.predicted.cpu().numpy(), is_baseline_right)
        ]
        correlations: list[float | None] = []
        for omic, targets, predicted, is_right in zip(self.model.omics, *parts, strict=True):
            sums[f"n_baseline_{omic}"] = float(is_right.sum())
            correlations += [
                spearman(true_row[true_row != IGNORED], row[true_row != IGNORED], self.model.n_bins)
                for true_row, row in zip(targets, _as_bins(predicted, self.model.n_bins), strict=True)
            ]
        return {
            **sums,
            "correlation": sum(value or 0.0 for value in correlations),
            "n_correlated": float(sum(value is not None for value in correlations)),
            "n_samples": float(len(batch.targets)),
        }

    def validation(self, sums: Mapping[str, float]) -> Validation:
        """As `Recipe.validation`."""
        by_omic = self._by_omic(sums)
        baseline = {
            f"baseline_accuracy_{omic}": _ratio(sums[f"n_baseline_{omic}"], sums[f"n_targets_{omic}"])
            for omic in self.model.omics
        }
        return Validation(
            loss=sum(by_omic[f"loss_{omic}"] or 0.0 for omic in self.model.omics),
            measures={
                "masked_accuracy": self._share("n_correct", sums),
                "baseline_accuracy": self._share("n_baseline", sums),
                "spearman": _ratio(sums["correlation"], sums["n_correlated"]),
                **by_omic,
                **baseline,
            },
            n_samples=int(sums["n_samples"]),
        )

    def card(self, validation: Validation) -> CardText:
        """As `Recipe.card`."""
        model, train, measures = self.model, self.train, validation.measures
        dropped = ""
        if train.drop_omic_fraction:
            dropped = f"; {train.drop_omic_fraction:.0%} of the samples with several omics without one of them"
        metrics = [("loss (nats, summed over omics)", f"{validation.loss:.4f}")]
        for omic in model.omics:
            metrics += [
                (f"{omic}: loss (nats)", _shown(measures[f"loss_{omic}"])),
                (f"{omic}: masked accuracy", _shown(measures[f"masked_accuracy_{omic}"])),
                (
                    f"{omic}: masked accuracy of each gene's most frequent bin",
                    _shown(measures[f"baseline_accuracy_{omic}"]),
                ),
            ]
        return CardText(
            title="MOJO encoder, pretrained by masked language modelling of every omic",
            unit=", ".join(f"{tokenizer.unit} ({omic})" for omic, tokenizer in self.data.tokens.tokenizers.items()),
            model=f"{' and '.join(model.omics)} of {model.n_genes:,} genes, {model.n_bins} bins, {model.n_downsamples} "
            f"halvings to {model.n_positions} positions,\n{model.n_layers} layers of width {model.embed_dim}, "
            f"{model.n_heads} heads, feed-forward {model.ffn_embed_dim}.",
            training=f"{train.global_batch_size} samples x all genes, {train.mask_fraction:.0%} of each omic masked"
            f"{dropped}",
            metrics=metrics,
        )

    @cached_property
    def _most_frequent_bins(self) -> NDArray[np.int64]:
        return self.source.most_frequent_bins()

    def _share(self, count: str, sums: Mapping[str, float]) -> float | None:
        """Share of all omics' targets that a count of them has."""
        n_counted, n_targets = (
            sum(sums[f"{name}_{omic}"] for omic in self.model.omics) for name in (count, "n_targets")
        )
        return _ratio(n_counted, n_targets)

    def _by_omic(self, sums: Mapping[str, float]) -> dict[str, float | None]:
        measures: dict[str, float | None] = {}
        for omic in self.model.omics:
            n_targets = sums[f"n_targets_{omic}"]
            measures[f"loss_{omic}"] = _ratio(sums[f"loss_{omic}"], n_targets)
            measures[f"masked_accuracy_{omic}"] = _ratio(sums[f"n_correct_{omic}"], n_targets)
        return measures


def _check_omics(tokens: Tokens, n_bins: int) -> None:
    """Refuse an omic that no training sample has, or that never varies."""
    training = tokens.token_ids[tokens.is_training]
    for omic, block in zip(tokens.omics, np.split(training, len(tokens.omics), axis=1), strict=True):
        measured = block[block < n_bins]
        if measured.size == 0:
            raise DataError(f"no sample of the training part has {omic}: check the cohorts and the split")
        if measured.min() == measured.max():
            raise DataError(
                f"every {omic} value of the training part falls into bin {measured[0]}: there is nothing to learn from "
                "it; check its unit (`bulkrnabert doctor`)"
            )


def _as_bins(predicted: NDArray[np.int64], n_bins: int) -> NDArray[np.int64]:
    """Predictions of `<pad>` or `<mask>`, which an untrained head makes, as the top bin."""
    return np.minimum(predicted, n_bins - 1)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _shown(value: float | None) -> str:
    return "not estimable" if value is None else f"{value:.4f}"
