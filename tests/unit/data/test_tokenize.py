from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from numpy.testing import assert_array_equal

from bulkrnabert.cli.tokenize import command
from bulkrnabert.data.coexpression import bin_statistics, coexpression_table
from bulkrnabert.data.gene_choice import most_variable_genes
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.masking import IGNORED, mask_tokens
from bulkrnabert.data.splits import Splits, write_tsv
from bulkrnabert.data.tables import Cohorts, CohortTableWriter, TableHeader, cohort_path
from bulkrnabert.data.tokenize import tokenize_cohorts
from bulkrnabert.data.tokenizer import BinnedTokenizer, Selection
from bulkrnabert.data.tokens import read_tokens
from bulkrnabert.errors import ConfigError, DataError

GENES = GeneVocabulary.from_ids(["ENSG1", "ENSG2", "ENSG3"])
SAMPLES = pd.DataFrame(
    {
        "sample_id": ["S1", "S2", "S3", "S4"],
        "patient_id": ["P1", "P2", "P3", "P4"],
        "cohort": ["A"] * 4,
        "project_id": ["TCGA-A"] * 4,
        "sample_type": ["tumor"] * 4,
        "source": ["gdc"] * 4,
    }
)
# In S1 to S3 the first gene is constant, the third varies most; S4 would turn that round.
VALUES = np.array([[5, 1, 0], [5, 2, 99], [5, 3, 0], [9999, 0, 50]], dtype=np.float32)


@pytest.fixture
def cohorts() -> Cohorts:
    return Cohorts(GENES, SAMPLES, VALUES.copy(), "tpm", "open")


def test_most_variable_genes_by_hand() -> None:
    assert_array_equal(most_variable_genes(VALUES[:3], "tpm", 2), [1, 2])
    assert_array_equal(most_variable_genes(VALUES, "tpm", 1), [0])
    assert_array_equal(most_variable_genes(VALUES, "tpm", 0), [0, 1, 2])
    assert_array_equal(most_variable_genes(VALUES, "tpm", 5), [0, 1, 2])


def test_variance_is_of_the_logarithm_only_where_there_is_a_true_zero() -> None:
    values = np.array([[1000.0, 0.0], [1100.0, 20.0]])
    assert_array_equal(most_variable_genes(values, "tpm", 1), [1])
    assert_array_equal(most_variable_genes(values, "zscore", 1), [0])


def test_missing_values_and_ties() -> None:
    values = np.array([[np.nan, 1.0, 1.0, np.nan], [np.nan, 3.0, 3.0, 8.0]])
    assert_array_equal(most_variable_genes(values, "zscore", 1), [1])
    assert_array_equal(most_variable_genes(values, "zscore", 3), [1, 2, 3])


def test_many_genes_are_chosen_as_by_numpy() -> None:
    values = np.random.default_rng(0).normal(size=(5, 1300)) * np.arange(1300)
    expected = np.sort(np.argsort(-values.var(axis=0))[:100])
    assert_array_equal(most_variable_genes(values, "zscore", 100), expected)


def test_genes_and_bins_come_from_the_training_part(cohorts: Cohorts) -> None:
    tokens = tokenize_cohorts(cohorts, {"S1", "S2", "S3"}, "r0f0", "f" * 64, max_genes=2)
    assert tokens.gene_ids == ("ENSG2", "ENSG3")
    assert tokens.tokenizer.normalization_factor == 2.0
    assert list(tokens.samples["part"]) == ["train", "train", "train", "held_out"]
    assert_array_equal(tokens.token_ids, [[10, 0], [16, 63], [19, 0], [0, 54]])
    assert_array_equal(cohorts.values, VALUES)
    everything = tokenize_cohorts(cohorts, {"S1", "S2", "S3", "S4"}, "all", "f" * 64, max_genes=0)
    assert everything.tokenizer.normalization_factor == 4.0
    assert set(everything.samples["part"]) == {"train"}


def test_problems(cohorts: Cohorts) -> None:
    with pytest.raises(DataError, match="1 training samples of the splits are in no cohort table, as S9"):
        tokenize_cohorts(cohorts, {"S1", "S9"}, "r0f0", "", max_genes=2)
    with pytest.raises(DataError, match="split r0f0 has no training sample among the 4"):
        tokenize_cohorts(cohorts, set(), "r0f0", "", max_genes=2)
    with pytest.raises(ConfigError, match="--max-genes is -1"):
        tokenize_cohorts(cohorts, {"S1"}, "r0f0", "", max_genes=-1)


