"""Linear factors of the training samples: which genes rise and fall together, and how much is each gene's own."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bulkrnabert.data.coexpression import MAX_SAMPLES

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.floating]
NOISE_FLOOR = 0.02
N_UPDATES = 5
NOISE_FACTORS = (1.0, 2.0, 4.0, 8.0)
FACTOR_SHARES = (1, 2, 4, 8, 16)
INNER_SHARE = 0.1
MOST_INNER = 100
LEAST_OF_PROTOTYPE = 5


@dataclass(frozen=True)
class FactorModel:
    """z = loading . s + noise, s normal with mean 0 and variance 1.

    Attributes:
        loading: Shape (genes, factors), float32; 0 beyond what the samples span.
        noise: Variance of each gene's noise, shape (genes,), float32, above 0.
    """

    loading: npt.NDArray[np.float32]
    noise: npt.NDArray[np.float32]


def fit_factors(values: FloatArray, n_factors: int, seed: int) -> FactorModel:
    """Factor analysis by maximum likelihood, with as few factors and as much extra noise as new samples ask for.

    With fewer samples than genes the likelihood takes the genes' noise for too small, and trusts the known genes too
    much. So a tenth of the samples (100 at most) is set aside first, half of their values hidden, and the number of
    factors and what all noise is multiplied by are those that restore them best; then all samples are used.

    Args:
        values: Standardised values of training samples, shape (samples, genes), NaN where missing, which count as the
            gene's mean, 0. Not modified.
        n_factors: Columns of the loading, of which all, a half, a quarter, … are used.
        seed: Of the 4,000 samples at most that are used, those set aside, and what is hidden.
    Source:
        Rubin and Thayer, Psychometrika 47:69-76 (1982): the updates; the start is probabilistic PCA (Tipping and
        Bishop, JRSS B 61:611-622, 1999). Extra noise is ours (docs/decisions/0025-gexbert-linear-start.md).
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(values))[:MAX_SAMPLES])
    filled = np.nan_to_num(values[chosen], nan=0.0).astype(np.float64)
    n_inner = min(MOST_INNER, round(INNER_SHARE * len(filled)))
    n_used, factor = n_factors, 1.0
    if n_inner:
        order = rng.permutation(len(filled))
        inner, hidden = filled[order[:n_inner]], rng.random((n_inner, filled.shape[1])) < 0.5
        hidden &= ~np.isnan(values[chosen][order[:n_inner]])
        errors = {}
        for share in FACTOR_SHARES:
            part = _fit(filled[order[n_inner:]], max(1, n_factors // share), seed)
            for each, error in zip(NOISE_FACTORS, _errors(part, inner, hidden), strict=True):
                errors[max(1, n_factors // share), each] = error
        n_used, factor = min(errors, key=lambda setting: errors[setting])
        logger.info("%d linear factors of %d, noise times %g", n_used, n_factors, factor)
    model = _fit(filled, n_used, seed)
    loading = np.zeros((filled.shape[1], n_factors), np.float32)
    loading[:, :n_used] = model.loading
    return FactorModel(loading, model.noise * np.float32(factor))


def _fit(filled: npt.NDArray[np.float64], n_factors: int, seed: int) -> FactorModel:
    from sklearn.utils.extmath import randomized_svd

    n_samples, n_genes = filled.shape
    n_spanned = min(n_factors, n_samples - 1, n_genes - 1)
    variance = (filled**2).mean(axis=0)
    if n_spanned < 1 or not variance.any():
        return FactorModel(np.zeros((n_genes, n_factors), np.float32), np.ones(n_genes, np.float32))
    _, sizes, directions = randomized_svd(filled, n_spanned, random_state=seed)
    explained = sizes**2 / n_samples
    rest = max((variance.sum() - explained.sum()) / (n_genes - n_spanned), NOISE_FLOOR)
    loading = directions.T * np.sqrt(np.maximum(explained - rest, 0.0))
    noise = np.maximum(variance - (loading**2).sum(axis=1), NOISE_FLOOR)
    for _ in range(N_UPDATES):
        weighted = loading / noise[:, None]
        spread = np.linalg.inv(np.eye(n_spanned) + loading.T @ weighted)
        to_scores = weighted @ spread
        shared = filled.T @ (filled @ to_scores) / n_samples
        loading = shared @ np.linalg.inv(spread + to_scores.T @ shared)
        noise = np.maximum(variance - (loading * shared).sum(axis=1), NOISE_FLOOR)
    whole = np.zeros((n_genes, n_factors), np.float32)
    whole[:, :n_spanned] = loading
    return FactorModel(whole, noise.astype(np.float32))


def _errors(model: FactorModel, values: FloatArray, hidden: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Mean squared error of the hidden values, restored from the others of the same sample, by `NOISE_FACTORS`."""
    loading, noise = model.loading.astype(np.float64), model.noise.astype(np.float64)
    identity, totals = np.eye(loading.shape[1]), np.zeros(len(NOISE_FACTORS))
    for row, is_hidden in zip(values, hidden, strict=True):
        known = loading[~is_hidden]
        weighted = known / noise[~is_hidden, None]
        precision, shares = known.T @ weighted, weighted.T @ row[~is_hidden]
        for number, factor in enumerate(NOISE_FACTORS):
            scores = np.linalg.solve(identity + precision / factor, shares / factor)
            totals[number] += float(((loading[is_hidden] @ scores - row[is_hidden]) ** 2).sum())
    return totals / max(1, int(hidden.sum()))


def fit_prototypes(values: FloatArray, n_prototypes: int, seed: int) -> npt.NDArray[np.float32]:
    """Typical samples: the centres of k-means, shape (genes, prototypes), float32.

    A centre of fewer than five samples is moved to the mean of the five samples that are nearest to it, so that no
    prototype is one patient's profile.

    Args:
        values: As in `fit_factors`; no fewer samples than prototypes, nor than five. Not modified.
        n_prototypes: How many.
        seed: Of the 4,000 samples at most that are used, and of the start.
    """
    from sklearn.cluster import KMeans

    chosen = np.sort(np.random.default_rng(seed).permutation(len(values))[:MAX_SAMPLES])
    filled = np.nan_to_num(values[chosen], nan=0.0).astype(np.float32)
    found = KMeans(n_prototypes, n_init=1, max_iter=30, random_state=seed).fit(filled)
    centres = found.cluster_centers_.astype(np.float32)
    small = np.flatnonzero(np.bincount(found.labels_, minlength=n_prototypes) < LEAST_OF_PROTOTYPE)
    for number in small:
        distances = ((filled - centres[number]) ** 2).sum(axis=1)
        centres[number] = filled[np.argsort(distances, kind="stable")[:LEAST_OF_PROTOTYPE]].mean(axis=0)
    logger.info(
        "%d of %d prototypes stood for fewer than %d samples and were moved to the mean of the nearest %d",
        len(small),
        n_prototypes,
        LEAST_OF_PROTOTYPE,
        LEAST_OF_PROTOTYPE,
    )
    moved: npt.NDArray[np.float32] = centres.T
    return moved
