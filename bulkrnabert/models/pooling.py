"""Learned pooling: which genes count is part of what fine-tuning learns.

Shape letters: B batch, G genes, D model, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionPooling(nn.Module):
    """The mean over genes beside means weighted by learned queries.

    Each head weighs genes by the softmax of a linear score of their output. Scores start at zero, so that every head
    starts as the mean.

    Args:
        embed_dim: Width D of the encoder.
        n_heads: Learned means beside the plain one.
    """

    def __init__(self, embed_dim: int, n_heads: int = 4) -> None:
        super().__init__()
        self.score = nn.Linear(embed_dim, n_heads, bias=False)
        nn.init.zeros_(self.score.weight)
        self.width = embed_dim * (1 + n_heads)

    def forward(self, hidden_BGD: Tensor) -> Tensor:
        """Pooled output, shape (B, (1 + H) D)."""
        weights_BGH = self.score(hidden_BGD).softmax(dim=1)
        pooled_BHD = torch.einsum("bgh,bgd->bhd", weights_BGH, hidden_BGD)
        return torch.cat([hidden_BGD.mean(dim=1), pooled_BHD.flatten(1)], dim=1)
