"""A download is killed again and again, anywhere: what is there is right, and nothing is fetched twice."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import tempfile
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from bulkrnabert.cli import _run
from bulkrnabert.data.sources.gdc import GdcClient
from bulkrnabert.data.sources.gdc_download import download
from bulkrnabert.data.sources.gdc_faults import Fault
from bulkrnabert.data.sources.gdc_standin import ServerHandle, serve
from bulkrnabert.data.synthetic import SyntheticStudy

N_KILLS = 50
STUDY = SyntheticStudy.create(seed=3, cohorts=1, patients_per_cohort=16, genes=200, oddities=False)
BODIES = {file.file_id: STUDY.file_body(file.file_id) for file in STUDY.all_files.values()}


def start_a_download(
    context: multiprocessing.context.ForkServerContext, url: str, raw: Path, *options: str
) -> ForkServerProcess:
    arguments = ["download", "--api", url, "--projects", ",".join(STUDY.project_ids), "--out", str(raw), *options]
    process = context.Process(target=_run, args=(arguments,))
    process.start()
    return process


def seconds_to_a_plan(context: multiprocessing.context.ForkServerContext, url: str) -> float:
    """How long this machine takes to start the command and plan; the second time, as the first one loads everything."""
    took_s = 0.0
    for _ in range(2):
        with tempfile.TemporaryDirectory() as name:
            began = time.monotonic()
            start_a_download(context, url, Path(name), "--plan-only").join()
            took_s = time.monotonic() - began
            assert (Path(name) / "plan.json").exists()
    return took_s


def kill_a_download(context: multiprocessing.context.ForkServerContext, url: str, raw: Path, after_s: float) -> bool:
    """Run the command, kill it after so many seconds; whether it was still at work."""
    process = start_a_download(context, url, raw)
    process.join(after_s)
    assert process.pid is not None
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def final_files(raw: Path) -> set[str]:
    """Ids of the files under their final names, all of them right."""
    paths = [path for path in raw.glob("*/*") if path.suffix == ".tsv" and path.parent.name in BODIES]
    for path in paths:
        assert path.read_bytes() == BODIES[path.parent.name]
    return {path.parent.name for path in paths}


def asked(portal: ServerHandle, start: int) -> set[str]:
    return {request.path.rpartition("/")[2] for request in portal.data_requests[start:]}


@pytest.mark.slow
def test_a_download_that_is_killed_fifty_times() -> None:
    """The bodies drip, so that most kills strike while four files are half there."""
    rng = random.Random(0)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["bulkrnabert.cli", "bulkrnabert.cli.download", "bulkrnabert.data.sources.gdc_download"]
    )
    slow = Fault(fault="drip", path="/data/", bytes_per_s=60_000, times=0)
    n_killed = n_with_parts = 0
    with serve(STUDY, [slow]) as portal:
        start_s = seconds_to_a_plan(context, portal.url)
        while n_killed < N_KILLS:
            with tempfile.TemporaryDirectory() as name:
                raw = Path(name) / "raw"
                there: set[str] = set()
                while n_killed < N_KILLS and not (raw / "manifest.tsv").exists():
                    start = len(portal.data_requests)
                    after_s = start_s * rng.uniform(0.5, 1.2) + rng.uniform(0, 0.4)
                    n_killed += kill_a_download(context, portal.url, raw, after_s)
                    assert not asked(portal, start) & there
                    there = final_files(raw)
                    n_with_parts += any(raw.rglob("*.part"))
                start = len(portal.data_requests)
                with GdcClient(portal.url) as client:
                    plan = download(client, raw, STUDY.project_ids, "rnaseq").plan
                assert not asked(portal, start) & there
                assert final_files(raw) == {file.file_id for file in plan.files}
                assert len(plan.files) == 16
                assert not list(raw.rglob("*.part*"))
                start = len(portal.data_requests)
                with GdcClient(portal.url) as client:
                    download(client, raw, STUDY.project_ids, "rnaseq")
                assert asked(portal, start) == set()
        ranges = [request.byte_range for request in portal.data_requests if request.byte_range is not None]
    assert n_with_parts >= 10  # the kills do strike in the middle of files
    assert len(ranges) >= 10  # and the next run goes on there
