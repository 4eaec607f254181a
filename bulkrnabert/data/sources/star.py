"""GDC STAR-Counts files, many and fast: one column of 60,660 rows each, aligned to a vocabulary."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from bulkrnabert.data.genes import GeneVocabulary, NormalisedGenes, normalise_gene_ids
from bulkrnabert.data.sources.delimited import read_unpacked
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)

GENE_ID = "gene_id"
GENE_NAME = "gene_name"
GENE_TYPE = "gene_type"
TPM = "tpm_unstranded"
COLUMNS = (
    GENE_ID,
    GENE_NAME,
    GENE_TYPE,
    "unstranded",
    "stranded_first",
    "stranded_second",
    TPM,
    "fpkm_unstranded",
    "fpkm_uq_unstranded",
)
FILE_SUFFIXES = (".gz", ".tsv", ".txt", ".rna_seq.augmented_star_gene_counts", ".augmented_star_gene_counts")
MOST_BYTES = 64 << 20  # a real file has 4 MB
FILES_PER_BATCH = 32


@dataclass(frozen=True)
class StarGenes:
    """Genes of a STAR-Counts file.

    Attributes:
        genes: Genes without versions, `_PAR_Y` copies and `N_*` rows, in the order of the file.
        normalised: Where they stand in the file, and what was left out.
        annotation: From the comment line, as `GENCODE v36`; empty where there is none.
        id_column: The `gene_id` column as it was read, for comparison with other files.
    """

    genes: GeneVocabulary
    normalised: NormalisedGenes
    annotation: str
    id_column: pa.ChunkedArray


@dataclass(frozen=True)
class _Body:
    comment: str
    table: pa.Buffer


def sample_name(path: Path) -> str:
    """File name without the endings that STAR-Counts files carry."""
    name = path.name
    for suffix in FILE_SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def list_star_files(path: Path) -> list[Path]:
    """STAR-Counts files of a folder and its subfolders, sorted, or the one file that was named.

    Raises:
        DataError: the folder has none.
    """
    if path.is_file():
        return [path]
    files = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and file.name.removesuffix(".gz").endswith("star_gene_counts.tsv")
    )
    files = files or sorted(file for file in path.rglob("*") if file.name.removesuffix(".gz").endswith(".tsv"))
    if not files:
        raise DataError(f"{path}: no STAR-Counts file (*.tsv, *.tsv.gz) in this folder")
    return files


def read_star_genes(path: Path) -> StarGenes:
    """Read the genes of one file.

    Raises:
        DataError: not a STAR-Counts table.
    """
    body = _read_body(path)
    table = _parse(path, body, (GENE_ID, GENE_NAME, GENE_TYPE))
    normalised = normalise_gene_ids(table.column(GENE_ID).to_pylist(), str(path))
    names, types = table.column(GENE_NAME).to_pylist(), table.column(GENE_TYPE).to_pylist()
    genes = GeneVocabulary(
        normalised.ids,
        tuple(names[row] for row in normalised.keep_idx),
        tuple(types[row] for row in normalised.keep_idx),
    )
    return StarGenes(genes, normalised, body.comment, table.column(GENE_ID))


class StarReader:
    """Reads TPM from many STAR-Counts files that share their gene rows.

    The rows of the first file are aligned to the vocabulary once; a file whose `gene_id` column is byte for byte the
    same uses that alignment, another order or other versions are aligned anew, other genes are refused.

    Args:
        first: Genes of the first file, from `read_star_genes`.
        vocabulary: Columns of the result; all of them must be in `first`.
        n_threads: Files read at the same time; by default the number of cores, at most 8.
    Raises:
        VocabularyError: the vocabulary has genes that the files lack.
    """

    def __init__(self, first: StarGenes, vocabulary: GeneVocabulary, n_threads: int | None = None) -> None:
        self._first = first
        self._vocabulary = vocabulary
        self._n_threads = n_threads or min(8, os.cpu_count() or 1)
        self._rows = self._align(first.normalised)

    def _align(self, normalised: NormalisedGenes) -> npt.NDArray[np.int64]:
        rows: npt.NDArray[np.int64] = normalised.keep_idx[
            self._vocabulary.positions_in(normalised.ids, "STAR-Counts files")
        ]
        return rows

    def read(self, path: Path) -> npt.NDArray[np.float32]:
        """TPM of one file, shape (n_vocabulary,), float32.

        Raises:
            DataError: no STAR-Counts table, other gene rows than the first file, or a gene without a usable value.
        """
        table = _parse(path, _read_body(path), (GENE_ID, TPM))
        id_column = table.column(GENE_ID)
        rows = self._rows if id_column.equals(self._first.id_column) else self._align_again(path, id_column)
        tpm: npt.NDArray[np.float32] = table.column(TPM).to_numpy()[rows]
        good = np.isfinite(tpm) & (tpm >= 0)
        if not good.all():
            at = int(np.flatnonzero(~good)[0])
            raise DataError(
                f"{path}: `{TPM}` of gene {self._vocabulary.gene_ids[at]} is {tpm[at]:g}; expected a number, 0 or more;"
                " download the file again"
            )
        return tpm

    def _align_again(self, path: Path, id_column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        normalised = normalise_gene_ids(id_column.to_pylist(), str(path))
        expected, found = set(self._first.normalised.ids), set(normalised.ids)
        if expected != found:
            missing, extra = sorted(expected - found), sorted(found - expected)
            detail = "; ".join(
                f"{len(genes)} {what}, as {genes[0]}"
                for genes, what in ((missing, "genes are missing"), (extra, "genes are new"))
                if genes
            )
            raise DataError(
                f"{path}: other gene rows than the first file of its folder ({detail}). A truncated file, or another"
                " annotation release: download it again, or preprocess releases as separate --raw folders"
            )
        logger.info("%s: gene rows in another order or version than the first file, aligned anew", path)
        return self._align(normalised)

    def batches(self, paths: Sequence[Path]) -> Iterator[npt.NDArray[np.float32]]:
        """TPM of many files in their order, shape (at most `FILES_PER_BATCH`, n_vocabulary) a piece."""
        with ThreadPoolExecutor(self._n_threads) as pool:
            todo = iter(paths)
            running: deque[Future[npt.NDArray[np.float32]]] = deque(
                pool.submit(self.read, path) for path in islice(todo, 2 * self._n_threads)
            )
            n_left = len(paths)
            while n_left:
                batch = np.empty((min(FILES_PER_BATCH, n_left), len(self._vocabulary)), dtype=np.float32)
                for row in batch:
                    row[:] = running.popleft().result()
                    path = next(todo, None)
                    if path is not None:
                        running.append(pool.submit(self.read, path))
                n_left -= len(batch)
                yield batch


def _read_body(path: Path) -> _Body:
    content = read_unpacked(path, MOST_BYTES)
    if not content.strip():
        raise DataError(f"{path}: empty file, expected a GDC STAR-Counts table; download it again")
    start, comment = 0, ""
    while content.startswith(b"#", start):
        end = content.find(b"\n", start) + 1 or len(content)
        comment = comment or content[start + 1 : end].decode("utf-8", "replace").removeprefix(" gene-model:").strip()
        start = end
    header_end = content.find(b"\n", start)
    header = content[start : header_end if header_end >= 0 else len(content)].decode("utf-8", "replace").rstrip("\r")
    missing = [name for name in COLUMNS if name not in header.split("\t")]
    if missing:
        found = "an HTML page" if header.lstrip()[:1] == "<" else f"the header {header[:80]!r}"
        raise DataError(
            f"{path}: no GDC STAR-Counts table: expected the tab-separated columns {', '.join(COLUMNS)},"
            f" found {found}; missing {', '.join(missing)}"
        )
    return _Body(comment, pa.py_buffer(content).slice(start))


def _parse(path: Path, body: _Body, columns: tuple[str, ...]) -> pa.Table:
    # One thread a file (files are read side by side), and a block that holds a whole file: one chunk a column.
    read = pa_csv.ReadOptions(use_threads=False, block_size=max(1 << 20, body.table.size))
    parse = pa_csv.ParseOptions(delimiter="\t", quote_char=False)
    types = {name: pa.float32() if name == TPM else pa.string() for name in columns}
    convert = pa_csv.ConvertOptions(include_columns=list(columns), column_types=types, strings_can_be_null=False)
    try:
        table = pa_csv.read_csv(pa.BufferReader(body.table), read, parse, convert)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: damaged STAR-Counts table ({error}); download it again") from error
    if table.num_rows == 0:
        raise DataError(f"{path}: a STAR-Counts header without any row; download the file again")
    return table
