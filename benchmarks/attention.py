"""Ours against plain PyTorch at the published width: a layer's forward pass, or a training step, in this process.

Implementations with the same sizes and random weights:

- `ours`: the package's encoder; a training step asks the last block and the head for the masked genes only;
- `sdpa`: plain PyTorch with `scaled_dot_product_attention`, head on all genes: what the published PyTorch port costs;
- `materialised`: plain PyTorch with the whole G x G softmax: what the published JAX model costs;
- `by_head`: the same, a head at a time, which holds an eighth, for where the whole does not fit into memory;
- `pair`: ours and `sdpa` in turns, for their ratio.

`forward` is one block with its embedding, without gradients; `train` is forward and backward of four blocks, embedding,
head and loss on 15 % of the genes, one sample. Seconds are processor time over threads, the peak is this process's
resident memory. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from timing import fastest, peak_bytes, side_by_side
from torch import Tensor, nn
from torch.nn import functional

from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.train.losses import MaskedLanguageModel

Mode = Literal["forward", "train"]
WIDTH, HEADS, FFN, LAYERS, BINS, MASKED = 256, 8, 512, 4, 64, 0.15
MEASURE_FOR_S = 2.0
PAIR_FOR_S = 6.0
# Work that takes many seconds runs once, without a first run that does not count.
ONCE_FROM_GENES = 8192


class PlainBlock(nn.Module):
    """A pre-LayerNorm block as the published models are written."""

    def __init__(self, attention: str) -> None:
        super().__init__()
        self.attention = attention
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.projections = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.ffn_in, self.ffn_out = nn.Linear(WIDTH, FFN), nn.Linear(FFN, WIDTH)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention of heads, shape (B, H, G, K)."""
        if self.attention == "sdpa":
            return functional.scaled_dot_product_attention(query, key, value)
        if self.attention == "by_head":
            heads = [self.materialise(*(part[:, h : h + 1] for part in (query, key, value))) for h in range(HEADS)]
            return torch.cat(heads, dim=1)
        return self.materialise(query, key, value)

    def materialise(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention that holds its weights."""
        weights = (query @ key.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)).softmax(dim=-1)
        return weights @ value

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        normed = self.norms[0](x)
        query, key, value = (
            layer(normed).view(*x.shape[:2], HEADS, WIDTH // HEADS).transpose(1, 2)
            for layer in list(self.projections)[:3]
        )
        x = x + self.projections[3](self.attend(query, key, value).transpose(1, 2).reshape(x.shape))
        added: Tensor = self.ffn_out(functional.gelu(self.ffn_in(self.norms[1](x))))
        return x + added


class PlainEncoder(nn.Module):
    """Embeddings, blocks and a head on every gene."""

    def __init__(self, attention: str, n_genes: int, n_layers: int) -> None:
        super().__init__()
        self.expression, self.genes = nn.Embedding(66, WIDTH), nn.Embedding(n_genes, 200)
        self.project = nn.Linear(200, WIDTH)
        self.blocks = nn.Sequential(*(PlainBlock(attention) for _ in range(n_layers)))
        self.head = nn.Linear(WIDTH, BINS)

    def encode(self, ids: Tensor) -> Tensor:
        """Output of the last block."""
        genes = torch.arange(ids.shape[1], device=ids.device)
        encoded: Tensor = self.blocks(self.expression(ids) + self.project(self.genes(genes)))
        return encoded


def published_config(n_genes: int, n_layers: int = LAYERS) -> BulkRNABertConfig:
    """The published sizes for a number of genes."""
    return BulkRNABertConfig(
        n_genes=n_genes,
        embed_dim=WIDTH,
        init_gene_embed_dim=200,
        n_heads=HEADS,
        ffn_embed_dim=FFN,
        n_layers=n_layers,
    )


def make_run(
    variant: str, mode: Mode, n_genes: int, is_bf16: bool, device: str = "cpu", batch: int = 1
) -> Callable[[], None]:
    """One pass of one implementation on `batch` samples, ready to be called."""
    torch.manual_seed(0)
    n_layers = 1 if mode == "forward" else LAYERS
    n_masked = int(MASKED * n_genes)
    ids = torch.randint(0, BINS, (batch, n_genes), device=device)
    targets = torch.randint(0, BINS, (batch, n_masked), device=device)
    masked = torch.randperm(n_genes, device=device)[:n_masked]
    if variant == "ours":
        network: Any = BulkRNABert(published_config(n_genes, n_layers)).to(device)
        objective = MaskedLanguageModel(network, is_bf16)
    else:
        network = PlainEncoder(variant, n_genes, n_layers).to(device)

    def run() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=is_bf16):
            if mode == "forward":
                with torch.inference_mode():
                    network.encode(ids)
                return
            if variant == "ours":
                loss = objective(ids, masked.expand(batch, -1), targets, None).loss
            else:
                logits = network.head(network.encode(ids))[:, masked].float()
                loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        network.zero_grad()

    return run


def measure(variant: str, mode: Mode, n_genes: int, is_bf16: bool) -> dict[str, float]:
    """Seconds and peak memory of one implementation, or the ratio of two."""
    before = peak_bytes()
    if variant == "pair":
        ours, plain = (make_run(name, mode, n_genes, is_bf16) for name in ("ours", "sdpa"))
        return side_by_side(ours, plain, PAIR_FOR_S)
    is_long = n_genes >= ONCE_FROM_GENES
    found = fastest(make_run(variant, mode, n_genes, is_bf16), 0 if is_long else MEASURE_FOR_S, not is_long)
    return {**found, "peak_bytes": peak_bytes(), "libraries_bytes": before}


def main() -> None:
    """Measure one implementation at one length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=["ours", "sdpa", "materialised", "by_head", "pair"], default="pair")
    parser.add_argument("--mode", choices=["forward", "train"], default="forward")
    parser.add_argument("--genes", type=int, default=1024, help="length of the gene list")
    parser.add_argument("--bf16", action="store_true", help="under bfloat16 autocast")
    options = parser.parse_args()
    print(json.dumps(measure(options.variant, options.mode, options.genes, options.bf16)))


if __name__ == "__main__":
    main()
