"""MOJO against a pure transformer over both sequences of the same width: training step and peak memory as genes grow.

Both have the published sizes (width 512, 16 heads, SwiGLU 1,024, 8 rotary layers) and random weights, a batch of one
sample, fp32, and a loss on 15 % of each omic's genes:

- `mojo`: the package's model with its objective: convolutions bring the genes down to 1/256 of the positions;
- `transformer`: the same blocks with `scaled_dot_product_attention` on RNA-seq and methylation one after the other,
  twice as many positions as genes, without any convolution.

Each measurement is a fresh process. Seconds are processor time over threads, peak is the process's resident memory. On
paper: floating-point operations of the forward pass at 17,116 genes, heads on every gene. Writes mojo_step.json,
mojo_step.md and mojo_step.png. `--full-size` measures the published model's forward pass at 17,116 genes alone.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bulkrnabert.config import preset_path
from bulkrnabert.data.masking import n_masked
from bulkrnabert.models.mojo import Mojo, MojoConfig
from bulkrnabert.models.mojo_cost import flops_per_sample, transformer_layer
from bulkrnabert.models.mojo_layers import RotaryBlock
from bulkrnabert.train.recipes_mojo import OmicLanguageModel

Variant = Literal["mojo", "transformer"]
VARIANTS: tuple[Variant, ...] = ("mojo", "transformer")
PUBLISHED_GENES = 17_116
GENES = (256, 512, 1024, 2048, 4096)
MASKED = 0.15
N_OMICS = 2
# Short work is repeated, and the fastest run counts.
MEASURE_FOR_S = 4.0
GIB = 2**30


class PlainTransformer(nn.Module):
    """Token, gene and omic embeddings, blocks over all of both sequences, a linear head on the masked positions."""

    def __init__(self, config: MojoConfig) -> None:
        super().__init__()
        D = config.embed_dim
        self.tokens = nn.Embedding(66, D)
        self.columns = nn.Embedding(config.n_columns, D)
        self.blocks = nn.Sequential(
            *(
                RotaryBlock(D, config.n_heads, config.head_dim, config.ffn_embed_dim, 0.0, config.norm_epsilon)
                for _ in range(config.n_layers)
            )
        )
        self.head = nn.Linear(D, 66)

    def forward(self, ids: Tensor, chosen: Tensor, targets: Tensor) -> Tensor:
        """Loss of the masked positions of one sample."""
        hidden = self.blocks(self.tokens(ids) + self.columns.weight)
        return functional.cross_entropy(self.head(hidden[0, chosen[0]]), targets[0])


def published(n_genes: int) -> MojoConfig:
    """The published sizes for a number of genes."""
    return MojoConfig.from_yaml(preset_path("model", "paper", "mojo")).with_genes(n_genes)


def peak_bytes() -> int:
    """Largest resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_step(variant: Variant, n_genes: int) -> dict[str, float]:
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

    base = peak_bytes()
    best, begun = math.inf, time.process_time()
    while best == math.inf or time.process_time() - begun < MEASURE_FOR_S:
        started = time.process_time()
        run()
        best = min(best, (time.process_time() - started) / torch.get_num_threads())
    return {"seconds": best, "peak_bytes": peak_bytes(), "before_bytes": base}


def measure_full_size() -> dict[str, float]:
    """Forward pass of the published model on one sample, logits of every gene and omic, and the memory it takes."""
    model = Mojo(published(PUBLISHED_GENES)).eval()
    ids = torch.randint(0, 64, (1, model.config.n_columns))
    started = time.process_time()
    with torch.inference_mode():
        logits = model(ids).logits
    assert all(value.shape == (1, PUBLISHED_GENES, 66) for value in logits.values())
    seconds = (time.process_time() - started) / torch.get_num_threads()
    return {"seconds": seconds, "peak_bytes": peak_bytes()}


def on_paper(n_genes: int) -> dict[str, float]:
    """Floating-point operations of the forward pass of one sample, by variant, and their ratio."""
    config = published(n_genes)
    inner = config.n_heads * config.head_dim
    layers = config.n_layers * transformer_layer(config.n_columns, config.embed_dim, inner, config.ffn_embed_dim)
    plain = 2 * (layers + config.n_columns * config.embed_dim * 66)
    mojo = flops_per_sample(config, n_genes)
    return {"mojo": mojo, "transformer": plain, "ratio": plain / mojo}


