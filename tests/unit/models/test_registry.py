from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from bulkrnabert.config import FrozenConfig
from bulkrnabert.errors import CheckpointError, ConfigError
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.registry import build_model, load_network, save_network


@pytest.fixture
def folder(tmp_path: Path, small_model: BulkRNABert) -> Path:
    save_network(tmp_path / "checkpoint", small_model)
    return tmp_path / "checkpoint"


def change_weights(folder: Path, drop: str = "", **added: torch.Tensor) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(drop, None)
    save_file(tensors | added, folder / "model.safetensors")


def test_saved_and_loaded_model_is_the_same(folder: Path, small_model: BulkRNABert, small_tokens: torch.Tensor) -> None:
    loaded = load_network(folder)
    assert not loaded.training
    assert loaded.config == small_model.config
    assert torch.equal(loaded(small_tokens).logits, small_model(small_tokens).logits)
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_weights_are_stored_as_float32(tmp_path: Path, small_model: BulkRNABert) -> None:
    save_network(tmp_path, small_model.bfloat16())
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float32}
    assert small_model.lm_head.weight.dtype == torch.bfloat16, "the model itself is not converted"


def test_every_misfit_is_listed_at_once(folder: Path) -> None:
    change_weights(folder, drop="lm_head.bias", intruder=torch.ones(2), **{"lm_head.weight": torch.ones(3, 3)})
    with pytest.raises(CheckpointError) as error:
        load_network(folder)
    message = str(error.value)
    assert "3 problems" in message
    assert "missing tensor lm_head.bias" in message
    assert "unexpected tensor intruder" in message
    assert "lm_head.weight has shape (3, 3), expected (64, 16)" in message


def test_weights_that_are_not_finite(folder: Path) -> None:
    change_weights(folder, **{"lm_head.bias": torch.full((64,), torch.nan)})
    with pytest.raises(CheckpointError, match=r"lm_head\.bias holds values that are not finite"):
        load_network(folder)


def test_a_pickle_under_the_name_of_safetensors_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"lm_head.bias": [1.0]}))
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_network(folder)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_network(folder)


def test_only_pickled_weights_there(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="safetensors only, never from pickles"):
        load_network(folder)


def test_config_of_another_kind(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({"n_genes": 11}))
    with pytest.raises(CheckpointError, match="import-weights"):
        load_network(folder)
    path.write_text(json.dumps({"model": "gpt", "config": {}}))
    with pytest.raises(CheckpointError, match="no model named 'gpt': choose one of bulkrnabert"):
        load_network(folder)
    path.write_text(json.dumps({"model": "bulkrnabert", "config": {"embed_dim": "wide"}}))
    with pytest.raises(CheckpointError, match="`embed_dim`"):
        load_network(folder)
    path.write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        load_network(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match="is not a checkpoint folder"):
        load_network(folder)


def test_build_model(small_config: BulkRNABertConfig) -> None:
    first = build_model("bulkrnabert", small_config, torch.Generator().manual_seed(1))
    second = build_model("bulkrnabert", small_config, torch.Generator().manual_seed(1))
    assert_close(first.state_dict(), second.state_dict())

    class Other(FrozenConfig):
        n_genes: int = Field(default=1)

    with pytest.raises(ConfigError, match="takes a BulkRNABertConfig, found Other"):
        build_model("bulkrnabert", Other())
    with pytest.raises(ConfigError, match="no model named 'bert'"):
        build_model("bert", small_config)
