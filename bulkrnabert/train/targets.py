"""What fine-tuning is to predict: classes, or survival with the whole risk set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bulkrnabert.train.losses_survival import build_risk_sets, cox_loss


class Target(Protocol):
    """One task's labels of all samples of a run."""

    @property
    def name(self) -> str:
        """Name of the task."""

    @property
    def n_outputs(self) -> int:
        """Outputs of its head."""

    @property
    def needs_all_rows(self) -> bool:
        """Whether a step must see all samples."""

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Mean loss of the labelled samples among `rows`; 0, with gradient 0, where there is none.

        Args:
            outputs: Of the head, shape (len(rows), n_outputs).
            rows: Row numbers.
        """
        ...


@dataclass(frozen=True)
class ClassTarget:
    """Classes, by cross-entropy.

    Attributes:
        name: Name of the task.
        class_ids: In [0, n_outputs), -1 where there is no label, shape (samples,).
        n_outputs: Number of classes.
    """

    name: str
    class_ids: NDArray[np.int64]
    n_outputs: int
    needs_all_rows = False

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """As `Target.loss`: mean cross-entropy, nats."""
        classes = torch.from_numpy(self.class_ids)[rows].to(outputs.device)
        n_labelled = int((classes >= 0).sum())
        total = functional.cross_entropy(outputs, classes, ignore_index=-1, reduction="sum")
        return total / max(1, n_labelled)


@dataclass(frozen=True)
class CoxTarget:
    """Survival, by the Cox partial likelihood with Efron's ties and a baseline a stratum.

    The likelihood is that of `rows` as a whole, so a step must see all of them: `needs_all_rows`.

    Attributes:
        name: Name of the task.
        time_days: Follow-up, NaN where it is not known, shape (samples,).
        event: 1 event, 0 censored, shape (samples,).
        strata: Baseline of each sample, shape (samples,).
    """

    name: str
    time_days: NDArray[np.float64]
    event: NDArray[np.int64]
    strata: NDArray[np.int64]
    n_outputs = 1
    needs_all_rows = True

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """As `Target.loss`: negative log partial likelihood, the mean over events."""
        numbers = rows.cpu().numpy()
        is_known = np.isfinite(self.time_days[numbers])
        known = numbers[is_known]
        risk_sets = build_risk_sets(self.time_days[known], self.event[known], self.strata[known])
        return cox_loss(outputs[torch.from_numpy(is_known).to(outputs.device), 0].cpu(), risk_sets)
