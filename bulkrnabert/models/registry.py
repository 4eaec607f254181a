"""Models by name, and the weight files of a checkpoint folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from bulkrnabert import keys
from bulkrnabert.errors import CheckpointError, ConfigError, join_problems
from bulkrnabert.keys import CONFIG_JSON, WEIGHTS
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.encoder import Encoder, EncoderConfig
from bulkrnabert.models.gexbert import GexBERT, GexBERTConfig
from bulkrnabert.models.mojo import Mojo, MojoConfig
from bulkrnabert.provenance import atomic_path, write_json


@dataclass(frozen=True)
class ModelKind:
    """A model class with the class of its configuration."""

    config: type[EncoderConfig]
    network: Callable[[Any, torch.Generator | None], Encoder]


MODELS = {
    keys.BULKRNABERT: ModelKind(BulkRNABertConfig, BulkRNABert),
    keys.MOJO: ModelKind(MojoConfig, Mojo),
    keys.GEXBERT: ModelKind(GexBERTConfig, GexBERT),
}

# What a published config.json says beside, for readers of a model hub; nothing of ours depends on it.
HUB_KEYS: Final = frozenset({"library_name", "model_type", "architectures"})


def model_kind(name: str) -> ModelKind:
    """Classes of a model.

    Raises:
        ConfigError: no model of that name; names those that exist.
    """
    if name not in MODELS:
        raise ConfigError(f"no model named {name!r}: choose one of {', '.join(sorted(MODELS))}")
    return MODELS[name]


def model_name(network: Encoder) -> str:
    """Name under which a network's class is registered."""
    name = next((name for name, kind in MODELS.items() if type(network) is kind.network), None)
    assert name is not None, f"{type(network).__name__} is not registered"
    return name


def build_model(name: str, config: EncoderConfig, generator: torch.Generator | None = None) -> Encoder:
    """A new model with random weights, drawn from `generator` (torch's own when left out)."""
    kind = model_kind(name)
    if not isinstance(config, kind.config):
        raise ConfigError(f"model {name} takes a {kind.config.__name__}, found {type(config).__name__}")
    return kind.network(config, generator)


def save_network(folder: Path, model: nn.Module, tensors: Mapping[str, Tensor] | None = None) -> None:
    """Write `config.json` and `model.safetensors`; each takes its name only when complete.

    Weights are stored as float32 on the CPU, whatever the model was trained in.

    Args:
        folder: Made if absent.
        model: Its configuration is saved, and its state dict.
        tensors: To save in place of the model's own state dict, where its parameters are shared out over processes.
    """
    from safetensors.torch import save_file

    assert isinstance(model, Encoder)
    name = model_name(model)
    folder.mkdir(parents=True, exist_ok=True)
    state = model.state_dict() if tensors is None else tensors
    whole = {key: value.detach().float().cpu().contiguous() for key, value in state.items()}
    with atomic_path(folder / WEIGHTS) as partial:
        save_file(whole, partial, metadata={"format": "pt"})
    write_json(folder / CONFIG_JSON, {"model": name, "config": model.config.model_dump(mode="json")})


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file.

    Raises:
        CheckpointError: the file is missing, or is not safetensors (a pickle, for example).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; weights are read from safetensors only, never from pickles")
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); pickled weights (.bin, .pt, .ckpt) are not read"
        ) from error


def load_network(folder: Path) -> Encoder:
    """The model of a checkpoint folder, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: a file is missing or broken, or a tensor is missing, unexpected or of another shape.
    """
    path = folder / CONFIG_JSON
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file: {folder} is not a checkpoint folder") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(described, dict) or set(described) - HUB_KEYS != {"model", "config"}:
        raise CheckpointError(
            f'{path}: expected {{"model": …, "config": …}}; '
            "published weights and their config.json go through `bulkrnabert import-weights`"
        )
    try:
        kind = model_kind(described["model"])
        config = kind.config.from_mapping(described["config"], str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    with torch.device("meta"):
        model = kind.network(config, None)
    load_strictly(model, read_safetensors(folder / WEIGHTS), str(folder / WEIGHTS))
    return model.eval()


def refuse_misfits(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], headline: str) -> None:
    """Compare tensors that were read with those that they are to replace.

    Args:
        tensors: By name.
        expected: The same, of the right shapes.
        headline: What of the message stands above the list.
    Raises:
        CheckpointError: lists every tensor that is missing, unexpected, of another shape, or not finite.
    """
    problems = [f"missing tensor {name}" for name in expected.keys() - tensors.keys()]
    problems += [f"unexpected tensor {name}" for name in tensors.keys() - expected.keys()]
    for name in expected.keys() & tensors.keys():
        shape, right = tuple(tensors[name].shape), tuple(expected[name].shape)
        if shape != right:
            problems.append(f"{name} has shape {shape}, expected {right}")
        elif not bool(torch.isfinite(tensors[name]).all()):
            problems.append(f"{name} holds values that are not finite")
    if problems:
        raise CheckpointError(join_problems(headline, sorted(problems)))


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put tensors in place of a model's parameters; every key and shape must be accounted for.

    Args:
        model: Its parameters are replaced (they may be on the meta device).
        tensors: By state-dict name.
        source: Where they came from, for the message.
    Raises:
        CheckpointError: lists every tensor that is missing, unexpected, of another shape, or not finite.
    """
    expected = model.state_dict()
    refuse_misfits(tensors, expected, f"{source} does not fit its configuration")
    model.load_state_dict({name: tensors[name].to(expected[name].dtype) for name in expected}, assign=True)
