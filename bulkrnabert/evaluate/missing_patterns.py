"""Measured values hidden on purpose, in the ways in which values go missing."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
Pattern = Literal["at_random", "whole_genes", "low_expression"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)


def hide(levels: FloatArray, pattern: Pattern, rate: float, rng: np.random.Generator) -> BoolArray:
    """Which measured cells to hide; every sample keeps at least one.

    Args:
        levels: Expression on a log scale that genes share, shape (samples, genes), NaN where not measured. Not
            modified.
        pattern: `at_random`: the share of each sample's cells, all alike. `whole_genes`: the share of the genes, in
            every sample. `low_expression`: the share of each sample's cells, the lower the likelier: ordered by level
            plus logistic noise of one standard deviation of all levels.
        rate: Share to hide, above 0 and below 1.
        rng: Where chance comes from.
    Returns:
        Shape (samples, genes).
    """
    assert 0 < rate < 1, rate
    is_measured = ~np.isnan(levels)
    if pattern == "whole_genes":
        n_genes = levels.shape[1]
        chosen = rng.permutation(n_genes)[: min(n_genes - 1, max(1, round(rate * n_genes)))]
        hidden = np.zeros(levels.shape, dtype=bool)
        hidden[:, chosen] = True
    else:
        order: FloatArray = rng.random(levels.shape)
        if pattern == "low_expression":
            order = levels + rng.logistic(scale=np.sqrt(3) / np.pi, size=levels.shape) * np.nanstd(levels)
        order = np.where(is_measured, order, np.inf)
        place = np.argsort(np.argsort(order, axis=1, kind="stable"), axis=1, kind="stable")
        n_measured = is_measured.sum(axis=1, keepdims=True)
        hidden = place < np.minimum(np.rint(rate * n_measured), n_measured - 1)
    hidden &= is_measured
    left_bare = ~(is_measured & ~hidden).any(axis=1)
    hidden[left_bare] = False
    return hidden
