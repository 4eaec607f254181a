"""`bulkrnabert fingerprint`: the code that each stage depends on, as one hash a stage."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish
from bulkrnabert.errors import ConfigError
from bulkrnabert.provenance import code_fingerprint, write_json

EXAMPLES = {
    "Has the code of two stages changed?": "bulkrnabert fingerprint tokenize pretrain",
}


@stage("fingerprint", EXAMPLES)
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
    if out is not None:
        write_json(out, hashes)
    finish(
        out,
        f"hashes of the code of {len(hashes)} stages",
        text="" if out is not None else json.dumps(hashes, indent=2),
        document=hashes,
    )
