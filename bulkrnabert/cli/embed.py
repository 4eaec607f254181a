"""`bulkrnabert embed`: a checkpoint and profiles to one vector a sample."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish
from bulkrnabert.cli._tables import table_files, table_options
from bulkrnabert.errors import ConfigError

if TYPE_CHECKING:
    from bulkrnabert.models.encoder import Pooling

EXAMPLES = {
    "An AnnData file, with the embedding added to a copy of it": (
        "bulkrnabert embed --checkpoint checkpoint --table mine.h5ad --format h5ad:layers/tpm --unit tpm --keep-table "
        "--out mine.embedded.h5ad"
    ),
    "A TPM table of your own": "bulkrnabert embed --checkpoint checkpoint --table tpm.tsv --unit tpm --out emb.h5ad",
    "Every sample of a cohorts folder, layer 4": (
        "bulkrnabert embed --checkpoint checkpoint --cohorts cohorts --layer 4 --out emb.parquet"
    ),
}
GROUPS = {
    "The model": ("checkpoint", "revision"),
    "The samples": ("cohorts", "table", "unit", "file_format", "methylation", "methylation_unit"),
    "The vectors": ("layer", "pooling", "batch_size"),
    "Output": ("out", "keep_table"),
}


@stage("embed", EXAMPLES, GROUPS)
@click.option(
    "--checkpoint",
    required=True,
    metavar="FOLDER|ID",
    help="Folder that `pretrain` or `import-weights` wrote; or a model's id on the hub, as owner/name.",
)
@click.option("--revision", help="Commit, tag or branch of a model on the hub; a commit gives the same files always.")
@click.option("--cohorts", type=click.Path(path_type=Path), help="Folder that `preprocess` wrote; it states its unit.")
@table_options
@click.option("--layer", type=click.IntRange(min=1), help="Layer whose output is pooled.  [default: the last]")
@click.option(
    "--pooling",
    type=click.Choice(["mean", "max", "marker", "eigengene"]),
    default="mean",
    show_default=True,
    help="Over the genes; marker: the mean beside one weighted by genes above their usual level; eigengene: that, and "
    "the sample's scores on the main directions of co-expression.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Samples at a time.  [default: from the gene count]")
@click.option(
    "--keep-table",
    is_flag=True,
    help="Where --table is .h5ad: write a copy of it with the embedding added, rather than the embedding alone.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write: .h5ad or .parquet.")
def command(
    checkpoint: str,
    revision: str | None,
    cohorts: Path | None,
    table: Path | None,
    unit: str | None,
    file_format: str | None,
    methylation: Path | None,
    methylation_unit: str | None,
    layer: int | None,
    pooling: Pooling,
    batch_size: int | None,
    keep_table: bool,
    out: Path,
) -> None:
    """Embed every sample: a layer of the encoder, pooled over genes, float32.

    Genes are matched by id, in any order, with or without Ensembl versions; at least half of the model's genes must be
    there, and the share that a sample lacks is recorded as missing_share. Values are converted from the stated unit; a
    unit that cannot become the model's is refused. A model of RNA-seq and methylation (mojo) takes either or both;
    what a sample does not have is <mask>. Uses a GPU (bf16) when there is one.

    Writes .h5ad (obsm["X_<model>"], as X_bulkrnabert; sample columns in obs, provenance in uns) or .parquet (sample_id,
    missing_share, values). With --keep-table all of the table's own matrices and columns stay as they are; added are
    obsm["X_<model>"], obs["brb_missing_share"] and the provenance in uns["bulkrnabert"].
    """
    if (cohorts is None) == (table is None and methylation is None):
        raise ConfigError("give either --cohorts or --table (or --methylation, or both tables)")
    if keep_table and table is None:
        raise ConfigError("--keep-table adds to --table: give it")
    files = table_files(table, unit, file_format, methylation, methylation_unit)
    from bulkrnabert.downstream.embed_files import EmbedRequest, embed_cohorts, embed_tables
    from bulkrnabert.provenance import require_writable

    require_writable(out)
    request = EmbedRequest(checkpoint, layer, pooling, batch_size, out, keep_table, revision)
    shape = embed_tables(request, files) if cohorts is None else embed_cohorts(request, cohorts)
    n_samples, n_dimensions = shape
    cohorts_of = cohorts or "COHORTS"
    finish(
        out,
        f"{n_samples} samples x {n_dimensions} dimensions",
        f"bulkrnabert probe --embeddings {out} --cohorts {cohorts_of} --splits SPLITS --task cancer_type --out FILE"
        if out.suffix == ".h5ad"
        else "read it with pandas",
        n_samples=n_samples,
        n_dimensions=n_dimensions,
    )
