"""Bin statistics and the co-expression start, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bulkrnabert.data.coexpression import bin_statistics, coexpression_table

N_BINS = 64
MISSING = 65


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_statistics_leave_missing_values_out() -> None:
    token_ids = np.array([[2, MISSING, 7], [4, 10, 7]], dtype=np.uint8)
    statistics = bin_statistics(token_ids, N_BINS)
    assert statistics.mean.tolist() == [3.0, 10.0, 7.0]
    assert statistics.deviation.tolist() == [1.0, 0.0, 0.0]


def test_a_gene_missing_everywhere_has_zeros() -> None:
    statistics = bin_statistics(np.full((3, 1), MISSING, dtype=np.uint8), N_BINS)
    assert statistics.mean.tolist() == [0.0] and statistics.deviation.tolist() == [0.0]


def test_genes_that_vary_together_point_the_same_way() -> None:
    generator = rng()
    programme = generator.integers(0, 30, size=(60, 1))
    together = programme + generator.integers(0, 3, size=(60, 4))
    opposite = 40 - programme + generator.integers(0, 3, size=(60, 1))
    alone = generator.integers(0, 30, size=(60, 3))
    token_ids = np.concatenate([together, opposite, alone], axis=1).astype(np.uint8)
    before = token_ids.copy()
    table = coexpression_table(token_ids, bin_statistics(token_ids, N_BINS), N_BINS, 4, rng())
    unit = table[:, :2] / np.linalg.norm(table[:, :2], axis=1, keepdims=True)
    cosine = unit @ unit.T
    assert cosine[0, 1:4].min() > 0.95 and cosine[0, 4] < -0.95
    assert (token_ids == before).all()
    assert np.mean(table**2) == pytest.approx(1.0, rel=1e-5)


def test_is_the_same_twice_and_defined_for_few_samples_and_constant_genes() -> None:
    token_ids = np.array([[1, 5, MISSING], [3, 5, MISSING]], dtype=np.uint8)
    statistics = bin_statistics(token_ids, N_BINS)
    first, second = (coexpression_table(token_ids, statistics, N_BINS, 8, rng()) for _ in range(2))
    assert first.shape == (3, 8) and np.isfinite(first).all()
    assert (first == second).all()


@pytest.mark.parametrize("n_columns", [1, 2, 3])
def test_narrow_tables_are_defined(n_columns: int) -> None:
    token_ids = rng().integers(0, 64, size=(10, 5)).astype(np.uint8)
    table = coexpression_table(token_ids, bin_statistics(token_ids, N_BINS), N_BINS, n_columns, rng())
    assert table.shape == (5, n_columns) and np.isfinite(table).all()
