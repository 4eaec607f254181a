"""Building blocks of the transformers: self-attention and the pre-LayerNorm block.

Shape letters: B batch, G genes, M chosen genes of a sample, D model, H heads, K head dim, F feed-forward.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

LAYER_NORM_EPSILON = 1e-5
QUERY_CHUNK = 512
SCORES_AT_ONCE = 2**24
# From here on attention is 16 times the feed-forward layer's work at the published sizes, so that doing the latter
# twice in training costs a percent or two, and keeping its activations more memory than anything else.
PIECEWISE_FROM_GENES = 8192
GENES_A_PIECE = 4096


def initialise_linear(layer: nn.Linear, generator: torch.Generator | None, scale: float = 1.0) -> None:
    """Truncated normal weights with standard deviation `scale / sqrt(fan in)`, zero bias."""
    deviation = scale / math.sqrt(layer.in_features)
    nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def attention_weights(query: Tensor, key: Tensor, key_mask: Tensor | None = None, chunk: int = QUERY_CHUNK) -> Tensor:
    """Softmax attention weights, computed a chunk of queries at a time.

    Beside the result itself only `chunk` rows of scores are held.

    Args:
        query: Shape (B, H, G, K).
        key: Shape (B, H, G, K).
        key_mask: True where a key may be attended, shape (B, G); None: every key.
        chunk: Queries a chunk.
    Returns:
        Weights, shape (B, H, G, G), rows sum to 1.
    """
    B, H, G, K = query.shape
    weights = query.new_empty(B, H, G, key.shape[2])
    for start in range(0, G, chunk):
        scores = query[:, :, start : start + chunk] @ key.transpose(-1, -2) / math.sqrt(K)
        if key_mask is not None:
            scores = scores.masked_fill(~key_mask[:, None, None, :], -math.inf)
        weights[:, :, start : start + chunk] = scores.softmax(dim=-1)
    return weights


def attention_received(query: Tensor, key: Tensor, key_mask: Tensor | None = None) -> Tensor:
    """Share of all attention that each key gets: the mean of its weights over queries and heads.

    Scores are made and forgotten a few queries of one sample at a time, so memory does not grow with G x G.

    Args:
        query: Shape (B, H, G, K).
        key: Shape (B, H, G, K).
        key_mask: True where a key may be attended, shape (B, G); None: every key.
    Returns:
        Shares, shape (B, G), float32; a row sums to 1, an even share is 1 / G.
    """
    B, H, G, K = query.shape
    chunk = max(1, SCORES_AT_ONCE // (H * key.shape[2]))
    received_BG = torch.zeros(B, key.shape[2], dtype=torch.float32, device=query.device)
    for row in range(B):
        key_HKG = key[row].float().transpose(-1, -2) / math.sqrt(K)
        for start in range(0, G, chunk):
            scores = query[row, :, start : start + chunk].float() @ key_HKG
            if key_mask is not None:
                scores.masked_fill_(~key_mask[row], -math.inf)
            received_BG[row] += scores.softmax(dim=-1).sum(dim=(0, 1))
    return received_BG / (H * G)


def take_genes(x_BGD: Tensor, idx_BM: Tensor) -> Tensor:
    """Rows of chosen genes, shape (B, M, D), by their columns, shape (B, M)."""
    return x_BGD.gather(1, idx_BM.unsqueeze(-1).expand(-1, -1, x_BGD.shape[-1]))


class SelfAttention(nn.Module):
    """Multi-head self-attention; no (G, G) matrix is held unless `weights` is called."""

    def __init__(self, embed_dim: int, n_heads: int, key_size: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.key_size = key_size
        self.query = nn.Linear(embed_dim, n_heads * key_size)
        self.key = nn.Linear(embed_dim, n_heads * key_size)
        self.value = nn.Linear(embed_dim, n_heads * key_size)
        self.output = nn.Linear(n_heads * key_size, embed_dim)

    def _split_heads(self, x_BGD: Tensor) -> Tensor:
        B, G, _ = x_BGD.shape
        return x_BGD.view(B, G, self.n_heads, self.key_size).transpose(1, 2)  # (B, H, G, K)

    def forward(self, x_BGD: Tensor, key_mask: Tensor | None = None, query_idx: Tensor | None = None) -> Tensor:
        """Attend; `key_mask` is True where a key may be attended, shape (B, G).

        With `query_idx`, shape (B, M), only these genes ask, and the result is (B, M, D).
        """
        asking_BMD = x_BGD if query_idx is None else take_genes(x_BGD, query_idx)
        attended_BHMK = functional.scaled_dot_product_attention(
            self._split_heads(self.query(asking_BMD)),
            self._split_heads(self.key(x_BGD)),
            self._split_heads(self.value(x_BGD)),
            attn_mask=None if key_mask is None else key_mask[:, None, None, :],
        )
        B, M, _ = asking_BMD.shape
        return self.output(attended_BHMK.transpose(1, 2).reshape(B, M, self.n_heads * self.key_size))  # type: ignore[no-any-return]

    def weights(self, x_BGD: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """Attention weights, shape (B, H, G, G): memory grows with the square of the genes."""
        query_BHGK = self._split_heads(self.query(x_BGD))
        key_BHGK = self._split_heads(self.key(x_BGD))
        return attention_weights(query_BHGK, key_BHGK, key_mask)

    def received(self, x_BGD: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """As `attention_received`, shape (B, G)."""
        return attention_received(self._split_heads(self.query(x_BGD)), self._split_heads(self.key(x_BGD)), key_mask)


class TransformerBlock(nn.Module):
    """Pre-LayerNorm block: x + attention(norm(x)), then x + ffn(norm(x)) with an exact GELU."""

    def __init__(self, embed_dim: int, n_heads: int, key_size: int, ffn_embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPSILON)
        self.attention = SelfAttention(embed_dim, n_heads, key_size)
        self.ffn_norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPSILON)
        self.ffn_in = nn.Linear(embed_dim, ffn_embed_dim)
        self.ffn_out = nn.Linear(ffn_embed_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BGD: Tensor, key_mask: Tensor | None = None, query_idx: Tensor | None = None) -> Tensor:
        """One block, shape (B, G, D) to (B, G, D).

        With `query_idx`, shape (B, M), only these genes come out, (B, M, D): all that is needed of a last block whose
        output is read at few genes, at a fraction of its cost.
        """
        attended = self.dropout(self.attention(self.attention_norm(x_BGD), key_mask, query_idx))
        x_BGD = (x_BGD if query_idx is None else take_genes(x_BGD, query_idx)) + attended
        if x_BGD.shape[1] < PIECEWISE_FROM_GENES:
            return x_BGD + self._feed_forward(x_BGD)
        starts = range(0, x_BGD.shape[1], GENES_A_PIECE)
        pieces = [self._feed_forward_again(x_BGD[:, start : start + GENES_A_PIECE]) for start in starts]
        return x_BGD + torch.cat(pieces, dim=1)

    def _feed_forward_again(self, x_BGD: Tensor) -> Tensor:
        """Keeps its input alone for the backward pass, and computes the rest anew."""
        if not torch.is_grad_enabled():
            return self._feed_forward(x_BGD)
        return checkpoint(self._feed_forward, x_BGD, use_reentrant=False)

    def _feed_forward(self, x_BGD: Tensor) -> Tensor:
        hidden_BGF = functional.gelu(self.ffn_in(self.ffn_norm(x_BGD)))
        return self.dropout(self.ffn_out(hidden_BGF))  # type: ignore[no-any-return]

    def attention_map(self, x_BGD: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """Attention weights for the input of this block, shape (B, H, G, G)."""
        return self.attention.weights(self.attention_norm(x_BGD), key_mask)

    def attention_received(self, x_BGD: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """Share of attention that each gene gets for the input of this block, shape (B, G)."""
        return self.attention.received(self.attention_norm(x_BGD), key_mask)
