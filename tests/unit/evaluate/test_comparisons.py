"""The corrected resampled t test, by its formula, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from bulkrnabert.evaluate.comparisons import CorrectedTest, MeanScore, corrected_t_test, paired_comparison, verdict
from bulkrnabert.evaluate.uncertainty import Interval


def test_the_formula_by_hand() -> None:
    # mean 0.02, variance 0.0001 (ddof 1), 3 folds, test part 1/4 of the training part
    found = corrected_t_test(np.array([0.01, 0.02, 0.03]), 0.25)
    statistic = 0.02 / np.sqrt((1 / 3 + 1 / 4) * 0.0001)
    assert found.p == pytest.approx(2 * student.sf(statistic, 2))
    assert found.n_folds == 3


def test_without_correction_it_is_the_plain_test_which_finds_more() -> None:
    differences = np.random.default_rng(0).normal(0.01, 0.02, 25)
    plain = float(ttest_1samp(differences, 0.0).pvalue)
    assert corrected_t_test(differences, 0.0).p == pytest.approx(plain)
    corrected = corrected_t_test(differences, 0.25).p
    assert corrected is not None
    assert corrected > plain


def test_folds_without_a_value_are_left_out_and_too_few_are_no_test() -> None:
    with_gap = corrected_t_test(np.array([0.01, np.nan, 0.02, 0.03]), 0.25)
    assert with_gap == corrected_t_test(np.array([0.01, 0.02, 0.03]), 0.25)
    assert corrected_t_test(np.array([0.1, np.nan]), 0.25) == CorrectedTest(None, 1)
    assert corrected_t_test(np.zeros(5), 0.25).p == 1.0
    assert corrected_t_test(np.full(5, 0.25), 0.25).p == 0.0


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (0.1, 0.2, 0.01, "ahead"),
        (-0.2, -0.1, 0.01, "behind"),
        (0.1, 0.2, 0.2, "level"),
        (-0.1, 0.2, 0.01, "level"),
        (0.1, 0.2, None, "ahead"),
        (None, None, 0.01, "level"),
    ],
)
def test_both_must_agree(low: float | None, high: float | None, p: float | None, expected: str) -> None:
    assert verdict(Interval(low, high), CorrectedTest(p, 5)) == expected


def test_a_paired_comparison() -> None:
    noise = np.random.default_rng(0).normal(size=200)
    against = MeanScore(0.7, 0.7 + noise, np.array([0.69, 0.70, 0.71]))
    own = MeanScore(0.8, 0.8 + noise, np.array([0.79, 0.80, 0.81]))
    found = paired_comparison(own, against, 0.5)
    assert found["difference"] == pytest.approx(0.1)
    assert (found["low"], found["high"]) == (pytest.approx(0.1), pytest.approx(0.1))  # the same resamples
    assert (found["n_folds"], found["holds"]) == (3, "ahead")
    assert paired_comparison(against, own, 0.5)["holds"] == "behind"
    nothing = paired_comparison(own, MeanScore(np.nan, np.full(200, np.nan), np.array([0.7, np.nan, 0.7])), 0.5)
    assert nothing.pop("n_folds") == 2
    assert set(nothing.values()) == {None}
