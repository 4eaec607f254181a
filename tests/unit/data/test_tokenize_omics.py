"""Tokens of RNA-seq and methylation over one gene list, and of genes that are standardised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose, assert_array_equal

from bulkrnabert.cli.split import command as split_command
from bulkrnabert.cli.tokenize import command
from bulkrnabert.data.gene_choice import SharedGenes, shared_genes
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.omics import join_samples
from bulkrnabert.data.splits import read_splits, write_tsv
from bulkrnabert.data.tables import Cohorts, CohortTableWriter, TableHeader, cohort_path, genes_path
from bulkrnabert.data.tokenize import tokenize_omics, tokenize_standardised
from bulkrnabert.data.tokens import Tokens, read_tokens, write_tokens
from bulkrnabert.errors import BulkRNABertError, ConfigError, DataError, VocabularyError

MASK = 65


def samples_of(*names: str) -> pd.DataFrame:
    """S1 is of patient P1; a letter after the number is another vial of the same patient."""
    return pd.DataFrame(
        {
            "sample_id": list(names),
            "patient_id": [f"P{name[1]}" for name in names],
            "cohort": "A",
            "project_id": "TCGA-A",
            "sample_type": "tumor",
            "source": "gdc",
        }
    )


def rnaseq() -> Cohorts:
    genes = GeneVocabulary.from_ids(["ENSG1", "ENSG2", "ENSG3"])
    values = np.array([[0, 9, 99], [9, 9, 999], [99, 9, 0]], dtype=np.float32)
    return Cohorts(genes, samples_of("S1", "S2", "S3"), values, "tpm", "open")


def methylation() -> Cohorts:
    """In another order, with a gene of its own and without ENSG2; S4 has no expression, S3b is another vial of P3."""
    genes = GeneVocabulary.from_ids(["ENSG9", "ENSG3", "ENSG1"])
    values = np.array([[0.1, 0.5, 0.0], [0.2, 0.5, 1.0], [0.9, np.nan, 0.25], [0.5, 0.5, 0.5]], dtype=np.float32)
    return Cohorts(genes, samples_of("S1", "S2", "S3b", "S4"), values, "beta", "open", "methylation")


def both() -> dict[str, Cohorts]:
    return {"rnaseq": rnaseq(), "methylation": methylation()}


EVERYONE = {"S1", "S2", "S3", "S3b", "S4"}


def tokenized(training: set[str] = EVERYONE, max_genes: int = 0, **more: object) -> Tokens:
    return tokenize_omics(both(), training, "all", "f" * 64, max_genes, **more)  # type: ignore[arg-type]


def test_common_genes_are_aligned_by_id_and_absent_omics_masked(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        tokens = tokenized()
    assert (tokens.model, tokens.omics, tokens.gene_ids) == ("mojo", ("rnaseq", "methylation"), ("ENSG1", "ENSG3"))
    assert list(tokens.samples["sample_id"]) == ["S1", "S2", "S3", "S3b", "S4"]
    # log10(1 + x) of 3 (the maximum): 0, 1, 2, 3; betas in 63rds.
    assert_array_equal(
        tokens.token_ids,
        [
            [0, 43, 0, 32],
            [22, 63, 63, 32],
            [43, 0, MASK, MASK],
            [MASK, MASK, 16, MASK],
            [MASK, MASK, 32, 32],
        ],
    )
    assert "2 of 5 samples have rnaseq and methylation, 1 rnaseq alone, 2 methylation alone" in caplog.text
    assert "1 patients have all of them but of no sample in common" in caplog.text


def test_the_union_masks_genes_that_an_omic_does_not_list() -> None:
    tokens = tokenized(shared="union", missing="zero")
    assert tokens.gene_ids == ("ENSG1", "ENSG2", "ENSG3", "ENSG9")
    assert_array_equal(tokens.token_ids[0], [0, 22, 43, MASK, 0, MASK, 32, 7])
    assert_array_equal(tokens.token_ids[3], [MASK] * 4 + [16, MASK, 0, 57])


def test_the_most_variable_genes_of_expression_then_of_methylation() -> None:
    rows = {"rnaseq": np.arange(3), "methylation": np.arange(4)}

    def chosen(shared: SharedGenes, max_genes: int) -> tuple[str, ...]:
        return shared_genes(both(), shared, max_genes, rows)

    # Logarithms 0, 1, 2 of ENSG1, all equal of ENSG2, 2, 3, 0 of ENSG3.
    assert chosen("common", 1) == ("ENSG3",)
    assert [chosen("union", number) for number in (2, 3, 4, 0)] == [
        ("ENSG1", "ENSG3"),
        ("ENSG1", "ENSG2", "ENSG3"),
        ("ENSG1", "ENSG2", "ENSG3", "ENSG9"),
        ("ENSG1", "ENSG2", "ENSG3", "ENSG9"),
    ]
    rows = {"rnaseq": np.array([0, 2]), "methylation": np.arange(4)}
    assert chosen("common", 1) == ("ENSG1",), "both vary alike in S1 and S3: the earlier is kept"


def test_the_training_part_decides_the_bins() -> None:
    tokens = tokenized({"S1", "S3"})
    assert tokens.tokenizers["rnaseq"].normalization_factor == 2.0
    assert list(tokens.samples["part"]) == ["train", "held_out", "train", "held_out", "held_out"]
    assert_array_equal(tokens.token_ids[1], [32, 63, 63, 32])


def test_refusals() -> None:
    with pytest.raises(DataError, match=r"no training sample of split all has every one of.*rnaseq has 'S1'"):
        tokenized({"S3", "S4"})
    other = rnaseq()
    renamed = Cohorts(GeneVocabulary.from_ids(["A", "B", "ENSG3"]), other.samples, other.values, "tpm", "open")
    with pytest.raises(VocabularyError, match=r"1 genes are in all of rnaseq, methylation .*use --genes union"):
        tokenize_omics({"rnaseq": renamed, "methylation": methylation()}, EVERYONE, "all", "", 0)
    foreign = rnaseq()
    foreign.samples.loc[0, "patient_id"] = "P7"
    with pytest.raises(DataError, match="sample 'S1' is of another patient or cohort in rnaseq than in methylation"):
        tokenize_omics({"rnaseq": foreign, "methylation": methylation()}, EVERYONE, "all", "", 0)
    wrong = methylation()
    wrong.values[1, 1] = 1.5
    with pytest.raises(DataError, match="is negative, above 1 or infinite"):
        tokenize_omics({"rnaseq": rnaseq(), "methylation": wrong}, EVERYONE, "all", "", 0)
    wrong = methylation()
    wrong.values[:] = 0.5
    with pytest.raises(DataError, match=r"every methylation value of the training part is 0\.5 \(4 samples x 2 genes"):
        tokenize_omics({"rnaseq": rnaseq(), "methylation": wrong}, EVERYONE, "all", "", 0)


def test_pairs_are_told() -> None:
    joined = join_samples({"rnaseq": samples_of("S1", "S2"), "methylation": samples_of("S2", "S3")})
    assert_array_equal(joined.rows["methylation"], [-1, 0, 1])
    assert_array_equal(joined.is_paired, [False, True, False])
    assert joined.describe() == "1 of 3 samples have rnaseq and methylation, 1 rnaseq alone, 1 methylation alone"


def test_written_and_read_with_two_omics(tmp_path: Path) -> None:
    tokens = tokenized()
    write_tokens(tmp_path, tokens)
    read = read_tokens(tmp_path)
    assert_array_equal(read.token_ids, tokens.token_ids)
    assert (read.model, read.omics, read.tokenizers, read.values) == ("mojo", tokens.omics, tokens.tokenizers, None)
    (tmp_path / "tokenizer.json").unlink()
    tokens.tokenizer.save(tmp_path / "tokenizer.json")
    with pytest.raises(DataError, match=r"no column tokens; found .*tokens\.methylation"):
        read_tokens(tmp_path)


def test_standardised_tokens_keep_their_values(tmp_path: Path) -> None:
    cohorts = rnaseq()
    cohorts.values[2, 0] = np.nan
    tokens = tokenize_standardised(cohorts, {"S1", "S2"}, "r0f0", "f" * 64, max_genes=2)
    assert (tokens.model, tokens.gene_ids) == ("gexbert", ("ENSG1", "ENSG3"))
    # Logarithms of S1 and S2: 0, 1 (0.5 +- 0.5) and 2, 3 (2.5 +- 0.5).
    assert tokens.values is not None
    assert_allclose(tokens.values, [[-1, -1], [1, 1], [np.nan, -5]], atol=1e-5)
    assert_array_equal(tokens.token_ids, [[25, 25], [38, 38], [MASK, 0]])
    write_tokens(tmp_path, tokens)
    read = read_tokens(tmp_path)
    assert_array_equal(read.values, tokens.values)
    assert read.tokenizer == tokens.tokenizer and read.model == "gexbert"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six paired patients, one with expression alone, one with methylation alone."""
    folder = tmp_path / "cohorts"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for modality, unit, names in (
        ("rnaseq", "tpm", [*(f"S{number}" for number in range(6)), "S6"]),
        ("methylation", "beta", [*(f"S{number}" for number in range(6)), "S7"]),
    ):
        genes = GeneVocabulary.from_ids(["ENSG1", "ENSG2"] if unit == "tpm" else ["ENSG2", "ENSG1"])
        genes.to_tsv(genes_path(folder, modality))
        values = rng.random((7, 2)) * (100 if unit == "tpm" else 1)
        header = TableHeader(unit, modality, genes.sha256, "", "open")
        with CohortTableWriter(cohort_path(folder, "A", modality), header, 2) as writer:
            writer.write(samples_of(*names), values.astype(np.float32))
    clinical = pd.DataFrame({"patient_id": [f"P{number}" for number in range(8)], "cohort": "A"})
    write_tsv(clinical.assign(time_days="", event=""), folder / "clinical.tsv")
    return folder


