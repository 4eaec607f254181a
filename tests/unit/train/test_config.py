"""Settings, presets and the schedule."""

from __future__ import annotations

import pytest

from bulkrnabert.config import preset_names, preset_path
from bulkrnabert.errors import ConfigError
from bulkrnabert.train.config import MaskedTrainConfig
from bulkrnabert.train.schedule import learning_rate

SMALL = {
    "steps": 10,
    "global_batch_size": 8,
    "micro_batch_size": 2,
    "learning_rate": 1.0,
    "validate_every": 2,
    "checkpoint_every": 4,
}


@pytest.mark.parametrize("name", preset_names("train"))
def test_every_preset_loads_and_has_a_model_of_its_name(name: str) -> None:
    config = MaskedTrainConfig.from_yaml(preset_path("train", name))
    assert config.accumulation(1) >= 1
    assert name in preset_names("model")


def test_the_presets_are_there() -> None:
    assert {"tiny", "small", "paper"} <= set(preset_names("train"))


def test_paper_preset_sees_twelve_billion_tokens() -> None:
    config = MaskedTrainConfig.from_yaml(preset_path("train", "paper"))
    assert config.steps * config.global_batch_size * 19062 == pytest.approx(12e9, rel=0.02)
    assert config.global_batch_size * 19062 == pytest.approx(3e6, rel=0.02)
    for n_processes in (1, 2, 4, 8):
        config.accumulation(n_processes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"micro_batch_size": 3}, "global_batch_size 8 is not a multiple of micro_batch_size 3"),
        ({"checkpoint_every": 3}, "checkpoint_every 3 is not a multiple of validate_every 2"),
        ({"betas": (0.9, 1.0)}, "not in \\[0, 1\\)"),
        ({"warm_up": 3}, "`warm_up`: Extra inputs"),
        ({"steps": 0}, "`steps`: Input should be greater than 0"),
    ],
)
def test_wrong_settings(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MaskedTrainConfig.from_mapping({**SMALL, **change}, "test")


def test_accumulation() -> None:
    config = MaskedTrainConfig.from_mapping(SMALL, "test")
    assert [config.accumulation(n) for n in (1, 2, 4)] == [4, 2, 1]
    with pytest.raises(ConfigError, match="not a multiple of micro_batch_size 2 x 3 processes"):
        config.accumulation(3)


def test_schedule_by_hand() -> None:
    config = MaskedTrainConfig.from_mapping({**SMALL, "warmup_fraction": 0.2, "min_lr_ratio": 0.5}, "test")
    rates = [learning_rate(step, config) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]  # two steps of warm-up, then the cosine starts at the peak
    assert rates[9] == pytest.approx(0.5)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_schedule_without_warm_up_and_with_one_step() -> None:
    config = MaskedTrainConfig.from_mapping({**SMALL, "steps": 1, "warmup_fraction": 0.0}, "test")
    assert learning_rate(0, config) == 1.0
