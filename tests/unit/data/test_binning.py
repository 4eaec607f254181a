from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bulkrnabert.data.binning import linear_bins, log10_plus_one, quantile_edges
from bulkrnabert.errors import DataError


def test_linear_bins_by_hand() -> None:
    # Five bins: edges 0, .25, .5, .75, 1.
    values = np.array([0.0, -0.0, 1e-300, 0.2499, 0.25, 0.5, 0.7501, 0.999, 1.0, 7.0, np.inf, -1.0])
    assert_array_equal(linear_bins(values, 5), [0, 0, 1, 1, 2, 3, 4, 4, 5, 5, 5, 0])


def test_one_ulp_decides_at_an_edge() -> None:
    edge = np.linspace(0, 1, 64)[17]
    values = np.array([np.nextafter(edge, 0), edge, np.nextafter(edge, 1)])
    assert_array_equal(linear_bins(values, 64), [17, 18, 18])


def test_log10_plus_one_by_hand() -> None:
    assert_array_equal(log10_plus_one(np.array([0.0, 9.0, 99.0])), [0.0, 1.0, 2.0])


def test_quantile_edges_by_hand() -> None:
    values = np.array([[0.0, 1.0, np.nan], [2.0, 3.0, 4.0]])
    assert_array_equal(quantile_edges(values, 4), [1.0, 2.0, 3.0])
    assert np.isnan(values[0, 2]), "input unchanged"


def test_quantile_bins_hold_equal_shares() -> None:
    values = np.random.default_rng(0).normal(size=6400)
    counts = np.bincount(np.digitize(values, quantile_edges(values, 64)), minlength=64)
    assert_array_equal(counts, np.full(64, 100))


def test_quantiles_of_nothing() -> None:
    with pytest.raises(DataError, match="every value of the training part is missing"):
        quantile_edges(np.array([[np.nan]]), 4)
