"""Parts of GexBERT that no other model has: the decoder's block, and the summary of a sample.

Shape letters: B batch, K input genes, T target genes, D model, H heads, F feed-forward.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bulkrnabert.models.layers import LAYER_NORM_EPSILON, attention_weights


class CrossAttention(nn.Module):
    """Target genes ask, input genes answer; no (T, K) matrix is held unless `weights` is called."""

    def __init__(self, embed_dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(embed_dim, embed_dim)
        self.value = nn.Linear(embed_dim, embed_dim)
        self.output = nn.Linear(embed_dim, embed_dim)

    def _split_heads(self, x_BTD: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        return x_BTD.view(B, T, self.n_heads, D // self.n_heads).transpose(1, 2)

    def forward(self, targets_BTD: Tensor, inputs_BKD: Tensor, key_mask: Tensor | None) -> Tensor:
        """What the targets read, shape (B, T, D); `key_mask` is True where an input may be read, shape (B, K)."""
        read_BHTK = functional.scaled_dot_product_attention(
            self._split_heads(self.query(targets_BTD)),
            self._split_heads(self.key(inputs_BKD)),
            self._split_heads(self.value(inputs_BKD)),
            attn_mask=None if key_mask is None else key_mask[:, None, None, :],
        )
        return self.output(read_BHTK.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def weights(self, targets_BTD: Tensor, inputs_BKD: Tensor, key_mask: Tensor | None) -> Tensor:
        """Attention weights, shape (B, H, T, K), rows sum to 1."""
        query_BHTK, key_BHKK = self._split_heads(self.query(targets_BTD)), self._split_heads(self.key(inputs_BKD))
        return attention_weights(query_BHTK, key_BHKK, key_mask)


class FeedForward(nn.Module):
    """Pre-LayerNorm feed-forward layer with an exact GELU and its residual, on the last axis.

    Its linear layers have names of their own, so that adapters of an encoder leave them out.
    """

    def __init__(self, embed_dim: int, ffn_embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPSILON)
        self.mlp_in = nn.Linear(embed_dim, ffn_embed_dim)
        self.mlp_out = nn.Linear(ffn_embed_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (..., D) to (..., D)."""
        return x + self.dropout(self.mlp_out(functional.gelu(self.mlp_in(self.norm(x)))))  # type: ignore[no-any-return]


class DecoderBlock(nn.Module):
    """Pre-LayerNorm block of cross-attention and a feed-forward layer.

    Targets do not see each other, so that a target's answer does not depend on which others are asked, and the cost is
    linear in their number.
    """

    def __init__(self, embed_dim: int, n_heads: int, ffn_embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.cross_norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPSILON)
        self.cross = CrossAttention(embed_dim, n_heads)
        self.feed_forward = FeedForward(embed_dim, ffn_embed_dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, targets_BTD: Tensor, inputs_BKD: Tensor, key_mask: Tensor | None) -> Tensor:
        """One block, shape (B, T, D) to (B, T, D)."""
        read_BTD = self.cross(self.cross_norm(targets_BTD), inputs_BKD, key_mask)
        return self.feed_forward(targets_BTD + self.dropout(read_BTD))  # type: ignore[no-any-return]

    def attention_map(self, targets_BTD: Tensor, inputs_BKD: Tensor, key_mask: Tensor | None) -> Tensor:
        """Attention weights for the input of this block, shape (B, H, T, K)."""
        return self.cross.weights(self.cross_norm(targets_BTD), inputs_BKD, key_mask)


class SampleSummary(nn.Module):
    """One vector a sample from all of its known genes, before any attention.

    Where the sample has linear factors and prototypes, those are what is read. Else the known genes' value embeddings
    and gene embeddings are each summed and divided by the square root of how many are known. Either goes through
    residual feed-forward layers. The order of genes carries no meaning.

    Args:
        embed_dim: Width D of what is summed and of the result.
        n_read: Numbers read in place of the sums; 0: the sums.
        summary_dim: Width S of the layers; None: `embed_dim`, without a projection behind them.
        n_layers: Feed-forward layers.
        ffn_embed_dim: Width inside them.
        dropout: In training.
    """

    def __init__(
        self,
        embed_dim: int,
        n_read: int,
        summary_dim: int | None,
        n_layers: int,
        ffn_embed_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        width = summary_dim or embed_dim
        self.projection = nn.Linear(n_read or 2 * embed_dim, width)
        self.layers = nn.ModuleList(FeedForward(width, ffn_embed_dim, dropout) for _ in range(n_layers))
        self.narrowing = None if summary_dim is None else nn.Linear(summary_dim, embed_dim)

    def sums(self, values_BKD: Tensor, genes_BKD: Tensor, is_known_BK: Tensor) -> Tensor:
        """What is read without factors, shape (B, 2 D)."""
        is_known_BK1 = is_known_BK.unsqueeze(-1).to(values_BKD.dtype)
        scale_B1 = is_known_BK1.sum(dim=1).clamp(min=1.0).rsqrt()
        return torch.cat([(part * is_known_BK1).sum(dim=1) * scale_B1 for part in (values_BKD, genes_BKD)], dim=-1)

    def forward(self, read: Tensor) -> Tensor:
        """What the layers make of what is read, shape (B, S)."""
        x: Tensor = self.projection(read)
        for layer in self.layers:
            x = layer(x)
        return x

    def narrow(self, summary_BS: Tensor) -> Tensor:
        """At the width of tokens and queries, shape (B, D)."""
        return summary_BS if self.narrowing is None else self.narrowing(summary_BS)
