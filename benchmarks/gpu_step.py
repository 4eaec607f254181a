"""A training step of BulkRNABert on one GPU, in bf16: tokens a second, share of the card's bf16 peak, peak memory.

- `ours`: the package's encoder and objective; `compiled`: the same through `torch.compile`;
- `sdpa`: plain PyTorch with `scaled_dot_product_attention` and logits of every gene.

A step is forward, backward and AdamW's update. Utilisation counts the operations that our model needs
(`recipes_bulkrnabert.flops_per_sample`), for both, over the dense bf16 peak of `conf/devices.yaml`; null for a card
that is not listed there. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
from attention import BINS, LAYERS, MASKED, PlainEncoder, published_config
from torch.nn import functional

from bulkrnabert.models.bulkrnabert import BulkRNABert
from bulkrnabert.train.devices import devices_path, read_devices
from bulkrnabert.train.losses import MaskedLanguageModel
from bulkrnabert.train.recipes_bulkrnabert import flops_per_sample

PAPER_TOKENS = 12e9
N_WARM_UP, N_STEPS = 3, 10


def peak_flops(name: str) -> float | None:
    """Dense bf16 peak of a card by its name, operations a second; None for one that is not listed."""
    for key, device in read_devices(devices_path()).items():
        if key in name.lower().replace(" ", ""):
            return device.peak_bf16_tflops * 1e12
    return None


def measure(variant: str, n_genes: int, batch: int) -> dict[str, float | str | None]:
    """Median step after a few that do not count."""
    torch.manual_seed(0)
    device = torch.device("cuda")
    n_masked = int(MASKED * n_genes)
    ids = torch.randint(0, BINS, (batch, n_genes), device=device)
    masked = torch.randperm(n_genes, device=device)[:n_masked]
    targets = torch.randint(0, BINS, (batch, n_masked), device=device)
    network: torch.nn.Module
    if variant == "sdpa":
        plain = PlainEncoder("sdpa", n_genes, LAYERS).to(device)
        network = plain
    else:
        objective = MaskedLanguageModel(BulkRNABert(published_config(n_genes)).to(device), use_bf16=True)
        network = objective
        if variant == "compiled":
            objective.compile()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        if variant == "sdpa":
            with torch.autocast("cuda", torch.bfloat16):
                logits = plain.head(plain.encode(ids))[:, masked]
            loss = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        else:
            loss = objective(ids, masked.expand(batch, -1), targets, None).loss
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    times = []
    for number in range(N_WARM_UP + N_STEPS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        step()
        torch.cuda.synchronize()
        if number >= N_WARM_UP:
            times.append(time.perf_counter() - started)
    step_s = statistics.median(times)
    name = torch.cuda.get_device_name()
    peak = peak_flops(name)
    flops = batch * flops_per_sample(published_config(n_genes), n_genes, n_masked)
    tokens_per_s = batch * n_genes / step_s
    return {
        "gpu": name,
        "step_s": step_s,
        "tokens_per_s": tokens_per_s,
        "mfu": None if peak is None else flops / step_s / peak,
        "hours_for_12b": PAPER_TOKENS / tokens_per_s / 3600,
        "peak_bytes": float(torch.cuda.max_memory_allocated()),
    }


def main() -> None:
    """Measure one variant at one batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=["ours", "compiled", "sdpa"], default="ours")
    parser.add_argument("--genes", type=int, default=19_062)
    parser.add_argument("--batch", type=int, default=4, help="samples a step")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("no CUDA device: this script measures one")
    print(json.dumps(measure(options.variant, options.genes, options.batch)))


if __name__ == "__main__":
    main()
