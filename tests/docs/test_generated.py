"""Pages that are made from the code say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bulkrnabert.cli import STAGES, program


@pytest.mark.parametrize("name", ["cli", "python", "parameters"])
def test_a_generated_page_is_current(repository: Path, name: str) -> None:
    script = repository / "docs" / f"generate_{name}.py"
    finished = subprocess.run([sys.executable, str(script), "--check"], check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_every_option_is_in_the_reference(repository: Path) -> None:
    page = (repository / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## ([\w-]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert list(sections) == list(STAGES)
    for stage, text in sections.items():
        command = program.get_command(click.Context(program), stage)
        assert command is not None
        options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
        missing = [
            name for option in options for name in option.opts if f"`{name}" not in text and f", {name}" not in text
        ]
        assert missing == [], stage


def test_help_has_no_line_without_a_meaning(repository: Path) -> None:
    """Every option says what it is for."""
    for stage in STAGES:
        command = program.get_command(click.Context(program), stage)
        assert command is not None and command.help
        bare = [one.name for one in command.params if isinstance(one, click.Option) and not one.hidden and not one.help]
        assert bare == [], stage


@pytest.mark.slow
def test_the_example_is_what_its_script_makes(repository: Path, tmp_path: Path) -> None:
    code = "import sys, pathlib, generate_example as made; made.write_example(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=repository / "docs", check=True)
    kept = repository / "docs" / "example"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in kept.iterdir()}
    for path in kept.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
