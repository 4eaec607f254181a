"""The objective of GexBERT: how well the values of target genes are restored.

Shape letters: B batch, K input genes, T target genes, V bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bulkrnabert.data.masking import IGNORED
from bulkrnabert.models.gexbert import GexBERT
from bulkrnabert.train.losses import Objective, Prediction


@dataclass(frozen=True)
class RestoredPrediction(Prediction):
    """A `Prediction` with the restored values, shape (B, T)."""

    mean: Tensor


class Restoration(Objective):
    """A GexBERT with the loss of its head.

    Head `gaussian`: half the squared error of the mean, plus `deviation_weight` times the negative log-likelihood of
    the deviation given that error. The likelihood alone would let the mean of the genes that are hard to restore go,
    because a large deviation weakens their gradient (docs/decisions/0022-gexbert-training.md; Seitzer et al.,
    ICLR 2022). Head `bins`: cross-entropy, nats.

    Args:
        network: The model.
        deviation_weight: Weight of the deviation's likelihood.
        use_bf16: Run it under bfloat16 autocast; weights and loss stay float32.
    """

    network: GexBERT

    def __init__(self, network: GexBERT, deviation_weight: float, use_bf16: bool = False) -> None:
        super().__init__()
        self.network = network
        self.deviation_weight = deviation_weight
        self.use_bf16 = use_bf16

    def forward(
        self, known_ids_BK: Tensor, known_idx_BK: Tensor, target_idx_BT: Tensor, targets_BT: Tensor
    ) -> RestoredPrediction:
        """Restore the targets.

        Args:
            known_ids_BK: Token ids of the input genes.
            known_idx_BK: Which genes they are.
            target_idx_BT: Genes to restore.
            targets_BT: Their standardised values, within the bins' limits; NaN where there is none.
        """
        network = self.network
        is_target_BT = ~targets_BT.isnan()
        true_BT = torch.where(is_target_BT, targets_BT, 0.0)
        # Here, not around the call: DeepSpeed switches off an autocast that it did not configure itself.
        with torch.autocast(known_ids_BK.device.type, dtype=torch.bfloat16, enabled=self.use_bf16):
            stated = network.stated(known_ids_BK, known_idx_BK, target_idx_BT)
        restored = network.restored(stated)
        error_BT = torch.where(is_target_BT, true_BT - restored.mean, 0.0)
        if network.config.head == "gaussian":
            surprise_BT = restored.deviation.log() + 0.5 * (error_BT.detach() / restored.deviation).square()
            loss_BT = 0.5 * error_BT.square() + self.deviation_weight * surprise_BT
        else:
            bins_BT = network.bins_of(true_BT).masked_fill(~is_target_BT, IGNORED)
            loss_BT = functional.cross_entropy(
                stated.float().flatten(0, 1), bins_BT.flatten(), ignore_index=IGNORED, reduction="none"
            ).view_as(true_BT)
        sums = {"squared_error": error_BT.detach().square().sum(), "n_targets": is_target_BT.sum()}
        # Divided by B x T, not by the targets that have a value: then the mean over micro-batches does not depend on
        # how the global batch is cut.
        loss = torch.where(is_target_BT, loss_BT, 0.0).sum() / targets_BT.numel()
        return RestoredPrediction(loss=loss, sums=sums, mean=restored.mean.detach())
