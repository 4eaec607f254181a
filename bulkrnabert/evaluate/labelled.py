"""How good predictions of new samples are, where their labels are known."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.clinical import Clinical
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.evaluate.metrics import ClassPredictions, classification_metrics
from bulkrnabert.evaluate.survival_metrics import FollowUp, count_pairs, make_blocks, pooled_concordance

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """One number.

    Attributes:
        metric: Its name; higher is better, but for calibration error, Brier score and log loss.
        value: NaN where it is not estimable.
        n_samples: Samples with a label that was used.
    """

    metric: str
    value: float
    n_samples: int


def score_classes(predictions: pd.DataFrame, clinical: Clinical, label_column: str) -> list[Score]:
    """Accuracy and F1 of `predicted` against labels; samples without a label, or of no known class, are counted.

    Args:
        predictions: `sample_id, predicted, probability_<class>`, a row a sample.
        clinical: The labels.
        label_column: `cohort`, or a label column.
    Raises:
        ConfigError: no such column.
        DataError: no sample has a label that the model knows.
    """
    classes = [
        str(name).removeprefix("probability_") for name in predictions.columns if str(name).startswith("probability_")
    ]
    labels = _labels(predictions[keys.SAMPLE_ID], clinical, label_column)
    known = labels.isin(classes)
    if not known.any():
        found = ", ".join(sorted(set(labels) - {""})[:5]) or "none"
        raise DataError(
            f"{clinical.source}: no sample has a class of the model ({', '.join(classes[:5])}, …) in `{label_column}`; "
            f"found {found}"
        )
    n_other = int((~known & (labels != "")).sum())
    logger.info(
        "%d samples judged, %d of other classes, %d without a label", known.sum(), n_other, (labels == "").sum()
    )
    judged = predictions[known.to_numpy()]
    number = {name: place for place, name in enumerate(classes)}
    metrics = classification_metrics(
        ClassPredictions(
            np.array([number[name] for name in labels[known]], dtype=np.int64),
            np.array([number[name] for name in judged["predicted"]], dtype=np.int64),
            judged[[f"probability_{name}" for name in classes]].to_numpy(np.float64),
        )
    )
    return [Score(name, value, int(known.sum())) for name, value in metrics.items()]


def score_risk(predictions: pd.DataFrame, clinical: Clinical) -> list[Score]:
    """Harrell's C of `risk`.

    Args:
        predictions: `sample_id, risk`, a row a sample.
        clinical: Times in days, and events.
    Raises:
        DataError: no sample has a usable time.
    """
    patients = [clinical.find(name).patient_id for name in predictions[keys.SAMPLE_ID]]
    survival = clinical.patients.set_index(keys.PATIENT_ID)[[keys.TIME_DAYS, keys.EVENT]].reindex(patients)
    usable = survival.notna().all(axis=1).to_numpy()
    if not usable.any():
        raise DataError(f"{clinical.source}: no sample of the table has a usable time and event")
    known = survival[usable]
    logger.info("%d samples judged, %d without a usable time", usable.sum(), (~usable).sum())
    nobody = np.zeros(len(known), dtype=np.int64)
    follow_up = FollowUp(
        known[keys.TIME_DAYS].to_numpy(np.float64), known[keys.EVENT].to_numpy(np.float64) == 1, nobody, nobody
    )
    risk = predictions["risk"].to_numpy(np.float64)[usable]
    counts = count_pairs(follow_up, risk, make_blocks(follow_up, by_cohort=False))
    return [Score("c_index", float(pooled_concordance(counts)[0]), len(known))]


def _labels(sample_ids: pd.Series, clinical: Clinical, label_column: str) -> pd.Series:
    found = [clinical.find(name) for name in sample_ids]
    if label_column == keys.COHORT:
        return pd.Series([info.cohort for info in found])
    if label_column not in clinical.patients:
        known = ", ".join(sorted(set(clinical.patients.columns) - {keys.PATIENT_ID}))
        raise ConfigError(f"--label-column {label_column!r} is not in {clinical.source}: choose one of {known}")
    of_patient = clinical.patients.set_index(keys.PATIENT_ID)[label_column]
    return pd.Series([str(of_patient.get(info.patient_id, "")) for info in found])
