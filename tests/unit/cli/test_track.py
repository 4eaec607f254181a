"""`bulkrnabert track`: what it takes, what it leaves, and how it fails."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bulkrnabert.cli.track import command
from bulkrnabert.errors import DataError
from bulkrnabert.evaluate import tracking

BUILDER = Path(__file__).resolve().parents[1] / "study.py"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    builder = runpy.run_path(str(BUILDER), run_name="report_study")
    return builder["write_study"](tmp_path_factory.mktemp("study"), n_encoders=1)


def arguments(study: Any, out: Path) -> list[str]:
    given = ["--metrics", str(study.metrics), "--run", str(study.run), "--out", str(out)]
    given += [part for folder in study.checkpoints for part in ("--checkpoint", str(folder))]
    return given + [part for path in study.predictions for part in ("--predictions", str(path))]


def test_help_is_quick_and_tells_what_is_written() -> None:
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert "mlflow.db" in result.output
    assert "--tracking-uri" in result.output


def test_makes_a_folder(study: Any, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    result = CliRunner().invoke(command, arguments(study, tmp_path / "mlflow"), catch_exceptions=False)
    assert result.exit_code == 0
    assert (tmp_path / "mlflow" / "mlflow.db").is_file()
    receipt = json.loads((tmp_path / "mlflow" / "mlflow_run.json").read_text())
    assert receipt["experiment"] == "bulkrnabert"
    assert receipt["open_with"].startswith("cd mlflow && ")


def test_a_server_is_used_when_one_is_named(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    monkeypatch.setattr(tracking, "send_to_server", lambda *given: sent.append(given))
    more = ["--tracking-uri", "http://127.0.0.1:5000", "--experiment", "mine"]
    result = CliRunner().invoke(command, [*arguments(study, tmp_path / "out"), *more], catch_exceptions=False)
    assert result.exit_code == 0
    (tracked, out, experiment, address, patience) = sent[0]
    assert (out, experiment, address, patience) == (tmp_path / "out", "mine", "http://127.0.0.1:5000", 300.0)
    assert list(tracked.predictions) == study.predictions


def test_a_dry_run_says_what_would_be_sent(study: Any, tmp_path: Path) -> None:
    more = ["--tracking-uri", "http://127.0.0.1:1", "--dry-run", "--json"]
    result = CliRunner().invoke(command, [*arguments(study, tmp_path / "out"), *more], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["n_pretrainings"] == 1 and found["n_probe_jobs"] == len(study.predictions)
    assert "http://127.0.0.1:1" in found["what"] and not list(tmp_path.iterdir())


def test_a_broken_file_leaves_nothing(study: Any, tmp_path: Path) -> None:
    broken = tmp_path / "metrics.json"
    broken.write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        CliRunner().invoke(command, ["--metrics", str(broken), "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json"]


def test_metrics_must_be_given(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "--metrics" in result.output
