"""Features made comparable for linear heads: standardised, and read along the directions in which they vary most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

N_LEADING = (16, 64)


@dataclass(frozen=True)
class Standardiser:
    """Centre and scale fitted on training samples; a constant feature becomes 0."""

    mean: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, features: FloatArray) -> Standardiser:
        """Take mean and standard deviation of each column."""
        deviation = features.std(axis=0)
        return cls(features.mean(axis=0), np.where(deviation > 0, deviation, 1.0))

    def __call__(self, features: FloatArray) -> FloatArray:
        """Standardised copy."""
        return (features - self.mean) / self.scale


def direction_choices(n_features: int, n_samples: int) -> list[int | None]:
    """What a linear head may choose from: all features (`None`), or this many leading directions.

    Args:
        n_features: Features that there are.
        n_samples: Of the smallest set that directions are found on.
    """
    return [None, *(n for n in N_LEADING if n < min(n_features, n_samples))]


@dataclass(frozen=True)
class Directions:
    """What a linear head reads of standardised features.

    Attributes:
        axes: Standardised features to scores, shape (features, directions); `None`: the features themselves.
    """

    axes: FloatArray | None

    @classmethod
    def leading(cls, ready: FloatArray, scale: FloatArray, n_directions: int | None) -> Directions:
        """Directions in which features vary most in their own units, scaled so that samples vary by 1 along each.

        Hundreds of standardised features against some hundred samples are mostly noise of equal weight. The leading
        directions of an embedding in its own units are what a principal component baseline is given of the genes.

        Args:
            ready: Standardised features, shape (samples, features).
            scale: Standard deviation of each before that, shape (features,).
            n_directions: How many; `None`: the features themselves.
        """
        if n_directions is None:
            return cls(None)
        _, singular, axes = np.linalg.svd(ready * scale, full_matrices=False)
        deviations = np.maximum(singular[:n_directions], np.finfo(np.float64).tiny) / np.sqrt(len(ready))
        return cls(np.asarray(scale[:, None] * axes[:n_directions].T / deviations))

    def scores(self, ready: FloatArray) -> FloatArray:
        """Of standardised features (samples, features): shape (samples, directions)."""
        return ready if self.axes is None else ready @ self.axes

    def to_features(self, coefficients: FloatArray) -> FloatArray:
        """Coefficients of the scores, shape (…, directions), as those of the standardised features (…, features)."""
        return coefficients if self.axes is None else coefficients @ self.axes.T
