"""Masking: counts, shares, seeds, missing values, messages."""

from __future__ import annotations

import numpy as np
import pytest

from bulkrnabert.data.masking import IGNORED, MaskedTokens, mask_tokens, n_masked, seeded_generator
from bulkrnabert.errors import DataError
from bulkrnabert.keys import MASK_ID, PAD_ID

N_BINS = 64


def masked(
    tokens: np.ndarray, seed: int = 0, step: int = 0, first_row: int = 0, fraction: float = 0.15
) -> MaskedTokens:
    generators = [seeded_generator(seed, "mask", step, first_row + row) for row in range(len(tokens))]
    return mask_tokens(tokens, generators, mask_fraction=fraction, n_bins=N_BINS)


@pytest.fixture
def tokens() -> np.ndarray:
    return np.random.default_rng(1).integers(0, N_BINS, (6, 200), dtype=np.uint8)


@pytest.mark.parametrize(
    ("n_genes", "fraction", "count"), [(20, 0.15, 3), (19062, 0.15, 2859), (3, 0.15, 1), (4, 1.0, 4)]
)
def test_count_is_the_nearest_whole_number_and_at_least_one(n_genes: int, fraction: float, count: int) -> None:
    assert n_masked(n_genes, fraction) == count


def test_targets_are_the_true_bins_and_the_input_is_unchanged(tokens: np.ndarray) -> None:
    before = tokens.copy()
    result = masked(tokens)
    assert (tokens == before).all()
    assert result.masked_idx.shape == result.targets.shape == (6, 30)
    for row in range(6):
        positions = result.masked_idx[row]
        assert list(positions) == sorted(set(positions))
        assert (result.targets[row] == tokens[row, positions]).all()
        others = np.setdiff1d(np.arange(200), positions)
        assert (result.inputs[row, others] == tokens[row, others]).all()


def test_eighty_ten_ten() -> None:
    tokens = np.full((40, 2000), 7, dtype=np.uint8)
    result = masked(tokens)
    seen = np.take_along_axis(result.inputs, result.masked_idx, axis=1)
    n = seen.size  # 12,000: three standard deviations of a share of 0.1 are 0.008
    assert (seen == MASK_ID).sum() / n == pytest.approx(0.8, abs=0.011)
    assert (seen == 7).sum() / n == pytest.approx(0.1 + 0.1 / N_BINS, abs=0.009)
    random_bins = seen[(seen != MASK_ID) & (seen != 7)]
    assert random_bins.max() < N_BINS
    assert len(np.unique(random_bins)) == N_BINS - 1


def test_same_key_same_mask_other_key_other_mask(tokens: np.ndarray) -> None:
    first, again = masked(tokens, seed=3, step=5), masked(tokens, seed=3, step=5)
    assert (first.inputs == again.inputs).all()
    for other in (masked(tokens, seed=4, step=5), masked(tokens, seed=3, step=6)):
        assert (first.masked_idx != other.masked_idx).any()


def test_rows_do_not_depend_on_the_rows_beside_them(tokens: np.ndarray) -> None:
    whole, part = masked(tokens), masked(tokens[4:], first_row=4)
    assert (whole.inputs[4:] == part.inputs).all()


def test_missing_genes_are_never_targets() -> None:
    tokens = np.full((1, 20), MASK_ID, dtype=np.uint8)
    tokens[0, [2, 9]] = [5, 6]
    result = masked(tokens)
    assert list(result.masked_idx[0, :2]) == [2, 9]
    assert list(result.targets[0]) == [5, 6, IGNORED]


def test_a_token_that_is_no_bin_is_refused(tokens: np.ndarray) -> None:
    tokens[2, 11] = PAD_ID
    with pytest.raises(DataError, match="token 64 at row 2, gene column 11 is no bin"):
        masked(tokens)
