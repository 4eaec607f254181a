"""Which genes a probe lies near or in, computed from coordinates."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys, provenance
from bulkrnabert.data.annotation import GeneAnnotation
from bulkrnabert.data.probes import (
    CPG_ID,
    PROBE_TITLES,
    bare_probe_ids,
    read_probe_table,
    rule_of_probe,
)
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)

CHROM_TITLES = ("chrom", "chr", "chromosome", "cpg_chrm", "seqnames")
POSITION_TITLES = ("position", "pos", "chromstart", "start", "cpg_beg", "mapinfo")

TSS, BODY = "tss", "body"
PROMOTER_WINDOW = 1500
NO_POSITION, NO_CHROMOSOME, NO_GENE_NEAR = "no_position", "chromosome_without_genes", "no_gene_near"


@dataclass(frozen=True)
class ProbePositions:
    """CpG probes on a genome, bases counted from 1.

    Attributes:
        probe_ids: Distinct bare ids, as `cg00000029`.
        chroms: Chromosome of each without `chr`, as `1`, `X`, `MT`.
        positions: Base of each, shape (n_probes,), int64.
        dropped: Rows left out, as (rule, id).
    """

    probe_ids: tuple[str, ...]
    chroms: tuple[str, ...]
    positions: npt.NDArray[np.int64]
    dropped: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ProbeGenes:
    """Result of `find_genes_of_probes`.

    Attributes:
        table: A row a probe and gene: `probe_id, gene_id, symbol, region` (`tss` within the window around the
            transcription start, else `body`), `distance` (bases from the start, along the gene; negative upstream).
        dropped: Probes without a gene, as (rule, id).
    """

    table: pd.DataFrame
    dropped: tuple[tuple[str, str], ...]


def _chromosomes(column: pd.Series) -> pd.Series:
    return column.str.strip().str.replace(r"^chr", "", regex=True, case=False).replace("M", "MT")


def read_probe_positions(path: Path, zero_based: bool = False) -> ProbePositions:
    """Read probe positions: a probe id, a chromosome and a base in columns with their usual names.

    A probe without a position (`*`, -1, empty) is left out, as are `rs` and `ch` probes; the replicates of a site
    (EPIC v2) count once.

    Args:
        path: TSV or CSV.
        zero_based: Bases count from 0 (BED, `CpG_beg`) instead of from 1 (`MAPINFO`, Xena's `chromStart`).
    Raises:
        DataError: no such table, or no probe with a position.
    """
    table = read_probe_table(path)
    frame = pd.DataFrame(
        {
            "raw": table.required(PROBE_TITLES, "probe ids"),
            "chrom": _chromosomes(table.required(CHROM_TITLES, "chromosomes")),
            "position": pd.to_numeric(table.required(POSITION_TITLES, "positions"), errors="coerce"),
        }
    )
    frame["probe"] = bare_probe_ids(frame["raw"])
    is_cpg = frame["probe"].str.match(CPG_ID).to_numpy(dtype=bool)
    dropped = [(rule_of_probe(name), name) for name in frame["raw"][~is_cpg]]
    frame = frame[is_cpg]
    is_placed = frame["position"].ge(0 if zero_based else 1) & ~frame["chrom"].isin(["", "*", ".", "NA"])
    dropped += [(NO_POSITION, name) for name in frame["raw"][~is_placed]]
    frame = frame[is_placed].drop_duplicates(["probe", "chrom", "position"])
    if frame.empty:
        raise DataError(f"{path}: no CpG probe with a chromosome and a position in {len(table.frame)} rows")
    twice = frame["probe"].duplicated()
    if twice.any():
        raise DataError(f"{path}: probe {frame['probe'][twice].iloc[0]!r} has two positions; keep one")
    positions = frame["position"].to_numpy(dtype=np.int64) + (1 if zero_based else 0)
    return ProbePositions(tuple(frame["probe"]), tuple(frame["chrom"]), positions, tuple(dropped))


def find_genes_of_probes(probes: ProbePositions, genes: GeneAnnotation, window: int = PROMOTER_WINDOW) -> ProbeGenes:
    """Join probes to every gene whose body or surroundings of the start they lie in.

    The start is the first base of a gene on the plus strand and the last one on the minus strand; the window reaches
    as many bases to either side of it, both ends included.

    Args:
        probes: Not modified.
        genes: On the same genome build; those without a place or a strand are left out and counted. Not modified.
        window: Bases on each side of the start.
    Raises:
        DataError: genes without coordinates, no chromosome in common, or no probe near any gene.
    """
    placed = _placed_genes(genes)
    gene_chroms = _chromosomes(pd.Series([genes.chroms[at] for at in placed])).to_numpy()
    probe_chroms = np.array(probes.chroms)
    shared = sorted(set(gene_chroms) & set(probes.chroms))
    if not shared:
        raise DataError(
            f"no chromosome in common: probes on {', '.join(sorted(set(probes.chroms))[:5])}, genes of {genes.source}"
            f" on {', '.join(sorted(set(gene_chroms))[:5])}"
        )
    starts, ends = genes.starts[placed].astype(np.int64), genes.ends[placed].astype(np.int64)
    is_reverse = np.array([genes.strands[at] == "-" for at in placed])
    starts_of_genes = np.where(is_reverse, ends, starts)
    low = np.minimum(starts, starts_of_genes - window)
    high = np.maximum(ends, starts_of_genes + window)
    probe_links, gene_links = [], []
    for chrom in shared:
        here = np.flatnonzero(probe_chroms == chrom)
        here = here[np.argsort(probes.positions[here], kind="stable")]
        sorted_positions = probes.positions[here]
        of_chrom = np.flatnonzero(gene_chroms == chrom)
        first = np.searchsorted(sorted_positions, low[of_chrom], side="left")
        n_hits = np.searchsorted(sorted_positions, high[of_chrom], side="right") - first
        # Every gene covers a run of neighbouring probes: first, first + 1, …, n_hits of them.
        within_run = np.arange(n_hits.sum()) - np.repeat(np.cumsum(n_hits) - n_hits, n_hits)
        probe_links.append(here[np.repeat(first, n_hits) + within_run])
        gene_links.append(np.repeat(of_chrom, n_hits))
    probe_idx, gene_idx = np.concatenate(probe_links), np.concatenate(gene_links)
    if not probe_idx.size:
        raise DataError("no probe lies in or near a gene; are both on the same genome build?")
    distance = (probes.positions[probe_idx] - starts_of_genes[gene_idx]) * np.where(is_reverse[gene_idx], -1, 1)
    order = np.lexsort((gene_idx, probe_idx))
    table = pd.DataFrame(
        {
            keys.PROBE: np.array(probes.probe_ids, dtype=object)[probe_idx],
            keys.GENE_ID: np.array(genes.gene_ids, dtype=object)[placed[gene_idx]],
            keys.SYMBOL: np.array(genes.symbols, dtype=object)[placed[gene_idx]],
            keys.REGION: np.where(np.abs(distance) <= window, TSS, BODY),
            keys.DISTANCE: distance,
        }
    ).iloc[order]
    has_gene = np.zeros(len(probes.probe_ids), dtype=bool)
    has_gene[probe_idx] = True
    on_shared = np.isin(probe_chroms, shared)
    dropped = [
        (NO_GENE_NEAR if on_shared[at] else NO_CHROMOSOME, probes.probe_ids[at]) for at in np.flatnonzero(~has_gene)
    ]
    return ProbeGenes(table.reset_index(drop=True), (*probes.dropped, *dropped))


def _placed_genes(genes: GeneAnnotation) -> npt.NDArray[np.int64]:
    """Genes with a chromosome, both ends and a strand."""
    has_strand = np.array([strand in ("+", "-") for strand in genes.strands])
    has_chrom = np.array([bool(chrom) for chrom in genes.chroms])
    is_placed = has_strand & has_chrom & np.isfinite(genes.starts) & np.isfinite(genes.ends)
    if not is_placed.any():
        raise DataError(
            f"{genes.source}: none of its {len(genes)} genes has a place; expected the columns chrom, start, end (bases"
            " from 1, both included) and strand (+ or -)"
        )
    turned = np.flatnonzero(is_placed & (genes.ends < genes.starts))
    if turned.size:
        raise DataError(
            f"{genes.source}: gene {genes.gene_ids[turned[0]]} ends at {genes.ends[turned[0]]:.0f}, before its start"
            f" {genes.starts[turned[0]]:.0f}; start is the lower base on either strand"
        )
    if not is_placed.all():
        logger.info("%s: %d genes without a place or a strand are left out", genes.source, int((~is_placed).sum()))
    return np.flatnonzero(is_placed)


def write_probe_genes(result: ProbeGenes, out: Path) -> None:
    """Write the table as TSV and log how many probes are in it and how many are not, by reason."""
    with provenance.atomic_path(out) as partial:
        result.table.to_csv(partial, sep="\t", index=False, lineterminator="\n")
    counts = Counter(rule for rule, _ in result.dropped)
    regions = result.table[keys.REGION].value_counts()
    logger.info(
        "%s: %d probes of %d genes, %d links (%d tss, %d body); without a gene: %s",
        out,
        result.table[keys.PROBE].nunique(),
        result.table[keys.GENE_ID].nunique(),
        len(result.table),
        int(regions.get(TSS, 0)),
        int(regions.get(BODY, 0)),
        ", ".join(f"{n} {rule}" for rule, n in sorted(counts.items())) or "none",
    )
