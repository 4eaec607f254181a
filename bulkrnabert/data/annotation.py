"""What is known of genes beside their ids: symbol, type, length, place; and the way from symbols to Ensembl ids."""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.genes import ENSEMBL_ID, PROBE_ID, SYMBOL_ENTREZ_ID, GeneVocabulary, strip_version
from bulkrnabert.data.sources.delimited import open_text, read_cells, read_header_line, shorten
from bulkrnabert.data.sources.files import ExpressionTable
from bulkrnabert.data.sources.star import StarGenes
from bulkrnabert.errors import DataError, VocabularyError
from bulkrnabert.provenance import atomic_path

logger = logging.getLogger(__name__)

ID_TITLES = ("gene_id", "id", "ensg_id", "ensembl_id", "ensembl_gene_id")
SYMBOL_TITLES = ("symbol", "gene", "gene_name", "hgnc_symbol")
TYPE_TITLES = ("gene_type", "gene_biotype", "biotype")
LENGTH_TITLES = ("length", "gene_length", "exon_length")
CHROM_TITLES = ("chrom", "chr", "chromosome", "seqname")
START_TITLES = ("start", "chromstart")
END_TITLES = ("end", "chromend")
STRAND_TITLES = ("strand",)
WRITTEN_COLUMNS = (keys.GENE_ID, keys.SYMBOL, keys.GENE_TYPE, "length", "chrom", "start", "end", "strand")

AMBIGUOUS_SYMBOL = "ambiguous_symbol"
UNKNOWN_SYMBOL = "unknown_symbol"
DUPLICATED_SYMBOL = "duplicated_symbol"
RELEASE = re.compile(r"(GENCODE|Ensembl) v?[\w.]+")
COMMENT_CHARACTERS = 2000
ROWS_LOOKED_AT = 1000
MIN_ENSEMBL_SHARE = 0.5


