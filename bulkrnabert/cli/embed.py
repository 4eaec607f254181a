"""`bulkrnabert embed`: a checkpoint and profiles to one vector a sample."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulkrnabert.cli._tables import table_files, table_options
from bulkrnabert.errors import ConfigError

if TYPE_CHECKING:
    from bulkrnabert.models.encoder import Pooling

logger = logging.getLogger(__name__)


@click.command("embed")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder that `pretrain` or `import-weights` wrote.",
)
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
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write: .h5ad or .parquet.")
def command(
    checkpoint: Path,
    cohorts: Path | None,
    table: Path | None,
    unit: str | None,
    file_format: str | None,
    methylation: Path | None,
    methylation_unit: str | None,
    layer: int | None,
    pooling: Pooling,
    batch_size: int | None,
    out: Path,
) -> None:
    """Embed every sample: a layer of the encoder, pooled over genes, float32.

    Genes are matched by id, in any order, with or without Ensembl versions; at least half of the model's genes must be
    there, and the share that a sample lacks is recorded as missing_share. Values are converted from the stated unit; a
    unit that cannot become the model's is refused. A model of RNA-seq and methylation (mojo) takes either or both;
    what a sample does not have is <mask>. Uses a GPU (bf16) when there is one.

    Writes .h5ad (obsm["X_<model>"], as X_bulkrnabert; sample columns in obs, provenance in uns) or .parquet (sample_id,
    missing_share, values).
    """
    if (cohorts is None) == (table is None and methylation is None):
        raise ConfigError("give either --cohorts or --table (or --methylation, or both tables)")
    files = table_files(table, unit, file_format, methylation, methylation_unit)
    from bulkrnabert.downstream.embed_files import EmbedRequest, embed_cohorts, embed_tables
    from bulkrnabert.provenance import require_writable

    require_writable(out)
    request = EmbedRequest(checkpoint, layer, pooling, batch_size, out)
    shape = embed_tables(request, files) if cohorts is None else embed_cohorts(request, cohorts)
    logger.info("%d samples x %d dimensions written to %s", *shape, out)
