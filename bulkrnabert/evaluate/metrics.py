"""Classification: point values by scikit-learn, and the same quantities over many resamples at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CLASSIFICATION_METRICS = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "weighted_f1",
    "auroc_ovr_macro",
    "expected_calibration_error",
    "brier_score",
    "log_loss",
)
N_RELIABILITY_BINS = 10


@dataclass(frozen=True)
class ClassPredictions:
    """Predictions of one method over the samples of one repeat.

    Attributes:
        truth: True class, shape (samples,).
        predicted: Predicted class, shape (samples,).
        probabilities: Shape (samples, classes).
    """

    truth: IntArray
    predicted: IntArray
    probabilities: FloatArray

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.probabilities.shape[1])


def classification_metrics(predictions: ClassPredictions) -> dict[str, float]:
    """Every classification metric; NaN where it is not estimable.

    Higher is better, but for the last three. Classes that are neither present nor predicted are left out of averages
    over classes. AUROC is the mean over classes of one against the rest, and needs every class to be present. The
    Brier score is the squared distance between probabilities and truth, summed over classes (0 to 2). The expected
    calibration error is of the predicted class, in tenths of its probability.
    """
    from sklearn import metrics

    truth, predicted = predictions.truth, predictions.predicted
    return {
        "accuracy": float(metrics.accuracy_score(truth, predicted)),
        "balanced_accuracy": float(metrics.recall_score(truth, predicted, labels=np.unique(truth), average="macro")),
        "macro_f1": float(metrics.f1_score(truth, predicted, average="macro", zero_division=0.0)),
        "weighted_f1": float(metrics.f1_score(truth, predicted, average="weighted", zero_division=0.0)),
        "auroc_ovr_macro": _auroc(predictions),
        "expected_calibration_error": float(_calibration_error(predictions, np.ones((1, len(truth))))[0]),
        "brier_score": float(_brier_terms(predictions).mean()),
        "log_loss": float(_log_loss_terms(predictions).mean()),
    }


def _brier_terms(predictions: ClassPredictions) -> FloatArray:
    truth = np.eye(predictions.n_classes)[predictions.truth]
    return np.asarray(((predictions.probabilities - truth) ** 2).sum(axis=1))


def _log_loss_terms(predictions: ClassPredictions) -> FloatArray:
    """As scikit-learn's: rows made to sum to 1, no probability below the smallest step of their precision."""
    shares = predictions.probabilities / predictions.probabilities.sum(axis=1, keepdims=True)
    of_truth = shares[np.arange(len(shares)), predictions.truth]
    return np.asarray(-np.log(np.maximum(of_truth, np.finfo(np.float64).eps)))


def _confidence_bins(predictions: ClassPredictions) -> IntArray:
    """Tenth of the probability given to the predicted class, 0 to 9."""
    confidence = predictions.probabilities.max(axis=1)
    return np.asarray(np.minimum((confidence * N_RELIABILITY_BINS).astype(np.int64), N_RELIABILITY_BINS - 1))


def _calibration_error(predictions: ClassPredictions, weights: FloatArray) -> FloatArray:
    """Mean gap between confidence and accuracy over the tenths, weighted by their samples, in every resample."""
    is_right = predictions.probabilities.argmax(axis=1) == predictions.truth
    gaps = predictions.probabilities.max(axis=1) - is_right
    in_bin = np.eye(N_RELIABILITY_BINS)[_confidence_bins(predictions)]
    return np.asarray(np.abs(weights @ (in_bin * gaps[:, None])).sum(axis=1) / weights.sum(axis=1))


def reliability(predictions: ClassPredictions) -> list[dict[str, float | int]]:
    """Tenths of the highest probability: bounds, its mean, the share of samples where that class is true, and n."""
    bins = _confidence_bins(predictions)
    confidence = predictions.probabilities.max(axis=1)
    is_right = predictions.probabilities.argmax(axis=1) == predictions.truth
    return [
        {
            "low": number / N_RELIABILITY_BINS,
            "high": (number + 1) / N_RELIABILITY_BINS,
            "mean_probability": float(confidence[bins == number].mean()),
            "observed_share": float(is_right[bins == number].mean()),
            "n": int((bins == number).sum()),
        }
        for number in np.unique(bins).tolist()
    ]


