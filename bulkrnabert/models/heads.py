"""Small networks on top of an encoder's embedding.

Legend: B batch, E embedding size, O outputs.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from bulkrnabert.config import FrozenConfig


class HeadConfig(FrozenConfig):
    """Sizes of a head.

    Attributes:
        n_inputs: Embedding size.
        n_outputs: Classes, or 1 for the log hazard of a Cox model.
        hidden: Widths of the hidden layers.
        dropout: Probability, after each hidden layer.
        layer_norm: Normalise after each hidden layer's SELU.
    """

    n_inputs: int = Field(ge=1)
    n_outputs: int = Field(ge=1)
    hidden: tuple[int, ...] = (256, 128)
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    layer_norm: bool = False


class MLPHead(nn.Module):
    """Linear -> SELU (-> layer norm) -> dropout, repeated, then a linear output that starts at zero.

    Starting at zero makes the untrained head predict no difference between samples, so that stopping early means
    claiming little.

    Source:
        BulkRNABert, section 3.2: [256, 128] for classes, [512, 256] for survival, SELU, dropout and layer norm; rates
        not stated, ours are choices.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        width = config.n_inputs
        for n_hidden in config.hidden:
            linear = nn.Linear(width, n_hidden)
            nn.init.normal_(linear.weight, std=width**-0.5)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.SELU()]
            if config.layer_norm:
                layers.append(nn.LayerNorm(n_hidden))
            layers.append(nn.Dropout(config.dropout))
            width = n_hidden
        output = nn.Linear(width, config.n_outputs)
        nn.init.zeros_(output.weight)
        nn.init.zeros_(output.bias)
        self.layers = nn.Sequential(*layers, output)

    def forward(self, embedding_BE: Tensor) -> Tensor:
        """Logits or log hazards, shape (B, O)."""
        out_BO = self.layers(embedding_BE)
        assert isinstance(out_BO, torch.Tensor)
        return out_BO
