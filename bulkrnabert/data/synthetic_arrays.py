"""The newer methylation arrays of a synthetic study: EPIC, and EPIC v2 with suffixes and repeated sites."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bulkrnabert.data.synthetic_genes import GeneModel, ProbeModel, build_probe_model, generator_for

Array = Literal["27k", "450k", "epic", "epic_v2"]

N_450K = 486_427
N_27K = 27_578
ROWS_TO_450K = {"epic": 865_918 / N_450K, "epic_v2": 930_659 / N_450K}
# Numbers of the sites that came with each array; below those of the 450k array, which the base model has.
FIRST_NEW_NUMBER = {"epic": 80_000_000, "epic_v2": 70_000_000}
KEPT_SHARE = 0.9  # of the 450k array's sites, on its successors
REPLICATED_SHARE = 0.01
SUFFIX, REPLICATE_SUFFIX = "_TC21", "_BC11"


def build_array_model(seed: int, array: Literal["epic", "epic_v2"], base: ProbeModel, genes: GeneModel) -> ProbeModel:
    """Probes of a successor of the 450k array: most of its sites, and new ones.

    Args:
        seed: Seed of the study.
        array: `epic`, or `epic_v2` with its suffixes and, for a few sites, two rows.
        base: The 450k array.
        genes: The genes that new probes are coupled to.
    """
    rng = generator_for(seed, "array", array, str(len(base.probe_ids)))
    n_rows = round(ROWS_TO_450K[array] * len(base.probe_ids))
    kept = np.flatnonzero(rng.random(len(base.probe_ids)) < KEPT_SHARE)
    n_twice = int(REPLICATED_SHARE * n_rows) if array == "epic_v2" else 0
    n_new = n_rows - len(kept) - n_twice
    new = build_probe_model(seed + 1, n_new, genes)
    numbers = FIRST_NEW_NUMBER[array] + np.sort(rng.choice(9_000_000, n_new, replace=False))
    new = replace(new, probe_ids=tuple(f"cg{number:08d}" for number in numbers))
    model = _join(select_probes(base, kept), new)
    if array == "epic_v2":
        twice = select_probes(model, rng.choice(len(model.probe_ids), n_twice, replace=False))
        twice = replace(twice, probe_ids=tuple(f"{probe}{REPLICATE_SUFFIX}" for probe in twice.probe_ids))
        model = _join(replace(model, probe_ids=tuple(f"{probe}{SUFFIX}" for probe in model.probe_ids)), twice)
    return select_probes(model, np.argsort(np.array(model.probe_ids)))


def with_exact_27k(seed: int, base: ProbeModel) -> ProbeModel:
    """A 450k array whose smaller sibling has as many rows as the real one."""
    rng = generator_for(seed, "array", "27k")
    is_on_27k = np.zeros(len(base.probe_ids), dtype=bool)
    is_on_27k[rng.choice(np.flatnonzero(base.gene_rows >= 0), N_27K, replace=False)] = True
    return replace(base, is_on_27k=is_on_27k)


def select_probes(model: ProbeModel, idx: NDArray[np.int64]) -> ProbeModel:
    """The probes at these positions, in this order."""
    return ProbeModel(
        probe_ids=tuple(model.probe_ids[position] for position in idx.tolist()),
        gene_rows=model.gene_rows[idx],
        slopes=model.slopes[idx],
        logit_means=model.logit_means[idx],
        is_on_27k=model.is_on_27k[idx],
        is_never_measured=model.is_never_measured[idx],
        is_promoter=model.is_promoter[idx],
    )


def _join(one: ProbeModel, two: ProbeModel) -> ProbeModel:
    return ProbeModel(
        probe_ids=one.probe_ids + two.probe_ids,
        gene_rows=np.concatenate([one.gene_rows, two.gene_rows]),
        slopes=np.concatenate([one.slopes, two.slopes]),
        logit_means=np.concatenate([one.logit_means, two.logit_means]),
        is_on_27k=np.concatenate([one.is_on_27k, two.is_on_27k]),
        is_never_measured=np.concatenate([one.is_never_measured, two.is_never_measured]),
        is_promoter=np.concatenate([one.is_promoter, two.is_promoter]),
    )
