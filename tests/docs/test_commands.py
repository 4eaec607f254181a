"""The commands and the Python of the pages are run as they are written, page by page, in a folder of a finished run."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bulkrnabert.cli import _run
from tests.conftest import REPOSITORY
from tests.docs.blocks import Block, blocks, is_record, logical_lines, pages, words_of
from tests.docs.conftest import working_in

pytestmark = pytest.mark.timeout(1800)  # the first test that wants `finished_run` makes it

LANGUAGES = ("bash", "python", "text", "csv", "yaml", "console")
ELSEWHERE = ("docs/tutorial.md", "docs/python.md")  # run by test_tutorial.py; signatures, not programs
OPERATORS = {"&&", "|", ">", ";"}


def runnable(page: Path) -> list[Block]:
    return [
        block
        for block in blocks(REPOSITORY, page)
        if block.language in ("bash", "python") and block.not_run is None and block.page not in ELSEWHERE
    ]


PAGES = [page for page in pages(REPOSITORY) if not is_record(page, REPOSITORY) and runnable(page)]


def run_shell_block(block: Block, environment: dict[str, str]) -> None:
    """Run a block line by line; `bulkrnabert` alone on a line in this process, as it loads torch once then."""
    for _, line in logical_lines(block.text):
        words = words_of(line)
        if words[0] == "bulkrnabert" and not OPERATORS & set(words) and words[1] != "--version":
            assert _run(shlex.split(line)[1:]) == 0, f"{block.name}: {line}"
            continue
        finished = subprocess.run(["bash", "-euc", line], env=environment, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, f"{block.name}: {line}\n{finished.stdout}{finished.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_page_runs_from_top_to_bottom(page: Path, finished_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    shutil.copytree(finished_run, folder, ignore=shutil.ignore_patterns("made"))
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = dict(os.environ, PATH=paths, PYTHONPATH=str(REPOSITORY))
    with working_in(folder):
        for block in runnable(page):
            if block.language == "python":
                exec(compile(block.text, block.name, "exec"), {"__name__": block.name})
            else:
                run_shell_block(block, environment)


def test_languages_are_known() -> None:
    found = {block.language for page in pages(REPOSITORY) for block in blocks(REPOSITORY, page) if block.language}
    assert found <= {*LANGUAGES, "mermaid"}


def test_what_is_not_run_says_why() -> None:
    reasons = {block.not_run for page in pages(REPOSITORY) for block in blocks(REPOSITORY, page)} - {None}
    assert reasons and all(len(str(reason).split()) > 1 or reason == "minutes" for reason in reasons)


def test_a_wrong_command_is_noticed(tmp_path: Path) -> None:
    block = Block("page.md", 1, "bash", "bulkrnabert embed --checkpoint none --table none --out none.h5ad")
    with working_in(tmp_path), pytest.raises(AssertionError, match=r"page.md:1: bulkrnabert embed"):
        run_shell_block(block, dict(os.environ))
    with working_in(tmp_path), pytest.raises(AssertionError, match="false"):
        run_shell_block(Block("page.md", 1, "bash", "false"), dict(os.environ))
