"""Where the invented genes and probes of a synthetic study lie: annotation tables in the shape of real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bulkrnabert import keys
from bulkrnabert.data.synthetic_genes import GeneModel, ProbeModel, generator_for
from bulkrnabert.provenance import atomic_path

GENES_ANNOTATION = "genes.annotation.tsv"
PROBES_ANNOTATION = "probes.annotation.tsv"
# Genes lie so far apart that a probe near one is near no other.
GAP_BP = (12_000, 40_000)
MIN_SPAN_BP = 5_000
INTRONS = (2.0, 12.0)  # span of a gene over its union-exon length
PROMOTER_BP = 1_400
DISTAL_BP = (2_500, 5_000)
DISTAL_SHARE = 0.3
CHROMOSOMES = tuple(f"chr{number}" for number in range(1, 23))


def gene_table(seed: int, genes: GeneModel) -> pd.DataFrame:
    """A row a gene row of the files, `_PAR_Y` copies included, in their order.

    Returns:
        Columns `gene_id` (with version), `symbol`, `gene_type`, `length` (union of exons, base pairs), `chrom`,
        `start`, `end` (1-based, both inside), `strand`.
    """
    rng = generator_for(seed, "gene-places", str(len(genes.row_ids)))
    n_rows = len(genes.row_ids)
    chromosome = rng.integers(len(CHROMOSOMES), size=n_rows)
    spans = np.maximum(genes.lengths_bp * rng.uniform(*INTRONS, n_rows), MIN_SPAN_BP).astype(np.int64)
    gaps = rng.integers(*GAP_BP, n_rows)
    strands = np.where(rng.random(n_rows) < 0.5, "+", "-")
    names = np.array(CHROMOSOMES, dtype=object)[chromosome]
    names[~genes.is_autosomal] = "chrX"
    copies = np.flatnonzero(genes.is_par_y)
    names[copies] = "chrY"
    spans[copies], strands[copies] = spans[copies - 1], strands[copies - 1]
    starts = np.zeros(n_rows, dtype=np.int64)
    for name in np.unique(names.astype(str)):
        rows = np.flatnonzero(names == name)
        ends_before = np.concatenate([[0], np.cumsum(gaps[rows] + spans[rows])[:-1]])
        starts[rows] = 10_000 + ends_before + gaps[rows]
    return pd.DataFrame(
        {
            keys.GENE_ID: list(genes.row_ids),
            keys.SYMBOL: list(genes.symbols),
            keys.GENE_TYPE: list(genes.gene_types),
            "length": genes.lengths_bp.astype(np.int64),
            "chrom": names,
            "start": starts,
            "end": starts + spans - 1,
            "strand": strands,
        }
    )


def probe_table(seed: int, probes: ProbeModel, genes: GeneModel) -> pd.DataFrame:
    """A row a probe of an array, in the order of its files; every gene as in `gene_table`.

    Probes at promoters lie within 1.4 kb of the transcription start site, most others in the body of their gene, the
    rest 2.5 to 5 kb upstream of it. Probes of one site have one position, and a site has the same one on every array.

    Returns:
        Columns `probe_id`, `gene_id` (without version), `symbol`, `chrom`, `position` (1-based), `strand` (of the
        gene), `distance_to_tss` (base pairs; negative is upstream), `region` (`promoter`, `body` or `distal`). Probes
        without a gene have empty texts, and no distance.
    """
    table = gene_table(seed, genes)
    rows = np.maximum(probes.gene_rows, 0)
    has_gene = probes.gene_rows >= 0
    is_plus = (table["strand"] == "+").to_numpy()[rows]
    start, end = table["start"].to_numpy()[rows], table["end"].to_numpy()[rows]
    first, second = _shares(probes.probe_ids)
    body_bp = end - start - PROMOTER_BP - 200
    distance = np.where(
        probes.is_promoter,
        -PROMOTER_BP + np.floor(first * 2 * PROMOTER_BP),
        np.where(
            second < DISTAL_SHARE,
            -DISTAL_BP[0] - np.floor(first * (DISTAL_BP[1] - DISTAL_BP[0])),
            PROMOTER_BP + 150 + np.floor(first * body_bp),
        ),
    ).astype(np.int64)
    region = np.where(probes.is_promoter, "promoter", np.where(distance < 0, "distal", "body"))
    position = np.where(is_plus, start + distance, end - distance)
    last = int(table["end"].max())

    def of_gene(values: NDArray[np.object_]) -> NDArray[np.object_]:
        return np.where(has_gene, values[rows], "")

    bare_ids = np.array([row_id.split(".")[0] for row_id in genes.row_ids], dtype=object)
    return pd.DataFrame(
        {
            keys.PROBE: list(probes.probe_ids),
            keys.GENE_ID: of_gene(bare_ids),
            keys.SYMBOL: of_gene(np.array(genes.symbols, dtype=object)),
            "chrom": np.where(has_gene, table["chrom"].to_numpy()[rows], "chr1"),
            "position": np.where(has_gene, position, last + 100_000 + np.floor(first * 1_000_000).astype(np.int64)),
            "strand": of_gene(table["strand"].to_numpy()),
            "distance_to_tss": pd.array(np.where(has_gene, distance, 0), dtype="Int64"),
            keys.REGION: np.where(has_gene, region, ""),
        }
    ).assign(distance_to_tss=lambda frame: frame["distance_to_tss"].mask(~has_gene))


def _shares(probe_ids: tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two numbers in [0, 1) for each probe, from the number in its id: the same site has the same ones everywhere."""
    numbers = np.array([int(probe.partition("_")[0][2:]) for probe in probe_ids], dtype=np.uint64)
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    low = (mixed & np.uint64(0xFFFFFFFF)).astype(np.float64) / 2**32
    return (mixed >> np.uint64(32)).astype(np.float64) / 2**32, low


def write_annotation(folder: Path, genes: pd.DataFrame, probes: pd.DataFrame) -> None:
    """Write `genes.annotation.tsv` and `probes.annotation.tsv` into a folder, which is made when it is not there."""
    for name, table in ((GENES_ANNOTATION, genes), (PROBES_ANNOTATION, probes)):
        with atomic_path(folder / name) as partial:
            table.to_csv(partial, sep="\t", index=False, lineterminator="\n")
