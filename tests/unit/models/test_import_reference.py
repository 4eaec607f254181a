from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from bulkrnabert.errors import CheckpointError
from bulkrnabert.models.bulkrnabert import BulkRNABert
from bulkrnabert.models.import_reference import import_bulkrnabert, read_reference_config

CONFIG: dict[str, Any] = {
    "n_genes": 11,
    "n_expressions_bins": 64,
    "embed_dim": 16,
    "init_gene_embed_dim": 6,
    "use_gene_embedding": True,
    "project_gene_embedding": True,
    "num_attention_heads": 2,
    "key_size": 4,
    "ffn_embed_dim": 24,
    "num_layers": 3,
    "use_log_normalization": True,
    "use_max_normalization": True,
    "normalization_factor": 5.5,
    "use_gradient_checkpointing": False,
}
HAIKU_BLOCK = {
    "attention_norm": "self_attention_layer_norm",
    "attention.query": "self_attention/query",
    "attention.key": "self_attention/key",
    "attention.value": "self_attention/value",
    "attention.output": "self_attention/mha_output",
    "ffn_norm": "final_layer_norm",
    "ffn_in": "fc1",
    "ffn_out": "fc2",
}
TORCH_BLOCK = {
    "attention_norm": "layer_norm_self_attention",
    "attention.query": "mha.w_q",
    "attention.key": "mha.w_k",
    "attention.value": "mha.w_v",
    "attention.output": "mha.output",
    "ffn_norm": "layer_norm_mlp",
    "ffn_in": "fc1",
    "ffn_out": "fc2",
}


def as_haiku(model: BulkRNABert, root: str = "bulk_bert") -> dict[str, np.ndarray]:
    arrays = {
        f"{root}/~/expression_embedding|embeddings": model.expression_embedding.weight,
        f"{root}/~/gene_embedding|embeddings": model.gene_embedding.weight,
        f"{root}/~/linear|w": model.gene_projection.weight.T,
        f"{root}/~/linear|b": model.gene_projection.bias,
        f"{root}/~/simple_lm_head/~/lm_final_fc|w": model.lm_head.weight.T,
        f"{root}/~/simple_lm_head/~/lm_final_fc|b": model.lm_head.bias,
    }
    for number, block in enumerate(model.blocks):
        for ours, theirs in HAIKU_BLOCK.items():
            module = block.get_submodule(ours)
            is_norm = isinstance(module, torch.nn.LayerNorm)
            path = f"{root}/self_attention_block_{number}/~/{theirs}"
            arrays[f"{path}|{'scale' if is_norm else 'w'}"] = module.weight if is_norm else module.weight.T
            arrays[f"{path}|{'offset' if is_norm else 'b'}"] = module.bias
    return {name: value.detach().numpy().copy() for name, value in arrays.items()}


def as_torch(model: BulkRNABert) -> dict[str, torch.Tensor]:
    names = {
        "expression_embedding": "expression_embedding_layer",
        "gene_embedding": "gene_embedding_layer",
        "gene_projection": "fc_gene_embedding",
        "lm_head": "lm_head",
    }
    for number in range(len(model.blocks)):
        names |= {
            f"blocks.{number}.{ours}": f"transformer_layers.{number}.{theirs}" for ours, theirs in TORCH_BLOCK.items()
        }
    return {
        f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value.contiguous()
        for name, value in model.state_dict().items()
    }


