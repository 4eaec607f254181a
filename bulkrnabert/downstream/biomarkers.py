"""Which genes the decoder of GexBERT looks at, by class: attention of restored genes, how stable, and next to what.

Shape letters: M members (checkpoints), C classes, N samples, G genes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import false_discovery_control, rankdata
from scipy.stats import t as student

from bulkrnabert.data.binning import Z_LIMIT, equal_bins
from bulkrnabert.logs import progress
from bulkrnabert.models.gexbert import GexBERT

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def attention_to_genes(
    network: GexBERT, values: npt.NDArray[np.floating], target_idx: IntArray, n_inputs: int, rng: np.random.Generator
) -> FloatArray:
    """Attention that each gene of a sample gets from the restored genes, shape (samples, genes); 1 is an even share.

    The genes that a sample knows go in, at random dealt out over as few inputs of at most `n_inputs` genes as possible,
    so that each is read once; every target is restored from each input. A target's attention to itself is left out.
    NaN for a gene that the sample does not know.

    Args:
        network: Where it is to run.
        values: z, shape (samples, genes), NaN where missing. Not modified.
        target_idx: Genes to restore, shape (targets,).
        n_inputs: Genes that are read together.
        rng: Deals the genes out.
    """
    bins = equal_bins(values.astype(np.float64), Z_LIMIT, network.config.n_bins)
    device = next(network.parameters()).device
    targets = torch.from_numpy(target_idx).to(device)
    found = np.full(values.shape, np.nan)
    network.eval()
    rows = progress(range(len(values)), what="attention", unit="sample")
    with torch.inference_mode():
        for row in rows:
            known = rng.permutation(np.flatnonzero(~np.isnan(values[row])))
            for part in np.array_split(known, max(1, -(-len(known) // n_inputs))):
                if len(part) < 2:
                    continue
                gene_idx = torch.from_numpy(part).to(device)
                ids = torch.from_numpy(bins[row, part][None]).to(device)
                weights_TK = network.attention_to_inputs(ids, gene_idx, targets)[0].double()
                is_other_TK = (targets[:, None] != gene_idx[None, :]).double()
                shares_TK = weights_TK * is_other_TK
                shares_TK = shares_TK / shares_TK.sum(dim=1, keepdim=True).clamp(min=1e-12)
                mean_K = shares_TK.sum(dim=0) / is_other_TK.sum(dim=0).clamp(min=1)
                found[row, part] = (mean_K * len(part)).cpu().numpy()
    return found


@dataclass(frozen=True)
class ClassAttention:
    """Attention by class, over members.

    Attributes:
        classes: Their names.
        attention: Mean over members and samples of the class, shape (C, G); 1 is an even share.
        excess: Attention in the class above the mean over the other classes, mean over members, shape (C, G); what
            genes are ranked by.
        rank: From 1, by excess, shape (C, G).
        stability: Share of members in which a gene is among the first `n_top` of the class, shape (C, G); None for one
            member.
        rank_correlation: Spearman of the members' excess, mean over pairs, shape (C,); None for one member.
        top_overlap: Share that the members' first `n_top` genes have in common, mean over pairs, shape (C,); None for
            one member.
    """

    classes: tuple[str, ...]
    attention: FloatArray
    excess: FloatArray
    rank: IntArray
    stability: FloatArray | None
    rank_correlation: FloatArray | None
    top_overlap: FloatArray | None


def attention_by_class(
    members: Sequence[FloatArray], labels: Sequence[npt.NDArray[np.str_]], n_top: int
) -> ClassAttention:
    """Summarise members.

    Args:
        members: From `attention_to_genes`, shape (samples, G) each, the same genes in all.
        labels: Class of each sample of each member; the same classes in all, at least two.
        n_top: Genes that count as first.
    """
    classes = np.unique(np.concatenate(labels))
    assert len(classes) > 1, "an excess needs another class"
    by_member = np.stack([_class_means(values, own, classes) for values, own in zip(members, labels, strict=True)])
    others = (by_member.sum(axis=1, keepdims=True) - by_member) / (len(classes) - 1)
    excess_MCG = by_member - others
    excess = excess_MCG.mean(axis=0)
    rank = np.stack([_ranks(row) for row in excess])
    names = tuple(str(name) for name in classes)
    if len(members) == 1:
        return ClassAttention(names, by_member.mean(axis=0), excess, rank, None, None, None)
    is_first = np.stack([[_ranks(row) <= n_top for row in of_member] for of_member in excess_MCG])
    pairs = list(combinations(range(len(members)), 2))
    correlation = np.array(
        [np.mean([spearman(excess_MCG[one, c], excess_MCG[two, c]) for one, two in pairs]) for c in range(len(classes))]
    )
    n_first = min(n_top, excess.shape[1])
    overlap = np.mean([(is_first[one] & is_first[two]).sum(axis=1) / n_first for one, two in pairs], axis=0)
    return ClassAttention(names, by_member.mean(axis=0), excess, rank, is_first.mean(axis=0), correlation, overlap)


def _class_means(values: FloatArray, labels: npt.NDArray[np.str_], classes: npt.NDArray[np.str_]) -> FloatArray:
    """Mean over each class's samples, shape (C, G); an even share where none of them knows the gene."""
    means = np.ones((len(classes), values.shape[1]))
    for number, name in enumerate(classes):
        of_class = values[labels == name]
        n_known = (~np.isnan(of_class)).sum(axis=0)
        means[number] = np.where(n_known > 0, np.nansum(of_class, axis=0) / np.maximum(n_known, 1), 1.0)
    return means


