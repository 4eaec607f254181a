"""What several modalities give without a network: side by side before the model (early), or two models' mean (late)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from bulkrnabert import keys
from bulkrnabert.downstream.job import Fold, Job
from bulkrnabert.downstream.probe import CoxPrediction, predict_cox, predict_logistic
from bulkrnabert.downstream.survival import fit_cox
from bulkrnabert.evaluate import class_baselines, survival_baselines
from bulkrnabert.evaluate.expression import FloatArray, principal_components

EARLY = "early integration: PCA of all modalities"
LATE = "late integration: mean of one model a modality"


def integration_classes(
    job: Job, fold: Fold, by_modality: Mapping[str, FloatArray], seed: int
) -> Iterator[tuple[str, FloatArray]]:
    """Name and class probabilities of each way of putting modalities together, for the test rows of a fold.

    Args:
        job: The job.
        fold: Its fold.
        by_modality: Features of the job's rows, shape (rows, features of the modality) each, nothing missing. The
            components of all together are of standardised features, so a modality counts by its width.
        seed: Of inner folds and solvers.
    """
    class_ids, n_classes = job.class_ids[fold.train], len(job.classes)

    def classify(features: FloatArray) -> FloatArray:
        components = principal_components(features, fold.train, class_baselines.N_COMPONENTS, seed)
        return predict_logistic(components[fold.train], class_ids, components[fold.test], n_classes, seed)

    alone = {name: classify(features) for name, features in by_modality.items()}
    for name, probabilities in alone.items():
        if name != keys.RNASEQ:
            yield f"{class_baselines.PCA_LOGISTIC}, {keys.OMIC_TITLES[name]} alone", probabilities
    yield f"{EARLY} + logistic regression", classify(_side_by_side(by_modality))
    yield LATE, np.mean(list(alone.values()), axis=0)


def integration_survival(
    job: Job, fold: Fold, by_modality: Mapping[str, FloatArray], seed: int
) -> Iterator[tuple[str, CoxPrediction]]:
    """As `integration_classes`, for survival: Cox models, and the mean of their risks and survival probabilities."""
    labels, at_days = job.survival, job.survival_times

    def predict(features: FloatArray) -> CoxPrediction:
        components = principal_components(features, fold.train, survival_baselines.N_COMPONENTS, seed)
        return predict_cox(fit_cox, components, labels, fold, seed, at_days)

    alone = {name: predict(features) for name, features in by_modality.items()}
    for name, found in alone.items():
        if name != keys.RNASEQ:
            yield f"{survival_baselines.PCA_COX}, {keys.OMIC_TITLES[name]} alone", found
    yield f"{EARLY} + Cox", predict(_side_by_side(by_modality))
    risk = np.mean([found.risk for found in alone.values()], axis=0)
    yield LATE, CoxPrediction(risk, np.mean([found.survival for found in alone.values()], axis=0))


def _side_by_side(by_modality: Mapping[str, FloatArray]) -> FloatArray:
    return np.concatenate(list(by_modality.values()), axis=1)
