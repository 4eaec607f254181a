"""`bulkrnabert track`: a finished run into MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bulkrnabert.cli._look import dry_run_option, patience_option, stage
from bulkrnabert.cli._result import finish
from bulkrnabert.errors import ConfigError
from bulkrnabert.logs import hide_credentials

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
EXAMPLES = {
    "Into a folder that MLflow opens": (
        "bulkrnabert track --metrics results/metrics.json --checkpoint results/encoders/r0f0 --report "
        "results/report.html --out mlflow"
    ),
    "A training that goes on, to a server": (
        "bulkrnabert track --follow checkpoint.state/records.jsonl --tracking-uri http://127.0.0.1:5000 --name night"
    ),
}
GROUPS = {
    "A finished run": ("metrics", "checkpoints", "predictions", "run_file", "report"),
    "A training that goes on": ("follow", "name"),
    "MLflow": ("experiment", "tracking_uri", "patience"),
    "Output": ("out", "dry_run"),
}


@stage("track", EXAMPLES, GROUPS)
@click.option("--metrics", type=_FILE, help="Numbers that `evaluate` wrote: metrics.json.  [required without --follow]")
@click.option(
    "--follow",
    type=click.Path(dir_okay=False, path_type=Path),
    help="records.jsonl of a pretraining that goes on: send its records to --tracking-uri as they are written, until "
    "the last one. The file may not be there yet.",
)
@click.option("--name", default="pretrain", show_default=True, help="Name of the run of --follow.")
@patience_option
@click.option(
    "--checkpoint",
    "checkpoints",
    type=_FOLDER,
    multiple=True,
    help="Checkpoint folder of one encoder (provenance.json, records.jsonl). Repeat for each.",
)
@click.option(
    "--predictions",
    type=_FILE,
    multiple=True,
    help="predictions.parquet of one probe job, kept as its artefact. Repeat for each.",
)
@click.option("--run", "run_file", type=_FILE, help="Facts about the run: run.json (parameters, versions, command).")
@click.option("--report", type=_FILE, help="report.html, kept as an artefact.")
@click.option("--experiment", default="bulkrnabert", show_default=True, help="Name of the MLflow experiment.")
@click.option(
    "--tracking-uri",
    help="Address of an MLflow server (http://…), to send the run there as well; required with --follow.  [default: no "
    "server]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write; an older one is replaced.  [required without --follow]",
)
@dry_run_option
def command(
    metrics: Path | None,
    follow: Path | None,
    name: str,
    patience: float,
    checkpoints: tuple[Path, ...],
    predictions: tuple[Path, ...],
    run_file: Path | None,
    report: Path | None,
    experiment: str,
    tracking_uri: str | None,
    out: Path | None,
    dry_run: bool,
) -> None:
    """Import a finished run into MLflow: a parent run, and a nested run for each pretraining and each probe job.

    Writes OUT/mlflow.db and OUT/mlartifacts (a folder that can be moved, opened by the command that is logged at the
    end) and OUT/mlflow_run.json, which says what was made. With --tracking-uri the run is then sent to a server as
    well, and OUT/mlflow_server.json says so; the folder stays where the server is away. In one process, so that no two
    writers meet.

    With --follow it sends the records of a training that goes on, beside it, until its summary, the end of the process
    that started it, or SIGTERM; a server that is away holds nothing up.
    """
    if follow is not None:
        if dry_run:
            raise ConfigError("--dry-run is for a finished run: --follow sends records as they come")
        if tracking_uri is None or metrics is not None or out is not None:
            raise ConfigError("--follow sends records to --tracking-uri and writes nothing: leave --metrics, --out out")
        _follow(follow, tracking_uri, experiment, name, patience)
        return
    if metrics is None or out is None:
        raise click.UsageError("--metrics and --out are missing: give the numbers of the run and a folder to write")
    from bulkrnabert.evaluate import tracking

    tracked = tracking.TrackedRun(metrics, checkpoints, predictions, run_file, report)
    shown = hide_credentials(tracking_uri or "")
    if dry_run:
        contents = tracking.read_contents(tracked)
        counts: dict[str, Any] = {"n_pretrainings": len(contents.encoders), "n_probe_jobs": len(contents.jobs)}
        what = f"a run with {len(contents.encoders)} pretrainings and {len(contents.jobs)} probe jobs"
        place = f"{out} and {shown}" if tracking_uri else out
        finish(None, f"nothing was written; would go to {place}: {what}", "the same without --dry-run", **counts)
        return
    tracking.write_folder(tracked, out, experiment)
    if tracking_uri is None:
        finish(out, "the run in MLflow's own form", tracking.server_command(str(out)))
        return
    tracking.send_to_server(tracked, out, experiment, tracking_uri, patience)
    finish(out, f"the run in MLflow's own form, and on the server {shown}", f"open {shown}")


def _follow(records: Path, tracking_uri: str, experiment: str, name: str, patience_s: float) -> None:
    from bulkrnabert.evaluate import tracking_live

    ending = tracking_live.Ending()
    run_id = tracking_live.follow_records(
        records, tracking_uri, experiment, name, patience_s=patience_s, is_over=ending.is_over, pause=ending.pause
    )
    what = f"{records} is over and sent" if run_id else f"{records} is over before its first step; nothing was sent"
    finish(None, what, f"open {hide_credentials(tracking_uri)}")
