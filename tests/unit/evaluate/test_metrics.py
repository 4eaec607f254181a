"""Classification metrics and their resampling, by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from bulkrnabert.evaluate.metrics import (
    CLASSIFICATION_METRICS,
    ClassPredictions,
    classification_metrics,
    confusion_counts,
    reliability,
    resampled_classification,
)
from bulkrnabert.evaluate.uncertainty import percentile_interval, resample_weights


def predictions(n: int = 60, n_classes: int = 3, seed: int = 0) -> ClassPredictions:
    generator = np.random.default_rng(seed)
    truth = np.arange(n) % n_classes
    scores = generator.random((n, n_classes)).round(1) + 0.4 * np.eye(n_classes)[truth] + 0.01
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    return ClassPredictions(truth, probabilities.argmax(axis=1), probabilities)


def test_by_hand() -> None:
    truth, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    found = classification_metrics(ClassPredictions(truth, predicted, probabilities))
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert found["weighted_f1"] == pytest.approx((3 * 0.8 + 2 / 3) / 4)
    assert found["auroc_ovr_macro"] == 1.0


def test_agrees_with_scikit_learn() -> None:
    item = predictions()
    found = classification_metrics(item)
    assert found["auroc_ovr_macro"] == pytest.approx(
        roc_auc_score(item.truth, item.probabilities, multi_class="ovr", average="macro")
    )
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(item.truth, item.predicted))


def test_each_resample_is_what_the_repeated_rows_would_give() -> None:
    item = predictions()
    weights = resample_weights(len(item.truth), 20, seed=3)
    resampled = resampled_classification(item, np.vstack([np.ones(len(item.truth)), weights]))
    rows_of = [np.arange(len(item.truth)), *(np.repeat(np.arange(len(row)), row.astype(int)) for row in weights)]
    for index, rows in enumerate(rows_of):
        alone = classification_metrics(
            ClassPredictions(item.truth[rows], item.predicted[rows], item.probabilities[rows])
        )
        for name in CLASSIFICATION_METRICS:
            assert resampled[name][index] == pytest.approx(alone[name])


def test_an_absent_class_is_not_estimable_but_no_crash() -> None:
    item = ClassPredictions(np.array([0, 0]), np.array([0, 1]), np.full((2, 3), 1 / 3))
    found = classification_metrics(item)
    assert np.isnan(found["auroc_ovr_macro"])
    assert found["balanced_accuracy"] == 0.5
    assert np.isnan(resampled_classification(item, np.ones((1, 2)))["auroc_ovr_macro"][0])


def test_confusion_rows_are_true_classes() -> None:
    item = ClassPredictions(np.array([0, 0, 1]), np.array([1, 0, 1]), np.full((3, 2), 0.5))
    assert confusion_counts(item).tolist() == [[1, 1], [0, 1]]


def test_resamples_are_of_patients_and_repeat_themselves() -> None:
    weights = resample_weights(50, 200, seed=1)
    assert (weights.sum(axis=1) == 50).all()
    np.testing.assert_array_equal(weights, resample_weights(50, 200, seed=1))
    assert (weights != resample_weights(50, 200, seed=2)).any()


def test_interval_leaves_out_what_has_no_value() -> None:
    interval = percentile_interval(np.array([np.nan, *np.linspace(0, 1, 1001)]))
    assert (interval.low, interval.high) == (pytest.approx(0.025), pytest.approx(0.975))
    assert percentile_interval(np.array([np.nan])).low is None


def test_probability_scores_agree_with_scikit_learn() -> None:
    from sklearn.metrics import brier_score_loss, log_loss

    generator = np.random.default_rng(3)
    truth = generator.integers(0, 4, 200)
    probabilities = generator.dirichlet(np.ones(4), 200)
    item = ClassPredictions(truth, probabilities.argmax(axis=1), probabilities)
    found = classification_metrics(item)
    assert found["log_loss"] == pytest.approx(log_loss(truth, probabilities))
    expected = brier_score_loss(truth, probabilities, labels=range(4), scale_by_half=False)
    assert found["brier_score"] == pytest.approx(expected)


def test_calibration_error_by_hand() -> None:
    # two at 0.95, one of them right; two at 0.6, both right: (|1.9 - 1| + |1.2 - 2|) / 4
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.6, 0.4], [0.4, 0.6]])
    item = ClassPredictions(np.array([0, 1, 0, 1]), probabilities.argmax(axis=1), probabilities)
    assert classification_metrics(item)["expected_calibration_error"] == pytest.approx((0.9 + 0.8) / 4)
    assert [bin_["n"] for bin_ in reliability(item)] == [2, 2]
    assert reliability(item)[1]["observed_share"] == 0.5
    without_the_first = resampled_classification(item, np.array([[0.0, 1, 1, 1]]))
    assert without_the_first["expected_calibration_error"][0] == pytest.approx((0.95 + 0.8) / 3)
