"""Building blocks of MOJO: convolutions that halve or double a sequence, and a rotary transformer block.

Shape letters: B batch, P positions, D and E widths, H heads, K head dim, F feed-forward.

Source: the published reference (nucleotide_transformer/mojo), whose convolutions have the tanh form of GELU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bulkrnabert.models.layers import LAYER_NORM_EPSILON, attention_weights

KERNEL = 5
ROTARY_BASE = 10_000.0


def tanh_gelu(x: Tensor) -> Tensor:
    """GELU in its tanh form, as everywhere in MOJO but in the feed-forward layers."""
    return functional.gelu(x, approximate="tanh")


def rotate(x_BHPK: Tensor) -> Tensor:
    """Rotary position encoding: the halves of each head turned by its position's angles, shape as given."""
    P, K = x_BHPK.shape[-2:]
    frequency = ROTARY_BASE ** (-torch.arange(0, K, 2, dtype=torch.float32, device=x_BHPK.device) / K)
    angle = torch.arange(P, dtype=torch.float32, device=x_BHPK.device)[:, None] * frequency  # (P, K / 2)
    sine, cosine = angle.sin(), angle.cos()
    first, second = x_BHPK.float().chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1).to(x_BHPK.dtype)


class Convolution(nn.Module):
    """One-dimensional convolution over positions, (B, P, D) to (B, P, E); the ends see zeros beyond them."""

    def __init__(self, n_inputs: int, n_outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_inputs, n_outputs, kernel, padding=(kernel - 1) // 2)

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Convolve; a kernel of even width sees one position more after its own than before it."""
        x_BDP = x_BPD.transpose(1, 2)
        if self.conv.kernel_size[0] % 2 == 0:
            x_BDP = functional.pad(x_BDP, (0, 1))
        return self.conv(x_BDP).transpose(1, 2)  # type: ignore[no-any-return]


class Doubling(nn.Module):
    """Transposed convolution of stride 2, (B, P, D) to (B, 2 P, E)."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(n_inputs, n_outputs, KERNEL, stride=2)

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Convolve; of the 2 P + 3 positions the outer ones, which see only one end, are cut off."""
        wide_BEP = self.conv(x_BPD.transpose(1, 2))
        return wide_BEP[:, :, 1 : 1 + 2 * x_BPD.shape[1]].transpose(1, 2)  # type: ignore[no-any-return]


class PositionwiseResidual(nn.Module):
    """x + GELU(linear(norm(x))): the published residual convolution, whose kernel is 1 wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPSILON)
        self.linear = nn.Linear(width, width)

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Add."""
        return x_BPD + tanh_gelu(self.linear(self.norm(x_BPD)))


class DownBlock(nn.Module):
    """Convolution and residual, then the mean of every two positions: (B, P, D) to (B, P / 2, E)."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_inputs, eps=LAYER_NORM_EPSILON)
        self.convolution = Convolution(n_inputs, n_outputs, KERNEL)
        self.residual = PositionwiseResidual(n_outputs)

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Halve."""
        x_BPE = self.residual(tanh_gelu(self.convolution(self.norm(x_BPD))))
        B, P, E = x_BPE.shape
        return x_BPE.reshape(B, P // 2, 2, E).mean(dim=2)  # type: ignore[no-any-return]


class UpBlock(nn.Module):
    """Transposed convolution and residual: (B, P, D) to (B, 2 P, E)."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_inputs, eps=LAYER_NORM_EPSILON)
        self.convolution = Doubling(n_inputs, n_outputs)
        self.residual = PositionwiseResidual(n_outputs)

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Double."""
        return self.residual(tanh_gelu(self.convolution(self.norm(x_BPD))))  # type: ignore[no-any-return]


class RotaryAttention(nn.Module):
    """Multi-head self-attention with rotary positions; no (P, P) matrix is held unless `weights` is called."""

    def __init__(self, width: int, n_heads: int, key_size: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.key_size = key_size
        self.query = nn.Linear(width, n_heads * key_size)
        self.key = nn.Linear(width, n_heads * key_size)
        self.value = nn.Linear(width, n_heads * key_size)
        self.output = nn.Linear(n_heads * key_size, width)

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Attend."""
        B, P, _ = x_BPD.shape
        attended_BHPK = functional.scaled_dot_product_attention(
            rotate(self._split_heads(self.query(x_BPD))),
            rotate(self._split_heads(self.key(x_BPD))),
            self._split_heads(self.value(x_BPD)),
        )
        return self.output(attended_BHPK.transpose(1, 2).reshape(B, P, -1))  # type: ignore[no-any-return]

    def weights(self, x_BPD: Tensor) -> Tensor:
        """Attention weights, shape (B, H, P, P)."""
        return attention_weights(
            rotate(self._split_heads(self.query(x_BPD))), rotate(self._split_heads(self.key(x_BPD)))
        )

    def _split_heads(self, x_BPD: Tensor) -> Tensor:
        B, P, _ = x_BPD.shape
        return x_BPD.view(B, P, self.n_heads, self.key_size).transpose(1, 2)  # (B, H, P, K)


class RotaryBlock(nn.Module):
    """Pre-LayerNorm block: x + attention(norm(x)), then x + SwiGLU(norm(x)) without biases.

    Its linear layers have the names of `layers.TransformerBlock`, by which adapters find them.
    """

    def __init__(
        self, width: int, n_heads: int, key_size: int, ffn_embed_dim: int, dropout: float, norm_epsilon: float
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.attention = RotaryAttention(width, n_heads, key_size)
        self.ffn_norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.ffn_in = nn.Linear(width, 2 * ffn_embed_dim, bias=False)
        self.ffn_out = nn.Linear(ffn_embed_dim, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BPD: Tensor) -> Tensor:
        """One block, shape (B, P, D) to (B, P, D)."""
        x_BPD = x_BPD + self.dropout(self.attention(self.attention_norm(x_BPD)))
        gate_BPF, up_BPF = self.ffn_in(self.ffn_norm(x_BPD)).chunk(2, dim=-1)
        return x_BPD + self.dropout(self.ffn_out(functional.silu(gate_BPF) * up_BPF))  # type: ignore[no-any-return]

    def attention_map(self, x_BPD: Tensor) -> Tensor:
        """Attention weights of this block, shape (B, H, P, P)."""
        return self.attention.weights(self.attention_norm(x_BPD))
