"""Restoring without a pretrained network: answers by hand where there are some, sense where there are none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bulkrnabert.downstream.imputation_vae import VAEConfig, fit_vae
from bulkrnabert.downstream.imputers import (
    NeighbourImputer,
    RidgeImputer,
    SoftImputer,
    fit_mean,
    fit_neighbours,
    fit_ridge,
    fit_soft,
)
from bulkrnabert.downstream.restoration import deal_out, known_batches

NAN = np.nan
SHORT = VAEConfig(hidden=32, n_latent=4, max_epochs=60, learning_rate=5e-3)


@pytest.fixture(scope="module")
def factors() -> npt.NDArray[np.float64]:
    """300 samples of 12 genes that follow two hidden factors, with a little noise."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 2)) @ rng.normal(size=(2, 12)) + 0.1 * rng.normal(size=(300, 12))


def rmse_at_half(
    restored: npt.NDArray[np.float32], truth: npt.NDArray[np.float64], hidden: npt.NDArray[np.bool_]
) -> float:
    return float(np.sqrt(((restored - truth)[hidden] ** 2).mean()))


def test_the_mean_ignores_what_is_missing() -> None:
    train = np.array([[1.0, NAN, NAN], [3.0, 5.0, NAN]])
    found = fit_mean(train)
    assert found.mean.tolist() == [2.0, 5.0, 0.0]
    assert found.deviation.tolist() == [1.0, 0.0, 1.0]
    assert found.restore(np.full((2, 3), NAN)).mean.tolist() == [[2.0, 5.0, 0.0]] * 2


def test_a_neighbour_gives_its_value() -> None:
    train = np.array([[0.0, 10.0], [1.0, 20.0], [5.0, 90.0]])
    found = NeighbourImputer(train, 1).restore(np.array([[0.9, NAN], [4.0, NAN]]))
    assert found.mean[:, 1].tolist() == [20.0, 90.0]
    assert found.deviation is None


def test_ridge_is_the_regression_on_what_is_known() -> None:
    # Gene 1 is gene 0 in a sample's other units: covariance [[1, 1], [1, 1]], penalty 0.5: slope 1 / (1 + 0.5).
    train = np.array([[-1.0, -1.0], [1.0, 1.0]])
    found = RidgeImputer(train, 0.5).restore(np.array([[3.0, NAN]]))
    assert found.mean[0] == pytest.approx([3.0, 2.0])
    assert found.deviation is not None
    assert found.deviation[0] == pytest.approx([0.0, np.sqrt(1.5 - 1 / 1.5)])


def test_both_ways_to_solve_ridge_agree(factors: npt.NDArray[np.float64]) -> None:
    imputer = RidgeImputer(factors, 0.1)
    values = np.where(np.arange(12) < 5, NAN, factors[:4])
    few = imputer.restore(values)  # 5 missing: by the precision
    covariance = imputer._covariance
    missing = np.arange(12) < 5
    weights = np.linalg.solve(covariance[np.ix_(~missing, ~missing)], covariance[np.ix_(~missing, missing)])
    expected = (factors[:4, 5:] - imputer._mean[5:]) @ weights + imputer._mean[:5]
    assert few.mean[:, :5] == pytest.approx(expected, abs=1e-5)
    many = imputer.restore(np.where(np.arange(12) < 9, NAN, factors[:4]))
    assert np.isfinite(many.mean).all()


def test_iterated_regressions_settle_there(factors: npt.NDArray[np.float64]) -> None:
    share = 0.1
    centred = factors - factors.mean(axis=0)
    covariance = centred.T @ centred / len(factors)
    penalty = share * np.trace(covariance) / 12
    sample = centred[0].copy()
    hidden = [1, 4, 7]
    sample[hidden] = 0.0
    for _ in range(500):
        for gene in hidden:
            others = [at for at in range(12) if at != gene]
            gram = covariance[np.ix_(others, others)] + penalty * np.eye(11)
            sample[gene] = sample[others] @ np.linalg.solve(gram, covariance[others, gene])
    values = factors[:1].copy()
    values[0, hidden] = NAN
    found = RidgeImputer(factors, share).restore(values).mean[0] - factors.mean(axis=0)
    assert found[hidden] == pytest.approx(sample[hidden], abs=1e-4)


