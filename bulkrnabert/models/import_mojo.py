"""Published MOJO weights as one of our models, with every key and shape accounted for.

Sources: parameter names of the haiku reference (dm-haiku, `multi_omics_lm`). The names of a PyTorch form are not known
to us: a safetensors file is read when its keys are haiku's, as `multi_omics_lm/stem/conv1_d|w`.
Differs: haiku stores a linear weight as (in, out), a convolution as (kernel, in, out) and a transposed convolution as
(kernel, out, in), unflipped; torch as (out, in), (out, in, kernel) and (in, out, kernel), flipped. A convolution of
kernel 1 is a linear layer in ours.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from bulkrnabert.errors import CheckpointError, join_problems
from bulkrnabert.models.mojo import Mojo, MojoConfig
from bulkrnabert.models.reference_files import SEPARATOR, read_reference_arrays
from bulkrnabert.models.registry import load_strictly


class MojoReferenceConfig(BaseModel):
    """The fields of a published `config.json` that decide the numbers; the others are ignored or derived."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    alphabet_size: dict[str, int] = Field(min_length=1)
    token_embed_dim: int = Field(ge=1)
    conv_init_embed_dim: int = Field(ge=1)
    embed_dim: int = Field(ge=1)
    num_downsamples: int = Field(ge=1)
    init_gene_embed_dim: int = Field(default=200, ge=1)
    use_gene_embedding: bool = True
    project_gene_embedding: bool = False
    sequence_length: int = Field(ge=1)
    use_skip_connection: bool = True
    num_attention_heads: int = Field(default=16, ge=1)
    key_size: int | None = None
    ffn_embed_dim: int = Field(default=512, ge=1)
    num_layers: int = Field(default=4, ge=1)
    layer_norm_eps: float = Field(default=1e-5, gt=0)
    stem_kernel_shape: int = Field(default=15, ge=1)
    num_hidden_layers_head: int = Field(default=0, ge=0)
    n_expressions_bins: dict[str, int]
    min_omic_value: dict[str, float]
    max_omic_value: dict[str, float]
    use_log_normalization: dict[str, bool]
    use_max_normalization: dict[str, bool]
    normalization_factor: dict[str, float]

    @property
    def n_genes(self) -> int:
        """Genes before padding."""
        return self.sequence_length

    def tokenizer_factor(self, omic: str) -> float:
        """What the values of an omic are divided by."""
        return self.normalization_factor[omic] if self.use_max_normalization[omic] else 1.0

    def as_ours(self) -> MojoConfig:
        """Our configuration of the same sizes."""
        return MojoConfig(
            n_genes=self.sequence_length,
            n_bins=max(self.n_expressions_bins[omic] for omic in self.alphabet_size),
            omic_names=tuple(self.alphabet_size),
            n_token_ids=dict(self.alphabet_size),
            token_embed_dim=self.token_embed_dim,
            conv_embed_dim=self.conv_init_embed_dim,
            embed_dim=self.embed_dim,
            n_downsamples=self.num_downsamples,
            stem_kernel=self.stem_kernel_shape,
            init_gene_embed_dim=self.init_gene_embed_dim,
            use_gene_embedding=self.use_gene_embedding,
            # The reference switches the projection on by itself where the widths differ.
            project_gene_embedding=self.project_gene_embedding or self.init_gene_embed_dim != self.token_embed_dim,
            use_skip_connection=self.use_skip_connection,
            n_heads=self.num_attention_heads,
            key_size=self.key_size,
            ffn_embed_dim=self.ffn_embed_dim,
            n_layers=self.num_layers,
            norm_epsilon=self.layer_norm_eps,
            n_head_layers=self.num_hidden_layers_head,
            absent_omic="leave_out",
        )


@dataclass(frozen=True)
class ImportedMojo:
    """A published model in our form, with the configuration it came with."""

    model: Mojo
    reference: MojoReferenceConfig


def read_mojo_config(path: Path) -> MojoReferenceConfig:
    """Read a published `config.json`.

    Raises:
        CheckpointError: no JSON, a field missing, or a preparation of the values that we do not know.
    """
    try:
        config = MojoReferenceConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        problems = [f"`{'.'.join(map(str, item['loc']))}`: {item['msg']}" for item in error.errors()]
        raise CheckpointError(join_problems(f"{path}: no published MOJO configuration", problems)) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}") from error
    problems = []
    fields = ("n_expressions_bins", "min_omic_value", "max_omic_value", "use_log_normalization")
    for name in (*fields, "use_max_normalization", "normalization_factor"):
        absent = [omic for omic in config.alphabet_size if omic not in getattr(config, name)]
        problems += [f"`{name}` has no entry for {omic}" for omic in absent]
    for omic in config.alphabet_size if not problems else ():
        if (config.min_omic_value[omic], config.max_omic_value[omic]) != (0.0, 1.0):
            problems.append(f"{omic} is binned between other values than 0 and 1, which no tokenizer here does")
        if not config.use_log_normalization[omic] and config.tokenizer_factor(omic) != 1.0:
            problems.append(f"{omic} is divided by {config.tokenizer_factor(omic)} without a logarithm: not known here")
    if problems:
        raise CheckpointError(join_problems(f"{path}: no published MOJO configuration", problems))
    return config


