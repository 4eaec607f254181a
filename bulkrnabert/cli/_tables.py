"""Options that name a table of each modality, with its unit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bulkrnabert import keys
from bulkrnabert.errors import ConfigError

if TYPE_CHECKING:
    from bulkrnabert.downstream.embed_files import TableFile

Command = TypeVar("Command", bound=Callable[..., Any])


def table_options(command: Command) -> Command:
    """`--table`, `--unit`, `--format` for RNA-seq, `--methylation`, `--methylation-unit` for methylation."""
    options = [
        click.option("--table", type=click.Path(path_type=Path), help="Expression of your samples; needs --unit."),
        click.option("--unit", help="Unit of --table: tpm, rsem, fpkm, log2(tpm+1), log2(tpm+0.001), zscore, …"),
        click.option(
            "--format",
            "file_format",
            help="Format of --table: tsv, csv, parquet, h5ad, gct, star_counts; h5ad:raw or h5ad:layers/NAME where the "
            "values are not in X.  [default: by its name and content]",
        ),
        click.option(
            "--methylation",
            type=click.Path(path_type=Path),
            help="Methylation of your samples, for a model that reads it: beside --table or alone; samples meet by id.",
        ),
        click.option(
            "--methylation-unit", help="Unit of --methylation: beta or sqrt(beta), a value a gene.  [default: beta]"
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def table_files(
    table: Path | None,
    unit: str | None,
    file_format: str | None,
    methylation: Path | None,
    methylation_unit: str | None,
) -> dict[str, TableFile]:
    """The tables that were given, by omic; empty where there is none.

    Raises:
        ConfigError: a unit or format without its table, or a table without its unit.
    """
    from bulkrnabert.downstream.embed_files import TableFile

    if (unit is None) != (table is None):
        raise ConfigError("--unit belongs to --table: a table needs it, a cohorts folder states its own")
    if file_format is not None and table is None:
        raise ConfigError("--format belongs to --table")
    if methylation_unit is not None and methylation is None:
        raise ConfigError("--methylation-unit belongs to --methylation")
    files: dict[str, TableFile] = {}
    if table is not None and unit is not None:
        files[keys.RNASEQ] = TableFile(table, unit, file_format)
    if methylation is not None:
        files[keys.METHYLATION] = TableFile(methylation, methylation_unit or "beta")
    return files
