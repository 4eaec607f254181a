"""Tables of text and Parquet as a grid of numbers: ids at both sides, what is no expression left out and listed."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from bulkrnabert.data.sources.short_rows import RowWatch
from bulkrnabert.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC, HDF5_MAGIC, ZIP_MAGIC = b"PAR1", b"\x89HDF", b"PK\x03\x04"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
BUFFER_BYTES = 1 << 20
# Real tables unpack to 3 to 30 times their size; what is small is let through, however well it packs.
UNPACKED_ALWAYS_BYTES = 256 << 20
UNPACKED_TIMES = 100
LONGEST_LINE_BYTES = 64 << 20
ROWS_PER_PIECE = 4000
SHOWN_CHARACTERS = 80
MOST_CELLS = 0.5
DECIMAL_COMMA = re.compile(r"^[+-]?\d+,\d+([eE][+-]?\d+)?$")
SYMBOL_COLUMNS = ("gene_name", "gene_symbol", "symbol", "hgnc_symbol", "hugo_symbol")
ANNOTATION_COLUMNS = frozenset(
    {"gene_name", "gene_symbol", "symbol", "hgnc_symbol", "hugo_symbol", "description", "gene_type", "gene_biotype"}
    | {"biotype", "gene_length", "length", "effective_length", "chr", "chrom", "chromosome", "chromstart", "chromend"}
    | {"start", "end", "strand", "entrez", "entrez_id", "entrezgene", "entrez_gene_id", "transcript_id(s)"}
)
LABEL_COLUMNS = frozenset(
    {"patient_id", "cohort", "project_id", "sample_type", "sample_type_code", "age", "age_diagnosed", "gender", "sex"}
    | {"os", "os.time", "pfi", "pfi.time", "dss", "dss.time", "dfi", "dfi.time", "time_days", "event"}
)


@dataclass(frozen=True)
class Grid:
    """A rectangle of numbers, not yet known which side the genes are on.

    Attributes:
        rows: Ids down the side.
        columns: Ids along the top.
        values: Shape (rows, columns), float32; NaN for a missing cell.
        row_title: Title of the id column, as `gene_id`; empty where there is none.
        column_title: Title of the ids along the top (Parquet only).
        dropped_columns: Columns that hold no expression: text, gene annotation, labels.
        symbols: What a column `gene_name`, `symbol` or `Description` says of each row; empty without such a column.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: npt.NDArray[np.float32]
    row_title: str
    column_title: str
    dropped_columns: tuple[str, ...]
    symbols: tuple[str, ...] = ()


class _Guard(io.RawIOBase):
    """A file as it is read, watched: a small archive of endless text, or a line without end, is refused in time."""

    def __init__(self, path: Path, source: BinaryIO, limit: int | None, refuses_nul: bool) -> None:
        self._path = path
        self._source = source
        self._limit = limit
        self._refuses_nul = refuses_nul
        self._n_read = 0
        self._n_in_line = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._n_read = self._n_in_line = 0
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        chunk = self._source.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._n_read += len(chunk)
        if self._refuses_nul and b"\x00" in chunk:
            raise DataError(
                f"{self._path}: not a text file, it holds NUL bytes: damaged, or a binary table that needs its format"
                " (parquet, h5ad) named"
            )
        if self._limit is not None and self._n_read > self._limit:
            raise DataError(
                f"{self._path}: unpacks to more than {self._limit / 1e9:.1f} GB from an archive of"
                f" {self._path.stat().st_size / 1e6:.1f} MB, as no table of expression does; if you trust it, unpack it"
                " yourself (gzip -d) and give the unpacked file"
            )
        last = chunk.rfind(b"\n")
        self._n_in_line = len(chunk) - last - 1 if last >= 0 else self._n_in_line + len(chunk)
        if self._n_in_line > LONGEST_LINE_BYTES:
            raise DataError(
                f"{self._path}: a line of more than {LONGEST_LINE_BYTES >> 20} MB, expected a table with one row a line"
            )
        return len(chunk)


