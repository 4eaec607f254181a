"""Survival models that a model has to beat."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from bulkrnabert import keys
from bulkrnabert.data.splits import deal_folds
from bulkrnabert.downstream.directions import Standardiser
from bulkrnabert.downstream.job import Fold, Job
from bulkrnabert.downstream.probe import CoxPrediction, predict_cox
from bulkrnabert.downstream.survival import (
    N_INNER_FOLDS,
    LinearPredictor,
    SurvivalLabels,
    fit_cox,
)
from bulkrnabert.evaluate.expression import most_variable, principal_components
from bulkrnabert.train.losses_survival import cox_loss

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

PCA_COX = "PCA + Cox"
CLINICAL_ALONE = "clinical alone"
N_COMPONENTS = 16
N_VARIABLE_GENES = 1000
COXNET_L1_RATIO = 0.5
COXNET_N_STRENGTHS = 20
COXNET_SMALLEST = (0.05, 0.2, 0.5)
N_TREES = 100
MIN_SAMPLES_LEAF = 15
MAX_SAMPLES_A_TREE = 1000

AGE_COLUMNS = (
    "age_at_diagnosis_days",
    "age_at_diagnosis",
    "age_at_initial_pathologic_diagnosis",
    "age_diagnosed",
    "age_at_index",
    "age",
)
SEX_COLUMNS = ("sex", "gender", "sex_at_birth")
STAGE_COLUMNS = (
    "stage",
    "ajcc_stage",
    "ajcc_pathologic_stage",
    "ajcc_pathologic_tumor_stage",
    "pathologic_stage",
    "tumor_stage",
    "clinical_stage",
)
STAGE = re.compile(r"^\s*(?:stage\s*)?(iv|iii|ii|i|4|3|2|1|0)(?![0-9])", re.IGNORECASE)
STAGE_NUMBERS = {"i": 1, "ii": 2, "iii": 3, "iv": 4}
SEX_NUMBERS = {"female": 0.0, "f": 0.0, "male": 1.0, "m": 1.0}


@dataclass(frozen=True)
class ClinicalFeatures:
    """Age, sex and stage of a job's rows.

    Attributes:
        values: Shape (rows, features), NaN where not known; a column only of what differs between patients.
        names: What the columns are, as `age_at_diagnosis_days`.
    """

    values: FloatArray
    names: list[str]


def clinical_features(rows: pd.DataFrame, clinical: pd.DataFrame) -> ClinicalFeatures:
    """Age (as it is), sex (female 0, male 1) and stage (I to IV as 1 to 4, letters dropped) where they are known.

    Args:
        rows: `patient_id`, a row a judged sample.
        clinical: The clinical table; of several columns for one thing, the first that has values is taken.
    """
    by_patient = clinical.drop_duplicates(keys.PATIENT_ID).set_index(keys.PATIENT_ID).reindex(rows[keys.PATIENT_ID])
    found: dict[str, FloatArray] = {}
    for columns, parse in ((AGE_COLUMNS, _age), (SEX_COLUMNS, _sex), (STAGE_COLUMNS, _stage)):
        for name in columns:
            if name not in by_patient:
                continue
            values = parse(by_patient[name].fillna("").astype(str)).to_numpy(np.float64)
            if len(np.unique(values[np.isfinite(values)])) > 1:
                found[name] = values
                break
    values = np.stack(list(found.values()), axis=1) if found else np.empty((len(rows), 0))
    return ClinicalFeatures(values, list(found))


def _age(text: pd.Series) -> pd.Series:
    return pd.to_numeric(text, errors="coerce")


def _sex(text: pd.Series) -> pd.Series:
    return text.str.strip().str.lower().map(SEX_NUMBERS)


def _stage(text: pd.Series) -> pd.Series:
    found = text.str.extract(STAGE, expand=False).str.lower()
    return found.map(lambda name: float(STAGE_NUMBERS.get(name, name)) if isinstance(name, str) else np.nan)


def _with_indicators(values: FloatArray, train: npt.NDArray[np.int64]) -> FloatArray:
    """Missing values as the training median, and a column each that says where that is so."""
    from sklearn.impute import SimpleImputer

    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True).fit(values[train])
    return np.asarray(imputer.transform(values), dtype=np.float64)


def _outcome(labels: SurvivalLabels) -> npt.NDArray[np.void]:
    from sksurv.util import Surv

    return np.asarray(Surv.from_arrays(labels.event == 1, labels.time_days))


def fit_coxnet(features: FloatArray, labels: SurvivalLabels, seed: int) -> LinearPredictor:
    """Elastic-net Cox model, its strength chosen by the partial likelihood of inner folds; one baseline for all.

    Args:
        features: Training part, shape (samples, features); standardised inside.
        labels: Of the same samples.
        seed: Of the inner folds.
    """
    standardise = Standardiser.fit(features)
    ready = standardise(features)
    together = SurvivalLabels(labels.time_days, labels.event, np.zeros_like(labels.strata))
    strengths, paths = _coxnet_path(ready, together, None)
    inner = deal_folds(
        pd.DataFrame({"stratum": labels.strata, "event": labels.event}), N_INNER_FOLDS, np.random.default_rng(seed)
    )
    held_out_loss = np.zeros(len(strengths))
    for fold in range(N_INNER_FOLDS):
        judged = together.take(inner == fold)
        if not judged.event.any() or not together.event[inner != fold].any():
            continue
        _, of_fold = _coxnet_path(ready[inner != fold], together.take(inner != fold), strengths)
        risk_sets = judged.risk_sets()
        for index in range(len(strengths)):
            predicted = torch.from_numpy(ready[inner == fold] @ of_fold[:, index])
            held_out_loss[index] += cox_loss(predicted, risk_sets).item() * risk_sets.n_events
    coefficients = paths[:, int(np.argmin(held_out_loss))]

    def predict(new_features: FloatArray) -> FloatArray:
        return np.asarray(standardise(new_features) @ coefficients)

    return predict


def _coxnet_path(
    ready: FloatArray, labels: SurvivalLabels, strengths: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Strengths, and coefficients of shape (features, strengths); no strength too small to be fitted."""
    from sksurv.linear_model import CoxnetSurvivalAnalysis

    outcome = _outcome(labels)
    if strengths is not None:
        model = CoxnetSurvivalAnalysis(l1_ratio=COXNET_L1_RATIO, alphas=strengths, normalize=False)
        try:
            model.fit(ready, outcome)
        except ArithmeticError:
            logger.info("Coxnet: an inner fold could not be fitted at the smallest strengths, and counts as no signal")
            return strengths, np.zeros((ready.shape[1], len(strengths)))
        return strengths, np.asarray(model.coef_)
    for smallest in COXNET_SMALLEST:
        model = CoxnetSurvivalAnalysis(
            l1_ratio=COXNET_L1_RATIO, n_alphas=COXNET_N_STRENGTHS, alpha_min_ratio=smallest, normalize=False
        )
        try:
            model.fit(ready, outcome)
        except ArithmeticError:
            logger.info("Coxnet: no fit down to %g of the largest strength", smallest)
            continue
        return np.asarray(model.alphas_), np.asarray(model.coef_)
    return np.ones(1), np.zeros((ready.shape[1], 1))


