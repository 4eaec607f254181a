"""Published BulkRNABert weights as one of our models, with every key and shape accounted for.

Sources: parameter names of the haiku reference (dm-haiku, `bulk_bert`) and of its PyTorch form on the Hugging Face hub.
Differs: haiku stores a linear weight as (in, out), torch as (out, in).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from bulkrnabert.errors import CheckpointError, join_problems
from bulkrnabert.keys import N_TOKEN_IDS
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.reference_files import SEPARATOR, Arrays, read_reference_arrays
from bulkrnabert.models.registry import load_strictly

EXPRESSION_TABLE = "expression_embedding.weight"


class ReferenceConfig(BaseModel):
    """The fields of a published `config.json` that decide the numbers; the others are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    n_genes: int = Field(ge=1)
    n_expressions_bins: int = Field(ge=2)
    embed_dim: int = Field(ge=1)
    init_gene_embed_dim: int = Field(ge=1)
    use_gene_embedding: bool = True
    project_gene_embedding: bool = True
    num_attention_heads: int = Field(ge=1)
    key_size: int | None = None
    ffn_embed_dim: int = Field(ge=1)
    num_layers: int = Field(ge=1)
    use_log_normalization: bool = True
    use_max_normalization: bool = True
    normalization_factor: float | None = Field(default=None, gt=0)

    @property
    def tokenizer_factor(self) -> float:
        """What log10(1 + TPM) is divided by."""
        return self.normalization_factor if self.use_max_normalization and self.normalization_factor else 1.0

    def as_ours(self, n_embedding_rows: int) -> BulkRNABertConfig:
        """Our configuration of the same sizes, for an expression table of `n_embedding_rows` rows.

        JAX clamps an index beyond the table to its last row, without a word; so must a table that lacks rows for
        `<pad>` and `<mask>`.
        """
        return BulkRNABertConfig(
            n_genes=self.n_genes,
            n_bins=self.n_expressions_bins,
            n_embedding_rows=n_embedding_rows,
            embed_dim=self.embed_dim,
            init_gene_embed_dim=self.init_gene_embed_dim,
            use_gene_embedding=self.use_gene_embedding,
            project_gene_embedding=self.project_gene_embedding,
            n_heads=self.num_attention_heads,
            key_size=self.key_size,
            ffn_embed_dim=self.ffn_embed_dim,
            n_layers=self.num_layers,
            out_of_range="clamp" if n_embedding_rows < N_TOKEN_IDS else "error",
        )


@dataclass(frozen=True)
class ImportedModel:
    """A published model in our form, with the configuration it came with."""

    model: BulkRNABert
    reference: ReferenceConfig


def read_reference_config(path: Path) -> ReferenceConfig:
    """Read a published `config.json`.

    Raises:
        CheckpointError: no JSON, a field missing, or a preparation of the values that we do not know.
    """
    try:
        config = ReferenceConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        problems = [f"`{'.'.join(map(str, item['loc']))}`: {item['msg']}" for item in error.errors()]
        raise CheckpointError(join_problems(f"{path}: no published BulkRNABert configuration", problems)) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}") from error
    if not config.use_log_normalization:
        raise CheckpointError(f"{path}: use_log_normalization is false; only log10(1 + TPM) models are known")
    if config.use_max_normalization and config.normalization_factor is None:
        raise CheckpointError(f"{path}: no normalization_factor; add the constant that the model was trained with")
    return config


def import_bulkrnabert(params_path: Path, config_path: Path) -> ImportedModel:
    """Read published weights into a new model, in evaluation mode.

    Raises:
        CheckpointError: the file is hostile or broken, or a tensor is missing, left over or of another shape.
    """
    reference = read_reference_config(config_path)
    arrays = read_reference_arrays(params_path)
    tensors = _from_haiku(arrays, params_path) if params_path.suffix != ".safetensors" else _from_torch(arrays)
    table = tensors.get(EXPRESSION_TABLE)
    n_rows = reference.n_expressions_bins if table is None else len(table)
    if n_rows not in (reference.n_expressions_bins, N_TOKEN_IDS):
        raise CheckpointError(
            f"{params_path}: the expression table has {n_rows} rows, expected {reference.n_expressions_bins} "
            f"(bins) or {N_TOKEN_IDS} (with <pad> and <mask>)"
        )
    with torch.device("meta"):
        model = BulkRNABert(reference.as_ours(n_rows))
    load_strictly(model, tensors, str(params_path))
    return ImportedModel(model.eval(), reference)


