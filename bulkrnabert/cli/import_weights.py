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
    type=click.Choice(["bulkrnabert", "mojo"]),
    default="bulkrnabert",
    show_default=True,
    help="Kind of model.",
)
@click.option(
    "--params",
    type=click.Path(path_type=Path),
    required=True,
    help="params.joblib or params.npz (haiku), or model.safetensors (PyTorch names; haiku names for mojo). Nothing in "
    "a pickle is executed.",
)
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The published config.json.")
@click.option(
    "--genes",
    type=click.Path(path_type=Path),
    help="Gene names in model order, one a line. Default: genes.txt or the published list beside --params.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Checkpoint folder to write.")
def command(model_name: str, params: Path, config: Path, genes: Path | None, out: Path) -> None:
    """Turn published weights into a checkpoint folder that every other command reads.

    Every tensor is accounted for, by name and shape. The tokenizers behave as the published ones do: log10(1 + TPM)
    divided by the published constant, for mojo also beta values as they are; values at or above the top get id 64. A
    missing gene counts as 0 for bulkrnabert and is masked for mojo.

    Writes config.json, model.safetensors, tokenizer.json, genes.txt, provenance.json and README.md.
    """
    from bulkrnabert.downstream.published import import_checkpoint

    network = import_checkpoint(params, config, genes, out, model_name)
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    logger.info("%s: %d parameters, %d genes written to %s", model_name, n_parameters, network.config.n_genes, out)
