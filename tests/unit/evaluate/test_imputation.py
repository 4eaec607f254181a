"""Hidden cells and how restored ones are judged, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bulkrnabert.downstream.restoration import RestoredValues
from bulkrnabert.evaluate.imputation import HiddenCells, Judged, coverage, score_restored
from bulkrnabert.evaluate.missing_patterns import PATTERNS, Pattern, hide
from bulkrnabert.evaluate.uncertainty import resample_weights

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(size=(40, 30))
EVERYTHING = np.ones(TRUTH.shape, dtype=bool)
WEIGHTS = resample_weights(40, 50, 0)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_is_hidden(pattern: Pattern, rate: float) -> None:
    hidden = hide(TRUTH, pattern, rate, np.random.default_rng(1))
    assert hidden.mean() == pytest.approx(rate, abs=0.02)
    assert (~hidden).any(axis=1).all()
    assert np.array_equal(hidden, hide(TRUTH, pattern, rate, np.random.default_rng(1)))


def test_whole_genes_are_hidden_in_every_sample() -> None:
    hidden = hide(TRUTH, "whole_genes", 0.3, np.random.default_rng(1))
    assert sorted(set(hidden.mean(axis=0).tolist())) == [0.0, 1.0]
    assert hidden[0].sum() == 9


def test_low_values_go_first() -> None:
    hidden = hide(TRUTH, "low_expression", 0.3, np.random.default_rng(1))
    at_random = hide(TRUTH, "at_random", 0.3, np.random.default_rng(1))
    assert TRUTH[hidden].mean() < -0.4
    assert abs(TRUTH[at_random].mean()) < 0.15


def test_what_is_not_measured_is_not_hidden_and_a_sample_keeps_a_value() -> None:
    levels = np.full((3, 4), np.nan)
    levels[0, 1], levels[1, :2] = 1.0, 2.0
    for pattern in PATTERNS:
        hidden = hide(levels, pattern, 0.9, np.random.default_rng(3))
        assert not hidden[np.isnan(levels)].any()
        assert not hidden[0].any()
        assert hidden[1].sum() <= 1


def test_perfect_values() -> None:
    found = score_restored(HiddenCells(TRUTH, EVERYTHING, WEIGHTS), TRUTH.astype(np.float32))
    assert found["rmse"].value == pytest.approx(0.0, abs=1e-6)
    assert found["pearson_gene_median"].value == pytest.approx(1.0)
    assert found["pearson_sample_median"].value == pytest.approx(1.0)


def test_a_value_beside_the_truth() -> None:
    hidden = np.zeros(TRUTH.shape, dtype=bool)
    hidden[0, 0], hidden[1, 0] = True, True
    mean = TRUTH.copy()
    mean[0, 0] += 3.0
    mean[1, 0] += 4.0
    mean[2, 0] += 99.0
    found = score_restored(HiddenCells(TRUTH, hidden, WEIGHTS), mean)
    assert found["rmse"].value == pytest.approx(np.sqrt(12.5))
    assert np.isnan(found["pearson_gene_median"].value)
    assert np.isnan(found["pearson_sample_median"].value)


def test_correlations_are_the_plain_ones_in_every_resample() -> None:
    guess = TRUTH + RNG.normal(size=TRUTH.shape)
    found = score_restored(HiddenCells(TRUTH, EVERYTHING, WEIGHTS), guess)
    genes = [np.corrcoef(TRUTH[:, gene], guess[:, gene])[0, 1] for gene in range(30)]
    samples = [np.corrcoef(TRUTH[row], guess[row])[0, 1] for row in range(40)]
    assert found["pearson_gene_median"].value == pytest.approx(np.median(genes))
    assert found["pearson_sample_median"].value == pytest.approx(np.median(samples))
    rows = np.repeat(np.arange(40), WEIGHTS[0].astype(int))
    genes = [np.corrcoef(TRUTH[rows, gene], guess[rows, gene])[0, 1] for gene in range(30)]
    assert found["pearson_gene_median"].resampled[0] == pytest.approx(np.median(genes))
    assert found["pearson_sample_median"].resampled[0] == pytest.approx(np.median(np.array(samples)[rows]))
    squared = ((TRUTH - guess)[rows] ** 2).mean()
    assert found["rmse"].resampled[0] == pytest.approx(np.sqrt(squared))


def test_a_constant_guess_has_no_correlation() -> None:
    found = score_restored(HiddenCells(TRUTH, EVERYTHING, WEIGHTS), np.zeros_like(TRUTH))
    assert np.isnan(found["pearson_gene_median"].value)
    assert np.isnan(found["pearson_sample_median"].value)


def test_stated_intervals() -> None:
    truth = np.zeros((1, 4))
    hidden = np.ones((1, 4), dtype=bool)
    restored = RestoredValues(np.array([[0.1, 1.0, 1.5, 5.0]], np.float32), np.ones((1, 4), np.float32))
    found = coverage(HiddenCells(truth, hidden, np.ones((2, 1))), restored)
    assert {level: item.value for level, item in found.items()} == {0.5: 0.25, 0.8: 0.5, 0.95: 0.75}
    honest = RestoredValues(np.zeros_like(TRUTH, dtype=np.float32), np.ones_like(TRUTH, dtype=np.float32))
    found = coverage(HiddenCells(TRUTH, EVERYTHING, WEIGHTS), honest)
    assert found[0.8].value == pytest.approx(0.8, abs=0.03)
    assert isinstance(found[0.8], Judged)
