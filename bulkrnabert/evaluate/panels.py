"""Predictions on gene panels to numbers: scores by panel size, and the model against each baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.downstream.panel_finetune import Panel
from bulkrnabert.downstream.predictions import MODEL, Predictions
from bulkrnabert.evaluate.comparisons import MeanScore, paired_comparison
from bulkrnabert.evaluate.metrics import resampled_counts
from bulkrnabert.evaluate.scores import class_predictions
from bulkrnabert.evaluate.uncertainty import percentile_interval, resample_weights

FloatArray = npt.NDArray[np.float64]
COMPARED = ("accuracy", "macro_f1", "weighted_f1")
PANELS_VERSION = 1


@dataclass(frozen=True)
class _Method:
    """Scores of one method by metric: over all repeats, in every resample, and in each fold of each repeat."""

    role: str
    values: dict[str, float]
    resampled: dict[str, FloatArray]
    of_folds: dict[str, FloatArray]

    def score(self, metric: str) -> MeanScore:
        """One of the metrics."""
        return MeanScore(self.values[metric], self.resampled[metric], self.of_folds[metric])


def score_panel(
    predictions: Predictions, panel: Panel, n_resamples: int, seed: int, test_share: float
) -> dict[str, list[dict[str, Any]]]:
    """Rows and comparisons of one panel, as in `panels.json`.

    A number is the mean over repeats, its interval by patient bootstrap. A comparison is of the model with one
    baseline: the paired bootstrap interval of the difference and the corrected resampled t test; `holds` needs both.

    Args:
        predictions: Of all methods on this panel, one a judged sample and repeat.
        panel: Which panel.
        n_resamples: Bootstrap resamples of patients.
        seed: Of the resamples.
        test_share: `Splits.share_tested`.
    """
    frame = predictions.frame
    patients = np.unique(frame[keys.PATIENT_ID].to_numpy(dtype=str))
    of_patients = resample_weights(len(patients), n_resamples, seed)
    where: dict[str, Any] = {"size": panel.size, "chooser": panel.chooser}
    methods: dict[str, _Method] = {}
    rows = []
    for name, of_method in frame.groupby("method", sort=False):
        found = _score(of_method, predictions.classes, patients, of_patients)
        method = str(name).removesuffix(f" on {panel.name}")
        methods[method] = found
        for metric, value in found.values.items():
            interval = percentile_interval(found.resampled[metric])
            rows.append(
                {
                    **where,
                    "method": method,
                    "role": found.role,
                    "metric": metric,
                    "value": value,
                    "low": interval.low,
                    "high": interval.high,
                    "n_samples": int(of_method[keys.SAMPLE_ID].nunique()),
                }
            )
    comparisons = [
        {
            **where,
            "metric": metric,
            "method": model,
            "against": other,
            **paired_comparison(own.score(metric), against.score(metric), test_share),
        }
        for model, own in methods.items()
        if own.role == MODEL
        for other, against in methods.items()
        if against.role != MODEL
        for metric in COMPARED
    ]
    return {"rows": rows, "comparisons": comparisons}


def _score(rows: pd.DataFrame, classes: list[str], patients: npt.NDArray[np.str_], of_patients: FloatArray) -> _Method:
    values, resampled, of_folds = [], [], []
    for _, of_repeat in rows.groupby("repeat"):
        ordered = of_repeat.sort_values([keys.PATIENT_ID, keys.SAMPLE_ID], kind="stable")
        weights = of_patients[:, np.searchsorted(patients, ordered[keys.PATIENT_ID].to_numpy(dtype=str))]
        predicted = class_predictions(ordered, classes)
        both = resampled_counts(predicted, np.concatenate([np.ones((1, len(ordered))), weights]))
        values.append({name: item[0] for name, item in both.items()})
        resampled.append({name: item[1:] for name, item in both.items()})
        for _, of_fold in ordered.groupby("fold"):
            alone = resampled_counts(class_predictions(of_fold, classes), np.ones((1, len(of_fold))))
            of_folds.append({name: item[0] for name, item in alone.items()})
    metrics = list(values[0])
    return _Method(
        str(rows["role"].iloc[0]),
        {name: float(np.mean([item[name] for item in values])) for name in metrics},
        {name: np.mean([item[name] for item in resampled], axis=0) for name in metrics},
        {name: np.array([item[name] for item in of_folds]) for name in metrics},
    )
