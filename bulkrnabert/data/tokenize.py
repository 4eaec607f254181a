"""Cohort tables to token ids: genes and bins are chosen on the training part of one outer split."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bulkrnabert import keys
from bulkrnabert.data.access import strictest
from bulkrnabert.data.gene_choice import SharedGenes, most_variable_genes, shared_genes
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.omics import join_samples, require_pairs
from bulkrnabert.data.tables import Cohorts
from bulkrnabert.data.tokenizer import BinnedTokenizer, MissingAs, Selection
from bulkrnabert.data.tokens import SAMPLE_COLUMNS, Tokens
from bulkrnabert.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


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
        DataError: splits and cohorts list different samples, or the training part is empty or all of one value.
    """
    is_training = _training_part(cohorts.samples, training_samples, split_id, max_genes)
    choice = _choose(cohorts, is_training, max_genes, split_id)
    tokenizer = BinnedTokenizer.fit_selection(choice.training(cohorts), cohorts.unit, missing=missing)
    token_ids = tokenizer.encode_selection(choice.everyone(cohorts), cohorts.unit)
    samples = _described(cohorts.samples, is_training)
    tokenizers = {cohorts.modality: tokenizer}
    return Tokens(
        samples, token_ids, choice.gene_ids, tokenizers, split_id, split_sha256, data_access=cohorts.data_access
    )


def tokenize_standardised(
    cohorts: Cohorts,
    training_samples: set[str],
    split_id: str,
    split_sha256: str,
    max_genes: int,
    missing: MissingAs = "mask",
) -> Tokens:
    """As `tokenize_cohorts`, for GexBERT: genes standardised over the training part, their z kept beside the ids."""
    is_training = _training_part(cohorts.samples, training_samples, split_id, max_genes)
    choice = _choose(cohorts, is_training, max_genes, split_id)
    tokenizer = BinnedTokenizer.fit_standardised(choice.training(cohorts), cohorts.unit, missing=missing)
    everyone = choice.everyone(cohorts)
    return Tokens(
        samples=_described(cohorts.samples, is_training),
        token_ids=tokenizer.encode_selection(everyone, cohorts.unit),
        gene_ids=choice.gene_ids,
        tokenizers={cohorts.modality: tokenizer},
        split_id=split_id,
        split_sha256=split_sha256,
        model=keys.GEXBERT,
        values=tokenizer.standardise_selection(everyone, cohorts.unit),
        data_access=cohorts.data_access,
    )


def tokenize_omics(
    cohorts: Mapping[str, Cohorts],
    training_samples: set[str],
    split_id: str,
    split_sha256: str,
    max_genes: int,
    missing: MissingAs = "mask",
    shared: SharedGenes = "common",
) -> Tokens:
    """Samples of any omic over one gene list, for MOJO; an omic that a sample does not have is a block of `<mask>`.

    Args:
        cohorts: By omic, in the order of the columns.
        training_samples: Sample ids that may be learnt from.
        split_id: Name of the outer split.
        split_sha256: Hash of `splits.tsv`.
        max_genes: Keep this many genes (see `shared_genes`); 0 keeps all.
        missing: What a value that a sample with this omic lacks becomes; a gene that the omic does not list is always
            `<mask>`.
        shared: `common`: genes that every omic lists; `union`: genes of any.
    Raises:
        ConfigError: `max_genes` is negative.
        VocabularyError: fewer than two common genes.
        DataError: as `tokenize_cohorts`, or no training sample has every omic.
    """
    joined = join_samples({omic: one.samples for omic, one in cohorts.items()})
    is_training = _training_part(joined.samples, training_samples, split_id, max_genes)
    logger.info("%s", joined.describe())
    require_pairs(joined, is_training, split_id)
    training_rows = {omic: np.sort(rows[is_training & (rows >= 0)]) for omic, rows in joined.rows.items()}
    gene_ids = shared_genes(cohorts, shared, max_genes, training_rows)
    n_all = len(set().union(*(one.genes.gene_ids for one in cohorts.values())))
    _log_choice(split_id, len(gene_ids), n_all, is_training)
    vocabulary = GeneVocabulary.from_ids(gene_ids)
    tokenizers: dict[str, BinnedTokenizer] = {}
    token_ids = np.full((len(joined.samples), len(cohorts) * len(gene_ids)), keys.MASK_ID, dtype=np.uint8)
    for number, (omic, one) in enumerate(cohorts.items()):
        source_idx = vocabulary.align(one.genes.gene_ids).source_idx
        listed = np.flatnonzero(source_idx >= 0)
        training = Selection(one.values, training_rows[omic], source_idx[listed])
        _refuse_constant(training, omic)
        tokenizers[omic] = BinnedTokenizer.fit_selection(training, one.unit, missing=missing)
        places = np.flatnonzero(joined.rows[omic] >= 0)
        everyone = Selection(one.values, joined.rows[omic][places], source_idx[listed])
        token_ids[np.ix_(places, number * len(gene_ids) + listed)] = tokenizers[omic].encode_selection(
            everyone, one.unit
        )
    samples = _described(joined.samples, is_training)
    access = strictest(one.data_access for one in cohorts.values())
    return Tokens(samples, token_ids, gene_ids, tokenizers, split_id, split_sha256, model=keys.MOJO, data_access=access)


