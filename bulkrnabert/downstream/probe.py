"""Heads on frozen embeddings, judged out of fold: cancer type and survival."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from bulkrnabert import keys
from bulkrnabert.data.splits import deal_folds
from bulkrnabert.downstream.directions import Standardiser
from bulkrnabert.downstream.job import Fold, Job
from bulkrnabert.downstream.predictions import MODEL, SCHEMA, Predictions
from bulkrnabert.downstream.survival import (
    CoxFitter,
    SurvivalLabels,
    fit_baseline,
    fit_cox,
    fit_cox_mlp,
    pooled_risk,
    survival_probabilities,
)
from bulkrnabert.logs import progress
from bulkrnabert.models.heads import HeadConfig, MLPHead

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Classifier = Callable[[FloatArray, IntArray, FloatArray, int, int], FloatArray]

LOGISTIC_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
N_NEIGHBOURS = 10
N_INNER_FOLDS = 3
MLP_LEARNING_RATE = 1e-3
MLP_WEIGHT_DECAY = 1e-4
MLP_BATCH = 64
MLP_MAX_EPOCHS = 100
MLP_PATIENCE = 8


def predict_logistic(train: FloatArray, class_ids: IntArray, test: FloatArray, n_classes: int, seed: int) -> FloatArray:
    """Multinomial logistic regression on standardised features, its strength chosen by inner folds.

    Args:
        train: Features of the training part, shape (training rows, features).
        class_ids: Classes of the training part, in [0, n_classes).
        test: Features to predict, shape (test rows, features).
        n_classes: Number of classes.
        seed: Of the inner folds.
    Returns:
        Probabilities, shape (test rows, n_classes); 0 for a class that the training part lacks.
    """
    standardise = Standardiser.fit(train)
    model = choose_logistic(standardise(train), class_ids, seed)
    probabilities = np.zeros((len(test), n_classes))
    probabilities[:, model.classes_] = model.predict_proba(standardise(test))
    return probabilities


def choose_logistic(ready: FloatArray, class_ids: IntArray, seed: int) -> LogisticRegression:
    """Multinomial logistic regression whose strength is chosen by the cross-entropy of inner folds.

    Args:
        ready: Standardised features of the training part, shape (training rows, features).
        class_ids: Classes of the training part.
        seed: Of the inner folds.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    def fit(rows: npt.NDArray[np.bool_], strength: float) -> LogisticRegression:
        with warnings.catch_warnings():
            # A fit stopped at the limit is a fit; which strength is used is judged by its inner-fold loss.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(ready[rows], class_ids[rows])

    inner = deal_folds(pd.DataFrame({"class": class_ids}), N_INNER_FOLDS, np.random.default_rng(seed))
    losses = np.zeros(len(LOGISTIC_STRENGTHS))
    for fold in range(N_INNER_FOLDS):
        for index, strength in enumerate(LOGISTIC_STRENGTHS):
            model = fit(inner != fold, strength)
            judged = (inner == fold) & np.isin(class_ids, model.classes_)
            losses[index] += log_loss(
                class_ids[judged], model.predict_proba(ready[judged]), normalize=False, labels=model.classes_
            )
    return fit(np.ones(len(ready), dtype=bool), LOGISTIC_STRENGTHS[int(np.argmin(losses))])


def _fit_classifier_network(
    features: torch.Tensor, classes: torch.Tensor, is_inner: torch.Tensor, n_classes: int
) -> MLPHead:
    """Train on the rest, stop by the cross-entropy of `is_inner`, keep the best weights."""
    head = MLPHead(HeadConfig(n_inputs=features.shape[1], n_outputs=n_classes))
    optimiser = torch.optim.Adam(head.parameters(), lr=MLP_LEARNING_RATE, weight_decay=MLP_WEIGHT_DECAY)
    loss_of = torch.nn.CrossEntropyLoss()
    to_fit = torch.nonzero(~is_inner)[:, 0]
    best_loss, best_epoch = float("inf"), 0
    best = {name: value.clone() for name, value in head.state_dict().items()}
    for epoch in range(MLP_MAX_EPOCHS):
        head.train()
        for batch in torch.split(to_fit[torch.randperm(len(to_fit))], MLP_BATCH):
            optimiser.zero_grad()
            loss_of(head(features[batch]), classes[batch]).backward()
            optimiser.step()
        head.eval()
        with torch.no_grad():
            judged_loss = loss_of(head(features[is_inner]), classes[is_inner]).item()
        if judged_loss < best_loss:
            best_loss, best_epoch = judged_loss, epoch
            best = {name: value.clone() for name, value in head.state_dict().items()}
        elif epoch - best_epoch >= MLP_PATIENCE:
            break
    head.load_state_dict(best)
    return head.eval()


