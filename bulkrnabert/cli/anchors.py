"""`bulkrnabert anchors`: survival from restored prognostic genes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bulkrnabert import keys
from bulkrnabert.cli._device import device_option
from bulkrnabert.cli._folds import fold_options
from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish

EXAMPLES = {
    "Survival within cohorts from 50 genes that are restored from 64, five folds": (
        "bulkrnabert anchors --checkpoint ckpt.r0f0 --checkpoint ckpt.r0f1 --checkpoint ckpt.r0f2 --checkpoint "
        "ckpt.r0f3 --checkpoint ckpt.r0f4 --tokens tokens.r0f0 --tokens tokens.r0f1 --tokens tokens.r0f2 --tokens "
        "tokens.r0f3 --tokens tokens.r0f4 --cohorts cohorts --splits splits/splits.tsv --out anchors"
    ),
    "One cohort, your own panel": (
        "bulkrnabert anchors --checkpoint ckpt.all --tokens tokens.all --cohorts cohorts --splits "
        "splits/splits.tsv --scope TCGA-KIRC --chooser list --genes panel.txt --out anchors.kirc"
    ),
}
GROUPS = {
    "Inputs": ("checkpoints", "tokens", "cohorts", "splits"),
    "The panel and the anchors": ("scopes", "panel_size", "chooser", "genes", "n_anchors"),
    "Judging": ("n_resamples", "seed"),
    "Output": ("out", "device"),
}


@stage("anchors", EXAMPLES, GROUPS)
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
    "--resamples",
    "n_resamples",
    type=click.IntRange(min=10),
    default=1000,
    show_default=True,
    help="Resamples of patients for the 95 % intervals.",
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
      anchors.json               Harrell's C (higher is better) with intervals
                                 by patient bootstrap, the restoring methods
                                 against each other one, and the anchors
      SCOPE/predictions.parquet  out of fold, for `bulkrnabert evaluate`
    """
    from bulkrnabert.cli._device import torch_device
    from bulkrnabert.evaluate.anchor_study import AnchorRequest, run_anchors
    from bulkrnabert.provenance import require_writable

    require_writable(options["out"] / "anchors.json")
    run_anchors(AnchorRequest(**{**options, "device": torch_device(options["device"])}))
    found = options["out"] / "anchors.json"
    finish(
        found,
        f"survival from {options['n_anchors']} restored genes",
        f"bulkrnabert report --findings {found} …",
        scopes=options["scopes"],
    )