def invoke(program: object, *arguments: object) -> BaseException | None:
    result = CliRunner().invoke(program, [str(argument) for argument in arguments])  # type: ignore[arg-type]
    if result.exception is not None and not isinstance(result.exception, BulkRNABertError):
        raise result.exception
    return result.exception


def test_commands(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    splitting = ["--cohorts", folder, "--folds", 2, "--min-events", 1, "--out", tmp_path / "splits"]
    with caplog.at_level("INFO"):
        assert invoke(split_command, *splitting, "--modality", "any") is None
    assert "6 of 8 samples have rnaseq and methylation, 1 rnaseq alone, 1 methylation alone" in caplog.text
    splits = read_splits(tmp_path / "splits")
    assert sorted(splits.frame["sample_id"]) == [f"S{number}" for number in range(8)]
    options = ["--cohorts", folder, "--splits", tmp_path / "splits", "--out", tmp_path / "tokens", "--split-id", "r0f0"]
    assert invoke(command, *options, "--model", "mojo") is None
    tokens = read_tokens(tmp_path / "tokens")
    assert tokens.token_ids.shape == (8, 4) and set(tokens.samples["part"]) == {"train", "held_out"}
    assert "are in no split" not in caplog.text
    assert invoke(command, *options, "--model", "gexbert") is None
    assert read_tokens(tmp_path / "tokens").values is not None
    assert invoke(command, *options) is None
    assert read_tokens(tmp_path / "tokens").model == "bulkrnabert"


def test_only_pairs_are_split_where_that_is_asked_for(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    splitting = ["--cohorts", folder, "--folds", 2, "--min-events", 1, "--out", tmp_path / "splits"]
    with caplog.at_level("INFO"):
        assert invoke(split_command, *splitting, "--modality", "paired") is None
    assert len(read_splits(tmp_path / "splits").frame) == 6
    assert "2 samples do not have rnaseq and methylation and are in no split" in caplog.text
    for path in folder.glob("*.methylation.parquet"):
        table = pq.read_table(path)
        renamed = pa.array([f"{name}-other" for name in table["sample_id"].to_pylist()], pa.string())
        index = table.schema.get_field_index("sample_id")
        pq.write_table(table.set_column(index, table.schema.field("sample_id"), renamed), path)
    assert "no sample has both rnaseq and methylation" in str(invoke(split_command, *splitting, "--modality", "paired"))


def test_refusals_of_the_command(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    splitting = ["--cohorts", folder, "--folds", 2, "--min-events", 1, "--out", tmp_path / "splits"]
    assert invoke(split_command, *splitting) is None
    options = ["--cohorts", folder, "--splits", tmp_path / "splits", "--out", tmp_path / "tokens"]
    assert "--genes is for --model mojo" in str(invoke(command, *options, "--genes", "union"))
    assert invoke(command, *options, "--model", "mojo") is None
    assert "1 of 8 samples are in no split" in caplog.text, "S7 has methylation alone"
    cohort_path(folder, "A", "methylation").unlink()
    error = invoke(command, *options, "--model", "mojo")
    assert isinstance(error, ConfigError) and "has rnaseq tables, and --model mojo reads rnaseq and meth" in str(error)
