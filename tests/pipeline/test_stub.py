"""The wiring of the pipeline, without its work: every stub, both parsers, every way of starting."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.pipeline.conftest import Nextflow, copy_project

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline")]

PUBLISHED = [
    "bulkrnabert_mqc.json",
    "cohorts/clinical.tsv",
    "cohorts/genes.tsv",
    "cohorts/rejected.tsv",
    "cohorts/summary.json",
    "download/TCGA-SYNA.manifest.tsv",
    "download/TCGA-SYNA.plan.json",
    "embeddings/r0f0.h5ad",
    "encoders/r0f1/model.safetensors",
    "mlflow/mlflow.db",
    "numbers/metrics.json",
    "predictions/cancer_type.pan/predictions.parquet",
    "report.html",
    "results.csv",
    "splits/splits.tsv",
]
TRACE = "pipeline_info/trace.tsv"


def published(outdir: Path) -> list[str]:
    return sorted(path.relative_to(outdir).as_posix() for path in outdir.rglob("*") if path.is_file())


def test_every_stub_runs(nextflow: Nextflow, repository: Path) -> None:
    finished = nextflow("run", str(repository), "-profile", "test", "-stub-run", "--outdir", "out")
    assert finished.returncode == 0, finished.output
    assert {*PUBLISHED, TRACE} <= set(published(nextflow.folder / "out"))
    processes = {path.stem.upper() for path in (repository / "pipeline" / "modules").glob("*.nf")}
    assert set(finished.executed("out")) == processes


def test_every_stub_runs_under_the_strict_parser(nextflow: Nextflow, repository: Path) -> None:
    # The strict parser of this Nextflow does not give an included configuration the command line's --outdir, so the
    # trace lands in the default folder; everything that the pipeline itself publishes is in its place.
    finished = nextflow("run", str(repository), "-profile", "test", "-stub-run", "--outdir", "out", parser="v2")
    assert finished.returncode == 0, finished.output
    assert set(PUBLISHED) <= set(published(nextflow.folder / "out"))


def test_pulled_from_a_bare_repository(repository: Path, tmp_path: Path) -> None:
    clone = copy_project(repository, tmp_path / "source")
    bare = tmp_path / "facility" / "bulkrnabert.git"
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "copy"]):
        subprocess.run([*git, *command], cwd=clone, check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(clone), str(bare)], check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = Nextflow(repository / "nextflow", elsewhere)
    finished = run("run", f"file:{bare}", "-profile", "test", "-stub-run", "--outdir", "out", "-latest")
    assert finished.returncode == 0, finished.output
    assert set(PUBLISHED) <= set(published(elsewhere / "out"))
