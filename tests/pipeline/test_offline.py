"""A run where there is no network at all: in a network namespace that has a loopback device and no route."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.conftest import Nextflow

pytestmark = [pytest.mark.pipeline, pytest.mark.slow, pytest.mark.timeout(1800)]

# 0x8914 sets flags of a device; 0x41 is "up and running". Then it becomes the command.
LOOPBACK_UP = """\
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
    fcntl.ioctl(device, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
os.execvp(sys.argv[1], sys.argv[1:])
"""
REACH_OUT = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"


@pytest.fixture(scope="module")
def cut_off() -> list[str]:
    """What to put before a command so that it has no network."""
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--net", *as_root, sys.executable, "-c", LOOPBACK_UP]
    try:
        finished = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        pytest.skip("no `unshare` on PATH")
    if finished.returncode:
        pytest.skip(f"no network namespace may be made here: {finished.stderr.strip().splitlines()[-1]}")
    return command


def test_there_is_no_way_out(cut_off: list[str]) -> None:
    finished = subprocess.run(
        [*cut_off, sys.executable, "-c", REACH_OUT], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Network is unreachable" in finished.stderr


def test_the_road_needs_no_network(repository: Path, tmp_path: Path, cut_off: list[str]) -> None:
    launcher = tmp_path / "nextflow"
    launcher.write_text(
        "#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in cut_off) + f" '{repository}/nextflow' \"$@\"\n"
    )
    launcher.chmod(0o755)
    nextflow = Nextflow(launcher, tmp_path)
    options = ("--protocol", "transductive", "--baselines", "none", "--steps", "5", "--outdir", "out")
    finished = nextflow("run", str(repository), "-profile", "test", *options)
    assert finished.returncode == 0, finished.output
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
