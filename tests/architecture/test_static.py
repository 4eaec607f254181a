"""Linter, formatter and type checker agree with the whole repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(sys.executable).parent
CHECKS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "types of the launchers": ["mypy", "--strict", "launchers"],
}


@pytest.mark.parametrize("arguments", CHECKS.values(), ids=CHECKS.keys())
def test_static_check(arguments: list[str], repository: Path) -> None:
    program = TOOLS / arguments[0]
    assert program.is_file(), f"{program} is not in the environment: run ./test, which installs it"
    done = subprocess.run(
        [str(program), *arguments[1:]], cwd=repository, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"


def test_the_linter_can_fail(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import os\n", encoding="utf-8")
    done = subprocess.run([str(TOOLS / "ruff"), "check", "--isolated", str(bad)], capture_output=True, check=False)
    assert done.returncode == 1
