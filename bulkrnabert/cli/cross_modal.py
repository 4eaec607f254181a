"""`bulkrnabert cross-modal`: one omic from another, beside ridge regression."""

from __future__ import annotations

from pathlib import Path

import click

from bulkrnabert.cli._device import device_option, torch_device
from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish

EXAMPLES = {
    "How well MOJO predicts one omic from the other": (
        "bulkrnabert cross-modal --checkpoint mojo.r0f0 --tokens tokens.r0f0 --out cross_modal.json"
    ),
}


@stage("cross-modal", EXAMPLES)
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
    finish(
        out,
        f"correlations of every gene in {len(directions)} directions",
        f"bulkrnabert report --findings {out} …",
        n_directions=len(directions),
    )
