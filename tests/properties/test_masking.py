"""Laws of masking, for any shape, seed and share."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkrnabert.data.masking import mask_tokens, n_masked, seeded_generator
from bulkrnabert.keys import MASK_ID


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    step=st.integers(0, 10_000),
    n_samples=st.integers(1, 5),
    n_genes=st.integers(1, 120),
    fraction=st.floats(0.01, 1.0),
    n_bins=st.integers(2, 64),
)
def test_masking_laws(seed: int, step: int, n_samples: int, n_genes: int, fraction: float, n_bins: int) -> None:
    tokens = np.random.default_rng(seed).integers(0, n_bins, (n_samples, n_genes), dtype=np.uint8)
    before = tokens.copy()
    generators = [seeded_generator(seed, "mask", step, row) for row in range(n_samples)]
    result = mask_tokens(tokens, generators, mask_fraction=fraction, n_bins=n_bins)
    assert (tokens == before).all()
    assert result.masked_idx.shape == (n_samples, n_masked(n_genes, fraction))
    assert (np.diff(result.masked_idx, axis=1) > 0).all()
    assert (result.targets == np.take_along_axis(tokens, result.masked_idx, axis=1)).all()
    changed = result.inputs != tokens
    is_chosen = np.zeros_like(changed)
    np.put_along_axis(is_chosen, result.masked_idx, True, axis=1)
    assert not (changed & ~is_chosen).any()
    assert ((result.inputs < n_bins) | (result.inputs == MASK_ID)).all()
