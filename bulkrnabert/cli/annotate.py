"""`bulkrnabert annotate`: a GTF to the table of genes that the other stages read."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish

EXAMPLES = {
    "From GENCODE's own file": "bulkrnabert annotate --gtf gencode.v36.annotation.gtf.gz --out genes.annotation.tsv",
}


@stage("annotate", EXAMPLES)
@click.option(
    "--gtf",
    required=True,
    help="GTF of GENCODE or Ensembl, as gencode.v36.annotation.gtf.gz: a file, packed or not, or an http(s) address.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Table to write (TSV).")
def command(gtf: str, out: Path) -> None:
    """Make a table of genes: id, symbol, type, length, place.

    The length is that of the union of a gene's exons, in bases: what turns counts into TPM. Ids are without versions;
    the copies of pseudoautosomal genes on chromosome Y are left out. Coordinates count from 1, both ends included.

    Writes gene_id, symbol, gene_type, length, chrom, start, end, strand, and the release in a comment above. Read by
    `doctor --annotation` and --gene-lengths; symbols of a table become Ensembl ids by it.
    """
    from bulkrnabert.data.annotation import write_annotation
    from bulkrnabert.data.gtf import annotation_from_gtf
    from bulkrnabert.data.sources.gtf_file import fetched, is_url
    from bulkrnabert.provenance import require_writable

    require_writable(out)
    with fetched(gtf, out) if is_url(gtf) else nullcontext(Path(gtf)) as path:
        annotation = annotation_from_gtf(path)
    write_annotation(annotation, out)
    n_with_length = len(annotation.length_of)
    finish(
        out,
        f"{len(annotation)} genes, {n_with_length} with a length",
        f"bulkrnabert doctor --table TABLE --unit UNIT --annotation {out}",
        n_genes=len(annotation),
        n_with_length=n_with_length,
    )
