"""The model card of a fine-tuned model."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bulkrnabert import keys
from bulkrnabert.downstream.finetune import FinetunedFold
from bulkrnabert.downstream.job import Job
from bulkrnabert.downstream.joint import JointJob
from bulkrnabert.provenance import hash_patients, package_version, sha256_lines
from bulkrnabert.train import card as parts
from bulkrnabert.train.card import Card


def finetuned_card(job: JointJob, folds: Sequence[FinetunedFold], data_access: str | None) -> Card:
    """The card: what it predicts, data, members, limits, use.

    Args:
        job: What was learnt.
        folds: Networks; at least one.
        data_access: Access class of what it was made from; None where it was not stated.
    """
    model = folds[0].encoder.model
    title = keys.MODEL_TITLES[model.name]
    method = folds[0].settings.method
    classifies = any(one_task.task == keys.CANCER_TYPE for one_task in job.jobs)
    units = " and ".join(
        tokenizer.unit if len(model.omics) == 1 else f"{tokenizer.unit} ({omic})"
        for omic, tokenizer in model.tokenizers.items()
    )
    sections = {
        parts.INTENDED_USE: "For: predicting the tasks below for tumours of the kinds that it was trained on, and for "
        "comparison with other models.\nNot for: other kinds of tumour or tissue, single cells, other species.\n"
        f"{parts.RESEARCH_ONLY}",
        parts.PREDICTS: "\n".join(_what(one_task) for one_task in job.jobs),
        parts.DATA: _data(job, data_access),
        parts.ORIGIN: parts.NO_ORIGIN,
        parts.PREPROCESSING: f"Unit before binning: {units}. Genes and bins are those of each member's encoder.",
        parts.TRAINING: f"{title} encoder, {method}; {_epochs(folds)} epochs, chosen on training patients set aside. "
        "All settings, code\nand input hashes: `provenance.json`; tasks, classes and the hash of every file: "
        "`config.json`.",
        parts.MEMBERS: _members(folds, method),
        parts.RESULTS: parts.NO_RESULTS,
        parts.LIMITS: _limits(folds, units, classifies),
        parts.COST: f"Time: {_seconds(folds) / 3600:.3g} hours of training epochs of the members. {parts.NOT_MEASURED}",
        parts.HOW_TO_USE: _usage(folds),
        parts.HOW_TO_CITE: parts.cite_text(model.name),
        parts.LICENCE: parts.licence_text(parts.UNKNOWN_LICENCE),
    }
    tags = tuple(one_task.task.replace("_", "-") for one_task in job.jobs)
    # The hub has no name for models of survival.
    front = parts.front_matter(model.name, "tabular-classification" if classifies else None, ("fine-tuned", *tags))
    tasks = " and ".join(one_task.task.replace("_", " ") for one_task in job.jobs)
    return Card(f"Fine-tuned {title}: {tasks}", front, f"Made by `bulkrnabert finetune` {package_version()}.", sections)


def _data(job: JointJob, data_access: str | None) -> str:
    patients = hash_patients(job.rows[keys.PATIENT_ID])
    used = pd.concat([one_task.rows[[keys.SAMPLE_ID, keys.COHORT]] for one_task in job.jobs])
    cohorts = used.drop_duplicates(keys.SAMPLE_ID)[keys.COHORT].astype(str).value_counts().sort_index()
    rows = "\n".join(f"| {name} | {count} |" for name, count in cohorts.items())
    return f"""{len(job.rows)} samples of {len(patients)} patients, scope `{job.jobs[0].scope}`; splits sha256 `{job.split_sha256}`.
Patients: sha256 of their hashed ids `{sha256_lines(patients)}`.
Data-access class: {data_access or "not stated"}.

| cohort | samples |
|---|---|
{rows}"""  # noqa: E501 - lines of the page


def _epochs(folds: Sequence[FinetunedFold]) -> str:
    epochs = sorted({done.curve.best_epoch for done in folds})
    return str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"


def _seconds(folds: Sequence[FinetunedFold]) -> float:
    return sum(sum(done.curve.seconds) for done in folds)


def _members(folds: Sequence[FinetunedFold], method: str) -> str:
    rows = "\n".join(
        f"| {done.fold.split_id} | {len(done.fold.train)} | {done.curve.best_epoch} | {done.curve.losses[0]:.4f} | "
        f"{min(done.curve.losses):.4f} |"
        for done in folds
    )
    return f"""| member | samples | {method}: epochs | loss at the start | best loss |
|---|---|---|---|---|
{rows}

Each member is named after the fold that it never saw; `final` saw every sample. `predict` averages the members.
These losses chose the number of epochs: they flatter the model. What it is worth is in the out-of-fold predictions,
judged by `bulkrnabert evaluate`."""


def _limits(folds: Sequence[FinetunedFold], units: str, classifies: bool) -> str:
    panels = {len(done.network.config.gene_idx) for done in folds if done.network.config.gene_idx is not None}
    lines = [
        f"- Values must be in a unit that becomes {units}; genes that a sample lacks are counted in `missing_share`."
    ]
    if panels:
        sizes = " or ".join(str(size) for size in sorted(panels))
        lines.append(f"- Reads a panel of {sizes} genes, listed for each member in `config.json`.")
    if classifies:
        lines.append("- Every sample gets one of the classes above, also where it is of none of them.")
    lines.append("- Samples from outside the cohorts above were not looked at.")
    return "\n".join(lines)


def _usage(folds: Sequence[FinetunedFold]) -> str:
    model = folds[0].encoder.model
    unit = model.tokenizer.unit
    methylation = " [--methylation FILE]" if keys.METHYLATION in model.omics else ""
    table = f"--table FILE --unit {parts.shell_quoted(unit)}{methylation}"
    return f"""```python
import bulkrnabert as brb

model = brb.load_finetuned("THIS_FOLDER")  # or a hub id: brb.load_finetuned("owner/name", revision="…")
predictions = brb.predict(model, adata, unit="{unit}")  # a row a sample
```

```bash
bulkrnabert predict --model THIS_FOLDER {table} --out predictions.tsv
```"""


def _what(job: Job) -> str:
    if job.task == keys.CANCER_TYPE:
        counts = job.rows["label"].value_counts()
        return "- Class: " + ", ".join(f"{name} ({counts[name]} samples)" for name in job.classes) + "."
    n_events = int(job.rows[keys.EVENT].sum())
    return (
        f"- Survival ({len(job.rows)} samples, {n_events} events): `risk`, the log of the cumulative hazard, higher is "
        "worse; and the probability of no event within 1, 3 and 5 years, where the data reach that far."
    )
