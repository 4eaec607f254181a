"""Harrell's C of out-of-fold risks: pooled and within cohort, with a fast patient bootstrap.

Only patients of the same fold are compared, because their risks come from one model. Comparing risks across folds is
biased: a fold that holds out more events leaves fewer to learn from, so its model calls everyone safer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

TIED_RISK = 1e-8
MIN_EVENTS_IN_MEAN = 5


@dataclass(frozen=True)
class FollowUp:
    """What happened to the judged patients of one repeat; arrays of shape (patients,).

    Attributes:
        time_days: Follow-up in days.
        event: Whether the event was seen.
        fold: Fold in which the patient was predicted.
        cohort: Cohort as a number, 0 to n - 1.
    """

    time_days: FloatArray
    event: npt.NDArray[np.bool_]
    fold: IntArray
    cohort: IntArray


@dataclass(frozen=True)
class Block:
    """Patients that may be compared with each other.

    Attributes:
        rows: Their row numbers, shape (members,).
        cohort: Their cohort, or -1 if of several.
        comparable: Whether the first is known to have had the event before the second, shape (members, members); or
            the weight of the pair.
    """

    rows: IntArray
    cohort: int
    comparable: npt.NDArray[np.float32]


def comparable_pairs(time_days: FloatArray, event: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """1 where patient i had the event before patient j's follow-up ended, or at the same time while j was censored."""
    earlier = time_days[:, None] < time_days[None, :]
    same = (time_days[:, None] == time_days[None, :]) & ~event[None, :]
    return np.asarray(event[:, None] & (earlier | same), dtype=np.float32)


def make_blocks(follow_up: FollowUp, by_cohort: bool) -> list[Block]:
    """Split patients into blocks of one fold, and of one cohort if asked."""
    blocks = []
    cohorts = np.unique(follow_up.cohort) if by_cohort else np.array([-1])
    for fold in np.unique(follow_up.fold):
        for cohort in cohorts:
            inside = (follow_up.fold == fold) & ((follow_up.cohort == cohort) | (cohort == -1))
            rows = np.flatnonzero(inside)
            blocks.append(Block(rows, int(cohort), comparable_pairs(follow_up.time_days[rows], follow_up.event[rows])))
    return blocks


@dataclass(frozen=True)
class PairCounts:
    """Pairs of one cohort (-1: of several): those in the right order (a tie counts half), and all that compare."""

    cohort: int
    right: FloatArray
    all: FloatArray


def count_pairs(follow_up: FollowUp, risk: FloatArray, blocks: Sequence[Block]) -> list[PairCounts]:
    """Pairs a cohort by scikit-survival, summed over folds; arrays of shape (1,)."""
    from sksurv.exceptions import NoComparablePairException
    from sksurv.metrics import concordance_index_censored

    counts: dict[int, tuple[float, float]] = {}
    for block in blocks:
        right, total = counts.get(block.cohort, (0.0, 0.0))
        event, time, of_block = follow_up.event[block.rows], follow_up.time_days[block.rows], risk[block.rows]
        if len(block.rows) > 1 and event.any():
            try:
                _, concordant, discordant, tied, _ = concordance_index_censored(event, time, of_block, TIED_RISK)
            except NoComparablePairException:
                concordant = discordant = tied = 0
            right, total = right + concordant + tied / 2, total + concordant + discordant + tied
        counts[block.cohort] = (right, total)
    return [PairCounts(cohort, np.array([right]), np.array([total])) for cohort, (right, total) in counts.items()]


def weigh_pairs(pairs: npt.NDArray[np.float32], weights: FloatArray) -> FloatArray:
    """Sum of the pairs of a block in every resample, shape (resamples,).

    Args:
        pairs: Weight of each pair, shape (members, members).
        weights: How often each member is in each resample, shape (resamples, members).
    """
    of_block = weights.astype(np.float32)
    return np.asarray(((of_block @ pairs) * of_block).sum(axis=1, dtype=np.float64))


def resample_totals(blocks: Sequence[Block], weights: FloatArray) -> list[FloatArray]:
    """All pairs of each block in every resample; the same for every method."""
    return [weigh_pairs(block.comparable, weights[:, block.rows]) for block in blocks]


def agreement(risk: FloatArray) -> npt.NDArray[np.float32]:
    """1 where the first has the higher risk, 0.5 where both are the same, shape (members, members)."""
    difference = risk[:, None] - risk[None, :]
    return np.where(np.abs(difference) <= TIED_RISK, 0.5, difference > 0).astype(np.float32)


def resample_pairs(
    risk: FloatArray, blocks: Sequence[Block], weights: FloatArray, totals: Sequence[FloatArray] | None = None
) -> list[PairCounts]:
    """Pairs a cohort in every resample; arrays of shape (resamples,).

    Args:
        risk: Higher is worse, shape (patients,).
        blocks: Who may be compared.
        weights: How often each patient is in each resample, shape (resamples, patients).
        totals: As `resample_totals`, where they are known already.
    """
    sums: dict[int, tuple[FloatArray, FloatArray]] = {}
    for block, total in zip(blocks, totals or resample_totals(blocks, weights), strict=True):
        right = weigh_pairs(block.comparable * agreement(risk[block.rows]), weights[:, block.rows])
        before = sums.get(block.cohort, (np.zeros(len(weights)), np.zeros(len(weights))))
        sums[block.cohort] = (before[0] + right, before[1] + total)
    return [PairCounts(cohort, right, total) for cohort, (right, total) in sums.items()]


