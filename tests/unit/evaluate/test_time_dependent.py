"""Uno's C, AUC and Brier score against scikit-survival, calibration by hand, and what is not estimable."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from sksurv.metrics import concordance_index_ipcw, cumulative_dynamic_auc, integrated_brier_score

from bulkrnabert.evaluate.survival_metrics import FollowUp
from bulkrnabert.evaluate.time_dependent import CensoringJudge, outcome_of, survival_at
from bulkrnabert.evaluate.uncertainty import resample_weights

N = 150


def make_follow_up(n_folds: int = 1, n_cohorts: int = 1) -> tuple[FollowUp, np.ndarray]:
    generator = np.random.default_rng(5)
    risk = generator.normal(size=N)
    event_days = generator.exponential(1200 * np.exp(-0.8 * risk))
    censor_days = generator.exponential(2500, N)
    time = np.ceil(np.minimum(event_days, censor_days) / 10) * 10  # with ties
    data = FollowUp(time, event_days <= censor_days, np.arange(N) % n_folds, np.arange(N) % n_cohorts)
    return data, np.round(risk + generator.normal(0, 0.5, N), 1)


def test_uno_and_auc_are_those_of_scikit_survival() -> None:
    data, risk = make_follow_up()
    outcome = outcome_of(data)
    judge = CensoringJudge(data, np.ones((1, N)), [0])
    expected = concordance_index_ipcw(outcome, outcome, risk, tau=judge.tau_days)[0]
    assert judge.uno(risk).value == pytest.approx(expected, abs=1e-6)
    assert judge.uno(risk).resampled[0] == pytest.approx(expected, abs=1e-5)
    assert judge.uno_within(risk).value == pytest.approx(expected, abs=1e-6)
    found = judge.auc(risk)
    assert list(found) == ["1y", "3y", "5y"]
    of_time, mean = cumulative_dynamic_auc(outcome, outcome, risk, list(judge.horizons.values()))
    assert [item.value for item in found.values()] == pytest.approx(of_time, abs=1e-6)
    assert judge.mean_auc(found).value == pytest.approx(mean, abs=1e-6)
    assert judge.mean_auc(found).resampled[0] == pytest.approx(mean, abs=1e-5)


def test_a_reversed_risk_is_the_mirror_image() -> None:
    data, risk = make_follow_up()
    judge = CensoringJudge(data, np.ones((1, N)), [0])
    assert judge.uno(-risk).value == pytest.approx(1 - judge.uno(risk).value, abs=1e-6)
    assert judge.uno(risk).value > 0.6


def test_the_brier_score_is_that_of_scikit_survival() -> None:
    data, risk = make_follow_up()
    days = np.linspace(20.0, 3000.0, 40)
    survival = np.exp(-np.outer(np.exp(0.5 * risk), days / 2000))
    judge = CensoringJudge(data, np.ones((1, N)), [0])
    inside = days < judge.tau_days
    outcome = outcome_of(data)
    expected = integrated_brier_score(outcome, outcome, survival[:, inside], days[inside])
    found = judge.integrated_brier(survival, days)
    assert found.value == pytest.approx(expected)
    assert found.resampled[0] == pytest.approx(expected)
    wrong = judge.integrated_brier(1 - survival, days)
    assert wrong.value > found.value


def test_only_patients_of_one_fold_are_compared() -> None:
    data, risk = make_follow_up(n_folds=3, n_cohorts=2)
    judge = CensoringJudge(data, np.ones((1, N)), [0, 1])
    shifted = risk + 100.0 * data.fold
    assert judge.uno(shifted).value == pytest.approx(judge.uno(risk).value)
    assert judge.auc(shifted)["3y"].value == pytest.approx(judge.auc(risk)["3y"].value)
    by_cohort = risk + 100.0 * data.cohort
    assert judge.uno_within(by_cohort).value == pytest.approx(judge.uno_within(risk).value)
    assert judge.uno(by_cohort).value != pytest.approx(judge.uno(risk).value)


def test_weighted_survival_is_that_of_lifelines() -> None:
    data, _ = make_follow_up()
    weights = resample_weights(N, 3, seed=1)
    found = survival_at(data.time_days, data.event, weights, 700.0)
    for row, value in zip(weights, found, strict=True):
        rows = np.repeat(np.arange(N), row.astype(int))
        fitted = KaplanMeierFitter().fit(data.time_days[rows], data.event[rows])
        assert value == pytest.approx(float(fitted.predict(700.0)))
    assert np.isnan(survival_at(data.time_days, data.event, np.zeros((1, N)), 700.0)[0])


def test_calibration_of_the_truth_is_near_zero_and_of_its_opposite_is_not() -> None:
    data, risk = make_follow_up()
    judge = CensoringJudge(data, resample_weights(N, 20, seed=0), [0])
    days = np.array([365.25, 1095.75])
    assert judge.calibration_days(days) == 1095.75
    assert judge.calibration_days(np.array([400.0, 500.0])) in (400.0, 500.0)
    observed = KaplanMeierFitter().fit(data.time_days, data.event).predict(1095.75)
    flat = judge.calibration(np.full(N, float(observed)), 1095.75)
    assert flat.error.value == pytest.approx(0.0, abs=1e-9)
    assert [group.n for group in flat.groups] == [N]
    found = judge.calibration(1 / (1 + np.exp(risk)), 1095.75)
    assert [group.predicted for group in found.groups] == sorted(group.predicted for group in found.groups)
    assert len(found.groups) == 5
    assert judge.calibration(1 / (1 + np.exp(-risk)), 1095.75).error.value > found.error.value
    assert np.isfinite(found.error.resampled).all()


def test_nothing_is_estimable_without_events_or_follow_up() -> None:
    none = FollowUp(np.arange(20.0), np.zeros(20, bool), np.zeros(20, int), np.zeros(20, int))
    judge = CensoringJudge(none, np.ones((2, 20)), [])
    risk = np.arange(20.0)
    assert np.isnan(judge.uno(risk).value)
    assert np.isnan(judge.uno_within(risk).value)
    assert judge.auc(risk) == {}
    assert np.isnan(judge.mean_auc({}).value)
    assert np.isnan(judge.integrated_brier(np.ones((20, 3)), np.array([1.0, 2.0, 3.0])).value)
    assert judge.calibration_days(np.array([1.0, 2.0])) is None
