"""The table of devices that runs are planned for; `conf/devices.yaml` is its file form."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import Field

from bulkrnabert.config import FrozenConfig
from bulkrnabert.errors import ConfigError

CPU = "cpu"


class Device(FrozenConfig):
    """A GPU as its data sheet describes it.

    Attributes:
        name: Full name.
        peak_bf16_tflops: Dense bf16 matrix rate, 1e12 operations a second.
        memory_gb: Memory, 1e9 bytes.
        bandwidth_gb_per_s: Of that memory.
        assumed_mfu: Share of the peak that a training step is assumed to reach.
        example_price_per_hour: US dollars; an example, not an offer.
    """

    name: str
    peak_bf16_tflops: float = Field(gt=0)
    memory_gb: float = Field(gt=0)
    bandwidth_gb_per_s: float = Field(gt=0)
    assumed_mfu: float = Field(gt=0, le=1)
    example_price_per_hour: float = Field(ge=0)


def devices_path() -> Path:
    """File of the table, in an installed package or in a clone."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf" / "devices.yaml"
    return inside if inside.is_file() else package.parent / "conf" / "devices.yaml"


def read_devices(path: Path) -> dict[str, Device]:
    """Read a table of devices.

    Raises:
        ConfigError: the file cannot be read, or a device's entry is wrong.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise ConfigError(f"{path}: expected a mapping of device names, found {type(entries).__name__}")
    if CPU in entries:
        raise ConfigError(f"{path}: `{CPU}` is no entry of the table: this machine's processor is measured")
    return {str(key): Device.from_mapping(entry, f"{path}: {key}") for key, entry in entries.items()}
