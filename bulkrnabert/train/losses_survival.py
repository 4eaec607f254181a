"""Cox partial likelihood over whole risk sets, with Efron's ties and a baseline a stratum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RiskSets:
    """Who is at risk when: everything about a Cox likelihood that does not depend on the model.

    Samples are laid out in a padded grid, a row a stratum, longest time first, so that a cumulative sum along a row
    runs over the risk sets. A tie group is the events of one stratum at one time.

    Attributes:
        n_samples: Number of samples.
        grid: Sample index of each cell, shape (strata, longest); `n_samples` marks padding.
        event_idx: Sample index of each event, shape (events,).
        event_group: Tie group of each event, shape (events,).
        efron: Share of its tie group that left the risk set before each event, (0, 1, …)/size, shape (events,).
        group_row: Stratum of each tie group, shape (groups,).
        group_end: Column in `grid` of the last sample still at risk, shape (groups,).
        group_time: Time of each tie group, shape (groups,).
        group_size: Events in each tie group, shape (groups,).
    """

    n_samples: int
    grid: Tensor
    event_idx: Tensor
    event_group: Tensor
    efron: Tensor
    group_row: Tensor
    group_end: Tensor
    group_time: FloatArray
    group_size: IntArray

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.event_idx)


def build_risk_sets(time: npt.ArrayLike, event: npt.ArrayLike, strata: npt.ArrayLike) -> RiskSets:
    """Sort samples into risk sets.

    Args:
        time: Follow-up, any unit, shape (samples,).
        event: 1 where the event was seen, 0 where follow-up ended before it, shape (samples,).
        strata: Group with a baseline of its own, whole numbers, shape (samples,).
    """
    times = np.asarray(time, dtype=np.float64)
    events = np.asarray(event, dtype=np.float64).astype(bool)
    rows = np.unique(np.asarray(strata), return_inverse=True)[1].reshape(-1)
    n_samples = len(times)
    assert len(events) == len(rows) == n_samples and np.isfinite(times).all()
    n_rows = int(rows.max()) + 1 if n_samples else 0
    lengths = np.bincount(rows, minlength=n_rows)
    grid = np.full((n_rows, int(lengths.max(initial=0))), n_samples, dtype=np.int64)
    ends: dict[tuple[int, float], int] = {}
    for row in range(n_rows):
        members = np.flatnonzero(rows == row)
        members = members[np.argsort(-times[members], kind="stable")]
        grid[row, : len(members)] = members
        ends.update({(row, times[index]): column for column, index in enumerate(members)})

    event_idx = np.flatnonzero(events)
    event_idx = event_idx[np.lexsort((times[event_idx], rows[event_idx]))]
    event_keys = np.stack([rows[event_idx].astype(np.float64), times[event_idx]])
    groups, event_group, sizes = np.unique(event_keys, axis=1, return_inverse=True, return_counts=True)
    event_group = event_group.reshape(-1)
    first_of_group = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if len(sizes) else np.zeros(0, dtype=np.int64)
    efron = (np.arange(len(event_idx)) - first_of_group[event_group]) / sizes[event_group]
    group_row = groups[0].astype(np.int64)
    group_end = np.array([ends[row, at] for row, at in zip(group_row, groups[1], strict=True)], dtype=np.int64)
    return RiskSets(
        n_samples=n_samples,
        grid=torch.from_numpy(grid),
        event_idx=torch.from_numpy(event_idx),
        event_group=torch.from_numpy(event_group.astype(np.int64)),
        efron=torch.from_numpy(efron.astype(np.float64)),
        group_row=torch.from_numpy(group_row),
        group_end=torch.from_numpy(group_end),
        group_time=groups[1],
        group_size=sizes.astype(np.int64),
    )


def log_risk_sums(log_hazard: Tensor, risk_sets: RiskSets) -> Tensor:
    """Log of the summed hazards of those at risk at each tie group, shape (groups,), float64."""
    padded = torch.cat([log_hazard.double(), log_hazard.new_full((1,), -torch.inf, dtype=torch.float64)])
    cumulative = torch.logcumsumexp(padded[risk_sets.grid], dim=1)
    return cumulative[risk_sets.group_row, risk_sets.group_end]


def cox_loss(log_hazard: Tensor, risk_sets: RiskSets) -> Tensor:
    """Negative log partial likelihood, the mean over events. Lower is better.

    Every event sees its whole risk set, so the gradient is that of the full likelihood: call it on all samples at once.
    A stratum without events adds nothing; without any event the loss is 0 and its gradient 0.

    Args:
        log_hazard: Higher is worse, shape (samples,).
        risk_sets: Of the same samples.
    Returns:
        Scalar, float64.
    Source:
        Efron (1977). A tie group of d events, with hazards E within a risk set R, adds the sum over k < d of
        log(R - k/d E); here log R + log(1 - k/d E/R), which cannot overflow.
    """
    assert log_hazard.shape == (risk_sets.n_samples,)
    if risk_sets.n_events == 0:
        return (log_hazard.double() * 0.0).sum()
    log_risk = log_risk_sums(log_hazard, risk_sets)
    of_events = log_hazard.double()[risk_sets.event_idx]
    share = torch.exp(of_events - log_risk[risk_sets.event_group])
    tied_share = torch.zeros_like(log_risk).index_add(0, risk_sets.event_group, share)
    log_likelihood = (
        of_events
        - log_risk[risk_sets.event_group]
        - torch.log1p(-risk_sets.efron * tied_share[risk_sets.event_group].clamp(max=1.0))
    )
    return -log_likelihood.sum() / risk_sets.n_events
