"""Base class of every configuration, its YAML form, and where the shipped presets are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from bulkrnabert import keys
from bulkrnabert.errors import ConfigError, join_problems

PresetKind = Literal["model", "train", "selection", "task"]


MAX_SHOWN = 300


class FrozenConfig(BaseModel):
    """Frozen, with no unknown keys; every problem of a file is reported at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def from_mapping(cls, values: object, source: str) -> Self:
        """Validate a mapping.

        Args:
            values: What was read, normally a dict.
            source: Where it came from, for the message.
        Raises:
            ConfigError: lists every key that is unknown, missing or out of range.
        """
        if not isinstance(values, dict):
            raise ConfigError(
                f"{source}: expected `key: value` lines for {cls.__name__}, found {type(values).__name__}"
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = []
            for item in error.errors():
                key = ".".join(str(part) for part in item["loc"]) or cls.__name__
                problems.append(f"`{key}`: {item['msg']} (found {_shortened(item['input'])})")
            raise ConfigError(join_problems(source, problems)) from error

    @classmethod
    def from_yaml(cls, path: Path) -> Self:
        """Read and validate a YAML (or JSON) file."""
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
        return cls.from_mapping(values, str(path))


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _preset_folders(kind: PresetKind) -> list[Path]:
    package = Path(__file__).resolve().parent
    return [package / "conf" / kind, package.parent / "conf" / kind]


def preset_names(kind: PresetKind, model: str = keys.BULKRNABERT) -> list[str]:
    """Names of the shipped presets of one kind, sorted: `<name>.yaml`, or `<model>.<name>.yaml` for other models."""
    prefix = _prefix(model)
    stems = {
        path.stem.removeprefix(prefix) for folder in _preset_folders(kind) for path in folder.glob(f"{prefix}*.yaml")
    }
    return sorted(stem for stem in stems if "." not in stem)


def preset_path(kind: PresetKind, name: str, model: str = keys.BULKRNABERT) -> Path:
    """File of a shipped preset, in an installed package or in a clone.

    Raises:
        ConfigError: no such preset for this model; names those that exist.
    """
    if name in preset_names(kind, model):
        for folder in _preset_folders(kind):
            path = folder / f"{_prefix(model)}{name}.yaml"
            if path.is_file():
                return path
    found = ", ".join(preset_names(kind, model)) or "(there is none)"
    what = kind if model == keys.BULKRNABERT else f"{model} {kind}"
    raise ConfigError(f"no {what} preset named {name!r}: choose one of {found}, or give a YAML file")


def _prefix(model: str) -> str:
    return "" if model == keys.BULKRNABERT else f"{model}."