def _from_haiku(arrays: Arrays, path: Path) -> dict[str, Tensor]:
    roots = {key.partition("/")[0] for key in arrays}
    if len(roots) != 1:
        raise CheckpointError(f"{path}: expected the parameters of one model, found {sorted(roots) or 'none'}")
    return {
        _haiku_name(key.partition("/")[2] or key): _tensor(array.T if key.endswith(f"{SEPARATOR}w") else array)
        for key, array in arrays.items()
    }


def _from_torch(arrays: Arrays) -> dict[str, Tensor]:
    return {_torch_name(name): _tensor(array) for name, array in arrays.items()}


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


_HAIKU_MODULES = {
    "~/expression_embedding": "expression_embedding",
    "~/gene_embedding": "gene_embedding",
    "~/linear": "gene_projection",
    "~/simple_lm_head/~/lm_final_fc": "lm_head",
}
_HAIKU_BLOCK_MODULES = {
    "self_attention_layer_norm": "attention_norm",
    "self_attention/query": "attention.query",
    "self_attention/key": "attention.key",
    "self_attention/value": "attention.value",
    "self_attention/mha_output": "attention.output",
    "final_layer_norm": "ffn_norm",
    "fc1": "ffn_in",
    "fc2": "ffn_out",
}
_HAIKU_PARAMETERS = {"w": "weight", "b": "bias", "scale": "weight", "offset": "bias", "embeddings": "weight"}
_HAIKU_BLOCK = "self_attention_block_"


def _haiku_name(key: str) -> str:
    """Our name of a haiku parameter, without its root; an unknown one keeps it, and is reported."""
    module, _, parameter = key.partition(SEPARATOR)
    ours = _HAIKU_MODULES.get(module)
    if module.startswith(_HAIKU_BLOCK):
        number, _, inner = module.removeprefix(_HAIKU_BLOCK).partition("/~/")
        ours = f"blocks.{number}.{_HAIKU_BLOCK_MODULES[inner]}" if inner in _HAIKU_BLOCK_MODULES else None
    if ours is None or parameter not in _HAIKU_PARAMETERS:
        return key
    return f"{ours}.{_HAIKU_PARAMETERS[parameter]}"


_TORCH_MODULES = {
    "expression_embedding_layer": "expression_embedding",
    "gene_embedding_layer": "gene_embedding",
    "fc_gene_embedding": "gene_projection",
    "lm_head": "lm_head",
}
_TORCH_BLOCK_MODULES = {
    "layer_norm_self_attention": "attention_norm",
    "mha.w_q": "attention.query",
    "mha.w_k": "attention.key",
    "mha.w_v": "attention.value",
    "mha.output": "attention.output",
    "layer_norm_mlp": "ffn_norm",
    "fc1": "ffn_in",
    "fc2": "ffn_out",
}
_TORCH_BLOCK = "transformer_layers."


def _torch_name(name: str) -> str:
    """Our name of a tensor of the published PyTorch model; an unknown one gets a name that no model has."""
    module, _, parameter = name.rpartition(".")
    ours = _TORCH_MODULES.get(module)
    if module.startswith(_TORCH_BLOCK):
        number, _, inner = module.removeprefix(_TORCH_BLOCK).partition(".")
        ours = f"blocks.{number}.{_TORCH_BLOCK_MODULES[inner]}" if inner in _TORCH_BLOCK_MODULES else None
    return f"{ours}.{parameter}" if ours is not None else f"{name} (unknown name)"
