"""From numbers to bins: the arithmetic of the tokenizer, in float64 and without changing its input."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bulkrnabert.errors import DataError

Z_LIMIT = 5.0


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


def equal_bins(values: NDArray[np.float64], limit: float, n_bins: int) -> NDArray[np.int64]:
    """Equal bins over [-limit, limit]; what lies beyond goes to the first and the last.

    Args:
        values: Any shape. Not modified. NaN gets bin 0.
        limit: Above 0.
        n_bins: Number of bins.
    Returns:
        Ids, same shape, in [0, n_bins).
    """
    places = (np.nan_to_num(values, nan=-limit, posinf=limit, neginf=-limit) + limit) * (n_bins / (2.0 * limit))
    return np.clip(np.floor(places), 0, n_bins - 1).astype(np.int64)


@dataclass(frozen=True)
class GeneStatistics:
    """Mean of each gene (0 without a value) and its deviation (1 where it does not vary), shape (genes,), float64."""

    means: NDArray[np.float64]
    deviations: NDArray[np.float64]


def gene_statistics(pieces: Callable[[], Iterable[NDArray[np.float64]]], n_genes: int) -> GeneStatistics:
    """Mean and (population) deviation of each gene over its present values, in two passes.

    Args:
        pieces: Gives the table some rows at a time, shape (some, genes), NaN where missing; called twice.
        n_genes: Columns of each piece.
    """
    n_present, total = np.zeros(n_genes, dtype=np.int64), np.zeros(n_genes)
    low, high = np.full(n_genes, np.inf), np.full(n_genes, -np.inf)
    for piece in pieces():
        n_present += (~np.isnan(piece)).sum(axis=0)
        total += np.nansum(piece, axis=0)
        low, high = np.fmin(low, np.fmin.reduce(piece, axis=0)), np.fmax(high, np.fmax.reduce(piece, axis=0))
    divisor = np.maximum(n_present, 1)
    means = total / divisor
    squares = np.zeros(n_genes)
    for piece in pieces():
        squares += np.nansum((piece - means) ** 2, axis=0)
    deviations = np.sqrt(squares / divisor)
    # Equal values have a rounding error for a deviation, by which nothing should be divided.
    varies = (high > low) & (deviations > 0)
    return GeneStatistics(means, np.where(varies, deviations, 1.0))
