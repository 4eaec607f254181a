"""`bulkrnabert panels`: cancer types from few genes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bulkrnabert import keys
from bulkrnabert.cli._device import device_option
from bulkrnabert.cli._folds import fold_options
from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish
from bulkrnabert.config import preset_names

EXAMPLES = {
    "64 and 256 genes, an encoder of all samples": (
        "bulkrnabert panels --checkpoint gexbert --tokens tokens --cohorts cohorts --splits splits/splits.tsv "
        "--size 64 --size 256 --out panels"
    ),
    "Your own panel": (
        "bulkrnabert panels --checkpoint gexbert --tokens tokens --cohorts cohorts --splits splits/splits.tsv "
        "--chooser list --genes panel.txt --out panels.own"
    ),
}
GROUPS = {
    "Inputs": ("checkpoints", "tokens", "cohorts", "splits"),
    "The panels": ("sizes", "choosers", "genes"),
    "How to learn": ("label_column", "preset", "task_config", "start", "only_folds", "seed"),
    "Judging": ("baselines", "n_resamples"),
    "Output": ("out", "device"),
}


@stage("panels", EXAMPLES, GROUPS)
@fold_options
@click.option(
    "--size",
    "sizes",
    type=click.IntRange(min=1),
    multiple=True,
    help="Genes of a panel; may be repeated.  [default: 64, 128, 256, 512, 1024, as far as the data goes]",
)
@click.option(
    "--chooser",
    "choosers",
    type=click.Choice(["variance", "anova", "mutual_info", "list"]),
    multiple=True,
    default=["anova"],
    show_default=True,
    help="How genes are chosen, in the training part of each fold: the most variable; highest ANOVA F over the "
    "classes; most mutual information with the class; or those of --genes.",
)
@click.option("--genes", type=click.Path(path_type=Path), help="Your own panel, a gene id a line; for --chooser list.")
@click.option("--label-column", default=keys.COHORT, show_default=True, help="Class to predict.")
@click.option(
    "--preset",
    type=click.Choice(preset_names("task")),
    default="panel",
    show_default=True,
    help="Settings of fine-tuning.",
)
@click.option("--task-config", type=click.Path(path_type=Path), help="YAML of settings instead of the preset's.")
@click.option(
    "--start",
    type=click.Choice(["pretrained", "random"]),
    default="pretrained",
    show_default=True,
    help="random: the same network with weights drawn anew, which shows what pretraining gives.",
)
@click.option(
    "--baselines",
    type=click.Choice(["all", "fast"]),
    default="all",
    show_default=True,
    help="fast: MLP and logistic regression, without the random forest and gradient boosting.",
)
@click.option(
    "--fold", "only_folds", multiple=True, help="Run this fold only, as r0f1; may be repeated.  [default: all folds]"
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
    """Fine-tune GexBERT on gene panels of several sizes, next to four classifiers on the same genes and folds.

    \b
    Writes in --out:
      panels.json                       accuracy, macro and weighted F1 by size
                                        with intervals by patient bootstrap,
                                        the model against each classifier
      CHOOSER.SIZE/model                for `bulkrnabert predict`: a member a
                                        fold, each with its own panel
      CHOOSER.SIZE/predictions.parquet  out of fold, for `bulkrnabert evaluate`
    """
    from bulkrnabert.cli._device import torch_device
    from bulkrnabert.evaluate.panel_study import PanelRequest, run_panels
    from bulkrnabert.provenance import require_writable

    require_writable(options["out"] / "panels.json")
    run_panels(PanelRequest(**{**options, "device": torch_device(options["device"])}))
    found = options["out"] / "panels.json"
    finish(
        found,
        "accuracy and F1 by size; a folder a panel beside it",
        f"bulkrnabert report --findings {found} …, or bulkrnabert predict --model {options['out']}/PANEL/model …",
    )
