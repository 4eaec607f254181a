"""What a MOJO costs, on paper: multiplications and additions of its convolutions, attention and linear layers."""

from __future__ import annotations

from itertools import pairwise

from bulkrnabert.models.mojo import MojoConfig
from bulkrnabert.models.mojo_layers import KERNEL


def flops_per_sample(config: MojoConfig, n_chosen: int) -> int:
    """Floating-point operations of the forward pass of one sample.

    Args:
        config: Sizes.
        n_chosen: Genes of each omic that the heads run on.
    """
    widths, length = config.widths, config.n_padded
    total = length * config.stem_kernel * config.token_embed_dim * widths[0]
    if config.use_gene_embedding and config.project_gene_embedding:
        total += length * config.init_gene_embed_dim * config.token_embed_dim
    for before, after in pairwise(widths):
        down = length * (KERNEL * before * after + after * after)
        up = length // 2 * KERNEL * after * before + length * before * before
        total += down + up
        length //= 2
    total += config.n_layers * transformer_layer(
        length, config.embed_dim, config.n_heads * config.head_dim, config.ffn_embed_dim
    )
    head_widths = [widths[0]] + [config.embed_dim] * config.n_head_layers
    for omic in config.omics:
        sizes = [*head_widths, config.n_ids_of(omic)]
        total += n_chosen * sum(before * after for before, after in pairwise(sizes))
    return 2 * total


def transformer_layer(length: int, width: int, inner: int, ffn_embed_dim: int) -> int:
    """Multiplications of one layer over `length` positions: projections, attention, SwiGLU."""
    return length * (4 * width * inner + 3 * width * ffn_embed_dim) + 2 * length * length * inner
