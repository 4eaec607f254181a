"""What a GexBERT returns.

Shape letters: B batch, K input genes, T target genes, D model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Restored:
    """Restored values, standardised as the tokenizer does, with their stated uncertainty.

    Attributes:
        mean: Shape (B, T), float32.
        deviation: Standard deviation of a normal distribution, above 0, shape (B, T), float32.
    """

    mean: Tensor
    deviation: Tensor


@dataclass(frozen=True)
class GexBERTOutput:
    """What a forward pass returns.

    Attributes:
        restored: Values of the target genes.
        hidden: Output of the encoder's layers asked for, by layer number from 1, each (B, K, D).
        attention: The decoder's attention to the inputs, mean over heads, of the decoder's layers asked for, by layer
            number from 1, each (B, T, K).
    """

    restored: Restored
    hidden: dict[int, Tensor] = field(default_factory=dict)
    attention: dict[int, Tensor] = field(default_factory=dict)