def predict_mlp(train: FloatArray, class_ids: IntArray, test: FloatArray, n_classes: int, seed: int) -> FloatArray:
    """Mean probability of MLPs on standardised features, one an inner fold, each stopped early on that fold.

    Arguments and result as `predict_logistic`.

    Source:
        BulkRNABert, section 3.2 ([256, 128], SELU, cross-entropy, Adam). Differs: the paper has no validation part;
        rates and the mean over inner folds are ours.
    """
    standardise = Standardiser.fit(train)
    ready = torch.from_numpy(standardise(train).astype(np.float32))
    to_predict = torch.from_numpy(standardise(test).astype(np.float32))
    classes = torch.from_numpy(class_ids)
    inner = deal_folds(pd.DataFrame({"class": class_ids}), N_INNER_FOLDS, np.random.default_rng(seed))
    total = np.zeros((len(test), n_classes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for fold in range(N_INNER_FOLDS):
            head = _fit_classifier_network(ready, classes, torch.from_numpy(inner == fold), n_classes)
            with torch.no_grad():
                total += torch.softmax(head(to_predict).double(), dim=1).numpy()
    return total / N_INNER_FOLDS


def predict_nearest(train: FloatArray, class_ids: IntArray, test: FloatArray, n_classes: int, _seed: int) -> FloatArray:
    """Votes of the ten nearest training samples by cosine distance: zero-shot, nothing is fitted.

    Source:
        MOJO's zero-shot subtype retrieval by nearest neighbours; the number of neighbours is not stated, ours is 10.
    """
    from sklearn.neighbors import KNeighborsClassifier

    n_neighbours = min(N_NEIGHBOURS, len(train))
    model = KNeighborsClassifier(n_neighbors=n_neighbours, metric="cosine").fit(train, class_ids)
    probabilities = np.zeros((len(test), n_classes))
    probabilities[:, model.classes_] = model.predict_proba(test)
    return probabilities


def class_frame(job: Job, fold: Fold, method: str, role: str, probabilities: FloatArray) -> pd.DataFrame:
    """Rows of `predictions.parquet` for one fold of a classification.

    Args:
        job: The job.
        fold: Its fold.
        method: Name that a reader sees.
        role: `model` or `baseline`.
        probabilities: Shape (test rows, classes).
    """
    frame = _frame(job, fold, method, role)
    frame["predicted"] = np.array(job.classes)[probabilities.argmax(axis=1)]
    frame["probabilities"] = list(probabilities.astype(np.float32))
    return _with_every_column(frame)


def risk_frame(
    job: Job, fold: Fold, method: str, role: str, risk: FloatArray, survival: FloatArray | None = None
) -> pd.DataFrame:
    """Rows of `predictions.parquet` for one fold of a survival job.

    Args:
        job: The job.
        fold: Its fold.
        method: Name that a reader sees.
        role: `model` or `baseline`.
        risk: As `pooled_risk`, shape (test rows,).
        survival: Probability of no event by each of `job.survival_times`, shape (test rows, times); None for a method
            that only ranks.
    """
    frame = _frame(job, fold, method, role)
    frame["risk"] = risk
    if survival is not None:
        frame[keys.SURVIVAL_PROBABILITIES] = list(survival.astype(np.float32))
    return _with_every_column(frame)


def _frame(job: Job, fold: Fold, method: str, role: str) -> pd.DataFrame:
    unused = [keys.TIME_DAYS, keys.EVENT] if job.task == keys.CANCER_TYPE else ["label"]
    frame = job.rows.iloc[fold.test].drop(columns=unused).reset_index(drop=True)
    return frame.assign(
        task=job.task,
        scope=job.scope,
        method=method,
        role=role,
        repeat=fold.repeat,
        fold=fold.number,
        split_id=fold.split_id,
    )


@dataclass(frozen=True)
class CoxPrediction:
    """What a Cox model says of the test rows of a fold.

    Attributes:
        risk: As `pooled_risk`, shape (test rows,).
        survival: Probability of no event by each time asked for, shape (test rows, times).
    """

    risk: FloatArray
    survival: FloatArray


def predict_cox(
    fitter: CoxFitter,
    features: FloatArray,
    labels: SurvivalLabels,
    fold: Fold,
    seed: int,
    at_days: FloatArray,
    stratified: bool = True,
) -> CoxPrediction:
    """Fit on the training rows of a fold, and predict its test rows.

    Args:
        fitter: `fit_cox` or `fit_cox_mlp`.
        features: Of all rows of the job, shape (rows, features).
        labels: Of all rows of the job.
        fold: Which rows are which.
        seed: Of the fit.
        at_days: Times of the survival probabilities, shape (times,).
        stratified: One baseline a stratum, or one for all.
    """
    strata = labels.strata if stratified else np.zeros_like(labels.strata)
    labels = SurvivalLabels(labels.time_days, labels.event, strata)
    training = labels.take(fold.train)
    predict = fitter(features[fold.train], training, seed)
    baseline = fit_baseline(predict(features[fold.train]), training)
    if baseline.n_without_events:
        logger.info(
            "%s: %d cohorts without an event in the first %.0f days of training take the pooled baseline",
            fold.split_id,
            baseline.n_without_events,
            baseline.at_days,
        )
    predictor = predict(features[fold.test])
    return CoxPrediction(
        pooled_risk(predictor, strata[fold.test], baseline),
        survival_probabilities(predictor, strata[fold.test], baseline, at_days),
    )


def _with_every_column(frame: pd.DataFrame) -> pd.DataFrame:
    unused = [name for name in SCHEMA.names if name not in frame]
    return frame.assign(**dict.fromkeys(unused)).reindex(columns=SCHEMA.names)


@dataclass(frozen=True)
class _Heads:
    classifiers: Mapping[str, Classifier]
    cox: Mapping[str, CoxFitter]


HEADS = _Heads(
    {"MLP": predict_mlp, "logistic regression": predict_logistic, "nearest neighbours": predict_nearest},
    {"Cox MLP": fit_cox_mlp, "Cox": fit_cox},
)


def probe_embeddings(
    job: Job,
    features: Mapping[str, FloatArray],
    seed: int,
    encoder_split: str = "",
    model: str = keys.BULKRNABERT,
) -> Predictions:
    """Out-of-fold predictions of every head, named as `BulkRNABert embedding + MLP`.

    Args:
        job: The job.
        features: Embeddings of the job's rows, for each fold's `split_id`.
        seed: Of inner folds, weights and dropout.
        encoder_split: `all` when one encoder serves every fold; written into the column `split_id`.
        model: Kind of the encoder.
    """
    frames = []
    of_model = f"{keys.MODEL_TITLES[model]} embedding + "
    for fold in progress(job.folds, what="heads", unit="fold"):
        embedding = features[fold.split_id]
        if job.task == keys.CANCER_TYPE:
            training = embedding[fold.train], job.class_ids[fold.train], embedding[fold.test]
            for name, classify in HEADS.classifiers.items():
                probabilities = classify(*training, len(job.classes), seed)
                frames.append(class_frame(job, fold, of_model + name, MODEL, probabilities))
        else:
            for name, fitter in HEADS.cox.items():
                found = predict_cox(fitter, embedding, job.survival, fold, seed, job.survival_times)
                frames.append(risk_frame(job, fold, of_model + name, MODEL, found.risk, found.survival))
    frame = pd.concat(frames, ignore_index=True)
    if encoder_split:
        frame["split_id"] = encoder_split
    if job.task == keys.CANCER_TYPE:
        return Predictions(frame, job.classes, job.split_sha256)
    return Predictions(frame, [], job.split_sha256, job.survival_times.tolist())
