"""Real Nextflow, started through the launcher, in folders of its own."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

COPIED = (
    "nextflow",
    "launchers",
    "nextflow.config",
    "nextflow_schema.json",
    "pipeline",
    "bin",
    "conf",
    "bulkrnabert",
    "pyproject.toml",
    "requirements.lock",
)


@dataclass(frozen=True)
class Finished:
    """What a run of Nextflow left behind."""

    returncode: int
    output: str
    folder: Path

    def trace(self, outdir: str) -> list[dict[str, str]]:
        """Rows of the execution trace, one a task."""
        with (self.folder / outdir / "pipeline_info" / "trace.tsv").open(encoding="utf-8") as handle:
            return list(csv.DictReader(handle, delimiter="\t"))

    def executed(self, outdir: str) -> list[str]:
        """Names of the processes that ran, without those taken from the cache, sorted."""
        names = {row["name"].split(" ")[0].split(":")[-1] for row in self.trace(outdir) if row["status"] != "CACHED"}
        return sorted(names)


class Nextflow:
    """Runs the launcher of one copy of the project from a folder."""

    def __init__(self, launcher: Path, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self.launcher = launcher
        self.folder = folder
        self._variables = dict(variables or {})

    def __call__(self, *arguments: str, parser: str | None = None, timeout_s: int = 1500) -> Finished:
        # Pulled pipelines go into the test's own folder: a user's ~/.nextflow is neither used nor littered.
        environment = dict(os.environ, NXF_ANSI_LOG="false", NXF_ASSETS=str(self.folder / "assets"), **self._variables)
        environment.pop("TOWER_ACCESS_TOKEN", None)
        if parser is not None:
            environment["NXF_SYNTAX_PARSER"] = parser
        finished = subprocess.run(
            [str(self.launcher), *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Finished(finished.returncode, finished.stdout, self.folder)


@pytest.fixture
def nextflow(repository: Path, tmp_path: Path) -> Nextflow:
    """The launcher of this clone, started in an empty folder elsewhere."""
    return Nextflow(repository / "nextflow", tmp_path)


def copy_project(repository: Path, target: Path) -> Path:
    """A copy of the project that a test may edit; it shares this clone's environment and Nextflow."""
    target.mkdir(parents=True)
    for name in COPIED:
        source = repository / name
        if source.is_symlink():
            (target / name).symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(source, target / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / name)
    return target
