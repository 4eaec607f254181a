"""Features of the baselines: scale of expression, missing genes, principal components, the most variable genes."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.tables import Cohorts
from bulkrnabert.downstream.directions import Standardiser
from bulkrnabert.downstream.job import Job
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

LINEAR_UNITS = frozenset({"counts", "tpm", "fpkm", "fpkm_uq", "rsem"})


def expression_features(values: npt.NDArray[np.float32], unit: str) -> FloatArray:
    """log(1 + x) of a linear unit; other units as they are.

    Args:
        values: Shape (samples, genes); NaN where a gene is missing. Not modified.
        unit: As stated by the cohort tables.
    """
    features = values.astype(np.float64)
    return np.log1p(features) if unit in LINEAR_UNITS else features


def modality_features(job: Job, cohorts: Cohorts) -> FloatArray:
    """A modality's values for the job's rows, as `expression_features`; NaN for a sample without the modality.

    Args:
        job: The job.
        cohorts: The tables of one modality.
    Returns:
        Shape (rows, genes).
    Raises:
        DataError: no sample of the job has the modality.
    """
    found = pd.Index(cohorts.samples[keys.SAMPLE_ID]).get_indexer(pd.Index(job.rows[keys.SAMPLE_ID]))
    has_it = found >= 0
    if not has_it.any():
        raise DataError(
            f"none of the {len(job.rows)} samples of {job.task}, scope {job.scope} has {cohorts.modality}: "
            "split them again, or leave the modality out"
        )
    features = np.full((len(job.rows), cohorts.values.shape[1]), np.nan)
    features[has_it] = expression_features(cohorts.values[found[has_it]], cohorts.unit)
    return features


def fill_missing(features: FloatArray, train: npt.NDArray[np.int64]) -> FloatArray:
    """Missing values replaced by the gene's median in the training rows; 0 for a gene that training lacks.

    Args:
        features: Shape (rows, genes). Not modified; returned as it is where nothing is missing.
        train: Rows to take the medians from.
    """
    from sklearn.impute import SimpleImputer

    if not np.isnan(features).any():
        return features
    return np.asarray(
        SimpleImputer(strategy="median", keep_empty_features=True).fit(features[train]).transform(features)
    )


def log_missing(modality: str, features: FloatArray) -> None:
    """Say how many values of a modality are missing, and in how many genes."""
    is_missing = np.isnan(features)
    if is_missing.any():
        logger.info(
            "baselines: %d of %d %s values are missing, in %d of %d genes; each fold fills them with training medians",
            is_missing.sum(),
            is_missing.size,
            modality,
            is_missing.any(axis=0).sum(),
            is_missing.shape[1],
        )


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
