"""Which genes a model reads: the most variable of the training part, of one omic or of several."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bulkrnabert.data.binning import log10_plus_one
from bulkrnabert.data.tables import Cohorts
from bulkrnabert.data.tokenizer import LINEAR_UNITS
from bulkrnabert.errors import VocabularyError

logger = logging.getLogger(__name__)

SharedGenes = Literal["common", "union"]
COLUMNS_AT_A_TIME = 512
MIN_COMMON_GENES = 2


def gene_variances(
    values: NDArray[np.floating], unit: str, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Variance of each gene, shape (genes,); -1 where it has no value.

    Args:
        values: Shape (samples, genes), NaN where missing. Not modified.
        unit: Unit of `values`. Variance is that of log10(1 + x) for scales with a true zero, else of the values.
        rows: The training part; all samples when None.
    """
    n_genes = values.shape[1]
    variances = np.empty(n_genes, dtype=np.float64)
    for start in range(0, n_genes, COLUMNS_AT_A_TIME):
        columns = slice(start, start + COLUMNS_AT_A_TIME)
        part = values[:, columns] if rows is None else values[rows, columns]
        block = np.asarray(part, dtype=np.float64)
        if unit in LINEAR_UNITS:
            block = log10_plus_one(block)
        variances[start : start + block.shape[1]] = _variance(block)
    return variances


def _variance(block: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of each column over its present values; -1 where there is none."""
    is_present = ~np.isnan(block)
    n_present = is_present.sum(axis=0)
    divisor = np.maximum(n_present, 1)
    mean = np.where(is_present, block, 0.0).sum(axis=0) / divisor
    squares = np.where(is_present, (block - mean) ** 2, 0.0).sum(axis=0) / divisor
    return np.where(n_present > 0, squares, -1.0)


def most_variable_genes(
    values: NDArray[np.floating], unit: str, max_genes: int, rows: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Columns of the genes that vary most (see `gene_variances`), in their own order.

    Args:
        values: Shape (samples, genes), NaN where missing. Not modified.
        unit: Unit of `values`.
        max_genes: How many to keep; 0 keeps all.
        rows: The training part; all samples when None.
    Returns:
        Column indices, ascending, shape (min(genes, max_genes),). Among equals the earlier column is kept.
    """
    n_genes = values.shape[1]
    if max_genes == 0 or max_genes >= n_genes:
        return np.arange(n_genes)
    return np.sort(np.argsort(-gene_variances(values, unit, rows), kind="stable")[:max_genes])


def shared_genes(
    cohorts: Mapping[str, Cohorts], shared: SharedGenes, max_genes: int, rows: Mapping[str, NDArray[np.int64]]
) -> tuple[str, ...]:
    """The one gene list of several omics, matched by id.

    Args:
        cohorts: By omic, RNA-seq first. Not modified.
        shared: `common`: genes that every omic lists, in the order of the first; `union`: then those that only the
            next lists, in its order.
        max_genes: How many to keep, the most variable of the first omic that lists them; genes of the first omic go
            before those that only the next has. 0 keeps all.
        rows: The training part of each omic.
    Raises:
        VocabularyError: `common`, and fewer than two genes are.
    """
    lists = {omic: one.genes.gene_ids for omic, one in cohorts.items()}
    first = next(iter(lists))
    everywhere = set.intersection(*(set(ids) for ids in lists.values()))
    if shared == "common" and len(everywhere) < MIN_COMMON_GENES:
        raise VocabularyError(
            f"{len(everywhere)} genes are in all of {', '.join(lists)} ("
            + ", ".join(f"{omic}: {len(ids)} genes, as {ids[0]!r}" for omic, ids in lists.items())
            + f"), at least {MIN_COMMON_GENES} are needed: use --genes union, or preprocess with one kind of gene ids"
        )
    logger.info(
        "%d genes are in all of %s; %s",
        len(everywhere),
        ", ".join(f"{omic} ({len(ids)})" for omic, ids in lists.items()),
        "those are used" if shared == "common" else "genes of any are used, <mask> where an omic lacks one",
    )
    listed: list[str] = []
    ranked: list[str] = []
    for omic, one in cohorts.items():
        seen = set(listed)
        new = [gene for gene in lists[omic] if gene not in seen and (shared == "union" or gene in everywhere)]
        if shared == "common" and omic != first:
            break
        listed += new
        if max_genes and len(ranked) < max_genes:
            variances = pd.Series(gene_variances(one.values, one.unit, rows[omic]), index=list(lists[omic]))
            ranked += list(variances[new].sort_values(ascending=False, kind="stable").index)
    if max_genes == 0 or max_genes >= len(listed):
        return tuple(listed)
    chosen = set(ranked[:max_genes])
    return tuple(gene for gene in listed if gene in chosen)
