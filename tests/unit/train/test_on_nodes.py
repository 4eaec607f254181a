"""`bin/on-nodes` with the real torchrun, on a machine that stands for two nodes: which status comes back, and when."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Both stand for SLURM's. srun gives each node's task the same command, and ends the others when one fails.
SCONTROL = """\
#!/bin/sh
case $2 in
    hostnames) printf 'n1\\nn2\\n' ;;
    node) echo 'NodeName=n1 Arch=x86_64 NodeAddr=127.0.0.1 NodeHostName=n1' ;;
esac
"""
SRUN = """\
#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
[[ ! -v SRUN_FAILS ]] || exit "$SRUN_FAILS"
nodes=() status=0
for node in 1 2; do
    "$@" &
    nodes+=($!)
done
for node in 1 2; do
    wait -n "${nodes[@]}" && continue
    code=$?
    ((status >= code)) || status=$code
    kill "${nodes[@]}" 2>/dev/null
    (sleep 5; kill -9 "${nodes[@]}" 2>/dev/null) &
done
exit $status
"""
TIMEOUT_S = 200
SLOW = pytest.mark.slow  # torchrun takes its time to start


def on_nodes(
    repository: Path, folder: Path, first: str, second: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a shell script in each of two processes, one a node; `after` waits until the other one is over.

    torchrun makes `$` of `$$`.
    """
    script = (
        "after() { until [[ -e on-nodes.notes/ended.1 ]]; do sleep 0.1; done; }\n"
        f"if ((RANK)); then\n{second}\nelse\n{first}\nfi"
    )
    programs = folder / "programs"
    programs.mkdir()
    for name, text in (("scontrol", SCONTROL), ("srun", SRUN)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    with socket.socket() as free:  # on-nodes takes the port 20000 + the job's number
        free.bind(("127.0.0.1", 0))
        job = free.getsockname()[1] - 20000
    slurm = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_ID": str(job), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", repository / "pipeline" / "bin" / "on-nodes", "2", "1", "bash", "-c", script],
        env={**os.environ, **slurm, **environment, "PATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        pytest.param("exit 0", "exit 0", 0, id="done", marks=SLOW),
        pytest.param("exit 75", "sleep 1; exit 75", 75, id="run me again", marks=SLOW),
        pytest.param("after; exit 1", "kill -9 $BASHPID", 137, id="one killed, the other fails of it"),
        pytest.param("kill -9 $BASHPID", "exec sleep 20", 137, id="one killed, the other hangs", marks=SLOW),
        pytest.param("exec sleep 20", "exit 1", 1, id="one failed, the other is ended for it", marks=SLOW),
        pytest.param("after; kill -9 $BASHPID", "exit 2", 2, id="the first failure counts", marks=SLOW),
        pytest.param("after; exit 1", "exit 75", 1, id="the first could not save", marks=SLOW),
    ],
)
def test_status(repository: Path, tmp_path: Path, first: str, second: str, status: int) -> None:
    done = on_nodes(repository, tmp_path, first, second)
    assert done.returncode == status, done.stderr
    assert ("a process was ended by SIGKILL" in done.stderr) == (status == 137)


@pytest.mark.parametrize(("srun", "status"), [("125", 137), ("7", 7)])
def test_a_status_of_srun_itself(repository: Path, tmp_path: Path, srun: str, status: int) -> None:
    """SLURM ends all of a step that was out of memory, so that nobody leaves a note."""
    (tmp_path / "on-nodes.notes").mkdir()  # of an earlier attempt
    (tmp_path / "on-nodes.notes" / "run_again").touch()
    assert on_nodes(repository, tmp_path, "exit 0", "exit 0", SRUN_FAILS=srun).returncode == status


@pytest.mark.slow
def test_nobody_waits_for_a_first_process_that_found_the_state_in_use(repository: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    done = on_nodes(repository, tmp_path, "exit 75", "exec sleep 120")
    assert done.returncode == 75, done.stderr
    assert time.monotonic() - start > 55  # as long as others may take to end in peace
