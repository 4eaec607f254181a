"""What the report reads: good files, and one case a message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bulkrnabert.errors import DataError
from bulkrnabert.evaluate import artefacts


def test_reads_the_made_up_run(study: Any) -> None:
    numbers = artefacts.read_numbers(study.metrics)
    assert numbers.protocol == "leak-free"
    assert {item.role for item in numbers.metrics} == {"model", "baseline"}
    assert artefacts.read_summary(study.summary).genes.n_kept == 19062
    assert len(artefacts.read_rejected(study.rejected)) == 15
    assert artefacts.read_run(study.run).run_name == "curious_curie"


def test_an_encoder_counts_its_parameters_from_the_header(study: Any) -> None:
    encoder = artefacts.read_encoder(study.checkpoints[0])
    assert encoder.name == "r0f0"
    assert encoder.n_parameters == 66 * 256 + 64
    assert len(encoder.records_of("validation")) == 8


def test_everything_in_run_json_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert artefacts.read_run(tmp_path / "run.json") == artefacts.read_run(None) == artefacts.RunFacts()
    assert artefacts.read_rejected(None) == []


def test_all_problems_of_a_file_are_named(study: Any, tmp_path: Path) -> None:
    value = json.loads(study.metrics.read_text())
    del value["protocol"]
    value["metrics"][0]["role"] = "oracle"
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"2 problems") as caught:
        artefacts.read_numbers(path)
    assert "protocol" in str(caught.value)
    assert "metrics.0.role" in str(caught.value)


def test_many_problems_are_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"split_sha256": "", "protocol": "", "metrics": [{}] * 10}))
    with pytest.raises(DataError, match="and 50 more"):
        artefacts.read_numbers(path)


def test_a_confusion_matrix_must_be_square(study: Any, tmp_path: Path) -> None:
    value = json.loads(study.metrics.read_text())
    value["confusion"][0]["matrix"].pop()
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match="must have 5 rows and columns"):
        artefacts.read_numbers(path)


def test_a_curve_must_have_one_length(study: Any, tmp_path: Path) -> None:
    value = json.loads(study.metrics.read_text())
    value["kaplan_meier"][0]["groups"][0]["low"].pop()
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match="must have one length"):
        artefacts.read_numbers(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not valid JSON"), ("[]", "expected a JSON object, found list"), (None, "cannot be read as text")],
)
def test_a_file_that_is_no_json_object(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "metrics.json"
    if content is None:
        path.write_bytes(b"\xff\xfe\x00")
    else:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        artefacts.read_numbers(path)


def test_a_rejected_table_without_its_column(tmp_path: Path) -> None:
    path = tmp_path / "rejected.tsv"
    path.write_text("sample\twhy\n")
    with pytest.raises(DataError, match="no column `rule`"):
        artefacts.read_rejected(path)


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no provenance\.json"):
        artefacts.read_encoder(tmp_path)


@pytest.mark.parametrize(("line", "message"), [("{\n", "line 2: not valid JSON"), ("3\n", "line 2: expected a JSON")])
def test_a_broken_record_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "provenance.json").write_text("{}")
    (tmp_path / "records.jsonl").write_text('{"kind": "train", "step": 1}\n' + line)
    with pytest.raises(DataError, match=message):
        artefacts.read_encoder(tmp_path)


def test_weights_that_are_no_safetensors(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 32)
    with pytest.raises(DataError, match="not a safetensors file"):
        artefacts.read_encoder(tmp_path)
