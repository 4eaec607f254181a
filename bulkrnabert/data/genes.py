"""Gene identifiers: what they are, how they are cleaned, and the only place where two gene lists are aligned."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys, provenance
from bulkrnabert.data.sources.delimited import read_cells, shorten
from bulkrnabert.errors import DataError, VocabularyError

GeneKind = Literal["ensembl", "symbol"]

VERSIONED_ID = re.compile(r"^(ENSG\d+)\.(\d+)(_PAR_Y)?$")
ENSEMBL_ID = re.compile(r"^ENSG(R?)\d+(\.\d+)?(_PAR_Y)?$")
PAR_Y_ID = re.compile(r"^(ENSG\d+(\.\d+)?_PAR_Y|ENSGR\d+(\.\d+)?)$")
SYMBOL_ENTREZ_ID = re.compile(r"^([^|]*)\|\d+$")
PROBE_ID = re.compile(r"^(cg|rs|ch\.?)\d")
SUMMARY_ROW = re.compile(r"^(N_(unmapped|multimapping|noFeature|ambiguous)|__\w+)$")
# What a spreadsheet makes of MARCH1, SEPT2, DEC1: `1-Mar`, `02-Sep`, `Mar-01`, `2001-03-01`, `3/1/2001`.
_MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)"
EXCEL_DATE = re.compile(
    rf"^(\d{{1,2}}-{_MONTH}(-\d{{2,4}})?|{_MONTH}-\d{{1,2}}"
    r"|\d{4}-\d\d-\d\d( 00:00:00)?|\d{1,2}/\d{1,2}/\d{2,4})$",
    re.IGNORECASE,
)
SPIKE_IN = re.compile(r"^(ERCC-\d{5}|gSpikein_.*)$")
EXCEL_DATE_RULE = "excel_date"
N_EXAMPLES = 5


def _examples(items: Sequence[str]) -> str:
    shown = ", ".join(repr(shorten(item)) for item in items[:N_EXAMPLES])
    return shown + (", …" if len(items) > N_EXAMPLES else "")


def strip_version(gene_id: str) -> str | None:
    """Ensembl id without its version.

    Args:
        gene_id: As `ENSG00000000003.15`. Anything that carries no version comes back as it is.
    Returns:
        The bare id, or None for the copy of a pseudoautosomal gene on chromosome Y (`_PAR_Y`, or `ENSGR` before
        GENCODE 25), which has the same bare id as the gene on X.
    """
    if PAR_Y_ID.match(gene_id):
        return None
    match = VERSIONED_ID.match(gene_id)
    return match.group(1) if match else gene_id


@dataclass(frozen=True)
class NormalisedGenes:
    """Gene ids ready for alignment.

    Attributes:
        ids: Bare Ensembl ids or symbols, unique, in the order of the input.
        keep_idx: Position of each id in the input, shape (n_ids,), int64.
        dropped: What was left out, as (rule, id as it stood in the input).
        kind: `ensembl` or `symbol`.
    """

    ids: tuple[str, ...]
    keep_idx: npt.NDArray[np.int64]
    dropped: tuple[tuple[str, str], ...]
    kind: GeneKind


def normalise_gene_ids(raw_ids: Iterable[str], where: str = "gene ids") -> NormalisedGenes:
    """Clean the gene ids of one table: versions, `_PAR_Y`, `SYMBOL|ENTREZ`, rows that are no genes.

    Args:
        raw_ids: Ids as they stand in the table.
        where: Name of the table, for messages.
    Raises:
        VocabularyError: no gene at all; Ensembl ids and symbols mixed; an Ensembl id twice after its version is gone.
    """
    raw = [str(raw_id).strip() for raw_id in raw_ids]
    dropped: list[tuple[str, str]] = []
    genes: list[tuple[int, str]] = []
    for position, gene_id in enumerate(raw):
        if not gene_id:
            dropped.append(("empty_id", gene_id))
        elif SUMMARY_ROW.match(gene_id):
            dropped.append(("summary_row", gene_id))
        elif SPIKE_IN.match(gene_id):
            dropped.append(("spike_in", gene_id))
        else:
            genes.append((position, gene_id))
    ensembl = [gene_id for _, gene_id in genes if ENSEMBL_ID.match(gene_id)]
    if not genes:
        raise VocabularyError(f"{where}: no gene id found among {len(raw)} ids ({_examples(raw)})")
    if ensembl and len(ensembl) < len(genes):
        others = [gene_id for _, gene_id in genes if not ENSEMBL_ID.match(gene_id)]
        raise VocabularyError(
            f"{where}: {len(ensembl)} Ensembl ids (as {ensembl[0]!r}) are mixed with {len(others)} other names"
            f" ({_examples(others)}); use one kind of gene id in a table"
        )
    kept = _normalise_ensembl(genes, dropped, where) if ensembl else _normalise_symbols(genes, dropped)
    if not kept:
        raise VocabularyError(f"{where}: every one of the {len(raw)} gene ids had to be dropped ({_examples(raw)})")
    return NormalisedGenes(
        ids=tuple(gene_id for _, gene_id in kept),
        keep_idx=np.array([position for position, _ in kept], dtype=np.int64),
        dropped=tuple(dropped),
        kind="ensembl" if ensembl else "symbol",
    )


def _normalise_ensembl(
    genes: list[tuple[int, str]], dropped: list[tuple[str, str]], where: str
) -> list[tuple[int, str]]:
    kept = []
    for position, gene_id in genes:
        bare = strip_version(gene_id)
        if bare is None:
            dropped.append(("par_y", gene_id))
        else:
            kept.append((position, bare))
    twice = sorted(gene_id for gene_id, count in Counter(bare for _, bare in kept).items() if count > 1)
    if twice:
        raise VocabularyError(
            f"{where}: {len(twice)} Ensembl ids stand there more than once when versions are removed"
            f" ({_examples(twice)}); keep one row of each"
        )
    return kept


def _normalise_symbols(genes: list[tuple[int, str]], dropped: list[tuple[str, str]]) -> list[tuple[int, str]]:
    named = []
    for position, gene_id in genes:
        match = SYMBOL_ENTREZ_ID.match(gene_id)
        symbol = match.group(1) if match else gene_id
        if symbol in {"", "?"}:
            dropped.append(("no_symbol", gene_id))
        elif EXCEL_DATE.match(symbol):
            dropped.append((EXCEL_DATE_RULE, gene_id))
        else:
            named.append((position, symbol, gene_id))
    counts = Counter(symbol for _, symbol, _ in named)
    dropped.extend(("duplicated_symbol", gene_id) for _, symbol, gene_id in named if counts[symbol] > 1)
    return [(position, symbol) for position, symbol, _ in named if counts[symbol] == 1]


def _bare_ids(path: Path, ids: Sequence[str]) -> tuple[str, ...]:
    bare = [strip_version(gene_id) for gene_id in ids]
    copies = [gene_id for gene_id, stripped in zip(ids, bare, strict=True) if stripped is None]
    if copies:
        raise VocabularyError(f"{path}: {len(copies)} ids are copies on chromosome Y ({_examples(copies)})")
    if "" in bare:
        raise VocabularyError(f"{path}: row {bare.index('') + 2} has no `{keys.GENE_ID}`; give every row its id")
    return tuple(gene_id for gene_id in bare if gene_id is not None)


@dataclass(frozen=True)
class GeneAlignment:
    """Where each gene of a vocabulary is in a table.

    Attributes:
        source_idx: Column of the table for each gene of the vocabulary, -1 where it is absent; shape (n_vocabulary,).
        missing: Genes of the vocabulary that the table lacks.
        n_unknown: Genes of the table that the vocabulary lacks.
    """

    source_idx: npt.NDArray[np.int64]
    missing: tuple[str, ...]
    n_unknown: int

    @property
    def coverage(self) -> float:
        """Share of the vocabulary that the table has, in [0, 1]."""
        return 1.0 - len(self.missing) / len(self.source_idx)

    def apply(self, values: npt.NDArray[np.floating | np.integer]) -> npt.NDArray[np.float32]:
        """Put the columns of a table into the order of the vocabulary.

        Args:
            values: Shape (samples, n_source). Not modified.
        Returns:
            Shape (samples, n_vocabulary), float32, NaN where the table lacks a gene.
        """
        aligned = values[:, self.source_idx].astype(np.float32, copy=False)
        aligned[:, self.source_idx < 0] = np.nan
        return aligned


@dataclass(frozen=True)
class GeneVocabulary:
    """An ordered list of distinct genes: the columns of every table of a run.

    Attributes:
        gene_ids: Bare Ensembl ids, or symbols where a table has nothing better.
        symbols: HGNC symbol of each gene, empty where unknown.
        gene_types: GENCODE biotype of each gene, empty where unknown.
    """

    gene_ids: tuple[str, ...]
    symbols: tuple[str, ...]
    gene_types: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.gene_ids:
            raise VocabularyError("a gene vocabulary needs at least one gene, found none")
        if not len(self.gene_ids) == len(self.symbols) == len(self.gene_types):
            raise VocabularyError(
                f"a gene vocabulary has {len(self.gene_ids)} ids, {len(self.symbols)} symbols and"
                f" {len(self.gene_types)} gene types; the three must be equally long"
            )
        twice = sorted(gene_id for gene_id, count in Counter(self.gene_ids).items() if count > 1)
        if twice:
            raise VocabularyError(f"a gene vocabulary has {len(twice)} ids more than once: {_examples(twice)}")

    def __len__(self) -> int:
        return len(self.gene_ids)

    @cached_property
    def sha256(self) -> str:
        """Hash of the ids in their order; two lists that differ never meet without an error."""
        return provenance.sha256_lines(self.gene_ids)

    @cached_property
    def kind(self) -> GeneKind:
        """Whether the ids are Ensembl ids or symbols."""
        return "ensembl" if ENSEMBL_ID.match(self.gene_ids[0]) else "symbol"

    @cached_property
    def _position(self) -> dict[str, int]:
        return {gene_id: position for position, gene_id in enumerate(self.gene_ids)}

    @classmethod
    def from_ids(cls, gene_ids: Iterable[str]) -> GeneVocabulary:
        """A vocabulary of which nothing but the ids is known."""
        ids = tuple(gene_ids)
        symbols = ids if ids and not ENSEMBL_ID.match(ids[0]) else ("",) * len(ids)
        return cls(ids, symbols, ("",) * len(ids))

    @classmethod
    def from_tsv(cls, path: Path) -> GeneVocabulary:
        """Read `genes.tsv`: columns `gene_id, symbol, gene_type` (the last two may be missing); versions are stripped.

        Commas may stand in place of tabs.

        Raises:
            VocabularyError: the file cannot be read, has no `gene_id`, lists a gene twice, or has a `_PAR_Y` copy.
        """
        try:
            header, *rows = read_cells(path)
        except DataError as error:
            raise VocabularyError(str(error)) from error
        titles = header.cells
        if keys.GENE_ID not in titles:
            found = ", ".join(repr(shorten(title)) for title in titles[:12])
            raise VocabularyError(f"{path}: expected a column `{keys.GENE_ID}`, found {found}")
        for row in rows:
            if len(row.cells) > len(titles):
                raise VocabularyError(
                    f"{path}: row {row.number}: {len(row.cells)} cells, but the header has {len(titles)} columns"
                )

        def column(name: str) -> list[str]:
            if name not in titles:
                return [""] * len(rows)
            at = titles.index(name)
            return [row.cells[at] if at < len(row.cells) else "" for row in rows]

        ids = _bare_ids(path, column(keys.GENE_ID))
        try:
            return cls(ids, tuple(column(keys.SYMBOL)), tuple(column(keys.GENE_TYPE)))
        except VocabularyError as error:
            raise VocabularyError(f"{path}: {error}") from error

    @classmethod
    def from_txt(cls, path: Path) -> GeneVocabulary:
        """Read a list with one id a line; versions are stripped, empty lines skipped.

        Raises:
            VocabularyError: the file cannot be read, a line is no id, a gene stands there twice, or is a `_PAR_Y` copy.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise VocabularyError(f"{path}: cannot be read as a list of genes: {error}") from error
        ids = [line.strip() for line in lines if line.strip()]
        wrong = next((gene_id for gene_id in ids if re.search(r"[\s,;<>]", gene_id)), None)
        if wrong is not None:
            raise VocabularyError(
                f"{path}: {shorten(wrong)!r} is no gene id; expected one id a line, or a .tsv or .csv table with a"
                f" column `{keys.GENE_ID}`"
            )
        try:
            return cls.from_ids(_bare_ids(path, ids))
        except VocabularyError as error:
            raise VocabularyError(f"{path}: {error}") from error

    def to_tsv(self, path: Path) -> None:
        """Write `gene_id, symbol, gene_type`, one gene a line."""
        with provenance.atomic_path(path) as partial:
            pd.DataFrame(
                {keys.GENE_ID: self.gene_ids, keys.SYMBOL: self.symbols, keys.GENE_TYPE: self.gene_types}
            ).to_csv(partial, sep="\t", index=False, lineterminator="\n")

    def subset(self, idx: Sequence[int] | npt.NDArray[np.integer]) -> GeneVocabulary:
        """The genes at these positions, in this order."""
        positions = [int(position) for position in idx]
        return GeneVocabulary(
            tuple(self.gene_ids[position] for position in positions),
            tuple(self.symbols[position] for position in positions),
            tuple(self.gene_types[position] for position in positions),
        )

    def positions_in(self, ids: Sequence[str], what: str) -> npt.NDArray[np.int64]:
        """Where each gene of this vocabulary stands among ids that must have all of them, shape (len(self),).

        Args:
            ids: As for `align`.
            what: Whose ids they are, for the message.
        Raises:
            VocabularyError: a gene is not there, or is there twice.
        """
        alignment = self.align(ids)
        if alignment.missing:
            raise VocabularyError(
                f"{len(alignment.missing)} genes of the vocabulary are not in the {what},"
                f" the first is {alignment.missing[0]}"
            )
        return alignment.source_idx

    def align(self, ids: Sequence[str]) -> GeneAlignment:
        """Find every gene of this vocabulary in a table.

        Args:
            ids: Normalised ids of the table, in the order of its columns (see `normalise_gene_ids`).
        Raises:
            VocabularyError: the table has a gene of this vocabulary twice.
        """
        source_idx = np.full(len(self), -1, dtype=np.int64)
        n_unknown = 0
        for column, gene_id in enumerate(ids):
            position = self._position.get(gene_id)
            if position is None:
                n_unknown += 1
            elif source_idx[position] >= 0:
                raise VocabularyError(
                    f"gene {gene_id!r} stands in columns {source_idx[position] + 1} and {column + 1} of the table;"
                    " keep one"
                )
            else:
                source_idx[position] = column
        missing = tuple(self.gene_ids[position] for position in np.flatnonzero(source_idx < 0))
        return GeneAlignment(source_idx, missing, n_unknown)
