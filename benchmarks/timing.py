"""How every script here measures a piece of work: seconds of processor time, and the process's largest memory."""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

GIB = 2**30


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def n_threads() -> int:
    """Threads that torch uses in this process."""
    import torch

    return torch.get_num_threads()


class Stopwatch:
    """Seconds of one piece of work.

    Attributes:
        seconds: Processor time over threads, which other work on the machine hardly changes.
        wall_s: By the clock; well above `seconds` where the machine was busy.
    """

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        self.seconds = self.wall_s = 0.0

    def stop(self) -> Stopwatch:
        """Take both times."""
        self.seconds = (time.process_time() - self._cpu) / n_threads()
        self.wall_s = time.perf_counter() - self._wall
        return self


def fastest(run: Callable[[], None], for_s: float, warm_up: bool = True) -> dict[str, float]:
    """The fastest of the runs that fit into some seconds, at least one, after a first that does not count."""
    if warm_up:
        run()
    rounds: list[Stopwatch] = []
    begun = time.perf_counter()
    while not rounds or time.perf_counter() - begun < for_s:
        watch = Stopwatch()
        run()
        rounds.append(watch.stop())
    best = min(rounds, key=lambda one: one.seconds)
    return {"seconds": best.seconds, "wall_s": best.wall_s, "n_runs": len(rounds)}


def side_by_side(
    ours: Callable[[], None], other: Callable[[], None], for_s: float, at_least: int = 3
) -> dict[str, float]:
    """Two ways of the same work in turns, so that what disturbs one disturbs the other; the ratio's median and spread.

    Returns:
        `ratio`: seconds of the other over ours, median of the rounds; `ratio_low`, `ratio_high`: its quartiles;
        `seconds`, `other_seconds`, `wall_s`, `other_wall_s`: medians.
    """
    ours()
    other()
    rounds: list[tuple[Stopwatch, Stopwatch]] = []
    begun = time.perf_counter()
    while len(rounds) < at_least or time.perf_counter() - begun < for_s:
        found: dict[int, Stopwatch] = {}
        order = ((0, ours), (1, other))
        for number, run in order if len(rounds) % 2 == 0 else order[::-1]:
            watch = Stopwatch()
            run()
            found[number] = watch.stop()
        rounds.append((found[0], found[1]))
    ratios = [theirs.seconds / mine.seconds for mine, theirs in rounds]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {
        "ratio": middle,
        "ratio_low": low,
        "ratio_high": high,
        "seconds": statistics.median(mine.seconds for mine, _ in rounds),
        "other_seconds": statistics.median(theirs.seconds for _, theirs in rounds),
        "wall_s": statistics.median(mine.wall_s for mine, _ in rounds),
        "other_wall_s": statistics.median(theirs.wall_s for _, theirs in rounds),
        "n_runs": len(rounds),
    }


def has_bf16() -> bool:
    """Whether the processor multiplies bf16 itself (AVX512-BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
