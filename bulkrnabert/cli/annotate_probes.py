"""`bulkrnabert annotate-probes`: probe positions and gene coordinates to a probe-to-gene table."""

from __future__ import annotations

from pathlib import Path

import click

from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish

EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXAMPLES = {
    "Which genes the probes of an array count for": (
        "bulkrnabert annotate-probes --probes HM450.hg38.manifest.tsv --zero-based --genes genes.annotation.tsv "
        "--out probes.annotation.tsv"
    ),
}


@stage("annotate-probes", EXAMPLES)
@click.option(
    "--probes",
    type=EXISTING_FILE,
    required=True,
    help="Positions of the probes, TSV or CSV: probe_id, chrom, position (or the titles of Illumina's, Zhou's and"
    " Xena's tables).",
)
@click.option("--zero-based", is_flag=True, help="Positions of --probes count from 0 (BED, CpG_beg), not from 1.")
@click.option(
    "--genes",
    type=EXISTING_FILE,
    required=True,
    help="Genes of the same genome build, TSV or CSV: gene_id, symbol, chrom, start, end (bases from 1, both included,"
    " as GENCODE), strand.",
)
@click.option(
    "--window",
    type=click.IntRange(min=0),
    default=1500,
    show_default=True,
    help="Bases on each side of the transcription start.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Table to write (TSV).")
def command(probes: Path, zero_based: bool, genes: Path, window: int, out: Path) -> None:
    """Find the genes that each methylation probe counts for.

    A probe counts for every gene in whose body it lies, and for every gene whose transcription start is no further
    away than the window. The start is the first base of a gene on the plus strand, the last one on the minus strand.
    `rs` and `ch` probes are left out; the replicates of a site on EPIC v2 (cg00000029_TC21) are one probe.

    Writes probe_id, gene_id, symbol, region (tss or body) and distance (bases from the start, negative upstream), a row
    a probe and gene, for `preprocess --probe-annotation`.
    """
    from bulkrnabert.data.annotation import read_annotation
    from bulkrnabert.data.probe_positions import (
        find_genes_of_probes,
        read_probe_positions,
        write_probe_genes,
    )
    from bulkrnabert.provenance import require_writable

    require_writable(out)
    positions = read_probe_positions(probes, zero_based)
    found = find_genes_of_probes(positions, read_annotation(genes), window)
    write_probe_genes(found, out)
    finish(
        out,
        f"{len(found.table)} links of probes to genes",
        f"bulkrnabert preprocess --raw RAW --probe-annotation {out} --out COHORTS",
        n_links=len(found.table),
    )
