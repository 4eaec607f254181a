"""Masking for masked language modelling, and the generators that make every draw repeatable.

Every draw of a training run comes from `seeded_generator`, keyed by what it is for and where in the run it stands,
never by a process or a device. So a run gives the same batches on one process or eight, and after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from bulkrnabert.errors import DataError
from bulkrnabert.keys import MASK_ID

Purpose = Literal[
    "mask", "order", "genes", "validation_part", "validation_mask", "validation_genes", "dropout", "dropped_omic"
]

_PURPOSE_CODE: Final[dict[Purpose, int]] = {
    "mask": 1,
    "order": 2,
    "genes": 3,
    "validation_part": 4,
    "validation_mask": 5,
    "validation_genes": 6,
    "dropout": 7,
    "dropped_omic": 8,
}
IGNORED: Final = -100
_MASK_SHARE: Final = 0.8
_RANDOM_SHARE: Final = 0.1


@dataclass(frozen=True)
class MaskedTokens:
    """A batch in which some positions are hidden.

    Attributes:
        inputs: What the model sees, shape (samples, genes), uint8.
        masked_idx: Chosen positions of each sample, shape (samples, n_masked), int64, ascending.
        targets: True bins at those positions, shape (samples, n_masked), int64; `IGNORED` where there is none.
    """

    inputs: NDArray[np.uint8]
    masked_idx: NDArray[np.int64]
    targets: NDArray[np.int64]


def seeded_generator(seed: int, purpose: Purpose, *position: int) -> np.random.Generator:
    """The generator of one draw; another seed, purpose or position gives an independent stream.

    Args:
        seed: Seed of the run, not negative.
        purpose: What is drawn.
        position: Where in the run, as the step and the row of the global batch.
    """
    return np.random.default_rng([seed, _PURPOSE_CODE[purpose], *position])


def n_masked(n_genes: int, mask_fraction: float) -> int:
    """How many positions of a sample are chosen: the nearest whole number, at least one."""
    return max(1, round(n_genes * mask_fraction))


def mask_tokens(
    token_ids: NDArray[np.uint8],
    generators: Sequence[np.random.Generator],
    *,
    mask_fraction: float,
    n_bins: int,
    mask_id: int = MASK_ID,
) -> MaskedTokens:
    """Choose positions to predict; hide 80 % of them, give 10 % a random bin, leave 10 % as they are.

    Every sample has the same number of chosen positions, so that the mean over a batch is the mean over its parts,
    however it is cut into micro-batches and processes. Missing genes (already `mask_id`) are never predicted: where a
    sample has too few measured genes, its last positions carry `IGNORED` as target.

    Args:
        token_ids: Bin ids below `n_bins`, or `mask_id` where missing; shape (samples, genes), uint8. Not modified.
        generators: One for each sample.
        mask_fraction: Share of the genes that is chosen, in (0, 1].
        n_bins: Number of bins; a random bin is uniform over them.
        mask_id: Id that hides a token.
    Raises:
        DataError: a token is neither a bin nor missing (names the first row and column).
    Source:
        BulkRNABert, section 3.1 (15 %, 80/10/10 as in BERT). Differs: the number of chosen positions is exact for each
        sample, not 15 % on average.
    """
    n_samples, n_genes = token_ids.shape
    assert len(generators) == n_samples
    is_measured = token_ids < n_bins
    if not bool((is_measured | (token_ids == mask_id)).all()):
        row, column = np.argwhere(~is_measured & (token_ids != mask_id))[0]
        raise DataError(
            f"token {token_ids[row, column]} at row {row}, gene column {column} is no bin: masked training takes ids "
            f"0 to {n_bins - 1}, and {mask_id} for a missing value; tokenize again with a tokenizer that clips at the "
            "top bin"
        )
    count = n_masked(n_genes, mask_fraction)
    inputs = token_ids.copy()
    masked_idx = np.zeros((n_samples, count), dtype=np.int64)
    targets = np.full((n_samples, count), IGNORED, dtype=np.int64)
    for row, generator in enumerate(generators):
        candidates = np.flatnonzero(is_measured[row])
        n_chosen = min(count, len(candidates))
        chosen = np.sort(generator.choice(candidates, size=n_chosen, replace=False, shuffle=False))
        fate = generator.random(n_chosen)
        random_bins = generator.integers(0, n_bins, size=n_chosen, dtype=np.uint8)
        is_random = (fate >= _MASK_SHARE) & (fate < _MASK_SHARE + _RANDOM_SHARE)
        inputs[row, chosen[fate < _MASK_SHARE]] = mask_id
        inputs[row, chosen[is_random]] = random_bins[is_random]
        masked_idx[row, :n_chosen] = chosen
        targets[row, :n_chosen] = token_ids[row, chosen]
    return MaskedTokens(inputs=inputs, masked_idx=masked_idx, targets=targets)
