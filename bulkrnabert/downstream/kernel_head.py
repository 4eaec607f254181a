"""Kernel ridge regression of classes, to start the output layer of a head on random Fourier features."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert.data.splits import deal_folds

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

RIDGE_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
SCALES = (3.0, 5.0, 8.0, 12.0, 18.0, 27.0)
N_PARTS = 5


@dataclass(frozen=True)
class KernelRidge:
    """Scores of classes: features times weight.

    Attributes:
        weight: Shape (classes, features), float64; softmax of the scores is the probability. 0 for a class that the
            training samples lack.
        strength: Ridge penalty that was chosen.
        scale: What the fitted memberships (about 0 to 1) are multiplied by.
    """

    weight: npt.NDArray[np.float64]
    strength: float
    scale: float


def fit_kernel_ridge(features: FloatArray, class_ids: IntArray, n_classes: int, seed: int) -> KernelRidge:
    """Ridge regression of class membership (0 or 1), its strength and scale chosen on a fifth of the samples.

    Strength and scale are those with the lowest cross-entropy on that fifth; then all samples are used.

    Args:
        features: Random features, shape (samples, features), whose products are near a kernel. Not modified.
        class_ids: Classes of the samples.
        n_classes: Classes of the head.
        seed: Of the fifth.
    """
    is_inner = deal_folds(pd.DataFrame({"class": class_ids}), N_PARTS, np.random.default_rng(seed)) == 0
    losses = {}
    for strength, weight in _solve(features[~is_inner], class_ids[~is_inner], n_classes, RIDGE_STRENGTHS).items():
        memberships = features[is_inner] @ weight.T
        for scale in SCALES:
            losses[strength, scale] = _cross_entropy(scale * memberships, class_ids[is_inner])
    strength, scale = min(losses, key=lambda setting: losses[setting])
    logger.info(
        "kernel head: ridge %g, scale %g (cross-entropy %.3f on %d samples set aside)",
        strength,
        scale,
        losses[strength, scale],
        int(is_inner.sum()),
    )
    weight = _solve(features, class_ids, n_classes, (strength,))[strength]
    return KernelRidge(scale * weight, strength, scale)


def _solve(
    features: FloatArray, class_ids: IntArray, n_classes: int, strengths: tuple[float, ...]
) -> dict[float, npt.NDArray[np.float64]]:
    """Weights by strength: (F'F + s I)^-1 F'Y, or F'(FF' + s I)^-1 Y where there are fewer samples than features."""
    from scipy.linalg import cho_factor, cho_solve

    memberships = np.eye(n_classes, dtype=features.dtype)[class_ids]
    by_sample = len(features) < features.shape[1]
    products = (features @ features.T if by_sample else features.T @ features).astype(np.float64)
    right = (memberships if by_sample else features.T @ memberships).astype(np.float64)
    diagonal = np.diag(products).copy()
    found = {}
    for strength in strengths:
        np.fill_diagonal(products, diagonal + strength)
        solved = np.asarray(cho_solve(cho_factor(products), right), dtype=np.float64)
        found[strength] = (features.T.astype(np.float64) @ solved if by_sample else solved).T
    return found


def _cross_entropy(scores: FloatArray, class_ids: IntArray) -> float:
    from scipy.special import log_softmax

    if not len(scores):
        return 0.0
    return float(-log_softmax(scores, axis=1)[np.arange(len(scores)), class_ids].mean())
