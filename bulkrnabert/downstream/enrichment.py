"""Which gene sets the genes behind a prediction belong to."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import false_discovery_control, hypergeom, norm, rankdata

from bulkrnabert.data.genes import ENSEMBL_ID, GeneVocabulary, strip_version
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)

MIN_SET_SIZE = 5
MAX_SET_SIZE = 1000
MAX_GENES_NAMED = 20


@dataclass(frozen=True)
class GeneSets:
    """Sets of a GMT file, as columns of a model.

    Attributes:
        names: Of the sets kept.
        members: Columns of each set, ascending.
        n_listed: Different genes that all sets of the file list.
        n_unmatched: Of these, genes that the model does not have.
        n_small: Sets with fewer genes of the model than 5, left out.
        n_large: Sets with more than 1,000, left out.
    """

    names: tuple[str, ...]
    members: tuple[npt.NDArray[np.int64], ...]
    n_listed: int
    n_unmatched: int
    n_small: int
    n_large: int


def read_gmt(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a GMT file: a set a line: name, description, genes, separated by tabs.

    Returns:
        Genes of each set as they stand in the file, each once.
    Raises:
        DataError: the file cannot be read, has no set, or a line (named) has no gene, no name, or a name seen before.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from error
    sets: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, *rest = (cell.strip() for cell in line.split("\t"))
        genes = tuple(dict.fromkeys(gene for gene in rest[1:] if gene))
        where = f"{path}: line {number}"
        if len(rest) < 2 or not genes:
            raise DataError(
                f"{where}: {1 + len(rest)} cells and no gene; a GMT line is a name, a description and at least one "
                "gene, separated by tabs"
            )
        if not name:
            raise DataError(f"{where}: the first cell, the set's name, is empty")
        if name in sets:
            raise DataError(f"{where}: set {name!r} is there for the second time; give each set its own name")
        sets[name] = genes
    if not sets:
        raise DataError(f"{path}: no gene set; expected lines of a name, a description and genes, separated by tabs")
    return sets


def match_sets(sets: dict[str, tuple[str, ...]], genes: GeneVocabulary, source: str) -> GeneSets:
    """Find the genes of every set among the model's: Ensembl ids with or without versions, or symbols.

    Args:
        sets: From `read_gmt`.
        genes: The model's genes. A symbol that two of them have matches neither.
        source: Name of the file, for messages.
    Raises:
        DataError: no gene matches, or no set is left.
    """
    column = _columns_by_name(genes)
    listed = {gene for members in sets.values() for gene in members}
    matched = {gene: column[name] for gene in listed if (name := _plain(gene)) in column}
    if not matched:
        example = next(iter(next(iter(sets.values()))))
        hint = (
            "" if any(genes.symbols) else "; the model's genes have no symbols here: give them with --genes genes.tsv"
        )
        raise DataError(
            f"{source}: none of its {len(listed)} genes (as {example!r}) is among the model's {len(genes)} (as "
            f"{genes.gene_ids[0]!r}){hint}"
        )
    names, members = [], []
    n_small = n_large = 0
    for name, set_genes in sets.items():
        columns = np.unique([matched[gene] for gene in set_genes if gene in matched]).astype(np.int64)
        n_small += len(columns) < MIN_SET_SIZE
        n_large += len(columns) > MAX_SET_SIZE
        if MIN_SET_SIZE <= len(columns) <= MAX_SET_SIZE:
            names.append(name)
            members.append(columns)
    found = GeneSets(tuple(names), tuple(members), len(listed), len(listed) - len(matched), n_small, n_large)
    if not names:
        raise DataError(
            f"{source}: no set has between {MIN_SET_SIZE} and {MAX_SET_SIZE} of the model's genes ({len(sets)} sets: "
            f"{n_small} smaller, {n_large} larger)"
        )
    logger.info(
        "%s: %d sets tested; %d left out as too small (below %d), %d as too large (above %d); %d of %d genes not in "
        "the model",
        source,
        len(names),
        n_small,
        MIN_SET_SIZE,
        n_large,
        MAX_SET_SIZE,
        found.n_unmatched,
        found.n_listed,
    )
    return found


def enrich(scores_G: npt.NDArray[np.floating], n_top: int, sets: GeneSets, genes: GeneVocabulary) -> pd.DataFrame:
    """Two tests a set, both against all genes of the model, each with Benjamini-Hochberg's false discovery rate.

    `p_overlap`: hypergeometric, at least as many of the set among the first `n_top` genes. `p_rank`: Mann-Whitney, the
    set's scores above the others' (normal approximation with ties and continuity); `auc` is the probability that a gene
    of the set is above one outside it.

    Args:
        scores_G: Score of each gene, higher is more important.
        n_top: Genes that count as first; equal scores in model order.
        sets: From `match_sets`.
        genes: The model's genes.
    Returns:
        A row a set, by `p_overlap`, then `p_rank`, then name.
    """
    n_genes = len(genes)
    n_top = min(n_top, n_genes)
    is_top = np.zeros(n_genes, dtype=bool)
    order = np.argsort(-scores_G, kind="stable")
    is_top[order[:n_top]] = True
    place = np.empty(n_genes, dtype=np.int64)
    place[order] = np.arange(n_genes)
    sizes = np.array([len(columns) for columns in sets.members])
    n_in_top = np.array([int(is_top[columns].sum()) for columns in sets.members])
    p_overlap = hypergeom.sf(n_in_top - 1, n_genes, sizes, n_top)
    ranks = rankdata(scores_G)
    u = np.array([ranks[columns].sum() for columns in sets.members]) - sizes * (sizes + 1) / 2
    p_rank = _rank_test(u, sizes, ranks)
    with np.errstate(divide="ignore", invalid="ignore"):
        auc = u / (sizes * (n_genes - sizes))
    names = [_name_of(genes, column) for column in range(n_genes)]
    leading = [
        [names[column] for column in columns[np.argsort(place[columns])] if is_top[column]][:MAX_GENES_NAMED]
        for columns in sets.members
    ]
    table = pd.DataFrame(
        {
            "set": sets.names,
            "n_in_model": sizes,
            "n_in_top": n_in_top,
            "n_expected": sizes * n_top / n_genes,
            "p_overlap": p_overlap,
            "q_overlap": false_discovery_control(p_overlap),
            "auc": auc,
            "p_rank": p_rank,
            "q_rank": false_discovery_control(p_rank),
            "genes": [",".join(found) for found in leading],
        }
    )
    return table.sort_values(["p_overlap", "p_rank", "set"], ignore_index=True)


def _rank_test(
    u: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64], ranks: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """One-sided p of Mann-Whitney's U, all sets at once; 1 where nothing can be compared."""
    n_genes = len(ranks)
    others = n_genes - sizes
    ties = np.unique(ranks, return_counts=True)[1].astype(np.float64)
    spread = (n_genes + 1) - (ties**3 - ties).sum() / (n_genes * max(1, n_genes - 1))
    deviation = np.sqrt(sizes * others / 12 * spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (u - sizes * others / 2 - 0.5) / deviation
    return np.where(deviation > 0, norm.sf(z), 1.0)


def _columns_by_name(genes: GeneVocabulary) -> dict[str, int]:
    """Column of each id and of each symbol that only one gene has."""
    named = pd.Series(genes.symbols)
    unique = named[~named.duplicated(keep=False) & (named != "")]
    columns = {symbol: int(column) for column, symbol in unique.items() if isinstance(column, int)}
    return columns | {gene_id: column for column, gene_id in enumerate(genes.gene_ids)}


def _plain(gene: str) -> str:
    """A gene's name as the model has it: Ensembl ids without their version."""
    return strip_version(gene) or gene if ENSEMBL_ID.match(gene) else gene


def _name_of(genes: GeneVocabulary, column: int) -> str:
    return genes.symbols[column] or genes.gene_ids[column]


def describe_sets(sets: GeneSets) -> dict[str, int]:
    """Counts of what was tested and of what was left out, for the record."""
    return {
        "n_sets_tested": len(sets.names),
        "n_sets_too_small": sets.n_small,
        "n_sets_too_large": sets.n_large,
        "n_genes_listed": sets.n_listed,
        "n_genes_not_in_model": sets.n_unmatched,
    }
