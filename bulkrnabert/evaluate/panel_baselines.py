"""Classifiers that a model on a gene panel has to beat, on the same genes and folds."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bulkrnabert.downstream.job import Fold, Job
from bulkrnabert.downstream.probe import Classifier, predict_logistic, predict_mlp

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

N_TREES = 300
BOOSTING_ROUNDS = 100
BOOSTING_RATE = 0.1
BOOSTING_LEAVES = 15


def predict_forest(train: FloatArray, class_ids: IntArray, test: FloatArray, n_classes: int, seed: int) -> FloatArray:
    """Random forest of 300 trees; arguments and result as `predict_logistic`."""
    from sklearn.ensemble import RandomForestClassifier

    n_jobs = int(os.environ.get("OMP_NUM_THREADS") or 1)
    model = RandomForestClassifier(N_TREES, random_state=seed, n_jobs=n_jobs).fit(train, class_ids)
    probabilities = np.zeros((len(test), n_classes))
    probabilities[:, model.classes_] = model.predict_proba(test)
    return probabilities


def predict_boosting(train: FloatArray, class_ids: IntArray, test: FloatArray, n_classes: int, seed: int) -> FloatArray:
    """Gradient boosting by histograms, 100 rounds of trees with 15 leaves, stopped early on a tenth of the training
    part; arguments and result as `predict_logistic`."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    can_set_aside = np.unique(class_ids, return_counts=True)[1].min() > 1
    model = HistGradientBoostingClassifier(
        learning_rate=BOOSTING_RATE,
        max_iter=BOOSTING_ROUNDS,
        max_leaf_nodes=BOOSTING_LEAVES,
        early_stopping=bool(can_set_aside and len(class_ids) >= 10 * n_classes),
        random_state=seed,
    ).fit(train, class_ids)
    probabilities = np.zeros((len(test), n_classes))
    probabilities[:, model.classes_] = model.predict_proba(test)
    return probabilities


FAST: dict[str, Classifier] = {"MLP": predict_mlp, "logistic regression": predict_logistic}
SLOW: dict[str, Classifier] = {"random forest": predict_forest, "gradient boosting": predict_boosting}


def panel_baselines(
    job: Job, fold: Fold, features: FloatArray, seed: int, with_slow: bool
) -> Iterator[tuple[str, FloatArray]]:
    """Name and probabilities of every classifier for the test rows of a fold.

    Args:
        job: The job.
        fold: Its fold.
        features: The panel's values of the job's rows, shape (rows, genes), nothing missing.
        seed: Of inner folds, weights and trees.
        with_slow: Also the forest and gradient boosting.
    """
    for name, classify in {**FAST, **(SLOW if with_slow else {})}.items():
        training = features[fold.train], job.class_ids[fold.train], features[fold.test]
        yield name, classify(*training, len(job.classes), seed)