def _ranks(scores: FloatArray) -> IntArray:
    """From 1 for the highest; equal ones in their order."""
    rank = np.empty(len(scores), dtype=np.int64)
    rank[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return rank


def spearman(one: FloatArray, two: FloatArray) -> float:
    """Rank correlation; NaN where one of them does not vary."""
    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(two))[0, 1])


def top_overlap(one: FloatArray, two: FloatArray, n_top: int) -> float:
    """Share that the `n_top` highest of both have in common."""
    n_first = min(n_top, len(one))
    return float(((_ranks(one) <= n_first) & (_ranks(two) <= n_first)).sum() / n_first)


@dataclass(frozen=True)
class DifferentialExpression:
    """One class against all others, arrays of shape (G,).

    Attributes:
        t: Welch's t; above 0 where the class has more. 0 where nothing varies.
        q: Benjamini and Hochberg's false discovery rate of the two-sided p.
        difference: Mean of the class less the mean of the others, in the scale of the values.
    """

    t: FloatArray
    q: FloatArray
    difference: FloatArray


def differential_expression(
    values: npt.NDArray[np.floating], is_class: npt.NDArray[np.bool_]
) -> DifferentialExpression:
    """Welch's t test of every gene; missing values are left out.

    Args:
        values: Log scale or z, shape (N, G), NaN where missing.
        is_class: Samples of the class, shape (N,).
    """
    sides = [_moments(values[rows].astype(np.float64)) for rows in (is_class, ~is_class)]
    (n_1, mean_1, variance_1), (n_2, mean_2, variance_2) = sides
    with np.errstate(divide="ignore", invalid="ignore"):
        part_1, part_2 = variance_1 / n_1, variance_2 / n_2
        scale = part_1 + part_2
        freedom = scale**2 / (part_1**2 / (n_1 - 1) + part_2**2 / (n_2 - 1))
        usable = (n_1 > 1) & (n_2 > 1) & (scale > 0)
        t = np.where(usable, (mean_1 - mean_2) / np.sqrt(scale), 0.0)
        p = np.where(usable, 2 * student.sf(np.abs(t), np.where(usable, freedom, 1.0)), 1.0)
    difference = np.where((n_1 > 0) & (n_2 > 0), mean_1 - mean_2, 0.0)
    return DifferentialExpression(t, np.asarray(false_discovery_control(p)), difference)


def _moments(values: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
    n = (~np.isnan(values)).sum(axis=0)
    mean = np.nansum(values, axis=0) / np.maximum(n, 1)
    return n, mean, np.nansum((values - mean) ** 2, axis=0) / np.maximum(n - 1, 1)


def sample_rows(labels: npt.NDArray[np.str_], n_per_class: int, rng: np.random.Generator) -> IntArray:
    """At most `n_per_class` samples of each class, ascending."""
    chosen = [rng.permutation(np.flatnonzero(labels == name))[:n_per_class] for name in np.unique(labels)]
    return np.sort(np.concatenate(chosen)).astype(np.int64)
