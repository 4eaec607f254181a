"""Cohort tables: one Parquet file a cohort and modality, a row a sample, read and written piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from bulkrnabert.data.access import strictest
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
MODALITIES = (keys.RNASEQ, keys.METHYLATION)
MAX_MISSING_SHARE = 0.5
ROWS_PER_GROUP = 64


@dataclass(frozen=True)
class TableHeader:
    """What a cohort table says of itself in its schema metadata.

    Attributes:
        unit: Unit of the values, in canonical text.
        modality: `rnaseq` or `methylation`.
        genes_sha256: Hash of the gene ids in column order.
        annotation: Where the gene ids come from, as `GENCODE v36`; empty where unknown.
        data_access: `open`, `controlled` or `local`.
        scaling: What was done to whole samples, as `tpm sums to 1e6`; empty where nothing was.
    """

    unit: str
    modality: str
    genes_sha256: str
    annotation: str
    data_access: str
    scaling: str = ""

    def to_metadata(self) -> dict[str, str]:
        """As Parquet schema metadata."""
        return {
            keys.META_UNIT: self.unit,
            keys.META_MODALITY: self.modality,
            keys.META_GENES_SHA256: self.genes_sha256,
            keys.META_ANNOTATION: self.annotation,
            keys.META_ACCESS: self.data_access,
            keys.META_SCALING: self.scaling,
        }


@dataclass(frozen=True)
class Cohorts:
    """All samples of one modality of a cohorts folder, sorted by cohort and sample id.

    Attributes:
        genes: Columns of `values`.
        samples: `sample_id, patient_id, cohort, project_id, sample_type, source`, one row a sample, index 0…n-1.
        values: Shape (n_samples, n_genes), float32, in `unit`; NaN where a gene was not measured in a sample.
        unit: Unit of all values, in canonical text.
        data_access: The strictest access class among the tables: `open`, `local` or `controlled`.
        modality: `rnaseq` or `methylation`.
    """

    genes: GeneVocabulary
    samples: pd.DataFrame
    values: npt.NDArray[np.float32]
    unit: str
    data_access: str
    modality: str = keys.RNASEQ


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
        # LZ4 reads in half the time of zstd and takes a fifth more space.
        self._writer = pq.ParquetWriter(path, self._schema, compression="lz4", use_dictionary=list(SAMPLE_COLUMNS))

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
            values: Shape (len(samples), n_genes), float32, finite or NaN.
        """
        assert values.shape == (len(samples), self._n_genes), "one row of values a sample, one column a gene"
        for start in range(0, len(samples), ROWS_PER_GROUP):
            rows = slice(start, start + ROWS_PER_GROUP)
            arrays = [pa.array(samples[name].iloc[rows].astype(str), pa.string()) for name in SAMPLE_COLUMNS]
            flat = pa.array(np.ascontiguousarray(values[rows], dtype=np.float32).reshape(-1))
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, self._n_genes))
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))


def cohort_path(folder: Path, cohort: str, modality: str = keys.RNASEQ) -> Path:
    """Name of the table of one cohort and modality."""
    return folder / f"{cohort}{_suffix(modality)}"


def genes_path(folder: Path, modality: str = keys.RNASEQ) -> Path:
    """Name of the gene list that all tables of a modality share."""
    return folder / (keys.GENES_METHYLATION_TSV if modality == keys.METHYLATION else keys.GENES_TSV)


def _suffix(modality: str) -> str:
    assert modality in MODALITIES, modality
    return f".{modality}.parquet"


def modalities_of(folder: Path) -> tuple[str, ...]:
    """Modalities that a cohorts folder has tables of, `rnaseq` first."""
    return tuple(modality for modality in MODALITIES if any(folder.glob(f"*{_suffix(modality)}")))


