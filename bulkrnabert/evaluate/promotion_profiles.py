"""Whether the data of a new cohort look like those of the others, before any label is looked at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bulkrnabert import keys
from bulkrnabert.data.tables import Cohorts
from bulkrnabert.errors import DataError
from bulkrnabert.evaluate.promotion import NewCohort

MIN_SHARE_OF_LOWEST = 0.5
METRIC = "profile_correlation"


def profile_findings(cohorts: Cohorts, new_cohorts: set[str]) -> list[NewCohort]:
    """How each new cohort's samples correlate with the mean profile of the other cohorts.

    Most of what differs between two genes is the same in every tissue, so ranks correlate between any two cohorts;
    permuted values, shifted gene names or another scale do not. A new cohort passes if the median of its samples'
    rank correlations is at least half of the lowest that an old cohort has with the others.

    Args:
        cohorts: All cohorts of the run. Not modified.
        new_cohorts: Names of the cohorts that the champion never saw.
    Raises:
        DataError: fewer than two old cohorts, so that there is nothing to compare with.
    """
    names = cohorts.samples[keys.COHORT].to_numpy(dtype=str)
    old = sorted(set(names) - new_cohorts)
    if not new_cohorts:
        return []
    if len(old) < 2:
        raise DataError(f"{len(old)} old cohorts: two are needed to say how alike cohorts are; leave --cohorts out")
    measured = ~np.isnan(cohorts.values).any(axis=0)
    ranks = _ranks(cohorts.values[:, measured])
    of_old = {name: _median_correlation(ranks, names == name, np.isin(names, [*set(old) - {name}])) for name in old}
    needed = MIN_SHARE_OF_LOWEST * min(of_old.values())
    findings = []
    for name in sorted(new_cohorts & set(names)):
        found = _median_correlation(ranks, names == name, np.isin(names, old))
        n = int((names == name).sum())
        passes = found >= needed
        reason = (
            f"the profiles of {name} correlate with those of the other cohorts by {found:.2f} (median of {n} samples),"
            f" {needed:.2f} is needed and {min(of_old.values()):.2f} is the lowest among the others"
        )
        if not passes:
            reason += ": are its values and gene ids right?"
        findings.append(NewCohort(name, METRIC, n, found, None, None, needed, passes, reason))
    return findings


def _ranks(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Each sample's ranks over the genes, centred and of length 1, shape (samples, genes)."""
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(row) for row in values]).astype(np.float64)
    ranks -= ranks.mean(axis=1, keepdims=True)
    return np.asarray(ranks / np.maximum(np.linalg.norm(ranks, axis=1, keepdims=True), 1e-12))


def _median_correlation(
    ranks: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_], others: npt.NDArray[np.bool_]
) -> float:
    mean = ranks[others].mean(axis=0)
    return float(np.median(ranks[inside] @ (mean / max(float(np.linalg.norm(mean)), 1e-12))))
