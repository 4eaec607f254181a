"""`bulkrnabert update`: what the portal has now against what a model was trained on."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulkrnabert.cli._portal_address import api_name, portal_address
from bulkrnabert.errors import ConfigError
from bulkrnabert.keys import CHANGES_MD, PUBLIC_GDC_API

if TYPE_CHECKING:
    from bulkrnabert.data.sources.gdc_rules import Modality

logger = logging.getLogger(__name__)


@click.command("update")
@click.option(
    "--raw",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="What the last run downloaded: a raw folder, a folder of them, a plan.json, or a run's `download` folder. "
    "Repeat for each.",
)
@click.option(
    "--checkpoint",
    "checkpoints",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    help="Checkpoint folder; says which patients it learnt from. Repeat for each fold. Without --raw, files of all "
    "other patients are new.",
)
@click.option(
    "--api",
    default=PUBLIC_GDC_API,
    show_default=True,
    help="Address of the GDC; `embedded:study.json` serves a synthetic study by itself.",
)
@click.option(
    "--projects",
    default="",
    help="Projects to look for beside those of --raw, as `download` takes them: TCGA-BRCA,…, or all-tcga.",
)
@click.option(
    "--modality",
    "modalities",
    type=click.Choice(["rnaseq", "methylation"]),
    multiple=True,
    help="To look for beside those of --raw; repeat.  [default: rnaseq, without --raw]",
)
@click.option("--dry-run", is_flag=True, help="Say what changed and write nothing.")
@click.option("--json", "as_text", is_flag=True, help="Print changes.json to standard output.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
def command(
    raw: tuple[Path, ...],
    checkpoints: tuple[Path, ...],
    api: str,
    projects: str,
    modalities: tuple[Modality, ...],
    dry_run: bool,
    as_text: bool,
    out: Path | None,
) -> None:
    """Say what a retraining would change; fetch nothing.

    Asks the GDC for the same projects by the same rules of selection as the plans of the last run, and for others that
    are named. Writes to OUT: changes.json (counts by project, modality and kind, and every change), changes.tsv (a row
    a change: new, changed, superseded, withdrawn, left_out, clinical) and CHANGES.md (for people). Exit status 0,
    also when there is nothing to do; `n_changes` in changes.json says it.
    """
    from bulkrnabert.data.sources.gdc import GdcClient
    from bulkrnabert.data.sources.update import as_json, compare_with_portal
    from bulkrnabert.data.sources.update_baseline import read_baseline
    from bulkrnabert.data.sources.update_text import summary_line, write_update
    from bulkrnabert.provenance import require_writable

    if not raw and not checkpoints:
        raise ConfigError("nothing to compare with: give --raw with the last download, --checkpoint, or both")
    if out is None and not dry_run:
        raise ConfigError("--out is missing: name a folder, or give --dry-run to write nothing")
    if out is not None and not dry_run:
        require_writable(out / CHANGES_MD)
    baseline = read_baseline(raw, checkpoints)
    wanted: tuple[Modality, ...] = modalities or (() if baseline.plans else ("rnaseq",))
    with portal_address(api) as address, GdcClient(address) as client:
        found = compare_with_portal(client, baseline, projects.split(","), wanted, api_name(api))
    if out is not None and not dry_run:
        write_update(out, found)
    if as_text:
        click.echo(json.dumps(as_json(found), indent=2))
    else:
        click.echo(summary_line(found))
    if not found.is_nothing and out is not None and not dry_run:
        logger.info("%s says it in words; next: a run with --mode retrain, see docs/retraining.md", out / CHANGES_MD)
