"""Ours against plain PyTorch at the published width: time and memory of a layer's forward pass and of a training step.

Three implementations with the same sizes and random weights, each measurement in a fresh process:

- `ours`: the package's encoder; a training step asks the last block and the head for the masked genes only;
- `sdpa`: plain PyTorch with `scaled_dot_product_attention`, head on all genes: what the published PyTorch port costs;
- `materialised`: plain PyTorch with the whole G x G softmax: what the published JAX model costs. Where the scores of
  all heads do not fit into memory, a head at a time is measured (`materialised, by head`), which holds an eighth; where
  not even that fits, the cell says so.

`forward` is one block with its embedding, without gradients; `train` is forward and backward of four blocks, embedding,
head and loss on 15 % of the genes, one sample. Seconds are processor time over threads, peak is the process's resident
memory. Writes attention.json, attention.md and attention.png.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.train.losses import MaskedLanguageModel

Variant = Literal["ours", "sdpa", "materialised"]
Mode = Literal["forward", "train"]
VARIANTS: tuple[Variant, ...] = ("ours", "sdpa", "materialised")
MODES: tuple[Mode, ...] = ("forward", "train")
GENES = (1024, 2048, 4096, 8192, 19_062)
QUICK_GENES = (512, 1024, 2048)
WIDTH, HEADS, FFN, LAYERS, BINS, MASKED = 256, 8, 512, 4, 64, 0.15
# Short work is repeated, and the fastest run counts; the largest sizes take minutes each and run once.
MEASURE_FOR_S = 4.0
ONCE_FROM_GENES = 8192
BY_HEAD = "materialised, by head"
NO_FIT = "does not fit"


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
        if self.attention == BY_HEAD:
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
            layer(normed).view(*x.shape[:2], HEADS, WIDTH // HEADS).transpose(1, 2) for layer in self.projections[:3]
        )
        x = x + self.projections[3](self.attend(query, key, value).transpose(1, 2).reshape(x.shape))
        return x + self.ffn_out(functional.gelu(self.ffn_in(self.norms[1](x))))


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
        return self.blocks(self.expression(ids) + self.project(self.genes(torch.arange(ids.shape[1]))))


def has_bf16() -> bool:
    """Whether the processor multiplies bf16 itself (AVX512-BF16 or AMX)."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def measure(variant: str, mode: Mode, n_genes: int, is_bf16: bool) -> dict[str, float]:
    """Fastest run and peak memory of this process."""
    torch.manual_seed(0)
    n_layers = 1 if mode == "forward" else LAYERS
    n_masked = int(MASKED * n_genes)
    ids, targets = torch.randint(0, BINS, (1, n_genes)), torch.randint(0, BINS, (n_masked,))
    masked = torch.randperm(n_genes)[:n_masked]
    if variant == "ours":
        config = BulkRNABertConfig(
            n_genes=n_genes,
            embed_dim=WIDTH,
            init_gene_embed_dim=200,
            n_heads=HEADS,
            ffn_embed_dim=FFN,
            n_layers=n_layers,
        )
        network: Any = BulkRNABert(config)
        objective = MaskedLanguageModel(network, is_bf16)
    else:
        network = PlainEncoder(variant, n_genes, n_layers)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            if mode == "forward":
                with torch.inference_mode():
                    network.encode(ids)
                return
            if variant == "ours":
                loss = objective(ids, masked[None], targets[None], None).loss
            else:
                loss = functional.cross_entropy(network.head(network.encode(ids))[0, masked].float(), targets)
        loss.backward()
        network.zero_grad()

    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if n_genes < ONCE_FROM_GENES:
        run()
    best, begun = math.inf, time.process_time()
    while best == math.inf or (n_genes < ONCE_FROM_GENES and time.process_time() - begun < MEASURE_FOR_S):
        started = time.process_time()
        run()
        best = min(best, (time.process_time() - started) / torch.get_num_threads())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": best, "peak_bytes": peak * 1024, "libraries_bytes": base * 1024}


def bytes_of_weights(mode: Mode, n_genes: int, is_bf16: bool, n_heads: int) -> int:
    """What materialised attention holds at its peak: scores and weights; in training the weights of every block too."""
    matrix = n_heads * n_genes**2 * (2 if is_bf16 else 4)
    if mode == "forward":
        return 2 * matrix
    kept = LAYERS * HEADS * n_genes**2 * (2 if is_bf16 else 4)
    return kept + 2 * matrix


def variant_that_fits(variant: Variant, mode: Mode, n_genes: int, is_bf16: bool) -> str:
    """The variant itself, its form by head, or that nothing fits."""
    if variant != "materialised":
        return variant
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") - 2**30
    if bytes_of_weights(mode, n_genes, is_bf16, HEADS) < available:
        return variant
    return BY_HEAD if bytes_of_weights(mode, n_genes, is_bf16, 1) < available else NO_FIT


