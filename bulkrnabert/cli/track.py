"""`bulkrnabert track`: a finished run into MLflow."""

from __future__ import annotations

import logging
from pathlib import Path

import click

logger = logging.getLogger(__name__)

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("track")
@click.option("--metrics", type=_FILE, required=True, help="Numbers that `evaluate` wrote: metrics.json.")
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
    help="Address of an MLflow server (http://…), to send the run there. Default: no server, a folder of its own.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder to write; an older one is replaced.",
)
def command(
    metrics: Path,
    checkpoints: tuple[Path, ...],
    predictions: tuple[Path, ...],
    run_file: Path | None,
    report: Path | None,
    experiment: str,
    tracking_uri: str | None,
    out: Path,
) -> None:
    """Import a finished run into MLflow: a parent run, and a nested run for each pretraining and each probe job.

    Writes OUT/mlflow.db and OUT/mlartifacts (a folder that can be moved, opened by the command that is logged at the
    end), or with --tracking-uri sends the run to a server; OUT/mlflow_run.json says what was made. In one process, so
    that no two writers meet.
    """
    from bulkrnabert.evaluate import tracking

    tracked = tracking.TrackedRun(metrics, checkpoints, predictions, run_file, report)
    if tracking_uri is None:
        tracking.write_folder(tracked, out, experiment)
        logger.info("open it with: %s", tracking.server_command(str(out)))
    else:
        tracking.send_to_server(tracked, out, experiment, tracking_uri)
        logger.info("%s written; the run is on the server", out / tracking.RECEIPT)
