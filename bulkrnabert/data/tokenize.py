"""Cohort tables to token ids: genes and bins are chosen on the training part of one outer split."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bulkrnabert import keys
from bulkrnabert.data.binning import log10_plus_one
from bulkrnabert.data.tables import Cohorts
from bulkrnabert.data.tokenizer import LINEAR_UNITS, BinnedTokenizer, MissingAs, Selection
from bulkrnabert.data.tokens import SAMPLE_COLUMNS, Tokens
from bulkrnabert.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

COLUMNS_AT_A_TIME = 512


def most_variable_genes(
    values: NDArray[np.floating], unit: str, max_genes: int, rows: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Columns of the genes that vary most, in their own order.

    Args:
        values: Expression, shape (samples, genes), NaN where missing. Not modified.
        unit: Unit of `values`. Variance is that of log10(1 + x) for scales with a true zero, else of the values.
        max_genes: How many to keep; 0 keeps all.
        rows: The training part; all samples when None.
    Returns:
        Column indices, ascending, shape (min(genes, max_genes),). Among equals the earlier column is kept.
    """
    n_genes = values.shape[1]
    if max_genes == 0 or max_genes >= n_genes:
        return np.arange(n_genes)
    variances = np.empty(n_genes, dtype=np.float64)
    for start in range(0, n_genes, COLUMNS_AT_A_TIME):
        columns = slice(start, start + COLUMNS_AT_A_TIME)
        part = values[:, columns] if rows is None else values[rows, columns]
        block = np.asarray(part, dtype=np.float64)
        if unit in LINEAR_UNITS:
            block = log10_plus_one(block)
        variances[start : start + block.shape[1]] = _variance(block)
    kept = np.argsort(-variances, kind="stable")[:max_genes]
    return np.sort(kept)


def _variance(block: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of each column over its present values; -1 where there is none."""
    is_present = ~np.isnan(block)
    n_present = is_present.sum(axis=0)
    divisor = np.maximum(n_present, 1)
    mean = np.where(is_present, block, 0.0).sum(axis=0) / divisor
    squares = np.where(is_present, (block - mean) ** 2, 0.0).sum(axis=0) / divisor
    return np.where(n_present > 0, squares, -1.0)


def tokenize_cohorts(
    cohorts: Cohorts,
    training_samples: set[str],
    split_id: str,
    split_sha256: str,
    max_genes: int,
    missing: MissingAs = "mask",
) -> Tokens:
    """Choose genes and fit the tokenizer on the training part, then encode every sample.

    Args:
        cohorts: All cohorts of a run.
        training_samples: Sample ids that may be learnt from.
        split_id: Name of the outer split.
        split_sha256: Hash of `splits.tsv`.
        max_genes: Keep this many most variable genes; 0 keeps all.
        missing: What a gene without a value becomes: `<mask>`, or the bin of zero.
    Raises:
        ConfigError: `max_genes` is negative.
        DataError: splits and cohorts list different samples, or the training part is empty.
    """
    if max_genes < 0:
        raise ConfigError(f"--max-genes is {max_genes}: expected a number of genes, or 0 for all")
    sample_ids = cohorts.samples[keys.SAMPLE_ID]
    unknown = training_samples - set(sample_ids)
    if unknown:
        raise DataError(
            f"{len(unknown)} training samples of the splits are in no cohort table, as {min(unknown)}: "
            "make the splits from this cohorts folder"
        )
    is_training = np.asarray(sample_ids.isin(training_samples))
    if not is_training.any():
        raise DataError(f"split {split_id} has no training sample among the {len(sample_ids)} of the cohorts folder")
    rows = None if is_training.all() else np.flatnonzero(is_training)
    columns = most_variable_genes(cohorts.values, cohorts.unit, max_genes, rows)
    chosen = None if len(columns) == len(cohorts.genes) else columns
    tokenizer = BinnedTokenizer.fit_selection(Selection(cohorts.values, rows, chosen), cohorts.unit, missing=missing)
    samples = cohorts.samples.assign(**{keys.PART: np.where(is_training, keys.TRAIN, keys.HELD_OUT)})
    logger.info(
        "split %s: %d of %d genes, fitted on %d training samples, %d held out",
        split_id,
        len(columns),
        cohorts.values.shape[1],
        int(is_training.sum()),
        int((~is_training).sum()),
    )
    return Tokens(
        samples=pd.DataFrame(samples[list(SAMPLE_COLUMNS)]).reset_index(drop=True),
        token_ids=tokenizer.encode_selection(Selection(cohorts.values, columns=chosen), cohorts.unit),
        gene_ids=tuple(cohorts.genes.gene_ids[column] for column in columns),
        tokenizer=tokenizer,
        split_id=split_id,
        split_sha256=split_sha256,
    )
