"""What a model has to beat, on the same folds; everything is fitted on the training part alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.downstream.job import Fold, Job
from bulkrnabert.downstream.predictions import BASELINE, Predictions
from bulkrnabert.downstream.probe import class_frame, cox_risk, predict_logistic, risk_frame
from bulkrnabert.downstream.survival import Standardiser, fit_cox

FloatArray = npt.NDArray[np.float64]

LINEAR_UNITS = frozenset({"counts", "tpm", "fpkm", "fpkm_uq", "rsem"})
N_COMPONENTS_CLASSES = 256
N_COMPONENTS_SURVIVAL = 16
N_VARIABLE_GENES = 1000


def expression_features(values: npt.NDArray[np.float32], unit: str) -> FloatArray:
    """log(1 + x) of a linear unit; other units as they are.

    Args:
        values: Shape (samples, genes). Not modified.
        unit: As stated by the cohort tables.
    """
    features = values.astype(np.float64)
    return np.log1p(features) if unit in LINEAR_UNITS else features


def principal_components(
    features: FloatArray, train: npt.NDArray[np.int64], n_components: int, seed: int
) -> FloatArray:
    """Scores of all rows on components fitted on standardised training rows.

    Args:
        features: Shape (rows, genes).
        train: Rows to fit on.
        n_components: At most; no more than half as many as training rows either, since scores that span all rows
            leave nothing to tell a good fit from a bad one inside the training part.
        seed: Of the randomised solver.
    """
    from sklearn.decomposition import PCA

    standardise = Standardiser.fit(features[train])
    n_possible = min(n_components, max(2, len(train) // 2), len(train) - 1, features.shape[1])
    pca = PCA(n_components=n_possible, random_state=seed).fit(standardise(features[train]))
    return np.asarray(pca.transform(standardise(features)))


def most_variable(features: FloatArray, train: npt.NDArray[np.int64], n_genes: int) -> FloatArray:
    """The genes of highest variance among training rows, for all rows; the first of equals."""
    order = np.argsort(-features[train].var(axis=0), kind="stable")
    return features[:, np.sort(order[:n_genes])]


def _classification(job: Job, fold: Fold, features: FloatArray, seed: int) -> Iterator[tuple[str, FloatArray]]:
    class_ids = job.class_ids[fold.train]
    for name, chosen in (
        ("PCA + logistic regression", principal_components(features, fold.train, N_COMPONENTS_CLASSES, seed)),
        ("most variable genes + logistic regression", most_variable(features, fold.train, N_VARIABLE_GENES)),
    ):
        yield name, predict_logistic(chosen[fold.train], class_ids, chosen[fold.test], len(job.classes), seed)
    frequencies = np.bincount(class_ids, minlength=len(job.classes)) / len(class_ids)
    yield "most frequent class", np.tile(frequencies, (len(fold.test), 1))


def _survival(job: Job, fold: Fold, features: FloatArray, seed: int) -> Iterator[tuple[str, FloatArray]]:
    labels = job.survival
    components = principal_components(features, fold.train, N_COMPONENTS_SURVIVAL, seed)
    yield "PCA + Cox", cox_risk(fit_cox, components, labels, fold, seed)
    if job.rows[keys.COHORT].nunique() > 1:
        indicators = pd.get_dummies(job.rows[keys.COHORT]).to_numpy(np.float64)
        yield "cancer type alone", cox_risk(fit_cox, indicators, labels, fold, seed, stratified=False)


def run_baselines(job: Job, features: FloatArray, seed: int) -> Predictions:
    """Out-of-fold predictions of every baseline of the job's task.

    Classes: PCA or the most variable genes with logistic regression, and the class frequencies of the training part.
    Survival: PCA with ridge Cox (a baseline hazard a cohort) and, over several cohorts, a Cox model that knows the
    cohort alone.

    Args:
        job: The job.
        features: Expression of the job's rows as `expression_features`, shape (rows, genes).
        seed: Of inner folds and solvers.
    """
    frames = []
    for fold in job.folds:
        if job.task == keys.CANCER_TYPE:
            for name, probabilities in _classification(job, fold, features, seed):
                frames.append(class_frame(job, fold, name, BASELINE, probabilities))
        else:
            for name, risk in _survival(job, fold, features, seed):
                frames.append(risk_frame(job, fold, name, BASELINE, risk))
    return Predictions(
        pd.concat(frames, ignore_index=True), job.classes if job.task == keys.CANCER_TYPE else [], job.split_sha256
    )
