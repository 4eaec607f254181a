"""The page says what the records hold: ratios, verdicts, what could not be measured."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Import = Callable[[str], ModuleType]
CONDITIONS = {
    "machine": {
        "cpu": "Some CPU",
        "features": ["avx2"],
        "cores": 2,
        "threads": 2,
        "memory_gib": 8.0,
        "gpu": None,
        "system": "Linux 6",
    },
    "versions": {"python": "3.11.7", "torch": "2.0"},
    "date": "2026-01-02",
    "revision": "abc",
}


def page_of(module: Import, **cases: dict[str, Any]) -> str:
    store, page, run = module("suite.store"), module("suite.page"), module("run")
    records = {name: store.Record(name, "d", False, CONDITIONS, found) for name, found in cases.items()}
    text: str = page.render(run.BENCHMARKS, records)
    return text


def line_with(text: str, part: str) -> str:
    found = [line for line in text.splitlines() if part in line]
    assert len(found) == 1, found
    return found[0]


def test_ratios_and_verdicts_by_hand(module: Import) -> None:
    gib = 2**30
    text = page_of(
        module,
        forward={
            "ours 1024": {"seconds": 0.5, "peak_bytes": 0.5 * gib},
            "pair 1024": {"ratio": 0.9},
            "ours 19062": {"seconds": 2.0, "peak_bytes": 0.75 * gib},
            "sdpa 19062": {"seconds": 2.2, "peak_bytes": 1.25 * gib},
            "materialised 19062": {"no_result": "out of memory: asked for 10.8 GiB more"},
            "by_head 19062": {"seconds": 18.0, "peak_bytes": 4 * gib},
            "pair 19062": {"ratio": 1.1},
        },
    )
    against_whole = line_with(
        text, "| Forward pass of a layer at 19,062 genes against materialised, a head at a time |"
    )
    assert "at least 8 x | 9.0 x | yes" in against_whole
    assert "0.90 x at 1,024 genes, the least; 1.10 x at 19,062 | **no** |" in line_with(
        text, "The forward pass is never"
    )
    assert "at most 1 GiB | 0.75 GiB | yes" in text
    assert "out of memory: asked for 10.8 GiB more | –" in line_with(text, "The whole matrix")
    row = line_with(text, "| 19,062 | 2 s, 0.75 GiB")
    assert "| 2.2 s, 1.25 GiB | 18 s, 4.00 GiB, a head at a time | 1.10 x | 9.00 x |" in row


def test_the_longest_list_is_judged(module: Import) -> None:
    case = {"seconds": 1.0, "peak_bytes": 2**31}
    text = page_of(module, train={"ours 1024": {"seconds": 1.0, "peak_bytes": 2**29}, "ours 19062": case})
    assert "at most 1.5 GiB | 2.00 GiB | **no**" in line_with(text, "Peak memory of a training step at 19,062 genes")


def test_gexbert_is_flat_within_a_quarter(module: Import) -> None:
    cases = {"fixed 300": {"step_s": 0.040}, "fixed 20000": {"step_s": 0.051}}
    assert "flat: at most 1.25 x | 1.27 x | **no**" in page_of(module, gexbert=cases)
    cases["fixed 20000"] = {"step_s": 0.049}
    assert "flat: at most 1.25 x | 1.23 x | yes" in page_of(module, gexbert=cases)


def test_two_processes_against_one(module: Import) -> None:
    cases = {"one process, torch": {"tokens_per_s": 100.0}, "two processes, ZeRO 1": {"tokens_per_s": 169.0}}
    assert "1.69 x | **no**" in line_with(page_of(module, processes=cases), "Tokens a second, two processes, ZeRO 1")


def test_what_was_not_measured_is_said_so(module: Import) -> None:
    text = page_of(module)
    claims = [line for line in text.split("## Claims")[1].split("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    assert len(claims) > 20
    assert all(line.split(" | ")[-2] == "–" for line in claims)
    assert text.count("Not measured yet.") >= 15


def test_every_benchmark_has_its_command_and_every_link_its_heading(module: Import) -> None:
    text = page_of(module)
    anchors = {
        "-".join("".join(c for c in line[3:].lower() if c.isalnum() or c in " -_").split())
        for line in text.splitlines()
        if line.startswith("## ")
    }
    assert set(re.findall(r"\(#([^)]+)\)", text)) <= anchors
    for benchmark in module("run").BENCHMARKS:
        assert f"`python benchmarks/run.py --only {benchmark.name} --out docs`" in text


def test_machine_versions_and_a_busy_machine(module: Import) -> None:
    text = page_of(module, train={"ours 1024": {"seconds": 1.0, "wall_s": 1.5}})
    assert "Some CPU (avx2), 2 cores, 2 threads, 8.0 GiB, GPU: none. python 3.11.7, torch 2.0. 2026-01-02" in text
    assert "it took up to 1.5 times the processor time" in text
    assert "processor time." not in page_of(module, train={"ours 1024": {"seconds": 1.0, "wall_s": 1.1}})


def test_plots_are_drawn_alike_twice(module: Import, tmp_path: Any) -> None:
    plots, encoder = module("suite.plots"), module("suite.encoder")
    results = module("suite.model").Results({"ours 1024": {"seconds": 1.0, "peak_bytes": 2**30}})
    texts = []
    for name in ("one.svg", "two.svg"):
        plots.draw_to(tmp_path / name, (4, 3), lambda figure: encoder.FORWARD.plot(results, figure))
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]
    assert "<svg" in texts[0]


@pytest.mark.parametrize("quick", [True, False])
def test_case_names_are_unique_and_scripts_are_there(module: Import, quick: bool) -> None:
    run, machine = module("run"), module("suite.machine")
    for benchmark in run.BENCHMARKS:
        cases = benchmark.cases(quick)
        assert len({case.name for case in cases}) == len(cases), benchmark.name
        assert {case.script for case in cases} <= set(benchmark.files), benchmark.name
        machine.digest(benchmark.stage, benchmark.files)


def test_the_whole_is_done_within_25_minutes(module: Import) -> None:
    run = module("run")
    cases = [case for benchmark in run.choose([]) for case in benchmark.cases(False) if not case.skip]
    assert sum(case.expected_s for case in cases) < 25 * 60