@pytest.fixture
def published(small_model: BulkRNABert) -> BulkRNABert:
    """A model with noise on every parameter, so that a bias or scale that is forgotten shows."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in small_model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return small_model


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    return path


def test_haiku_names(tmp_path: Path, config_path: Path, published: BulkRNABert, small_tokens: torch.Tensor) -> None:
    np.savez(tmp_path / "params.npz", **as_haiku(published))
    imported = import_bulkrnabert(tmp_path / "params.npz", config_path)
    assert not imported.model.training
    assert_close(imported.model(small_tokens).logits, published(small_tokens).logits)
    assert imported.reference.tokenizer_factor == 5.5


def test_hugging_face_names(
    tmp_path: Path, config_path: Path, published: BulkRNABert, small_tokens: torch.Tensor
) -> None:
    save_file(as_torch(published), tmp_path / "model.safetensors")
    imported = import_bulkrnabert(tmp_path / "model.safetensors", config_path)
    assert_close(imported.model(small_tokens).logits, published(small_tokens).logits)


def test_a_table_of_64_rows_clamps(tmp_path: Path, config_path: Path, published: BulkRNABert) -> None:
    arrays = as_haiku(published)
    table = "bulk_bert/~/expression_embedding|embeddings"
    arrays[table] = arrays[table][:64]
    np.savez(tmp_path / "params.npz", **arrays)
    model = import_bulkrnabert(tmp_path / "params.npz", config_path).model
    assert (model.config.n_embedding_rows, model.config.out_of_range) == (64, "clamp")
    assert_close(model(torch.full((1, 11), 65)).logits, model(torch.full((1, 11), 63)).logits)
    arrays[table] = arrays[table][:50]
    np.savez(tmp_path / "params.npz", **arrays)
    with pytest.raises(CheckpointError, match=r"has 50 rows, expected 64 \(bins\) or 66"):
        import_bulkrnabert(tmp_path / "params.npz", config_path)


def test_every_key_and_shape_is_accounted_for(tmp_path: Path, config_path: Path, published: BulkRNABert) -> None:
    arrays = as_haiku(published)
    del arrays["bulk_bert/self_attention_block_1/~/fc1|b"]
    arrays["bulk_bert/self_attention_block_1/~/fc3|b"] = np.ones(3, dtype=np.float32)
    arrays["bulk_bert/~/linear|w"] = arrays["bulk_bert/~/linear|w"].T
    np.savez(tmp_path / "params.npz", **arrays)
    with pytest.raises(CheckpointError) as error:
        import_bulkrnabert(tmp_path / "params.npz", config_path)
    message = str(error.value)
    assert "3 problems" in message
    assert "missing tensor blocks.1.ffn_in.bias" in message
    assert "unexpected tensor self_attention_block_1/~/fc3|b" in message
    assert "gene_projection.weight has shape (6, 16), expected (16, 6)" in message


def test_our_own_names_are_not_taken_for_published_ones(
    tmp_path: Path, config_path: Path, published: BulkRNABert
) -> None:
    tensors = as_torch(published) | {"blocks.0.ffn_in.bias": torch.zeros(24)}
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"unexpected tensor blocks\.0\.ffn_in\.bias \(unknown name\)"):
        import_bulkrnabert(tmp_path / "model.safetensors", config_path)


def test_parameters_of_two_models(tmp_path: Path, config_path: Path, published: BulkRNABert) -> None:
    np.savez(tmp_path / "params.npz", **as_haiku(published), **as_haiku(published, "other"))
    with pytest.raises(CheckpointError, match=r"found \['bulk_bert', 'other'\]"):
        import_bulkrnabert(tmp_path / "params.npz", config_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layers": "many"}, "`num_layers`"),
        ({"n_genes": 0}, "`n_genes`"),
        ({"use_log_normalization": False}, "use_log_normalization is false"),
        ({"normalization_factor": None}, "no normalization_factor"),
    ],
)
def test_config_problems(config_path: Path, change: dict[str, Any], message: str) -> None:
    config_path.write_text(json.dumps(CONFIG | change))
    with pytest.raises(CheckpointError, match=message):
        read_reference_config(config_path)


def test_config_that_is_no_json(config_path: Path) -> None:
    config_path.write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        read_reference_config(config_path)


def test_without_max_normalization_nothing_is_divided(config_path: Path) -> None:
    config_path.write_text(json.dumps(CONFIG | {"use_max_normalization": False}))
    assert read_reference_config(config_path).tokenizer_factor == 1.0
