"""What a GexBERT is fed, and what its encoder makes of it.

Shape letters: B batch, K input genes, D model.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bulkrnabert.keys import PAD_ID
from bulkrnabert.models.gexbert_factors import FactorScores


@dataclass(frozen=True)
class Inputs:
    """Embedded values (B, K, D), their genes, their ids (B, K) or None: all are bins, and their values (B, K)."""

    expression: Tensor
    gene_idx: Tensor | None
    token_ids: Tensor | None
    values: Tensor
    factors: FactorScores | None = None


@dataclass(frozen=True)
class Encoded:
    """Columns (B, K, D) of a batch; of its samples summaries and factors; which columns are there, None: all.

    A summary has the width S of its layers (B, S) and that of the tokens (B, D).
    """

    columns: Tensor
    wide_summary: Tensor | None
    summary: Tensor | None
    factors: FactorScores | None
    key_mask: Tensor | None


def key_mask(token_ids: Tensor) -> Tensor | None:
    """Which columns are there, shape (B, K), True; None where all are."""
    is_there_BK = token_ids != PAD_ID
    if bool(is_there_BK.all()):
        return None
    if not bool(is_there_BK.any(dim=1).all()):
        raise ValueError("a row of token_ids is all <pad>: give it at least one gene, <mask> where nothing is known")
    return is_there_BK
