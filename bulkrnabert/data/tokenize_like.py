"""Cohort tables to the token ids that an existing checkpoint reads: its genes and its bins, nothing fitted anew."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bulkrnabert import keys
from bulkrnabert.data.access import strictest
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.omics import join_samples
from bulkrnabert.data.tables import Cohorts
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokenizer_file import read_tokenizers
from bulkrnabert.data.tokens import SAMPLE_COLUMNS, Tokens, read_gene_list
from bulkrnabert.errors import DataError, VocabularyError

logger = logging.getLogger(__name__)

MIN_COVERAGE = 0.5


def tokenize_like(
    cohorts: Mapping[str, Cohorts],
    training_samples: set[str],
    split_id: str,
    split_sha256: str,
    checkpoint: Path,
    model: str,
) -> Tokens:
    """Encode every sample with the genes and tokenizers of a checkpoint; a gene that the tables lack is missing.

    Args:
        cohorts: By omic; those that the checkpoint's tokenizers are of, in their order.
        training_samples: Sample ids that may be learnt from.
        split_id: Name of the outer split.
        split_sha256: Hash of `splits.tsv`.
        checkpoint: Its folder: genes.txt and tokenizer.json.
        model: Kind of model that the checkpoint is of.
    Raises:
        DataError: the omics are others than the checkpoint's, or splits and cohorts list different samples.
        VocabularyError: the tables have less than half of the checkpoint's genes.
    """
    gene_ids = read_gene_list(checkpoint / keys.GENES_TXT)
    tokenizers = read_tokenizers(checkpoint / keys.TOKENIZER_JSON)
    if set(tokenizers) != set(cohorts):
        raise DataError(
            f"{checkpoint}: reads {' and '.join(tokenizers)}, the cohorts have {' and '.join(cohorts) or 'nothing'}"
        )
    joined = join_samples({omic: cohorts[omic].samples for omic in tokenizers})
    unknown = training_samples - set(joined.samples[keys.SAMPLE_ID])
    if unknown:
        raise DataError(
            f"{len(unknown)} training samples of the splits are in no cohort table, as {min(unknown)}: make the splits"
            " from this cohorts folder"
        )
    blocks, values = [], None
    for omic, tokenizer in tokenizers.items():
        rows = joined.rows[omic]
        aligned = np.full((len(joined.samples), len(gene_ids)), np.nan, dtype=np.float32)
        aligned[rows >= 0] = _aligned(cohorts[omic], gene_ids, checkpoint)[rows[rows >= 0]]
        block = np.full(aligned.shape, keys.MASK_ID, dtype=np.uint8)
        block[rows >= 0] = tokenizer.encode(aligned[rows >= 0], cohorts[omic].unit)
        blocks.append(block)
        if model == keys.GEXBERT:
            values = tokenizer.standardise(aligned, cohorts[omic].unit)
    is_training = np.asarray(joined.samples[keys.SAMPLE_ID].isin(training_samples))
    part = np.where(is_training, keys.TRAIN, keys.HELD_OUT)
    samples = joined.samples.assign(**{keys.PART: part})
    logger.info("split %s: the genes and bins of %s; %d training samples", split_id, checkpoint, int(is_training.sum()))
    return Tokens(
        samples=pd.DataFrame(samples[list(SAMPLE_COLUMNS)]).reset_index(drop=True),
        token_ids=np.concatenate(blocks, axis=1),
        gene_ids=gene_ids,
        tokenizers=tokenizers,
        split_id=split_id,
        split_sha256=split_sha256,
        model=model,
        values=values,
        data_access=strictest(cohorts[omic].data_access for omic in tokenizers),
    )


def omics_of(checkpoint: Path) -> tuple[str, ...]:
    """Omics that a checkpoint reads, in the order of its columns."""
    tokenizers: Mapping[str, BinnedTokenizer] = read_tokenizers(checkpoint / keys.TOKENIZER_JSON)
    return tuple(tokenizers)


def _aligned(cohorts: Cohorts, gene_ids: tuple[str, ...], checkpoint: Path) -> NDArray[np.float32]:
    """Values in the checkpoint's gene order, shape (samples, genes), NaN where the table has no such gene."""
    source_idx = GeneVocabulary.from_ids(gene_ids).align(cohorts.genes.gene_ids).source_idx
    is_there = source_idx >= 0
    if is_there.mean() < MIN_COVERAGE:
        raise VocabularyError(
            f"the {cohorts.modality} tables have {int(is_there.sum())} of the {len(gene_ids)} genes of {checkpoint};"
            f" at least {MIN_COVERAGE:.0%} are needed: is it of the same annotation?"
        )
    if not is_there.all():
        logger.warning("%d of %d genes of %s are missing", int((~is_there).sum()), len(gene_ids), checkpoint)
    values = np.full((len(cohorts.samples), len(gene_ids)), np.nan, dtype=np.float32)
    values[:, is_there] = cohorts.values[:, source_idx[is_there]]
    return values
