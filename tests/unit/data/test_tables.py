"""Cohort tables: what is written is what is read, and gene lists and units never meet by accident."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from bulkrnabert import keys
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.tables import (
    CohortTableWriter,
    TableHeader,
    cohort_files,
    cohort_path,
    iter_cohort_batches,
    read_cohorts,
    read_header,
    read_samples,
)
from bulkrnabert.errors import DataError, VocabularyError

GENES = GeneVocabulary.from_ids(["G1", "G2", "G3"])


def samples(cohort: str, ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample_id": ids,
            "patient_id": [f"P-{name}" for name in ids],
            "cohort": cohort,
            "project_id": "",
            "sample_type": "tumor",
            "source": "mine.tsv",
        }
    )


def write(folder: Path, cohort: str, ids: list[str], values: np.ndarray, **changes: str) -> None:
    fields = {"unit": "tpm", "genes_sha256": GENES.sha256, "data_access": "open"} | changes
    header = TableHeader(fields["unit"], "rnaseq", fields["genes_sha256"], "GENCODE v36", fields["data_access"])
    with CohortTableWriter(cohort_path(folder, cohort), header, values.shape[1]) as writer:
        writer.write(samples(cohort, ids), values.astype(np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    GENES.to_tsv(tmp_path / "genes.tsv")
    write(tmp_path, "B", ["s4", "s3"], np.array([[4, 4, 4], [3, 3, 3]]))
    write(tmp_path, "A", ["s2"], np.array([[2, 0, 1]]), data_access="local")
    return tmp_path


def test_round_trip_sorted_by_cohort_and_sample(folder: Path) -> None:
    cohorts = read_cohorts(folder)
    assert cohorts.samples["sample_id"].tolist() == ["s2", "s3", "s4"]
    assert list(cohorts.samples.columns) == [
        "sample_id",
        "patient_id",
        "cohort",
        "project_id",
        "sample_type",
        "source",
    ]
    np.testing.assert_array_equal(cohorts.values, np.array([[2, 0, 1], [3, 3, 3], [4, 4, 4]], dtype=np.float32))
    assert cohorts.values.dtype == np.float32
    assert cohorts.genes == GENES
    assert cohorts.unit == "tpm"
    assert cohorts.data_access == "local"


def test_samples_alone_are_those_of_the_whole(folder: Path) -> None:
    pd.testing.assert_frame_equal(read_samples(folder), read_cohorts(folder).samples)


def test_the_schema_is_the_contract(folder: Path) -> None:
    schema = pq.read_schema(cohort_path(folder, "A"))
    assert str(schema.field("values").type) == "fixed_size_list<element: float>[3]"
    assert schema.metadata[keys.META_UNIT.encode()] == b"tpm"
    assert read_header(cohort_path(folder, "A")).annotation == "GENCODE v36"


def test_row_groups_and_batches(tmp_path: Path) -> None:
    values = np.arange(450, dtype=np.float32).reshape(150, 3)
    write(tmp_path, "A", [f"s{number:03}" for number in range(150)], values)
    assert pq.ParquetFile(cohort_path(tmp_path, "A")).num_row_groups == 3
    batches = list(iter_cohort_batches(cohort_path(tmp_path, "A"), 40))
    assert max(len(batch.samples) for batch in batches) <= 40
    np.testing.assert_array_equal(np.concatenate([batch.values for batch in batches]), values)


def test_cohort_files(folder: Path) -> None:
    assert list(cohort_files(folder)) == ["A", "B"]
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="no cohort table"):
        cohort_files(folder / "empty")


def test_another_gene_list_is_refused(folder: Path) -> None:
    write(folder, "C", ["s9"], np.ones((1, 3)), genes_sha256="0" * 64)
    with pytest.raises(VocabularyError, match=r"C\.rnaseq\.parquet: written for another gene list"):
        read_cohorts(folder)


def test_another_unit_is_refused(folder: Path) -> None:
    write(folder, "C", ["s9"], np.ones((1, 3)), unit="rsem")
    with pytest.raises(DataError, match=r"different units .*C\.rnaseq\.parquet: rsem"):
        read_cohorts(folder)


def test_a_file_that_is_no_table(folder: Path) -> None:
    (folder / "D.rnaseq.parquet").write_text("<html>")
    with pytest.raises(DataError, match="cannot be read as a Parquet"):
        read_cohorts(folder)
    pd.DataFrame({"a": [1]}).to_parquet(folder / "D.rnaseq.parquet")
    with pytest.raises(DataError, match="not a cohort table"):
        read_cohorts(folder)
