"""What an objective is; masked language modelling: the loss of masked positions, and how well they are predicted.

Shape letters: B batch, G genes, M masked positions of a sample, N masked positions of a batch, D model, V bins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bulkrnabert.data.masking import IGNORED
from bulkrnabert.models.bulkrnabert import BulkRNABert
from bulkrnabert.models.encoder import Encoder


@dataclass(frozen=True)
class Prediction:
    """What an objective makes of a micro-batch.

    Attributes:
        loss: To be minimised, scalar: a sum over the batch divided by what the sizes of its tensors alone give, so that
            the mean over micro-batches does not depend on how the global batch is cut.
        sums: Named counts and sums, scalars, which add up over micro-batches and processes; always the same names in
            the same order.
    """

    loss: Tensor
    sums: Mapping[str, Tensor]


class Objective(nn.Module):
    """A network with its loss, so that an engine wraps one module whose output is the loss.

    Attributes:
        network: What is trained; it holds every parameter, the objective has none of its own.
        forward: The loss of a micro-batch; takes the tensors of the batch in the order of its fields.
    """

    network: Encoder
    forward: Callable[..., Prediction]


@dataclass(frozen=True)
class MaskedPrediction(Prediction):
    """What the model makes of the masked positions of a micro-batch.

    The loss is the cross-entropy in nats, summed over the positions with a target and divided by B x M. Sums:
    `n_correct`, the positions whose most likely bin is the true one, and `n_targets`, those with a target.

    Attributes:
        predicted: Most likely bins, shape (B, M).
    """

    predicted: Tensor


class MaskedLanguageModel(Objective):
    """A BulkRNABert with the objective of masked language modelling.

    The head runs on the masked positions only: no (B, G, V) tensor is ever held. So does the last block, but for its
    keys and values.

    Args:
        network: The encoder.
        use_bf16: Run the encoder under bfloat16 autocast; weights and loss stay float32.
    """

    network: BulkRNABert

    def __init__(self, network: BulkRNABert, use_bf16: bool = False) -> None:
        super().__init__()
        self.network = network
        self.use_bf16 = use_bf16

    def forward(
        self, inputs_BG: Tensor, masked_idx_BM: Tensor, targets_BM: Tensor, gene_idx_G: Tensor | None
    ) -> MaskedPrediction:
        """Predict the masked positions.

        Args:
            inputs_BG: Token ids with masked positions hidden.
            masked_idx_BM: Columns to predict.
            targets_BM: True bins, `IGNORED` where there is none.
            gene_idx_G: Which genes the columns are; None: all.
        """
        # Here, not around the call: DeepSpeed switches off an autocast that it did not configure itself.
        with torch.autocast(inputs_BG.device.type, dtype=torch.bfloat16, enabled=self.use_bf16):
            chosen_BMD = self.network.encode_chosen(inputs_BG, masked_idx_BM, gene_idx_G)
            logits_NV = self.network.lm_logits(chosen_BMD.flatten(0, 1))
        logits_NV = logits_NV.float()
        targets_N = targets_BM.flatten()
        # Divided by B x M, not by the positions with a target: then the mean over micro-batches does not depend on how
        # the global batch is cut.
        loss = functional.cross_entropy(logits_NV, targets_N, ignore_index=IGNORED, reduction="sum") / targets_N.numel()
        predicted_N = logits_NV.argmax(dim=-1)
        return MaskedPrediction(
            loss=loss,
            sums={"n_correct": (predicted_N == targets_N).sum(), "n_targets": (targets_N != IGNORED).sum()},
            predicted=predicted_N.view_as(targets_BM),
        )


def average_ranks(bins: NDArray[np.int64], n_bins: int) -> NDArray[np.float64]:
    """Rank of each value from 1, ties sharing their mean rank, shape as `bins`."""
    counts = np.bincount(bins, minlength=n_bins)
    return (np.cumsum(counts) - (counts - 1) / 2)[bins]


def spearman(true_bins: NDArray[np.int64], predicted_bins: NDArray[np.int64], n_bins: int) -> float | None:
    """Rank correlation of true and predicted bins; None where one of them is constant.

    Args:
        true_bins: Shape (n,), in [0, n_bins).
        predicted_bins: Shape (n,), in [0, n_bins).
        n_bins: Number of bins.
    """
    if len(true_bins) < 2 or np.ptp(true_bins) == 0 or np.ptp(predicted_bins) == 0:
        return None
    return float(np.corrcoef(average_ranks(true_bins, n_bins), average_ranks(predicted_bins, n_bins))[0, 1])
