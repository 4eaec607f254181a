"""The notebooks run from top to bottom, and are stored with small outputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.timeout(1800)  # the first test that wants `finished_run` makes it

NOTEBOOKS = sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb"))
MAX_BYTES = 120_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "clone"
    shutil.copytree(finished_run, folder, ignore=shutil.ignore_patterns("made"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    notebook = nbformat.read(path, as_version=4)
    done = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    texts = [output.get("text", "") for cell in done.cells for output in cell.get("outputs", [])]
    pictures = [
        output for cell in done.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert pictures and not any("Traceback" in text for text in texts)


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["embed", "predict"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_small_and_without_paths_of_a_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text) < MAX_BYTES
    assert "/tmp/" not in text and "/home/" not in text and "Traceback" not in text
    assert {cell["id"] for cell in nbformat.read(path, as_version=4).cells}
