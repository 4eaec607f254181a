from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from bulkrnabert.errors import CheckpointError
from bulkrnabert.models.import_mojo import import_mojo, read_mojo_config
from bulkrnabert.models.mojo import Mojo

Writer = Callable[..., tuple[Path, Path]]
OMICS = ("methylation", "rnaseq")
CONFIG: dict[str, Any] = {
    "alphabet_size": {"methylation": 34, "rnaseq": 66},
    "token_embed_dim": 6,
    "conv_init_embed_dim": 8,
    "embed_dim": 13,
    "num_downsamples": 2,
    "init_gene_embed_dim": 4,
    "sequence_length": 21,
    "num_attention_heads": 2,
    "key_size": 4,
    "ffn_embed_dim": 10,
    "num_layers": 2,
    "stem_kernel_shape": 4,
    "num_hidden_layers_head": 2,
    "n_expressions_bins": {"methylation": 32, "rnaseq": 64},
    "min_omic_value": {"methylation": 0.0, "rnaseq": 0.0},
    "max_omic_value": {"methylation": 1.0, "rnaseq": 1.0},
    "use_log_normalization": {"methylation": False, "rnaseq": True},
    "use_max_normalization": {"methylation": False, "rnaseq": True},
    "normalization_factor": {"methylation": 1.0, "rnaseq": 5.5},
}


def norm(root: str, layer: torch.nn.LayerNorm) -> dict[str, torch.Tensor]:
    return {f"{root}|scale": layer.weight, f"{root}|offset": layer.bias}


def linear(root: str, layer: torch.nn.Linear) -> dict[str, torch.Tensor]:
    bias = {} if layer.bias is None else {f"{root}|b": layer.bias}
    return {f"{root}|w": layer.weight.T, **bias}


def as_haiku(model: Mojo) -> dict[str, np.ndarray]:
    """Parameters under the reference's names, in its layouts."""
    found: dict[str, torch.Tensor] = {}
    for omic in OMICS:
        found[f"~/{omic}_embedding|embeddings"] = model.omic_embeddings[omic].weight
        head = model.heads[omic]
        for number, layer in enumerate(head.hidden):
            found |= linear(f"{omic}_head_linear_{number}", layer)
        found |= linear(f"{omic}_head_linear_final", head.output)
    if model.gene_embedding is not None:
        found["~/gene_embedding|embeddings"] = model.gene_embedding.weight
        found |= linear("~/linear", model.gene_projection)
    found["stem/conv1_d|w"] = model.stem.conv.weight.permute(2, 1, 0)
    found["stem/conv1_d|b"] = model.stem.conv.bias
    for number, block in enumerate(model.blocks):
        root = f"attention_layer_{number}/~"
        found |= norm(f"{root}/self_attention_layer_norm", block.attention_norm)
        found |= norm(f"{root}/final_layer_norm", block.ffn_norm)
        for name in ("query", "key", "value"):
            found |= linear(f"{root}/self_attention/{name}", getattr(block.attention, name))
        found |= linear(f"{root}/self_attention/mha_output", block.attention.output)
        found |= linear(f"{root}/fc1", block.ffn_in) | linear(f"{root}/fc2", block.ffn_out)
    for tower, blocks, inner, conv in (
        ("conv_block", model.down, "conv_block", "conv1_d"),
        ("deconv_block", model.up, "de_conv_block", "conv1_d_transpose"),
    ):
        for number, block in enumerate(blocks):
            root, own = f"{tower}_{number}/{inner}", block.convolution.conv
            residual = f"{tower}_{number}/residual_{inner}/{inner}"
            found |= norm(f"{root}/layer_norm", block.norm) | norm(f"{residual}/layer_norm", block.residual.norm)
            is_up = conv == "conv1_d_transpose"
            found[f"{root}/{conv}|w"] = own.weight.flip(2).permute(2, 1, 0) if is_up else own.weight.permute(2, 1, 0)
            found[f"{root}/{conv}|b"] = own.bias
            weight = block.residual.linear.weight
            found[f"{residual}/{conv}|w"] = (weight if is_up else weight.T)[None]
            found[f"{residual}/{conv}|b"] = block.residual.linear.bias
    return {f"multi_omics_lm/{name}": value.detach().numpy().copy() for name, value in found.items()}


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def writer(arrays: dict[str, np.ndarray], **changes: object) -> tuple[Path, Path]:
        np.savez(tmp_path / "params.npz", **arrays)
        (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **changes}))
        return tmp_path / "params.npz", tmp_path / "config.json"

    return writer


