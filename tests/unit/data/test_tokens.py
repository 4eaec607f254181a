from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal

from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokens import Tokens, read_gene_list, read_tokens, write_tokens
from bulkrnabert.errors import CheckpointError, DataError


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(
        samples=pd.DataFrame(
            {
                "sample_id": ["S1", "S2"],
                "patient_id": ["P1", "P2"],
                "cohort": ["A", "B"],
                "part": ["train", "held_out"],
            }
        ),
        token_ids=np.array([[0, 63, 65], [1, 2, 64]], dtype=np.uint8),
        gene_ids=("ENSG1", "ENSG2", "ENSG3"),
        tokenizers={"rnaseq": BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=3.0)},
        split_id="r0f1",
        split_sha256="ab" * 32,
    )


def test_written_and_read_is_the_same(tmp_path: Path, tokens: Tokens) -> None:
    write_tokens(tmp_path / "tokens", tokens)
    read = read_tokens(tmp_path / "tokens")
    assert_frame_equal(read.samples, tokens.samples)
    assert_array_equal(read.token_ids, tokens.token_ids)
    assert read.token_ids.dtype == np.uint8
    assert replace(read, samples=tokens.samples, token_ids=tokens.token_ids) == tokens
    assert_array_equal(read.is_training, [True, False])
    assert sorted(path.name for path in (tmp_path / "tokens").iterdir()) == [
        "genes.txt",
        "tokenizer.json",
        "tokens.parquet",
    ]


def test_the_file_is_what_the_contract_says(tmp_path: Path, tokens: Tokens) -> None:
    write_tokens(tmp_path, tokens)
    schema = pq.read_schema(tmp_path / "tokens.parquet")
    assert schema.names == ["sample_id", "patient_id", "cohort", "part", "tokens"]
    assert schema.field("tokens").type == pa.list_(pa.uint8(), 3)
    assert schema.metadata[b"brb.split_id"] == b"r0f1"
    assert schema.metadata[b"brb.gene_list_sha256"] == tokens.gene_list_sha256.encode()
    assert (tmp_path / "genes.txt").read_text() == "ENSG1\nENSG2\nENSG3\n"


def test_another_gene_list_or_tokenizer_beside(tmp_path: Path, tokens: Tokens) -> None:
    write_tokens(tmp_path, tokens)
    (tmp_path / "genes.txt").write_text("ENSG1\nENSG3\nENSG2\n")
    with pytest.raises(DataError, match=r"was made with another genes\.txt"):
        read_tokens(tmp_path)
    write_tokens(tmp_path, tokens)
    tokens.tokenizer.model_copy(update={"normalization_factor": 3.1}).save(tmp_path / "tokenizer.json")
    with pytest.raises(DataError, match=r"was made with another tokenizer\.json"):
        read_tokens(tmp_path)


def test_files_that_are_missing_or_broken(tmp_path: Path, tokens: Tokens) -> None:
    with pytest.raises(DataError, match="run `bulkrnabert tokenize`"):
        read_tokens(tmp_path)
    write_tokens(tmp_path, tokens)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="cannot be read as a tokenizer"):
        read_tokens(tmp_path)
    (tmp_path / "tokens.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_tokens(tmp_path)


def test_a_column_is_missing(tmp_path: Path, tokens: Tokens) -> None:
    write_tokens(tmp_path, tokens)
    table = pq.read_table(tmp_path / "tokens.parquet")
    pq.write_table(table.drop_columns(["part"]), tmp_path / "tokens.parquet")
    with pytest.raises(DataError, match="no column part; found sample_id, patient_id, cohort, tokens"):
        read_tokens(tmp_path)


def test_gene_list(tmp_path: Path) -> None:
    path = tmp_path / "genes.txt"
    path.write_text("A\r\nB\n\n")
    assert read_gene_list(path) == ("A", "B")
    path.write_text("A\nB\nA\n")
    with pytest.raises(DataError, match="gene A is listed twice"):
        read_gene_list(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="gene list is empty"):
        read_gene_list(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_gene_list(tmp_path / "none.txt")
