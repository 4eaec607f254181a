"""GCT tables that are wider and longer than memory: read gene by gene, kept sample by sample on disk."""

from __future__ import annotations

import gzip
import io
import itertools
import logging
import math
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from bulkrnabert.data.sources.delimited import GZIP_MAGIC, Grid, open_text, read_rows, shorten
from bulkrnabert.errors import DataError
from bulkrnabert.logs import progress_bar

logger = logging.getLogger(__name__)

VERSION = "#1.2"
LINES_OF_HEADER = 3
BUFFER_BYTES = 1 << 20
BLOCK_BYTES = 16 << 20
PARSE_BYTES = 4 << 20
TITLES = (["name", "description"], ["id", "name", "description"])


@dataclass(frozen=True)
class GctHeader:
    """The three lines at the top of a GCT file.

    Attributes:
        path: The file.
        n_genes: Rows that the file says it has.
        sample_ids: Titles of the sample columns, distinct.
        n_titles: Columns before the first sample: `Name` and `Description`, in some files an `id` before them.
    """

    path: Path
    n_genes: int
    sample_ids: tuple[str, ...]
    n_titles: int


@dataclass(frozen=True)
class GctIndex:
    """What a GCT file holds, without its numbers.

    Attributes:
        header: Its top.
        gene_ids: `Name` of each row.
        symbols: `Description` of each row.
    """

    header: GctHeader
    gene_ids: tuple[str, ...]
    symbols: tuple[str, ...]


def read_gct_header(path: Path) -> GctHeader:
    """Read the top of a GCT file, packed or not.

    Raises:
        DataError: no GCT 1.2 file, the number of samples is not the stated one, or a sample stands there twice.
    """
    with _open(path) as handle:
        return _read_header(path, handle)


def read_gct(path: Path) -> Grid:
    """Read a whole GCT table, of any unit, into memory.

    Raises:
        DataError: as `read_gct_header`, or the number of rows is not the stated one.
    """
    header = read_gct_header(path)
    with open_text(path) as handle:
        titles = [handle.readline() for _ in range(LINES_OF_HEADER)][-1].rstrip("\r\n").split("\t")
        # `id`, where a file has it, counts the rows: the gene is the `Name`.
        id_column = header.n_titles - 2
        of_table = titles[id_column : header.n_titles + len(header.sample_ids)]
        grid = read_rows(path, handle, "\t", of_table, LINES_OF_HEADER, ("description",), id_column)
    if len(grid.rows) != header.n_genes:
        raise DataError(
            f"{path}: says {header.n_genes} genes in line 2 but holds {len(grid.rows)} rows: truncated? Get it again"
        )
    return grid


def index_gct(path: Path) -> GctIndex:
    """Read the names of all genes, and check that the file is whole: every row, and every row as wide as the header.

    Raises:
        DataError: as `read_gct_header`, or rows are missing, cut off or too many, or the archive is damaged.
    """
    gene_ids: list[str] = []
    symbols: list[str] = []
    with _open(path) as handle:
        header = _read_header(path, handle)
        for row in _rows(header, handle):
            fields = row.split(b"\t", header.n_titles)
            gene_ids.append(fields[header.n_titles - 2].decode("utf-8", "replace").strip())
            symbols.append(fields[header.n_titles - 1].decode("utf-8", "replace").strip())
    return GctIndex(header, tuple(gene_ids), tuple(symbols))


