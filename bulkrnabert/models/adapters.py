"""Adapters: the few parameters of an encoder that fine-tuning changes, through `peft`.

Source: BulkRNABert, section 3.2 (IA3: rescaling of keys, values and the feed-forward layer's inner activations, after
Liu et al. 2022), 4 x (256 + 256 + 512) = 4,096 parameters at the paper's size.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

from pydantic import Field
from torch import nn

from bulkrnabert.config import FrozenConfig
from bulkrnabert.errors import ConfigError

AdapterKind = Literal["none", "ia3", "lora", "full"]
_IA3_MODULES = ["attention.key", "attention.value", "ffn_out"]
_LORA_MODULES = ["attention.query", "attention.value", "ffn_in", "ffn_out"]


class AdapterConfig(FrozenConfig):
    """Which parameters of the encoder are trained.

    Attributes:
        kind: `none`: the encoder stays frozen; `ia3`: three vectors a block, started at 1, the identity (published);
            `lora`: low-rank updates of linear layers, started at 0; `full`: every parameter.
        lora_rank: Rank of the updates.
        lora_alpha: Their scale is `lora_alpha / lora_rank`.
    """

    kind: AdapterKind = "ia3"
    lora_rank: int = Field(default=8, ge=1)
    lora_alpha: float = Field(default=16.0, gt=0)


def add_adapter(network: nn.Module, config: AdapterConfig) -> None:
    """Freeze a network but for its adapter, which is put in place here; the output does not change.

    Args:
        network: An encoder of transformer blocks (see `models.layers`). Modified.
        config: Which adapter.
    Raises:
        ConfigError: `peft` is not installed.
    """
    if config.kind == "full":
        network.requires_grad_(True)
        return
    network.requires_grad_(False)
    if config.kind == "none":
        return
    peft = _import_peft()
    if config.kind == "ia3":
        settings = peft.IA3Config(target_modules=_IA3_MODULES, feedforward_modules=["ffn_out"])
    else:
        settings = peft.LoraConfig(
            target_modules=_LORA_MODULES, r=config.lora_rank, lora_alpha=config.lora_alpha, lora_dropout=0.0
        )
    peft.inject_adapter_in_model(settings, network)


def _import_peft() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import peft
    except ImportError as error:
        raise ConfigError(
            "adapters need peft, which is not installed: install `bulkrnabert[finetune]`, or use --adapter none or full"
        ) from error
    return peft
