"""The program itself: help that teaches, exit statuses, one message without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bulkrnabert.cli import program

STAGES = program.list_commands(None)  # type: ignore[arg-type]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bulkrnabert.cli", *arguments]
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).resolve().parents[3]))
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_help(stage: str) -> None:
    result = CliRunner().invoke(program, [stage, "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 5


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_its_script(stage: str, repository: Path) -> None:
    script = repository / "bin" / f"brb-{stage}"
    assert os.access(script, os.X_OK)
    assert f'run_stage("{stage}")' in script.read_text()


def test_bad_input_is_one_message_and_status_2(tmp_path: Path) -> None:
    finished = run("split", "--cohorts", str(tmp_path / "none"), "--out", str(tmp_path / "splits"))
    assert finished.returncode == 2
    assert "Error: " in finished.stderr and "Traceback" not in finished.stderr
    assert not (tmp_path / "splits").exists()


def test_an_unknown_option_is_status_2() -> None:
    finished = run("split", "--no-such-option")
    assert finished.returncode == 2 and "No such option" in finished.stderr


def test_verbose_shows_the_traceback(tmp_path: Path) -> None:
    finished = run("--verbose", "split", "--cohorts", str(tmp_path / "none"), "--out", str(tmp_path / "splits"))
    assert finished.returncode == 2 and "Traceback" in finished.stderr


def test_version() -> None:
    finished = run("--version")
    assert finished.returncode == 0 and finished.stdout.startswith("bulkrnabert, version ")
