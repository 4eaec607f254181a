"""Options of the commands that judge GexBERT on the folds of a split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

FOLD_OPTIONS = (
    click.option(
        "--checkpoint",
        "checkpoints",
        type=click.Path(path_type=Path),
        multiple=True,
        required=True,
        help="Checkpoint of GexBERT; once for every fold, or a single one trained on all samples.",
    ),
    click.option(
        "--tokens",
        type=click.Path(path_type=Path),
        multiple=True,
        required=True,
        help="Folder that `tokenize --model gexbert` wrote, of all samples; one for each checkpoint.",
    ),
    click.option(
        "--cohorts",
        type=click.Path(path_type=Path),
        required=True,
        help="Folder that `preprocess` wrote; its clinical.tsv is read.",
    ),
    click.option("--splits", type=click.Path(path_type=Path), required=True, help="splits.tsv."),
)


def fold_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--checkpoint, --tokens, --cohorts and --splits, in this order."""
    for option in reversed(FOLD_OPTIONS):
        command = option(command)
    return command
