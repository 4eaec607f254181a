"""RSEM gene results as ENCODE publishes them: one file a replicate, the column `TPM` aligned to a vocabulary."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from bulkrnabert.data.genes import GeneVocabulary, normalise_gene_ids
from bulkrnabert.data.sources.delimited import shorten
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)

GENE_ID = "gene_id"
TPM = "TPM"
TRNA = "trna"
FILES_PER_BATCH = 32
_TRNA_ID = re.compile(r"^\d+$")


@dataclass(frozen=True)
class RsemGenes:
    """Genes of an RSEM file.

    Attributes:
        genes: Genes without versions, in the order of the file; symbols and types are not in such files.
        file_rows: Row of each gene in the file, shape (n_genes,), int64.
        dropped: tRNAs (numbers for ids), spike-ins, `_PAR_Y` copies, as (rule, id in the file).
        id_column: The `gene_id` column as it was read, for comparison with other files.
    """

    genes: GeneVocabulary
    file_rows: npt.NDArray[np.int64]
    dropped: tuple[tuple[str, str], ...]
    id_column: pa.ChunkedArray


def read_rsem_genes(path: Path) -> RsemGenes:
    """Read the genes of one file.

    Raises:
        DataError: no RSEM gene results.
        VocabularyError: gene ids are wrong.
    """
    id_column = _read(path).column(GENE_ID)
    raw_ids = id_column.to_pylist()
    rows = [row for row, gene_id in enumerate(raw_ids) if not _TRNA_ID.match(gene_id)]
    trna = tuple((TRNA, gene_id) for gene_id in raw_ids if _TRNA_ID.match(gene_id))
    normalised = normalise_gene_ids((raw_ids[row] for row in rows), str(path))
    file_rows = np.array(rows, dtype=np.int64)[normalised.keep_idx]
    return RsemGenes(GeneVocabulary.from_ids(normalised.ids), file_rows, (*trna, *normalised.dropped), id_column)


class RsemReader:
    """Reads TPM from many files that share their gene rows.

    Args:
        first: Genes of the first file.
        vocabulary: Columns of the result; all of them must be in `first`.
    Raises:
        VocabularyError: the vocabulary has genes that the files lack.
    """

    def __init__(self, first: RsemGenes, vocabulary: GeneVocabulary) -> None:
        self._first = first
        self._vocabulary = vocabulary
        self._rows = self._align(first)

    def _align(self, found: RsemGenes) -> npt.NDArray[np.int64]:
        rows: npt.NDArray[np.int64] = found.file_rows[self._vocabulary.positions_in(found.genes.gene_ids, "RSEM files")]
        return rows

    def read(self, path: Path) -> npt.NDArray[np.float32]:
        """TPM of one file, shape (n_vocabulary,), float32.

        Raises:
            DataError: no RSEM file, other gene rows than the first file, or a gene without a usable value.
        """
        table = _read(path)
        rows = self._rows if table.column(GENE_ID).equals(self._first.id_column) else self._align_again(path)
        tpm: npt.NDArray[np.float32] = table.column(TPM).to_numpy()[rows]
        good = np.isfinite(tpm) & (tpm >= 0)
        if not good.all():
            at = int(np.flatnonzero(~good)[0])
            raise DataError(
                f"{path}: TPM of gene {self._vocabulary.gene_ids[at]} is {tpm[at]:g}; expected a number, 0 or more;"
                " download the file again"
            )
        return tpm

    def _align_again(self, path: Path) -> npt.NDArray[np.int64]:
        found = read_rsem_genes(path)
        ours, theirs = set(self._first.genes.gene_ids), set(found.genes.gene_ids)
        if ours != theirs:
            raise DataError(
                f"{path}: other gene rows than the first file of its folder ({len(ours - theirs)} genes are missing,"
                f" {len(theirs - ours)} are new, as {min(ours ^ theirs)}). A truncated file, or another annotation:"
                " download it again, or preprocess annotations as separate --raw folders"
            )
        logger.info("%s: gene rows in another order or version than the first file, aligned anew", path)
        return self._align(found)

    def batches(self, paths: Sequence[Path]) -> Iterator[npt.NDArray[np.float32]]:
        """TPM of many files in their order, shape (at most `FILES_PER_BATCH`, n_vocabulary) a piece."""
        for start in range(0, len(paths), FILES_PER_BATCH):
            yield np.stack([self.read(path) for path in paths[start : start + FILES_PER_BATCH]])


def _read(path: Path) -> pa.Table:
    try:
        with path.open("rb") as handle:
            header = handle.readline(4096).decode("utf-8", "replace").rstrip("\r\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    missing = [name for name in (GENE_ID, TPM) if name not in header.split("\t")]
    if missing:
        found = "an HTML page" if header.lstrip()[:1] == "<" else f"the header {shorten(header)!r}"
        raise DataError(
            f"{path}: no RSEM gene results: expected tab-separated columns with {GENE_ID} and {TPM}, found {found}"
        )
    try:
        table = pa_csv.read_csv(
            path,
            parse_options=pa_csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pa_csv.ConvertOptions(
                include_columns=[GENE_ID, TPM],
                column_types={GENE_ID: pa.string(), TPM: pa.float32()},
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: damaged RSEM gene results ({error}); download it again") from error
    if table.num_rows == 0:
        raise DataError(f"{path}: an RSEM header without any row; download the file again")
    return table.combine_chunks()
