"""`bulkrnabert split`: cohorts to folds and probe jobs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bulkrnabert import keys
from bulkrnabert.cli._look import dry_run_option, stage
from bulkrnabert.cli._result import finish
from bulkrnabert.errors import ConfigError, DataError

if TYPE_CHECKING:
    from bulkrnabert.data.published_splits import Form
    from bulkrnabert.data.splits import Protocol

logger = logging.getLogger(__name__)

ANY = "any"
PAIRED = "paired"
EXAMPLES = {
    "Five folds; an encoder each, which never saw its patients": "bulkrnabert split --cohorts cohorts --out splits",
    "One cohort is tested by what the others taught": (
        "bulkrnabert split --cohorts cohorts --leave-out TCGA-KIRC --out splits"
    ),
}
GROUPS = {
    "Samples": ("cohorts", "modalities"),
    "Folds": ("protocol", "folds", "repeats", "seed", "left_out"),
    "Folds from elsewhere": ("published", "form", "frozen"),
    "What is predicted": ("label_column", "min_events"),
    "Output": ("out", "dry_run"),
}


@stage("split", EXAMPLES, GROUPS)
@click.option(
    "--cohorts",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder that `preprocess` wrote: <cohort>.rnaseq.parquet, clinical.tsv.",
)
@click.option(
    "--modality",
    "modalities",
    multiple=True,
    type=click.Choice(["rnaseq", "methylation", ANY, PAIRED]),
    default=("rnaseq",),
    show_default=True,
    help="Only samples that have this modality are in the splits, in training as in judging; any: samples of every "
    "modality, once each, as models of several omics take them; paired: those that have every modality, so that all "
    "models can be judged on the same samples. Encoders and heads of RNA-seq need rnaseq or paired.",
)
@click.option(
    "--folds",
    default=5,
    show_default=True,
    help="Folds; a cohort needs two judged patients a fold. Under `paper`, one part in this many is the test part.",
)
@click.option(
    "--repeats",
    type=int,
    help="How often the folds, or under `paper` the test part, are drawn anew.  [default: 1; paper: 5]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draw.")
@click.option(
    "--protocol",
    type=click.Choice(["leak-free", "transductive", "paper"]),
    default="leak-free",
    show_default=True,
    help="leak-free: an encoder a fold, which never saw its patients. transductive: the same folds, one encoder on all "
    "samples. paper: as published, a fifth of the patients held out, 5 times; every sample is judged, normal tissue "
    "too; one encoder on all samples.",
)
@click.option(
    "--leave-out",
    "left_out",
    multiple=True,
    help="Cohort that is tested by what all others taught (transfer); once a cohort, a fold each. In place of folds.",
)
@click.option(
    "--published",
    type=click.Path(path_type=Path, exists=True),
    help="File or folder of published splits to read in place of drawing; `--form` says what it is.",
)
@click.option(
    "--form",
    type=click.Choice(["custom", "customics", "survboard", "multisurv"]),
    default="custom",
    show_default=True,
    help="custom: table with sample_id or patient_id, and `part` (train, val, test) or fold columns. customics: folder "
    "of split_{train,val,test}_{1..}.txt. survboard: folder with *train_splits.csv, *test_splits.csv (and ids.csv for "
    "row numbers). multisurv: table with submitter_id, group. A validation part counts as training.",
)
@click.option(
    "--label-column",
    default=keys.COHORT,
    show_default=True,
    help="What the cancer-type job predicts: the cohort, or a column of clinical.tsv.",
)
@click.option("--min-events", default=10, show_default=True, help="Fewest events for a survival job.")
@click.option(
    "--frozen",
    type=click.Path(path_type=Path, exists=True),
    help="splits.tsv of an earlier run, in place of drawing: its patients keep their folds, new ones are dealt out.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@dry_run_option
def command(
    cohorts: Path,
    modalities: tuple[str, ...],
    folds: int,
    repeats: int | None,
    seed: int,
    protocol: Protocol,
    left_out: tuple[str, ...],
    published: Path | None,
    form: Form,
    label_column: str,
    min_events: int,
    frozen: Path | None,
    out: Path,
    dry_run: bool,
) -> None:
    """Draw patient-grouped folds, stratified by cohort and event; or hold out cohorts; or read published splits.

    All samples of a patient are on one side. One sample a patient is judged: the primary tumour, else a metastasis,
    else a sample of unknown type; never normal tissue, except under `paper`. Writes splits.tsv (sample, patient,
    cohort, judged, folds), jobs.tsv (what is probed), skipped.tsv (what is not, and why), encoders.tsv (split_id of
    every encoder to pretrain) and, for published splits, unmatched.tsv (ids that only one side has).
    """
    import pandas as pd

    from bulkrnabert.data import splits as splitting
    from bulkrnabert.data.frozen_splits import extend_splits
    from bulkrnabert.data.holdouts import leave_cohorts_out, make_paper_splits
    from bulkrnabert.data.omics import join_samples
    from bulkrnabert.data.probe_jobs import plan_jobs
    from bulkrnabert.data.published_splits import match_published, read_published
    from bulkrnabert.data.tables import modalities_of, read_samples
    from bulkrnabert.provenance import require_writable

    if frozen is not None and (published is not None or left_out or protocol == "paper"):
        raise ConfigError("--frozen says the folds: leave out --published, --leave-out and --protocol paper")
    if published is not None and left_out:
        raise ConfigError("--published and --leave-out are given together: choose one")
    if protocol == "paper" and (published is not None or left_out):
        raise ConfigError(
            "--protocol paper draws its own test parts: use leak-free or transductive with --published or --leave-out"
        )
    if not dry_run:
        require_writable(out / keys.SPLITS_TSV)
    present = modalities_of(cohorts)
    is_paired = PAIRED in modalities
    if is_paired or ANY in modalities:
        modalities = present
    if present and not set(modalities) & set(present):
        raise ConfigError(f"{cohorts}: has samples of {present[0]} only; split them with --modality {present[0]}")
    samples = read_samples(cohorts, modalities[0] if len(set(modalities)) == 1 else None)
    if len(set(modalities)) > 1 and set(modalities) == set(present):
        joined = join_samples({name: read_samples(cohorts, name) for name in present})
        logger.info("%s", joined.describe())
        if is_paired:
            samples = joined.samples[joined.is_paired].reset_index(drop=True)
            if samples.empty:
                raise DataError(f"{cohorts}: no sample has both {' and '.join(present)}: split with --modality any")
    n_elsewhere = len(read_samples(cohorts)) - len(samples)
    if n_elsewhere:
        needed = (" and " if is_paired else " or ").join(modalities)
        logger.info("%d samples do not have %s and are in no split; see --modality", n_elsewhere, needed)
    clinical = splitting.read_clinical(cohorts / keys.CLINICAL_TSV)
    if published is not None:
        matched = match_published(samples, read_published(published, form))
        splits = matched.splits
        if not dry_run:
            splitting.write_tsv(matched.unmatched, out / keys.UNMATCHED_TSV)
    elif frozen is not None:
        splits = extend_splits(splitting.read_splits(frozen), samples, clinical, seed, label_column)
    elif left_out:
        splits = leave_cohorts_out(samples, left_out)
    elif protocol == "paper":
        splits = make_paper_splits(samples, clinical, folds, 5 if repeats is None else repeats, seed, label_column)
    else:
        splits = splitting.make_splits(samples, clinical, folds, 1 if repeats is None else repeats, seed, label_column)
    plan = plan_jobs(splits, clinical, label_column, min_events)
    encoders = splits.split_ids(protocol)
    n_patients = int(splits.frame[keys.PATIENT_ID].nunique())
    what = (
        f"{len(splits.frame)} samples of {n_patients} patients, {len(splits.judged)} judged,"
        f" {splits.n_repeats} repeats of {splits.n_folds} folds; {len(plan.jobs)} probe jobs,"
        f" {len(plan.skipped)} skipped; {len(encoders)} encoders ({protocol})"
    )
    facts: dict[str, Any] = {
        "n_samples": len(splits.frame),
        "n_patients": n_patients,
        "n_judged": len(splits.judged),
        "n_repeats": splits.n_repeats,
        "n_folds": splits.n_folds,
        "encoders": encoders,
        "jobs": plan.jobs[["task", "scope"]].to_dict("records"),
        "skipped": plan.skipped.to_dict("records"),
    }
    if dry_run:
        finish(None, f"nothing was written; would go to {out}: {what}", "the same without --dry-run", **facts)
        return
    splitting.write_tsv(splits.frame, out / keys.SPLITS_TSV)
    splitting.write_tsv(plan.jobs, out / keys.JOBS_TSV)
    splitting.write_tsv(plan.skipped, out / keys.SKIPPED_TSV)
    splitting.write_tsv(pd.DataFrame({"split_id": encoders}), out / keys.ENCODERS_TSV)
    table = out / keys.SPLITS_TSV
    following = f"bulkrnabert tokenize --cohorts {cohorts} --splits {table} --split-id {encoders[0]} --out TOKENS"
    finish(table, what, following if keys.RNASEQ in modalities else "", **facts)
