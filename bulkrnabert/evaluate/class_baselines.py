"""Classifiers that a model has to beat; arguments and result of each as `downstream.probe.predict_logistic`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert.data.splits import deal_folds
from bulkrnabert.downstream.directions import Standardiser
from bulkrnabert.downstream.job import Fold, Job
from bulkrnabert.downstream.probe import N_INNER_FOLDS, predict_logistic, predict_mlp
from bulkrnabert.evaluate.expression import most_variable, principal_components

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PCA_LOGISTIC = "PCA + logistic regression"
N_COMPONENTS = 256
N_COMPONENTS_NEIGHBOURS = 50
N_VARIABLE_GENES = 1000
N_GENES_MLP = 5000
SVM_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
NEIGHBOURS = (5, 10, 20)


def _inner_folds(class_ids: IntArray, seed: int) -> IntArray:
    return deal_folds(pd.DataFrame({"class": class_ids}), N_INNER_FOLDS, np.random.default_rng(seed))


def _softmax(scores: FloatArray) -> FloatArray:
    from scipy.special import softmax

    return np.asarray(softmax(scores, axis=1))


def _svm_scores(
    train: FloatArray, class_ids: IntArray, test: FloatArray, n_classes: int, strength: float
) -> FloatArray:
    """Decision values of a linear SVM, one against the rest; minus infinity for a class that training lacks."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    with warnings.catch_warnings():
        # A fit stopped at the limit is a fit; which strength is used is judged by its inner-fold accuracy.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LinearSVC(C=strength, dual=False, max_iter=200, tol=1e-3).fit(train, class_ids)
    found = model.decision_function(test)
    scores = np.full((len(test), n_classes), -np.inf)
    scores[:, model.classes_] = found if found.ndim == 2 else np.stack([-found, found], axis=1)
    return scores


def predict_svm(train: FloatArray, class_ids: IntArray, test: FloatArray, n_classes: int, seed: int) -> FloatArray:
    """Linear SVM; strength by inner-fold accuracy, and probabilities by a softmax whose scale inner folds decide."""
    from scipy.optimize import minimize_scalar

    standardise = Standardiser.fit(train)
    ready = standardise(train)
    inner = _inner_folds(class_ids, seed)
    best_accuracy, best_strength, held_out = -1.0, SVM_STRENGTHS[0], np.zeros((0, n_classes))
    for strength in SVM_STRENGTHS:
        scores = np.zeros((len(train), n_classes))
        for fold in range(N_INNER_FOLDS):
            fitted, judged = inner != fold, inner == fold
            scores[judged] = _svm_scores(ready[fitted], class_ids[fitted], ready[judged], n_classes, strength)
        accuracy = float((scores.argmax(axis=1) == class_ids).mean())
        if accuracy > best_accuracy:
            best_accuracy, best_strength, held_out = accuracy, strength, scores

    def loss(log_scale: float) -> float:
        of_truth = _softmax(held_out * np.exp(log_scale))[np.arange(len(class_ids)), class_ids]
        return float(-np.log(np.maximum(of_truth, np.finfo(np.float64).tiny)).mean())

    scale = float(np.exp(minimize_scalar(loss, bounds=(-3.0, 5.0), method="bounded").x))
    return _softmax(_svm_scores(ready, class_ids, standardise(test), n_classes, best_strength) * scale)


def predict_neighbours(
    train: FloatArray, class_ids: IntArray, test: FloatArray, n_classes: int, seed: int
) -> FloatArray:
    """k nearest neighbours, each with one vote; k by inner-fold accuracy."""
    from sklearn.neighbors import KNeighborsClassifier

    def fit(rows: npt.NDArray[np.bool_], k: int) -> KNeighborsClassifier:
        return KNeighborsClassifier(n_neighbors=min(k, int(rows.sum()))).fit(train[rows], class_ids[rows])

    inner = _inner_folds(class_ids, seed)
    n_right = [
        sum(
            int((fit(inner != fold, k).predict(train[inner == fold]) == class_ids[inner == fold]).sum())
            for fold in range(N_INNER_FOLDS)
        )
        for k in NEIGHBOURS
    ]
    model = fit(np.ones(len(train), dtype=bool), NEIGHBOURS[int(np.argmax(n_right))])
    probabilities = np.zeros((len(test), n_classes))
    probabilities[:, model.classes_] = model.predict_proba(test)
    return probabilities


def class_baselines(
    job: Job, fold: Fold, features: FloatArray, seed: int, with_slow: bool
) -> Iterator[tuple[str, FloatArray]]:
    """Name and probabilities of every classifier for the test rows of a fold.

    Args:
        job: The job.
        fold: Its fold.
        features: Expression of the job's rows, shape (rows, genes), nothing missing.
        seed: Of inner folds, solvers and weights.
        with_slow: Also the linear SVM and the raw-expression MLP.
    """
    class_ids, n_classes = job.class_ids[fold.train], len(job.classes)
    components = principal_components(features, fold.train, N_COMPONENTS, seed)
    variable = most_variable(features, fold.train, N_VARIABLE_GENES)
    nearest = components[:, :N_COMPONENTS_NEIGHBOURS]
    runs = [
        (PCA_LOGISTIC, predict_logistic, components),
        ("most variable genes + logistic regression", predict_logistic, variable),
        ("k nearest neighbours", predict_neighbours, nearest),
    ]
    if with_slow:
        runs.append(("linear SVM", predict_svm, components))
        runs.append(("raw-expression MLP", predict_mlp, most_variable(features, fold.train, N_GENES_MLP)))
    for name, classify, chosen in runs:
        yield name, classify(chosen[fold.train], class_ids, chosen[fold.test], n_classes, seed)
    frequencies = np.bincount(class_ids, minlength=n_classes) / len(class_ids)
    yield "most frequent class", np.tile(frequencies, (len(fold.test), 1))
