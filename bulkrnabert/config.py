"""Base class of every configuration, its YAML form, and where the shipped presets are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from bulkrnabert.errors import ConfigError, join_problems

PresetKind = Literal["model", "train", "selection", "task"]


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
                problems.append(f"`{key}`: {item['msg']} (found {item['input']!r})")
            raise ConfigError(join_problems(source, problems)) from error

    @classmethod
    def from_yaml(cls, path: Path) -> Self:
        """Read and validate a YAML (or JSON) file."""
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
        return cls.from_mapping(values, str(path))


def _preset_folders(kind: PresetKind) -> list[Path]:
    package = Path(__file__).resolve().parent
    return [package / "conf" / kind, package.parent / "conf" / kind]


def preset_names(kind: PresetKind) -> list[str]:
    """Names of the shipped presets of one kind, sorted."""
    return sorted({path.stem for folder in _preset_folders(kind) for path in folder.glob("*.yaml")})


def preset_path(kind: PresetKind, name: str) -> Path:
    """File of a shipped preset, in an installed package or in a clone.

    Raises:
        ConfigError: no such preset; names those that exist.
    """
    for folder in _preset_folders(kind):
        path = folder / f"{name}.yaml"
        if path.is_file():
            return path
    raise ConfigError(
        f"no {kind} preset named {name!r}: choose one of {', '.join(preset_names(kind))}, or give a YAML file"
    )
