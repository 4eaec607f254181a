"""Benchmarks of MOJO, GexBERT, the data and the pipeline."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from suite.model import Benchmark, Case, Claim, Results, Table, gib_of, gibibytes, seconds, times
from suite.plots import finish, line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOJO_GENES = 17_116
STEP_GENES = (256, 1024, 4096, MOJO_GENES)
QUICK_STEP_GENES = (64, 128)
# Steps of the transformer over both sequences are measured up to here; beyond, its forward pass alone.
MOST_TRANSFORMER_GENES = 4096
TRANSFORMER_STEP_S = 45.0
GOAL_PAPER = 50.0


def _mojo_cases(is_quick: bool) -> list[Case]:
    cases = []
    for n in QUICK_STEP_GENES if is_quick else STEP_GENES:
        for variant in ("mojo", "transformer"):
            if variant == "transformer" and n > MOST_TRANSFORMER_GENES:
                continue
            work = (
                TRANSFORMER_STEP_S * (n / MOST_TRANSFORMER_GENES) ** 1.8
                if variant == "transformer"
                else 8 * n / MOJO_GENES
            )
            arguments = ("--mode", "train", "--variant", variant, "--genes", str(n))
            cases.append(Case(f"train {variant} {n}", "mojo_step.py", arguments, 7 + work))
    n = QUICK_STEP_GENES[-1] if is_quick else MOJO_GENES
    for variant in ("mojo", "transformer"):
        arguments = ("--mode", "forward", "--variant", variant, "--genes", str(n))
        work = 6.0 if variant == "mojo" or is_quick else 200.0
        cases.append(Case(f"forward {variant} {n}", "mojo_step.py", arguments, 8 + work, limit_s=900))
    cases.append(Case(f"paper {n}", "mojo_step.py", ("--mode", "paper", "--genes", str(n)), 6))
    return cases


def _full(found: Results) -> int:
    return max((int(name.split()[-1]) for name in found.cases if name.startswith("forward ")), default=MOJO_GENES)


def _step_genes(found: Results) -> list[int]:
    return [n for n in (*QUICK_STEP_GENES, *STEP_GENES) if f"train mojo {n}" in found.cases]


def _mojo_claims(found: Results) -> list[Claim]:
    n = _full(found)
    steps = {
        m: found.ratio((f"train transformer {m}", "seconds"), (f"train mojo {m}", "seconds"))
        for m in _step_genes(found)
    }
    there = {m: ratio for m, ratio in steps.items() if ratio is not None}
    longest = max(there, default=None)
    forward = found.ratio((f"forward transformer {n}", "seconds"), (f"forward mojo {n}", "seconds"))
    return [
        Claim.at_least(
            f"Work of a forward pass at {n:,} genes against a transformer over both sequences, on paper",
            found.get(f"paper {n}", "ratio"),
            GOAL_PAPER,
            digits=0,
        ),
        Claim(
            f"The same, measured: one sample, {n:,} genes",
            "no goal of its own",
            found.reason(f"forward transformer {n}") if forward is None else times(forward),
            None,
        ),
        Claim(
            "A training step against the transformer's, at the longest list on which the latter is run",
            "grows with the list",
            "not measured"
            if longest is None
            else f"{there[longest]:.1f} x at {longest:,} genes, {there[min(there)]:.1f} x at {min(there):,}",
            None if longest is None or len(there) < 2 else there[longest] > there[min(there)],
        ),
        Claim.at_most(
            f"Peak memory of the full forward pass, {n:,} genes",
            gib_of(found.get(f"forward mojo {n}", "peak_bytes")),
            4,
            "GiB",
        ),
    ]


def _mojo_tables(found: Results) -> list[Table]:
    rows = []
    for mode, sizes in (("train", _step_genes(found)), ("forward", [_full(found)])):
        for n in sizes:
            names = (f"{mode} mojo {n}", f"{mode} transformer {n}")
            cells = [
                f"{seconds(found.get(name, 'seconds'))}, {gibibytes(found.get(name, 'peak_bytes'))}"
                if found.get(name, "seconds") is not None
                else found.reason(name)
                for name in names
            ]
            ratio = found.ratio((names[1], "seconds"), (names[0], "seconds"))
            rows.append(["training step" if mode == "train" else "forward pass", f"{n:,}", *cells, times(ratio)])
    return [Table(["", "genes of each omic", "MOJO", "transformer over both", "transformer / MOJO"], rows)]


def _mojo_plot(found: Results, figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    for variant, look, label in (("mojo", "ours", "MOJO"), ("transformer", "other", "transformer over both sequences")):
        names = [(n, f"train {variant} {n}") for n in _step_genes(found)]
        line(left, [(n, found.get(name, "seconds")) for n, name in names], look, label)
        line(right, [(n, gib_of(found.get(name, "peak_bytes"))) for n, name in names], look, label)
    finish(left, "time of a training step", "genes of each omic", "seconds")
    finish(right, "peak memory", "genes of each omic", "GiB")


GEXBERT_GENES = (300, 1000, 5000, 20_000)
# A step may cost this much more on the longest list than on the shortest and still be called flat.
FLAT = 1.25
PANEL_GENES = 90


def _gexbert_cases(is_quick: bool) -> list[Case]:
    sizes = (100, 300) if is_quick else GEXBERT_GENES
    cases = [Case(f"fixed {n}", "gexbert_step.py", ("--genes", str(n)), 9) for n in sizes]
    preset = (PANEL_GENES,) if is_quick else (PANEL_GENES, GEXBERT_GENES[0], GEXBERT_GENES[-1])
    return cases + [Case(f"preset {n}", "gexbert_step.py", ("--preset", "--genes", str(n)), 10) for n in preset]


def _gexbert_sizes(found: Results, kind: str) -> list[int]:
    return [int(name.split()[1]) for name in found.cases if name.startswith(kind)]


def _gexbert_claims(found: Results) -> list[Claim]:
    claims = []
    kinds = (
        ("fixed", 0, "64 genes read and 32 restored"),
        ("preset", PANEL_GENES, "as preset `small` reads and restores"),
    )
    for kind, more_than, what in kinds:
        sizes = [n for n in _gexbert_sizes(found, kind) if n > more_than]
        if len(sizes) < 2:
            continue
        quantity = "step_s" if kind == "fixed" else "mean_step_s"
        ratio = found.ratio((f"{kind} {sizes[-1]}", quantity), (f"{kind} {sizes[0]}", quantity))
        claims.append(
            Claim(
                f"Cost of a step as the gene list grows from {sizes[0]:,} to {sizes[-1]:,}, {what}",
                f"flat: at most {FLAT:g} x",
                times(ratio) if ratio else "not measured",
                None if ratio is None else ratio <= FLAT,
            )
        )
    step, n_steps = found.get(f"preset {PANEL_GENES}", "mean_step_s"), found.get(f"preset {PANEL_GENES}", "run_steps")
    minutes = None if step is None or n_steps is None else step * n_steps / 60
    claims.append(
        Claim.at_most(f"Pretraining of preset `small` on {PANEL_GENES} genes, steps alone", minutes, 20, "minutes", 1)
    )
    return claims


def _gexbert_tables(found: Results) -> list[Table]:
    rows = []
    for name in found.cases:
        kind, n = name.split()
        quantity = "step_s" if kind == "fixed" else "mean_step_s"
        numbers = (
            seconds(found.get(name, quantity)),
            seconds(found.get(name, "draw_s")),
            gibibytes(found.get(name, "peak_bytes")),
        )
        rows.append(["64 read, 32 restored" if kind == "fixed" else "preset `small`", f"{int(n):,}", *numbers])
    return [Table(["", "genes known", "step", "of it, drawing the batch", "peak memory"], rows)]


def _gexbert_plot(found: Results, figure: Figure) -> None:
    axes = figure.subplots()
    for quantity, look, label in (("step_s", "ours", "whole step"), ("draw_s", "extra", "of it, drawing the batch")):
        points = []
        for n in _gexbert_sizes(found, "fixed"):
            value = found.get(f"fixed {n}", quantity)
            points.append((float(n), None if value is None else 1e3 * value))
        line(axes, points, look, label)
    finish(axes, "32 samples, 64 genes read, 32 restored", "genes known", "milliseconds a step", is_log=False)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)


def _star_cases(is_quick: bool) -> list[Case]:
    sizes = ("--files", "2", "--repeats", "1") if is_quick else ("--files", "8", "--repeats", "2")
    return [Case("read", "read_star_counts.py", sizes, 12 if is_quick else 25)]


def _methylation_cases(is_quick: bool) -> list[Case]:
    sizes = ("--files", "1", "--repeats", "1") if is_quick else ("--files", "8", "--repeats", "2")
    return [Case("read", "methylation_to_genes.py", sizes, 20 if is_quick else 45)]


def _preprocess_cases(is_quick: bool) -> list[Case]:
    sizes = ("40", "2", "2") if is_quick else ("1000", "8", "16")
    arguments = ("--files", sizes[0], "--bodies", sizes[1], "--plain-files", sizes[2])
    return [Case("preprocess", "preprocess_tcga.py", arguments, 20 if is_quick else 45)]


def _cohort_cases(is_quick: bool) -> list[Case]:
    samples = ("66", "2") if is_quick else ("3300", "2")
    return [
        Case("tables", "read_cohorts.py", ("--samples", samples[0], "--repeats", samples[1]), 10 if is_quick else 25)
    ]


def _reading_claims(found: Results, what: str) -> list[Claim]:
    growth = found.ratio(("read", "peak_mib_eight_times_the_files"), ("read", "peak_mib"))
    return [
        Claim.at_least(f"{what} files a second against a plain pandas loop", found.get("read", "ratio"), 10),
        Claim(
            f"Peak memory with eight times the {what} files",
            f"flat: at most {FLAT:g} x",
            "not measured" if growth is None else times(growth),
            None if growth is None else growth <= FLAT,
        ),
    ]


def _reading_tables(found: Results) -> list[Table]:
    keys = ("files", "ours_files_per_s", "plain_files_per_s", "ratio", "peak_mib", "peak_mib_eight_times_the_files")
    header = ["files", "ours, files/s", "plain, files/s", "ratio", "peak, MiB", "peak of eight times the files, MiB"]
    return [Table(header, [_numbers(found, "read", keys)])]


def _numbers(found: Results, case: str, names: tuple[str, ...]) -> list[str]:
    values = [found.get(case, name) for name in names]
    return ["–" if value is None else f"{value:,.4g}" if value < 10_000 else f"{value:,.0f}" for value in values]


def _preprocess_claims(found: Results) -> list[Claim]:
    peak = found.get("preprocess", "peak_rss_mib")
    return [
        Claim.at_least(
            "`preprocess`, files a second against a plain pandas loop", found.get("preprocess", "ratio"), 10
        ),
        Claim.at_most("Its peak memory", None if peak is None else peak / 1024, 2, "GiB"),
    ]


def _preprocess_tables(found: Results) -> list[Table]:
    keys = (
        "files",
        "files_per_s",
        "plain_files_per_s",
        "ratio",
        "peak_rss_mib",
        "cpu_ms_a_file",
        "plain_cpu_ms_a_file",
    )
    header = ["files", "ours, files/s", "plain, files/s", "ratio", "peak, MiB", "ours, processor ms a file", "plain"]
    return [Table(header, [_numbers(found, "preprocess", keys)])]


def _cohort_claims(found: Results) -> list[Claim]:
    return [Claim.at_most("Reading cohort tables for training", found.get("tables", "read_s_per_gb"), 5, "s/GB", 1)]


def _cohort_tables(found: Results) -> list[Table]:
    keys = (
        "samples",
        "gigabytes",
        "write_s_per_gb",
        "read_s_per_gb",
        "read_cpu_s_per_gb",
        "memory_growth_per_matrix",
        "share_on_disk",
    )
    header = [
        "samples",
        "GB of values",
        "write, s/GB",
        "read, s/GB",
        "read, processor s/GB",
        "memory, in sizes of the matrix",
        "size on disk",
    ]
    return [Table(header, [_numbers(found, "tables", keys)])]


def _demo_cases(_is_quick: bool) -> list[Case]:
    return [Case("demo", "demo_run.py", (), 130)]


def _demo_claims(found: Results) -> list[Claim]:
    return [
        Claim.at_most("The demo from an empty folder", found.get("demo", "demo_s"), 300, "s", 0),
        Claim.at_most("Its peak memory, Nextflow included", found.get("demo", "demo_peak_gib"), 4, "GiB"),
        Claim.at_most("An unchanged `-resume`", found.get("demo", "resume_s"), 30, "s", 0),
    ]


def _demo_tables(found: Results) -> list[Table]:
    header = ["demo, s", "peak, GiB", "unchanged -resume, s"]
    return [Table(header, [_numbers(found, "demo", ("demo_s", "demo_peak_gib", "resume_s"))])]


def _overhead_cases(_is_quick: bool) -> list[Case]:
    return [Case("trace", "trace_overhead.py", (), 2)]


def _overhead_claims(found: Results) -> list[Claim]:
    share = found.get("trace", "overhead_share")
    return [
        Claim.at_most(
            "Time of tasks outside their command, of the whole", None if share is None else 100 * share, 20, "%", 1
        ),
    ]


def _overhead_tables(found: Results) -> list[Table]:
    keys = ("tasks", "work_s", "overhead_s", "overhead_s_a_task")
    return [
        Table(["tasks", "in their commands, s", "outside, s", "outside, s a task"], [_numbers(found, "trace", keys)])
    ]


def _gpu_cases(is_quick: bool) -> list[Case]:
    from suite.machine import gpu_name

    skip = None if gpu_name() else "no GPU on this machine"
    n_genes = "1024" if is_quick else "19062"
    cases = []
    for batch in ("1", "4", "16"):
        for variant in ("ours", "sdpa", *(("compiled",) if batch == "4" else ())):
            arguments = ("--variant", variant, "--batch", batch, "--genes", n_genes)
            cases.append(Case(f"{variant} {batch}", "gpu_step.py", arguments, 30, is_memory_limited=False, skip=skip))
    return cases


def _gpu_claims(found: Results) -> list[Claim]:
    ours = [name for name in found.cases if name.split()[0] in ("ours", "compiled")]
    there = [name for name in ours if found.get(name, "mfu") is not None]
    best = max(there, key=lambda name: found.get(name, "mfu") or 0.0, default="ours 4")
    mfu, hours = found.get(best, "mfu"), found.get(best, "hours_for_12b")
    ratios = [found.ratio((name, "tokens_per_s"), (f"sdpa {name.split()[1]}", "tokens_per_s")) for name in there]
    level = [ratio for ratio in ratios if ratio is not None]
    return [
        Claim.at_least(
            "Model FLOP utilisation of the bf16 peak, training step", None if mfu is None else 100 * mfu, 45, "%"
        ),
        Claim(
            "Tokens a second against plain `scaled_dot_product_attention`",
            "at least 1 x",
            f"{min(level):.2f} to {max(level):.2f} x" if level else found.reason("ours 4"),
            min(level) >= 1 if level else None,
        ),
        Claim(
            "Hours for the 12 B tokens of the paper",
            "no goal",
            "not measured" if hours is None else f"{hours:.0f} h",
            None,
        ),
    ]


def _gpu_tables(found: Results) -> list[Table]:
    rows = []
    for name in found.cases:
        variant, batch = name.split()
        speed, mfu = found.get(name, "tokens_per_s"), found.get(name, "mfu")
        if speed is None:
            rows.append([variant, batch, found.reason(name), "–", "–"])
            continue
        share = "–" if mfu is None else f"{mfu:.1%}"
        rows.append([variant, batch, f"{speed:,.0f}", share, gibibytes(found.get(name, "peak_bytes"))])
    return [Table(["", "samples a step", "tokens/s", "of the bf16 peak", "peak memory"], rows)]


MOJO = Benchmark(
    name="mojo",
    group="mojo",
    title="MOJO against a transformer over both sequences",
    about="Published sizes, one sample, fp32. The other side is the same transformer blocks on RNA-seq and "
    "methylation one after the other, twice as many positions as genes, with fused attention and without any "
    "convolution.",
    stage="pretrain",
    files=("mojo_step.py",),
    cases=_mojo_cases,
    claims=_mojo_claims,
    tables=_mojo_tables,
    plot=_mojo_plot,
    alt="Seconds and peak memory of a training step against the number of genes, MOJO and a transformer over both "
    "sequences",
)
GEXBERT = Benchmark(
    name="gexbert",
    group="gexbert",
    title="GexBERT: cost of a step and the length of the gene list",
    about="Draw of a batch of 32 samples, forward, backward and update of preset `small`. What grows are the tables "
    "with a row a gene, which the optimizer passes over.",
    stage="pretrain",
    files=("gexbert_step.py",),
    cases=_gexbert_cases,
    claims=_gexbert_claims,
    tables=_gexbert_tables,
    plot=_gexbert_plot,
    alt="Milliseconds of a pretraining step of GexBERT against the number of genes known: nearly level",
)
STAR = Benchmark(
    name="star",
    group="data",
    title="Reading STAR-Counts files",
    about="Full-size files of the GDC (60,660 rows) to 19,062 genes, against `read_csv`, version strip and `reindex`; "
    "both give the same numbers.",
    stage="preprocess",
    files=("read_star_counts.py",),
    cases=_star_cases,
    claims=functools.partial(_reading_claims, what="STAR-Counts"),
    tables=_reading_tables,
)
METHYLATION = Benchmark(
    name="methylation",
    group="data",
    title="Methylation to genes",
    about="Full-size SeSAMe files (486,427 rows) averaged to 20,000 genes, against `read_csv`, `merge` and `groupby`; "
    "both agree to 1e-6.",
    stage="preprocess",
    files=("methylation_to_genes.py",),
    cases=_methylation_cases,
    claims=functools.partial(_reading_claims, what="SeSAMe"),
    tables=_reading_tables,
)
PREPROCESS = Benchmark(
    name="preprocess",
    group="data",
    title="Many files through `preprocess`",
    about="The real command on a raw folder of full-size files (hard links to a few), against a plain loop on some of "
    "them. `python benchmarks/preprocess_tcga.py --files 11505` does as many files as TCGA has.",
    stage="preprocess",
    files=("preprocess_tcga.py", "read_star_counts.py"),
    cases=_preprocess_cases,
    claims=_preprocess_claims,
    tables=_preprocess_tables,
)
COHORTS = Benchmark(
    name="cohorts",
    group="data",
    title="Cohort tables",
    about="Tables of 19,062 genes, written and read back for training.",
    stage="preprocess",
    files=("read_cohorts.py",),
    cases=_cohort_cases,
    claims=_cohort_claims,
    tables=_cohort_tables,
)
DEMO = Benchmark(
    name="demo",
    group="pipeline",
    title="The demo",
    about="`./nextflow run . -profile demo` in an empty folder of a clone that is set up, and again with `-resume`. "
    "Memory is the sum of proportional set sizes over Nextflow and all that it starts.",
    stage="evaluate",
    files=("demo_run.py",),
    cases=_demo_cases,
    claims=_demo_claims,
    tables=_demo_tables,
)
OVERHEAD = Benchmark(
    name="overhead",
    group="pipeline",
    title="Overhead of tasks",
    about="From the trace of a pipeline run (`--trace FILE`), of `fan_out.py` on SLURM here: of each task the time "
    "from its submission to its end, and how much of it its command ran.",
    stage="cost",
    files=("trace_overhead.py",),
    cases=_overhead_cases,
    claims=_overhead_claims,
    tables=_overhead_tables,
)
GPU = Benchmark(
    name="gpu",
    group="gpu",
    title="BulkRNABert on a GPU",
    about="A training step in bf16 at 19,062 genes, against plain `scaled_dot_product_attention` with logits of every "
    "gene; `compiled` is ours through `torch.compile`. Utilisation counts the model's own operations only.",
    stage="pretrain",
    files=("attention.py", "gpu_step.py"),
    cases=_gpu_cases,
    claims=_gpu_claims,
    tables=_gpu_tables,
)
BENCHMARKS = (MOJO, GEXBERT, STAR, METHYLATION, PREPROCESS, COHORTS, DEMO, OVERHEAD, GPU)
