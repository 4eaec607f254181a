"""From numbers to bins: the arithmetic of the tokenizer, in float64 and without changing its input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bulkrnabert.errors import DataError


def linear_bins(normalised: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    """Bins of values that were divided by their maximum.

    Args:
        normalised: Values, any shape; 1 is the training maximum. Not modified. NaN gets an id beyond every bin.
        n_bins: Number of bins.
    Returns:
        Ids, same shape: exact zeros and negatives 0; `(0, 1 / (n_bins - 1))` 1; at or above 1 `n_bins`.
    Source:
        The published tokenizer: `digitize` over `linspace(0, 1, n_bins)`, exact zeros forced to 0.
    """
    ids = np.digitize(normalised, np.linspace(0.0, 1.0, n_bins))
    return np.where(normalised == 0.0, 0, ids)


def log10_plus_one(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """log10(1 + x), as the published tokenizer is fed; float64, NaN stays NaN."""
    return np.asarray(np.log10(1.0 + values), dtype=np.float64)


def quantile_edges(values: NDArray[np.floating], n_bins: int) -> NDArray[np.float64]:
    """Inner edges that put equal numbers of values into each bin, NaN left out.

    Args:
        values: Any shape, pooled over samples and genes.
        n_bins: Number of bins.
    Returns:
        Edges, shape (n_bins - 1,), ascending; `digitize` over them gives 0 to n_bins - 1.
    Raises:
        DataError: there is no value at all.
    """
    present = np.asarray(values, dtype=np.float64)
    present = present[np.isfinite(present)]
    if present.size == 0:
        raise DataError("no value to take quantiles of: every value of the training part is missing")
    return np.asarray(np.quantile(present, np.linspace(0.0, 1.0, n_bins + 1)[1:-1]), dtype=np.float64)