def measure_all(genes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Every measurement, each in a fresh process."""
    rows = []
    for is_bf16 in (False, True) if has_bf16() else (False,):
        for mode in MODES:
            for n_genes in genes:
                for variant in VARIANTS:
                    rows.append(measure_apart(variant, mode, n_genes, is_bf16))
    return rows


def measure_apart(variant: Variant, mode: Mode, n_genes: int, is_bf16: bool) -> dict[str, Any]:
    """One measurement in a fresh process."""
    fitting = variant_that_fits(variant, mode, n_genes, is_bf16)
    row: dict[str, Any] = {"variant": variant, "measured_as": fitting, "mode": mode, "genes": n_genes}
    row["dtype"] = "bf16" if is_bf16 else "fp32"
    if fitting == NO_FIT:
        row["needs_bytes"] = bytes_of_weights(mode, n_genes, is_bf16, 1)
        return row
    worker = json.dumps([fitting, mode, n_genes, is_bf16])
    done = subprocess.run([sys.executable, __file__, "--worker", worker], capture_output=True, text=True, check=False)
    if done.returncode < 0:
        row["measured_as"] = f"{NO_FIT} (killed by signal {-done.returncode})"
        return row
    assert done.returncode == 0, done.stderr
    print(f"{row['dtype']} {mode} {n_genes} {fitting}: {done.stdout.strip()}", file=sys.stderr)
    return row | json.loads(done.stdout)


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """A table a dtype and mode: seconds, peak, and ours as a multiple."""
    blocks = []
    for dtype, mode in dict.fromkeys((row["dtype"], row["mode"]) for row in rows):
        chosen = [row for row in rows if (row["dtype"], row["mode"]) == (dtype, mode)]
        unit = "one layer, forward" if mode == "forward" else "training step, four layers"
        blocks.append(f"### {dtype}, {unit}, batch 1\n")
        blocks.append("| genes | ours | sdpa | materialised | ours faster than sdpa | ours faster than materialised |")
        blocks.append("|---|---|---|---|---|---|")
        for n_genes in dict.fromkeys(row["genes"] for row in chosen):
            found = {row["variant"]: row for row in chosen if row["genes"] == n_genes}
            cells = [_cell(found[variant]) for variant in VARIANTS]
            ratios = [_ratio(found["ours"], found[variant]) for variant in VARIANTS[1:]]
            blocks.append(f"| {n_genes:,} | " + " | ".join([*cells, *ratios]) + " |")
        blocks.append("")
    return "\n".join(blocks)


def _cell(row: dict[str, Any]) -> str:
    if "seconds" not in row:
        needs = f": needs {row['needs_bytes'] / 2**30:.0f} GiB" if "needs_bytes" in row else ""
        return f"{row['measured_as']}{needs}"
    note = " (by head)" if row["measured_as"] == BY_HEAD else ""
    return f"{row['seconds']:.3g} s, {row['peak_bytes'] / 2**30:.2f} GiB{note}"


def _ratio(ours: dict[str, Any], other: dict[str, Any]) -> str:
    return f"{other['seconds'] / ours['seconds']:.2f} x" if "seconds" in other else "-"


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Seconds and peak memory over genes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 7), sharex=True)
    for column, mode in enumerate(MODES):
        for line, (quantity, scale, label) in enumerate(
            (("seconds", 1, "seconds"), ("peak_bytes", 2**30, "peak memory, GiB"))
        ):
            axis = axes[line][column]
            for dtype, style in (("fp32", "-"), ("bf16", "--")):
                for variant, colour in zip(VARIANTS, ("tab:blue", "tab:orange", "tab:red"), strict=True):
                    points = [
                        (row["genes"], row[quantity] / scale)
                        for row in rows
                        if (row["variant"], row["mode"], row["dtype"]) == (variant, mode, dtype) and quantity in row
                    ]
                    if points:
                        axis.plot(
                            *zip(*points, strict=True), style, marker="o", color=colour, label=f"{variant}, {dtype}"
                        )
            axis.set(xscale="log", yscale="log", ylabel=label, xlabel="genes")
            axis.set_title("one layer, forward" if mode == "forward" else "training step, four layers")
            axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, and write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="512 to 2,048 genes only")
    parser.add_argument("--genes", type=int, nargs="+", help="these sizes instead")
    parser.add_argument("--out", type=Path, default=Path(), help="folder to write to")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(*json.loads(options.worker))))
        return
    genes = tuple(options.genes or (QUICK_GENES if options.quick else GENES))
    rows = measure_all(genes)
    options.out.mkdir(parents=True, exist_ok=True)
    record = {"threads": torch.get_num_threads(), "torch": torch.__version__, "measurements": rows}
    (options.out / "attention.json").write_text(json.dumps(record, indent=2) + "\n")
    table = as_markdown(rows)
    (options.out / "attention.md").write_text(table)
    plot(rows, options.out / "attention.png")
    print(table)


if __name__ == "__main__":
    main()
