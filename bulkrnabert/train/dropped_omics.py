"""Samples of several omics, as they are or with one omic left out, and what ties both embeddings of a sample together.

Shape letters: N samples, C columns of token ids, B batch, E pooled embedding.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bulkrnabert.keys import MASK_ID


class DroppableTokens:
    """Token ids of samples by row number: r is sample r as it is, r + N (1 + k) is sample r with omic k as `<mask>`.

    Every input that training encodes has a row number of its own, so a batch of several kinds is a list of numbers.

    Args:
        token_ids: Shape (N, C), uint8. Not modified.
        n_omics: Omics whose columns stand side by side.
    """

    def __init__(self, token_ids: NDArray[np.uint8], n_omics: int) -> None:
        assert token_ids.shape[1] % n_omics == 0, "as many columns for each omic"
        self._token_ids = torch.from_numpy(np.ascontiguousarray(token_ids))
        self.n_omics = n_omics

    def __len__(self) -> int:
        """Samples N."""
        return len(self._token_ids)

    @cached_property
    def has_omic(self) -> NDArray[np.bool_]:
        """Which sample has which omic, shape (N, omics): a value of it at least."""
        if self.n_omics == 1:
            return np.ones((len(self), 1), dtype=np.bool_)
        blocks = self._token_ids.numpy().reshape(len(self), self.n_omics, -1)
        return np.stack([(blocks[:, omic] != MASK_ID).any(axis=1) for omic in range(self.n_omics)], axis=1)

    @property
    def n_columns(self) -> int:
        """Columns C."""
        return self._token_ids.shape[1]

    @property
    def n_rows(self) -> int:
        """Row numbers that mean something."""
        return n_rows(len(self), self.n_omics)

    def take(self, rows: Tensor) -> Tensor:
        """Token ids of rows, shape (B, C)."""
        samples, dropped = rows % len(self), rows // len(self) - 1
        tokens = self._token_ids[samples]
        width = self.n_columns // self.n_omics
        for omic in range(self.n_omics):
            tokens[dropped == omic, omic * width : (omic + 1) * width] = MASK_ID
        return tokens

    def without(self, rows: Tensor, omic: int) -> Tensor:
        """Numbers of the same samples with an omic left out."""
        return rows + len(self) * (1 + omic)

    def draw(self, rows: NDArray[np.int64], probability: float, generator: np.random.Generator) -> NDArray[np.int64]:
        """Numbers of samples with one of their omics left out, for some of those that have several.

        Args:
            rows: Samples.
            probability: That a sample with several omics is among them.
            generator: Draws the samples, and evenly which of its omics each loses.
        """
        has = self.has_omic[rows]
        is_drawn = (generator.random(len(rows)) < probability) & (has.sum(axis=1) > 1)
        lost = np.where(has, generator.random(has.shape), -1.0).argmax(axis=1)
        return np.asarray((rows + len(self) * (1 + lost))[is_drawn], dtype=np.int64)


def n_rows(n_samples: int, n_omics: int) -> int:
    """Row numbers of `DroppableTokens`: the samples, and the samples without each omic where there are several."""
    return n_samples * (1 + n_omics if n_omics > 1 else 1)


def consistency_loss(whole_BE: Tensor, dropped_BE: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE between two embeddings of the same samples, nats; 0 for fewer than two samples.

    Its least value is 0, where each sample's two embeddings find each other among all; ln(B) less the loss is a lower
    bound of the mutual information of the two.

    Args:
        whole_BE: With all omics.
        dropped_BE: The same samples without one.
        temperature: Divides the cosines.
    Source:
        van den Oord et al. 2018, for MOJO's mutual-information term, whose formula is not public
        (docs/decisions/0015-missing-omics.md).
    """
    if len(whole_BE) < 2:
        return whole_BE.sum() * 0.0 + dropped_BE.sum() * 0.0
    cosine_BB = functional.normalize(whole_BE, dim=1) @ functional.normalize(dropped_BE, dim=1).T
    own_B = torch.arange(len(whole_BE), device=whole_BE.device)
    scores_BB = cosine_BB / temperature
    return (functional.cross_entropy(scores_BB, own_B) + functional.cross_entropy(scores_BB.T, own_B)) / 2
