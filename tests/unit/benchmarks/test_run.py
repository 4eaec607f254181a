"""Cases end each in their own process, records are kept, and a stopped run goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Import = Callable[[str], ModuleType]
BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py") if path.name != "timing.py")


@pytest.fixture
def case(module: Import, tmp_path: Path) -> Callable[..., Any]:
    """A case that runs some Python."""

    def make(code: str, **settings: Any) -> Any:
        path = tmp_path / f"script{len(list(tmp_path.iterdir()))}.py"
        path.write_text(code)
        return module("suite.model").Case("c", str(path), (), 1, **settings)

    return make


def test_a_case_gives_what_it_prints(module: Import, case: Callable[..., Any]) -> None:
    found = module("suite.apart").run_case(
        case("import os; print('{\"n\": ' + os.environ['OMP_NUM_THREADS'] + '}')"), 3
    )
    assert found["n"] == 3
    assert found["took_s"] >= 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ValueError('no such thing')", "ended with status 1: ValueError: no such thing"),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9"),
        ("print('hello')", "printed no JSON object: 'hello\\n'"),
        ("raise MemoryError", "out of memory, of "),
    ],
)
def test_a_failure_is_recorded(module: Import, case: Callable[..., Any], code: str, reason: str) -> None:
    assert module("suite.apart").run_case(case(code), 1)["no_result"].startswith(reason)


def test_a_case_that_takes_too_long_is_given_up(module: Import, case: Callable[..., Any]) -> None:
    found = module("suite.apart").run_case(case("import time; time.sleep(60)", limit_s=0.5), 1)
    assert found == {"no_result": "not done in 0 s"}


def test_a_case_cannot_take_the_memory_of_the_machine(module: Import, case: Callable[..., Any]) -> None:
    code = "import time; time.sleep(0.5); import numpy; numpy.zeros(10**14)"
    assert module("suite.apart").run_case(case(code), 1)["no_result"].startswith("out of memory")


def test_a_record_answers_for_its_code_sizes_and_machine(module: Import, tmp_path: Path) -> None:
    store = module("suite.store")
    conditions = {"machine": {"cpu": "one"}, "versions": {}, "date": "", "revision": ""}
    store.write_record(tmp_path, store.Record("train", "digest", False, conditions, {"a": {"seconds": 1.5}}))
    found = store.read_record(tmp_path, "train")
    assert found.results.get("a", "seconds") == 1.5
    assert found.answers("digest", False, conditions)
    assert not found.answers("other", False, conditions)
    assert not found.answers("digest", True, conditions)
    assert not found.answers("digest", False, {**conditions, "machine": {"cpu": "two"}})
    assert store.read_record(tmp_path, "forward") is None


def test_a_file_that_is_no_record_is_refused(module: Import, tmp_path: Path) -> None:
    store = module("suite.store")
    path = store.record_path(tmp_path, "train")
    path.parent.mkdir()
    path.write_text("{}")
    with pytest.raises(SystemExit, match=r"bench_train\.json: is no record of a benchmark"):
        store.read_record(tmp_path, "train")


def run_overhead(out: Path, trace: Path, *more: str) -> str:
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--only", "overhead", "--trace", str(trace), *more]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=True)
    return done.stderr


def test_a_run_measures_once_and_writes_the_page(tmp_path: Path) -> None:
    trace = tmp_path / "trace.tsv"
    trace.write_text("status\tduration\trealtime\nCOMPLETED\t1m 10s\t60s\nCOMPLETED\t2500\t2000\nFAILED\t9s\t1s\n")
    assert "[1/1] overhead: trace" in run_overhead(tmp_path / "out", trace)
    assert "[1/1]" not in run_overhead(tmp_path / "out", trace)
    assert "[1/1] overhead: trace" in run_overhead(tmp_path / "out", trace, "--again")
    record = json.loads((tmp_path / "out" / "img" / "bench_overhead.json").read_text())
    found = record["cases"]["trace"]
    assert (found["tasks"], found["work_s"], found["overhead_s"]) == (2, 62.0, 10.5)
    page = (tmp_path / "out" / "benchmarks.md").read_text()
    assert "| 14.5 % | yes |" in page  # 10.5 of 72.5 s


def test_an_unknown_name_is_refused() -> None:
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--only", "nothing", "--out", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--only nothing: no such benchmark or group; there are bulkrnabert, " in done.stderr


def test_every_script_explains_itself() -> None:
    # One process for all: what takes time is importing torch.
    code = (
        "import contextlib, io, runpy, sys\n"
        f"sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        f"for name in {SCRIPTS!r}:\n"
        "    sys.argv, out = [name, '--help'], io.StringIO()\n"
        "    try:\n"
        "        with contextlib.redirect_stdout(out):\n"
        f"            runpy.run_path({str(BENCHMARKS)!r} + '/' + name, run_name='__main__')\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0, name\n"
        "    assert 'usage: ' in out.getvalue(), name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("script", "arguments", "quantities"),
    [
        ("attention.py", ["--genes", "32", "--variant", "by_head", "--mode", "train"], {"seconds", "peak_bytes"}),
        ("mojo_step.py", ["--mode", "paper"], {"mojo", "transformer", "ratio"}),
    ],
)
def test_a_tiny_size_runs(script: str, arguments: list[str], quantities: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert quantities <= set(found)
    assert all(found[name] > 0 for name in quantities)
    assert found.get("ratio", 50) >= 50  # less work of MOJO on paper, the only ratio here
