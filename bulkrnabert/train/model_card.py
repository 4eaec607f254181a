"""The model card of a pretrained checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from bulkrnabert.train.config import TrainConfig
from bulkrnabert.train.recipes import CardText


@dataclass(frozen=True)
class TrainingData:
    """What a model was trained on, as the card tells it.

    Attributes:
        cohorts: Samples of the training part, by cohort.
        n_patients: Patients of the training part.
        n_fit_samples: Samples trained on.
        n_validation_samples: Samples of the training part set aside for the validation curve.
        n_held_out_samples: Samples of the tokens folder that were left out.
        split_id: Outer split.
        split_sha256: Hash of the splits.
    """

    cohorts: dict[str, int]
    n_patients: int
    n_fit_samples: int
    n_validation_samples: int
    n_held_out_samples: int
    split_id: str
    split_sha256: str


def model_card(
    text: CardText, train: TrainConfig, data: TrainingData, n_parameters: int, seed: int, version: str
) -> str:
    """Markdown text of the card: data, sizes, settings, metrics, limits."""
    cohorts = "\n".join(f"| {name} | {count} |" for name, count in sorted(data.cohorts.items()))
    metrics = "\n".join(f"| {name} | {value} |" for name, value in text.metrics)
    limit = "the metrics say nothing about other laboratories"
    return f"""# {text.title}

Made by `bulkrnabert pretrain` {version}. Settings, code and input hashes: `provenance.json`; curves:
`records.jsonl`.

## Data
{data.n_fit_samples} samples trained on and {data.n_validation_samples} set aside for validation,
of {data.n_patients} patients; {data.n_held_out_samples} samples held out and never trained on.
Outer split `{data.split_id}`, splits sha256 `{data.split_sha256}`.
Unit before binning: {text.unit}.

| cohort | samples in the training part |
|---|---|
{cohorts}

## Model
{n_parameters:,} parameters; {text.model}

## Training
{train.steps} steps of {text.training};
AdamW, peak learning rate {train.learning_rate:g}, seed {seed}. The weights are those of the last step.

## Metrics (validation patients, last step)
| metric | value |
|---|---|
{metrics}

## Limits
- Values must be in the unit above and go through `tokenizer.json`; genes must be those of `genes.txt`.
- The validation patients come from the same cohorts as the training patients: {limit}.
- For research. Not for diagnosis or for decisions about patients.
"""
