"""Linear factors of training samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bulkrnabert.data.factors import NOISE_FACTORS, fit_factors, fit_prototypes


def study(n_samples: int, n_genes: int, noise: float = 0.5) -> npt.NDArray[np.float64]:
    """Two programmes and noise."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(n_samples, 2)) @ rng.normal(size=(2, n_genes)) + noise * rng.normal(
        size=(n_samples, n_genes)
    )


def test_many_samples_give_the_covariance_that_made_them() -> None:
    values = study(3000, 8)
    before = values.copy()
    model = fit_factors(values, 2, 0)
    implied = model.loading @ model.loading.T
    covariance = values.T @ values / len(values)
    off_diagonal = ~np.eye(8, dtype=bool)
    np.testing.assert_allclose(implied[off_diagonal], covariance[off_diagonal], atol=0.06)
    np.testing.assert_allclose(model.noise, 0.25, atol=0.06)
    assert (values == before).all()


def test_few_samples_get_fewer_factors() -> None:
    few, many = fit_factors(study(30, 60, noise=2.0), 16, 0), fit_factors(study(3000, 60, noise=2.0), 16, 0)
    assert few.loading.shape == (60, 16)
    assert (few.loading != 0).any(axis=0).sum() < 8, "two programmes are all there is"
    assert many.noise.mean() == pytest.approx(4.0 * NOISE_FACTORS[0], abs=0.5)


def test_more_factors_than_the_samples_span_are_zero() -> None:
    model = fit_factors(study(6, 20), 9, 0)
    assert model.loading.shape == (20, 9)
    assert (model.loading[:, 5:] == 0).all()
    assert np.isfinite(model.loading).all()
    assert (model.noise > 0).all()


@pytest.mark.parametrize("values", [np.zeros((5, 4)), np.full((5, 4), np.nan), np.ones((1, 4))])
def test_samples_that_say_nothing(values: npt.NDArray[np.float64]) -> None:
    model = fit_factors(values, 2, 0)
    assert (model.loading == 0).all()
    assert (model.noise > 0).all()


def test_missing_values_count_as_the_mean_and_twice_is_the_same() -> None:
    values = study(40, 6)
    values[3, 2] = np.nan
    filled = np.nan_to_num(values, nan=0.0)
    first, second, other = fit_factors(values, 2, 0), fit_factors(values, 2, 0), fit_factors(filled, 2, 0)
    assert (first.loading == second.loading).all()
    np.testing.assert_allclose(np.abs(first.loading), np.abs(other.loading), atol=1e-6)


def test_prototypes_are_the_means_of_groups() -> None:
    groups = np.array([[5.0, 0.0, -5.0], [-5.0, 5.0, 0.0]])
    values = groups[np.arange(20) % 2] + 0.01 * np.random.default_rng(0).normal(size=(20, 3))
    values[0, 1] = np.nan  # counts as 0, as it is
    found = fit_prototypes(values, 2, 0)
    assert found.shape == (3, 2)
    order = np.argsort(-found[0])
    np.testing.assert_allclose(found[:, order].T, groups, atol=0.02)
    assert (found == fit_prototypes(values, 2, 0)).all()


def test_no_prototype_is_one_sample() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=(30, 2)), [[50.0, 50.0]]])
    found = fit_prototypes(values, 2, 0).T
    far = found[np.argmax(found.sum(axis=1))]
    nearest = values[np.argsort(((values - values[-1]) ** 2).sum(axis=1))[:5]]
    np.testing.assert_allclose(far, nearest.mean(axis=0), rtol=1e-5)
    assert np.abs(found - values[-1]).max(axis=1).min() > 10
