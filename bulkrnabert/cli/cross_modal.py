"""`bulkrnabert cross-modal`: one omic from another, beside ridge regression."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from bulkrnabert.cli._device import device_option, torch_device

logger = logging.getLogger(__name__)


@click.command("cross-modal")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    required=True,
    help="Checkpoint folder of a model of several omics (mojo).",
)
@click.option(
    "--tokens",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder that `tokenize` wrote, with the split that the model was trained on: its held-out samples are judged.",
)
@device_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write (JSON).")
def command(checkpoint: Path, tokens: Path, device: str, out: Path) -> None:
    """Predict methylation from RNA-seq and RNA-seq from methylation for samples that the model never saw.

    Writes for each direction the Pearson correlation of every gene over the held-out samples that have both, of the
    model and of ridge regression fitted on the same training samples. Values are bins. Genes that do not vary in the
    held-out samples are listed as not judged.
    """
    from bulkrnabert.downstream.cross_modal import write_cross_modal
    from bulkrnabert.provenance import require_writable

    require_writable(out)
    directions = write_cross_modal(checkpoint, tokens, out, torch_device(device))
    logger.info("%d directions written to %s", len(directions), out)
