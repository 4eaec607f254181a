"""Cox loss and fits on numbers worked out by hand, and against lifelines."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from bulkrnabert.downstream import survival
from bulkrnabert.downstream.directions import Directions
from bulkrnabert.downstream.survival import SurvivalLabels
from bulkrnabert.train.losses_survival import build_risk_sets, cox_loss


def labels(time: list[float], event: list[int], strata: list[int] | None = None) -> SurvivalLabels:
    return SurvivalLabels(
        np.array(time, dtype=np.float64),
        np.array(event, dtype=np.int64),
        np.array(strata if strata else [0] * len(time), dtype=np.int64),
    )


def simulated(n: int, seed: int, effect: float = 1.0) -> tuple[np.ndarray, SurvivalLabels]:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(n, 3))
    time = generator.exponential(np.exp(-effect * features[:, 0])) * 100 + 1
    censored = generator.exponential(200, size=n) + 1
    strata = generator.integers(0, 2, size=n)
    return features, SurvivalLabels(np.minimum(time, censored), (time <= censored).astype(np.int64), strata)


def test_loss_by_hand() -> None:
    # hazards 1, 2, 3; events at 1 and 2, both against those still there: log(6/1) and log(5/2), mean of the two
    log_hazard = torch.log(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    loss = cox_loss(log_hazard, build_risk_sets([1, 2, 3], [1, 1, 0], [0, 0, 0]))
    assert loss.item() == pytest.approx((np.log(6) + np.log(5 / 2)) / 2)


def test_ties_by_hand() -> None:
    # both events at 1 among 1, 2, 3: Efron takes 6 and 6 - (1 + 2) / 2
    log_hazard = torch.log(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    loss = cox_loss(log_hazard, build_risk_sets([1, 1, 3], [1, 1, 0], [0, 0, 0]))
    assert loss.item() == pytest.approx((np.log(6) + np.log(4.5) - np.log(1) - np.log(2)) / 2)
    breslow = (2 * np.log(6) - np.log(2)) / 2
    assert loss.item() != pytest.approx(breslow)


def test_the_censored_at_the_time_of_an_event_are_at_risk() -> None:
    log_hazard = torch.zeros(2, dtype=torch.float64)
    assert cox_loss(log_hazard, build_risk_sets([5, 5], [1, 0], [0, 0])).item() == pytest.approx(np.log(2))


@pytest.mark.parametrize("event", [[0, 0, 0], [0, 0, 1]])
def test_without_events_the_loss_is_nothing_and_finite(event: list[int]) -> None:
    log_hazard = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    loss = cox_loss(log_hazard, build_risk_sets([1, 2, 3], event, [0, 0, 1]))  # the only event is alone in its stratum
    (gradient,) = torch.autograd.grad(loss, log_hazard)
    assert loss.item() == 0.0
    assert gradient.tolist() == [0.0, 0.0, 0.0]


def test_huge_hazards_stay_finite() -> None:
    log_hazard = torch.tensor([-3000.0, 0.0, 3000.0, 2999.0], requires_grad=True)
    loss = cox_loss(log_hazard, build_risk_sets([1, 2, 2, 3], [1, 1, 1, 1], [0, 0, 0, 0]))
    (gradient,) = torch.autograd.grad(loss, log_hazard)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_coefficients_agree_with_lifelines_with_ties_and_strata() -> None:
    from lifelines import CoxPHFitter

    features, follow_up = simulated(120, seed=1)
    tied = SurvivalLabels(np.ceil(follow_up.time_days / 20), follow_up.event, follow_up.strata)
    ours = survival.fit_ridge_cox(features, tied.risk_sets(), 0.0, np.zeros(3))
    table = pd.DataFrame(features, columns=["a", "b", "c"]).assign(
        time=tied.time_days, event=tied.event, stratum=tied.strata
    )
    theirs = CoxPHFitter().fit(table, "time", "event", strata=["stratum"]).params_
    np.testing.assert_allclose(ours, theirs.to_numpy(), atol=1e-4)


def test_baseline_by_hand() -> None:
    # no covariate: hazard jumps 1/4 at 1 and 1/3 at 2; median time 2.5
    baseline = survival.fit_baseline(np.zeros(4), labels([1, 2, 3, 4], [1, 1, 1, 0]))
    assert baseline.at_days == 2.5
    assert np.exp(baseline.log_hazard[0]) == pytest.approx(1 / 4 + 1 / 3)
    assert baseline.n_without_events == 0


def test_a_stratum_without_events_takes_the_pooled_baseline_and_is_counted() -> None:
    follow_up = labels([1, 2, 3, 4], [1, 1, 0, 0], [0, 0, 1, 1])
    baseline = survival.fit_baseline(np.zeros(4), follow_up)
    pooled = 1 / 4 + 1 / 3
    assert baseline.n_without_events == 1
    assert np.exp(baseline.log_hazard[1]) == pytest.approx(pooled * 0.5 / (0.5 + 2 * pooled))
    risk = survival.pooled_risk(np.zeros(3), np.array([0, 1, 7]), baseline)
    assert np.isfinite(risk).all()
    assert risk[0] > risk[1]
    assert risk[2] == pytest.approx(np.log(pooled))


def test_survival_probabilities_by_hand() -> None:
    # stratum 0: jumps 1/2 at 1, 1 at 2; stratum 1 has no event, and takes the pooled curve times a share
    follow_up = labels([1, 2, 3, 4], [1, 1, 0, 0], [0, 0, 1, 1])
    baseline = survival.fit_baseline(np.zeros(4), follow_up)
    share = 0.5 / (0.5 + 2 * (1 / 4 + 1 / 3))
    found = survival.survival_probabilities(
        np.array([0.0, np.log(2), 0.0, 0.0]), np.array([0, 0, 1, 7]), baseline, np.array([0.5, 1.0, 2.5])
    )
    hazards = np.array(
        [[0, 1 / 2, 3 / 2], [0, 1, 3], [0, share / 4, share * (1 / 4 + 1 / 3)], [0, 1 / 4, 1 / 4 + 1 / 3]]
    )
    np.testing.assert_allclose(found, np.exp(-hazards))


def test_the_grid_ends_with_the_last_event_and_holds_whole_years() -> None:
    grid = survival.survival_grid(labels([100, 1200, 3000], [1, 1, 0]))
    assert grid[-1] == 1200
    assert np.isin([30.0, 365.25, 1095.75], grid).all()
    assert len(grid) == 42


def test_pooled_risk_keeps_the_order_within_a_stratum() -> None:
    follow_up = labels([1, 2, 3, 4], [1, 1, 1, 1], [0, 0, 1, 1])
    predictor = np.array([0.3, -0.2, 1.0, 0.9])
    risk = survival.pooled_risk(predictor, follow_up.strata, survival.fit_baseline(predictor, follow_up))
    assert (risk[0] > risk[1]) and (risk[2] > risk[3])
    assert risk[0] - risk[1] == pytest.approx(0.5)


@pytest.mark.parametrize("fit", [survival.fit_cox, survival.fit_cox_mlp])
def test_a_fit_finds_a_signal_repeats_itself_and_leaves_its_input(fit: survival.CoxFitter) -> None:
    from sksurv.metrics import concordance_index_censored

    features, follow_up = simulated(150, seed=2)
    new, truth = simulated(200, seed=3)
    before = features.copy()
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    first = fit(features, follow_up, 5)(new)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(features, before)
    np.testing.assert_array_equal(fit(features, follow_up, 5)(new), first)
    assert concordance_index_censored(truth.event.astype(bool), truth.time_days, first)[0] > 0.65


def test_no_signal_leaves_little_spread() -> None:
    features, follow_up = simulated(90, seed=4, effect=0.0)
    loud, loud_follow_up = simulated(90, seed=4, effect=2.0)
    quiet_spread = survival.fit_cox(features, follow_up, 0)(features).std()
    assert quiet_spread < 0.5 * survival.fit_cox(loud, loud_follow_up, 0)(loud).std()


def test_directions_are_standardised_scores_on_the_axes_of_the_features_own_units() -> None:
    generator = np.random.default_rng(11)
    scores = generator.normal(size=(200, 2)) * [30.0, 5.0]
    features = np.concatenate([scores, generator.normal(size=(200, 4)) * 0.1], axis=1)
    features -= features.mean(axis=0)
    scale = features.std(axis=0)
    projected = Directions.leading(features / scale, scale, 2).scores(features / scale)
    np.testing.assert_allclose(projected.std(axis=0), 1.0)
    assert abs(np.corrcoef(projected[:, 0], features[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(projected[:, 1], features[:, 1])[0, 1]) > 0.99


def test_few_events_and_many_features_are_read_along_the_leading_directions() -> None:
    from sksurv.metrics import concordance_index_censored

    generator = np.random.default_rng(12)
    features, follow_up = simulated(120, seed=6)
    new, truth = simulated(300, seed=7)
    wide, wide_new = (np.concatenate([10.0 * x, generator.normal(size=(len(x), 300))], axis=1) for x in (features, new))
    risk = survival.fit_cox(wide, follow_up, 0)(wide_new)
    assert concordance_index_censored(truth.event.astype(bool), truth.time_days, risk)[0] > 0.65


def test_a_constant_feature_does_no_harm() -> None:
    features, follow_up = simulated(60, seed=5)
    features[:, 1] = 4.0
    assert np.isfinite(survival.fit_cox(features, follow_up, 0)(features)).all()
