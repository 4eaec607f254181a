"""The tutorial, run as it is written in a clean folder with real Nextflow; and the pipeline's lines of other pages."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.browser.reading import EMPTY, OVERFLOW, chromium, open_page, requested_addresses, serious
from tests.conftest import REPOSITORY
from tests.docs.blocks import Block, blocks
from tests.pipeline.conftest import copy_project

pytestmark = [pytest.mark.pipeline, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def clone(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose launcher uses the environment and the Nextflow of this one."""
    folder = copy_project(repository, tmp_path_factory.mktemp("tutorial") / "bulkrnabert")
    (folder / "nextflow").write_text(f'#!/bin/sh\nexec "{repository}/nextflow" "$@"\n')
    (folder / ".venv").symlink_to(repository / ".venv")
    (folder / "docs").mkdir()
    (folder / "docs" / "example").symlink_to(repository / "docs" / "example")
    return folder


def run_blocks(clone: Path, script: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, NXF_ANSI_LOG="false")
    command = ["bash", "-eux", "-c", script]
    finished = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-4000:]
    return finished


def shell_of(page: str) -> list[Block]:
    return [block for block in blocks(REPOSITORY, REPOSITORY / "docs" / page) if block.language == "bash"]


def test_the_tutorial_runs_as_written(clone: Path) -> None:
    finished = run_blocks(clone, "\n".join(block.text for block in shell_of("tutorial.md")))
    for made in ("results/report.html", "results/results.csv", "results-own/report.html", "new.h5ad"):
        assert (clone / made).stat().st_size > 0, made
    assert "GO  expression.tsv" in finished.stdout


def test_the_run_that_the_pages_start_from(clone: Path) -> None:
    """What the pages' tests make by hand, tiny, is where a real run puts it."""
    run_blocks(clone, "\n".join(block.text for block in shell_of("usage.md") if "--outdir results" in block.text))
    starts = ("cohorts", "splits/splits.tsv", "encoders/r0f0", "encoders/r0f1", "encoders/gexbert.r0f0")
    starts += ("encoders/mojo.r0f0", "finetuned/cancer_type.pan.ia3.pretrained/model")
    missing = [name for name in starts if not (clone / "results" / name).exists()]
    assert missing == []


@pytest.mark.browser
def test_its_report_can_be_read_by_all(clone: Path, tmp_path: Path) -> None:
    """After the run above: the whole page of three models, every part opened."""
    report = clone / "results" / "report.html"
    with chromium(tmp_path) as browser:
        open_page(browser, report, 1400)
        assert browser.execute_script(EMPTY) == []
        assert browser.execute_script(OVERFLOW) <= 0
        for section in ("gexbert", "modalities", "survival", "classification", "embedding"):
            assert browser.execute_script("return document.getElementById(arguments[0]) !== null", section), section
        assert [url for url in requested_addresses(browser) if not url.startswith("data:")] == [report.as_uri()]
        assert serious(browser) == []
