"""MOJO or a pure transformer over both sequences, of the same width: a training step or a forward pass.

Both have the published sizes (width 512, 16 heads, SwiGLU 1,024, 8 rotary layers) and random weights, a batch of one
sample, fp32:

- `mojo`: the package's model with its objective: convolutions bring the genes down to 1/256 of the positions;
- `transformer`: the same blocks with `scaled_dot_product_attention` on RNA-seq and methylation one after the other,
  twice as many positions as genes, without any convolution.

`train` is forward and backward with a loss on 15 % of each omic's genes; `forward` gives logits of every gene and omic;
`paper` counts the floating-point operations of both forward passes. Seconds are processor time over threads, the peak
is this process's resident memory. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from timing import fastest, peak_bytes
from torch import Tensor, nn
from torch.nn import functional

from bulkrnabert.config import preset_path
from bulkrnabert.data.masking import n_masked
from bulkrnabert.models.mojo import Mojo, MojoConfig
from bulkrnabert.models.mojo_cost import flops_per_sample, transformer_layer
from bulkrnabert.models.mojo_layers import RotaryBlock
from bulkrnabert.train.recipes_mojo import OmicLanguageModel

PUBLISHED_GENES = 17_116
MASKED = 0.15
N_OMICS = 2
N_IDS = 66
MEASURE_FOR_S = 3.0
# Work that takes many seconds runs once, without a first run that does not count.
ONCE_FROM_GENES = 2048


class PlainTransformer(nn.Module):
    """Token, gene and omic embeddings, blocks over all of both sequences, a linear head."""

    def __init__(self, config: MojoConfig) -> None:
        super().__init__()
        D = config.embed_dim
        self.tokens = nn.Embedding(N_IDS, D)
        self.columns = nn.Embedding(config.n_columns, D)
        self.blocks = nn.Sequential(
            *(
                RotaryBlock(D, config.n_heads, config.head_dim, config.ffn_embed_dim, 0.0, config.norm_epsilon)
                for _ in range(config.n_layers)
            )
        )
        self.head = nn.Linear(D, N_IDS)

    def encode(self, ids: Tensor) -> Tensor:
        """Output of the last block at every position."""
        hidden: Tensor = self.blocks(self.tokens(ids) + self.columns.weight)
        return hidden

    def forward(self, ids: Tensor, chosen: Tensor, targets: Tensor) -> Tensor:
        """Loss of the masked positions of one sample."""
        return functional.cross_entropy(self.head(self.encode(ids)[0, chosen[0]]), targets[0])


def published(n_genes: int) -> MojoConfig:
    """The published sizes for a number of genes."""
    return MojoConfig.from_yaml(preset_path("model", "paper", "mojo")).with_genes(n_genes)


def measure_step(variant: str, n_genes: int) -> dict[str, float]:
    """Fastest training step and peak memory of this process."""
    torch.manual_seed(0)
    config = published(n_genes)
    m = n_masked(n_genes, MASKED)
    ids = torch.randint(0, 64, (1, config.n_columns))
    chosen = torch.cat([torch.randperm(n_genes)[:m] + omic * n_genes for omic in range(N_OMICS)])[None]
    targets = torch.randint(0, 64, (1, N_OMICS * m))
    network: Any = OmicLanguageModel(Mojo(config)) if variant == "mojo" else PlainTransformer(config)

    def run() -> None:
        loss = network(ids, chosen, targets, None).loss if variant == "mojo" else network(ids, chosen, targets)
        loss.backward()
        network.zero_grad()

    is_long = variant != "mojo" and n_genes >= ONCE_FROM_GENES
    found = fastest(run, 0 if is_long else MEASURE_FOR_S, not is_long)
    return {**found, "peak_bytes": peak_bytes()}


def measure_forward(variant: str, n_genes: int) -> dict[str, float]:
    """Forward pass on one sample, logits of every gene and omic."""
    torch.manual_seed(0)
    config = published(n_genes)
    ids = torch.randint(0, 64, (1, config.n_columns))
    network: Any = Mojo(config).eval() if variant == "mojo" else PlainTransformer(config).eval()

    def run() -> None:
        with torch.inference_mode():
            if variant == "mojo":
                assert all(one.shape == (1, n_genes, N_IDS) for one in network(ids).logits.values())
            else:
                assert network.head(network.encode(ids)).shape == (1, N_OMICS * n_genes, N_IDS)

    found = fastest(run, 0, warm_up=variant == "mojo")
    return {**found, "peak_bytes": peak_bytes()}


def on_paper(n_genes: int) -> dict[str, float]:
    """Floating-point operations of the forward pass of one sample, by variant, and their ratio."""
    config = published(n_genes)
    inner = config.n_heads * config.head_dim
    layers = config.n_layers * transformer_layer(config.n_columns, config.embed_dim, inner, config.ffn_embed_dim)
    plain = 2 * (layers + config.n_columns * config.embed_dim * N_IDS)
    mojo = flops_per_sample(config, n_genes)
    return {"mojo": mojo, "transformer": plain, "ratio": plain / mojo}


def main() -> None:
    """Measure one variant at one number of genes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=["mojo", "transformer"], default="mojo")
    parser.add_argument("--mode", choices=["train", "forward", "paper"], default="train")
    parser.add_argument("--genes", type=int, default=PUBLISHED_GENES, help="genes of each omic")
    options = parser.parse_args()
    if options.mode == "paper":
        found = on_paper(options.genes)
    else:
        found = (measure_step if options.mode == "train" else measure_forward)(options.variant, options.genes)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
