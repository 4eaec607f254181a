"""SLURM on this machine, from Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")


@dataclass(frozen=True)
class Job:
    """A job that the scheduler knows."""

    job_id: str
    state: str
    name: str
    node: str


@dataclass(frozen=True)
class Slurm:
    """Commands of the cluster.

    Attributes:
        configuration: Its slurm.conf.
    """

    configuration: Path

    def command(self, *arguments: str) -> str:
        """Standard output of one of SLURM's commands."""
        environment = {**os.environ, "SLURM_CONF": str(self.configuration)}
        finished = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=True)
        return finished.stdout

    def jobs(self, name: str, state: str) -> list[Job]:
        """Jobs whose name holds a word, in one state."""
        listing = self.command("squeue", "--noheader", f"--states={state}", "--format=%i|%T|%j|%N")
        found = [Job(*line.split("|")) for line in listing.splitlines()]
        return [job for job in found if name in job.name]

    def set_node(self, node: str, state: str) -> None:
        """Drain a node, lose it (`down`) or take it back (`resume`)."""
        self.command("scontrol", "update", f"nodename={node}", f"state={state}", "reason=test")


@contextmanager
def _cluster(*kind: str) -> Iterator[Slurm]:
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        pytest.skip(f"no SLURM here ({', '.join(absent)}): apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("SLURM's daemons are started as root only")
    # Not pytest's own folder: the path of a socket may have no more than 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    script = Path(__file__).with_name("cluster.sh")
    try:
        subprocess.run([script, "start", folder, *kind], check=True, timeout=60)
        yield Slurm(folder / "slurm.conf")
    finally:
        subprocess.run([script, "stop", folder, *kind], check=False, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A running SLURM of two nodes, with GPUs and memory that are counted."""
    with _cluster() as found:
        yield found


@pytest.fixture(scope="session")
def plain_slurm() -> Iterator[Slurm]:
    """Another one, set up with the least: memory unknown, half an hour a job, a job that asks for more just waits."""
    with _cluster("plain") as found:
        yield found
