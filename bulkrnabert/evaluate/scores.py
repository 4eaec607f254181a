"""Every metric of one method of one job, in the data and in every resample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.downstream.survival import HORIZON_DAYS
from bulkrnabert.evaluate.metrics import (
    CLASSIFICATION_METRICS,
    ClassPredictions,
    classification_metrics,
    resampled_classification,
)
from bulkrnabert.evaluate.survival_metrics import MIN_EVENTS_IN_MEAN, Concordance, ConcordanceJudge, FollowUp
from bulkrnabert.evaluate.time_dependent import MIN_ON_EACH_SIDE, CensoringJudge, calibration_entry

FloatArray = npt.NDArray[np.float64]

NO_PAIR = "no two patients of one fold can be compared"
NO_CLASS = "a class has no patient"
NO_PROBABILITIES = "the method ranks patients, and gives no probability of survival"
NO_HORIZON = f"fewer than {MIN_ON_EACH_SIDE} events before the time, or patients followed beyond it"
NO_PERIOD = "follow-up is too short"


@dataclass(frozen=True)
class Score:
    """One metric of one method.

    Attributes:
        metric: Its name.
        values: In the data, a number a repeat.
        resampled: For each repeat the values of all resamples, shape (resamples,).
        reason: Why, where it is not estimable.
        note: What a reader must know of an estimable one.
        scope_cohort: The cohort (or project within one) that it is of, where it is not of the whole scope.
        at_days: Time that it is of, or up to which it goes.
    """

    metric: str
    values: list[float]
    resampled: list[FloatArray]
    reason: str
    note: str = ""
    scope_cohort: str = ""
    at_days: float | None = None


@dataclass(frozen=True)
class SurvivalScores:
    """The metrics of a survival method, and its calibration in the first repeat (empty where not estimable)."""

    scores: list[Score]
    calibration: list[dict[str, Any]] = field(default_factory=list)


def class_predictions(rows: pd.DataFrame, classes: list[str]) -> ClassPredictions:
    """The rows of `predictions.parquet` of one method and repeat as numbers."""
    positions = pd.Index(classes)
    return ClassPredictions(
        positions.get_indexer(pd.Index(rows["label"])).astype(np.int64),
        positions.get_indexer(pd.Index(rows["predicted"])).astype(np.int64),
        np.stack(rows["probabilities"].tolist()).astype(np.float64),
    )


def score_classes(repeats: Sequence[ClassPredictions], weights: Sequence[FloatArray]) -> list[Score]:
    """Every classification metric; weights as `RepeatJudge`, a matrix a repeat."""
    points = [classification_metrics(item) for item in repeats]
    resampled = [resampled_classification(item, of_repeat) for item, of_repeat in zip(repeats, weights, strict=True)]
    return [
        Score(name, [item[name] for item in points], [item[name] for item in resampled], NO_CLASS)
        for name in CLASSIFICATION_METRICS
    ]


class RepeatJudge:
    """What judges every survival method of one repeat; what does not depend on the method is prepared once.

    Args:
        rows: Predictions of any method in this repeat, in the order in which all methods are judged.
        weights: How often each row is in each resample, shape (resamples, rows).
    """

    def __init__(self, rows: pd.DataFrame, weights: FloatArray) -> None:
        self.strata = sorted(rows[keys.STRATUM].unique())
        follow_up = FollowUp(
            rows[keys.TIME_DAYS].to_numpy(np.float64),
            rows[keys.EVENT].to_numpy(np.int64).astype(bool),
            rows["fold"].to_numpy(np.int64),
            np.searchsorted(np.array(self.strata), rows[keys.STRATUM].to_numpy(dtype=str)).astype(np.int64),
        )
        self.concordance = ConcordanceJudge(follow_up, weights)
        self.censoring = CensoringJudge(follow_up, weights, self.concordance.in_mean)
        self.n_resamples = len(weights)

    def nothing(self) -> Concordance:
        """What is not estimable."""
        return Concordance(float("nan"), np.full(self.n_resamples, np.nan))


def _score(metric: str, found: Sequence[Concordance], reason: str, **more: Any) -> Score:
    return Score(metric, [item.value for item in found], [item.resampled for item in found], reason, **more)


def score_survival(
    repeats: list[pd.DataFrame], judges: list[RepeatJudge], survival_days: list[float]
) -> SurvivalScores:
    """Every survival metric of one method.

    Args:
        repeats: Its rows, a table a repeat, in the order of the judges.
        judges: One a repeat.
        survival_days: Times of the column `survival_probabilities`.
    """
    pairs = [(judge, rows["risk"].to_numpy(np.float64)) for judge, rows in zip(judges, repeats, strict=True)]
    first = judges[0]
    scores = [_score("c_index_pooled", [judge.concordance.pooled(risk) for judge, risk in pairs], NO_PAIR)]
    several = repeats[0]["scope"].iloc[0] == keys.PAN or len(first.strata) > 1
    if several:
        left_out = ", ".join(
            f"{first.strata[name]} ({count})" for name, count in first.concordance.n_events_left_out.items()
        )
        note = f"cohorts left out for fewer than {MIN_EVENTS_IN_MEAN} events: {left_out}" if left_out else ""
        for metric, is_weighted in (("c_index_within_weighted", True), ("c_index_within_macro", False)):
            found = [judge.concordance.within(risk, is_weighted) for judge, risk in pairs]
            scores.append(_score(metric, found, NO_PAIR, note=note))
        scores.extend(_of_cohorts(pairs))
    tau = float(np.mean([judge.censoring.tau_days for judge in judges]))
    scores.append(_score("uno_c", [judge.censoring.uno(risk) for judge, risk in pairs], NO_PAIR, at_days=tau))
    if several:
        found = [judge.censoring.uno_within(risk) for judge, risk in pairs]
        scores.append(_score("uno_c_within_weighted", found, NO_PAIR, at_days=tau))
    of_horizon = [judge.censoring.auc(risk) for judge, risk in pairs]
    for name, days in HORIZON_DAYS.items():
        found = [item.get(name, judge.nothing()) for item, judge in zip(of_horizon, judges, strict=True)]
        scores.append(_score(f"auc_{name}", found, NO_HORIZON, at_days=days))
    found = [judge.censoring.mean_auc(item) for item, judge in zip(of_horizon, judges, strict=True)]
    scores.append(_score("auc_mean", found, NO_HORIZON))
    return _with_probabilities(scores, repeats, judges, np.array(survival_days), tau)


def _of_cohorts(pairs: list[tuple[RepeatJudge, FloatArray]]) -> list[Score]:
    """C of each cohort, with a reason for those with too few events."""
    of_repeat = [
        {judge.strata[name]: item for name, item in judge.concordance.of_cohorts(risk).items()} for judge, risk in pairs
    ]
    reason = f"fewer than {MIN_EVENTS_IN_MEAN} events"
    names = sorted({name for judge, _ in pairs for name in judge.strata})
    return [
        _score(
            "c_index_cohort",
            [item.get(name, judge.nothing()) for item, (judge, _) in zip(of_repeat, pairs, strict=True)],
            reason,
            scope_cohort=name,
        )
        for name in names
    ]


def _with_probabilities(
    scores: list[Score],
    repeats: list[pd.DataFrame],
    judges: list[RepeatJudge],
    days: FloatArray,
    tau: float,
) -> SurvivalScores:
    """The metrics that need probabilities of survival."""
    if not len(days) or any(rows[keys.SURVIVAL_PROBABILITIES].isna().any() for rows in repeats):
        nothing = [judge.nothing() for judge in judges]
        scores.append(_score("integrated_brier_score", nothing, NO_PROBABILITIES, at_days=tau))
        scores.append(_score("calibration_error", nothing, NO_PROBABILITIES))
        return SurvivalScores(scores)
    predicted = [np.stack(rows[keys.SURVIVAL_PROBABILITIES].tolist()).astype(np.float64) for rows in repeats]
    found = [judge.censoring.integrated_brier(item, days) for judge, item in zip(judges, predicted, strict=True)]
    scores.append(_score("integrated_brier_score", found, NO_PERIOD, at_days=tau))
    at_days = judges[0].censoring.calibration_days(days)
    if at_days is None:
        scores.append(_score("calibration_error", [judge.nothing() for judge in judges], NO_HORIZON))
        return SurvivalScores(scores)
    column = int(np.abs(days - at_days).argmin())
    by_repeat = [
        judge.censoring.calibration(item[:, column], at_days) for judge, item in zip(judges, predicted, strict=True)
    ]
    scores.append(_score("calibration_error", [item.error for item in by_repeat], NO_HORIZON, at_days=at_days))
    row = repeats[0].iloc[0]
    return SurvivalScores(scores, [calibration_entry(row["scope"], row["method"], at_days, by_repeat[0].groups)])
