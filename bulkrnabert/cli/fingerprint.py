"""`bulkrnabert fingerprint`: the code that each stage depends on, as one hash a stage."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bulkrnabert.errors import ConfigError
from bulkrnabert.provenance import code_fingerprint, write_json


@click.command("fingerprint")
@click.argument("stages", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON there instead of to standard output.")
def command(stages: tuple[str, ...], out: Path | None) -> None:
    """Hash the code that STAGES import: another hash means that a stage's results may differ.

    The pipeline gives each process the hash of its own stage, so that `-resume` runs again exactly the stages whose
    code was edited, and what follows from them.
    """
    try:
        hashes = {stage: code_fingerprint(stage) for stage in stages}
    except ValueError as error:
        raise ConfigError(f"{error}; `bulkrnabert --help` lists them") from error
    if out is None:
        click.echo(json.dumps(hashes, indent=2))
    else:
        write_json(out, hashes)
