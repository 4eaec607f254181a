"""What each kind of site is asked for: SLURM, clouds, containers, GPUs. Configuration only; no scheduler is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.conftest import Nextflow, copy_project

pytestmark = [pytest.mark.pipeline]


def settings(nextflow: Nextflow, project: Path, profile: str, name: str) -> str:
    """One setting of a profile, as `nextflow config -value` prints it."""
    finished = nextflow("config", str(project), "-profile", profile, "-flat")
    assert finished.returncode == 0, finished.output
    values = dict(line.split(" = ", 1) for line in finished.output.splitlines() if " = " in line)
    return values[name]


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose parameters a site has filled in."""
    project = copy_project(repository, tmp_path_factory.mktemp("site") / "project")
    config = project / "nextflow.config"
    text = config.read_text()
    for name, value in (("region", "'eu-central-1'"), ("google_project", "'lab'"), ("bucket", "'s3://lab'")):
        line = next(line for line in text.splitlines() if line.split("=")[0].strip() == name)
        text = text.replace(line, f"    {name} = {value}")
    config.write_text(text)
    return project


@pytest.mark.parametrize(
    ("profile", "name", "expected"),
    [
        ("awsbatch", "process.executor", "'awsbatch'"),
        ("awsbatch", "aws.region", "'eu-central-1'"),
        ("awsbatch", "aws.batch.maxSpotAttempts", "5"),
        ("awsbatch", "workDir", "'s3://lab/work'"),
        ("google-batch", "process.executor", "'google-batch'"),
        ("google-batch", "google.location", "'eu-central-1'"),
        ("google-batch", "google.project", "'lab'"),
        ("google-batch", "google.batch.spot", "true"),
        ("slurm", "process.executor", "'slurm'"),
        ("slurm,gpu", "params.gpus", "1"),
        ("podman", "podman.enabled", "true"),
    ],
)
def test_profile_sets(nextflow: Nextflow, site: Path, profile: str, name: str, expected: str) -> None:
    assert settings(nextflow, site, profile, name) == expected


def test_several_nodes_are_refused_where_nothing_starts_them(nextflow: Nextflow, repository: Path) -> None:
    finished = nextflow("run", str(repository), "-profile", "test", "--nodes", "2")
    assert finished.returncode == 2, finished.output
    assert "--nodes 2: training over several nodes needs -profile slurm" in finished.output
    assert "Submitted process" not in finished.output
