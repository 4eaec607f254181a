"""Embedding a cohort at the published width: samples a second and peak memory, in this process.

- `ours`: `bulkrnabert.downstream.embed.embed_tokens`, which chooses the batch itself;
- `plain`: a sample at a time through plain PyTorch with `scaled_dot_product_attention`, logits of every gene and the
  mean over genes: what a script around the published PyTorch port does.

Random weights and token ids. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch
from attention import BINS, LAYERS, PlainEncoder, published_config
from timing import Stopwatch, peak_bytes

from bulkrnabert import keys
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.downstream.embed import choose_batch_size, embed_tokens
from bulkrnabert.downstream.pretrained import PretrainedModel
from bulkrnabert.models.bulkrnabert import BulkRNABert


def measure(variant: str, n_genes: int, n_samples: int) -> dict[str, float]:
    """Samples a second, batch and peak memory."""
    torch.manual_seed(0)
    token_ids = np.random.default_rng(0).integers(0, BINS, (n_samples, n_genes), dtype=np.uint8)
    if variant == "ours":
        network = BulkRNABert(published_config(n_genes))
        tokenizer = BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=5.0)
        genes = tuple(map(str, range(n_genes)))
        model = PretrainedModel(network, {keys.RNASEQ: tokenizer}, genes, {}, "").eval()
        batch = choose_batch_size(model, torch.device("cpu"))
        watch = Stopwatch()
        embeddings = embed_tokens(model, token_ids)
    else:
        plain, batch = PlainEncoder("sdpa", n_genes, LAYERS).eval(), 1
        watch = Stopwatch()
        rows = []
        with torch.inference_mode():
            for row in token_ids:
                hidden = plain.encode(torch.from_numpy(row).long()[None])
                plain.head(hidden)
                rows.append(hidden.mean(dim=1).numpy())
        embeddings = np.concatenate(rows)
    watch.stop()
    assert embeddings.shape[0] == n_samples
    return {
        "samples_per_s": n_samples / watch.seconds,
        "seconds": watch.seconds,
        "wall_s": watch.wall_s,
        "batch": batch,
        "peak_bytes": peak_bytes(),
    }


def main() -> None:
    """Measure one variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=["ours", "plain"], default="ours")
    parser.add_argument("--genes", type=int, default=4096)
    parser.add_argument("--samples", type=int, default=8)
    options = parser.parse_args()
    print(json.dumps(measure(options.variant, options.genes, options.samples)))


if __name__ == "__main__":
    main()
