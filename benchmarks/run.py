"""Measure every claim about speed and size, side by side with what it is compared with, and write the page of them.

Each measurement is a process of its own; one that fails, runs out of memory or takes too long is recorded as such and
the others go on. What a record of the same code, sizes and machine already holds is not measured again, so a run that
was stopped goes on where it was. Writes OUT/benchmarks.md, and OUT/img/bench_NAME.json (records) and .svg (plots).

Examples:
  python benchmarks/run.py --quick --out trial            small sizes of everything, minutes
  python benchmarks/run.py --out docs                     all of it on a quiet machine: the page of the documentation
  python benchmarks/run.py --only mojo gexbert --out docs
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite import encoder, others
from suite.apart import run_case
from suite.machine import describe, digest
from suite.model import NO_RESULT, Benchmark, Case
from suite.page import render
from suite.plots import draw_to
from suite.store import Record, plot_path, read_record, write_record
from timing import n_cores

BENCHMARKS: tuple[Benchmark, ...] = (*encoder.BENCHMARKS, *others.BENCHMARKS)
GROUPS = tuple(dict.fromkeys(benchmark.group for benchmark in BENCHMARKS))
# Left out unless named: they run the pipeline, or read what a run of it left.
ON_REQUEST = ("pipeline",)
PLOT_SIZES = {"processes": (7.0, 3.6), "gexbert": (5.5, 3.2)}


class Progress:
    """Says what is done, and how long the rest will take.

    Args:
        cases: All that are to be run, in order.
    """

    def __init__(self, cases: Sequence[Case]) -> None:
        self._left = [case.expected_s for case in cases]
        self._n = len(cases)
        self._expected = self._taken = 0.0

    def left_s(self) -> float:
        """Seconds that the rest is expected to take, at the speed of what is done."""
        pace = self._taken / self._expected if self._expected else 1.0
        return sum(self._left) * pace

    def starts(self, benchmark: str, case: Case) -> None:
        """Name the case that begins."""
        number = self._n - len(self._left) + 1
        print(f"[{number}/{self._n}] {benchmark}: {case.name} …", end="", file=sys.stderr, flush=True)

    def ends(self, result: dict[str, Any], taken_s: float) -> None:
        """Say what came of it."""
        self._expected += self._left.pop(0)
        self._taken += taken_s
        what = result.get(NO_RESULT) or f"{taken_s:.0f} s"
        rest = f"; about {self.left_s() / 60:.0f} min left" if self._left else ""
        print(f" {what}{rest}", file=sys.stderr, flush=True)


def choose(only: Sequence[str]) -> list[Benchmark]:
    """The benchmarks of some names and groups; without any, all that are not run on request only.

    Raises:
        SystemExit: no such name.
    """
    known = {benchmark.name for benchmark in BENCHMARKS} | set(GROUPS)
    unknown = [name for name in only if name not in known]
    if unknown:
        print(f"--only {unknown[0]}: no such benchmark or group; there are {', '.join(sorted(known))}", file=sys.stderr)
        raise SystemExit(2)
    if not only:
        return [benchmark for benchmark in BENCHMARKS if benchmark.group not in ON_REQUEST]
    return [benchmark for benchmark in BENCHMARKS if benchmark.name in only or benchmark.group in only]


def prepare(benchmark: Benchmark, options: argparse.Namespace, conditions: dict[str, Any]) -> tuple[Record, list[Case]]:
    """A benchmark's record so far, and the cases that are not in it yet."""
    code = digest(benchmark.stage, benchmark.files)
    cases = benchmark.cases(options.quick)
    if benchmark.name == "overhead":
        given = ("--trace", str(options.trace)) if options.trace else ()
        cases = [replace(case, arguments=given, skip=None if given else "no --trace was given") for case in cases]
    record = None if options.again else read_record(options.out, benchmark.name)
    if record is None or not record.answers(code, options.quick, conditions):
        record = Record(benchmark.name, code, options.quick, conditions)
    names = {case.name for case in cases}
    record.cases = {name: found for name, found in record.cases.items() if name in names}
    return record, [case for case in cases if case.name not in record.cases]


def write_page(out: Path) -> Path:
    """Plots of all records that there are, and the page."""
    records = {benchmark.name: read_record(out, benchmark.name) for benchmark in BENCHMARKS}
    there = {name: record for name, record in records.items() if record is not None}
    for benchmark in BENCHMARKS:
        if benchmark.plot is not None and benchmark.name in there:
            draw = functools.partial(benchmark.plot, there[benchmark.name].results)
            draw_to(plot_path(out, benchmark.name), PLOT_SIZES.get(benchmark.name, (10.0, 3.8)), draw)
    page = out / "benchmarks.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(BENCHMARKS, there), encoding="utf-8")
    return page


def main() -> None:
    """Measure what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the page, records and plots")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="benchmarks or groups; see --list")
    parser.add_argument("--quick", action="store_true", help="small sizes: a trial, whose ratios mean little")
    parser.add_argument("--again", action="store_true", help="measure what the records already hold, too")
    parser.add_argument("--page", action="store_true", help="measure nothing; plots and page from the records")
    parser.add_argument("--list", action="store_true", help="name benchmarks, groups and expected minutes, and end")
    parser.add_argument("--threads", type=int, default=n_cores(), help="of each measurement [all cores]")
    parser.add_argument("--trace", type=Path, help="trace.tsv of a pipeline run, for `overhead`")
    options = parser.parse_args()
    chosen = choose(options.only)
    if options.list:
        for benchmark in BENCHMARKS:
            minutes = sum(case.expected_s for case in benchmark.cases(options.quick) if not case.skip) / 60
            print(f"{benchmark.name:12} {benchmark.group:12} {minutes:5.1f} min  {benchmark.title}")
        return
    if not options.page:
        conditions = describe(options.threads)
        work = [(benchmark, *prepare(benchmark, options, conditions)) for benchmark in chosen]
        progress = Progress([case for _, _, cases in work for case in cases])
        print(f"about {progress.left_s() / 60:.0f} min of work on a quiet machine", file=sys.stderr)
        for benchmark, record, cases in work:
            for case in cases:
                progress.starts(benchmark.name, case)
                started = time.perf_counter()
                result = run_case(case, options.threads)
                progress.ends(result, time.perf_counter() - started)
                record.cases[case.name] = result
                write_record(options.out, record)
    print(f"wrote {write_page(options.out)}", file=sys.stderr)


if __name__ == "__main__":
    main()