def _encoding(path: Path, start: bytes) -> str:
    """Encoding of a text, told from its first bytes."""
    for magic, what in ((PARQUET_MAGIC, "parquet"), (HDF5_MAGIC, "h5ad")):
        if start.startswith(magic):
            raise DataError(f"{path}: not a text file but a binary table; name its format, {what}")
    if start.startswith(ZIP_MAGIC):
        raise DataError(f"{path}: not a text file but a zip archive or an Excel workbook; save the table as TSV or CSV")
    if start.startswith(UTF16_MARKS):
        return "utf-16"
    return "utf-8-sig"


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file, unpacked when it is gzip whatever its name.

    Raises:
        DataError: missing, a folder, empty, not text, an HTML page, or a damaged archive.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder, expected a table in a file")
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            source = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if packed else raw
            limit = unpacked_limit(path) if packed else None
            encoding = _encoding(path, source.read(8))
            source.seek(0)
            guard = _Guard(path, source, limit, refuses_nul=encoding != "utf-16")
            with (
                io.BufferedReader(guard, BUFFER_BYTES) as watched,
                io.TextIOWrapper(watched, encoding=encoding, newline="") as handle,
            ):
                start = handle.read(512).lstrip()
                if not start:
                    raise DataError(f"{path}: empty file, expected a table")
                if start.lower().startswith(("<!doctype", "<html", "<?xml")):
                    raise DataError(f"{path}: an HTML page, not a table: a download that went wrong?")
                handle.seek(0)
                yield handle
    except EOFError as error:
        raise DataError(f"{path}: the archive ends too early: a truncated download; get the file again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: a damaged archive ({error}); get the file again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not a UTF-8 text file ({error}); save it as text in UTF-8, or name its format (parquet, h5ad)"
        ) from error


@dataclass(frozen=True)
class TextRow:
    """One row of a small table: its number in the file (the header is row 1) and its cells without blanks around."""

    number: int
    cells: list[str]


def read_cells(path: Path) -> list[TextRow]:
    """Read a small table of text: commas or tabs, as its first line tells; the header is the first row.

    Rows without any text are left out, and comments above the header. Columns at the end that have neither a title nor
    a cell are cut: spreadsheets leave such behind.

    Raises:
        DataError: no text table.
    """
    with open_text(path) as handle:
        line, n_lines = read_header_line(path, handle)
        separator = "\t" if "\t" in line else ","
        handle.seek(0)
        try:
            rows = [
                TextRow(number, [cell.strip() for cell in cells])
                for number, cells in enumerate(csv.reader(handle, delimiter=separator, skipinitialspace=True), start=1)
                if number >= n_lines and any(cell.strip() for cell in cells)
            ]
        except csv.Error as error:
            raise DataError(f"{path}: no table of text: {error}") from error
    n_used = max(position + 1 for row in rows for position, cell in enumerate(row.cells) if cell)
    return [TextRow(row.number, row.cells[:n_used]) for row in rows]


def unpacked_limit(path: Path) -> int:
    """Most bytes that an archive may unpack to."""
    return max(UNPACKED_ALWAYS_BYTES, UNPACKED_TIMES * path.stat().st_size)


