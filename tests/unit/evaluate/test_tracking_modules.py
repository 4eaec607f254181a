"""The two Nextflow modules that know of a server, on real Nextflow, with stand-ins for the commands that they call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bulkrnabert.evaluate.tracking import import_mlflow
from tests.pipeline.conftest import Finished, Nextflow
from tests.unit.evaluate.mlflow_servers import serve

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(300)]

PRETRAIN = """
include { PRETRAIN } from 'REPOSITORY/pipeline/modules/pretrain'

workflow {
    def settings = [preset: 'small', engine: 'torch', zero_stage: 1, processes: 1, nodes: 1, steps: 1, seed: 0]
    def work = [[id: 'r0f0'], file('tokens'), file('state').toAbsolutePath().toString(), []]
    PRETRAIN(Channel.of(work), [], [], settings, '')
}
"""
TRACK = """
include { TRACK } from 'REPOSITORY/pipeline/modules/track'

workflow {
    TRACK(file('tokens'), [file('state')], '{}', 'http://127.0.0.1:9', '')
}
"""
# Its last record is of the moment in which it ends.
TRAINS = """#!/bin/bash
mkdir -p state r0f0
echo '{"kind": "validation", "step": 0, "loss": 9}' > STATE/records.jsonl
echo '{"kind": "train", "step": 1, "loss": 2, "tokens_per_s": 7}' >> STATE/records.jsonl
sleep SECONDS
echo '{"kind": "LAST", "step": 2, "loss": 1}' >> STATE/records.jsonl
exit STATUS
"""
# As a container or a job of SLURM: what is left when the task's script has ended is killed.
SHELL = """#!/bin/bash
set -m
/bin/bash -euo pipefail "$@" &
wait $!
status=$?
kill -9 -- -$! 2> /dev/null
exit $status
"""
Run = Callable[..., Finished]


@pytest.fixture
def run(repository: Path, tmp_path: Path) -> Run:
    def start(script: str, commands: dict[str, str], server: str = "none") -> Finished:
        folder = tmp_path / "project"
        (folder / "bin").mkdir(parents=True)
        (folder / "tokens").mkdir()
        (folder / "state").mkdir()
        (folder / "main.nf").write_text(script.replace("REPOSITORY", str(repository)))
        (folder / "nextflow.config").write_text(
            f"process.shell = ['{folder}/bin/shell']\n"
            "process.errorStrategy = { task.exitStatus == 75 ? 'ignore' : 'terminate' }\n"
            f"process.time = '1h'\nprocess.publishDir = 'out'\nenv.BRB_MLFLOW_URI = '{server}'\n"
        )
        for name, text in {**commands, "shell": SHELL}.items():
            (folder / "bin" / name).write_text(text.replace("STATE", str(folder / "state")))
            (folder / "bin" / name).chmod(0o755)
        return Nextflow(repository / "nextflow", folder)("run", "main.nf", timeout_s=280)

    return start


def trains(seconds: float, last: str, status: int) -> str:
    return TRAINS.replace("SECONDS", str(seconds)).replace("LAST", last).replace("STATUS", str(status))


def exit_of(finished: Finished) -> int:
    (path,) = (finished.folder / "work").glob("*/*/.exitcode")
    return int(path.read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("store")) as address:
        yield address


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "status", "end"), [("summary", 0, "FINISHED"), ("train", 75, "KILLED"), ("train", 1, "KILLED")]
)
def test_the_last_record_arrives_and_the_run_ends(
    run: Run, repository: Path, tmp_path: Path, server: str, last: str, status: int, end: str
) -> None:
    program = f"{repository}/.venv/bin/python {repository}/bin/brb-track"
    follower = f'#!/bin/bash\nexec {program} "$@" --experiment {tmp_path.name}\n'
    finished = run(PRETRAIN, {"brb-pretrain": trains(12, last, status), "brb-track": follower}, server)
    assert exit_of(finished) == status, finished.output
    client = import_mlflow().MlflowClient(tracking_uri=server)
    (live,) = client.search_runs([client.get_experiment_by_name(tmp_path.name).experiment_id])
    assert live.info.status == end and live.info.run_name == "live r0f0"
    assert [point.step for point in client.get_metric_history(live.info.run_id, f"{last}/loss")][-1] == 2


@pytest.mark.slow
def test_a_follower_that_does_not_come_back_is_waited_for_a_minute(run: Run) -> None:
    started = time.monotonic()
    deaf = "#!/bin/bash\ntrap '' TERM\nexec sleep 300\n"
    finished = run(PRETRAIN, {"brb-pretrain": trains(0.1, "summary", 75), "brb-track": deaf}, "http://127.0.0.1:9")
    assert exit_of(finished) == 75, finished.output
    assert 55 < time.monotonic() - started < 120


def test_no_server_no_follower(run: Run) -> None:
    commands = {"brb-pretrain": trains(0.1, "summary", 0), "brb-track": "#!/bin/bash\ntouch STATE/started\n"}
    finished = run(PRETRAIN, commands)
    assert finished.returncode == 0, finished.output
    assert not (finished.folder / "state" / "started").exists()


def tracks(status: int, *, folder: bool = True) -> str:
    made = "mkdir mlflow\ntouch mlflow/mlflow.db\n" if folder else ""
    return f"#!/bin/bash\n{made}echo 'Error: the server said no' >&2\nexit {status}\n"


def test_a_server_that_takes_nothing_fails_no_run(run: Run) -> None:
    finished = run(TRACK, {"brb-track": tracks(1)})
    assert finished.returncode == 0, finished.output
    assert "\nWARN: the results are complete, but not on the MLflow server" in finished.output
    assert "Error: the server said no" in finished.output
    assert {path.name for path in (finished.folder / "out" / "mlflow").iterdir()} == {"mlflow.db", "server.log"}


@pytest.mark.parametrize(("status", "folder"), [(2, True), (1, False)])
def test_bad_input_and_no_folder_fail_it(run: Run, status: int, folder: bool) -> None:
    finished = run(TRACK, {"brb-track": tracks(status, folder=folder)})
    assert finished.returncode == 1 and "\nWARN: the results" not in finished.output
    assert exit_of(finished) == status and "Error: the server said no" in finished.output
