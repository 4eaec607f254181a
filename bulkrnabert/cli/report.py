"""`bulkrnabert report`: numbers to pages."""

from __future__ import annotations

from pathlib import Path

import click

from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish
from bulkrnabert.data.access import SMALL_CELL

EXAMPLES = {
    "The page of a run": (
        "bulkrnabert report --metrics numbers/metrics.json --summary cohorts/summary.json --checkpoint checkpoint "
        "--rejected cohorts/rejected.tsv --out report"
    ),
}

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@stage("report", EXAMPLES)
@click.option("--metrics", type=_FILE, required=True, help="Numbers that `evaluate` wrote: metrics.json.")
@click.option("--summary", type=_FILE, required=True, help="What `preprocess` kept and left out: summary.json.")
@click.option(
    "--checkpoint",
    "checkpoints",
    type=_FOLDER,
    multiple=True,
    help="Checkpoint folder of one encoder (provenance.json, records.jsonl), for its training curves. Repeat for each.",
)
@click.option(
    "--embedding-maps",
    "maps_file",
    type=_FILE,
    help="Embeddings in two dimensions that `evaluate` wrote, for the explorer: embedding_maps.json.",
)
@click.option("--rejected", type=_FILE, help="Every sample that was left out: rejected.tsv.")
@click.option("--survival", type=_FILE, help="Endpoints of every cohort, and who is out: survival.tsv.")
@click.option("--doctor", type=_FILE, help="What `doctor` said of the own tables: doctor.json.")
@click.option(
    "--findings",
    "finding_files",
    type=_FILE,
    multiple=True,
    help="What `panels`, `impute-benchmark`, `anchors`, `biomarkers`, `cross-modal` or `attribute` found (JSON). Repeat"
    " for each.",
)
@click.option(
    "--run", "run_file", type=_FILE, help="Facts about the run: run.json (version, command, parameters, software)."
)
@click.option(
    "--small-cells",
    type=click.IntRange(min=0),
    default=SMALL_CELL,
    show_default=True,
    help="Counts of patients or samples from 1 to below this are shown as `<N`, and single samples are not listed, "
    "unless the data are open. 0 switches that off.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to.")
def command(
    metrics: Path,
    summary: Path,
    checkpoints: tuple[Path, ...],
    maps_file: Path | None,
    rejected: Path | None,
    survival: Path | None,
    doctor: Path | None,
    finding_files: tuple[Path, ...],
    run_file: Path | None,
    small_cells: int,
    out: Path,
) -> None:
    """Make the report of a run. It computes nothing: every number comes from metrics.json.

    Writes to OUT: report.html (one page that needs no network), results.csv (the same numbers, one a line) and
    bulkrnabert_mqc.json with its sections (for MultiQC).
    """
    from bulkrnabert.evaluate import artefacts, data_artefacts
    from bulkrnabert.evaluate.embedding_maps import read_maps
    from bulkrnabert.evaluate.findings import read_findings
    from bulkrnabert.report.page import write_report

    inputs = artefacts.ReportInputs(
        numbers=artefacts.read_numbers(metrics),
        summary=artefacts.read_summary(summary),
        encoders=sorted(map(artefacts.read_encoder, checkpoints), key=lambda encoder: encoder.name),
        rejected=artefacts.read_rejected(rejected),
        run=artefacts.read_run(run_file),
        endpoints=data_artefacts.read_endpoints(survival),
        diagnoses=data_artefacts.read_diagnoses(doctor),
        findings=read_findings(finding_files),
        maps=read_maps(maps_file),
    )
    page = write_report(inputs, out, small_cells)
    n_numbers = len(inputs.numbers.metrics)
    finish(
        page,
        f"{n_numbers} numbers of {len(inputs.summary.cohorts)} cohorts, {len(inputs.encoders)} encoders",
        "open it in a browser",
        n_numbers=n_numbers,
    )