def example(tmp_path: Path, **changes: object) -> Mojo:
    (tmp_path / "sizes.json").write_text(json.dumps({**CONFIG, **changes}))
    config = read_mojo_config(tmp_path / "sizes.json").as_ours()
    return Mojo(config, torch.Generator().manual_seed(0)).eval()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_hidden_layers_head": 0, "num_downsamples": 3, "sequence_length": 24},
        {"use_gene_embedding": False, "use_skip_connection": False},
        {"key_size": None, "embed_dim": 16, "layer_norm_eps": 1e-3, "unknown_field": 1},
    ],
)
def test_every_tensor_finds_its_place(tmp_path: Path, write: Writer, changes: dict[str, object]) -> None:
    expected = example(tmp_path, **changes)
    found = import_mojo(*write(as_haiku(expected), **changes)).model
    assert found.config == expected.config
    assert found.config.omics == OMICS
    generator = torch.Generator().manual_seed(1)
    ids = {omic: torch.randint(0, 32, (2, found.config.n_genes), generator=generator) for omic in OMICS}
    assert_close(found(ids).logits, expected(ids).logits)


def test_what_is_missing_left_over_or_of_another_shape(tmp_path: Path, write: Writer) -> None:
    arrays = as_haiku(example(tmp_path))
    arrays["multi_omics_lm/extra|w"] = np.zeros((2, 2), np.float32)
    arrays["multi_omics_lm/attention_layer_0/~/fc9|w"] = np.zeros((2, 2), np.float32)
    del arrays["multi_omics_lm/~/linear|b"]
    arrays["multi_omics_lm/conv_block_0/residual_conv_block/conv_block/conv1_d|w"] = np.zeros((3, 9, 9), np.float32)
    with pytest.raises(CheckpointError) as error:
        import_mojo(*write(arrays))
    for problem in (
        "unexpected tensor extra|w",
        "unexpected tensor attention_layer_0/~/fc9|w",
        "missing tensor gene_projection.bias",
        "down.0.residual.linear.weight has shape (3, 9, 9)",
    ):
        assert problem in str(error.value)


def test_files_of_something_else(tmp_path: Path, write: Writer) -> None:
    arrays = as_haiku(example(tmp_path))
    _, config = write(arrays)
    save_file({"stem.0.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="the names of a PyTorch MOJO are not known here"):
        import_mojo(tmp_path / "model.safetensors", config)
    with pytest.raises(CheckpointError, match="expected the parameters of one model, found"):
        import_mojo(*write(arrays | {"other/stem|w": np.zeros(2, np.float32)}))
    with pytest.raises(CheckpointError, match=r"sizes that do not fit together.*even width"):
        import_mojo(*write(arrays, key_size=5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequence_length": 0}, "`sequence_length`"),
        ({"n_expressions_bins": {"rnaseq": 64}}, "`n_expressions_bins` has no entry for methylation"),
        ({"max_omic_value": {"methylation": 2.0, "rnaseq": 1.0}}, "methylation is binned between other values"),
        (
            {
                "use_max_normalization": {"methylation": True, "rnaseq": True},
                "normalization_factor": {"methylation": 3.0, "rnaseq": 5.5},
            },
            "methylation is divided by 3.0 without a logarithm",
        ),
    ],
)
def test_configurations_that_are_not_known(write: Writer, changes: dict[str, object], message: str) -> None:
    _, config = write({"a|w": np.zeros(1, np.float32)}, **changes)
    with pytest.raises(CheckpointError, match=message):
        read_mojo_config(config)
