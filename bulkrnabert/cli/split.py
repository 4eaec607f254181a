"""`bulkrnabert split`: cohorts to folds and probe jobs."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from bulkrnabert import keys

logger = logging.getLogger(__name__)


@click.command("split")
@click.option(
    "--cohorts",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder that `preprocess` wrote: <cohort>.rnaseq.parquet, clinical.tsv.",
)
@click.option("--folds", default=5, show_default=True, help="Folds; a cohort needs two judged patients a fold.")
@click.option("--repeats", default=1, show_default=True, help="How often the folds are drawn anew.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draw.")
@click.option(
    "--protocol",
    type=click.Choice(["leak-free", "transductive"]),
    default="leak-free",
    show_default=True,
    help="leak-free: an encoder a fold, which never saw its patients. transductive: one encoder on all samples.",
)
@click.option(
    "--label-column",
    default=keys.COHORT,
    show_default=True,
    help="What the cancer-type job predicts: the cohort, or a column of clinical.tsv.",
)
@click.option("--min-events", default=10, show_default=True, help="Fewest events for a survival job.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
def command(
    cohorts: Path,
    folds: int,
    repeats: int,
    seed: int,
    protocol: str,
    label_column: str,
    min_events: int,
    out: Path,
) -> None:
    """Draw patient-grouped folds, stratified by cohort and event.

    All samples of a patient are on one side. One sample a patient is judged: the primary tumour, else a metastasis,
    else a sample of unknown type; never normal tissue. Writes splits.tsv (sample, patient, cohort, judged, folds),
    jobs.tsv (what is probed), skipped.tsv (what is not, and why) and encoders.tsv (split_id of every encoder to
    pretrain).
    """
    import pandas as pd

    from bulkrnabert.data import splits as splitting
    from bulkrnabert.data.tables import read_samples
    from bulkrnabert.provenance import require_writable

    require_writable(out / keys.SPLITS_TSV)
    samples = read_samples(cohorts)
    clinical = splitting.read_clinical(cohorts / keys.CLINICAL_TSV)
    splits = splitting.make_splits(samples, clinical, folds, repeats, seed, label_column)
    plan = splitting.plan_jobs(splits, clinical, label_column, min_events)
    encoders = splits.split_ids("leak-free" if protocol == "leak-free" else "transductive")
    splitting.write_tsv(splits.frame, out / keys.SPLITS_TSV)
    splitting.write_tsv(plan.jobs, out / keys.JOBS_TSV)
    splitting.write_tsv(plan.skipped, out / keys.SKIPPED_TSV)
    splitting.write_tsv(pd.DataFrame({"split_id": encoders}), out / keys.ENCODERS_TSV)
    logger.info(
        "%d samples of %d patients, %d judged, %d repeats of %d folds; %d probe jobs, %d skipped; %d encoders (%s)",
        len(splits.frame),
        splits.frame[keys.PATIENT_ID].nunique(),
        len(splits.judged),
        repeats,
        folds,
        len(plan.jobs),
        len(plan.skipped),
        len(encoders),
        protocol,
    )
