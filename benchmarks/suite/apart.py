"""One case in a process of its own: its memory is its own, and where it dies the others go on."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from suite.machine import HERE, available_bytes
from suite.model import GIB, NO_RESULT, Case

# Left to the rest of the machine, so that a case that wants all of it fails alone.
SPARE_BYTES = GIB
_NO_MEMORY = re.compile(r"you tried to allocate (\d+) bytes|Unable to allocate ([\d.]+) GiB|MemoryError|out of memory")


def run_case(case: Case, n_threads: int) -> dict[str, Any]:
    """What a case printed, with `took_s` and, unless it says so itself, `peak_bytes`; or `no_result`, the reason.

    Args:
        case: What to run.
        n_threads: Threads of torch, NumPy and the like.
    """
    if case.skip is not None:
        return {NO_RESULT: case.skip}
    limit = available_bytes() - SPARE_BYTES if case.is_memory_limited else None
    threads = {name: str(n_threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(HERE / case.script), *case.arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **threads},
        start_new_session=True,
    )
    if limit is not None:
        # Memory that is asked for, not touched: an allocation that does not fit fails in the process that makes it.
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (limit, limit))
    timer = threading.Timer(case.limit_s, _end_group, [process.pid])
    timer.start()
    try:
        out, errors = process.communicate()
    except BaseException:
        _end_group(process.pid)
        raise
    finally:
        timer.cancel()
    took_s = round(time.perf_counter() - started, 1)
    if process.returncode != 0:
        is_late = took_s >= case.limit_s
        return {NO_RESULT: _reason(process.returncode, errors, case.limit_s if is_late else None, limit)}
    try:
        return {**json.loads(out), "took_s": took_s}
    except ValueError:
        return {NO_RESULT: f"printed no JSON object: {out[-200:]!r}"}


def _end_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reason(status: int, errors: str, late_after_s: float | None, limit: int | None) -> str:
    """Why there is no result, in a few words."""
    if late_after_s is not None:
        return f"not done in {late_after_s:.0f} s"
    found = _NO_MEMORY.search(errors)
    if found is not None:
        asked = int(found.group(1)) / GIB if found.group(1) else float(found.group(2) or 0)
        of = "" if limit is None else f", of {limit / GIB:.1f} GiB that were free"
        return f"out of memory: asked for {asked:.1f} GiB more{of}" if asked else f"out of memory{of}"
    if status < 0:
        return f"ended by signal {-status}"
    lines = [line for line in errors.strip().splitlines() if line.strip()]
    return f"ended with status {status}: {lines[-1][:200] if lines else 'no message'}"
