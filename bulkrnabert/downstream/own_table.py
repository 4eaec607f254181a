"""A user's table as it stands in its file, so that cells can be filled and all others stay as they were written."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bulkrnabert import keys
from bulkrnabert.data.genes import normalise_gene_ids
from bulkrnabert.data.sources.adata import MAIN
from bulkrnabert.data.sources.delimited import open_text
from bulkrnabert.data.sources.files import ExpressionTable, parse_format
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.provenance import atomic_path

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]
NumberArray = npt.NDArray[np.floating | np.integer]
SIGNIFICANT_DIGITS = 6
MISSING_TEXTS = frozenset({"", "na", "nan", "null", "none", "<na>", "n/a", "#n/a"})


@dataclass(frozen=True)
class OwnTable:
    """A table in its own layout.

    Attributes:
        frame: Ids as index; cells as text from a text file, as numbers from Parquet and h5ad.
        genes_in_rows: Whether a row is a gene.
        gene_at: Row or column of each gene of the `ExpressionTable`, shape (genes,).
        sample_at: Row or column of each sample, shape (samples,).
        is_text: Whether cells are text.
    """

    frame: pd.DataFrame
    genes_in_rows: bool
    gene_at: IntArray
    sample_at: IntArray
    is_text: bool


def read_own_table(path: Path, fmt: str, expression: ExpressionTable) -> OwnTable:
    """Read a table again, cell by cell as it stands.

    Args:
        path: The file.
        fmt: As of `read_expression`.
        expression: What `read_expression` made of it.
    Raises:
        ConfigError: a format that has no single table to write back.
    """
    choice = parse_format(fmt, path)
    name = choice.name
    if choice.matrix != MAIN:
        raise ConfigError(f"{path}: cells are filled in X, not in {choice.matrix}: put those values into X")
    if name == "star_counts":
        raise ConfigError(f"{path}: STAR counts have no missing values and no unit of a model; give a table in TPM")
    is_text = name in ("tsv", "csv", "gct")
    if name == "h5ad":
        import anndata

        frame = anndata.read_h5ad(path).to_df().set_axis(list(expression.raw_gene_ids), axis=1)
    elif is_text:
        frame = _read_text(path, "," if name == "csv" else "\t", n_above=2 if name == "gct" else 0)
    else:
        frame = _read_parquet(path)
    rows, columns = ([str(item).strip() for item in axis] for axis in (frame.index, frame.columns))
    genes_in_rows = rows == list(expression.raw_gene_ids)
    genes, samples = (rows, columns) if genes_in_rows else (columns, rows)
    of_genes = _positions(genes, expression.raw_gene_ids, path)
    kept = normalise_gene_ids(expression.raw_gene_ids, str(path)).keep_idx
    return OwnTable(frame, genes_in_rows, of_genes[kept], _positions(samples, expression.sample_ids, path), is_text)


def _positions(found: list[str], wanted: tuple[str, ...], path: Path) -> IntArray:
    """Where each wanted id is among those found, which may have others between them."""
    positions, start = [], 0
    for name in wanted:
        try:
            start = found.index(name, start) + 1
        except ValueError as error:
            raise DataError(f"{path}: {name!r} was in the table when it was first read, and is not now") from error
        positions.append(start - 1)
    return np.array(positions, dtype=np.int64)


def _read_text(path: Path, separator: str, n_above: int) -> pd.DataFrame:
    with open_text(path) as handle:
        for _ in range(n_above):
            handle.readline()
        line = handle.readline()
        while line.startswith("#") or not line.strip():
            line = handle.readline()
        header = next(csv.reader([line.rstrip("\r\n")], delimiter=separator))
        cells = pd.read_csv(
            cast("Any", handle), sep=separator, header=None, dtype=str, keep_default_na=False, low_memory=False
        )
    titles = header[1:] if len(header) == cells.shape[1] else header
    title = header[0].strip() if len(header) == cells.shape[1] else ""
    ids = pd.Index(cells.iloc[:, 0], name=title or None)
    return cells.iloc[:, 1:].set_axis(titles[: cells.shape[1] - 1], axis=1).set_axis(ids, axis=0)


def _read_parquet(path: Path) -> pd.DataFrame:
    frame = pd.read_parquet(path)
    if not isinstance(frame.index, pd.RangeIndex):
        return frame
    text = next(at for at, dtype in enumerate(frame.dtypes) if not pd.api.types.is_numeric_dtype(dtype))
    ids = frame.iloc[:, text]
    others = [at for at in range(frame.shape[1]) if at != text]
    return frame.iloc[:, others].set_axis(pd.Index(ids, name=ids.name), axis=0)


@dataclass(frozen=True)
class Filling:
    """What goes into a table.

    Attributes:
        values: Shape (samples, genes of the table), NaN where the cell stays as it is.
        added_values: Values of genes that the table lacks, shape (samples, added genes), NaN where there is none.
        added_ids: Their ids.
    """

    values: FloatArray
    added_values: FloatArray
    added_ids: tuple[str, ...]


def filled_frame(table: OwnTable, filling: Filling) -> pd.DataFrame:
    """The table with its cells filled and genes added at the end; other cells, and columns of text, as they were."""
    if table.genes_in_rows:
        filled = _fill(table, filling.values.T, table.gene_at, table.sample_at)
        n_added = len(filling.added_ids)
        if not n_added:
            return filled
        blank: dict[int, Any] = {at: [""] * n_added for at in range(filled.shape[1])}
        for sample, at in enumerate(table.sample_at):
            blank[int(at)] = _cells(filling.added_values[sample], table.is_text, filled.dtypes.iloc[int(at)])
        added = pd.DataFrame(blank, index=pd.Index(filling.added_ids, name=filled.index.name))
        return pd.concat([filled, added.set_axis(filled.columns, axis=1)])
    filled = _fill(table, filling.values, table.sample_at, table.gene_at)
    if not filling.added_ids:
        return filled
    kind = np.result_type(
        np.float32, *(dtype for dtype in filled.dtypes if isinstance(dtype, np.dtype) and dtype.kind == "f")
    )
    values = np.full((len(filled), len(filling.added_ids)), np.nan, dtype=kind)
    values[table.sample_at] = filling.added_values
    columns = [_cells(values[:, at], table.is_text, kind) for at in range(values.shape[1])]
    added = pd.DataFrame(dict(enumerate(columns)), index=filled.index).set_axis(list(filling.added_ids), axis=1)
    return pd.concat([filled, added], axis=1)


def _fill(table: OwnTable, values: FloatArray, row_at: IntArray, column_at: IntArray) -> pd.DataFrame:
    """Cells of `values`, shape (rows, columns), that are not NaN written over those of the frame."""
    columns = [table.frame.iloc[:, at] for at in range(table.frame.shape[1])]
    for number, at in enumerate(column_at):
        is_filled = ~np.isnan(values[:, number])
        if not is_filled.any():
            continue
        old = columns[int(at)]
        dtype = old.dtype
        if table.is_text or not isinstance(dtype, np.dtype) or dtype.kind != "f":
            new = old.to_numpy(dtype=object).copy() if table.is_text else old.to_numpy(np.float64, na_value=np.nan)
        else:
            new = old.to_numpy().copy()
        new[row_at[is_filled]] = _cells(values[is_filled, number], table.is_text, new.dtype)
        columns[int(at)] = pd.Series(new, index=old.index)
    return pd.concat(columns, axis=1).set_axis(table.frame.columns, axis=1)


def _cells(values: FloatArray, is_text: bool, dtype: Any) -> npt.NDArray[Any]:
    if is_text:
        texts = ["" if np.isnan(value) else f"{value:.{SIGNIFICANT_DIGITS}g}" for value in values.tolist()]
        return np.array(texts, dtype=object)
    return values.astype(dtype if isinstance(dtype, np.dtype) and dtype.kind == "f" else np.float64)


def beside_frame(table: OwnTable, values: NumberArray, added: NumberArray, added_ids: tuple[str, ...]) -> pd.DataFrame:
    """Numbers about every cell in the table's layout, without columns of text.

    Args:
        table: The table.
        values: Shape (samples, genes of the table); whole numbers stay so.
        added: Of genes that the table lacks, shape (samples, added genes).
        added_ids: Their ids.
    """
    frame = table.frame
    samples = (frame.columns if table.genes_in_rows else frame.index)[table.sample_at]
    own = (frame.index if table.genes_in_rows else frame.columns)[table.gene_at]
    together = np.concatenate([values, added], axis=1)
    by_sample = pd.DataFrame(together, index=samples, columns=[*own, *added_ids])
    found = by_sample.T if table.genes_in_rows else by_sample
    return found.set_axis(pd.Index(found.index, name=frame.index.name), axis=0)


def write_own(frame: pd.DataFrame, path: Path, id_title: str, provenance: dict[str, Any]) -> None:
    """Write a table with its ids as `.parquet` (with the provenance), `.tsv` or `.csv`.

    Text of numbers becomes numbers in Parquet. A column of ids without a title gets `id_title`.
    """
    frame = frame.set_axis(pd.Index(frame.index, name=frame.index.name or id_title), axis=0)
    with atomic_path(path) as partial:
        if path.suffix != ".parquet":
            frame.to_csv(partial, sep="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
            return
        numbers = pd.concat([_as_numbers(frame.iloc[:, at]) for at in range(frame.shape[1])], axis=1)
        table = pa.Table.from_pandas(numbers.set_axis(frame.columns.astype(str), axis=1))
        metadata = {**(table.schema.metadata or {}), keys.META_PROVENANCE.encode(): json.dumps(provenance).encode()}
        pq.write_table(table.replace_schema_metadata(metadata), partial)


def _as_numbers(column: pd.Series) -> pd.Series:
    """Numbers where every cell of a column of text is one or says that it is missing; else the column."""
    if pd.api.types.is_numeric_dtype(column):
        return column
    text = column.astype(str).str.strip()
    text = text.where(~text.str.lower().isin(MISSING_TEXTS), "nan")
    try:
        # Not by pandas, whose reading of a number may be off in the last bit.
        numbers = text.to_numpy(dtype=object).astype(np.float64)
    except ValueError:
        return column
    return column if np.isnan(numbers).all() else pd.Series(numbers, index=column.index)
