"""Ways to restore missing values without a pretrained network; all fitted on a training part of z values.

Every fit takes the training part, shape (samples, genes), NaN where missing, and answers with a `Restorer`. Strengths
are chosen on training samples set aside, of whose values a third is hidden.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from bulkrnabert.downstream.restoration import RestoredValues, Restorer

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.floating]
NEIGHBOURS = (5, 10, 20, 50)
RIDGE_SHARES = (0.003, 0.01, 0.03, 0.1, 0.3)
SOFT_SHARES = (0.05, 0.1, 0.2, 0.4)
INNER_SHARE = 0.1
MOST_INNER = 100
INNER_RATE = 1 / 3
SOFT_STEPS = 100
SOFT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class MeanImputer:
    """Each gene's mean and deviation in the training part.

    Attributes:
        mean: Shape (genes,).
        deviation: Shape (genes,).
    """

    mean: FloatArray
    deviation: FloatArray

    def restore(self, values: FloatArray) -> RestoredValues:
        """As `Restorer.restore`."""
        mean, deviation = (np.tile(row, (len(values), 1)) for row in (self.mean, self.deviation))
        return RestoredValues(mean.astype(np.float32), deviation.astype(np.float32))


def fit_mean(train: FloatArray) -> MeanImputer:
    """Fit `MeanImputer`; a gene without a value in the training part has mean 0 and deviation 1."""
    n_present = (~np.isnan(train)).sum(axis=0)
    mean = np.nansum(train, axis=0, dtype=np.float64) / np.maximum(n_present, 1)
    variance = np.nansum((train - mean) ** 2, axis=0, dtype=np.float64) / np.maximum(n_present, 1)
    return MeanImputer(mean, np.where(n_present > 0, np.sqrt(variance), 1.0))


@dataclass(frozen=True)
class NeighbourImputer:
    """Mean over the nearest training samples, weighted by inverse distance, by scikit-learn's `KNNImputer`.

    Attributes:
        train: The training part, shape (samples, genes).
        n_neighbours: How many.
    """

    train: FloatArray
    n_neighbours: int

    def restore(self, values: FloatArray) -> RestoredValues:
        """As `Restorer.restore`; measured cells come back as they are."""
        from sklearn.impute import KNNImputer

        n_neighbours = min(self.n_neighbours, len(self.train))
        imputer = KNNImputer(n_neighbors=n_neighbours, weights="distance", keep_empty_features=True).fit(self.train)
        return RestoredValues(np.asarray(imputer.transform(values), dtype=np.float32), None)


def fit_neighbours(train: FloatArray, seed: int) -> Restorer:
    """k nearest neighbours, k chosen inside the training part."""
    return _choose("k nearest neighbours", lambda rows, k: NeighbourImputer(rows, int(k)), NEIGHBOURS, train, seed)


class RidgeImputer:
    """Ridge regression of every gene on all others, iterated until nothing changes, which has a closed form.

    Regressing gene i on the others with penalty p gives the coefficients -P_ij / P_ii of P = (S + p I)^-1, where S is
    the covariance of the training part. Regressions that feed each other settle at the conditional mean of a normal
    distribution with that covariance, so it is solved for directly, and its conditional deviation comes with it.

    Args:
        train: Shape (samples, genes); missing values count as the gene's mean.
        share: Penalty as a share of the mean variance of a gene.
    """

    def __init__(self, train: FloatArray, share: float) -> None:
        self._mean = fit_mean(train).mean
        centred = np.where(np.isnan(train), 0.0, train - self._mean).astype(np.float64)
        covariance = centred.T @ centred / len(train)
        penalty = share * max(float(np.trace(covariance)) / len(covariance), np.finfo(np.float64).tiny)
        self._covariance = covariance + penalty * np.eye(len(covariance))
        self._precision = np.linalg.inv(self._covariance)

    def restore(self, values: FloatArray) -> RestoredValues:
        """As `Restorer.restore`; measured cells come back with deviation 0."""
        centred = np.asarray(values, dtype=np.float64) - self._mean
        is_missing = np.isnan(centred)
        mean, deviation = np.where(is_missing, 0.0, centred), np.zeros(centred.shape)
        patterns, which = np.unique(is_missing, axis=0, return_inverse=True)
        which = which.ravel()
        order = np.argsort(which, kind="stable")
        starts = np.searchsorted(which[order], np.arange(len(patterns) + 1))
        for number, missing in enumerate(patterns):
            if not missing.any():
                continue
            rows = order[starts[number] : starts[number + 1]]
            found, spread = self._conditional(centred[rows][:, ~missing], missing)
            mean[np.ix_(rows, missing)] = found
            deviation[np.ix_(rows, missing)] = spread
        return RestoredValues((mean + self._mean).astype(np.float32), deviation.astype(np.float32))

    def _conditional(self, known: FloatArray, missing: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """Conditional mean, shape (rows, missing), and deviation, shape (missing,); by the smaller of two systems."""
        if missing.sum() <= (~missing).sum():
            factor = cho_factor(self._precision[np.ix_(missing, missing)])
            mean = -cho_solve(factor, self._precision[np.ix_(missing, ~missing)] @ known.T).T
            variance = np.diag(cho_solve(factor, np.eye(int(missing.sum()))))
        else:
            shared = self._covariance[np.ix_(~missing, missing)]
            weights = cho_solve(cho_factor(self._covariance[np.ix_(~missing, ~missing)]), shared)
            mean = known @ weights
            variance = np.diag(self._covariance)[missing] - (shared * weights).sum(axis=0)
        return mean, np.sqrt(np.maximum(variance, 0.0))


def fit_ridge(train: FloatArray, seed: int) -> Restorer:
    """Iterated ridge regression, its penalty chosen inside the training part."""
    return _choose("iterated ridge regression", RidgeImputer, RIDGE_SHARES, train, seed)


class SoftImputer:
    """Soft-impute on fixed components: missing cells are replaced by a shrunk projection until nothing changes.

    Args:
        train: Shape (samples, genes); missing values count as the gene's mean.
        share: What every singular value is lowered by, as a share of the largest.
    Source:
        Mazumder, Hastie and Tibshirani, JMLR 11:2287-2322 (2010). Differs: the components are those of the training
        part, so that new samples can be restored one by one.
    """

    def __init__(self, train: FloatArray, share: float) -> None:
        self._mean = fit_mean(train).mean
        centred = np.where(np.isnan(train), 0.0, train - self._mean).astype(np.float64)
        _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
        is_kept = sizes > share * sizes[0]
        shrunk = (sizes[is_kept] - share * sizes[0]) / sizes[is_kept] if is_kept.any() else np.zeros(0)
        self._projection = (directions[is_kept].T * shrunk) @ directions[is_kept]

    def restore(self, values: FloatArray) -> RestoredValues:
        """As `Restorer.restore`."""
        centred = np.asarray(values, dtype=np.float64) - self._mean
        is_missing = np.isnan(centred)
        filled = np.where(is_missing, 0.0, centred)
        for _ in range(SOFT_STEPS):
            projected = filled @ self._projection
            change = np.abs(np.where(is_missing, projected - filled, 0.0)).max(initial=0.0)
            filled = np.where(is_missing, projected, filled)
            if change < SOFT_TOLERANCE:
                break
        return RestoredValues((filled + self._mean).astype(np.float32), None)


def fit_soft(train: FloatArray, seed: int) -> Restorer:
    """PCA by soft-impute, its threshold chosen inside the training part."""
    return _choose("soft-impute", SoftImputer, SOFT_SHARES, train, seed)


def inner_rows(n_samples: int, seed: int) -> npt.NDArray[np.bool_]:
    """Training samples that settings are chosen on: a tenth, at most 100, at least 1, shape (samples,)."""
    is_inner = np.zeros(n_samples, dtype=bool)
    n_inner = max(1, min(MOST_INNER, round(INNER_SHARE * n_samples)))
    is_inner[np.random.default_rng(seed).permutation(n_samples)[:n_inner]] = True
    return is_inner


def _choose(
    name: str,
    make: Callable[[FloatArray, float], Restorer],
    strengths: Sequence[float],
    train: FloatArray,
    seed: int,
) -> Restorer:
    """What is made with the strength of least squared error on hidden cells of training samples set aside."""
    is_inner = inner_rows(len(train), seed)
    rng = np.random.default_rng([seed, 1])
    inner = train[is_inner]
    hidden = (rng.random(inner.shape) < INNER_RATE) & ~np.isnan(inner)
    hidden[(hidden | np.isnan(inner)).all(axis=1)] = False
    shown = np.where(hidden, np.nan, inner)
    errors = []
    for strength in strengths:
        restored = make(train[~is_inner], strength).restore(shown).mean
        errors.append(float(((restored - inner)[hidden] ** 2).mean()) if hidden.any() else 0.0)
    best = strengths[int(np.argmin(errors))]
    logger.debug("%s: %s of %s, inner errors %s", name, best, strengths, errors)
    return make(train, best)
