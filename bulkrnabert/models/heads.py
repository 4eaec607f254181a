"""Small networks on top of an encoder's embedding.

Legend: B batch, E embedding size, F kernel features, O outputs.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
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
        kernel_features: Random Fourier features that stand in place of hidden layers; 0: none.
    """

    n_inputs: int = Field(ge=1)
    n_outputs: int = Field(ge=1)
    hidden: tuple[int, ...] = (256, 128)
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    layer_norm: bool = False
    kernel_features: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.kernel_features and self.hidden:
            raise ValueError(
                "kernel_features stand in place of hidden layers: set hidden to [], or kernel_features to 0"
            )
        return self


class FourierFeatures(nn.Module):
    """Random features whose products are near a Gaussian kernel: exp(-|x - y|^2 / E) for inputs of width E.

    With standardised inputs that width is the usual one of kernel methods (`gamma="scale"` of scikit-learn). The
    frequencies are drawn once and not trained; products of sin and cos pairs make the kernel of a point and itself 1.

    Args:
        n_inputs: Width E.
        n_features: How many, even.

    Source:
        Rahimi and Recht, NeurIPS 2007; frequencies orthogonal in blocks of E as in Yu et al., NeurIPS 2016.
    """

    def __init__(self, n_inputs: int, n_features: int) -> None:
        super().__init__()
        n_frequencies = (n_features + 1) // 2
        blocks = []
        for _ in range(-(-n_frequencies // n_inputs)):
            directions = torch.linalg.qr(torch.randn(n_inputs, n_inputs, dtype=torch.float64)).Q
            blocks.append(directions * torch.randn(n_inputs, n_inputs, dtype=torch.float64).norm(dim=0))
        frequencies = torch.cat(blocks, dim=1)[:, :n_frequencies] * (2 / n_inputs) ** 0.5
        self.register_buffer("frequencies", frequencies.float())
        self.n_outputs = 2 * n_frequencies

    def forward(self, x_BE: Tensor) -> Tensor:
        """Features, shape (B, F)."""
        angles = x_BE @ self.get_buffer("frequencies")
        features_BF: Tensor = torch.cat([angles.cos(), angles.sin()], dim=1) * (2 / self.n_outputs) ** 0.5
        return features_BF


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
        if config.kernel_features:
            features = FourierFeatures(width, config.kernel_features)
            layers.append(features)
            width = features.n_outputs
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
