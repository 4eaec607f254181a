"""Units: reading, checking, converting, by hand."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from bulkrnabert.data.units import Unit, check_scale, parse_unit, stored_unit, to_stored
from bulkrnabert.errors import DataError


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("tpm", "tpm"),
        ("TPM", "tpm"),
        ("fpkm-uq", "fpkm_uq"),
        ("log2(TPM + 0.001)", "log2(tpm+0.001)"),
        ("log10(tpm+1)", "log10(tpm+1)"),
        ("ln(counts+1.0)", "ln(counts+1)"),
        ("log2(rsem+1)", "log2(rsem+1)"),
        ("zscore", "zscore"),
        ("log2_ratio", "log2_ratio"),
        ("beta", "beta"),
        ("Sqrt( beta )", "sqrt(beta)"),
    ],
)
def test_known_units(text: str, canonical: str) -> None:
    assert str(parse_unit(text)) == canonical
    assert parse_unit(canonical) == parse_unit(text)


@pytest.mark.parametrize("text", ["", "rpkm", "log2(beta+1)", "log3(tpm+1)", "log2 tpm"])
def test_unknown_units_list_the_known_ones(text: str) -> None:
    with pytest.raises(DataError, match="known units: counts, tpm, fpkm, fpkm_uq, rsem, beta"):
        parse_unit(text)


@pytest.mark.parametrize("text", ["log2(tpm)", "log2(tpm+0)", "log2(tpm+1e)"])
def test_a_log_needs_its_pseudo_count(text: str) -> None:
    with pytest.raises(DataError, match="positive pseudo-count"):
        parse_unit(text)


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("tpm", [0.0, 5.0], [0.0, 5.0]),
        ("log2(tpm+1)", [0.0, 3.0], [0.0, 7.0]),
        ("log10(tpm+1)", [0.0, 2.0], [0.0, 99.0]),
        ("ln(tpm+1)", [0.0, np.log(4.0)], [0.0, 3.0]),
        ("log2(tpm+0.001)", [-9.9658, 2.0], [0.0, 3.999]),
        ("rsem", [1.0, 2.0], [1.0, 2.0]),
        ("zscore", [-1.0, 2.0], [-1.0, 2.0]),
        ("sqrt(beta)", [0.0, 0.5, 1.0], [0.0, 0.25, 1.0]),
    ],
)
def test_values_become_what_tables_hold(text: str, values: list[float], expected: list[float]) -> None:
    given = np.array([values], dtype=np.float32)
    before = given.copy()
    stored = to_stored(given, parse_unit(text))
    np.testing.assert_allclose(stored.values, [expected], rtol=1e-6)
    assert stored.values.dtype == np.float32
    assert stored.n_clipped == 0
    assert str(stored.unit) == parse_unit(text).base
    np.testing.assert_array_equal(given, before)


def test_what_lies_below_zero_is_clipped_and_counted() -> None:
    stored = to_stored(np.array([[-0.83, 1.0]]), parse_unit("log2(rsem+1)"))
    np.testing.assert_allclose(stored.values, [[0.0, 1.0]])
    assert stored.n_clipped == 1


@pytest.mark.parametrize("text", ["fpkm", "fpkm_uq"])
def test_fpkm_scales_to_a_million_and_says_when_not_genome_wide(text: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        stored = to_stored(np.array([[1.0, 3.0], [0.0, 0.0]]), parse_unit(text))
    np.testing.assert_allclose(stored.values, [[250_000.0, 750_000.0], [0.0, 0.0]])
    assert str(stored.unit) == "tpm"
    assert "over 2 genes only" in caplog.text


def test_counts_need_lengths() -> None:
    with pytest.raises(DataError, match="--gene-lengths FILE"):
        to_stored(np.array([[1, 2]]), Unit("counts"))
    # 10 reads on 1 kb and 10 on 4 kb: four fifths of the transcripts are of the first gene.
    stored = to_stored(np.array([[10, 10]]), Unit("counts"), np.array([1000, 4000]))
    np.testing.assert_allclose(stored.values, [[800_000.0, 200_000.0]])
    with pytest.raises(DataError, match="must be positive"):
        to_stored(np.array([[10, 10]]), Unit("counts"), np.array([1000, 0]))
    assert stored_unit(Unit("counts"), has_gene_lengths=True) == Unit("tpm")


LINEAR = np.array([[0.0, 3.5, 800.25]])
LOGGED = np.array([[0.0, 3.51, 9.2]])
CENTRED = np.array([[-2.2, -0.5, 0.4, 1.8]])


@pytest.mark.parametrize(
    ("values", "unit", "message"),
    [
        (CENTRED, "tpm", "has no negative value"),
        (LOGGED, "tpm", r"looks like logarithms; say so with the unit `log2\(tpm\+1\)`"),
        (LINEAR, "counts", "counts are whole numbers, yet 100.0%"),
        (LINEAR, "log2(tpm+1)", "looks like a linear scale; say so with the unit `tpm`"),
        (LOGGED * 1.2, "log10(tpm+1)", "looks like a linear scale"),
        (CENTRED, "log2(tpm+1)", "another pseudo-count"),
        (np.array([[-9.97, 5.0]]), "log2(tpm+1)", "a zero would be 0"),
        (LINEAR, "beta", "between 0 and 1"),
        (np.array([[-0.1, 0.5]]), "beta", "between 0 and 1"),
        (np.array([[0.1, 1.5]]), "sqrt(beta)", "between 0 and 1"),
        (LINEAR, "zscore", "looks like a linear scale"),
        (LOGGED, "zscore", r"no value is negative.*fit log2\(tpm\+1\)"),
        (np.array([[0.0, 0.9]]), "log2_ratio", "no value is negative.*fit beta"),
        (np.array([[np.nan]]), "tpm", "no number in the table"),
    ],
)
def test_numbers_that_cannot_be_what_was_claimed(values: np.ndarray, unit: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        check_scale(values, parse_unit(unit), "mine.tsv")
    assert str(caught.value).startswith("mine.tsv: ")


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        (LINEAR, "tpm"),
        (LINEAR, "rsem"),
        (np.array([[0, 3, 12]]), "counts"),
        (np.zeros((1, 3)), "tpm"),
        (LOGGED, "log2(tpm+1)"),
        (np.array([[-9.9658, 10.0]]), "log2(tpm+0.001)"),
        (CENTRED, "zscore"),
        (CENTRED, "log2_ratio"),
        (np.array([[0.0, 1.0, 0.3]]), "beta"),
    ],
)
def test_numbers_that_fit(values: np.ndarray, unit: str) -> None:
    check_scale(values, parse_unit(unit), "mine.tsv")


def test_a_few_values_under_the_floor_pass_but_not_many() -> None:
    values = np.full((1, 1000), 5.0)
    values[0, :5] = -0.8
    check_scale(values, parse_unit("log2(rsem+1)"), "mine.tsv")
    values[0, :20] = -0.8
    with pytest.raises(DataError, match=r"2\.0% of the values lie below"):
        check_scale(values, parse_unit("log2(rsem+1)"), "mine.tsv")


def test_counts_are_no_tpm_when_a_sample_holds_more_than_a_million(caplog: pytest.LogCaptureFixture) -> None:
    counts = np.full((3, 1000), 2000.0)
    with pytest.raises(DataError, match=r"sum to 2e\+06, and TPM sum to a million at most; this looks like counts"):
        check_scale(counts, Unit("tpm"), "t")
    check_scale(counts / 2, Unit("tpm"), "t")
    assert not caplog.records
    check_scale(counts + 0.5, Unit("tpm"), "t")
    assert "is this rsem" in caplog.text


def test_estimates_of_counts_need_not_be_whole_numbers() -> None:
    unit = parse_unit("estimated_counts")
    assert (str(unit), unit.base) == ("estimated_counts", "counts")
    with pytest.raises(DataError, match="say `estimated_counts`"):
        check_scale(LINEAR, parse_unit("counts"), "mine.tsv")
    check_scale(LINEAR, unit, "mine.tsv")
    with pytest.raises(DataError, match="has no negative value"):
        check_scale(-LINEAR, unit, "mine.tsv")
    stored = to_stored(np.array([[10.5, 10.5]]), unit, np.array([1000, 4000]))
    np.testing.assert_allclose(stored.values, [[800_000.0, 200_000.0]])
