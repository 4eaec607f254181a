"""`in-turn`: several commands in one process, as tasks of the pipeline run small jobs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def in_turn(repository: Path, folder: Path, *commands: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, repository / "pipeline" / "bin" / "in-turn"],
        input="".join(f"{command}\n" for command in commands),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_every_command_runs_and_the_first_failure_ends_it(repository: Path, tmp_path: Path) -> None:
    finished = in_turn(repository, tmp_path, "synth --out 'one study.json'", "", "synth --seed 1 --out two.json")
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "one study.json").is_file() and (tmp_path / "two.json").is_file()
    assert "job 1 of 2: " in finished.stderr and "job 2 of 2: " in finished.stderr
    failed = in_turn(repository, tmp_path, "synth --cohorts 99 --out three.json", "synth --out four.json")
    assert failed.returncode == 2 and "Error: " in failed.stderr
    assert not (tmp_path / "four.json").exists()