def test_soft_impute_finds_a_line() -> None:
    # All samples lie on (1, 1); with next to no shrinkage the fixed point is the point of the line.
    line = np.linspace(-2, 2, 21)[:, None] * np.ones((1, 2))
    assert SoftImputer(line, 1e-9).restore(np.array([[1.5, NAN]])).mean[0] == pytest.approx([1.5, 1.5], abs=0.01)
    assert SoftImputer(line, 2.0).restore(np.array([[1.5, NAN]])).mean[0] == pytest.approx([1.5, 0.0], abs=1e-6)


@pytest.mark.parametrize("fit", [fit_neighbours, fit_ridge, fit_soft, lambda train, seed: fit_vae(train, seed, SHORT)])
def test_every_method_beats_the_mean(fit: object, factors: npt.NDArray[np.float64]) -> None:
    train, test = factors[:240], factors[240:]
    hidden = np.random.default_rng(1).random(test.shape) < 0.4
    shown = np.where(hidden, NAN, test)
    before = shown.copy()
    restored = fit(train, 0).restore(shown)  # type: ignore[operator]
    assert np.array_equal(shown, before, equal_nan=True)
    mean_error = rmse_at_half(fit_mean(train).restore(shown).mean, test, hidden)
    assert rmse_at_half(restored.mean, test, hidden) < 0.75 * mean_error
    again = fit(train, 0).restore(shown)  # type: ignore[operator]
    assert np.array_equal(restored.mean, again.mean)


def test_missing_values_in_training_are_no_obstacle(factors: npt.NDArray[np.float64]) -> None:
    train = np.where(np.random.default_rng(2).random(factors.shape) < 0.1, NAN, factors)
    train[:, 3] = NAN
    shown = np.where(np.arange(12) == 5, NAN, factors[:5])
    for fit in (fit_neighbours, fit_ridge, fit_soft):
        assert np.isfinite(fit(train, 0).restore(shown).mean).all()
    assert np.isfinite(fit_vae(train, 0, VAEConfig(max_epochs=2)).restore(shown).mean).all()


def test_the_vae_states_how_unsure_it_is(factors: npt.NDArray[np.float64]) -> None:
    imputer = fit_vae(factors[:240], 0, SHORT)
    found = imputer.restore(np.where(np.arange(12) < 6, NAN, factors[240:]))
    nothing = imputer.restore(np.where(np.arange(12) < 11, NAN, factors[240:]))
    assert found.deviation is not None
    assert nothing.deviation is not None
    assert (found.deviation > 0).all()
    assert nothing.deviation[:, :6].mean() > found.deviation[:, :6].mean()


def test_samples_that_know_as_much_go_together() -> None:
    is_known = np.array([[1, 0, 0, 1], [1, 1, 1, 1], [0, 1, 0, 0], [0, 1, 1, 0]], dtype=bool)
    batches = list(known_batches(is_known, lambda n_known: 2))
    assert [batch.rows.tolist() for batch in batches] == [[1, 0], [3, 2]]
    assert batches[0].gene_idx.tolist() == [[0, 1, 2, 3], [0, 3, 0, 0]]
    assert batches[0].is_there.tolist() == [[True] * 4, [True, True, False, False]]
    assert batches[1].gene_idx.tolist() == [[1, 2], [1, 0]]


def test_many_genes_are_dealt_out_evenly() -> None:
    is_known = np.ones((3, 10), dtype=bool)
    is_known[1, :6] = False
    is_known[2] = False
    parts = deal_out(is_known, 4)
    assert sorted(parts[0].tolist()) == [0] * 5 + [1] * 5  # 10 / 4 is nearest to 2 parts
    assert parts[1].tolist() == [-1] * 6 + [0] * 4
    assert (parts[2] == -1).all()
    assert np.array_equal(deal_out(is_known[:1], 4)[0], parts[0])
    assert set(deal_out(is_known, None)[0].tolist()) == {0}