def import_mojo(params_path: Path, config_path: Path) -> ImportedMojo:
    """Read published weights into a new model, in evaluation mode.

    Args:
        params_path: `params.joblib`, `params.npz` or a safetensors file, with haiku's keys.
        config_path: The published `config.json`.
    Raises:
        CheckpointError: the file is hostile or broken, or a tensor is missing, left over or of another shape.
    """
    reference = read_mojo_config(config_path)
    arrays = read_reference_arrays(params_path)
    if not any(SEPARATOR in key for key in arrays):
        raise CheckpointError(
            f"{params_path}: its keys are not haiku's (as {next(iter(arrays), 'nothing')!r}); the names of a PyTorch "
            "MOJO are not known here: give params.joblib, or safetensors with keys as `multi_omics_lm/stem/conv1_d|w`"
        )
    roots = {key.partition("/")[0] for key in arrays}
    if len(roots) != 1:
        raise CheckpointError(f"{params_path}: expected the parameters of one model, found {sorted(roots)}")
    try:
        config = reference.as_ours()
    except ValidationError as error:
        raise CheckpointError(f"{config_path}: sizes that do not fit together: {error.errors()[0]['msg']}") from error
    tensors = dict(_ours(key.partition("/")[2], array) for key, array in arrays.items())
    with torch.device("meta"):
        model = Mojo(config)
    load_strictly(model, tensors, str(params_path))
    return ImportedMojo(model.eval(), reference)


_ATTENTION = {
    "~/self_attention_layer_norm": "attention_norm",
    "~/self_attention/query": "attention.query",
    "~/self_attention/key": "attention.key",
    "~/self_attention/value": "attention.value",
    "~/self_attention/mha_output": "attention.output",
    "~/final_layer_norm": "ffn_norm",
    "~/fc1": "ffn_in",
    "~/fc2": "ffn_out",
}
_DOWN = {
    "conv_block/layer_norm": "norm",
    "conv_block/conv1_d": "convolution.conv",
    "residual_conv_block/conv_block/layer_norm": "residual.norm",
    "residual_conv_block/conv_block/conv1_d": "residual.linear",
}
_UP = {
    "de_conv_block/layer_norm": "norm",
    "de_conv_block/conv1_d_transpose": "convolution.conv",
    "residual_de_conv_block/de_conv_block/layer_norm": "residual.norm",
    "residual_de_conv_block/de_conv_block/conv1_d_transpose": "residual.linear",
}
_TOWERS = (
    ("attention_layer", "blocks", _ATTENTION),
    ("conv_block", "down", _DOWN),
    ("deconv_block", "up", _UP),
)
_MODULES = {"~/gene_embedding": "gene_embedding", "~/linear": "gene_projection", "stem/conv1_d": "stem.conv"}
_PARAMETERS = {"w": "weight", "b": "bias", "scale": "weight", "offset": "bias", "embeddings": "weight"}


def _ours(key: str, array: NDArray[np.floating]) -> tuple[str, Tensor]:
    """Our name and layout of a haiku parameter, its root left out; an unknown one keeps its name, and is reported."""
    module, _, parameter = key.partition(SEPARATOR)
    name = _module_name(module)
    if name is None or parameter not in _PARAMETERS:
        return key, torch.from_numpy(np.array(array))
    if parameter == "w":
        array = _weight(array, is_transposed="conv1_d_transpose" in module, is_linear=".residual." in name)
    return f"{name}.{_PARAMETERS[parameter]}", torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def _module_name(module: str) -> str | None:
    if module in _MODULES:
        return _MODULES[module]
    if found := re.fullmatch(r"~/(\w+)_embedding", module):
        return f"omic_embeddings.{found[1]}"
    if found := re.fullmatch(r"(\w+)_head_linear_(\d+|final)", module):
        return f"heads.{found[1]}.output" if found[2] == "final" else f"heads.{found[1]}.hidden.{found[2]}"
    for pattern, tower, layers in _TOWERS:
        if found := re.fullmatch(rf"{pattern}_(\d+)/(.+)", module):
            layer = layers.get(found[2])
            return None if layer is None else f"{tower}.{found[1]}.{layer}"
    return None


def _weight(array: NDArray[np.floating], is_transposed: bool, is_linear: bool) -> NDArray[np.floating]:
    """A weight in torch's layout; one of unexpected dimensions as it is, for the check of shapes to report."""
    if array.ndim == 2:
        return array.T
    if array.ndim != 3 or (is_linear and len(array) != 1):
        return array
    if is_linear:
        return np.asarray(array[0] if is_transposed else array[0].T)
    return np.asarray((array[::-1] if is_transposed else array).transpose(2, 1, 0))