def test_command(tmp_path: Path) -> None:
    folder = tmp_path / "cohorts"
    folder.mkdir()
    GENES.to_tsv(folder / "genes.tsv")
    header = TableHeader("tpm", "rnaseq", GENES.sha256, "", "open")
    with CohortTableWriter(cohort_path(folder, "A"), header, 3) as writer:
        writer.write(SAMPLES, VALUES)
    folds = SAMPLES[["sample_id", "patient_id", "cohort"]].assign(judged=1, fold_r0=[1, 1, 1, 0])
    write_tsv(Splits(folds, "").frame, tmp_path / "splits.tsv")
    options = ["--cohorts", str(folder), "--splits", str(tmp_path / "splits.tsv"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(command, [*options, "--split-id", "r0f0", "--max-genes", "2"], catch_exceptions=False)
    assert result.exit_code == 0
    tokens = read_tokens(tmp_path / "out")
    assert (tokens.split_id, tokens.gene_ids) == ("r0f0", ("ENSG2", "ENSG3"))
    assert list(tokens.samples["part"]) == ["train", "train", "train", "held_out"]
    result = CliRunner().invoke(command, [*options, "--split-id", "r7f0"])
    assert isinstance(result.exception, ConfigError)


def test_missing_genes_are_masked_or_zero_as_asked(cohorts: Cohorts, caplog: pytest.LogCaptureFixture) -> None:
    cohorts.values[1, 2] = cohorts.values[3, 0] = np.nan
    everyone = {"S1", "S2", "S3", "S4"}
    with caplog.at_level("INFO"):
        masked = tokenize_cohorts(cohorts, everyone, "all", "", max_genes=0)
    assert caplog.text.count("2 of 12 values are missing and become <mask>") == 1
    zero = tokenize_cohorts(cohorts, everyone, "all", "", max_genes=0, missing="zero")
    is_missing = np.isnan(cohorts.values)
    assert (masked.token_ids[is_missing] == 65).all() and (zero.token_ids[is_missing] == 0).all()
    assert_array_equal(masked.token_ids[~is_missing], zero.token_ids[~is_missing])
    assert (masked.tokenizer.missing, zero.tokenizer.missing) == ("mask", "zero")


def test_genes_that_nobody_has_are_chosen_last_and_never_predicted(cohorts: Cohorts) -> None:
    cohorts.values[:, 0] = np.nan
    tokens = tokenize_cohorts(cohorts, {"S1", "S2", "S3", "S4"}, "all", "", max_genes=2)
    assert tokens.gene_ids == ("ENSG2", "ENSG3")
    everything = tokenize_cohorts(cohorts, {"S1", "S2", "S3", "S4"}, "all", "", max_genes=0).token_ids
    generators = [np.random.default_rng(number) for number in range(4)]
    masked = mask_tokens(everything, generators, mask_fraction=1.0, n_bins=64)
    assert (masked.masked_idx[:, :2] == [1, 2]).all()
    assert (masked.targets[:, 2] == IGNORED).all() and (masked.inputs[:, 0] == 65).all()
    statistics = bin_statistics(everything, 64)
    assert (statistics.mean[0], statistics.deviation[0]) == (0, 0)
    start = coexpression_table(everything, statistics, 64, 8, np.random.default_rng(0))
    assert np.isfinite(start).all()


def test_the_training_part_is_fitted_as_a_table_of_its_own(cohorts: Cohorts) -> None:
    rng = np.random.default_rng(0)
    values = rng.lognormal(2, 1, (200, 700)).astype(np.float32)
    rows, columns = np.arange(0, 200, 3), np.arange(699, 0, -7)
    part = values[np.ix_(rows, columns)]
    for unit in ("tpm", "zscore"):
        selection = Selection(values, rows, columns)
        assert BinnedTokenizer.fit_selection(selection, unit) == BinnedTokenizer.fit(part, unit)
        tokenizer = BinnedTokenizer.fit(part, unit)
        assert_array_equal(tokenizer.encode_selection(selection, unit), tokenizer.encode(part, unit))
    assert_array_equal(most_variable_genes(values, "tpm", 50, rows), most_variable_genes(values[rows], "tpm", 50))
