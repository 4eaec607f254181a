"""The model card of a pretrained checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bulkrnabert.train import card as parts
from bulkrnabert.train.card import Card
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
        n_genes: Length of the gene list.
        gene_list_sha256: Hash of the gene list.
        data_access: Access class of the tables; None where it was not stated.
        units: Unit of each omic before binning.
    """

    cohorts: dict[str, int]
    n_patients: int
    n_fit_samples: int
    n_validation_samples: int
    n_held_out_samples: int
    split_id: str
    split_sha256: str
    n_genes: int
    gene_list_sha256: str
    data_access: str | None
    units: Mapping[str, str]


def model_card(
    model: str,
    text: CardText,
    train: TrainConfig,
    data: TrainingData,
    summary: Mapping[str, Any],
    seed: int,
    version: str,
) -> Card:
    """The card: intended use, data, sizes, settings, metrics, limits, cost, use.

    Args:
        model: Kind of model.
        text: The lines in which models differ.
        train: Settings of the training.
        data: What it was trained on.
        summary: The summary record of the run: `n_parameters`, `train_s`, `n_processes`, `device`.
        seed: Of everything drawn.
        version: Of the package.
    """
    cohorts = "\n".join(f"| {name} | {count} |" for name, count in sorted(data.cohorts.items()))
    metrics = "\n".join(f"| {name} | {value} |" for name, value in text.metrics)
    sections = {
        parts.INTENDED_USE: parts.ENCODER_USE,
        parts.DATA: f"""
{data.n_fit_samples} samples trained on and {data.n_validation_samples} set aside for validation,
of {data.n_patients} patients; {data.n_held_out_samples} samples held out and never trained on.
Outer split `{data.split_id}`, splits sha256 `{data.split_sha256}`.
Data-access class: {data.data_access or "not stated"}.

| cohort | samples in the training part |
|---|---|
{cohorts}""",
        parts.ORIGIN: parts.NO_ORIGIN,
        parts.PREPROCESSING: f"""Unit before binning: {text.unit}.
{data.n_genes} genes in the order of `genes.txt`, sha256 `{data.gene_list_sha256}`; binning and what a missing value
becomes: `tokenizer.json`, fitted on the training part alone.""",
        parts.MODEL: f"{summary['n_parameters']:,} parameters; {text.model}",
        parts.TRAINING: f"""{train.steps} steps of {text.training};
AdamW, peak learning rate {train.learning_rate:g}, seed {seed}. The weights are those of the last step.
All settings, code and input hashes: `provenance.json`.""",
        parts.METRICS: f"| metric | value |\n|---|---|\n{metrics}",
        parts.RESULTS: parts.NO_RESULTS,
        parts.LIMITS: """
- Values must be in the unit above and go through `tokenizer.json`; genes must be those of `genes.txt`.
- The validation patients come from the same cohorts as the training patients: the metrics say nothing about other
  laboratories.""",
        parts.COST: f"{_pretraining_cost(summary)} {parts.NOT_MEASURED}",
        parts.HOW_TO_USE: parts.encoder_usage(data.units),
        parts.HOW_TO_CITE: parts.cite_text(model),
        parts.LICENCE: parts.licence_text(parts.UNKNOWN_LICENCE),
    }
    front = parts.front_matter(model, "feature-extraction")
    return Card(text.title, front, f"Made by `bulkrnabert pretrain` {version}.", sections)


def _pretraining_cost(summary: Mapping[str, Any]) -> str:
    seconds, processes = summary.get("train_s"), summary.get("n_processes")
    if not seconds or not processes:
        return "Time of the training steps: not recorded."
    device = "GPU" if summary.get("device") == "cuda" else "process on CPUs"
    return (
        f"Training steps took {seconds * processes / 3600:.3g} hours of one {device} in the last attempt"
        f" ({processes} at a time; validation and earlier attempts not counted)."
    )
