"""Champion and challenger in a registry: aliases follow the decision, and nothing is a pickle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from safetensors.numpy import save_file

from bulkrnabert.cli import _run
from bulkrnabert.downstream.predictions import write_predictions
from bulkrnabert.errors import ConfigError, DataError, PortalError
from bulkrnabert.evaluate import tracking
from bulkrnabert.evaluate.champion import find_serving, follow_decision, require_judged_champion
from bulkrnabert.evaluate.promotion import Decision, Judgement
from bulkrnabert.evaluate.tracking import import_mlflow
from tests.unit.evaluate.mlflow_servers import losing_answers, serve
from tests.unit.evaluate.test_promotion import CHAMPION


def decision(promote: bool) -> Decision:
    return Decision(promote, "because", Judgement(), (), ())


def write_run(folder: Path, value: float) -> Path:
    for fold in ("r0f0", "r0f1"):
        encoder = folder / "encoders" / fold
        encoder.mkdir(parents=True)
        save_file({"weight": np.full(3, value, dtype=np.float32)}, encoder / "model.safetensors")
        (encoder / "config.json").write_text(json.dumps({"model": "bulkrnabert", "config": {"embed_dim": 16}}))
        (encoder / "genes.txt").write_text("ENSG1\nENSG2\nENSG3\n")
    return folder


def aliases_of(client: Any, name: str = "bulk") -> dict[str, str]:
    return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}


def versions_of(client: Any, name: str) -> list[str]:
    return sorted(str(version.version) for version in client.search_model_versions(f"name = '{name}'"))


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry for all tests, each with a model of its own."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'registry.db'}"


@pytest.fixture
def client(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)  # MLflow puts the files where it stands
    return import_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri)


def test_aliases_follow_the_decision(client: Any, uri: str, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run{number}", float(number)) for number in range(3)]
    follow_decision(uri, "bulk", [runs[0]], [runs[1]], decision(False), tmp_path / "first")
    assert aliases_of(client) == {"champion": "1", "challenger": "2"}
    refused = client.get_model_version("bulk", "2")
    assert (refused.tags["promoted"], refused.tags["reason"]) == ("false", "because")
    receipt = json.loads((tmp_path / "first" / "registry.json").read_text())
    assert (receipt["champion"], receipt["challenger"]) == ("1", "2")

    for _ in range(2):  # the same decision twice makes no further version
        follow_decision(uri, "bulk", [runs[0]], [runs[2]], decision(True), tmp_path / "second")
        assert aliases_of(client) == {"champion": "3", "challenger": "3", "previous_champion": "1"}
    assert len(client.search_model_versions("name = 'bulk'")) == 3

    folder = Path(client.get_model_version("bulk", "3").source.removeprefix("file://"))
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    one = {f"encoders/{fold}/{name}" for fold in ("r0f0", "r0f1") for name in ("config.json", "genes.txt")}
    assert files == {"MLmodel", "input_example.json", *one, *(f"encoders/r0f{n}/model.safetensors" for n in (0, 1))}
    described = (folder / "MLmodel").read_text()
    assert "python_function" not in described and "pickle" not in described
    assert '"shape": [-1, 3]' in described and '"shape": [-1, 16]' in described
    example = json.loads((folder / "input_example.json").read_text())
    assert np.array(example["inputs"]["token_ids"]).shape == (1, 3)


def test_what_cannot_be_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(DataError, match="to register"):
        find_serving([tmp_path])
    run = write_run(tmp_path / "run", 0.0)
    with pytest.raises(PortalError, match="repeat the same command when the server is up"):
        follow_decision("http://127.0.0.1:9", "bulk", [run], [run], decision(True), tmp_path)


def test_only_the_model_that_was_judged_is_displaced(client: Any, uri: str, tmp_path: Path) -> None:
    a, b, c = ([write_run(tmp_path / name, float(number))] for number, name in enumerate("abc"))
    follow_decision(uri, "judged", a, b, decision(True), tmp_path / "b")
    served = {"champion": "2", "challenger": "2", "previous_champion": "1"}
    assert aliases_of(client, "judged") == served

    require_judged_champion(uri, "judged", b, c)
    require_judged_champion(uri, "judged", a, b)  # the first once more
    for promote in (True, False):
        with pytest.raises(ConfigError, match=r"has version 2 as `champion`.*give the run of version 2 as --champion"):
            follow_decision(uri, "judged", a, c, decision(promote), tmp_path / "out")
    with pytest.raises(ConfigError, match="has version 2"):
        require_judged_champion(uri, "judged", a, c)
    assert aliases_of(client, "judged") == served and versions_of(client, "judged") == ["1", "2"]
    assert not (tmp_path / "out").exists()

    follow_decision(uri, "judged", b, c, decision(True), tmp_path / "out")
    served = {"champion": "3", "challenger": "3", "previous_champion": "2"}
    assert aliases_of(client, "judged") == served
    with pytest.raises(ConfigError, match="has version 3"):  # an old decision once more
        follow_decision(uri, "judged", a, b, decision(True), tmp_path / "b")
    for promote in (True, False):
        follow_decision(uri, "judged", b, c, decision(promote), tmp_path / "out")
        assert json.loads((tmp_path / "out" / "registry.json").read_text())["champion"] == "3"
    assert client.get_model_version("judged", "3").tags["promoted"] == "true"  # as it is, also what is said of it
    assert aliases_of(client, "judged") == served and versions_of(client, "judged") == ["1", "2", "3"]


def test_a_version_of_somebody_elses_is_not_displaced(client: Any, uri: str, tmp_path: Path) -> None:
    a, b = ([write_run(tmp_path / name, float(number))] for number, name in enumerate("ab"))
    require_judged_champion(uri, "theirs", a, b)  # no such model yet
    client.create_registered_model("theirs")
    require_judged_champion(uri, "theirs", a, b)
    client.create_model_version("theirs", source=str(tmp_path), tags={})
    client.set_registered_model_alias("theirs", "champion", "1")
    with pytest.raises(ConfigError, match=r"version 1 as `champion` \(no tag brb.weights_sha256"):
        follow_decision(uri, "theirs", a, b, decision(True), tmp_path / "out")


WRITES = (
    "create_experiment",
    "create_registered_model",
    "create_run",
    "log_artifact",
    "set_terminated",
    "create_model_version",
    "set_model_version_tag",
    "set_registered_model_alias",
)


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_a_server_that_goes_away_at_every_step(
    client: Any, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_done: bool
) -> None:
    """Each kind of request fails once, before or after the server did it; then all of it begins again."""
    from mlflow.exceptions import MlflowException

    name, failed, pauses = f"away{is_done}", set(), []
    a, b = ([write_run(tmp_path / one, float(number))] for number, one in enumerate("ab"))

    def failing_once(write: str) -> Callable[..., Any]:
        do = getattr(type(client), write)

        def request(*given: Any, **more: Any) -> Any:
            if write in failed:
                return do(*given, **more)
            failed.add(write)
            if is_done:
                do(*given, **more)
            if write == "log_artifact":  # MLflow lets these through
                raise requests.ConnectionError("reset")
            raise MlflowException("restarts")

        return request

    for write in WRITES:
        monkeypatch.setattr(type(client), write, failing_once(write))
    monkeypatch.setattr(tracking.time, "sleep", pauses.append)
    with pytest.raises(PortalError, match="repeat the same command when the server is up"):
        follow_decision(uri, name, a, b, decision(True), tmp_path / "out")
    follow_decision(uri, name, a, b, decision(True), tmp_path / "out", patience_s=300.0)
    assert failed == set(WRITES) and len(pauses) >= len(WRITES) - 1
    assert aliases_of(client, name) == {"champion": "2", "challenger": "2", "previous_champion": "1"}
    assert versions_of(client, name) == ["1", "2"]
    found = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    assert sorted((run.info.status, run.data.tags["role"]) for run in found) == [
        ("FINISHED", "challenger"),
        ("FINISHED", "champion"),
    ]


def test_a_file_that_the_server_does_not_take(
    client: Any, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = requests.Response()
    answer.status_code = 413

    def log_artifact(*_given: Any) -> None:
        raise requests.HTTPError("413 Client Error: too large for http://user:secret@server/x", response=answer)

    monkeypatch.setattr(type(client), "log_artifact", log_artifact)
    monkeypatch.setattr(tracking.time, "sleep", lambda _s: pytest.fail("nothing to wait for"))
    run = [write_run(tmp_path / "run", 0.0)]
    with pytest.raises(PortalError, match=r"413 Client Error: too large for http://…@server.*files of this size"):
        follow_decision(uri, "large", run, run, decision(True), tmp_path / "out", patience_s=300.0)


@pytest.mark.usefixtures("client")
def test_the_command_with_a_registry(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written where another model serves; where nobody answers, the decision is."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    a, b, c = (write_run(tmp_path / name, float(number)) for number, name in enumerate("abc"))
    for run in (a, b, c):
        write_predictions(CHAMPION[0], run / "predictions.parquet")
    follow_decision(uri, "command", [a], [b], decision(True), tmp_path / "first")
    out = tmp_path / "out"

    def promote(champion: Path, address: str) -> int:
        runs = ["--champion", str(champion), "--challenger", str(c), "--bootstrap", "20", "--out", str(out)]
        return _run(["promote", *runs, "--tracking-uri", address, "--model-name", "command", "--patience", "0"])

    assert promote(a, uri) == 2
    assert "has version 2 as `champion`" in capfd.readouterr().err and not out.exists()
    assert promote(b, uri) == 0
    assert {path.name for path in out.iterdir()} == {"decision.json", "DECISION.md", "registry.json"}
    assert promote(b, "http://127.0.0.1:9") == 1
    assert "repeat the same command when the server is up" in capfd.readouterr().err
    assert {path.name for path in out.iterdir()} == {"decision.json", "DECISION.md"}


@pytest.mark.slow
def test_answers_that_get_lost_leave_one_version_a_model(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run{number}", float(number)) for number in range(2)]
    with serve(tmp_path / "store") as server:
        with losing_answers(server) as (address, lost):
            for _ in range(2):
                follow_decision(address, "bulk", [runs[0]], [runs[1]], decision(True), tmp_path)
        assert [path for path in lost if path.endswith("/model-versions/create")]
        client = import_mlflow().MlflowClient(tracking_uri=server, registry_uri=server)
        aliases = aliases_of(client)
        assert aliases["champion"] == aliases["challenger"] != aliases["previous_champion"]
        assert {one.version for one in client.search_model_versions("name = 'bulk'")} == set(aliases.values())
        (experiment,) = (one for one in client.search_experiments() if one.name == "bulk")
        found = client.search_runs([experiment.experiment_id])
        assert sorted((run.info.status, run.data.tags["role"]) for run in found) == [
            ("FINISHED", "challenger"),
            ("FINISHED", "champion"),
        ]
