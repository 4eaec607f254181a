"""Parameters: checked before any work, all problems at once, and the schema is the truth about them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.pipeline.conftest import Nextflow

pytestmark = [pytest.mark.pipeline]

PROFILES = (
    "demo",
    "test",
    "local",
    "slurm",
    "awsbatch",
    "google-batch",
    "docker",
    "podman",
    "singularity",
    "apptainer",
    "gpu",
    "debug",
)


def declared_parameters(repository: Path) -> dict[str, dict[str, Any]]:
    schema = json.loads((repository / "nextflow_schema.json").read_text())
    return {name: prop for group in schema["$defs"].values() for name, prop in group["properties"].items()}


def as_groovy(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else json.dumps(value)


def configured_parameters(nextflow: Nextflow, repository: Path, *options: str) -> dict[str, str]:
    finished = nextflow("config", str(repository), "-flat", *options)
    assert finished.returncode == 0, finished.output
    lines = [line for line in finished.output.splitlines() if line.startswith("params.")]
    return dict(line.removeprefix("params.").split(" = ", 1) for line in lines)


def test_schema_is_valid_json_schema(repository: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads((repository / "nextflow_schema.json").read_text()))


def test_schema_and_configuration_declare_the_same(nextflow: Nextflow, repository: Path) -> None:
    configured = configured_parameters(nextflow, repository)
    declared = declared_parameters(repository)
    assert sorted(configured) == sorted(declared)
    for name, prop in declared.items():
        assert configured[name] == as_groovy(prop.get("default")), name


def test_parameter_page_is_current(repository: Path) -> None:
    script = repository / "docs" / "generate_parameters.py"
    finished = subprocess.run([sys.executable, str(script), "--check"], check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("profile", PROFILES)
def test_profile_parses(nextflow: Nextflow, repository: Path, profile: str) -> None:
    finished = nextflow("config", str(repository), "-profile", profile)
    assert finished.returncode == 0, finished.output


def test_all_problems_at_once_with_exit_status_2(nextflow: Nextflow, repository: Path) -> None:
    options = ("--fold", "3", "--seed", "x", "--input", "nope.csv", "--protocol", "leaky", "--folds", "1")
    finished = nextflow("run", str(repository), *options)
    assert finished.returncode == 2
    for expected in (
        "5 problems with the parameters",
        "--fold: no such parameter; did you mean --folds?",
        "--seed: found 'x', expected a whole number",
        "--input: no file 'nope.csv'",
        "--protocol: found 'leaky', expected one of leak-free, transductive",
        "--folds: found 1, expected 2 or more",
    ):
        assert expected in finished.output
    assert "Submitted process" not in finished.output


def test_kebab_case_is_reported_once(nextflow: Nextflow, repository: Path) -> None:
    finished = nextflow("run", str(repository), "--max-genes", "3")
    assert finished.returncode == 2
    assert finished.output.count("no such parameter") == 1
    assert "did you mean --max_genes?" in finished.output


def test_nothing_to_do_is_said(nextflow: Nextflow, repository: Path) -> None:
    finished = nextflow("run", str(repository))
    assert finished.returncode == 2
    assert "nothing to work on" in finished.output


def test_help_lists_every_parameter(nextflow: Nextflow, repository: Path) -> None:
    finished = nextflow("run", str(repository), "--help")
    assert finished.returncode == 0
    for name in declared_parameters(repository):
        assert f"--{name} " in finished.output


def test_an_outdir_that_is_a_file_is_refused_at_once(nextflow: Nextflow, repository: Path) -> None:
    (nextflow.folder / "taken").write_text("")
    finished = nextflow("run", str(repository), "-profile", "test", "--outdir", "taken")
    assert finished.returncode == 2
    assert "--outdir taken: is no folder that can be written to" in finished.output
    assert "Submitted process" not in finished.output
