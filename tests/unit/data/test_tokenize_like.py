"""Tokens for an existing checkpoint: its genes in its order, its bins, and nothing fitted anew."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bulkrnabert import keys
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.tables import Cohorts
from bulkrnabert.data.tokenize import tokenize_cohorts
from bulkrnabert.data.tokenize_like import omics_of, tokenize_like
from bulkrnabert.data.tokens import write_tokens
from bulkrnabert.errors import DataError, VocabularyError

SAMPLES = pd.DataFrame(
    {
        "sample_id": ["S1", "S2", "S3"],
        "patient_id": ["P1", "P2", "P3"],
        "cohort": ["A"] * 3,
        "project_id": ["TCGA-A"] * 3,
        "sample_type": ["tumor"] * 3,
        "source": ["gdc"] * 3,
    }
)
VALUES = np.array([[5, 1, 0, 7], [5, 2, 99, 8], [5, 3, 0, 9]], dtype=np.float32)


def cohorts_of(genes: list[str], values: np.ndarray) -> dict[str, Cohorts]:
    return {keys.RNASEQ: Cohorts(GeneVocabulary.from_ids(genes), SAMPLES, values, "tpm", "open")}


GENES = ["ENSG1", "ENSG2", "ENSG3", "ENSG4"]
COHORTS = cohorts_of(GENES, VALUES)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """What a model on S1 and S2 was fitted to: the three genes that vary most, up to 99 TPM."""
    tokens = tokenize_cohorts(COHORTS[keys.RNASEQ], {"S1", "S2"}, "r0f0", "ab" * 32, 3)
    write_tokens(tmp_path / "r0f0", tokens)
    (tmp_path / "r0f0" / "config.json").write_text(json.dumps({"model": "bulkrnabert", "config": {}}))
    return tmp_path / "r0f0"


def test_the_same_tables_give_the_same_tokens(checkpoint: Path) -> None:
    fitted = tokenize_cohorts(COHORTS[keys.RNASEQ], {"S1", "S2"}, "r0f0", "ab" * 32, 3)
    again = tokenize_like(COHORTS, {"S1", "S2"}, "r0f0", "cd" * 32, checkpoint, keys.BULKRNABERT)
    assert omics_of(checkpoint) == (keys.RNASEQ,)
    assert again.gene_ids == fitted.gene_ids and again.tokenizers == fitted.tokenizers
    np.testing.assert_array_equal(again.token_ids, fitted.token_ids)
    assert again.is_training.tolist() == [True, True, False] and again.split_sha256 == "cd" * 32


def test_other_columns_and_larger_values_change_no_bin(checkpoint: Path) -> None:
    columns = [3, 2, 0, 1]
    shuffled = VALUES[:, columns].copy()
    shuffled[2] *= 1000
    cohorts = cohorts_of([GENES[column] for column in columns], shuffled)
    again = tokenize_like(cohorts, {"S1"}, "r0f0", "", checkpoint, keys.BULKRNABERT)
    first = tokenize_like(COHORTS, {"S1"}, "r0f0", "", checkpoint, keys.BULKRNABERT)
    np.testing.assert_array_equal(again.token_ids[:2], first.token_ids[:2])


def test_a_gene_that_the_tables_lack_is_masked(checkpoint: Path) -> None:
    found = tokenize_like(cohorts_of(GENES[:3], VALUES[:, :3]), {"S1"}, "r0f0", "", checkpoint, keys.BULKRNABERT)
    lacking = [gene == "ENSG4" for gene in found.gene_ids]
    assert sum(lacking) == 1 and (found.token_ids[:, lacking] == keys.MASK_ID).all()
    assert (found.token_ids[:, ~np.array(lacking)] != keys.MASK_ID).all()


def test_what_does_not_fit(checkpoint: Path) -> None:
    with pytest.raises(VocabularyError, match="have 0 of the 3 genes"):
        tokenize_like(cohorts_of(["X1", "X2", "X3", "X4"], VALUES), {"S1"}, "r0f0", "", checkpoint, keys.BULKRNABERT)
    with pytest.raises(DataError, match="the cohorts have nothing"):
        tokenize_like({}, {"S1"}, "r0f0", "", checkpoint, keys.BULKRNABERT)
    with pytest.raises(DataError, match="1 training samples of the splits are in no cohort table, as S9"):
        tokenize_like(COHORTS, {"S1", "S9"}, "r0f0", "", checkpoint, keys.BULKRNABERT)