class SampleBlocks:
    """Values of some samples and genes in a temporary file that has no name, so that nothing of it ever stays behind.

    Each block holds some genes of all samples, a sample after the other: written in one go, and the values of
    neighbouring samples are read in one go.

    Args:
        folder: Where the file lies; the system's folder for temporary files when None.
        n_samples: Number of samples.
        n_genes: Number of genes.
    Raises:
        DataError: no file can be made there.
    """

    def __init__(self, folder: Path | None, n_samples: int, n_genes: int) -> None:
        self.n_samples = n_samples
        self.n_genes = n_genes
        self._folder = Path(tempfile.gettempdir()) if folder is None else folder
        self._blocks: list[tuple[int, npt.NDArray[np.int64]]] = []
        self._n_bytes = 0
        try:
            # Lives as long as this object, and goes with it.
            self._file = cast("BinaryIO", tempfile.TemporaryFile(dir=self._folder, prefix=".bulkrnabert-"))  # noqa: SIM115
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> DataError:
        needed = self.n_samples * self.n_genes * 4 / 1e9
        return DataError(
            f"{self._folder}: the values of {self.n_samples} samples need {needed:.1f} GB for temporary use, which"
            f" cannot be written there: {error.strerror}; make room"
        )

    def append(self, values: npt.NDArray[np.float32], gene_idx: npt.NDArray[np.int64]) -> None:
        """Add a block.

        Args:
            values: Shape (n_samples, some), float32.
            gene_idx: Column that each gene of the block gets in the result, shape (some,).
        """
        assert values.shape == (self.n_samples, len(gene_idx))
        try:
            self._file.write(np.ascontiguousarray(values).data)
        except OSError as error:
            raise self._unwritable(error) from error
        self._blocks.append((self._n_bytes, gene_idx))
        self._n_bytes += values.size * 4

    def read(self, rows: Sequence[int]) -> npt.NDArray[np.float32]:
        """Values of some samples, shape (len(rows), n_genes), float32."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error
        values = np.empty((len(rows), self.n_genes), dtype=np.float32)
        for start, gene_idx in self._blocks:
            block = np.memmap(
                self._file, dtype=np.float32, mode="r", offset=start, shape=(self.n_samples, len(gene_idx))
            )
            values[:, gene_idx] = block[list(rows)]
        return values


def extract_gct(
    index: GctIndex, samples: Sequence[int], genes: Sequence[int], folder: Path | None = None
) -> SampleBlocks:
    """Read the values of some samples and genes, never holding more than a few megabytes of text.

    Args:
        index: From `index_gct`.
        samples: Sample columns of the file, counted from 0, in the order of the rows of the result.
        genes: Rows of the file, counted from 0, in the order of the columns of the result.
        folder: Where the values go meanwhile.
    Raises:
        DataError: a wanted value is no number, not finite or negative (names gene and sample); or the file has changed.
    """
    header = index.header
    target = {row: position for position, row in enumerate(genes)}
    columns = np.asarray(samples, dtype=np.int64)
    blocks = SampleBlocks(folder, len(columns), len(target))
    with (
        _open(header.path) as handle,
        progress_bar(header.n_genes, unit="gene", what="read") as bar,
    ):
        if _read_header(header.path, handle) != header:
            raise DataError(f"{header.path}: has changed while it was read; run it again")
        rows = ((number, row) for number, row in enumerate(_rows(header, handle)) if number in target)
        for batch in _by_size(rows, max(1, BLOCK_BYTES // (8 * len(header.sample_ids)))):
            numbers = [number for number, _ in batch]
            values = _parse(index, numbers, [row.split(b"\t", header.n_titles)[-1] for _, row in batch])
            wanted = values[:, columns]
            _check(index, numbers, columns, wanted)
            blocks.append(wanted.T, np.array([target[number] for number in numbers], dtype=np.int64))
            bar.update(numbers[-1] + 1 - bar.n)
    return blocks


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading lines of bytes, unpacked when it is gzip whatever its name."""
    if path.is_dir():
        raise DataError(f"{path}: a folder, expected a GCT file")
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
        if packed:
            with io.BufferedReader(cast("io.RawIOBase", gzip.open(path, "rb")), BUFFER_BYTES) as handle:
                yield handle
        else:
            with path.open("rb", buffering=BUFFER_BYTES) as handle:
                yield handle
    except EOFError as error:
        raise DataError(f"{path}: the archive ends too early: a truncated download; get the file again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: a damaged archive ({error}); get the file again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _text(line: bytes) -> str:
    return line.decode("utf-8-sig", "replace").rstrip("\r\n")


def _read_header(path: Path, handle: IO[bytes]) -> GctHeader:
    version, sizes, titles = (_text(handle.readline()).rstrip("\t") for _ in range(3))
    if version.strip() != VERSION:
        found = "an HTML page" if version.lstrip()[:1] == "<" else repr(shorten(version))
        raise DataError(f"{path}: expected a GCT file, whose first line is `{VERSION}`; found {found}")
    counts = sizes.split("\t")
    if len(counts) < 2 or not all(count.strip().isdigit() for count in counts[:2]):
        raise DataError(f"{path}: line 2 of a GCT file has the numbers of genes and samples, found {shorten(sizes)!r}")
    names = [name.strip() for name in titles.split("\t")]
    known = next((known for known in TITLES if [name.lower() for name in names[: len(known)]] == known), None)
    if known is None:
        raise DataError(f"{path}: line 3 of a GCT file starts with Name and Description, found {names[:2]}")
    sample_ids = tuple(names[len(known) :])
    n_genes, n_samples = int(counts[0]), int(counts[1])
    if len(sample_ids) != n_samples or not n_samples:
        raise DataError(
            f"{path}: says {n_samples} samples in line 2 but names {len(sample_ids)} in line 3; expected the same"
            " number, at least 1. Get the file again, or mend line 2 when columns were taken out"
        )
    if len(set(sample_ids)) != n_samples or "" in sample_ids:
        name, n = max(Counter(sample_ids).items(), key=lambda item: (not item[0], item[1]))
        raise DataError(f"{path}: {n} columns of line 3 have the name {name!r}; give each sample its own")
    return GctHeader(path, n_genes, sample_ids, len(known))


def _rows(header: GctHeader, handle: IO[bytes]) -> Iterator[bytes]:
    """The rows below the header; their number and width are checked on the way."""
    n_tabs = header.n_titles + len(header.sample_ids) - 1
    n_rows = 0
    for line in handle:
        row = line.rstrip(b"\r\n")
        if not row:
            continue
        n_rows += 1
        if row.count(b"\t") != n_tabs:
            name, *rest = row.split(b"\t")
            gene = shorten(name.decode("utf-8", "replace"))
            raise DataError(
                f"{header.path}: row {n_rows} ({gene}) has {len(rest) + 1 - header.n_titles} values, the header"
                f" names {len(header.sample_ids)} samples: a truncated or damaged file; get it again"
            )
        yield row
    if n_rows != header.n_genes:
        raise DataError(
            f"{header.path}: says {header.n_genes} genes in line 2 but holds {n_rows} rows: truncated? Get it again"
        )


def _by_size(rows: Iterator[tuple[int, bytes]], n_rows: int) -> Iterator[list[tuple[int, bytes]]]:
    while batch := list(itertools.islice(rows, n_rows)):
        yield batch


def _parse(index: GctIndex, numbers: Sequence[int], rows: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """Numbers of whole rows, shape (rows, all samples), float32; NaN for an empty cell."""
    # One long column of numbers: a table of 17,000 columns costs the parser far more than its numbers do.
    text = b"\n".join(rows).replace(b"\t", b"\n")
    try:
        column = pa_csv.read_csv(
            pa.BufferReader(text),
            pa_csv.ReadOptions(column_names=["value"], block_size=PARSE_BYTES),
            pa_csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
            pa_csv.ConvertOptions(column_types={"value": pa.float32()}),
        ).column(0)
    except pa.ArrowInvalid as error:
        raise _not_a_number(index, numbers, rows, error) from error
    values: npt.NDArray[np.float32] = column.to_numpy()
    if len(values) == len(rows) * len(index.header.sample_ids) - 1:  # an empty last cell is an empty last line
        values = np.append(values, np.float32(np.nan))
    return values.reshape(len(rows), -1)


def _not_a_number(index: GctIndex, numbers: Sequence[int], rows: Sequence[bytes], error: Exception) -> DataError:
    for number, row in zip(numbers, rows, strict=True):
        for column, cell in enumerate(row.split(b"\t")):
            text = cell.decode("utf-8", "replace").strip()
            try:
                float(text or "nan")
            except ValueError:
                return DataError(
                    f"{index.header.path}: {shorten(text)!r} is no number, for gene {index.gene_ids[number]} and sample"
                    f" {index.header.sample_ids[column]}; get the file again"
                )
    return DataError(f"{index.header.path}: a value is no number ({error}); get the file again")


def _check(
    index: GctIndex, numbers: Sequence[int], columns: npt.NDArray[np.int64], values: npt.NDArray[np.float32]
) -> None:
    good = np.isfinite(values) & (values >= 0)
    if good.all():
        return
    row, column = (int(at) for at in np.argwhere(~good)[0])
    value = float(values[row, column])
    what = "a missing value" if math.isnan(value) else f"the value {value:g}"
    raise DataError(
        f"{index.header.path}: {what} for gene {index.gene_ids[numbers[row]]} and sample"
        f" {index.header.sample_ids[columns[column]]}; expected a number, 0 or more, for each of them"
    )
