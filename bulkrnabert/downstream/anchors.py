"""Prognostic anchor genes: those that survival depends on most, one by one, in the training part of a fold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bulkrnabert.downstream.survival import SurvivalLabels

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def cox_score_statistics(values: npt.NDArray[np.floating], labels: SurvivalLabels) -> FloatArray:
    """Score statistic of a Cox model of each gene alone, with a baseline a stratum; shape (genes,).

    Slope of the partial likelihood at no effect over its standard deviation, which is about normal where there is no
    effect; above 0 where higher expression goes with shorter survival. 0 for a gene that does not vary within a risk
    set. Tied events share one risk set (Breslow).

    Args:
        values: Shape (samples, genes), nothing missing.
        labels: Of the same samples.
    """
    n_genes = values.shape[1]
    slope, information = np.zeros(n_genes), np.zeros(n_genes)
    for stratum in np.unique(labels.strata):
        inside = np.flatnonzero(labels.strata == stratum)
        order = inside[np.argsort(-labels.time_days[inside], kind="stable")]
        time, event = labels.time_days[order], labels.event[order] == 1
        if not event.any():
            continue
        x = values[order].astype(np.float64)
        x = x - x.mean(axis=0)
        # Everyone who is followed at least as long: up to the last of equal times in descending order.
        last = np.searchsorted(-time, -time[event], side="right") - 1
        n = (last + 1)[:, None]
        mean = np.cumsum(x, axis=0)[last] / n
        variance = np.maximum(np.cumsum(x**2, axis=0)[last] / n - mean**2, 0.0)
        slope += (x[event] - mean).sum(axis=0)
        information += variance.sum(axis=0)
    scale = np.finfo(np.float64).eps * max(1, len(values))
    return np.where(information > scale, slope / np.sqrt(np.maximum(information, scale)), 0.0)


def choose_anchors(statistics: FloatArray, panel: IntArray, n_anchors: int) -> IntArray:
    """The genes of largest absolute statistic outside a panel, ascending; the first of equals.

    Args:
        statistics: From `cox_score_statistics`, shape (genes,).
        panel: Genes that are measured anyway, shape (panel,).
        n_anchors: How many, as far as there are genes.
    """
    strength = np.abs(statistics)
    strength[panel] = -1.0
    n_possible = min(n_anchors, len(strength) - len(panel))
    return np.sort(np.argsort(-strength, kind="stable")[:n_possible]).astype(np.int64)
