from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.errors import CheckpointError, DataError


def tokenizer(**changes: Any) -> BinnedTokenizer:
    """log10(1 + TPM) up to 3, so that 63 intervals are 1/21 wide."""
    return BinnedTokenizer(**({"unit": "tpm", "edges_kind": "log_linear", "normalization_factor": 3.0} | changes))


HAND = np.array([[0.0, 0.01, 9.0, 99.0, 998.0, 999.0, 5000.0]])
# log10(1 + x): 0, .0043, 1, 2, 2.9996, 3, 3.7; of 3 in 63rds: 0, .09, 21, 42, 62.99, 63, beyond.
HAND_IDS = [0, 1, 22, 43, 63]


def test_ids_by_hand() -> None:
    ids = tokenizer().encode(HAND)
    assert ids.dtype == np.uint8
    assert_array_equal(ids, [[*HAND_IDS, 63, 63]])


def test_the_reference_lets_the_maximum_overflow_into_the_pad_id() -> None:
    assert_array_equal(tokenizer(overflow="reference").encode(HAND), [[*HAND_IDS, 64, 64]])


@pytest.mark.parametrize(
    ("unit", "log"),
    [("log10(tpm+1)", np.log10), ("log2(tpm+1)", np.log2), ("ln(tpm+1)", np.log), ("LOG10(TPM + 1)", np.log10)],
)
def test_logs_of_the_own_unit(unit: str, log: np.ufunc) -> None:
    values = np.array([[0.0, 2.0, 30.0, 500.0]])
    assert_array_equal(tokenizer().encode(log(1 + values), unit), tokenizer().encode(values))


def test_input_is_unchanged_and_twice_gives_the_same() -> None:
    values = np.array([[0.0, 5.0, np.nan, 1e6]])
    before = values.copy()
    first = tokenizer().encode(values)
    assert_array_equal(values, before)
    assert_array_equal(tokenizer().encode(values), first)


def test_missing_values_are_masked_or_zero_and_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("bulkrnabert"), "propagate", True)
    values = np.array([[np.nan, 9.0], [0.0, np.nan]])
    with caplog.at_level(logging.INFO, logger="bulkrnabert"):
        assert_array_equal(tokenizer().encode(values), [[65, 22], [0, 65]])
    assert "2 of 4 values are missing and become <mask>" in caplog.text
    assert_array_equal(tokenizer(missing="zero").encode(values), [[0, 22], [0, 0]])


def test_many_rows_are_encoded_as_one_by_one() -> None:
    values = np.random.default_rng(0).gamma(0.3, 100, size=(600, 3))
    one_by_one = [tokenizer().encode(row[None])[0] for row in values]
    assert_array_equal(tokenizer().encode(values), one_by_one)


@pytest.mark.parametrize("wrong", [-1.0, np.inf, -np.inf])
def test_impossible_values_are_refused_with_their_place(wrong: float) -> None:
    values = np.zeros((300, 4))
    values[270, 2] = wrong
    with pytest.raises(DataError, match="1 values cannot be tpm; the first, in sample row 270, gene column 2"):
        tokenizer().encode(values)


@pytest.mark.parametrize("unit", ["zscore", "log2_ratio", "rsem", "log2(rsem+1)"])
def test_units_that_cannot_become_the_own_one(unit: str) -> None:
    with pytest.raises(DataError, match="was trained on tpm, and there is no way"):
        tokenizer().encode(np.ones((1, 2)), unit)


def test_unknown_unit() -> None:
    with pytest.raises(DataError, match="unknown unit 'reads'"):
        tokenizer().encode(np.ones((1, 2)), "reads")


def test_one_dimension_is_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(3,\), expected two dimensions"):
        tokenizer().encode(np.ones(3))


def test_fit_takes_the_maximum_of_the_logarithm() -> None:
    values = np.array([[0.0, 99.0], [np.nan, 9.0]], dtype=np.float32)
    fitted = BinnedTokenizer.fit(values, "tpm")
    assert fitted == BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=2.0)
    assert_array_equal(fitted.encode(np.array([[0.0, 98.0, 99.0, 1e5]])), [[0, 63, 63, 63]])


def test_fit_inverts_a_logarithm_first() -> None:
    fitted = BinnedTokenizer.fit(np.array([[0.0, 10.0]]), "log2(rsem+1)")
    assert fitted.unit == "rsem"
    assert fitted.normalization_factor == pytest.approx(np.log10(1024.0))


@pytest.mark.parametrize("unit", ["zscore", "log2_ratio"])
def test_fit_of_a_centred_scale_uses_quantiles(unit: str) -> None:
    values = np.random.default_rng(0).normal(size=(80, 80))
    fitted = BinnedTokenizer.fit(values, unit)
    ids = fitted.encode(values, unit)
    assert_array_equal(np.bincount(ids.ravel()), np.full(64, 100))
    assert_array_equal(fitted.encode(np.array([[-1e9, 1e9, np.nan]]), unit), [[0, 63, 65]])


def test_fit_needs_values_and_a_known_unit() -> None:
    with pytest.raises(DataError, match="no value above 0 tpm"):
        BinnedTokenizer.fit(np.zeros((2, 2)), "tpm")
    with pytest.raises(DataError, match="every value of the training part is missing"):
        BinnedTokenizer.fit(np.full((2, 2), np.nan), "zscore")
    with pytest.raises(DataError, match="every beta value of the training part is missing"):
        BinnedTokenizer.fit(np.full((2, 2), np.nan), "beta")


@pytest.mark.parametrize("unit", ["tpm", "zscore"])
def test_saved_and_loaded_is_the_same(tmp_path: Path, unit: str) -> None:
    fitted = BinnedTokenizer.fit(np.random.default_rng(0).gamma(1.0, 1e-5, size=(9, 70)), unit)
    fitted.save(tmp_path / "tokenizer.json")
    assert BinnedTokenizer.load(tmp_path / "tokenizer.json") == fitted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edges_kind": "quantile"}, "quantile needs edges"),
        ({"normalization_factor": None}, "log_linear needs normalization_factor"),
        ({"edges_kind": "quantile", "normalization_factor": None, "edges": [1.0]}, "must be 63 ascending numbers"),
        ({"overflow": "wrap"}, "`overflow`"),
        ({"scale": 1}, "`scale`"),
    ],
)
def test_broken_tokenizer_files(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tokenizer().model_dump() | changes))
    with pytest.raises(CheckpointError, match=message):
        BinnedTokenizer.load(path)


def test_no_tokenizer_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read as a tokenizer"):
        BinnedTokenizer.load(tmp_path / "tokenizer.json")
