"""The images: what they hold, and the pipeline inside them. Need images built as containers/README.md says."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipeline.conftest import Nextflow, copy_project

pytestmark = [pytest.mark.container, pytest.mark.pipeline]

IMAGE = os.environ.get("BRB_TEST_IMAGE", "bulkrnabert:cpu")
SIF = os.environ.get("BRB_TEST_SIF", "")


@dataclass(frozen=True)
class Engine:
    """A container engine and the image that it has.

    Attributes:
        name: As the profile.
        image: A tag, or the path of an Apptainer image.
    """

    name: str
    image: str

    @property
    def network_option(self) -> str:
        """No network at run time, not even a bridge."""
        return "--net --network none" if self.name == "apptainer" else "--network=none"

    @property
    def without_network(self) -> str:
        """Configuration of Nextflow, with what it takes to run as root."""
        users = {"podman": "--user=0:0 ", "docker": "-u 0:0 ", "apptainer": ""}
        return f"{self.name}.runOptions = '{users[self.name]}{self.network_option}'\n"

    def inside(self, *command: str, user: str | None = None) -> str:
        """Standard output of a command in a container that can write to /tmp only."""
        if self.name == "apptainer":
            options = ["exec", "--containall"]
        else:
            options = ["run", "--rm", "--read-only", "--tmpfs=/tmp"]
            options += [f"--user={user}"] if user else []
        finished = subprocess.run(
            [self.name, *options, *self.network_option.split(), self.image, *command],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout.strip()


def _find_oci_engine() -> Engine:
    for name in ("podman", "docker"):
        if shutil.which(name) is None:
            continue
        found = subprocess.run([name, "image", "inspect", IMAGE], capture_output=True, timeout=60, check=False)
        if found.returncode == 0:
            return Engine(name, IMAGE)
    pytest.skip(f"no image {IMAGE} in podman or docker: build it as containers/README.md says, or set BRB_TEST_IMAGE")


def _find_apptainer() -> Engine:
    if shutil.which("apptainer") is None:
        pytest.skip("no `apptainer` on PATH")
    if not Path(SIF).is_file():
        pytest.skip("no Apptainer image: build it as containers/README.md says, and set BRB_TEST_SIF to its path")
    return Engine("apptainer", str(Path(SIF).resolve()))


@pytest.fixture(scope="module")
def oci_engine() -> Engine:
    """podman or docker, whichever has the image."""
    return _find_oci_engine()


@pytest.fixture(scope="module", params=["oci", "apptainer"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each kind of image that is here."""
    return _find_apptainer() if request.param == "apptainer" else _find_oci_engine()


def test_nobody_is_root_by_default(oci_engine: Engine) -> None:
    assert oci_engine.inside("id", "-u") == "1000"


@pytest.mark.parametrize("user", [None, "23456:23456"])
def test_commands_are_on_the_path_for_any_user(engine: Engine, user: str | None) -> None:
    if user and engine.name == "apptainer":
        pytest.skip("in Apptainer a user is who they are outside")
    assert engine.inside("bulkrnabert", "--version", user=user)
    assert "--tokens" in engine.inside("brb-pretrain", "--help", user=user)
    assert engine.inside("ps", "-o", "comm=", user=user)


def test_packages_are_those_of_the_lock(engine: Engine, repository: Path) -> None:
    code = "from importlib.metadata import distributions as d; print(*(f'{x.name.lower()}=={x.version}' for x in d()))"
    lock = (repository / "requirements.lock").read_text().replace("_", "-")
    pinned = {line.split(" ")[0].lower() for line in lock.splitlines() if "==" in line and not line.startswith(" ")}
    found = {name.replace("_", "-").split("+")[0] for name in engine.inside("python", "-c", code).split()}
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
    engine: Engine, repository: Path, tmp_path: Path, way: str
) -> None:
    project = copy_project(repository, tmp_path / "project")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    launch, target = started_from(way, project, elsewhere)
    (launch / "own.tsv").write_text("gene_id\ts1\nTP53\t1\n")
    (launch / "sheet.csv").write_text("cohort,modality,path,format,unit,clinical\nA,rnaseq,own.tsv,tsv,furlongs,\n")
    (launch / "site.config").write_text(engine.without_network)
    nextflow = Nextflow(repository / "nextflow", launch)
    options = ("-profile", engine.name, "-c", "site.config", "--image", engine.image)
    options = (*options, "--input", "sheet.csv", "--doctor", "false")
    finished = nextflow("run", target, *options)
    # The message is of a script that ran inside: 2 is bad input, 127 would be "command not found".
    assert finished.returncode == 2, finished.output
    assert "furlongs" in finished.output[finished.output.rindex("The run stopped.") :]
    wrappers = [path.read_text() for path in (launch / "work").glob("*/*/.command.run")]
    started = "apptainer exec" if engine.name == "apptainer" else f"{engine.name} run"
    assert wrappers and all(started in text and engine.network_option in text for text in wrappers)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_road_inside_the_image(engine: Engine, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "site.config").write_text(engine.without_network)
    nextflow = Nextflow(repository / "nextflow", tmp_path)
    options = ("--protocol", "transductive", "--baselines", "fast", "--steps", "5", "--outdir", "out")
    options = (*options, "--raw_store", "store")
    profile = ("-profile", f"test,{engine.name}", "-c", "site.config", "--image", engine.image)
    finished = nextflow("run", str(repository), *profile, *options, timeout_s=1200)
    assert finished.returncode == 0, finished.output
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    assert list((tmp_path / "store").glob("*/manifest.tsv"))
