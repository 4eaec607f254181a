"""From values of samples, genes and members of an ensemble to a table of genes for each class, layer or cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from bulkrnabert import keys
from bulkrnabert.data.genes import GeneVocabulary

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class GroupSummary:
    """One class (or cohort, or layer): a row a gene, and how well members of an ensemble agree.

    Attributes:
        name: The class.
        layer: Layer of the encoder, for attention; None for attributions of an output.
        n_samples: Samples in it.
        n_members: Networks whose values were averaged.
        mean: Mean over samples and members, shape (genes,); its sign is the direction.
        mean_abs: Mean of the absolute values over samples and members, shape (genes,).
        deviation: Standard deviation over samples of the members' mean, shape (genes,); NaN of a single sample.
        rank: From 1, by `mean_abs`; equal genes in model order, shape (genes,).
        stability: Share of members in which a gene is among the first `top`, shape (genes,); None for one member.
        rank_correlation: Spearman of the members' `mean_abs`, mean over pairs; None for one member.
        top_overlap: Share that the members' first `top` genes have in common, mean over pairs; None for one member.
    """

    name: str
    layer: int | None
    n_samples: int
    n_members: int
    mean: FloatArray
    mean_abs: FloatArray
    deviation: FloatArray
    rank: npt.NDArray[np.int64]
    stability: FloatArray | None
    rank_correlation: float | None
    top_overlap: float | None

    def top(self, n: int) -> npt.NDArray[np.int64]:
        """Columns of the first `n` genes, in order."""
        return np.argsort(self.rank, kind="stable")[:n]


def summarise_group(name: str, members: Sequence[FloatArray], top: int, layer: int | None = None) -> GroupSummary:
    """Summarise one group of samples.

    Args:
        name: The class or cohort.
        members: Values of each member, shape (samples, genes) each, at least one sample. Not modified.
        top: Genes that count as first.
        layer: Layer of the encoder, for attention.
    """
    values_MNG = np.stack([np.asarray(values, dtype=np.float64) for values in members])
    n_members, n_samples, n_genes = values_MNG.shape
    assert n_samples > 0
    abs_MG = np.abs(values_MNG).mean(axis=1)
    mean_abs = abs_MG.mean(axis=0)
    per_sample_NG = values_MNG.mean(axis=0)
    is_single = n_samples == 1
    stability = rank_correlation = top_overlap = None
    if n_members > 1:
        firsts = [set(_ranks(values)[:top].tolist()) for values in abs_MG]
        stability = np.array([np.mean([gene in first for first in firsts]) for gene in range(n_genes)])
        pairs = list(combinations(range(n_members), 2))
        n_first = min(top, n_genes)
        rank_correlation = _mean_spearman([abs_MG[[one, other]] for one, other in pairs])
        top_overlap = float(np.mean([len(firsts[one] & firsts[other]) / n_first for one, other in pairs]))
    rank = np.empty(n_genes, dtype=np.int64)
    rank[_ranks(mean_abs)] = np.arange(1, n_genes + 1)
    return GroupSummary(
        name=name,
        layer=layer,
        n_samples=n_samples,
        n_members=n_members,
        mean=per_sample_NG.mean(axis=0),
        mean_abs=mean_abs,
        deviation=np.full(n_genes, np.nan) if is_single else per_sample_NG.std(axis=0, ddof=1),
        rank=rank,
        stability=stability,
        rank_correlation=rank_correlation,
        top_overlap=top_overlap,
    )


def gene_table(groups: Sequence[GroupSummary], genes: GeneVocabulary) -> pd.DataFrame:
    """All groups below each other, each in the order of its ranks; cells without an estimate are empty."""
    frames = []
    for group in groups:
        order = group.top(len(genes))
        frames.append(
            pd.DataFrame(
                {
                    keys.CLASS: group.name,
                    keys.LAYER: "" if group.layer is None else str(group.layer),
                    keys.GENE_ID: np.asarray(genes.gene_ids, dtype=object)[order],
                    keys.SYMBOL: np.asarray(genes.symbols, dtype=object)[order],
                    "mean": group.mean[order],
                    "mean_abs": group.mean_abs[order],
                    "sd": group.deviation[order],
                    "rank": group.rank[order],
                    "stability": np.nan if group.stability is None else group.stability[order],
                    "n_samples": group.n_samples,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _ranks(values: FloatArray) -> npt.NDArray[np.int64]:
    """Columns from the largest value to the smallest, equal ones in their order."""
    return np.argsort(-values, kind="stable")


def _mean_spearman(pairs: Sequence[FloatArray]) -> float | None:
    """Mean rank correlation; None where a member's values are all equal."""
    if any(np.ptp(values) == 0 for pair in pairs for values in pair):
        return None
    return float(np.mean([np.corrcoef(rankdata(pair, axis=1))[0, 1] for pair in pairs]))
