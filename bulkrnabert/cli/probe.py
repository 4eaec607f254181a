"""`bulkrnabert probe`: heads on frozen embeddings, and baselines, out of fold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import click

from bulkrnabert import keys
from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish
from bulkrnabert.errors import ConfigError

EXAMPLES = {
    "Cancer types from embeddings, beside all baselines": (
        "bulkrnabert probe --embeddings emb.h5ad --cohorts cohorts --splits splits/splits.tsv --task cancer_type "
        "--out probe.parquet"
    ),
    "Survival, an encoder a fold": (
        "bulkrnabert probe --embeddings emb.r0f0.h5ad --embeddings emb.r0f1.h5ad --cohorts cohorts --splits "
        "splits/splits.tsv --task survival --baselines fast --out survival.parquet"
    ),
}


@stage("probe", EXAMPLES)
@click.option(
    "--cohorts",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder that `preprocess` wrote; the baselines read its expression, every method its clinical.tsv.",
)
@click.option("--splits", "splits_path", type=click.Path(path_type=Path), required=True, help="splits.tsv.")
@click.option(
    "--embeddings",
    "embedding_paths",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Embeddings (.h5ad) of an encoder; one for every fold, or a single one of an encoder trained on all samples. "
    "Without any, the baselines alone are run.",
)
@click.option("--task", type=click.Choice([keys.CANCER_TYPE, keys.SURVIVAL]), required=True, help="What to predict.")
@click.option("--scope", default=keys.PAN, show_default=True, help="`pan` for all cohorts together, or a cohort.")
@click.option("--label-column", default=keys.COHORT, show_default=True, help="Class to predict; for cancer_type.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of inner folds, weights and dropout."
)
@click.option(
    "--baselines",
    type=click.Choice(["all", "fast", "none"]),
    default="all",
    show_default=True,
    help="What the embedding is measured against. fast leaves out the linear SVM, the raw-expression MLP, Coxnet and "
    "the random survival forest.",
)
@click.option(
    "--modality",
    "modalities",
    type=click.Choice([keys.RNASEQ, keys.METHYLATION]),
    multiple=True,
    default=[keys.RNASEQ],
    show_default=True,
    help="What the baselines read; given twice, PCA of the second alone, early and late integration are among them.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="predictions.parquet to write.")
def command(
    cohorts: Path,
    splits_path: Path,
    embedding_paths: tuple[Path, ...],
    task: Literal["cancer_type", "survival"],
    scope: str,
    label_column: str,
    seed: int,
    baselines: Literal["all", "fast", "none"],
    modalities: tuple[str, ...],
    out: Path,
) -> None:
    """Train heads on frozen embeddings and the baselines on the same folds; write what they say of unseen patients.

    Classes: MLP, logistic regression and the ten nearest neighbours (nothing fitted) on the embedding against PCA or
    variable genes with logistic regression, k nearest neighbours, a linear SVM, an MLP on expression, and the most
    frequent class.
    Survival: Cox MLP and ridge Cox, a baseline hazard a cohort (project), against PCA + Cox, the cancer type alone, age
    with sex and stage alone, Coxnet and a random survival forest. Risk is the log of the cumulative hazard at the
    median follow-up (days) of the training part: higher is worse. Missing genes are filled with training medians.
    OMP_NUM_THREADS sets the cores of the forest (1 where it is not set).
    """
    import pandas as pd

    from bulkrnabert.data.splits import read_clinical, read_splits
    from bulkrnabert.data.tables import read_cohorts
    from bulkrnabert.downstream.embeddings import encoder_of, read_embeddings
    from bulkrnabert.downstream.job import embeddings_by_split, make_job
    from bulkrnabert.downstream.predictions import write_predictions
    from bulkrnabert.downstream.probe import probe_embeddings
    from bulkrnabert.evaluate.baselines import run_baselines
    from bulkrnabert.evaluate.expression import modality_features
    from bulkrnabert.provenance import require_writable

    if not embedding_paths and baselines == "none":
        raise ConfigError("--baselines none without --embeddings leaves nothing to do: give one of them")
    require_writable(out)
    splits = read_splits(splits_path)
    clinical = read_clinical(cohorts / keys.CLINICAL_TSV)
    job = make_job(splits, clinical, task, scope, label_column)
    found = []
    if embedding_paths:
        embeddings = [read_embeddings(path) for path in embedding_paths]
        features = embeddings_by_split(job, embeddings, embedding_paths)
        encoder_split = keys.ALL_SPLIT if len(embeddings) == 1 and embeddings[0].split_id == keys.ALL_SPLIT else ""
        found.append(probe_embeddings(job, features, seed, encoder_split, encoder_of(embeddings, embedding_paths)))
    if baselines != "none":
        by_modality = {name: modality_features(job, read_cohorts(cohorts, name)) for name in dict.fromkeys(modalities)}
        found.append(run_baselines(job, by_modality, seed, clinical, baselines))
    together = replace(
        found[0],
        frame=pd.concat([item.frame for item in found], ignore_index=True),
        not_estimable=found[-1].not_estimable,
    )
    write_predictions(together, out)
    n_methods = int(together.frame["method"].nunique())
    finish(
        out,
        f"{task}, scope {scope}: {len(job.rows)} samples in {len(job.folds)} folds, {n_methods} methods",
        f"bulkrnabert evaluate --predictions {out} --cohorts {cohorts} --splits {splits_path} --out NUMBERS",
        n_samples=len(job.rows),
        n_folds=len(job.folds),
        n_methods=n_methods,
    )
