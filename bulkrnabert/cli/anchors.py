"""`bulkrnabert anchors`: survival from restored prognostic genes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bulkrnabert import keys
from bulkrnabert.cli._device import device_option
from bulkrnabert.cli._folds import fold_options


@click.command("anchors")
@fold_options
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=[keys.PAN],
    show_default=True,
    help="`pan` (one model, a baseline hazard a cohort) or a cohort (its own model); may be repeated.",
)
@click.option("--panel-size", type=click.IntRange(min=1), default=64, show_default=True, help="Genes that are read.")
@click.option(
    "--chooser",
    type=click.Choice(["variance", "list"]),
    default="variance",
    show_default=True,
    help="How they are chosen: the most variable of the training part, or those of --genes.",
)
@click.option("--genes", type=click.Path(path_type=Path), help="Your own panel, a gene id a line; for --chooser list.")
@click.option(
    "--anchors", "n_anchors", type=click.IntRange(min=1), default=50, show_default=True, help="Genes to restore."
)
@click.option(
    "--resamples", "n_resamples", type=click.IntRange(min=10), default=1000, show_default=True, help="Of patients."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything drawn.")
@device_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
def command(**options: Any) -> None:
    """Restore prognostic genes from a small panel, and see what survival models gain by it.

    In the training part of each fold the anchor genes are chosen: those outside the panel whose expression goes with
    survival most, one by one (Cox score test, a baseline hazard a cohort). The model restores them from the panel.
    Ridge Cox models then read: the restored anchors, alone and with the panel; the anchors as they were measured; the
    anchors restored by ridge regression; the panel; principal components of the panel.

    \b
    Writes in --out:
      anchors.json                 Harrell's C (higher is better) with intervals by patient bootstrap, the restoring
                                   methods against each other one, and the anchors
      SCOPE/predictions.parquet    out of fold, for `bulkrnabert evaluate`
    """
    from bulkrnabert.cli._device import torch_device
    from bulkrnabert.evaluate.anchor_study import AnchorRequest, run_anchors
    from bulkrnabert.provenance import require_writable

    require_writable(options["out"] / "anchors.json")
    run_anchors(AnchorRequest(**{**options, "device": torch_device(options["device"])}))
