"""Tokenizers of beta values and of genes that are standardised one by one; `tokenizer.json` of several omics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bulkrnabert.data.tokenizer import BinnedTokenizer, Selection
from bulkrnabert.data.tokenizer_file import read_tokenizers, write_tokenizers
from bulkrnabert.errors import CheckpointError, ConfigError, DataError

BETA = BinnedTokenizer(unit="beta", edges_kind="linear")
# log10(1 + x): 0 and 2 (mean 1, deviation 1); 3 and 3 (constant); 1 and missing.
TPM = np.array([[0.0, 999.0, 9.0], [99.0, 999.0, np.nan]])


def fitted(values: np.ndarray = TPM, unit: str = "tpm", **more: object) -> BinnedTokenizer:
    return BinnedTokenizer.fit_standardised(Selection(values), unit, **more)  # type: ignore[arg-type]


def test_betas_by_hand() -> None:
    values = np.array([[0.0, 1e-12, 0.5, 62.5 / 63, 1.0, np.nan]])
    assert_array_equal(BETA.encode(values, "beta"), [[0, 1, 32, 63, 63, 65]])
    reference = BETA.model_copy(update={"overflow": "reference"})
    assert_array_equal(reference.encode(values, "beta"), [[0, 1, 32, 63, 64, 65]])
    assert BinnedTokenizer.fit(values, "beta") == BETA
    assert_array_equal(BETA.encode(np.sqrt(values), "sqrt(beta)"), BETA.encode(values, "beta"))


@pytest.mark.parametrize("wrong", [-0.01, 1.01, np.inf])
def test_betas_outside_0_to_1_are_refused_with_their_place(wrong: float) -> None:
    values = np.full((100, 3), 0.5)
    values[70, 1] = wrong
    with pytest.raises(DataError, match="sample row 70, gene column 1, is negative, above 1 or infinite"):
        BETA.encode(values, "beta")
    with pytest.raises(DataError, match="was trained on beta"):
        BETA.encode(values, "tpm")


def test_the_golden_methylation_tokens(shared: Path) -> None:
    inputs = np.load(shared / "golden" / "mojo_seed0" / "inputs.npz")
    beta = inputs["methylation_beta"]
    expected = inputs["tokens_methylation"][:, : beta.shape[1]]
    reference = BETA.model_copy(update={"overflow": "reference"})
    assert_array_equal(reference.encode(beta, "beta"), expected)
    assert (expected == 64).any() and not np.array_equal(BETA.encode(beta, "beta"), expected)
    assert_array_equal(BETA.encode(beta, "beta"), np.minimum(expected, 63))


def test_statistics_of_each_gene_by_hand() -> None:
    tokenizer = fitted()
    assert (tokenizer.gene_means, tokenizer.gene_deviations) == ((1.0, 3.0, 1.0), (1.0, 1.0, 1.0))
    z = tokenizer.standardise(np.array([[9999.0, 99.0, np.nan]]))
    assert z.dtype == np.float32
    assert_allclose(z, [[3.0, -1.0, np.nan]])
    assert_array_equal(tokenizer.encode(np.array([[9999.0, 99.0, np.nan]])), [[51, 25, 65]])  # (3 + 5) x 6.4, 4 x 6.4


def test_bins_are_equal_and_clipped() -> None:
    tokenizer = BinnedTokenizer(
        unit="zscore", edges_kind="gene_standardised", gene_means=(0.0,), gene_deviations=(1.0,)
    )
    z = np.array([[-1e9], [-5.0], [-5 + 10 / 64], [-1e-9], [0.0], [4.9999], [5.0], [1e9]])
    assert_array_equal(tokenizer.encode(z, "zscore")[:, 0], [0, 0, 1, 31, 32, 63, 63, 63])


def test_standardising_is_undone() -> None:
    rng = np.random.default_rng(0)
    values = rng.gamma(0.5, 100, (130, 7))
    before = values.copy()
    tokenizer = fitted(values)
    z = tokenizer.standardise(values)
    assert_array_equal(values, before)
    assert_allclose(z.mean(axis=0), 0, atol=1e-5)
    assert_allclose(z.std(axis=0), 1, atol=1e-5)
    assert_allclose(tokenizer.unstandardise(z), values, rtol=1e-4, atol=1e-4)
    centred = rng.normal(3, 2, (130, 7))
    tokenizer = fitted(centred, "zscore")
    assert_allclose(tokenizer.unstandardise(tokenizer.standardise(centred, "zscore")), centred, atol=1e-4)
    assert fitted(values).unstandardise(np.full((1, 7), -99.0)).min() == 0.0, "expression is never negative"


def test_logs_become_the_own_unit() -> None:
    values = np.random.default_rng(0).gamma(0.5, 100, (20, 5))
    assert_allclose(fitted(np.log10(values + 1), "log10(tpm+1)").gene_means, fitted(values).gene_means)
    assert_allclose(fitted().standardise(np.log2(1 + TPM), "log2(tpm+1)"), fitted().standardise(TPM), atol=1e-5)


def test_a_rounding_error_is_no_deviation() -> None:
    values = np.full((7, 2), 0.1)
    values[0, 1] = 0.2
    tokenizer = fitted(values, "log2_ratio")
    assert tokenizer.gene_deviations is not None
    assert tokenizer.gene_deviations[0] == 1.0 and tokenizer.gene_deviations[1] < 0.05


def test_a_missing_value_may_count_as_zero() -> None:
    tokenizer = fitted(missing="zero")
    assert tokenizer.gene_means == (1.0, 3.0, 1.0), "what is missing is left out of the statistics"
    assert_allclose(tokenizer.standardise(np.array([[np.nan, 999.0, 9.0]])), [[-1.0, 0.0, 0.0]])
    assert_array_equal(tokenizer.encode(np.array([[np.nan, 999.0, 9.0]])), [[25, 32, 32]])


def test_a_gene_without_values() -> None:
    tokenizer = fitted(np.array([[np.nan, 9.0], [np.nan, 99.0]]))
    assert (tokenizer.gene_means, tokenizer.gene_deviations) == ((0.0, 1.5), (1.0, 0.5))


def test_a_panel_of_genes() -> None:
    panel = fitted().of_genes([2, 0])
    assert (panel.gene_means, panel.gene_deviations) == ((1.0, 1.0), (1.0, 1.0))
    assert_array_equal(panel.encode(TPM[:, [2, 0]]), fitted().encode(TPM)[:, [2, 0]])
    assert BETA.of_genes([1]) is BETA
    with pytest.raises(DataError, match="3 genes, but the tokenizer was fitted on 2"):
        panel.encode(TPM)


def test_only_a_standardised_tokenizer_standardises() -> None:
    with pytest.raises(ConfigError, match="edges of kind linear and does not standardise genes"):
        BETA.standardise(np.full((1, 1), 0.5), "beta")
    with pytest.raises(ConfigError, match="beta values are not standardised"):
        fitted(np.full((1, 1), 0.5), "beta")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gene_means": None}, "gene_standardised needs gene_means"),
        ({"gene_means": [1.0]}, "1 gene_means, 3 gene_deviations"),
        ({"gene_deviations": [1.0, 0.0, 1.0]}, "finite and above 0"),
        ({"normalization_factor": 1.0}, "takes no normalization_factor"),
        ({"unit": "beta", "edges_kind": "quantile"}, "quantile needs edges"),
        ({"edges_kind": "linear", "gene_means": None, "gene_deviations": None}, "linear is for beta values"),
    ],
)
def test_broken_files(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({**fitted().model_dump(), **changes}))
    with pytest.raises(CheckpointError, match=message):
        read_tokenizers(tmp_path / "tokenizer.json")


def test_a_full_gene_list_is_saved_and_its_errors_are_short(tmp_path: Path) -> None:
    values = np.random.default_rng(0).gamma(0.5, 100, (3, 19_062))
    tokenizer = fitted(values)
    tokenizer.save(tmp_path / "tokenizer.json")
    assert BinnedTokenizer.load(tmp_path / "tokenizer.json") == tokenizer
    (tmp_path / "tokenizer.json").write_text(json.dumps({**tokenizer.model_dump(), "gene_means": [1.0]}))
    with pytest.raises(CheckpointError) as caught:
        read_tokenizers(tmp_path / "tokenizer.json")
    assert len(str(caught.value)) < 2000


def test_one_file_for_several_omics(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    both = {
        "rnaseq": BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=3.0),
        "methylation": BETA,
    }
    write_tokenizers(path, both)
    assert read_tokenizers(path) == both and list(read_tokenizers(path)) == ["rnaseq", "methylation"]
    assert set(json.loads(path.read_text())) == {"version", "omics"}
    write_tokenizers(path, {"rnaseq": both["rnaseq"]})
    assert BinnedTokenizer.load(path) == both["rnaseq"] and read_tokenizers(path) == {"rnaseq": both["rnaseq"]}
    path.write_text(json.dumps({"version": 1, "omics": {"rnaseq": {"unit": "tpm"}}}))
    with pytest.raises(CheckpointError, match="cannot be read as a tokenizer"):
        read_tokenizers(path)
