"""Configuration files: every problem at once, unknown keys refused, presets found by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from bulkrnabert.config import FrozenConfig, preset_names, preset_path
from bulkrnabert.errors import ConfigError


class Oven(FrozenConfig):
    """A small configuration."""

    degrees: int = Field(gt=0)
    fan: bool = False


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "oven.yaml"
    path.write_text("degrees: 180\nfan: true\n")
    assert Oven.from_yaml(path) == Oven(degrees=180, fan=True)


def test_every_problem_at_once(tmp_path: Path) -> None:
    path = tmp_path / "oven.yaml"
    path.write_text("degrees: -1\nfans: true\n")
    with pytest.raises(ConfigError) as caught:
        Oven.from_yaml(path)
    message = str(caught.value)
    assert "2 problems" in message and "`degrees`" in message and "`fans`" in message and str(path) in message


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "", "degrees: [1\n"])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "oven.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"oven\.yaml"):
        Oven.from_yaml(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Oven.from_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize("kind", ["model", "train"])
def test_presets_are_found(kind: str) -> None:
    names = preset_names(kind)  # type: ignore[arg-type]
    assert names == ["paper", "small", "tiny"]
    assert all(preset_path(kind, name).is_file() for name in names)  # type: ignore[arg-type]


def test_an_unknown_preset_names_the_others() -> None:
    with pytest.raises(ConfigError, match="paper, small, tiny"):
        preset_path("model", "huge")
