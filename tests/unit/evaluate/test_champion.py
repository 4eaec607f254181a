"""Champion and challenger in a registry: aliases follow the decision, and nothing is a pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from bulkrnabert.errors import DataError, PortalError
from bulkrnabert.evaluate.champion import find_serving, follow_decision
from bulkrnabert.evaluate.promotion import Decision, Judgement
from bulkrnabert.evaluate.tracking import import_mlflow
from tests.unit.evaluate.mlflow_servers import losing_answers, serve


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


def aliases_of(client: Any) -> dict[str, str]:
    return {alias: str(version) for alias, version in client.get_registered_model("bulk").aliases.items()}


def test_aliases_follow_the_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'registry.db'}"
    runs = [write_run(tmp_path / f"run{number}", float(number)) for number in range(3)]
    client = import_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri)

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


def test_what_cannot_be_registered(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="to register"):
        find_serving([tmp_path])
    run = write_run(tmp_path / "run", 0.0)
    with pytest.raises(PortalError, match="repeat the same command when the server is up"):
        follow_decision("http://127.0.0.1:9", "bulk", [run], [run], decision(True), tmp_path)


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
