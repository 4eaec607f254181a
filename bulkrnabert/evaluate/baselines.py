"""What a model has to beat, on the same folds; everything is fitted on the training part alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

import pandas as pd

from bulkrnabert import keys
from bulkrnabert.downstream.job import Job
from bulkrnabert.downstream.predictions import BASELINE, Predictions
from bulkrnabert.downstream.probe import class_frame, risk_frame
from bulkrnabert.evaluate.class_baselines import PCA_LOGISTIC, class_baselines
from bulkrnabert.evaluate.expression import FloatArray, fill_missing, log_missing
from bulkrnabert.evaluate.integration_baselines import integration_classes, integration_survival
from bulkrnabert.evaluate.survival_baselines import (
    AGE_COLUMNS,
    CLINICAL_ALONE,
    PCA_COX,
    SEX_COLUMNS,
    STAGE_COLUMNS,
    clinical_features,
    survival_baselines,
)
from bulkrnabert.logs import progress

logger = logging.getLogger(__name__)

BaselineSet = Literal["all", "fast"]
PCA_METHOD = {keys.CANCER_TYPE: PCA_LOGISTIC, keys.SURVIVAL: PCA_COX}


def run_baselines(
    job: Job,
    by_modality: Mapping[str, FloatArray],
    seed: int,
    clinical: pd.DataFrame | None = None,
    which: BaselineSet = "all",
) -> Predictions:
    """Out-of-fold predictions of every baseline of the job's task.

    Classes: PCA or the most variable genes with logistic regression, k nearest neighbours, a linear SVM, an MLP on
    expression, and the class frequencies of the training part. Survival: PCA with ridge Cox (a baseline hazard a
    stratum); over several strata a Cox model that knows the stratum alone; a Cox model of age, sex and stage; Coxnet;
    a random survival forest. With several modalities these read the first one, and there are as well: PCA of each other
    one alone, early and late integration.

    Args:
        job: The job.
        by_modality: Features of the job's rows as `modality_features`, shape (rows, genes) each; NaN where missing.
        seed: Of inner folds, solvers and weights.
        clinical: The clinical table, for `clinical alone`.
        which: `fast` leaves out the linear SVM, the MLP, Coxnet and the forest.
    """
    for modality, features in by_modality.items():
        log_missing(modality, features)
    with_slow = which == "all"
    frames = []
    if job.task == keys.CANCER_TYPE:
        for fold in progress(job.folds, what="baselines", unit="fold"):
            filled = {name: fill_missing(features, fold.train) for name, features in by_modality.items()}
            first = next(iter(filled.values()))
            found = list(class_baselines(job, fold, first, seed, with_slow))
            if len(filled) > 1:
                found += integration_classes(job, fold, filled, seed)
            frames += [class_frame(job, fold, name, BASELINE, probabilities) for name, probabilities in found]
        return Predictions(pd.concat(frames, ignore_index=True), job.classes, job.split_sha256)
    table = pd.DataFrame({keys.PATIENT_ID: job.rows[keys.PATIENT_ID]}) if clinical is None else clinical
    known = clinical_features(job.rows, table)
    not_estimable = {}
    if known.names:
        logger.info("clinical alone: %s", ", ".join(known.names))
    else:
        columns = f"{AGE_COLUMNS[0]}, {SEX_COLUMNS[0]}, {STAGE_COLUMNS[0]}"
        not_estimable[CLINICAL_ALONE] = f"no age, sex or stage that differs between these patients (as {columns})"
    for fold in progress(job.folds, what="baselines", unit="fold"):
        filled = {name: fill_missing(features, fold.train) for name, features in by_modality.items()}
        first = next(iter(filled.values()))
        predicted = list(survival_baselines(job, fold, first, known, seed, with_slow))
        if len(filled) > 1:
            predicted += integration_survival(job, fold, filled, seed)
        frames += [risk_frame(job, fold, name, BASELINE, item.risk, item.survival) for name, item in predicted]
    frame = pd.concat(frames, ignore_index=True)
    return Predictions(frame, [], job.split_sha256, job.survival_times.tolist(), not_estimable)
