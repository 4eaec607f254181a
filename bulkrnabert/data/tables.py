"""Cohort tables: one Parquet file a cohort, a row a sample, written and read without holding more than is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bulkrnabert import keys
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.errors import DataError, VocabularyError

SAMPLE_COLUMNS = (
    keys.SAMPLE_ID,
    keys.PATIENT_ID,
    keys.COHORT,
    keys.PROJECT_ID,
    keys.SAMPLE_TYPE,
    keys.SOURCE,
)
ROWS_PER_GROUP = 64


@dataclass(frozen=True)
class TableHeader:
    """What a cohort table says of itself in its schema metadata.

    Attributes:
        unit: Unit of the values, in canonical text.
        modality: `rnaseq`.
        genes_sha256: Hash of the gene ids in column order.
        annotation: Where the gene ids come from, as `GENCODE v36`; empty where unknown.
        data_access: `open`, `controlled` or `local`.
    """

    unit: str
    modality: str
    genes_sha256: str
    annotation: str
    data_access: str

    def to_metadata(self) -> dict[str, str]:
        """As Parquet schema metadata."""
        return {
            keys.META_UNIT: self.unit,
            keys.META_MODALITY: self.modality,
            keys.META_GENES_SHA256: self.genes_sha256,
            keys.META_ANNOTATION: self.annotation,
            keys.META_ACCESS: self.data_access,
        }


@dataclass(frozen=True)
class Cohorts:
    """All samples of a cohorts folder, sorted by cohort and sample id.

    Attributes:
        genes: Columns of `values`.
        samples: `sample_id, patient_id, cohort, project_id, sample_type, source`, one row a sample, index 0…n-1.
        values: Shape (n_samples, n_genes), float32, in `unit`.
        unit: Unit of all values, in canonical text.
        data_access: The strictest access class among the tables: `open`, `local` or `controlled`.
    """

    genes: GeneVocabulary
    samples: pd.DataFrame
    values: npt.NDArray[np.float32]
    unit: str
    data_access: str


@dataclass(frozen=True)
class CohortBatch:
    """Some samples of one cohort: the rows of `samples` are those of `values`, shape (n_rows, n_genes)."""

    samples: pd.DataFrame
    values: npt.NDArray[np.float32]


class CohortTableWriter:
    """Writes one cohort table in row groups, so that memory does not grow with the number of samples.

    Args:
        path: File to write; give a path inside `provenance.atomic_path`.
        header: Goes into the schema metadata.
        n_genes: Number of genes a sample.
    """

    def __init__(self, path: Path, header: TableHeader, n_genes: int) -> None:
        self._n_genes = n_genes
        fields = [pa.field(name, pa.string()) for name in SAMPLE_COLUMNS]
        fields.append(pa.field(keys.VALUES, pa.list_(pa.float32(), n_genes)))
        self._schema = pa.schema(fields, metadata=header.to_metadata())
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def write(self, samples: pd.DataFrame, values: npt.NDArray[np.float32]) -> None:
        """Append samples.

        Args:
            samples: The six sample columns, all strings.
            values: Shape (len(samples), n_genes), float32, finite.
        """
        assert values.shape == (len(samples), self._n_genes), "one row of values a sample, one column a gene"
        for start in range(0, len(samples), ROWS_PER_GROUP):
            rows = slice(start, start + ROWS_PER_GROUP)
            arrays = [pa.array(samples[name].iloc[rows].astype(str), pa.string()) for name in SAMPLE_COLUMNS]
            flat = pa.array(np.ascontiguousarray(values[rows], dtype=np.float32).reshape(-1))
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, self._n_genes))
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))


def cohort_path(folder: Path, cohort: str) -> Path:
    """Name of the table of one cohort."""
    return folder / f"{cohort}.{keys.RNASEQ}.parquet"


def cohort_files(folder: Path) -> dict[str, Path]:
    """Tables of a cohorts folder by cohort, sorted.

    Raises:
        DataError: there is none.
    """
    suffix = f".{keys.RNASEQ}.parquet"
    files = {path.name.removesuffix(suffix): path for path in sorted(folder.glob(f"*{suffix}"))}
    if not files:
        raise DataError(f"{folder}: no cohort table (*{suffix}) found; expected the output of `bulkrnabert preprocess`")
    return files


def read_header(path: Path) -> TableHeader:
    """Read what a cohort table says of itself.

    Raises:
        DataError: not a Parquet file, or not one of ours.
    """
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: cannot be read as a Parquet cohort table: {error}") from error
    metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    missing = [key for key in (keys.META_UNIT, keys.META_GENES_SHA256) if key not in metadata]
    if missing or keys.VALUES not in schema.names:
        raise DataError(f"{path}: not a cohort table of `bulkrnabert preprocess` (no {', '.join(missing) or 'values'})")
    return TableHeader(
        unit=metadata[keys.META_UNIT],
        modality=metadata.get(keys.META_MODALITY, keys.RNASEQ),
        genes_sha256=metadata[keys.META_GENES_SHA256],
        annotation=metadata.get(keys.META_ANNOTATION, ""),
        data_access=metadata.get(keys.META_ACCESS, "local"),
    )


def iter_cohort_batches(path: Path, batch_rows: int = ROWS_PER_GROUP) -> Iterator[CohortBatch]:
    """Read one cohort table piece by piece.

    Args:
        path: A cohort table.
        batch_rows: Most rows a piece.
    """
    read_header(path)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=batch_rows, columns=[*SAMPLE_COLUMNS, keys.VALUES]):
            samples = pa.Table.from_batches([batch]).select(list(SAMPLE_COLUMNS)).to_pandas()
            flat = batch.column(keys.VALUES).flatten().to_numpy(zero_copy_only=False)
            yield CohortBatch(samples, flat.reshape(len(samples), -1))


def read_cohorts(folder: Path) -> Cohorts:
    """Read every cohort of a folder into one matrix.

    Args:
        folder: Output of `bulkrnabert preprocess`.
    Raises:
        DataError: no table, or tables in different units.
        VocabularyError: a table was written for another gene list than `genes.tsv`.
    """
    genes, headers = _read_checked_headers(folder)
    n_samples = sum(pq.read_metadata(path).num_rows for path in headers)
    values = np.empty((n_samples, len(genes)), dtype=np.float32)
    frames: list[pd.DataFrame] = []
    start = 0
    for path in headers:
        for batch in iter_cohort_batches(path):
            values[start : start + len(batch.samples)] = batch.values
            start += len(batch.samples)
            frames.append(batch.samples)
    samples = _sort_samples(frames)
    order = samples.index.to_numpy()
    if not np.array_equal(order, np.arange(n_samples)):
        values = values[order]
    access = {header.data_access for header in headers.values()}
    strictest = next((name for name in ("controlled", "local", "open") if name in access), "local")
    unit = next(iter(headers.values())).unit
    return Cohorts(genes, samples.reset_index(drop=True), values, unit, strictest)


def read_samples(folder: Path) -> pd.DataFrame:
    """The samples of every cohort of a folder, as `read_cohorts` gives them, without reading their expression.

    Raises:
        DataError, VocabularyError: as `read_cohorts`.
    """
    _genes, headers = _read_checked_headers(folder)
    frames = [pq.read_table(path, columns=list(SAMPLE_COLUMNS)).to_pandas() for path in headers]
    return _sort_samples(frames).reset_index(drop=True)


def _sort_samples(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """All samples by cohort and id; the index keeps the place that each had."""
    return pd.concat(frames, ignore_index=True).sort_values([keys.COHORT, keys.SAMPLE_ID], kind="stable")


def _read_checked_headers(folder: Path) -> tuple[GeneVocabulary, dict[Path, TableHeader]]:
    """The folder's gene list and its tables' headers, which agree with it and with each other."""
    files = cohort_files(folder)
    genes = GeneVocabulary.from_tsv(folder / keys.GENES_TSV)
    headers = {path: read_header(path) for path in files.values()}
    for path, header in headers.items():
        if header.genes_sha256 != genes.sha256:
            raise VocabularyError(
                f"{path}: written for another gene list (sha256 {header.genes_sha256[:12]}…) than {keys.GENES_TSV}"
                f" beside it ({genes.sha256[:12]}…); run `bulkrnabert preprocess` again on all cohorts at once"
            )
    units = {header.unit for header in headers.values()}
    if len(units) > 1:
        listed = ", ".join(f"{path.name}: {header.unit}" for path, header in headers.items())
        raise DataError(f"{folder}: cohorts in different units ({listed}); preprocess them in one run")
    return genes, headers