def _ratio(right: FloatArray, total: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, right / total, np.nan))


def pooled_concordance(counts: Sequence[PairCounts]) -> FloatArray:
    """C over all pairs; NaN without any."""
    return _ratio(_sum_of([item.right for item in counts]), _sum_of([item.all for item in counts]))


def _sum_of(arrays: Sequence[FloatArray]) -> FloatArray:
    """Element-wise sum of arrays of one shape."""
    return np.asarray(np.sum(np.stack(arrays), axis=0))


def mean_within(counts: Sequence[PairCounts], n_patients: dict[int, FloatArray] | None) -> FloatArray:
    """Mean of the cohorts' C, weighted by their patients (None: not weighted); cohorts without a pair are left out."""
    values = np.stack([_ratio(item.right, item.all) for item in counts])
    sizes = np.ones_like(values) if n_patients is None else np.stack([n_patients[item.cohort] for item in counts])
    sizes = np.where(np.isfinite(values), sizes, 0.0)
    return _ratio(np.nansum(values * sizes, axis=0), sizes.sum(axis=0))


@dataclass(frozen=True)
class Concordance:
    """One C in the data (`value`, NaN if not estimable) and in every resample, shape (resamples,)."""

    value: float
    resampled: FloatArray


class ConcordanceJudge:
    """Computes every C of a job; what does not depend on the method is prepared once.

    Args:
        follow_up: Of the judged patients of one repeat.
        weights: How often each is in each resample, shape (resamples, patients).
    """

    def __init__(self, follow_up: FollowUp, weights: FloatArray) -> None:
        self._follow_up = follow_up
        self._weights = weights
        self._pooled = make_blocks(follow_up, by_cohort=False)
        self._pooled_totals = resample_totals(self._pooled, weights)
        cohorts = np.unique(follow_up.cohort)
        n_events = {int(name): int(follow_up.event[follow_up.cohort == name].sum()) for name in cohorts}
        self.in_mean = [name for name, count in n_events.items() if count >= MIN_EVENTS_IN_MEAN]
        self.n_events_left_out = {name: count for name, count in n_events.items() if count < MIN_EVENTS_IN_MEAN}
        self._within = [block for block in make_blocks(follow_up, by_cohort=True) if block.cohort in self.in_mean]
        self._within_totals = resample_totals(self._within, weights)

    def pooled(self, risk: FloatArray) -> Concordance:
        """C over all patients of a fold."""
        value = pooled_concordance(count_pairs(self._follow_up, risk, self._pooled))
        resampled = resample_pairs(risk, self._pooled, self._weights, self._pooled_totals)
        return Concordance(float(value[0]), pooled_concordance(resampled))

    def of_cohorts(self, risk: FloatArray) -> dict[int, Concordance]:
        """C of each cohort with at least 5 events, summed over folds."""
        if not self._within:
            return {}
        values = {item.cohort: item for item in count_pairs(self._follow_up, risk, self._within)}
        resampled = resample_pairs(risk, self._within, self._weights, self._within_totals)
        return {
            item.cohort: Concordance(float(pooled_concordance([values[item.cohort]])[0]), pooled_concordance([item]))
            for item in resampled
        }

    def of_folds(self, risk: FloatArray, by_cohort: bool) -> dict[int, float]:
        """C of each fold alone, pooled or as the mean within cohort weighted by patients; NaN where not estimable."""
        blocks = self._within if by_cohort else self._pooled
        found = {}
        for fold in np.unique(self._follow_up.fold).tolist():
            inside = self._follow_up.fold == fold
            of_fold = [block for block in blocks if len(block.rows) and inside[block.rows[0]]]
            if not of_fold:
                found[fold] = float("nan")
                continue
            counts = count_pairs(self._follow_up, risk, of_fold)
            sizes = {block.cohort: np.array([float(len(block.rows))]) if by_cohort else np.ones(1) for block in of_fold}
            found[fold] = float(mean_within(counts, sizes)[0])
        return found

    def within(self, risk: FloatArray, is_weighted: bool) -> Concordance:
        """Mean of the C of each cohort, over those with at least 5 events."""
        if not self._within:
            return Concordance(float("nan"), np.full(len(self._weights), np.nan))
        members = {name: self._follow_up.cohort == name for name in self.in_mean}
        sizes = {name: np.array([float(inside.sum())]) for name, inside in members.items()}
        resampled_sizes = {name: self._weights[:, inside].sum(axis=1) for name, inside in members.items()}
        value = mean_within(count_pairs(self._follow_up, risk, self._within), sizes if is_weighted else None)
        resampled = mean_within(
            resample_pairs(risk, self._within, self._weights, self._within_totals),
            resampled_sizes if is_weighted else None,
        )
        return Concordance(float(value[0]), resampled)