def read_unpacked(path: Path, most_bytes: int) -> bytes:
    """A whole file, unpacked when it is gzip whatever its name.

    Raises:
        DataError: damaged, or more than `most_bytes`.
    """
    try:
        with path.open("rb") as raw:
            is_packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            source = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if is_packed else raw
            content = source.read(most_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if len(content) > most_bytes:
        raise DataError(
            f"{path}: more than {most_bytes >> 20} MB{' when unpacked' if is_packed else ''}, far more than a file of"
            " this kind has; get it again"
        )
    return content


def refuse_unlikely_size(path: Path, n_rows: int, n_columns: int) -> None:
    """Stop before a binary table is read that claims far more cells than its file can hold, or than fit into memory.

    Raises:
        DataError: it does.
    """
    needed = 4 * n_rows * n_columns
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    shape = f"{path}: says {n_rows} rows x {n_columns} columns, {needed / 1e9:.1f} GB as a matrix"
    if needed > unpacked_limit(path):
        raise DataError(
            f"{shape}, in a file of {path.stat().st_size / 1e6:.1f} MB, as no table of expression does; if you trust"
            " it, give it as TSV or in parts"
        )
    if needed > memory:
        raise DataError(f"{shape}; this machine has {memory / 1e9:.1f} GB of memory. Give it in parts")


def read_header_line(path: Path, handle: TextIO) -> tuple[str, int]:
    """The first line with text that is no comment, and its number in the file.

    `#id<TAB>gene`, as Xena writes it, is a header; `# text`, `##text` and `#!text` are comments.

    Raises:
        DataError: there is no such line.
    """
    for number, line in enumerate(iter(handle.readline, ""), start=1):
        is_comment = line.startswith(("# ", "##", "#!")) or (line.startswith("#") and not re.search(r"[\t,]", line))
        if not is_comment and line.strip(" \t\r\n,"):
            return line, number
    raise DataError(f"{path}: no text in any cell, expected a table")


def shorten(text: str) -> str:
    """The beginning of a text, for a message."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def read_delimited(path: Path, separator: str) -> Grid:
    """Read a TSV or CSV table whose first column holds ids; lines that start with `#` before the header are skipped.

    Raises:
        DataError: no table, or a cell that is no number (names row and column).
    """
    with open_text(path) as handle:
        line, n_lines = handle.readline(), 1
        while line.startswith("#") or not line.strip():
            line, n_lines = handle.readline(), n_lines + 1
            if not line:
                raise DataError(f"{path}: no header: every line is empty or a comment, expected a table")
        try:
            header = next(csv.reader([line.rstrip("\r\n")], delimiter=separator))
        except csv.Error:  # one field longer than csv allows: split at the wrong character
            header = [line]
        return read_rows(path, handle, separator, header, n_lines)


def read_rows(
    path: Path,
    handle: TextIO,
    separator: str,
    header: list[str],
    n_lines_above: int,
    symbol_columns: tuple[str, ...] = SYMBOL_COLUMNS,
    id_column: int = 0,
) -> Grid:
    """Read the rows below a header.

    Args:
        path: The file, for messages.
        handle: Stands at the first row.
        separator: A tab or a comma.
        header: Titles, of the id column and all after it; R writes none for the ids.
        n_lines_above: Lines of the file above the rows.
        symbol_columns: Titles, in lower case, of columns that hold gene symbols.
        id_column: Where the ids stand; columns before it are not read.
    Raises:
        DataError: no regular table, a row with too few cells, or a cell that is no number (names row and column).
    """
    if len(header) < 2:
        raise DataError(
            f"{path}: only one column when split at {'tabs' if separator == chr(9) else 'commas'}; found the header"
            f" {shorten(header[0])!r}. Check the format: tsv (tabs) or csv (commas, not semicolons)"
        )
    watch = RowWatch(handle, separator, id_column + len(header), not header[-1].strip(), n_lines_above)
    try:
        pieces = pd.read_csv(
            cast("TextIO", watch),
            sep=separator,
            header=None,
            usecols=range(id_column, id_column + len(header)) if id_column else None,
            dtype={id_column: str},
            chunksize=ROWS_PER_PIECE,
            low_memory=False,
        )
        rows: list[str] = []
        symbols: list[str] = []
        blocks: list[npt.NDArray[np.float32]] = []
        plan: _Columns | None = None
        for piece in pieces:
            watch.refuse_short(path)
            plan = plan or _Columns.choose(path, header, piece)
            if piece.shape[1] != 1 + len(plan.names):
                raise DataError(f"{path}: {piece.shape[1]} columns in the rows, {1 + len(plan.names)} in the header")
            ids = piece.iloc[:, 0].fillna("").str.strip().tolist()
            rows.extend(ids)
            symbols.extend(_symbols(piece.iloc[:, 1:], plan.names, symbol_columns))
            blocks.append(_numbers(path, piece, plan, ids))
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path}: a header without rows, expected a table of expression") from error
    except pd.errors.ParserError as error:
        # pandas counts from the line below the header.
        told = re.sub(r"(?<=line )\d+", lambda match: str(int(match.group()) + n_lines_above), str(error).strip())
        raise DataError(f"{path}: no regular table: {told}") from error
    watch.refuse_short(path)
    assert plan is not None
    return Grid(
        tuple(rows),
        tuple(plan.names[position] for position in plan.kept),
        np.concatenate(blocks),
        plan.title,
        "",
        _others(plan.names, plan.kept),
        tuple(symbols),
    )


def _others(names: tuple[str, ...], kept: tuple[int, ...]) -> tuple[str, ...]:
    taken = set(kept)
    return tuple(name for position, name in enumerate(names) if position not in taken)


def _symbols(columns: pd.DataFrame, names: tuple[str, ...], wanted: tuple[str, ...]) -> list[str]:
    """Text of the first column of gene symbols, or nothing where there is none."""
    lower = [name.lower() for name in names]
    position = next((lower.index(name) for name in wanted if name in lower), None)
    if position is None:
        return []
    return ["" if pd.isna(symbol) else str(symbol).strip() for symbol in columns.iloc[:, position]]


@dataclass(frozen=True)
class _Columns:
    title: str
    names: tuple[str, ...]
    kept: tuple[int, ...]

    @classmethod
    def choose(cls, path: Path, header: list[str], piece: pd.DataFrame) -> _Columns:
        # R writes one title fewer than columns when the ids are row names.
        named = len(header) == piece.shape[1]
        names = tuple(name.strip() for name in (header[1:] if named else header))
        if not named and len(header) != piece.shape[1] - 1:
            raise DataError(f"{path}: {len(header)} titles in the header but {piece.shape[1]} columns in the rows")
        if not named and bool(piece.iloc[:, -1].isna().all()):
            raise DataError(
                f"{path}: rows have one cell more than the header, and the last is empty: they end in a separator that"
                " the header lacks; remove it, or titles would stand above the wrong columns"
            )
        _refuse_decimal_commas(path, names, piece)
        kept = tuple(
            position for position, name in enumerate(names) if not _is_beside(name, piece.iloc[:, position + 1])
        )
        if not kept:
            raise DataError(
                f"{path}: no column of numbers (as 1234.5, without thousands separators) beside the ids; found"
                f" {', '.join(names[:5])}"
            )
        return cls(header[0].strip() if named else "", names, kept)


def _refuse_decimal_commas(path: Path, names: tuple[str, ...], piece: pd.DataFrame) -> None:
    for position, name in enumerate(names):
        column = piece.iloc[:, position + 1]
        if pd.api.types.is_numeric_dtype(column):
            continue
        is_comma = column.astype(str).str.match(DECIMAL_COMMA)
        if is_comma.mean() > MOST_CELLS:
            cell = str(column[is_comma].iloc[0])
            raise DataError(
                f"{path}: numbers with commas, as {shorten(cell)!r} in column {shorten(name)!r}; write a decimal point"
                " and no thousands separators, as 1234.5"
            )


def _is_annotation(name: str) -> bool:
    return name.lower() in ANNOTATION_COLUMNS or name.lower() in LABEL_COLUMNS


def _is_beside(name: str, column: pd.Series) -> bool:
    """Whether a column holds no expression: annotation, a label, or mostly text."""
    if _is_annotation(name):
        return True
    if pd.api.types.is_numeric_dtype(column):
        return False
    present = column.dropna()
    return bool(pd.to_numeric(present, errors="coerce").isna().mean() > MOST_CELLS)


def _numbers(path: Path, piece: pd.DataFrame, plan: _Columns, ids: list[str]) -> npt.NDArray[np.float32]:
    block = np.empty((len(piece), len(plan.kept)), dtype=np.float32)
    for target, position in enumerate(plan.kept):
        column = piece.iloc[:, position + 1]
        if not pd.api.types.is_numeric_dtype(column):
            numbers = pd.to_numeric(column, errors="coerce")
            wrong = np.flatnonzero((numbers.isna() & column.notna()).to_numpy())
            if wrong.size:
                cell = str(column.iloc[wrong[0]])
                hint = "; write a decimal point and no thousands separators, as 1234.5" if "," in cell else ""
                raise DataError(
                    f"{path}: {shorten(cell)!r} is no number, in row {shorten(ids[wrong[0]])!r}, column"
                    f" {shorten(plan.names[position])!r}{hint}"
                )
            column = numbers
        block[:, target] = column.to_numpy(dtype=np.float32, na_value=np.nan)
    return block


def read_parquet(path: Path) -> Grid:
    """Read a Parquet table: ids in its pandas index, or in its first column of text.

    Raises:
        DataError: not Parquet, no ids, or a column of numbers with text in it.
    """
    try:
        shape = pq.read_metadata(path)
        refuse_unlikely_size(path, shape.num_rows, shape.num_columns)
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error
    if frame.empty:
        raise DataError(f"{path}: an empty table ({frame.shape[0]} rows x {frame.shape[1]} columns)")
    column_title = str(frame.columns.name or "")
    if isinstance(frame.index, pd.RangeIndex):
        text = [at for at, dtype in enumerate(frame.dtypes) if not pd.api.types.is_numeric_dtype(dtype)]
        if not text:
            raise DataError(f"{path}: no ids: neither a pandas index nor a column of text beside the numbers")
        ids_column = frame.iloc[:, text[0]]
        others = [at for at in range(frame.shape[1]) if at != text[0]]
        frame = frame.iloc[:, others].set_axis(pd.Index(ids_column, name=ids_column.name), axis=0)
    ids = ["" if pd.isna(name) else str(name).strip() for name in frame.index]
    names = tuple(str(name).strip() for name in frame.columns)
    is_number = [pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes]
    kept = tuple(
        position
        for position, name in enumerate(names)
        if (is_number[position] and not _is_annotation(name))
        or (not is_number[position] and not _is_beside(name, frame.iloc[:, position]))
    )
    if not kept:
        raise DataError(f"{path}: no column of numbers beside the ids; found {', '.join(names[:5])}")
    numeric = frame.iloc[:, list(kept)]
    if all(pd.api.types.is_numeric_dtype(dtype) for dtype in numeric.dtypes):
        values = numeric.to_numpy(dtype=np.float32, na_value=np.nan)
    else:
        piece = frame.reset_index()
        values = _numbers(path, piece, _Columns(str(frame.index.name or ""), names, kept), ids)
    return Grid(
        tuple(ids),
        tuple(names[position] for position in kept),
        values,
        str(frame.index.name or ""),
        column_title,
        _others(names, kept),
        tuple(_symbols(frame, names, SYMBOL_COLUMNS)),
    )
