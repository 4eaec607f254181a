"""Methods compared on the same folds: the corrected resampled t test, and the paired bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bulkrnabert.evaluate.uncertainty import Interval, percentile_interval

FloatArray = npt.NDArray[np.float64]
Verdict = Literal["ahead", "level", "behind"]

LEVEL_OF_TEST = 0.05


@dataclass(frozen=True)
class CorrectedTest:
    """A corrected resampled t test.

    Attributes:
        p: Two-sided; None with fewer than two folds that can be compared.
        n_folds: Folds that both methods were judged in.
    """

    p: float | None
    n_folds: int


def corrected_t_test(differences: FloatArray, test_share: float) -> CorrectedTest:
    """Whether two methods differ over the folds of repeated splits, whose training parts overlap.

    t = mean / sqrt((1 / folds + test_share) * variance), folds - 1 degrees of freedom. Without the correction the folds
    would count as independent, and chance would look like a difference.

    Args:
        differences: Of one method's metric to the other's, a number a fold of every repeat; NaN where not estimable.
        test_share: Size of a test part by the size of its training part, as `Splits.share_tested` has it.
    Source:
        Nadeau and Bengio, Machine Learning 52:239-281 (2003), corrected resampled t test.
    """
    from scipy.stats import t as student

    found = differences[np.isfinite(differences)]
    if len(found) < 2:
        return CorrectedTest(None, len(found))
    mean, variance = float(found.mean()), float(found.var(ddof=1))
    if variance <= np.finfo(np.float64).eps ** 2:
        return CorrectedTest(1.0 if abs(mean) <= np.finfo(np.float64).eps else 0.0, len(found))
    statistic = mean / np.sqrt((1 / len(found) + test_share) * variance)
    return CorrectedTest(float(2 * student.sf(abs(statistic), len(found) - 1)), len(found))


def verdict(interval: Interval, test: CorrectedTest) -> Verdict:
    """`ahead` or `behind` if the interval of the difference excludes 0 and the test, where there is one, agrees."""
    is_shown = test.p is None or test.p < LEVEL_OF_TEST
    if is_shown and interval.low is not None and interval.low > 0:
        return "ahead"
    if is_shown and interval.high is not None and interval.high < 0:
        return "behind"
    return "level"


@dataclass(frozen=True)
class MeanScore:
    """One metric of one method.

    Attributes:
        value: Mean over repeats; NaN where not estimable.
        resampled: The same in every bootstrap resample of patients, shape (resamples,).
        of_folds: In each fold of each repeat, NaN where not estimable.
    """

    value: float
    resampled: FloatArray
    of_folds: FloatArray


def paired_comparison(own: MeanScore, against: MeanScore, test_share: float) -> dict[str, float | int | str | None]:
    """One method against another on the same resamples and folds, as every comparison of a run is stated.

    Where the metric is not estimable for one of the two, only the folds that can be compared are counted.

    Args:
        own: The method.
        against: The other one.
        test_share: As in `corrected_t_test`.
    """
    difference = own.value - against.value
    test = corrected_t_test(own.of_folds - against.of_folds, test_share)
    if not np.isfinite(difference):
        nothing = dict.fromkeys(("difference", "low", "high", "p_corrected"))
        return {**nothing, "n_folds": test.n_folds, "holds": None}
    interval = percentile_interval(own.resampled - against.resampled)
    return {
        "difference": difference,
        "low": interval.low,
        "high": interval.high,
        "p_corrected": test.p,
        "n_folds": test.n_folds,
        "holds": verdict(interval, test),
    }