@dataclass(frozen=True)
class ClassScores:
    """One class: precision, recall and F1 (None where nothing was predicted or is true), and its samples."""

    precision: float | None
    recall: float | None
    f1: float | None
    n: int


def scores_per_class(predictions: ClassPredictions) -> list[ClassScores]:
    """Scores of each class, by scikit-learn."""
    from sklearn.metrics import precision_recall_fscore_support

    found = precision_recall_fscore_support(
        predictions.truth, predictions.predicted, labels=range(predictions.n_classes), zero_division=np.nan
    )

    def known(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return [
        ClassScores(known(precision), known(recall), known(f1), int(n))
        for precision, recall, f1, n in zip(*found, strict=True)
    ]


def _auroc(predictions: ClassPredictions) -> float:
    from sklearn.metrics import roc_auc_score

    present = np.bincount(predictions.truth, minlength=predictions.n_classes)
    if (present == 0).any() or predictions.n_classes < 2:
        return float("nan")
    of_class = [
        roc_auc_score(predictions.truth == name, predictions.probabilities[:, name])
        for name in range(predictions.n_classes)
    ]
    return float(np.mean(of_class))


def confusion_counts(predictions: ClassPredictions) -> IntArray:
    """Samples by true class (rows) and predicted class (columns)."""
    cells = predictions.truth * predictions.n_classes + predictions.predicted
    counts = np.bincount(cells, minlength=predictions.n_classes**2)
    return counts.reshape(predictions.n_classes, predictions.n_classes).astype(np.int64)


def resampled_classification(predictions: ClassPredictions, weights: FloatArray) -> dict[str, FloatArray]:
    """Every classification metric in every resample.

    Args:
        predictions: Of the samples.
        weights: How often each sample is in each resample, shape (resamples, samples).
    Returns:
        Metric to values, shape (resamples,); NaN where it is not estimable in that resample.
    """
    totals = weights.sum(axis=1)
    return {
        **resampled_counts(predictions, weights),
        "auroc_ovr_macro": _resampled_auroc(predictions, weights),
        "expected_calibration_error": _calibration_error(predictions, weights),
        "brier_score": weights @ _brier_terms(predictions) / totals,
        "log_loss": weights @ _log_loss_terms(predictions) / totals,
    }


def resampled_counts(predictions: ClassPredictions, weights: FloatArray) -> dict[str, FloatArray]:
    """As `resampled_classification`, of the metrics that need nothing but the confusion matrix."""
    n_classes = predictions.n_classes
    cells = np.zeros((len(predictions.truth), n_classes * n_classes))
    cells[np.arange(len(cells)), predictions.truth * n_classes + predictions.predicted] = 1.0
    matrices = (weights @ cells).reshape(-1, n_classes, n_classes)
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    true_counts, predicted_counts = matrices.sum(axis=2), matrices.sum(axis=1)
    totals = true_counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(true_counts > 0, hits / true_counts, np.nan)
        f1 = np.where(true_counts + predicted_counts > 0, 2 * hits / (true_counts + predicted_counts), np.nan)
        return {
            "accuracy": hits.sum(axis=1) / totals,
            "balanced_accuracy": np.nanmean(recall, axis=1),
            "macro_f1": np.nanmean(f1, axis=1),
            "weighted_f1": np.nansum(f1 * true_counts, axis=1) / totals,
        }


def _resampled_auroc(predictions: ClassPredictions, weights: FloatArray) -> FloatArray:
    total = np.zeros(len(weights))
    for name in range(predictions.n_classes):
        scores, positive = predictions.probabilities[:, name], predictions.truth == name
        order = np.argsort(scores, kind="stable")
        negatives = np.where(positive, 0.0, weights)[:, order]
        below = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(negatives, axis=1)], axis=1)
        first = np.searchsorted(scores[order], scores[positive], side="left")
        last = np.searchsorted(scores[order], scores[positive], side="right")
        of_positives = weights[:, positive]
        wins = (of_positives * (below[:, first] + below[:, last]) / 2).sum(axis=1)
        with np.errstate(invalid="ignore"):
            total += wins / (of_positives.sum(axis=1) * below[:, -1])
    return total / predictions.n_classes
