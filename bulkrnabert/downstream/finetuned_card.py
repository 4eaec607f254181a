"""The model card of a fine-tuned model."""

from __future__ import annotations

from collections.abc import Sequence

from bulkrnabert import keys
from bulkrnabert.downstream.finetune import FinetunedFold
from bulkrnabert.downstream.job import Job
from bulkrnabert.downstream.joint import JointJob
from bulkrnabert.provenance import hash_patients, package_version, sha256_lines

CARD = """# Fine-tuned {model}: {tasks}

Made by `bulkrnabert finetune` {version}. Settings, code and input hashes: `provenance.json`; tasks, classes and the
hash of every file: `config.json`. Use:
`bulkrnabert predict --model THIS_FOLDER --table FILE --unit UNIT{methylation} --out FILE`.

## What it predicts
{predicts}

## Data
{n_samples} samples of {n_patients} patients, scope `{scope}`; splits sha256 `{split_sha256}`.
Patients: sha256 of their hashed ids `{patients}`.
Each member is named after the fold that it never saw; `final` saw every sample. `predict` averages the members.

## Members (loss on training patients that were set aside to decide when to stop, nats)
| member | samples | {method}: epochs | loss at the start | best loss |
|---|---|---|---|---|
{members}

These losses chose the number of epochs: they flatter the model. What it is worth is in the out-of-fold predictions,
judged by `bulkrnabert evaluate`.

## Limits
- Values must be in a unit that becomes {unit}; genes that a sample lacks are counted in `missing_share`.{panel}
- Every sample gets one of the classes above, also where it is of none of them.
- For research. Not for diagnosis or for decisions about patients.
"""


def finetuned_card(job: JointJob, folds: Sequence[FinetunedFold]) -> str:
    """Markdown text of the card."""
    members = [
        f"| {done.fold.split_id} | {len(done.fold.train)} | {done.curve.best_epoch} | {done.curve.losses[0]:.4f} | "
        f"{min(done.curve.losses):.4f} |"
        for done in folds
    ]
    patients = hash_patients(job.rows[keys.PATIENT_ID])
    model = folds[0].encoder.model
    panels = {len(done.network.config.gene_idx) for done in folds if done.network.config.gene_idx is not None}
    sizes = " or ".join(str(size) for size in sorted(panels))
    return CARD.format(
        model=keys.MODEL_TITLES[model.name],
        methylation=" [--methylation FILE]" if keys.METHYLATION in model.omics else "",
        panel=f"\n- Reads a panel of {sizes} genes, listed for each member in `config.json`." if panels else "",
        tasks=" and ".join(one_task.task.replace("_", " ") for one_task in job.jobs),
        version=package_version(),
        predicts="\n".join(_what(one_task) for one_task in job.jobs),
        n_samples=len(job.rows),
        n_patients=len(patients),
        scope=job.jobs[0].scope,
        split_sha256=job.split_sha256,
        patients=sha256_lines(patients),
        method=folds[0].settings.method,
        members="\n".join(members),
        unit=" and ".join(
            tokenizer.unit if len(model.omics) == 1 else f"{tokenizer.unit} ({omic})"
            for omic, tokenizer in model.tokenizers.items()
        ),
    )


def _what(job: Job) -> str:
    if job.task == keys.CANCER_TYPE:
        counts = job.rows["label"].value_counts()
        return "- Class: " + ", ".join(f"{name} ({counts[name]} samples)" for name in job.classes) + "."
    n_events = int(job.rows[keys.EVENT].sum())
    return (
        f"- Survival ({len(job.rows)} samples, {n_events} events): `risk`, the log of the cumulative hazard, higher is "
        "worse; and the probability of no event within 1, 3 and 5 years, where the data reach that far."
    )
