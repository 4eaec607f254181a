"""`bulkrnabert import-weights`: published checkpoints to ours."""

from __future__ import annotations

import logging
from pathlib import Path

import click

logger = logging.getLogger(__name__)


@click.command("import-weights")
@click.option(
    "--model",
    "model_name",
    type=click.Choice(["bulkrnabert"]),
    default="bulkrnabert",
    show_default=True,
    help="Kind of model.",
)
@click.option(
    "--params",
    type=click.Path(path_type=Path),
    required=True,
    help="params.joblib or params.npz (haiku), or model.safetensors (PyTorch). Nothing in a pickle is executed.",
)
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The published config.json.")
@click.option(
    "--genes",
    type=click.Path(path_type=Path),
    help="Gene ids in model order, one a line. Default: genes.txt or common_gene_id.txt beside --params.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Checkpoint folder to write.")
def command(model_name: str, params: Path, config: Path, genes: Path | None, out: Path) -> None:
    """Turn published weights into a checkpoint folder that every other command reads.

    Every tensor is accounted for, by name and shape. The tokenizer behaves as the published one does: log10(1 + TPM)
    divided by the published constant, values at or above it get id 64, missing genes count as 0.

    Writes config.json, model.safetensors, tokenizer.json, genes.txt, provenance.json and README.md.
    """
    from bulkrnabert.downstream.published import import_checkpoint

    imported = import_checkpoint(params, config, genes, out)
    n_parameters = sum(parameter.numel() for parameter in imported.model.parameters())
    logger.info("%s: %d parameters, %d genes written to %s", model_name, n_parameters, imported.reference.n_genes, out)
