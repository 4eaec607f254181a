"""The folder of a fine-tuned model: enough alone, and refused when it is not whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import load_file, save_file

from bulkrnabert.data.sources.files import read_expression
from bulkrnabert.downstream.finetuned_folder import load_finetuned
from bulkrnabert.downstream.predict import predict_table
from bulkrnabert.downstream.predictions import read_predictions
from bulkrnabert.errors import CheckpointError
from bulkrnabert.provenance import sha256_file
from tests.unit.downstream.finetuning import CPU, Study


def test_the_folder_is_enough_alone(classifier: Path, finetune_study: Study, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(classifier / "model", moved)
    model = load_finetuned(moved)
    assert [member.split_id for member in model.members] == ["r0f0", "r0f1"]
    table = read_expression(finetune_study.table)
    out_of_fold = read_predictions(classifier / "predictions.parquet").frame.set_index("sample_id")
    for member in model.members:
        alone = type(model)(model.record, (member,))
        frame = predict_table(alone, table, "tpm", None, CPU).set_index("sample_id")
        own = out_of_fold[out_of_fold["split_id"] == member.split_id]
        expected = np.stack(own["probabilities"].to_numpy())
        assert_allclose(frame.loc[own.index, ["probability_A", "probability_B"]], expected, atol=1e-5)
    card = (moved / "README.md").read_text()
    assert "For research" in card and "| r0f0 | 30 |" in card


def test_adapters_are_small_and_say_whose_they_are(classifier: Path) -> None:
    path = classifier / "model" / "members" / "r0f0" / "adapter.safetensors"
    assert path.stat().st_size < 100_000
    assert not [name for name in load_file(path) if "ia3" not in name and name.startswith("encoder.")]
    patients = json.loads((classifier / "model" / "provenance.json").read_text())["patient_hashes"]
    assert len(patients) == 60 and "P00" not in (classifier / "model" / "config.json").read_text()


@pytest.fixture
def broken(classifier: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(classifier / "model", folder)
    return folder


def restate(folder: Path, name: str) -> None:
    """Put a changed file's hash into config.json, as one who forges a folder would."""
    record = json.loads((folder / "config.json").read_text())
    for member in record["members"]:
        if name in member["sha256"]:
            member["sha256"][name] = sha256_file(folder / name)
    (folder / "config.json").write_text(json.dumps(record))


def test_changed_or_missing_files_are_all_named(broken: Path) -> None:
    (broken / "members/r0f0/encoder/genes.txt").write_text("ENSG1\n")
    (broken / "members/r0f1/adapter.safetensors").unlink()
    with pytest.raises(CheckpointError) as caught:
        load_finetuned(broken)
    assert "members/r0f0/encoder/genes.txt: not the file that was written" in str(caught.value)
    assert "members/r0f1/adapter.safetensors: missing" in str(caught.value)


def test_a_pickle_is_not_read(broken: Path) -> None:
    path = broken / "members/r0f0/adapter.safetensors"
    torch.save({"weight": torch.zeros(2)}, path)
    restate(broken, "members/r0f0/adapter.safetensors")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_finetuned(broken)


def test_an_encoder_of_another_model_is_refused(broken: Path, finetune_study: Study) -> None:
    shutil.copyfile(
        finetune_study.checkpoint("all") / "model.safetensors", broken / "members/r0f0/encoder/model.safetensors"
    )
    restate(broken, "members/r0f0/encoder/model.safetensors")
    with pytest.raises(CheckpointError, match="was trained on another encoder"):
        load_finetuned(broken)


def test_other_genes_are_refused(broken: Path) -> None:
    path = broken / "members/r0f0/encoder/genes.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    restate(broken, "members/r0f0/encoder/genes.txt")
    with pytest.raises(CheckpointError, match="19 genes, but the model"):
        load_finetuned(broken)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split_id": "../x"}, "split_id"),
        ({"encoder": "../../encoder"}, "encoder"),
        ({"sha256": {}}, "must be made of"),
    ],
)
def test_a_forged_record_is_refused(broken: Path, change: dict[str, Any], message: str) -> None:
    record = json.loads((broken / "config.json").read_text())
    record["members"][0] |= change
    (broken / "config.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=message):
        load_finetuned(broken)


def test_tensors_of_another_shape_are_refused(broken: Path) -> None:
    path = broken / "members/r0f0/adapter.safetensors"
    tensors = load_file(path)
    tensors["embedding_mean"] = torch.zeros(3)
    sha256 = json.loads((broken / "config.json").read_text())["members"][0]["sha256"][
        "members/r0f0/encoder/model.safetensors"
    ]
    save_file(tensors, path, metadata={"encoder_sha256": sha256})
    restate(broken, "members/r0f0/adapter.safetensors")
    with pytest.raises(CheckpointError, match=r"embedding_mean has shape \(3,\), expected \(32,\)"):
        load_finetuned(broken)
