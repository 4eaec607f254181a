"""The option of the commands that describe or publish a finished model."""

from __future__ import annotations

from pathlib import Path

import click

model_folder = click.option(
    "--model",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder of a checkpoint or of a fine-tuned model.",
)
