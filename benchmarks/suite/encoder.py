"""Benchmarks of BulkRNABert: attention, training step, gene subsets, embedding, processes, the planner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timing import has_bf16, n_cores

from suite.model import Benchmark, Case, Claim, Results, Table, gib_of, gibibytes, seconds, times
from suite.plots import bars, finish, goal_line, line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PUBLISHED = 19_062
GENES = (1024, 4096, 8192, PUBLISHED)
BF16_GENES = (4096, PUBLISHED)
QUICK_GENES = (256, 512)
# Two ways of the same work in turns differ by this much from one measurement to the next.
LEVEL = 0.98
# Expected seconds at 19,062 genes on two cores; they grow with the square of the genes.
FORWARD_S, TRAIN_S = 3.3, 36.0
LOOKS = {"ours": "ours", "sdpa": "other", "materialised": "worst", "by_head": "extra"}
LABELS = {
    "ours": "ours",
    "sdpa": "scaled_dot_product_attention",
    "materialised": "materialised attention",
    "by_head": "materialised, a head at a time",
}
SLOWER = {"ours": 1.0, "sdpa": 1.25, "materialised": 8.0, "by_head": 8.0, "pair": 2.25}


def _sizes(is_quick: bool) -> tuple[int, ...]:
    return QUICK_GENES if is_quick else GENES


def _case(mode: str, variant: str, n_genes: int, is_bf16: bool = False) -> Case:
    whole = (FORWARD_S if mode == "forward" else TRAIN_S) * (n_genes / PUBLISHED) ** 2 * SLOWER[variant]
    rounds = 4 if variant == "pair" else 1
    work = max(whole * rounds, 6 if variant == "pair" else 2)
    arguments = ["--mode", mode, "--variant", variant, "--genes", str(n_genes), *(["--bf16"] if is_bf16 else [])]
    name = f"{'bf16 ' if is_bf16 else ''}{variant} {n_genes}"
    return Case(name, "attention.py", tuple(arguments), 5 + work)


def _forward_cases(is_quick: bool) -> list[Case]:
    cases = []
    for n_genes in _sizes(is_quick):
        cases += [_case("forward", variant, n_genes) for variant in ("ours", "sdpa", "materialised")]
        if n_genes >= PUBLISHED:
            cases.append(_case("forward", "by_head", n_genes))
        cases.append(_case("forward", "pair", n_genes))
    if has_bf16():
        bf16 = QUICK_GENES if is_quick else BF16_GENES
        cases += [_case("forward", variant, n_genes, True) for n_genes in bf16 for variant in ("ours", "pair")]
    return cases


def _train_cases(is_quick: bool) -> list[Case]:
    cases = []
    for n_genes in _sizes(is_quick):
        # What the backward pass keeps of four layers is beyond most machines from here on.
        materialised = ("materialised",) if n_genes <= GENES[1] else ()
        cases += [_case("train", variant, n_genes) for variant in ("ours", "sdpa", *materialised)]
        if n_genes < GENES[2]:
            cases.append(_case("train", "pair", n_genes))
    if has_bf16():
        largest = _sizes(is_quick)[-1]
        cases.append(_case("train", "ours", largest, True))
    return cases


def _longest(found: Results) -> int:
    """The longest gene list of which ours was measured."""
    return max((n for n in (*QUICK_GENES, *GENES) if found.get(f"ours {n}", "seconds")), default=PUBLISHED)


def _against_sdpa(found: Results, n_genes: int, prefix: str = "") -> float | None:
    """How much longer plain attention takes: in turns where that was measured, else from the two cases."""
    paired = found.get(f"{prefix}pair {n_genes}", "ratio")
    return paired or found.ratio((f"{prefix}sdpa {n_genes}", "seconds"), (f"{prefix}ours {n_genes}", "seconds"))


def _against_materialised(found: Results, n_genes: int) -> tuple[float | None, str]:
    """How much longer materialised attention takes, and in which form it could be run."""
    ours = (f"ours {n_genes}", "seconds")
    for variant in ("materialised", "by_head"):
        ratio = found.ratio((f"{variant} {n_genes}", "seconds"), ours)
        if ratio is not None:
            return ratio, LABELS[variant]
    return None, LABELS["materialised"]


def _never_behind(found: Results, what: str) -> Claim:
    ratios = {n: _against_sdpa(found, n) for n in (*QUICK_GENES, *GENES)}
    there = {n: ratio for n, ratio in ratios.items() if ratio is not None}
    goal = f"at least 1 x at every length (level within {1 - LEVEL:.0%})"
    text = f"{what} is never behind plain `scaled_dot_product_attention`"
    if not there:
        return Claim(text, goal, "not measured", None)
    worst = min(there, key=lambda n: there[n])
    measured = f"{there[worst]:.2f} x at {worst:,} genes, the least; {there[max(there)]:.2f} x at {max(there):,}"
    return Claim(text, goal, measured, there[worst] >= LEVEL)


def _forward_claims(found: Results) -> list[Claim]:
    n = _longest(found)
    ratio, form = _against_materialised(found, n)
    faster = Claim.at_least(f"Forward pass of a layer at {n:,} genes against {form}", ratio, 8)
    whole = found.reason(f"materialised {n}") if found.get(f"materialised {n}", "seconds") is None else "it fits"
    bf16 = found.ratio((f"ours {n}", "seconds"), (f"bf16 ours {n}", "seconds"))
    return [
        faster,
        Claim("The whole matrix of materialised attention there", "no goal", whole, None),
        _never_behind(found, "The forward pass"),
        Claim.at_most(
            f"Peak memory of that pass at {n:,} genes", gib_of(found.get(f"ours {n}", "peak_bytes")), 1, "GiB"
        ),
        Claim(
            "bf16 against fp32, forward pass",
            "faster where the processor has bf16",
            times(bf16) if bf16 else "not measured",
            None if bf16 is None else bf16 > 1,
        ),
    ]


def _train_claims(found: Results) -> list[Claim]:
    n = _longest(found)
    return [
        _never_behind(found, "A training step on one sample"),
        Claim.at_most(
            f"Peak memory of a training step at {n:,} genes, one sample",
            gib_of(found.get(f"ours {n}", "peak_bytes")),
            1.5,
            "GiB",
        ),
    ]


def _attention_tables(found: Results) -> list[Table]:
    tables = []
    for prefix in ("", "bf16 "):
        rows = []
        for n in (*QUICK_GENES, *GENES):
            variants = [name for name in LABELS if f"{prefix}{name} {n}" in found.cases]
            if "ours" not in variants:
                continue
            cells = []
            for name in ("ours", "sdpa", "materialised"):
                case = f"{prefix}{name} {n}"
                if found.get(case, "seconds") is None and f"{prefix}by_head {n}" in found.cases and name != "ours":
                    case = f"{prefix}by_head {n}"
                cells.append(_cell(found, case))
            sdpa = _against_sdpa(found, n, prefix)
            whole = found.ratio((f"{prefix}materialised {n}", "seconds"), (f"{prefix}ours {n}", "seconds"))
            by_head = found.ratio((f"{prefix}by_head {n}", "seconds"), (f"{prefix}ours {n}", "seconds"))
            rows.append([f"{n:,}", *cells, times(sdpa), times(whole or by_head)])
        if rows:
            header = [f"genes, {'bf16' if prefix else 'fp32'}", "ours", "plain SDPA", "materialised"]
            tables.append(Table([*header, "SDPA / ours", "materialised / ours"], rows))
    return tables


def _cell(found: Results, case: str) -> str:
    if case not in found.cases:
        return "–"
    taken = found.get(case, "seconds")
    if taken is None:
        return found.reason(case)
    note = ", a head at a time" if "by_head" in case else ""
    return f"{seconds(taken)}, {gibibytes(found.get(case, 'peak_bytes'))}{note}"


def _attention_plot(found: Results, figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    for name, look in LOOKS.items():
        sizes = [n for n in (*QUICK_GENES, *GENES) if f"{name} {n}" in found.cases]
        line(left, [(n, found.get(f"{name} {n}", "seconds")) for n in sizes], look, LABELS[name])
        line(right, [(n, gib_of(found.get(f"{name} {n}", "peak_bytes"))) for n in sizes], look, LABELS[name])
    sizes = [n for n in (*QUICK_GENES, *GENES) if f"bf16 ours {n}" in found.cases]
    line(left, [(n, found.get(f"bf16 ours {n}", "seconds")) for n in sizes], "ours", "ours, bf16", "--")
    line(right, [(n, gib_of(found.get(f"bf16 ours {n}", "peak_bytes"))) for n in sizes], "ours", "ours, bf16", "--")
    finish(left, "time", "genes", "seconds")
    finish(right, "peak memory", "genes", "GiB")


def _subset_cases(is_quick: bool) -> list[Case]:
    size, subsets = ("small-4096", (512, 1024)) if is_quick else ("paper-19062", (1024, 2048))
    return [
        Case(f"subset {n}", "train_step.py", ("--size", size, "--subset", str(n)), 10 + 9 * n / 4096) for n in subsets
    ]


def _subset_claims(found: Results) -> list[Claim]:
    name = "subset 2048" if "subset 2048" in found.cases else "subset 1024"
    return [
        Claim(
            f"A pretraining step of the published model on {name.split()[1]} random genes",
            "no goal: the cheap road; its cost in quality stands in the results",
            seconds(found.get(name, "step_s")),
            None,
        )
    ]


def _subset_tables(found: Results) -> list[Table]:
    rows = [
        [name.split()[1], seconds(found.get(name, "step_s")), gibibytes(found.get(name, "step_peak_bytes"))]
        for name in found.cases
    ]
    return [Table(["genes a step, one sample", "step with its update", "peak memory"], rows)]


def _embed_cases(is_quick: bool) -> list[Case]:
    sizes = ((256, 16),) if is_quick else ((1024, 32), (4096, 8), (PUBLISHED, 1))
    return [
        Case(
            f"{variant} {n_genes}",
            "embed_cohort.py",
            ("--variant", variant, "--genes", str(n_genes), "--samples", str(n_samples)),
            8 + 4 * FORWARD_S * n_samples * (n_genes / PUBLISHED) ** 2 * (1.5 if n_genes < PUBLISHED else 1),
        )
        for n_genes, n_samples in sizes
        for variant in ("ours", "plain")
    ]


def _embed_claims(found: Results) -> list[Claim]:
    sizes = [int(name.split()[1]) for name in found.cases if name.startswith("ours")]
    largest = max(sizes, default=PUBLISHED)
    ratios = [found.ratio((f"ours {n}", "samples_per_s"), (f"plain {n}", "samples_per_s")) for n in sizes]
    there = [ratio for ratio in ratios if ratio is not None]
    peak = gib_of(found.get(f"ours {largest}", "peak_bytes"))
    return [
        Claim.at_most(f"Peak memory of embedding at {largest:,} genes", peak, 4, "GiB"),
        Claim(
            "Samples a second with the batch that `embed` chooses, against a sample at a time through plain attention",
            f"at least 1 x (level within {1 - LEVEL:.0%})",
            f"{min(there):.2f} to {max(there):.2f} x" if there else "not measured",
            min(there) >= LEVEL if there else None,
        ),
    ]


def _embed_tables(found: Results) -> list[Table]:
    rows = []
    for name in found.cases:
        if not name.startswith("ours"):
            continue
        n = int(name.split()[1])
        plain = f"plain {n}"
        batch = found.get(name, "batch")
        speeds = [found.get(case, "samples_per_s") for case in (name, plain)]
        rows.append(
            [
                f"{n:,}",
                "–" if batch is None else f"{batch:.0f}",
                *("–" if speed is None else f"{speed:.3g}" for speed in speeds),
                *(gibibytes(found.get(case, "peak_bytes")) for case in (name, plain)),
            ]
        )
    header = ["genes", "batch chosen", "ours, samples/s", "plain, samples/s", "ours, peak", "plain, peak"]
    return [Table(header, rows)]


RUNS = {
    "one process, torch": ("1", "torch", "1"),
    "one process, ZeRO 1": ("1", "deepspeed", "1"),
    "two processes, ZeRO 1": ("2", "deepspeed", "1"),
    "two processes, ZeRO 3": ("2", "deepspeed", "3"),
}


def _process_cases(is_quick: bool) -> list[Case]:
    skip = None if n_cores() >= 2 else "needs two cores"
    sizes = ("--genes", "256", "--steps", "3") if is_quick else ("--genes", "2048", "--steps", "5")
    return [
        Case(
            name,
            "processes.py",
            ("--processes", processes, "--engine", engine, "--zero-stage", stage, *sizes),
            22 + (0 if is_quick else 20 / int(processes)),
            skip=skip if processes == "2" else None,
        )
        for name, (processes, engine, stage) in RUNS.items()
    ]


def _process_claims(found: Results) -> list[Claim]:
    one = ("one process, torch", "tokens_per_s")
    return [
        Claim.at_least(
            f"Tokens a second, {name}, against one process, one thread each",
            found.ratio((name, "tokens_per_s"), one),
            1.7,
            digits=2,
        )
        for name in ("two processes, ZeRO 1", "two processes, ZeRO 3")
    ]


def _process_tables(found: Results) -> list[Table]:
    rows = []
    for name in RUNS:
        speed = found.get(name, "tokens_per_s")
        ratio = found.ratio((name, "tokens_per_s"), ("one process, torch", "tokens_per_s"))
        cell = found.reason(name) if speed is None else f"{speed:,.0f}"
        rows.append([name, cell, times(ratio), seconds(found.get(name, "whole_s"))])
    return [Table(["", "tokens/s", "against one process, torch", "whole command"], rows)]


def _process_plot(found: Results, figure: Figure) -> None:
    axes = figure.subplots()
    names = [(name, found.get(name, "tokens_per_s"), "other" if "torch" in name else "ours") for name in RUNS]
    bars(axes, [(name.replace(", ", ",\n"), value, look) for name, value, look in names], "tokens a second")
    one = found.get("one process, torch", "tokens_per_s")
    if one is not None:
        goal_line(axes, 1.7 * one, "goal for two processes: 1.7 x")
    axes.set_title("BulkRNABert, published width, one thread a process", fontsize="medium")


PLANNED = ("small-4096", "paper-4096", "paper-19062")
QUICK_PLANNED = ("small-1024",)
WITHIN = 0.2


def _plan_cases(is_quick: bool) -> list[Case]:
    sizes = QUICK_PLANNED if is_quick else PLANNED
    work = {PLANNED[-1]: 55.0}
    return [
        Case(
            f"{role} {size}",
            "train_step.py",
            ("--role", role, "--size", size),
            12 + (work.get(size, 6) if role == "measure" else 6),
        )
        for size in sizes
        for role in ("predict", "measure")
    ]


def _plan_ratios(found: Results, quantity: str) -> dict[str, float]:
    sizes = [name.removeprefix("measure ") for name in found.cases if name.startswith("measure ")]
    ratios = {size: found.ratio((f"predict {size}", quantity), (f"measure {size}", quantity)) for size in sizes}
    return {size: ratio for size, ratio in ratios.items() if ratio is not None}


def _plan_claims(found: Results) -> list[Claim]:
    claims = []
    for quantity, what in (("step_s", "time of a step"), ("peak_bytes", "peak memory")):
        ratios = list(_plan_ratios(found, quantity).values())
        measured = f"{min(ratios):.2f} to {max(ratios):.2f} of the measured" if ratios else "not measured"
        holds = all(abs(ratio - 1) <= WITHIN for ratio in ratios) if ratios else None
        claims.append(Claim(f"`plan` predicts the {what}", f"within {WITHIN:.0%}", measured, holds))
    whole = gib_of(found.get(f"measure {PLANNED[-1]}", "peak_bytes"))
    text = f"Peak memory of that step at {PUBLISHED:,} genes with its update and a validation"
    return [*claims, Claim.at_most(text, whole, 1.5, "GiB")]


def _plan_tables(found: Results) -> list[Table]:
    rows = []
    for size, ratio in _plan_ratios(found, "step_s").items():
        cases = (f"predict {size}", f"measure {size}")
        rows.append(
            [
                size,
                " / ".join(seconds(found.get(case, "step_s")) for case in cases),
                times(ratio),
                " / ".join(gibibytes(found.get(case, "peak_bytes")) for case in cases),
                times(_plan_ratios(found, "peak_bytes").get(size)),
            ]
        )
    return [Table(["preset, genes", "step, predicted / measured", "", "peak, predicted / measured", ""], rows)]


FORWARD = Benchmark(
    name="forward",
    group="bulkrnabert",
    title="BulkRNABert: forward pass of a layer",
    about="One block at the published width (256, 8 heads) with its embedding, one sample. Against the same network "
    "with the whole attention matrix in memory, which is what the published JAX model costs, and with plain "
    "`scaled_dot_product_attention`, which is what the published PyTorch port costs. Ours and the latter are "
    "timed in turns in one process; memory and the rest in a process each.",
    stage="embed",
    files=("attention.py",),
    cases=_forward_cases,
    claims=_forward_claims,
    tables=_attention_tables,
    plot=_attention_plot,
    alt="Seconds and peak memory of one layer's forward pass against the number of genes, ours and two plain forms",
)
TRAIN = Benchmark(
    name="train",
    group="bulkrnabert",
    title="BulkRNABert: training step",
    about="Forward and backward of the published four layers, head and loss on 15 % of the genes, one sample. Ours "
    "asks the last block and the head for the masked genes only.",
    stage="pretrain",
    files=("attention.py",),
    cases=_train_cases,
    claims=_train_claims,
    tables=_attention_tables,
    plot=_attention_plot,
    alt="Seconds and peak memory of a training step against the number of genes, ours and two plain forms",
)
SUBSET = Benchmark(
    name="subset",
    group="bulkrnabert",
    title="BulkRNABert: pretraining on gene subsets",
    about="A step of the published model with its whole table of 19,062 genes, update included, when the step sees a "
    "random subset; compare with the training step above.",
    stage="pretrain",
    files=("train_step.py",),
    cases=_subset_cases,
    claims=_subset_claims,
    tables=_subset_tables,
)
EMBED = Benchmark(
    name="embed",
    group="bulkrnabert",
    title="BulkRNABert: embedding a cohort",
    about="Token ids to one vector a sample, published size, against a sample at a time through plain attention with "
    "logits of every gene.",
    stage="embed",
    files=("attention.py", "embed_cohort.py"),
    cases=_embed_cases,
    claims=_embed_claims,
    tables=_embed_tables,
)
PROCESSES = Benchmark(
    name="processes",
    group="bulkrnabert",
    title="Pretraining on several processes",
    about="`bulkrnabert pretrain` itself, `torchrun` and gloo, the same global batch of 8 samples, one thread a "
    "process, speed of the steps without start, validation and checkpoint. By the clock: other work on the "
    "machine shows.",
    stage="pretrain",
    files=("processes.py",),
    cases=_process_cases,
    claims=_process_claims,
    tables=_process_tables,
    plot=_process_plot,
    alt="Tokens a second of pretraining with one and two processes and ZeRO stages 1 to 3",
)
PLAN = Benchmark(
    name="plan",
    group="bulkrnabert",
    title="What `plan` says, and what a step takes",
    about="`bulkrnabert plan --device cpu` calibrates itself on this machine; then real steps, each in a process of "
    "its own.",
    stage="plan",
    files=("train_step.py",),
    cases=_plan_cases,
    claims=_plan_claims,
    tables=_plan_tables,
)
BENCHMARKS = (FORWARD, TRAIN, SUBSET, EMBED, PROCESSES, PLAN)
