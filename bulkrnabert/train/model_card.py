"""The model card of a pretrained checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from bulkrnabert.models.bulkrnabert import BulkRNABertConfig
from bulkrnabert.train.config import TrainConfig
from bulkrnabert.train.loop import Validation


@dataclass(frozen=True)
class TrainingData:
    """What a model was trained on, as the card tells it.

    Attributes:
        cohorts: Samples of the training part, by cohort.
        n_patients: Patients of the training part.
        n_fit_samples: Samples trained on.
        n_validation_samples: Samples of the training part set aside for the validation curve.
        n_held_out_samples: Samples of the tokens folder that were left out.
        unit: Unit of the values before binning.
        split_id: Outer split.
        split_sha256: Hash of the splits.
    """

    cohorts: dict[str, int]
    n_patients: int
    n_fit_samples: int
    n_validation_samples: int
    n_held_out_samples: int
    unit: str
    split_id: str
    split_sha256: str


def model_card(
    model: BulkRNABertConfig,
    train: TrainConfig,
    data: TrainingData,
    validation: Validation,
    n_parameters: int,
    seed: int,
    version: str,
) -> str:
    """Markdown text of the card: data, sizes, settings, metrics, limits."""
    cohorts = "\n".join(f"| {name} | {count} |" for name, count in sorted(data.cohorts.items()))
    correlation = "not estimable" if validation.spearman is None else f"{validation.spearman:.3f}"
    genes = "all genes" if train.genes_per_step is None else f"{min(train.genes_per_step, model.n_genes)} genes a step"
    n_genes, limit = f"{model.n_genes:,} genes", "the metrics say nothing about other laboratories"
    return f"""# BulkRNABert encoder, pretrained by masked language modelling

Made by `bulkrnabert pretrain` {version}. Settings, code and input hashes: `provenance.json`; curves:
`records.jsonl`.

## Data
{data.n_fit_samples} samples trained on and {data.n_validation_samples} set aside for validation,
of {data.n_patients} patients; {data.n_held_out_samples} samples held out and never trained on.
Outer split `{data.split_id}`, splits sha256 `{data.split_sha256}`.
Unit before binning: {data.unit}.

| cohort | samples in the training part |
|---|---|
{cohorts}

## Model
{n_parameters:,} parameters; {n_genes}, {model.n_bins} bins, {model.n_layers} layers of width {model.embed_dim},
{model.n_heads} heads, feed-forward {model.ffn_embed_dim}.

## Training
{train.steps} steps of {train.global_batch_size} samples x {genes}, {train.mask_fraction:.0%} of the genes masked;
AdamW, peak learning rate {train.learning_rate:g}, seed {seed}. The weights are those of the last step.

## Metrics (validation patients, last step)
| metric | value |
|---|---|
| loss (nats) | {validation.loss:.4f} |
| masked accuracy | {validation.masked_accuracy:.4f} |
| masked accuracy of each gene's most frequent bin | {validation.baseline_accuracy:.4f} |
| Spearman of true and predicted bins | {correlation} |

## Limits
- Values must be in the unit above and go through `tokenizer.json`; genes must be those of `genes.txt`.
- The validation patients come from the same cohorts as the training patients: {limit}.
- For research. Not for diagnosis or for decisions about patients.
"""
