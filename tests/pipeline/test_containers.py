"""The image: what it holds, and the pipeline inside it. Needs an image built as containers/README.md says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.conftest import Nextflow, copy_project

pytestmark = [pytest.mark.container, pytest.mark.pipeline]

IMAGE = os.environ.get("BRB_TEST_IMAGE", "bulkrnabert:cpu")
# No network at run time, not even a bridge.
NO_NETWORK = "podman.runOptions = '--user=0:0 --network=none'\ndocker.runOptions = '-u 0:0 --network=none'\n"


@pytest.fixture(scope="module")
def engine() -> str:
    """The container engine that has the image."""
    for name in ("podman", "docker"):
        if shutil.which(name) is None:
            continue
        found = subprocess.run([name, "image", "inspect", IMAGE], capture_output=True, timeout=60, check=False)
        if found.returncode == 0:
            return name
    pytest.skip(f"no image {IMAGE} in podman or docker: build it as containers/README.md says, or set BRB_TEST_IMAGE")


def inside(engine: str, *command: str, user: str | None = None) -> str:
    options = ["--rm", "--network=none", "--read-only", "--tmpfs=/tmp", *([f"--user={user}"] if user else [])]
    finished = subprocess.run(
        [engine, "run", *options, IMAGE, *command], capture_output=True, text=True, timeout=300, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_nobody_is_root_by_default(engine: str) -> None:
    assert inside(engine, "id", "-u") == "1000"


@pytest.mark.parametrize("user", [None, "23456:23456"])
def test_commands_are_on_the_path_for_any_user(engine: str, user: str | None) -> None:
    assert inside(engine, "bulkrnabert", "--version", user=user)
    assert "--tokens" in inside(engine, "brb-pretrain", "--help", user=user)
    assert inside(engine, "ps", "-o", "comm=", user=user)


def test_packages_are_those_of_the_lock(engine: str, repository: Path) -> None:
    code = "from importlib.metadata import distributions as d; print(*(f'{x.name.lower()}=={x.version}' for x in d()))"
    lock = (repository / "requirements.lock").read_text().replace("_", "-")
    pinned = {line.split(" ")[0].lower() for line in lock.splitlines() if "==" in line and not line.startswith(" ")}
    found = {name.replace("_", "-").split("+")[0] for name in inside(engine, "python", "-c", code).split()}
    strangers = {name for name in found if name not in pinned and not name.startswith("bulkrnabert==")}
    assert strangers == set()


def started_from(way: str, project: Path, elsewhere: Path) -> tuple[Path, str]:
    """Folder of the launch and what to run."""
    if way == "root":
        return project, "."
    if way == "script":
        return project, "pipeline/main.nf"
    if way == "elsewhere":
        return elsewhere, str(project)
    bare = elsewhere / "facility" / "bulkrnabert.git"
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "copy"]):
        subprocess.run([*git, *command], cwd=project, check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(project), str(bare)], check=True)
    return elsewhere, f"file:{bare}"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["root", "script", "elsewhere", "remote"])
def test_scripts_run_in_the_container_however_it_is_started(
    engine: str, repository: Path, tmp_path: Path, way: str
) -> None:
    project = copy_project(repository, tmp_path / "project")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    launch, target = started_from(way, project, elsewhere)
    (launch / "own.tsv").write_text("gene_id\ts1\nTP53\t1\n")
    (launch / "sheet.csv").write_text("cohort,modality,path,format,unit,clinical\nA,rnaseq,own.tsv,tsv,furlongs,\n")
    (launch / "site.config").write_text(NO_NETWORK)
    nextflow = Nextflow(repository / "nextflow", launch)
    options = ("-profile", engine, "-c", "site.config", "--image", IMAGE, "--input", "sheet.csv", "--doctor", "false")
    finished = nextflow("run", target, *options)
    # The message is of a script that ran inside: 2 is bad input, 127 would be "command not found".
    assert finished.returncode == 2, finished.output
    assert "furlongs" in finished.output[finished.output.rindex("The run stopped.") :]
    wrappers = [path.read_text() for path in (launch / "work").glob("*/*/.command.run")]
    assert wrappers and all(f"{engine} run" in text and "--network=none" in text for text in wrappers)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_road_inside_the_image(engine: str, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "site.config").write_text(NO_NETWORK)
    nextflow = Nextflow(repository / "nextflow", tmp_path)
    options = ("--protocol", "transductive", "--baselines", "fast", "--steps", "5", "--image", IMAGE, "--outdir", "out")
    finished = nextflow(
        "run", str(repository), "-profile", f"test,{engine}", "-c", "site.config", *options, timeout_s=1200
    )
    assert finished.returncode == 0, finished.output
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
