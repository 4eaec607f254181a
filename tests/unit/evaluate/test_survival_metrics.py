"""Concordance: by hand, against scikit-survival, and every resample against its repeated rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sksurv.metrics import concordance_index_censored

from bulkrnabert.evaluate.kaplan_meier import GROUPS, kaplan_meier, risk_tertiles, tick_times
from bulkrnabert.evaluate.survival_metrics import ConcordanceJudge, FollowUp, comparable_pairs
from bulkrnabert.evaluate.uncertainty import resample_weights


def follow_up(n: int = 80, seed: int = 0) -> tuple[FollowUp, np.ndarray]:
    generator = np.random.default_rng(seed)
    time = generator.integers(1, 30, n).astype(float)
    event = generator.random(n) < 0.6
    risk = (-time / 10 + generator.normal(size=n)).round(1)
    return FollowUp(time, event, np.arange(n) % 2, generator.integers(0, 2, n)), risk


def test_pairs_by_hand() -> None:
    # 0: event at 1; 1: censored at 1; 2: event at 2. Comparable: 0 before 1 (tied, censored later), 0 before 2.
    pairs = comparable_pairs(np.array([1.0, 1.0, 2.0]), np.array([True, False, True]))
    assert pairs.tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 0]]


def test_a_perfect_a_reversed_and_a_constant_risk() -> None:
    time = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    data = FollowUp(time, np.ones(6, dtype=bool), np.zeros(6, dtype=int), np.zeros(6, dtype=int))
    judge = ConcordanceJudge(data, np.ones((1, 6)))
    for risk, expected in ((-time, 1.0), (time, 0.0), (np.zeros(6), 0.5)):
        assert judge.pooled(risk).value == expected
        assert judge.pooled(risk).resampled[0] == expected
        assert judge.within(risk, is_weighted=True).value == expected


def test_one_fold_is_scikit_survivals_number() -> None:
    data, risk = follow_up()
    one_fold = FollowUp(data.time_days, data.event, np.zeros(80, dtype=int), data.cohort)
    judge = ConcordanceJudge(one_fold, np.ones((1, 80)))
    expected = concordance_index_censored(data.event, data.time_days, risk)[0]
    assert judge.pooled(risk).value == pytest.approx(expected)
    assert judge.pooled(risk).resampled[0] == pytest.approx(expected, abs=1e-6)


def test_patients_of_two_folds_are_not_compared() -> None:
    data, risk = follow_up()
    judge = ConcordanceJudge(data, np.ones((1, 80)))
    shifted = risk + 100.0 * data.fold
    assert judge.pooled(shifted).value == pytest.approx(judge.pooled(risk).value)
    assert judge.pooled(risk + 100.0 * data.cohort).value != pytest.approx(judge.pooled(risk).value)


def test_patients_of_two_cohorts_are_not_compared_within() -> None:
    data, risk = follow_up()
    judge = ConcordanceJudge(data, np.ones((1, 80)))
    for is_weighted in (True, False):
        shifted = judge.within(risk + 100.0 * data.cohort, is_weighted)
        assert shifted.value == pytest.approx(judge.within(risk, is_weighted).value)
        assert shifted.resampled[0] == pytest.approx(shifted.value, abs=1e-6)


def test_weighted_and_macro_means() -> None:
    # cohort 0: six patients in perfect order; cohort 1: twelve in reversed order
    time = np.concatenate([np.arange(1.0, 7), np.arange(1.0, 13)])
    cohort = np.array([0] * 6 + [1] * 12)
    risk = np.where(cohort == 0, -time, time)
    data = FollowUp(time, np.ones(18, dtype=bool), np.zeros(18, dtype=int), cohort)
    judge = ConcordanceJudge(data, np.ones((1, 18)))
    assert judge.within(risk, is_weighted=False).value == 0.5
    assert judge.within(risk, is_weighted=True).value == pytest.approx(6 / 18)


def test_each_resample_is_what_the_repeated_rows_would_give() -> None:
    data, risk = follow_up()
    weights = resample_weights(80, 10, seed=1)
    judge = ConcordanceJudge(data, weights)
    for index, row in enumerate(weights):
        rows = np.repeat(np.arange(80), row.astype(int))
        repeated = FollowUp(data.time_days[rows], data.event[rows], data.fold[rows], data.cohort[rows])
        alone = ConcordanceJudge(repeated, np.ones((1, 80)))
        assert judge.pooled(risk).resampled[index] == pytest.approx(alone.pooled(risk[rows]).value, abs=1e-5)
        for is_weighted in (True, False):
            expected = alone.within(risk[rows], is_weighted).value
            assert judge.within(risk, is_weighted).resampled[index] == pytest.approx(expected, abs=1e-5)


def test_nothing_to_compare_is_not_estimable() -> None:
    data = FollowUp(np.array([1.0, 2.0]), np.array([False, False]), np.zeros(2, dtype=int), np.zeros(2, dtype=int))
    judge = ConcordanceJudge(data, np.ones((3, 2)))
    assert np.isnan(judge.pooled(np.array([1.0, 2.0])).value)
    assert np.isnan(judge.within(np.array([1.0, 2.0]), is_weighted=True).value)


def test_cohorts_with_few_events_are_left_out_and_named() -> None:
    data = FollowUp(
        np.arange(1.0, 13), np.array([True] * 6 + [False] * 5 + [True]), np.zeros(12, dtype=int), np.repeat([0, 1], 6)
    )
    judge = ConcordanceJudge(data, np.ones((1, 12)))
    assert judge.in_mean == [0]
    assert judge.n_events_left_out == {1: 1}


def km_rows() -> pd.DataFrame:
    time = np.arange(1.0, 13) * 100
    return pd.DataFrame(
        {"fold": np.repeat([0, 1], 6), "stratum": "A", "risk": -time, "time_days": time, "event": [1] * 11 + [0]}
    )


def test_tertiles_are_within_fold_and_cohort() -> None:
    rows = km_rows()
    tertile = risk_tertiles(rows)
    assert tertile is not None
    assert tertile.tolist() == [2, 2, 1, 1, 0, 0] * 2
    np.testing.assert_array_equal(risk_tertiles(rows.assign(risk=rows["risk"] + 1e6 * rows["fold"])), tertile)
    assert risk_tertiles(rows.assign(risk=0.0)) is None


def test_curves_by_hand() -> None:
    curves = kaplan_meier(km_rows(), "A", "m", "OS")
    assert curves is not None
    low = curves["groups"][0]
    # low risk: patients with 500, 600, 1100 (events) and 1200 (censored) days
    assert low["name"] == GROUPS[0]
    assert low["n"] == 4
    assert low["times"] == [0.0, 500.0, 600.0, 1100.0, 1200.0]
    assert low["survival"] == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.25])
    assert all(bound is None or 0 <= bound <= 1 for bound in low["low"] + low["high"])
    assert curves["at_risk_times"] == [0.0, 365.25, 730.5, 1095.75]
    assert curves["at_risk"]["low risk"] == [4, 4, 2, 2]
    assert 0 <= curves["logrank_p"] <= 1
    assert kaplan_meier(km_rows().assign(risk=1.0), "A", "m", "OS") is None


@pytest.mark.parametrize("longest", [20.0, 400.0, 4502.0, 30000.0])
def test_ticks_are_few_and_start_at_zero(longest: float) -> None:
    ticks = tick_times(longest)
    assert ticks[0] == 0.0
    assert 1 <= len(ticks) <= 9
    assert max(ticks) < longest
