"""Survival metrics that correct for censoring: Uno's C, time-dependent AUC, Brier score, calibration at a time.

How long patients are followed is estimated by the Kaplan-Meier curve of censoring over the judged patients of a repeat.
Risks are compared within a fold only, as in `survival_metrics`; probabilities of survival need no such care.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from bulkrnabert.downstream.survival import HORIZON_DAYS
from bulkrnabert.evaluate.survival_metrics import (
    Block,
    Concordance,
    FollowUp,
    PairCounts,
    agreement,
    make_blocks,
    mean_within,
    pooled_concordance,
    resample_pairs,
    resample_totals,
)

FloatArray = npt.NDArray[np.float64]

TAU_QUANTILE = 0.9
MIN_ON_EACH_SIDE = 5
MIN_PATIENTS_FOR_FIFTHS = 100
CALIBRATION_HORIZONS = ("3y", "1y", "5y")
NAN = float("nan")
UNO, UNO_WITHIN = "uno", "uno_within"


def outcome_of(follow_up: FollowUp) -> npt.NDArray[np.void]:
    """Follow-up as scikit-survival takes it."""
    from sksurv.util import Surv

    return np.asarray(Surv.from_arrays(follow_up.event, follow_up.time_days))


def survival_at(time_days: FloatArray, event: npt.NDArray[np.bool_], weights: FloatArray, at_days: float) -> FloatArray:
    """Kaplan-Meier survival at one time in every resample, shape (resamples,); NaN where no one is in the resample.

    Args:
        time_days: Follow-up, shape (patients,).
        event: Whether the event was seen, shape (patients,).
        weights: How often each patient is in each resample, shape (resamples, patients).
        at_days: The time.
    """
    event_times = np.unique(time_days[event & (time_days <= at_days)])
    at_risk = weights @ (time_days[:, None] >= event_times).astype(np.float64)
    deaths = weights @ ((time_days[:, None] == event_times) & event[:, None]).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        kept = np.where(at_risk > 0, 1.0 - deaths / at_risk, 1.0).prod(axis=1)
    return np.where(weights.sum(axis=1) > 0, kept, np.nan)


@dataclass(frozen=True)
class CalibrationGroup:
    """Patients of similar predicted survival.

    Attributes:
        n: Patients.
        predicted: Their mean predicted probability of no event by the time.
        observed: Kaplan-Meier's.
        low: Lower bound of its 95 % interval (log-log); None where there is none.
        high: Upper bound.
    """

    n: int
    predicted: float
    observed: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Calibration:
    """Predicted against observed survival at one time.

    Attributes:
        error: Mean gap over groups, weighted by their patients, with resamples.
        groups: From the lowest predicted survival to the highest.
    """

    error: Concordance
    groups: list[CalibrationGroup]


class CensoringJudge:
    """Judges methods on the follow-up of one repeat; what does not depend on the method is prepared once.

    Args:
        follow_up: Of the judged patients of one repeat.
        weights: How often each is in each resample, shape (resamples, patients).
        in_mean: Cohorts whose C counts in the mean within cohort.

    Attributes:
        tau_days: End of the period that Uno's C and the Brier score cover: a tenth of the patients are followed longer.
        horizons: Those of 1, 3 and 5 years at which at least 5 events are behind and 5 patients ahead, in days.
    """

    def __init__(self, follow_up: FollowUp, weights: FloatArray, in_mean: Sequence[int]) -> None:
        from sksurv.nonparametric import CensoringDistributionEstimator

        self._follow_up = follow_up
        self._weights = weights
        self.tau_days = float(np.quantile(follow_up.time_days, TAU_QUANTILE))
        self.horizons = {name: days for name, days in HORIZON_DAYS.items() if self.is_estimable(days)}
        self._censoring = None
        self._inverse = np.zeros(len(follow_up.event))
        if follow_up.event.any():
            self._censoring = CensoringDistributionEstimator().fit(outcome_of(follow_up))
            followed = np.asarray(self._censoring.predict_proba(follow_up.time_days))
            is_known = follow_up.event & (followed > 0)
            self._inverse[is_known] = 1.0 / followed[is_known]
        self._pooled = make_blocks(follow_up, by_cohort=False)
        self._within = [block for block in make_blocks(follow_up, by_cohort=True) if block.cohort in set(in_mean)]
        self._totals = {
            name: resample_totals(self._blocks(name), weights) for name in (UNO, UNO_WITHIN, *self.horizons)
        }

    def is_estimable(self, at_days: float) -> bool:
        """Whether enough events are known before a time, and enough patients followed beyond it."""
        is_case = self._follow_up.event & (self._follow_up.time_days <= at_days)
        n_controls = int((self._follow_up.time_days > at_days).sum())
        return min(int(is_case.sum()), n_controls) >= MIN_ON_EACH_SIDE

    def _blocks(self, name: str) -> list[Block]:
        """Weighted pairs of one metric; made anew each time, because all of them together would fill the memory."""
        if name in self.horizons:
            return [self._cases(block, self.horizons[name]) for block in self._pooled]
        return [self._weighted(block) for block in (self._within if name == UNO_WITHIN else self._pooled)]

    def _weighted(self, block: Block) -> Block:
        counted = np.where(self._follow_up.time_days < self.tau_days, self._inverse**2, 0.0)[block.rows]
        return Block(block.rows, block.cohort, (block.comparable * counted[:, None]).astype(np.float32))

    def _cases(self, block: Block, at_days: float) -> Block:
        time, weight = self._follow_up.time_days[block.rows], self._inverse[block.rows]
        cases = np.where(time <= at_days, weight, 0.0)
        return Block(block.rows, block.cohort, np.outer(cases, time > at_days).astype(np.float32))

    def _count(self, risk: FloatArray, blocks: Sequence[Block]) -> list[PairCounts]:
        sums: dict[int, list[float]] = {}
        for block in blocks:
            pairs = block.comparable.astype(np.float64)
            of_cohort = sums.setdefault(block.cohort, [0.0, 0.0])
            of_cohort[0] += float((pairs * agreement(risk[block.rows])).sum())
            of_cohort[1] += float(pairs.sum())
        return [PairCounts(name, np.array([right]), np.array([total])) for name, (right, total) in sums.items()]

    def uno(self, risk: FloatArray) -> Concordance:
        """Uno's C up to `tau_days`: pairs as in Harrell's C, weighted so that it does not depend on censoring."""
        return self._ratio(risk, UNO)

    def uno_within(self, risk: FloatArray) -> Concordance:
        """Mean of Uno's C of each cohort, weighted by patients."""
        blocks = self._blocks(UNO_WITHIN)
        if not blocks:
            return Concordance(NAN, np.full(len(self._weights), NAN))
        members = {name: self._follow_up.cohort == name for name in {block.cohort for block in blocks}}
        value = mean_within(
            self._count(risk, blocks),
            {name: np.array([float(inside.sum())]) for name, inside in members.items()},
        )
        resampled = mean_within(
            resample_pairs(risk, blocks, self._weights, self._totals[UNO_WITHIN]),
            {name: self._weights[:, inside].sum(axis=1) for name, inside in members.items()},
        )
        return Concordance(float(value[0]), resampled)

    def auc(self, risk: FloatArray) -> dict[str, Concordance]:
        """Cumulative case / dynamic control AUC at each of `horizons`."""
        return {name: self._ratio(risk, name) for name in self.horizons}

    def mean_auc(self, of_horizon: dict[str, Concordance]) -> Concordance:
        """Mean over the horizons, each weighted by the share of patients who have the event since the one before."""
        if not of_horizon:
            return Concordance(NAN, np.full(len(self._weights), NAN))
        everyone = np.ones((1, len(self._follow_up.event)))
        surviving = [
            float(survival_at(self._follow_up.time_days, self._follow_up.event, everyone, self.horizons[name])[0])
            for name in of_horizon
        ]
        shares = -np.diff([1.0, *surviving]) / (1.0 - surviving[-1])
        found = list(of_horizon.values())
        value = float(np.dot(shares, [item.value for item in found]))
        return Concordance(value, np.asarray(shares @ np.stack([item.resampled for item in found])))

    def _ratio(self, risk: FloatArray, name: str) -> Concordance:
        blocks = self._blocks(name)
        value = pooled_concordance(self._count(risk, blocks))
        resampled = resample_pairs(risk, blocks, self._weights, self._totals[name])
        return Concordance(float(value[0]), pooled_concordance(resampled))

    def integrated_brier(self, survival: FloatArray, at_days: FloatArray) -> Concordance:
        """Integrated Brier score up to `tau_days`: lower is better, 0.25 is what a constant half would get.

        Args:
            survival: Probability of no event by each time, shape (patients, times).
            at_days: The times, ascending, shape (times,).
        """
        inside = at_days < self.tau_days
        if inside.sum() < 2 or self._censoring is None:
            return Concordance(NAN, np.full(len(self._weights), NAN))
        times, predicted = at_days[inside], survival[:, inside]
        followed = np.asarray(self._censoring.predict_proba(times))
        had_event = (self._follow_up.time_days[:, None] <= times) & self._follow_up.event[:, None]
        is_beyond = self._follow_up.time_days[:, None] > times
        errors = predicted**2 * had_event * self._inverse[:, None] + (1 - predicted) ** 2 * is_beyond / followed
        of_patient = np.trapezoid(errors, times, axis=1) / (times[-1] - times[0])
        resampled = self._weights @ of_patient / self._weights.sum(axis=1)
        return Concordance(float(of_patient.mean()), np.asarray(resampled))

    def calibration_days(self, at_days: FloatArray) -> float | None:
        """The time at which calibration is judged: of 3, 1 and 5 years the first estimable, else the median follow-up.

        Args:
            at_days: Times at which survival is predicted.
        """
        for name in CALIBRATION_HORIZONS:
            if name in self.horizons and np.isclose(at_days, self.horizons[name]).any():
                return self.horizons[name]
        nearest = float(at_days[np.abs(at_days - np.median(self._follow_up.time_days)).argmin()])
        return nearest if self.is_estimable(nearest) else None

    def calibration(self, predicted: FloatArray, at_days: float) -> Calibration:
        """Mean predicted against observed survival in fifths of the patients by prediction (thirds if under 100).

        Args:
            predicted: Probability of no event by the time, shape (patients,).
            at_days: The time.
        """
        from sksurv.nonparametric import kaplan_meier_estimator

        n_groups = 5 if len(predicted) >= MIN_PATIENTS_FOR_FIFTHS else 3
        share = (rankdata(predicted) - 0.5) / len(predicted)
        number = np.minimum((share * n_groups).astype(np.int64), n_groups - 1)
        time, event = self._follow_up.time_days, self._follow_up.event
        groups, gaps, sizes = [], [], []
        for group in np.unique(number):
            inside = number == group
            weights = self._weights[:, inside]
            at, observed, band = kaplan_meier_estimator(event[inside], time[inside], conf_type="log-log")
            reached = int(np.searchsorted(at, at_days, side="right")) - 1
            low, high = (band[:, reached] if reached >= 0 else np.ones(2)).tolist()
            groups.append(
                CalibrationGroup(
                    int(inside.sum()),
                    float(predicted[inside].mean()),
                    float(observed[reached]) if reached >= 0 else 1.0,
                    low if np.isfinite(low) else None,
                    high if np.isfinite(high) else None,
                )
            )
            n_in = weights.sum(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = weights @ predicted[inside] / n_in
            gap = np.abs(mean - survival_at(time[inside], event[inside], weights, at_days))
            gaps.append(np.where(n_in > 0, gap, 0.0))
            sizes.append(n_in)
        resampled = (np.stack(gaps) * np.stack(sizes)).sum(axis=0) / np.stack(sizes).sum(axis=0)
        error = sum(item.n * abs(item.predicted - item.observed) for item in groups) / len(predicted)
        return Calibration(Concordance(error, resampled), groups)


def calibration_entry(scope: str, method: str, at_days: float, groups: Sequence[CalibrationGroup]) -> dict[str, Any]:
    """One method's calibration as `metrics.json` holds it."""
    return {"scope": scope, "method": method, "at_days": at_days, "groups": [vars(group) for group in groups]}
