"""The benchmark page: every claim with its goal, what was measured, and the command that measures it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from suite.model import Benchmark, Claim, Results, Table
from suite.store import Record, plot_path

COMMAND = "python benchmarks/run.py"
INTRODUCTION = f"""# Speed and size

Every claim about speed and size, measured side by side with what it is compared with, in one run.
`{COMMAND} --out docs` measures all of them, draws the plots and writes this page; `--only NAME` measures one, `--quick`
tries small sizes. Each measurement is a process of its own. Seconds are processor time over threads, so that other work
on the machine hardly changes them, unless a text says otherwise; memory is the largest resident memory of the process,
libraries included. Records: `docs/img/bench_NAME.json`.
"""
NOT_MEASURED = "Not measured yet."
BUSY = 1.2


def render(benchmarks: Sequence[Benchmark], records: Mapping[str, Record], image_root: str = "img") -> str:
    """The whole page as Markdown."""
    parts = [INTRODUCTION, _conditions(list(records.values()))]
    parts.append("## Claims\n\n" + _claims_table(benchmarks, records))
    for benchmark in benchmarks:
        record = records.get(benchmark.name)
        parts.append(_section(benchmark, record, image_root))
    return "\n".join(part.rstrip() + "\n" for part in parts if part)


def _conditions(records: list[Record]) -> str:
    """Machine and versions; once where all records agree, else once for each that differs."""
    seen: dict[str, list[str]] = {}
    for record in records:
        seen.setdefault(_one_condition(record), []).append(record.name)
    lines = []
    for text, names in seen.items():
        lines.append(f"- {text}" if len(seen) == 1 else f"- {', '.join(names)}: {text}")
    return "## Where\n\n" + ("\n".join(lines) if lines else NOT_MEASURED)


def _one_condition(record: Record) -> str:
    machine, versions = record.conditions["machine"], record.conditions["versions"]
    features = f" ({', '.join(machine['features'])})" if machine["features"] else ""
    sizes = " Small sizes (`--quick`)." if record.is_quick else ""
    installed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{machine['cpu']}{features}, {machine['cores']} cores, {machine['threads']} threads, "
        f"{machine['memory_gib']} GiB, GPU: {machine['gpu'] or 'none'}. {installed}. "
        f"{record.conditions['date']}, revision {record.conditions['revision']}.{sizes}"
    )


def _claims_table(benchmarks: Sequence[Benchmark], records: Mapping[str, Record]) -> str:
    rows = []
    for benchmark in benchmarks:
        for claim in benchmark.claims(_results(records.get(benchmark.name))):
            link = f"[{benchmark.name}](#{_anchor(benchmark.title)})"
            rows.append([claim.text, claim.goal, claim.measured, _verdict(claim), link])
    return markdown_table(Table(["claim", "goal", "measured", "holds", "more"], rows))


def _section(benchmark: Benchmark, record: Record | None, image_root: str) -> str:
    lines = [f"## {benchmark.title}", "", benchmark.about, "", f"`{COMMAND} --only {benchmark.name} --out docs`", ""]
    if record is None:
        return "\n".join([*lines, NOT_MEASURED])
    results = record.results
    busy = _busy(results)
    if busy is not None:
        lines += [f"The machine was busy: by the clock it took up to {busy:.1f} times the processor time.", ""]
    for table in benchmark.tables(results):
        lines += [markdown_table(table), ""]
    if benchmark.plot is not None:
        lines += [f"![{benchmark.alt}]({image_root}/{plot_path(Path(), benchmark.name).name})", ""]
    return "\n".join(lines)


def _results(record: Record | None) -> Results:
    return Results({}) if record is None else record.results


def _busy(results: Results) -> float | None:
    """How much longer the worst case took by the clock than in processor time; None on a quiet machine."""
    ratios = [
        float(case["wall_s"]) / float(case["seconds"])
        for case in results.cases.values()
        if case.get("wall_s") and case.get("seconds")
    ]
    worst = max(ratios, default=0.0)
    return worst if worst > BUSY else None


def _verdict(claim: Claim) -> str:
    return {True: "yes", False: "**no**", None: "–"}[claim.holds]


def _anchor(title: str) -> str:
    """Anchor of a heading as Markdown makes it."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return "-".join(kept.split())


def markdown_table(table: Table) -> str:
    """A table as Markdown."""
    lines = [f"| {' | '.join(table.header)} |", "|" + "---|" * len(table.header)]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in table.rows]
    return "\n".join(lines)