def predict_forest(
    features: FloatArray, labels: SurvivalLabels, fold: Fold, seed: int, at_days: FloatArray
) -> CoxPrediction:
    """Random survival forest; the risk is the log of the events expected over follow-up.

    Times are rounded up to those asked for and a tree sees at most 1,000 samples, which bounds time and memory.

    Args:
        features: Of all rows of the job, shape (rows, features).
        labels: Of all rows of the job.
        fold: Which rows are which.
        seed: Of the forest.
        at_days: Times of the survival probabilities, ascending, shape (times,).
    """
    from sksurv.ensemble import RandomSurvivalForest

    steps = np.append(at_days, 2 * at_days[-1])
    rounded = steps[np.minimum(np.searchsorted(steps, labels.time_days, side="left"), len(steps) - 1)]
    training = SurvivalLabels(rounded, labels.event, labels.strata).take(fold.train)
    forest = RandomSurvivalForest(
        n_estimators=N_TREES,
        min_samples_leaf=min(MIN_SAMPLES_LEAF, max(1, len(fold.train) // 6)),
        max_samples=min(MAX_SAMPLES_A_TREE, len(fold.train)),
        random_state=seed,
        n_jobs=int(os.environ.get("OMP_NUM_THREADS") or 1),
    ).fit(features[fold.train], _outcome(training))
    survival = forest.predict_survival_function(features[fold.test], return_array=True)
    reached = np.searchsorted(forest.unique_times_, at_days, side="right")
    padded = np.concatenate([np.ones((len(survival), 1)), survival], axis=1)
    mortality = np.asarray(forest.predict(features[fold.test]))
    return CoxPrediction(np.log(np.maximum(mortality, np.finfo(np.float64).tiny)), padded[:, reached])


def survival_baselines(
    job: Job, fold: Fold, features: FloatArray, clinical: ClinicalFeatures, seed: int, with_slow: bool
) -> Iterator[tuple[str, CoxPrediction]]:
    """Name and prediction of every survival baseline for the test rows of a fold.

    Args:
        job: The job.
        fold: Its fold.
        features: Expression of the job's rows, shape (rows, genes), nothing missing.
        clinical: Of the job's rows; without any column `clinical alone` is left out.
        seed: Of inner folds and solvers.
        with_slow: Also Coxnet and the random survival forest.
    """
    labels, at_days = job.survival, job.survival_times
    components = principal_components(features, fold.train, N_COMPONENTS, seed)
    yield PCA_COX, predict_cox(fit_cox, components, labels, fold, seed, at_days)
    if job.rows[keys.STRATUM].nunique() > 1:
        indicators = pd.get_dummies(job.rows[keys.STRATUM]).to_numpy(np.float64)
        yield "cancer type alone", predict_cox(fit_cox, indicators, labels, fold, seed, at_days, stratified=False)
    if clinical.names:
        known = _with_indicators(clinical.values, fold.train)
        yield CLINICAL_ALONE, predict_cox(fit_cox, known, labels, fold, seed, at_days, stratified=False)
    if with_slow:
        variable = most_variable(features, fold.train, N_VARIABLE_GENES)
        yield "Coxnet", predict_cox(fit_coxnet, variable, labels, fold, seed, at_days)
        yield "random survival forest", predict_forest(components, labels, fold, seed, at_days)
