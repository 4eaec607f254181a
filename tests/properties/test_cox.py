"""Laws of the Cox loss."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkrnabert.train.losses_survival import build_risk_sets, cox_loss


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    n = draw(st.integers(2, 25))
    column = st.lists(st.integers(1, 6), min_size=n, max_size=n)
    time = np.array(draw(column), dtype=np.float64)
    event = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    strata = np.array(draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    hazard = np.array(draw(st.lists(st.floats(-30, 30), min_size=n, max_size=n)))
    return time, event, strata, hazard


def loss_and_gradient(
    time: np.ndarray, event: np.ndarray, strata: np.ndarray, hazard: np.ndarray
) -> tuple[float, np.ndarray]:
    log_hazard = torch.tensor(hazard, requires_grad=True)
    loss = cox_loss(log_hazard, build_risk_sets(time, event, strata))
    (gradient,) = torch.autograd.grad(loss, log_hazard)
    return loss.item(), gradient.numpy()


def by_hand(time: np.ndarray, event: np.ndarray, strata: np.ndarray, log_hazard: torch.Tensor) -> torch.Tensor:
    """Efron's formula, written out: every stratum, every time, every tied event."""
    total = torch.zeros((), dtype=torch.float64)
    for stratum in set(strata):
        for at in set(time[(strata == stratum) & (event == 1)]):
            in_stratum = torch.from_numpy(strata == stratum)
            risk = torch.exp(log_hazard[in_stratum & torch.from_numpy(time >= at)]).sum()
            tied = torch.exp(log_hazard[in_stratum & torch.from_numpy((time == at) & (event == 1))])
            for number in range(len(tied)):
                total = total + torch.log(risk - number / len(tied) * tied.sum()) - torch.log(tied[number])
    return total / max(1, event.sum())


@settings(max_examples=100)
@given(cohorts())
def test_equals_the_formula_and_its_gradient(data: tuple[np.ndarray, ...]) -> None:
    time, event, strata, hazard = data
    loss, gradient = loss_and_gradient(*data)
    log_hazard = torch.tensor(hazard, requires_grad=True)
    expected = by_hand(time, event, strata, log_hazard)
    if event.any():
        (expected_gradient,) = torch.autograd.grad(expected, log_hazard)
    else:
        expected_gradient = torch.zeros_like(log_hazard)
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(gradient, expected_gradient.numpy(), rtol=1e-6, atol=1e-9)


@settings(max_examples=50)
@given(cohorts(), st.integers(0, 1000))
def test_order_changes_nothing(data: tuple[np.ndarray, ...], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(data[0]))
    loss, gradient = loss_and_gradient(*data)
    shuffled_loss, shuffled_gradient = loss_and_gradient(*(column[order] for column in data))
    np.testing.assert_allclose(shuffled_loss, loss, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(shuffled_gradient, gradient[order], rtol=1e-7, atol=1e-12)


@settings(max_examples=50)
@given(cohorts())
def test_only_the_order_of_times_counts(data: tuple[np.ndarray, ...]) -> None:
    time, *rest = data
    assert loss_and_gradient(np.exp(time) + 7.0, *rest)[0] == loss_and_gradient(time, *rest)[0]


@settings(max_examples=50)
@given(cohorts(), st.floats(-100, 100))
def test_a_shift_of_one_stratum_changes_nothing(data: tuple[np.ndarray, ...], shift: float) -> None:
    time, event, strata, hazard = data
    shifted = hazard + shift * (strata == 1)
    np.testing.assert_allclose(
        loss_and_gradient(time, event, strata, shifted)[0], loss_and_gradient(*data)[0], rtol=1e-6, atol=1e-9
    )


@settings(max_examples=50)
@given(cohorts())
def test_strata_add_up(data: tuple[np.ndarray, ...]) -> None:
    time, event, strata, hazard = data
    total = 0.0
    for stratum in set(strata):
        inside = strata == stratum
        parts = time[inside], event[inside], strata[inside], hazard[inside]
        total += loss_and_gradient(*parts)[0] * event[inside].sum()
    np.testing.assert_allclose(loss_and_gradient(*data)[0] * event.sum(), total, rtol=1e-7, atol=1e-9)
