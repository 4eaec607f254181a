"""A user's own expression table, in any of the usual formats and either orientation."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.genes import ENSEMBL_ID, GeneKind, GeneVocabulary, NormalisedGenes, normalise_gene_ids
from bulkrnabert.data.sources.adata import MAIN, choose_matrix, is_matrix_name
from bulkrnabert.data.sources.delimited import (
    Grid,
    read_delimited,
    read_parquet,
    refuse_unlikely_size,
    shorten,
)
from bulkrnabert.data.sources.gct import read_gct
from bulkrnabert.data.sources.orientation import SAMPLE_BARCODE, Orientation, genes_are_rows
from bulkrnabert.data.sources.star import StarReader, list_star_files, read_star_genes, sample_name
from bulkrnabert.errors import DataError

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

Missing = Literal["refuse", "keep"]
Format = Literal["tsv", "csv", "parquet", "h5ad", "gct", "star_counts"]
BY_EXTENSION: dict[str, Format] = {
    ".tsv": "tsv",
    ".txt": "tsv",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".h5ad": "h5ad",
    ".gct": "gct",
}


@dataclass(frozen=True)
class FormatChoice:
    """A format, and what the user stated of the inside of the file.

    Attributes:
        name: The format.
        orientation: Of a text table or Parquet; None where it was not stated.
        matrix: Of an `.h5ad` file: `X`, `raw` or `layers/<name>`.
    """

    name: Format
    orientation: Orientation | None
    matrix: str = MAIN


@dataclass(frozen=True)
class ExpressionTable:
    """Expression as a user gave it, samples in rows, genes cleaned, values unchanged.

    Attributes:
        sample_ids: One id a row; may hold an id twice.
        genes: Cleaned genes (see `normalise_gene_ids`), one a column.
        values: Shape (samples, genes), float32; may hold infinities, and NaN where missing values were to be kept.
        obs: Columns that an `.h5ad` file has beside its samples, as text, one row a sample; else None.
        dropped: Genes and columns left out, as (rule, name in the file).
        raw_gene_ids: Every gene id as it stands in the file, those left out as well; empty where nobody kept them.
    """

    sample_ids: tuple[str, ...]
    genes: GeneVocabulary
    values: npt.NDArray[np.float32]
    obs: pd.DataFrame | None
    dropped: tuple[tuple[str, str], ...]
    raw_gene_ids: tuple[str, ...] = ()

    @property
    def gene_ids(self) -> tuple[str, ...]:
        """Cleaned gene ids, one a column of `values`."""
        return self.genes.gene_ids

    @property
    def kind(self) -> GeneKind:
        """Whether the genes are Ensembl ids or symbols."""
        return self.genes.kind


def parse_format(text: str, path: Path) -> FormatChoice:
    """Read a format as `tsv`, `csv:genes-in-rows`, `h5ad:layers/tpm`, or nothing: then the extension decides.

    Raises:
        DataError: not a format, an orientation or a matrix, or an extension that says nothing.
    """
    name, _, inside = text.strip().partition(":")
    name, orientation = name.lower(), inside.lower()
    if not name:
        if path.is_dir():
            return FormatChoice("star_counts", None)
        extension = Path(path.name.removesuffix(".gz")).suffix.lower()
        if extension not in BY_EXTENSION:
            raise DataError(
                f"{path}: the extension {extension!r} does not tell the format; give one of"
                f" {', '.join(get_args(Format))}"
            )
        name = BY_EXTENSION[extension]
    for known in get_args(Format):
        if name == known:
            if not orientation:
                return FormatChoice(known, None)
            if known == "h5ad":
                if not is_matrix_name(inside):
                    raise DataError(f"format {text!r}: expected h5ad:X, h5ad:raw or h5ad:layers/NAME")
                return FormatChoice(known, None, inside)
            if known not in ("tsv", "csv", "parquet"):
                raise DataError(f"format {text!r}: an orientation is stated for tsv, csv and parquet only")
            if orientation not in get_args(Orientation):
                raise DataError(
                    f"format {text!r}: unknown orientation {orientation!r}; one of {', '.join(get_args(Orientation))}"
                )
            return FormatChoice(known, "genes-in-rows" if orientation == "genes-in-rows" else "genes-in-columns")
    raise DataError(f"unknown format {text!r}; one of {', '.join(get_args(Format))}, or none to go by the extension")


def read_expression(
    path: Path, fmt: str = "", known_sample_ids: Collection[str] = (), missing: Missing = "refuse"
) -> ExpressionTable:
    """Read one table.

    Args:
        path: A file (`.gz` as well), or a folder of STAR-Counts files.
        fmt: `tsv`, `csv`, `parquet`, `h5ad`, `gct`, `star_counts`; empty to go by the extension. `tsv`, `csv` and
            `parquet` may say `:genes-in-rows` or `:genes-in-columns`; else the ids decide. `h5ad` may say `:raw` or
            `:layers/<name>`; else `X` is read.
        known_sample_ids: Sample and patient ids of the clinical table, which help to tell samples from genes.
        missing: A cell without a number is refused, or kept as NaN.
    Raises:
        DataError: not such a file, a cell that is missing or no number (named by row and column), or an orientation
            that the ids do not tell.
        VocabularyError: no gene ids, or Ensembl ids mixed with symbols.
    """
    choice = parse_format(fmt, path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if choice.name == "star_counts":
        return _read_star(path, known_sample_ids)
    if choice.name == "h5ad":
        return _read_h5ad(path, missing, choice.matrix)
    if choice.name == "gct":
        return _from_grid(path, read_gct(path), True, missing)
    if choice.name == "parquet":
        grid = read_parquet(path)
    else:
        grid = read_delimited(path, "\t" if choice.name == "tsv" else ",")
    if choice.orientation is not None:
        in_rows = choice.orientation == "genes-in-rows"
    else:
        in_rows = genes_are_rows(grid, known_sample_ids, str(path), choice.name)
    return _from_grid(path, grid, in_rows, missing)


def _from_grid(path: Path, grid: Grid, genes_in_rows: bool, missing: Missing) -> ExpressionTable:
    raw_genes, sample_ids = (grid.rows, grid.columns) if genes_in_rows else (grid.columns, grid.rows)
    if missing == "refuse":
        _refuse_missing(path, grid)
    if not sample_ids:
        raise DataError(f"{path}: no sample in this table")
    if any(not sample_id for sample_id in sample_ids):
        raise DataError(f"{path}: sample {sample_ids.index('') + 1} has no id")
    swapped = sum(ENSEMBL_ID.match(sample_id) is not None for sample_id in sample_ids)
    if swapped > len(sample_ids) / 2:
        raise DataError(
            f"{path}: {swapped} of {len(sample_ids)} samples have gene ids for names, as {sample_ids[0]!r}: genes and"
            " samples are the wrong way round; transpose the table, or correct the orientation that was stated"
        )
    as_samples = sum(SAMPLE_BARCODE.match(name) is not None for name in raw_genes)
    if as_samples > len(raw_genes) / 2:
        raise DataError(
            f"{path}: genes are named as samples: {as_samples} of {len(raw_genes)}, as {raw_genes[0]!r}: genes and"
            " samples are the wrong way round; transpose the table, or correct the orientation that was stated"
        )
    normalised = normalise_gene_ids(raw_genes, str(path))
    values = grid.values[normalised.keep_idx].T if genes_in_rows else grid.values[:, normalised.keep_idx]
    genes = _vocabulary(normalised, grid.symbols if genes_in_rows else ())
    dropped = (*normalised.dropped, *(("not_expression", name) for name in grid.dropped_columns))
    if grid.dropped_columns:
        logger.info("%s: left out %d columns beside the ids: %s", path, len(grid.dropped_columns), grid.dropped_columns)
    return ExpressionTable(sample_ids, genes, np.ascontiguousarray(values), None, dropped, raw_genes)


def _vocabulary(normalised: NormalisedGenes, symbols: Sequence[str]) -> GeneVocabulary:
    """Genes of a table, with the symbols that it has beside its Ensembl ids."""
    genes = GeneVocabulary.from_ids(normalised.ids)
    if normalised.kind == "symbol" or not symbols:
        return genes
    named = tuple(symbols[position] for position in normalised.keep_idx)
    return GeneVocabulary(genes.gene_ids, named, genes.gene_types)


def _refuse_missing(path: Path, grid: Grid) -> None:
    missing = np.isnan(grid.values)
    if missing.any():
        row, column = (int(index) for index in np.argwhere(missing)[0])
        raise DataError(
            f"{path}: {int(missing.sum())} missing values, the first in row {shorten(grid.rows[row])!r}, column"
            f" {shorten(grid.columns[column])!r}; leave out those genes or samples, or fill them yourself"
        )


def _read_star(path: Path, known_sample_ids: Collection[str]) -> ExpressionTable:
    files = list_star_files(path)
    first = read_star_genes(files[0])
    values = np.concatenate(list(StarReader(first, first.genes).batches(files)))
    return ExpressionTable(
        star_sample_ids(files, known_sample_ids),
        first.genes,
        values,
        None,
        first.normalised.dropped,
        tuple(first.id_column.to_pylist()),
    )


def star_sample_ids(files: Sequence[Path], known_sample_ids: Collection[str]) -> tuple[str, ...]:
    """Ids of STAR-Counts files: their names, or their folders' names where the clinical table knows those instead."""
    by_folder = tuple(file.parent.name for file in files)
    by_name = tuple(sample_name(file) for file in files)
    known = set(known_sample_ids)
    if known and not known.intersection(by_name) and known.intersection(by_folder):
        return by_folder
    return by_name


def _read_h5ad(path: Path, missing: Missing, matrix: str) -> ExpressionTable:
    import anndata

    try:
        adata = anndata.read_h5ad(path, backed="r")
        try:
            return _from_adata(path, adata, missing, matrix)
        finally:
            adata.file.close()
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as .h5ad: {error}") from error


def _from_adata(path: Path, adata: AnnData, missing: Missing, matrix: str) -> ExpressionTable:
    chosen = choose_matrix(adata, matrix, str(path))
    refuse_unlikely_size(path, *chosen.shape)
    grid = Grid(
        rows=tuple(str(name) for name in adata.obs_names),
        columns=chosen.gene_ids,
        values=chosen.dense_float32(),
        row_title=keys.SAMPLE_ID,
        column_title=keys.GENE_ID,
        dropped_columns=(),
    )
    table = _from_grid(path, grid, False, missing)
    kept = normalise_gene_ids(chosen.gene_ids, str(path))
    obs = adata.obs.reset_index(drop=True).astype(object).where(adata.obs.notna().to_numpy(), "").astype(str)
    return replace(table, genes=_vocabulary(kept, chosen.symbols), obs=obs)