def _training_part(
    samples: pd.DataFrame, training_samples: set[str], split_id: str, max_genes: int
) -> NDArray[np.bool_]:
    """Whether each sample may be learnt from, shape (samples,)."""
    if max_genes < 0:
        raise ConfigError(f"--max-genes is {max_genes}: expected a number of genes, or 0 for all")
    sample_ids = samples[keys.SAMPLE_ID]
    unknown = training_samples - set(sample_ids)
    if unknown:
        raise DataError(
            f"{len(unknown)} training samples of the splits are in no cohort table, as {min(unknown)}: "
            "make the splits from this cohorts folder"
        )
    is_training = np.asarray(sample_ids.isin(training_samples))
    if not is_training.any():
        raise DataError(f"split {split_id} has no training sample among the {len(sample_ids)} of the cohorts folder")
    return is_training


@dataclass(frozen=True)
class _Choice:
    """The training part of one omic, and which of its genes are used; None for all."""

    rows: NDArray[np.int64] | None
    columns: NDArray[np.int64] | None
    gene_ids: tuple[str, ...]

    def training(self, cohorts: Cohorts) -> Selection:
        return Selection(cohorts.values, self.rows, self.columns)

    def everyone(self, cohorts: Cohorts) -> Selection:
        return Selection(cohorts.values, columns=self.columns)


def _choose(cohorts: Cohorts, is_training: NDArray[np.bool_], max_genes: int, split_id: str) -> _Choice:
    rows = None if is_training.all() else np.flatnonzero(is_training)
    columns = most_variable_genes(cohorts.values, cohorts.unit, max_genes, rows)
    n_all = len(cohorts.genes)
    _log_choice(split_id, len(columns), n_all, is_training)
    gene_ids = tuple(cohorts.genes.gene_ids[column] for column in columns)
    choice = _Choice(rows, None if len(columns) == n_all else columns, gene_ids)
    _refuse_constant(choice.training(cohorts), cohorts.modality)
    return choice


def _log_choice(split_id: str, n_chosen: int, n_all: int, is_training: NDArray[np.bool_]) -> None:
    logger.info(
        "split %s: %d of %d genes, fitted on %d training samples, %d held out",
        split_id,
        n_chosen,
        n_all,
        int(is_training.sum()),
        int((~is_training).sum()),
    )


def _refuse_constant(training: Selection, omic: str) -> None:
    """An omic whose values are all the same tells nothing, and is a mistake upstream."""
    low, high = np.inf, -np.inf
    for piece in training.pieces():
        low = min(low, float(np.fmin.reduce(piece, axis=None, initial=np.inf)))
        high = max(high, float(np.fmax.reduce(piece, axis=None, initial=-np.inf)))
    if low == high:
        raise DataError(
            f"every {omic} value of the training part is {low:.6g} ({training.shape[0]} samples x {training.shape[1]} "
            "genes): check the tables given to `preprocess`"
        )


def _described(samples: pd.DataFrame, is_training: NDArray[np.bool_]) -> pd.DataFrame:
    described = samples.assign(**{keys.PART: np.where(is_training, keys.TRAIN, keys.HELD_OUT)})
    return pd.DataFrame(described[list(SAMPLE_COLUMNS)]).reset_index(drop=True)
