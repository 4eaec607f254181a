"""How good restored values are: error, correlation and stated uncertainty, over the same resampled patients.

Shape letters: N samples, G genes, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from bulkrnabert.downstream.restoration import RestoredValues

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

LEVELS = (0.5, 0.8, 0.95)
MIN_CELLS = 10
LOWER_IS_BETTER = frozenset({"rmse"})
METRICS = ("rmse", "pearson_gene_median", "pearson_sample_median")


@dataclass(frozen=True)
class Judged:
    """A number in the data and in every resample; NaN where not estimable.

    Attributes:
        value: In the data.
        resampled: Shape (R,).
    """

    value: float
    resampled: FloatArray


@dataclass(frozen=True)
class HiddenCells:
    """What is judged.

    Attributes:
        truth: True values, shape (N, G); only those that are hidden are looked at.
        hidden: Shape (N, G).
        weights: How often each sample is in each resample, shape (R, N).
    """

    truth: FloatArray
    hidden: BoolArray
    weights: FloatArray


def score_restored(cells: HiddenCells, mean: npt.NDArray[np.floating]) -> dict[str, Judged]:
    """Error and correlations of the hidden cells.

    `rmse`: in the unit of the values; lower is better. `pearson_gene_median`: median over genes of the correlation over
    samples; `pearson_sample_median`: median over samples of the correlation over genes. Genes and samples with fewer
    than 10 hidden cells, or whose values do not vary, are left out of a median.

    Args:
        cells: What is judged.
        mean: Restored values, shape (N, G).
    """
    everyone = np.ones((1, len(cells.truth)))
    both = np.concatenate([everyone, cells.weights])
    found = {
        "rmse": _rmse(cells, mean, both),
        "pearson_gene_median": _of_genes(cells, mean, both),
        "pearson_sample_median": _of_samples(cells, mean, both),
    }
    return {name: Judged(float(values[0]), values[1:]) for name, values in found.items()}


def coverage(cells: HiddenCells, restored: RestoredValues) -> dict[float, Judged]:
    """Share of the hidden cells that lie inside the stated normal intervals of 50, 80 and 95 %.

    Args:
        cells: What is judged.
        restored: With stated deviations.
    """
    assert restored.deviation is not None
    both = np.concatenate([np.ones((1, len(cells.truth))), cells.weights])
    n_cells = both @ cells.hidden.sum(axis=1)
    distance = np.abs(cells.truth - restored.mean)
    found = {}
    for level in LEVELS:
        inside = cells.hidden & (distance <= norm.ppf(0.5 + level / 2) * restored.deviation)
        shares = _divide(both @ inside.sum(axis=1), n_cells)
        found[level] = Judged(float(shares[0]), shares[1:])
    return found


def _rmse(cells: HiddenCells, mean: npt.NDArray[np.floating], weights: FloatArray) -> FloatArray:
    squares = np.where(cells.hidden, np.nan_to_num(cells.truth - mean) ** 2, 0.0).sum(axis=1)
    return np.sqrt(_divide(weights @ squares, weights @ cells.hidden.sum(axis=1)))


def _of_genes(cells: HiddenCells, mean: npt.NDArray[np.floating], weights: FloatArray) -> FloatArray:
    """Median over genes of the weighted correlation over samples, shape (weights,)."""
    is_used = cells.hidden.sum(axis=0) >= MIN_CELLS
    if not is_used.any():
        return np.full(len(weights), np.nan)
    hidden = cells.hidden[:, is_used]
    of_genes = np.where(hidden, cells.truth[:, is_used], 0.0)
    centre = of_genes.sum(axis=0) / hidden.sum(axis=0)
    truth = np.where(hidden, of_genes - centre, 0.0)
    guess = np.where(hidden, mean[:, is_used] - centre, 0.0).astype(np.float64)
    n = weights @ hidden.astype(np.float64)
    sums = [weights @ item for item in (truth, guess, truth**2, guess**2, truth * guess)]
    with np.errstate(invalid="ignore", divide="ignore"):
        t, g, tt, gg, tg = (item / n for item in sums)
        spread_t, spread_g = tt - t**2, gg - g**2
        varies = (n >= 2) & (spread_t > 1e-10) & (spread_g > 1e-10)
        correlation = np.where(varies, (tg - t * g) / np.sqrt(spread_t * spread_g), np.nan)
    return _median_of_rows(correlation)


def _of_samples(cells: HiddenCells, mean: npt.NDArray[np.floating], weights: FloatArray) -> FloatArray:
    """Weighted median over samples of the correlation over genes, shape (weights,)."""
    n = cells.hidden.sum(axis=1)
    rows = np.flatnonzero(n >= MIN_CELLS)
    found = np.full(len(cells.truth), np.nan)
    for row in rows:
        truth, guess = cells.truth[row, cells.hidden[row]], mean[row, cells.hidden[row]]
        if np.ptp(truth) > 1e-5 and np.ptp(guess) > 1e-5:
            found[row] = np.corrcoef(truth, guess)[0, 1]
    is_there = np.flatnonzero(np.isfinite(found))
    if not len(is_there):
        return np.full(len(weights), np.nan)
    order = np.argsort(found[is_there], kind="stable")
    values, own = found[is_there][order], weights[:, is_there][:, order]
    reached = np.cumsum(own, axis=1)
    half = reached[:, -1:] / 2
    # As the usual median: the mean of the two middle values where half of the weight falls between them.
    low, high = (reached >= half).argmax(axis=1), (reached > half).argmax(axis=1)
    return np.where(reached[:, -1] > 0, (values[low] + values[high]) / 2, np.nan)


def _median_of_rows(values: FloatArray) -> FloatArray:
    nothing = np.asarray(np.isnan(values).all(axis=1))
    return np.where(nothing, np.nan, np.nanmedian(np.where(nothing[:, None], 0.0, values), axis=1))


def _divide(top: FloatArray, bottom: FloatArray) -> FloatArray:
    return np.where(bottom > 0, top / np.maximum(bottom, 1e-300), np.nan)
