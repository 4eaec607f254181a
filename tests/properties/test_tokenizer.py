"""Laws that hold for every table."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_allclose, assert_array_equal

from bulkrnabert.data.tokenizer import BinnedTokenizer, Selection

expression = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(0, 1e9))
factors = st.floats(1e-3, 9.0)


def of(factor: float, **changes: str) -> BinnedTokenizer:
    return BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=factor, **changes)


@given(expression, factors)
def test_ids_are_bins_and_the_input_is_unchanged(values: np.ndarray, factor: float) -> None:
    before = values.copy()
    ids = of(factor).encode(values)
    assert ids.shape == values.shape
    assert ids.max() <= 63
    assert_array_equal(values, before)


@given(expression, factors)
def test_more_expression_is_never_a_lower_bin(values: np.ndarray, factor: float) -> None:
    order = np.argsort(values, axis=None)
    ids = of(factor).encode(values).ravel()[order].astype(int)
    assert (np.diff(ids) >= 0).all()


@given(expression, factors)
def test_zero_is_bin_zero_and_nothing_else_is(values: np.ndarray, factor: float) -> None:
    is_zero = np.log10(1.0 + values) == 0.0
    assert_array_equal(of(factor).encode(values) == 0, is_zero)


@given(expression, factors)
def test_reference_differs_only_at_or_above_the_maximum(values: np.ndarray, factor: float) -> None:
    ours, reference = of(factor).encode(values), of(factor, overflow="reference").encode(values)
    assert_array_equal(reference == 64, np.log10(1.0 + values) / factor >= 1.0)
    assert_array_equal(np.minimum(reference, 63), ours)


@given(expression, factors, st.randoms(use_true_random=False))
def test_genes_are_encoded_each_for_itself(values: np.ndarray, factor: float, random: object) -> None:
    order = list(range(values.shape[1]))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert_array_equal(of(factor).encode(values[:, order]), of(factor).encode(values)[:, order])


@given(arrays(np.float64, (7, 20), elements=st.floats(-50, 50)))
def test_quantile_bins_are_monotone_and_cover_the_fit(values: np.ndarray) -> None:
    fitted = BinnedTokenizer.fit(values, "zscore")
    ids = fitted.encode(values, "zscore").ravel().astype(int)
    assert (np.diff(ids[np.argsort(values, axis=None)]) >= 0).all()
    assert ids.max() == 63


@given(arrays(np.float64, (7, 5), elements=st.floats(0, 1e6)), st.permutations(range(5)))
def test_standardising_is_undone_and_each_gene_stands_for_itself(values: np.ndarray, order: list[int]) -> None:
    fitted = BinnedTokenizer.fit_standardised(Selection(values), "tpm")
    z = fitted.standardise(values)
    assert_allclose(fitted.unstandardise(z), values, rtol=1e-4, atol=1e-4)
    ids = fitted.encode(values)
    assert ids.max() <= 63
    assert_array_equal(fitted.of_genes(order).encode(values[:, order]), ids[:, order])
    for gene in range(5):
        assert (np.diff(ids[np.argsort(values[:, gene]), gene].astype(int)) >= 0).all()