@dataclass(frozen=True)
class ResolvedSymbols:
    """Symbols as Ensembl ids.

    Attributes:
        gene_ids: Bare Ensembl ids, unique, in the order of the input.
        keep_idx: Position of each in the input, shape (n_ids,), int64.
        dropped: What was left out, as (rule, symbol as it was given). Rules: `ambiguous_symbol` (the annotation has
            several Ensembl ids for it), `unknown_symbol`, `duplicated_symbol` (given more than once).
    """

    gene_ids: tuple[str, ...]
    keep_idx: npt.NDArray[np.int64]
    dropped: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class GeneAnnotation:
    """Genes of one annotation release; each attribute is as long as `gene_ids`.

    Attributes:
        gene_ids: Bare Ensembl ids, unique, without `_PAR_Y` copies.
        symbols: Empty where unknown.
        gene_types: GENCODE biotypes, empty where unknown.
        lengths: Bases of the union of a gene's exons, float64, NaN where unknown.
        chroms: As `chr1`, empty where unknown.
        starts: First base, from 1; float64, NaN where unknown.
        ends: Last base, included; float64, NaN where unknown.
        strands: `+`, `-`, or empty where unknown.
        release: As `GENCODE v36`, empty where the file does not say.
        source: Name of the file.
    """

    gene_ids: tuple[str, ...]
    symbols: tuple[str, ...]
    gene_types: tuple[str, ...]
    lengths: npt.NDArray[np.float64]
    chroms: tuple[str, ...]
    starts: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]
    strands: tuple[str, ...]
    release: str = ""
    source: str = ""

    def __len__(self) -> int:
        return len(self.gene_ids)

    @property
    def has_symbols(self) -> bool:
        """Whether any gene has a symbol."""
        return any(self.symbols)

    @cached_property
    def length_of(self) -> dict[str, float]:
        """Bases of the genes whose length is known, by id."""
        known = np.flatnonzero(np.isfinite(self.lengths))
        return {self.gene_ids[position]: float(self.lengths[position]) for position in known}

    @cached_property
    def _position(self) -> dict[str, int]:
        return {gene_id: position for position, gene_id in enumerate(self.gene_ids)}

    @cached_property
    def _ids_of_symbol(self) -> dict[str, list[str]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for gene_id, symbol in zip(self.gene_ids, self.symbols, strict=True):
            if symbol:
                found[symbol].append(gene_id)
        return dict(found)

    def resolve(self, symbols: Iterable[str]) -> ResolvedSymbols:
        """Find the Ensembl id of each symbol; a symbol that does not name exactly one gene is left out, never guessed.

        Args:
            symbols: As `TP53` or `TP53|7157`, in the spelling of the annotation.
        Raises:
            VocabularyError: the annotation has no symbols.
        """
        if not self.has_symbols:
            raise VocabularyError(
                f"{self.source or 'the annotation'}: has no gene symbols; give one with the columns gene_id and symbol,"
                " as `bulkrnabert annotate` writes"
            )
        raw = list(symbols)
        names = [_without_entrez(symbol) for symbol in raw]
        times = Counter(names)
        gene_ids: list[str] = []
        keep_idx: list[int] = []
        dropped: list[tuple[str, str]] = []
        for position, name in enumerate(names):
            found = self._ids_of_symbol.get(name, [])
            if not found:
                dropped.append((UNKNOWN_SYMBOL, raw[position]))
            elif times[name] > 1:
                dropped.append((DUPLICATED_SYMBOL, raw[position]))
            elif len(found) > 1:
                dropped.append((AMBIGUOUS_SYMBOL, raw[position]))
            else:
                gene_ids.append(found[0])
                keep_idx.append(position)
        return ResolvedSymbols(tuple(gene_ids), np.array(keep_idx, dtype=np.int64), tuple(dropped))

    def fill(self, genes: GeneVocabulary) -> GeneVocabulary:
        """The same genes with symbols and types from here where they have none of their own."""
        positions = [self._position.get(gene_id) for gene_id in genes.gene_ids]

        def filled(own: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
            return tuple(
                value or ("" if position is None else known[position])
                for value, position in zip(own, positions, strict=True)
            )

        return GeneVocabulary(
            genes.gene_ids, filled(genes.symbols, self.symbols), filled(genes.gene_types, self.gene_types)
        )


def _without_entrez(symbol: str) -> str:
    match = SYMBOL_ENTREZ_ID.match(symbol.strip())
    return match.group(1) if match else symbol.strip()


def to_ensembl(table: ExpressionTable, annotation: GeneAnnotation) -> ExpressionTable:
    """The table with Ensembl ids for its symbols, and with the symbols and types that the annotation knows.

    A table that has Ensembl ids already keeps them. What cannot be resolved is left out, listed in `dropped`, and said
    in one line.

    Args:
        table: Of either kind. Not modified.
        annotation: Has symbols, if the table has.
    Raises:
        VocabularyError: none of the symbols is in the annotation, or the annotation has none.
    """
    if table.kind == "ensembl":
        return replace(table, genes=annotation.fill(table.genes))
    resolved = annotation.resolve(table.gene_ids)
    if not resolved.gene_ids:
        raise VocabularyError(
            f"none of the {len(table.gene_ids)} gene names of the table, as {table.gene_ids[0]!r}, is a symbol of"
            f" {annotation.source or 'the annotation'}; check that the names are human gene symbols"
        )
    logger.info(
        "%d of %d gene symbols have an Ensembl id in %s; left out: %s",
        len(resolved.gene_ids),
        len(table.gene_ids),
        annotation.release or annotation.source or "the annotation",
        _counted(resolved.dropped),
    )
    symbols = tuple(table.gene_ids[position] for position in resolved.keep_idx)
    genes = GeneVocabulary(resolved.gene_ids, symbols, ("",) * len(symbols))
    return replace(
        table,
        genes=annotation.fill(genes),
        values=np.ascontiguousarray(table.values[:, resolved.keep_idx]),
        dropped=(*table.dropped, *resolved.dropped),
    )


def _counted(dropped: Sequence[tuple[str, str]]) -> str:
    by_rule: defaultdict[str, list[str]] = defaultdict(list)
    for rule, name in dropped:
        by_rule[rule].append(name)
    return "; ".join(f"{len(names)} {rule}, as {names[0]!r}" for rule, names in sorted(by_rule.items())) or "none"


def annotation_from_star(first: StarGenes) -> GeneAnnotation:
    """Ids, symbols and types as a GDC STAR-Counts file carries them; it has no lengths."""
    n = len(first.genes)
    unknown, nowhere = np.full(n, np.nan), ("",) * n
    genes = first.genes
    return GeneAnnotation(
        genes.gene_ids,
        genes.symbols,
        genes.gene_types,
        unknown,
        nowhere,
        unknown,
        unknown,
        nowhere,
        release=first.annotation,
        source="the STAR-Counts files",
    )


def read_annotation(path: Path) -> GeneAnnotation:
    """Read a table of genes: TSV or CSV, packed or not, columns found by their titles.

    Only the id is required (`gene_id`, `id`, `ensg_id`, `ensembl_id`). Known beside it: `symbol`, `gene` or
    `gene_name`; `gene_type`; `length` (bases); `chrom`; `start` or `chromStart` and `end` or `chromEnd`; `strand`.
    Versions are stripped; `_PAR_Y` copies and rows that are no human Ensembl gene are left out and counted.

    Raises:
        DataError: no such table, one of probes, no id column, human Ensembl ids in less than half of the rows, a
            number that is none, or a gene twice with different attributes.
    """
    release, frame = _read_frame(path)
    titles = {str(title).strip().lstrip("#").lower(): title for title in frame.columns}

    def column(aliases: tuple[str, ...]) -> pd.Series:
        title = next((titles[alias] for alias in aliases if alias in titles), None)
        return pd.Series("", index=frame.index) if title is None else frame[title].str.strip()

    if not any(alias in titles for alias in ID_TITLES):
        found = ", ".join(repr(shorten(str(title))) for title in list(frame.columns)[:12])
        raise DataError(f"{path}: no column of gene ids (`gene_id`, `id`, `ensg_id` or `ensembl_id`), found {found}")
    raw = column(ID_TITLES)
    is_ensembl = raw.str.match(ENSEMBL_ID)
    _refuse_probes(path, frame)
    if not is_ensembl.any():
        raise DataError(
            f"{path}: no human Ensembl gene id in its id column, as ENSG00000141510; found"
            f" {', '.join(repr(shorten(name)) for name in raw[:3]) or 'no row'}"
        )
    if is_ensembl.mean() < MIN_ENSEMBL_SHARE:
        raise DataError(
            f"{path}: only {int(is_ensembl.sum())} of {len(raw)} rows have a human Ensembl gene id, as"
            f" ENSG00000141510, the others as {shorten(raw[~is_ensembl].iloc[0])!r}: no table of human genes; give one"
            " as `bulkrnabert annotate` writes"
        )
    table = pd.DataFrame(
        {
            keys.GENE_ID: raw.map(lambda gene_id: strip_version(gene_id) or ""),
            keys.SYMBOL: column(SYMBOL_TITLES),
            keys.GENE_TYPE: column(TYPE_TITLES),
            "length": _numbers(path, raw, "length", column(LENGTH_TITLES)),
            "chrom": column(CHROM_TITLES),
            "start": _numbers(path, raw, "start", column(START_TITLES)),
            "end": _numbers(path, raw, "end", column(END_TITLES)),
            "strand": column(STRAND_TITLES),
        }
    )[is_ensembl]
    n_copies = int((table[keys.GENE_ID] == "").sum())
    table = table[table[keys.GENE_ID] != ""].drop_duplicates()
    twice = table[keys.GENE_ID].duplicated()
    if twice.any():
        raise DataError(
            f"{path}: gene {table[keys.GENE_ID][twice].iloc[0]!r} stands there more than once with different"
            " attributes; keep one row of each gene"
        )
    logger.info(
        "%s: %d genes, %d copies on chromosome Y and %d rows without an Ensembl id left out",
        path,
        len(table),
        n_copies,
        int((~is_ensembl).sum()),
    )
    return GeneAnnotation(
        tuple(table[keys.GENE_ID]),
        tuple(table[keys.SYMBOL]),
        tuple(table[keys.GENE_TYPE]),
        table["length"].to_numpy(dtype=np.float64),
        tuple(table["chrom"]),
        table["start"].to_numpy(dtype=np.float64),
        table["end"].to_numpy(dtype=np.float64),
        tuple(table["strand"]),
        release=release,
        source=path.name,
    )


def _read_frame(path: Path) -> tuple[str, pd.DataFrame]:
    """The release in the comment above the table, and the table as text."""
    with open_text(path) as handle:
        above = handle.read(COMMENT_CHARACTERS)
        handle.seek(0)
        line, _ = read_header_line(path, handle)
        named = RELEASE.search(above.partition(line)[0])
        release = named.group(0) if named else ""
        separator = "\t" if "\t" in line else ","
        header = next(csv.reader([line.rstrip("\r\n")], delimiter=separator), [])
        try:
            frame = pd.read_csv(
                handle, sep=separator, header=None, names=header, dtype=str, keep_default_na=False, index_col=False
            )
        except (ValueError, pd.errors.ParserError) as error:
            raise DataError(f"{path}: no regular table of genes: {error}") from error
    if frame.empty:
        raise DataError(f"{path}: a header without rows, expected a table of genes")
    return release, frame.fillna("")


def _refuse_probes(path: Path, frame: pd.DataFrame) -> None:
    for title, column in frame.head(ROWS_LOOKED_AT).items():
        is_probe = column.str.strip().str.match(PROBE_ID)
        if is_probe.mean() > MIN_ENSEMBL_SHARE:
            raise DataError(
                f"{path}: a table of probes, as {column[is_probe].iloc[0]!r} in column {shorten(str(title))!r},"
                " expected one row a gene as `bulkrnabert annotate` writes; tables of probes go to --probe-annotation"
            )


def _numbers(path: Path, ids: pd.Series, what: str, column: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(column.where(~column.isin(["", "NA", "NaN", "."])), errors="coerce")
    stated = ~column.isin(["", "NA", "NaN", "."])
    wrong = np.flatnonzero(stated & ~(numbers >= 0)) if what == "start" else np.flatnonzero(stated & ~(numbers > 0))
    infinite = np.flatnonzero(np.isinf(numbers.fillna(0)))
    bad = np.concatenate([wrong, infinite])
    if bad.size:
        row = int(bad.min())
        raise DataError(
            f"{path}: {what} {shorten(column.iloc[row])!r} of gene {shorten(ids.iloc[row])!r}, expected a positive"
            " number of bases, or nothing where unknown"
        )
    return numbers.astype(np.float64)


def read_gene_lengths(path: Path) -> dict[str, float]:
    """Read the length of each gene: TSV or CSV with an id or symbol and `length` in bases.

    Unlike `read_annotation` it takes symbols for ids, as tables of symbols need them. Versions are stripped, `_PAR_Y`
    copies are left out.

    Raises:
        DataError: no such columns, a length that is no positive number, or a gene with two lengths.
    """
    first, *rows = read_cells(path)
    header = [name.lower() for name in first.cells]
    id_columns = [name for name in (*ID_TITLES, *SYMBOL_TITLES) if name in header]
    length_columns = [name for name in LENGTH_TITLES if name in header]
    if not id_columns or not length_columns:
        found = ", ".join(repr(shorten(name)) for name in first.cells[:12])
        raise DataError(f"{path}: expected the columns `gene_id` and `length` (bases), found {found}")
    id_at, length_at = header.index(id_columns[0]), header.index(length_columns[0])
    lengths: dict[str, float] = {}
    for row in rows:
        try:
            gene_id, length = strip_version(row.cells[id_at]), float(row.cells[length_at])
        except (IndexError, ValueError) as error:
            raise DataError(f"{path}: row {row.number}: no gene length in {shorten(str(row.cells))}") from error
        if not 0 < length < float("inf"):
            raise DataError(
                f"{path}: row {row.number}: length {length:g} of {gene_id}, expected a positive number of bases"
            )
        if gene_id is not None and lengths.setdefault(gene_id, length) != length:
            raise DataError(f"{path}: row {row.number}: {gene_id} stands there before with another length")
    return lengths


def write_annotation(annotation: GeneAnnotation, out: Path) -> None:
    """Write the table that `read_annotation` reads, its release in a comment line above."""
    frame = pd.DataFrame(
        {
            keys.GENE_ID: annotation.gene_ids,
            keys.SYMBOL: annotation.symbols,
            keys.GENE_TYPE: annotation.gene_types,
            "length": pd.Series(annotation.lengths).astype("Int64"),
            "chrom": annotation.chroms,
            "start": pd.Series(annotation.starts).astype("Int64"),
            "end": pd.Series(annotation.ends).astype("Int64"),
            "strand": annotation.strands,
        },
        columns=list(WRITTEN_COLUMNS),
    )
    with atomic_path(out) as partial, partial.open("w", encoding="utf-8", newline="") as handle:
        if annotation.release:
            handle.write(f"# gene-model: {annotation.release}\n")
        frame.to_csv(handle, sep="\t", index=False, lineterminator="\n")
