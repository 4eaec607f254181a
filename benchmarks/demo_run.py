"""Time and memory of the demo, and the time of an unchanged `-resume`, on real Nextflow.

Memory is the largest sum over Nextflow and everything it started, sampled twice a second: proportional set sizes, in
which a page that several processes share is divided among them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_EVERY_S = 0.5


def tree_bytes(root: psutil.Process) -> int:
    """Memory of a process and its descendants, shared pages counted once."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def run(folder: Path, *options: str) -> dict[str, float]:
    """One run of the demo from an empty folder: seconds and peak GiB."""
    command = [str(ROOT / "nextflow"), "run", str(ROOT), "-profile", "demo", "-ansi-log", "false", *options]
    started = time.perf_counter()
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=os.environ)
        peak = 0
        while process.poll() is None:
            try:
                peak = max(peak, tree_bytes(psutil.Process(process.pid)))
            except psutil.NoSuchProcess:
                break
            time.sleep(SAMPLE_EVERY_S)
    assert process.wait() == 0, (folder / "log.txt").read_text()
    return {"wall_s": round(time.perf_counter() - started, 1), "peak_gib": round(peak / 2**30, 2)}


def main() -> None:
    """Measure both and print JSON."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        demo, resumed = run(folder), run(folder, "-resume")
    print(json.dumps({"demo_s": demo["wall_s"], "demo_peak_gib": demo["peak_gib"], "resume_s": resumed["wall_s"]}))


if __name__ == "__main__":
    main()