def measure_apart(arguments: list[Any], limit_s: float) -> dict[str, Any]:
    """One measurement in a fresh process; says why where there is none."""
    command = [sys.executable, __file__, "--worker", json.dumps(arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return {"no_result": f"not done in {limit_s:.0f} s"}
    if done.returncode < 0:
        return {"no_result": f"killed by signal {-done.returncode}"}
    assert done.returncode == 0, done.stderr
    print(f"{arguments}: {done.stdout.strip()}", file=sys.stderr)
    return dict(json.loads(done.stdout))


def measure_all(genes: tuple[int, ...], limit_s: float) -> list[dict[str, Any]]:
    """Every measurement; a variant that did not come to an end is not asked for more genes."""
    rows: list[dict[str, Any]] = []
    for variant in VARIANTS:
        failed = False
        for n_genes in sorted(genes):
            row = {"no_result": "a smaller one failed"} if failed else measure_apart([variant, n_genes], limit_s)
            failed = "no_result" in row
            rows.append({"variant": variant, "genes": n_genes, **row})
    return rows


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """One line for each number of genes."""
    lines = [
        "| genes | mojo | transformer | measured: faster | on paper: less work (forward) |",
        "|---|---|---|---|---|",
    ]
    for n_genes in sorted({row["genes"] for row in rows}):
        found = {row["variant"]: row for row in rows if row["genes"] == n_genes}
        cells = [_cell(found[variant]) for variant in VARIANTS]
        both = all("seconds" in row for row in found.values())
        ratio = f"{found['transformer']['seconds'] / found['mojo']['seconds']:.1f} x" if both else "-"
        lines.append(f"| {n_genes:,} | {' | '.join(cells)} | {ratio} | {on_paper(n_genes)['ratio']:.1f} x |")
    return "\n".join(lines)


def _cell(row: dict[str, Any]) -> str:
    return row["no_result"] if "no_result" in row else f"{row['seconds']:.3g} s, {row['peak_bytes'] / GIB:.2f} GiB"


def describe_paper() -> str:
    """The paper comparison at the published number of genes, in words."""
    found = on_paper(PUBLISHED_GENES)
    return (
        f"On paper, forward pass at {PUBLISHED_GENES:,} genes: mojo {found['mojo'] / 1e12:.3g} TFLOP, transformer over "
        f"both sequences {found['transformer'] / 1e12:.3g} TFLOP, {found['ratio']:.0f} times as much"
    )


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Seconds and peak memory over genes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    quantities = (("seconds", 1, "seconds a training step"), ("peak_bytes", GIB, "peak memory, GiB"))
    for axis, (quantity, scale, label) in zip(axes, quantities, strict=True):
        for variant, colour in zip(VARIANTS, ("tab:blue", "tab:red"), strict=True):
            points = [
                (row["genes"], row[quantity] / scale) for row in rows if row["variant"] == variant and quantity in row
            ]
            if points:
                axis.plot(*zip(*points, strict=True), marker="o", color=colour, label=variant)
        axis.set(xscale="log", yscale="log", xlabel="genes", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, and write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, nargs="+", default=GENES, help="numbers of genes")
    parser.add_argument("--limit-s", type=float, default=1800, help="seconds after which a measurement is given up")
    parser.add_argument("--full-size", action="store_true", help="the published model's forward pass alone")
    parser.add_argument("--out", type=Path, default=Path(), help="folder to write to")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        arguments = json.loads(options.worker)
        print(json.dumps(measure_step(*arguments) if arguments else measure_full_size()))
        return
    if options.full_size:
        found = measure_apart([], options.limit_s)
        print(f"full size, {PUBLISHED_GENES:,} genes, one sample, forward: {_cell(found)}")
        print(describe_paper())
        return
    rows = measure_all(tuple(options.genes), options.limit_s)
    options.out.mkdir(parents=True, exist_ok=True)
    record = {"threads": torch.get_num_threads(), "torch": torch.__version__, "measurements": rows}
    record["on_paper"] = on_paper(PUBLISHED_GENES)
    (options.out / "mojo_step.json").write_text(json.dumps(record, indent=2) + "\n")
    table = f"{as_markdown(rows)}\n\n{describe_paper()}\n"
    (options.out / "mojo_step.md").write_text(table)
    plot(rows, options.out / "mojo_step.png")
    print(table)


if __name__ == "__main__":
    main()
