"""Whether the data of a new cohort look like those of the others, before any label is looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bulkrnabert import keys
from bulkrnabert.data.tables import Cohorts
from bulkrnabert.evaluate.promotion import NewCohort

MIN_SHARE_OF_LOWEST = 0.5
MIN_LOWEST = 0.2
MIN_COVERAGE = 0.5
MIN_GENES = 20
METRIC = "profile_correlation"

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Profiles:
    """Samples of one cohort on the genes that are compared.

    Attributes:
        ranks: Shape (samples, genes): each sample's ranks over its known genes, mean 0 and standard deviation 1; NaN
            where the gene is not known. Samples with less than half of the genes are left out.
        total: Sum over the known values of each gene, shape (genes,).
        n_known: How many they are, shape (genes,).
    """

    ranks: FloatArray
    total: npt.NDArray[np.float64]
    n_known: npt.NDArray[np.int64]


def profile_findings(cohorts: Cohorts, new_cohorts: set[str]) -> list[NewCohort]:
    """How each new cohort's samples correlate with the mean profile of the other cohorts.

    Most of what differs between two genes is the same in every tissue, so ranks correlate between any two cohorts;
    permuted values, shifted gene names or another scale do not. A new cohort passes if the median of its samples'
    rank correlations is at least half of the lowest that an old cohort has with the others. Compared are the genes that
    are known in at least half of the samples of every old cohort and of the new one; means are over known values. A
    cohort that leaves fewer than 20 of the old cohorts' genes fails. Where the old cohorts themselves give nothing to
    compare with, it is not judged: they are fewer than two, share fewer than 20 genes, or do not correlate (0.2).

    Args:
        cohorts: All cohorts of the run. Not modified.
        new_cohorts: Names of the cohorts that the champion never saw.
    """
    names = cohorts.samples[keys.COHORT].to_numpy(dtype=str)
    old, new = sorted(set(names) - new_cohorts), sorted(set(names) & new_cohorts)
    if not new:
        return []
    if len(old) < 2:
        few = f"old cohorts with {cohorts.modality}: {len(old)}; two are needed to say how alike cohorts are"
        return [_not_judged(name, names, few) for name in new]
    covered = {name: _coverage(cohorts.values[names == name]) for name in {*old, *new}}
    shared = np.all([covered[name] for name in old], axis=0)
    if shared.sum() < MIN_GENES:
        few = (
            f"{shared.sum()} of {len(shared)} genes of {cohorts.modality} are known in at least half of the samples of"
            f" every old cohort, and {MIN_GENES} are needed to compare with"
        )
        return [_not_judged(name, names, few) for name in new]
    return [_finding(cohorts, names, old, name, shared, covered[name]) for name in new]


def _not_judged(cohort: str, names: npt.NDArray[np.str_], why: str) -> NewCohort:
    reason = f"the profiles of {cohort} were not looked at: {why}"
    return NewCohort(cohort, METRIC, int((names == cohort).sum()), None, None, None, None, True, reason)


def _coverage(values: FloatArray) -> BoolArray:
    """Which genes are known in at least half of the samples, shape (genes,)."""
    return np.asarray((~np.isnan(values)).mean(axis=0) >= MIN_COVERAGE)


def _finding(
    cohorts: Cohorts, names: npt.NDArray[np.str_], old: list[str], cohort: str, shared: BoolArray, own: BoolArray
) -> NewCohort:
    """One new cohort against the old ones, on the genes that they share with it."""
    genes = shared & own
    if genes.sum() < MIN_GENES:
        reason = (
            f"of {shared.sum()} genes of {cohorts.modality} that the old cohorts share, {genes.sum()} are known in at"
            f" least half of the samples of {cohort}, and {MIN_GENES} are needed: are its values and gene ids right?"
        )
        return NewCohort(cohort, METRIC, int((names == cohort).sum()), None, None, None, None, False, reason)
    profiles = {name: _profiles_of(cohorts.values[names == name][:, genes]) for name in [*old, cohort]}
    lowest = min(_median_correlation(profiles, name, [other for other in old if other != name]) for name in old)
    if lowest < MIN_LOWEST:
        unlike = f"the old cohorts do not correlate with each other (lowest {lowest:.2f}, {MIN_LOWEST} is needed)"
        return _not_judged(cohort, names, unlike)
    found, needed = _median_correlation(profiles, cohort, old), MIN_SHARE_OF_LOWEST * lowest
    n_samples = len(profiles[cohort].ranks)
    reason = (
        f"the profiles of {cohort} correlate with those of the other cohorts by {found:.2f} (median of {n_samples}"
        f" samples, {genes.sum()} genes of {cohorts.modality}), {needed:.2f} is needed and {lowest:.2f} is the lowest"
        " among the others"
    )
    if found < needed:
        reason += ": are its values and gene ids right?"
    return NewCohort(cohort, METRIC, n_samples, found, None, None, needed, found >= needed, reason)


def _profiles_of(values: FloatArray) -> _Profiles:
    from scipy.stats import rankdata

    # Each gene is known in half of the samples, so that at least one sample has half of the genes.
    enough = values[(~np.isnan(values)).mean(axis=1) >= MIN_COVERAGE]
    ranks = np.full(enough.shape, np.nan, dtype=np.float32)
    for row, sample in zip(ranks, enough, strict=True):
        known = ~np.isnan(sample)
        of_sample = rankdata(sample[known])
        row[known] = (of_sample - of_sample.mean()) / max(float(of_sample.std()), 1e-12)
    total = np.asarray(np.nansum(ranks, axis=0, dtype=np.float64))
    return _Profiles(ranks, total, (~np.isnan(ranks)).sum(axis=0))


def _median_correlation(profiles: dict[str, _Profiles], cohort: str, others: list[str]) -> float:
    """Of a cohort's samples with the mean of the others, a gene of which nothing is known there left out."""
    n_known = np.sum([profiles[name].n_known for name in others], axis=0)
    total = np.sum([profiles[name].total for name in others], axis=0)
    mean = np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan)
    return float(np.median([_correlation(row, mean) for row in profiles[cohort].ranks]))


def _correlation(sample: FloatArray, mean: npt.NDArray[np.float64]) -> float:
    """Over what is known of both; 0 where either is the same everywhere."""
    known = ~np.isnan(sample) & ~np.isnan(mean)
    if not known.any():
        return 0.0
    ours, theirs = sample[known] - sample[known].mean(), mean[known] - mean[known].mean()
    length = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    return float(ours @ theirs) / length if length > 0 else 0.0
