"""From tables in a stated unit to a model's token ids: genes aligned, omics side by side, samples paired by id."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bulkrnabert import keys
from bulkrnabert.data.genes import GeneAlignment, GeneVocabulary, normalise_gene_ids
from bulkrnabert.data.sources.adata import MAIN, choose_matrix
from bulkrnabert.data.sources.files import ExpressionTable
from bulkrnabert.data.units import check_scale, parse_unit, stored_unit, to_stored
from bulkrnabert.downstream.pretrained import ReadsOmics
from bulkrnabert.errors import ConfigError, DataError, VocabularyError
from bulkrnabert.logs import progress_bar

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

OmicTable: TypeAlias = Union["AnnData", pd.DataFrame, ExpressionTable]
MIN_COVERAGE = 0.5
ROWS_AT_A_TIME = 64


@dataclass(frozen=True)
class EncodedSamples:
    """Samples as a model takes them.

    Attributes:
        token_ids: Shape (samples, omics x genes), uint8, in the model's gene order, omic after omic; an omic that a
            sample does not have is a block of `<mask>`.
        missing_share: Share of these columns that each sample has no value of, shape (samples,), float32.
    """

    token_ids: NDArray[np.uint8]
    missing_share: NDArray[np.float32]


@dataclass(frozen=True)
class NamedSamples:
    """Encoded samples with their ids: those of the first table, then those that only the next has."""

    sample_ids: tuple[str, ...]
    encoded: EncodedSamples

    @property
    def token_ids(self) -> NDArray[np.uint8]:
        """Shape (samples, omics x genes)."""
        return self.encoded.token_ids


def encode_expression(model: ReadsOmics, data: OmicTable, unit: str, matrix: str = MAIN) -> EncodedSamples:
    """Token ids of a table of the model's first omic; what else the model reads is `<mask>`.

    Args:
        model: From `load`.
        data: As for `embed`. Not modified.
        unit: Unit of the values.
        matrix: Where the values of an AnnData object are: `X`, `raw` or `layers/<name>`.
    Raises:
        VocabularyError, DataError: as `embed`.
    """
    omic = next(iter(model.tokenizers))
    block = encode_omic(model, omic, data, unit, matrix)
    return join_blocks(model, {omic: (np.arange(len(block.token_ids)), block)}, len(block.token_ids))


def encode_omics(model: ReadsOmics, tables: Mapping[str, tuple[OmicTable, str]]) -> NamedSamples:
    """Token ids of the samples of several tables, paired by sample id.

    Args:
        model: From `load`.
        tables: Table and unit, by omic. Not modified.
    Raises:
        ConfigError: no table, or one of an omic that the model never saw.
        DataError: a sample is twice in a table, or no sample is in all of them; else as `embed`.
        VocabularyError: as `embed`.
    """
    if not tables:
        raise ConfigError(f"no table is given; this model reads {' and '.join(model.tokenizers)}")
    ids: dict[str, pd.Index[str]] = {}
    for omic, (data, _unit) in tables.items():
        refuse_unknown_omic(model, omic)
        ids[omic] = sample_ids_of(data)
        if not ids[omic].is_unique:
            twice = ids[omic][ids[omic].duplicated()][0]
            raise DataError(f"sample {twice!r} is in the {omic} table more than once; keep one")
    refuse_strangers({omic: list(names) for omic, names in ids.items()})
    order = pd.Index(list(dict.fromkeys(name for names in ids.values() for name in names)))
    blocks = {
        omic: (order.get_indexer(ids[omic]).astype(np.int64), encode_omic(model, omic, data, unit))
        for omic, (data, unit) in tables.items()
    }
    return NamedSamples(tuple(order), join_blocks(model, blocks, len(order)))


def refuse_unknown_omic(model: ReadsOmics, omic: str) -> None:
    """Refuse an omic that a model was not trained on.

    Raises:
        ConfigError: says what the model reads.
    """
    if omic not in model.tokenizers:
        raise ConfigError(
            f"this {model.name} model reads {' and '.join(model.tokenizers)} and never saw {omic}: leave that table "
            "out, or use a model that was trained on it"
        )


def refuse_strangers(ids: Mapping[str, Sequence[str]]) -> None:
    """Refuse tables of which no sample is in all; log how many are.

    Raises:
        DataError: names a sample of each.
    """
    if len(ids) < 2:
        return
    shared = set.intersection(*(set(names) for names in ids.values()))
    if not shared:
        raise DataError(
            f"no sample is in all of the tables ({'; '.join(f'{omic}: {names[0]!r}, …' for omic, names in ids.items())}"
            "): samples meet by their ids, so name them alike; tables of other samples are given one at a time"
        )
    alone = ", ".join(f"{len(set(names) - shared)} {omic} without all others" for omic, names in ids.items())
    logger.info("%d samples have %s; %s", len(shared), " and ".join(ids), alone)


def encode_omic(model: ReadsOmics, omic: str, data: OmicTable, unit: str, matrix: str = MAIN) -> EncodedSamples:
    """Token ids of a table of one omic, shape (samples, genes): that omic's block; errors as of `embed`."""
    expression = _expression_of(data, matrix)
    given = parse_unit(unit)
    check_scale(expression.values, given, f"the {omic} table")
    values = expression.values
    if stored_unit(given).base != given.base:
        # FPKM becomes TPM by the sum over all genes of the table, so before any is left out.
        if np.isnan(values).any():
            raise DataError(f"values in {unit} with missing cells cannot become TPM: fill them, or give TPM")
        stored = to_stored(values, given)
        values, unit = stored.values, str(stored.unit)
    alignment = align_to_model(model, expression.gene_ids)
    return encode_aligned(model, alignment, [values], len(values), unit, omic)


