"""Missing values restored: what any method that does so takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RestoredValues:
    """What a method says that the values are; of measured cells too.

    Attributes:
        mean: Shape (samples, genes), float32, in the scale of the input.
        deviation: Standard deviation that the method states of each value, same shape and scale; None where it
            states none.
    """

    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32] | None


class Restorer(Protocol):
    """Anything that restores missing values from the measured ones of the same sample."""

    def restore(self, values: FloatArray) -> RestoredValues:
        """Restore every cell.

        Args:
            values: Shape (samples, genes), NaN where missing; every sample has a value. Not modified.
        """
        ...


class ScaledRestorer(Restorer, Protocol):
    """A model with the scale that it restores in."""

    @property
    def scale(self) -> str:
        """What a deviation is measured in, in words."""
        ...

    def scaled(self, values: FloatArray, unit: str) -> npt.NDArray[np.float32]:
        """Values of a stated unit, shape (samples, genes), in the model's scale; NaN stays."""
        ...

    def unscaled(self, scaled: FloatArray) -> npt.NDArray[np.float64]:
        """Values in the tokenizer's own unit, without a logarithm; none below zero where the unit has no such."""
        ...


@dataclass(frozen=True)
class KnownBatch:
    """Some samples with the genes that they know.

    Attributes:
        rows: The samples, shape (B,).
        gene_idx: Known genes, shape (B, K); 0 where a sample knows fewer than K.
        is_there: Whether there is a gene, shape (B, K).
    """

    rows: IntArray
    gene_idx: IntArray
    is_there: npt.NDArray[np.bool_]


def known_batches(is_known: npt.NDArray[np.bool_], rows_at_once: Callable[[int], int]) -> Iterator[KnownBatch]:
    """Every sample once; those that know about as many genes together, so that little is padded.

    Args:
        is_known: Shape (samples, genes).
        rows_at_once: Samples that fit a batch, from the most genes that one of them knows.
    """
    n_known = is_known.sum(axis=1)
    order = np.argsort(-n_known, kind="stable")
    start = 0
    while start < len(order):
        width = max(1, int(n_known[order[start]]))
        rows = order[start : start + rows_at_once(width)].astype(np.int64)
        # Known genes first, each in model order.
        gene_idx = np.argsort(~is_known[rows], axis=1, kind="stable")[:, :width].astype(np.int64)
        is_there = np.arange(width)[None, :] < n_known[rows][:, None]
        yield KnownBatch(rows, np.where(is_there, gene_idx, 0), is_there)
        start += len(rows)


def deal_out(is_known: npt.NDArray[np.bool_], at_a_time: int | None) -> IntArray:
    """Which part of its sample's known genes each gene is read in, shape (samples, genes); -1 where not known.

    A sample has as many parts as bring their size nearest to `at_a_time`, and at least one. Genes are dealt out in an
    order of chance that is the same for every sample, so that a sample's parts do not depend on other samples.

    Args:
        is_known: Shape (samples, genes).
        at_a_time: Genes that are read together, about; None: all.
    """
    if at_a_time is None:
        return np.where(is_known, 0, -1).astype(np.int64)
    n_parts = np.maximum(1, np.rint(is_known.sum(axis=1) / at_a_time)).astype(np.int64)
    order = np.random.default_rng(0).permutation(is_known.shape[1])
    place = np.empty(is_known.shape, dtype=np.int64)
    place[:, order] = np.cumsum(is_known[:, order], axis=1) - 1
    return np.where(is_known, place % n_parts[:, None], -1)
