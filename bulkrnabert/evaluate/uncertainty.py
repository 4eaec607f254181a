"""Patient bootstrap: the same resampled patients for every method of a job."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """Bounds of a 95 % interval; None where no resample had a value."""

    low: float | None
    high: float | None


def resample_weights(n_patients: int, n_resamples: int, seed: int) -> FloatArray:
    """How often each patient is in each resample, shape (resamples, patients); a row sums to the number of patients."""
    even = np.full(n_patients, 1.0 / n_patients)
    return np.random.default_rng(seed).multinomial(n_patients, even, size=n_resamples).astype(np.float64)


def percentile_interval(values: FloatArray) -> Interval:
    """Central 95 % of the resampled values; NaN stands for a resample without a value, and is left out."""
    estimable = values[np.isfinite(values)]
    if not len(estimable):
        return Interval(None, None)
    low, high = np.quantile(estimable, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
