"""`bulkrnabert update`: what the portal has now against what a model was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulkrnabert.cli._look import dry_run_option, stage
from bulkrnabert.cli._portal_address import api_name, portal_address
from bulkrnabert.cli._result import finish
from bulkrnabert.errors import ConfigError
from bulkrnabert.keys import CHANGES_MD, PUBLIC_GDC_API

if TYPE_CHECKING:
    from bulkrnabert.data.sources.gdc_rules import Modality

EXAMPLES = {
    "Has the portal changed since the download?": "bulkrnabert update --raw raw --dry-run",
    "Everything that a retraining would change, for a script": (
        "bulkrnabert update --raw raw --checkpoint checkpoint --out changes --json"
    ),
}


@stage("update", EXAMPLES)
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
@dry_run_option
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
def command(
    raw: tuple[Path, ...],
    checkpoints: tuple[Path, ...],
    api: str,
    projects: str,
    modalities: tuple[Modality, ...],
    dry_run: bool,
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
    finish(
        None if out is None or dry_run else out / CHANGES_MD,
        "nothing was written" if dry_run else "the changes in words",
        "" if found.is_nothing else "a run with --mode retrain, see docs/retraining.md",
        text=summary_line(found),
        document=as_json(found),
    )
