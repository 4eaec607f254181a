"""In which order training samples are seen: epoch after epoch, or as a mixture of cohorts with stated shares."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bulkrnabert import keys
from bulkrnabert.data.masking import seeded_generator
from bulkrnabert.errors import ConfigError, join_problems


class SampleOrder:
    """Which training row stands at each place of a run; a function of the seed and the place alone.

    With one group every row is seen once an epoch. With several, places are dealt to groups in proportion to their
    shares, evenly along the run, and each group runs through its own epochs.

    Args:
        groups: Rows of each group, ascending.
        shares: Share of the places that each group gets, positive, summing to 1.
        n_places: Places of the whole run.
        seed: Seed of the run.
    """

    def __init__(self, groups: list[NDArray[np.int64]], shares: NDArray[np.float64], n_places: int, seed: int) -> None:
        self._groups = groups
        self._seed = seed
        counts = np.ceil(n_places * shares).astype(np.int64) + 1
        # A group with share s wants its k-th place at (k + 1/2) / s; the wishes in their order are the places.
        wishes = np.concatenate([(np.arange(n) + 0.5) / share for n, share in zip(counts, shares, strict=True)])
        wanting = np.repeat(np.arange(len(groups)), counts)
        self._group_of_place = wanting[np.argsort(wishes, kind="stable")[:n_places]]
        self._place_in_group = np.empty(n_places, dtype=np.int64)
        for number in range(len(groups)):
            inside = self._group_of_place == number
            self._place_in_group[inside] = np.arange(int(inside.sum()))

    def rows(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Training rows at these places of the run."""
        rows = np.empty(len(places), dtype=np.int64)
        for number, members in enumerate(self._groups):
            of_group = self._group_of_place[places] == number
            epochs, offsets = np.divmod(self._place_in_group[places[of_group]], len(members))
            found = np.empty(len(offsets), dtype=np.int64)
            for epoch in np.unique(epochs):
                position = (int(epoch),) if len(self._groups) == 1 else (int(epoch), number)
                order = seeded_generator(self._seed, "order", *position).permutation(len(members))
                found[epochs == epoch] = members[order[offsets[epochs == epoch]]]
            rows[of_group] = found
        return rows


def mix_cohorts(
    samples: pd.DataFrame, fit_idx: NDArray[np.int64], weights: Mapping[str, float] | None, n_places: int, seed: int
) -> SampleOrder:
    """The order of a run, as a mixture where weights are given.

    Args:
        samples: A row a sample, with `cohort`.
        fit_idx: Rows trained on.
        weights: Weight of each group of cohorts by a name or pattern (`TCGA-*`); None: every sample counts the same.
        n_places: Places of the whole run.
        seed: Seed of the run.
    Raises:
        ConfigError: a cohort that no pattern or several match, a pattern that matches none, or weights that are not
            positive (all are listed).
    """
    if weights is None:
        return SampleOrder([fit_idx], np.ones(1), n_places, seed)
    cohorts = samples[keys.COHORT].astype(str).to_numpy()[fit_idx]
    problems = [
        f"the weight of {name!r} is {weight}, expected above 0" for name, weight in weights.items() if weight <= 0
    ]
    group_of: dict[str, str] = {}
    for cohort in sorted(set(cohorts)):
        matching = [name for name in weights if fnmatchcase(cohort, name)]
        if len(matching) == 1:
            group_of[cohort] = matching[0]
        else:
            problems.append(
                f"cohort {cohort} matches {' and '.join(map(repr, matching)) or 'no pattern'}, expected one"
            )
    empty = [name for name in weights if name not in group_of.values()]
    problems += [f"{name!r} matches none of the cohorts {', '.join(sorted(set(cohorts)))}" for name in empty]
    if problems:
        raise ConfigError(join_problems("cohort_weights of the training configuration", problems))
    names = list(weights)
    group_number = np.array([names.index(group_of[cohort]) for cohort in cohorts])
    total = sum(weights.values())
    shares = np.array([weights[name] / total for name in names])
    return SampleOrder([fit_idx[group_number == number] for number in range(len(names))], shares, n_places, seed)