def encode_aligned(
    model: ReadsOmics,
    alignment: GeneAlignment,
    pieces: Iterable[NDArray[np.floating]],
    n_samples: int,
    unit: str,
    omic: str = keys.RNASEQ,
) -> EncodedSamples:
    """One omic's block of token ids, of values that come in pieces; few hundred rows are put into order at a time.

    Args:
        model: From `load`.
        alignment: Where the model's genes are among the columns, from `align_to_model`.
        pieces: Shape (some, columns) each. Not modified.
        n_samples: Rows of all pieces.
        unit: Unit of the values, one that the model's tokenizer reads.
        omic: Which omic they are of.
    """
    tokenizer = model.tokenizers[omic]
    token_ids = np.empty((n_samples, len(model.gene_ids)), dtype=np.uint8)
    missing_share = np.empty(n_samples, dtype=np.float32)
    n_done = 0
    with progress_bar(n_samples, what="encode", unit="sample") as bar:
        for piece in pieces:
            for first in range(0, len(piece), ROWS_AT_A_TIME):
                rows = piece[first : first + ROWS_AT_A_TIME]
                # float64 stays so, since bin edges are exact.
                aligned = rows[:, alignment.source_idx].astype(np.result_type(rows, np.float32), copy=False)
                aligned[:, alignment.source_idx < 0] = np.nan
                place = slice(n_done, n_done + len(rows))
                token_ids[place] = tokenizer.encode_rows(aligned, unit, n_done)
                missing_share[place] = np.isnan(aligned).mean(axis=1)
                n_done += len(rows)
                bar.update(len(rows))
    assert n_done == n_samples, "as many rows as samples"
    if n_samples:
        logger.info(
            "of the model's genes a sample lacks %.1f%% on average and %.1f%% at most%s",
            100 * float(missing_share.mean()),
            100 * float(missing_share.max()),
            f" ({omic})" if len(model.tokenizers) > 1 else "",
        )
    return EncodedSamples(token_ids, missing_share)


def join_blocks(
    model: ReadsOmics, blocks: Mapping[str, tuple[NDArray[np.int64], EncodedSamples]], n_samples: int
) -> EncodedSamples:
    """Blocks of single omics side by side, in the model's order; `<mask>` where there is nothing.

    Args:
        model: Its omics and genes.
        blocks: By omic: the row of each of its samples among all, and the block.
        n_samples: Rows of the whole.
    """
    n_genes, omics = len(model.gene_ids), list(model.tokenizers)
    if len(omics) == 1:
        assert len(blocks[omics[0]][0]) == n_samples, "every sample has the only omic"
        return blocks[omics[0]][1]
    token_ids = np.full((n_samples, len(omics) * n_genes), keys.MASK_ID, dtype=np.uint8)
    missing = np.ones((n_samples, len(omics)), dtype=np.float32)
    for omic, (rows, block) in blocks.items():
        number = omics.index(omic)
        token_ids[rows, number * n_genes : (number + 1) * n_genes] = block.token_ids
        missing[rows, number] = block.missing_share
    return EncodedSamples(token_ids, missing.mean(axis=1))


def align_to_model(model: ReadsOmics, gene_ids: Sequence[str]) -> GeneAlignment:
    """Where the model's genes are among the columns of a table.

    Raises:
        VocabularyError: less than half of them are there, or of a model of several omics less than half divided by
            their number.
    """
    vocabulary = GeneVocabulary.from_ids(model.gene_ids)
    genes = normalise_gene_ids(gene_ids, "the table to embed")
    alignment = vocabulary.align(genes.ids)
    n_found = len(vocabulary) - len(alignment.missing)
    found = f"{n_found} of the model's {len(vocabulary)} genes are in the table ({alignment.coverage:.1%})"
    # The one list of several omics may be a union of genes that only one of them has (`tokenize --genes union`).
    needed = MIN_COVERAGE / len(model.tokenizers)
    if alignment.coverage < needed:
        kinds = (
            f"the table has {genes.kind} ids, as {genes.ids[0]!r}; the model {vocabulary.kind} ids, as "
            f"{model.gene_ids[0]!r}"
        )
        raise VocabularyError(f"{found}; at least {needed:.0%} are needed. {kinds}")
    logger.info("%s; %d genes of the table are not in the model", found, alignment.n_unknown + len(genes.dropped))
    columns = np.where(alignment.source_idx < 0, -1, genes.keep_idx[alignment.source_idx])
    return replace(alignment, source_idx=columns)


@dataclass(frozen=True)
class _Expression:
    values: NDArray[np.floating]
    gene_ids: list[str]


def _expression_of(data: OmicTable, matrix: str) -> _Expression:
    if matrix != MAIN and isinstance(data, (ExpressionTable, pd.DataFrame)):
        raise ConfigError(f"matrix {matrix!r} is of AnnData objects, this is a {type(data).__name__}: leave it out")
    if isinstance(data, ExpressionTable):
        return _Expression(data.values, list(data.genes.gene_ids))
    if isinstance(data, pd.DataFrame):
        try:
            return _Expression(data.to_numpy(dtype=np.float64), [str(name) for name in data.columns])
        except (TypeError, ValueError) as error:
            raise DataError(f"the data frame holds something else than numbers: {error}") from error
    chosen = choose_matrix(data, matrix, "the AnnData object")
    return _Expression(chosen.dense(), list(chosen.gene_ids))


def sample_ids_of(data: OmicTable) -> pd.Index[str]:
    """Id of each row."""
    if isinstance(data, ExpressionTable):
        return pd.Index(data.sample_ids)
    return pd.Index([str(name) for name in (data.index if isinstance(data, pd.DataFrame) else data.obs_names)])