def cohort_files(folder: Path, modality: str = keys.RNASEQ) -> dict[str, Path]:
    """Tables of one modality of a cohorts folder by cohort, sorted.

    Raises:
        DataError: there is none.
    """
    suffix = _suffix(modality)
    files = {path.name.removesuffix(suffix): path for path in sorted(folder.glob(f"*{suffix}"))}
    if not files:
        others = ", ".join(modalities_of(folder))
        raise DataError(
            f"{folder}: no cohort table (*{suffix}) found"
            + (f", only {others}" if others else "; expected the output of `bulkrnabert preprocess`")
        )
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
        scaling=metadata.get(keys.META_SCALING, ""),
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


def read_cohorts(folder: Path, modality: str = keys.RNASEQ) -> Cohorts:
    """Read every cohort of a folder into one matrix, of which no second copy is made.

    Args:
        folder: Output of `bulkrnabert preprocess`.
        modality: `rnaseq` or `methylation`.
    Raises:
        DataError: no table of this modality, or tables in different units.
        VocabularyError: a table was written for another gene list than the one beside it.
    """
    genes, headers = _read_checked_headers(folder, modality)
    samples = _sort_samples(_sample_frames(headers))
    place = np.empty(len(samples), dtype=np.int64)
    place[samples.index.to_numpy()] = np.arange(len(samples))
    values = np.empty((len(samples), len(genes)), dtype=np.float32)
    start = 0
    for path in headers:
        for batch in iter_cohort_batches(path):
            values[place[start : start + len(batch.samples)]] = batch.values
            start += len(batch.samples)
    access = strictest(header.data_access for header in headers.values())
    unit = next(iter(headers.values())).unit
    return Cohorts(genes, samples.reset_index(drop=True), values, unit, access, modality)


def read_samples(folder: Path, modality: str | None = None) -> pd.DataFrame:
    """The samples of every cohort of a folder, as `read_cohorts` gives them, without reading their values.

    Args:
        folder: Output of `bulkrnabert preprocess`.
        modality: `rnaseq` or `methylation`; without one, samples of either, one row a sample that has both.
    Raises:
        DataError, VocabularyError: as `read_cohorts`.
    """
    frames: list[pd.DataFrame] = []
    for name in [modality] if modality else modalities_of(folder) or [keys.RNASEQ]:
        _genes, headers = _read_checked_headers(folder, name)
        frames += _sample_frames(headers)
    samples = _sort_samples(frames)
    # What both modalities have: `preprocess` made sure that they agree on whose it is.
    return samples.drop_duplicates([keys.COHORT, keys.SAMPLE_ID]).reset_index(drop=True)


def _sample_frames(headers: Iterable[Path]) -> list[pd.DataFrame]:
    return [pq.read_table(path, columns=list(SAMPLE_COLUMNS)).to_pandas() for path in headers]


def _sort_samples(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """All samples by cohort and id; the index keeps the place that each had."""
    return pd.concat(frames, ignore_index=True).sort_values([keys.COHORT, keys.SAMPLE_ID], kind="stable")


def _read_checked_headers(folder: Path, modality: str) -> tuple[GeneVocabulary, dict[Path, TableHeader]]:
    """The gene list of a modality and its tables' headers, which agree with it and with each other."""
    files = cohort_files(folder, modality)
    listed = genes_path(folder, modality)
    genes = GeneVocabulary.from_tsv(listed)
    headers = {path: read_header(path) for path in files.values()}
    for path, header in headers.items():
        if header.genes_sha256 != genes.sha256:
            raise VocabularyError(
                f"{path}: written for another gene list (sha256 {header.genes_sha256[:12]}…) than {listed.name}"
                f" beside it ({genes.sha256[:12]}…); run `bulkrnabert preprocess` again on all cohorts at once"
            )
    units = {header.unit for header in headers.values()}
    if len(units) > 1:
        listed_units = ", ".join(f"{path.name}: {header.unit}" for path, header in headers.items())
        raise DataError(f"{folder}: cohorts in different units ({listed_units}); preprocess them in one run")
    return genes, headers
