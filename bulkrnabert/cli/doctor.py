"""`bulkrnabert doctor`: checks a user's table; go or no-go, and what to do."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulkrnabert import keys
from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish
from bulkrnabert.errors import EXIT_BAD_INPUT, ConfigError

if TYPE_CHECKING:
    from bulkrnabert.data.doctor import DoctorRequest, Examination
    from bulkrnabert.data.doctor_findings import DriftPoint

logger = logging.getLogger(__name__)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXAMPLES = {
    "Is it a TPM table that a model can read?": "bulkrnabert doctor --table tpm.tsv --unit tpm --checkpoint checkpoint",
    "Every table of a samplesheet, for a script": "bulkrnabert doctor --samplesheet samples.csv --json",
}
GROUPS = {
    "The table": ("table", "samplesheet", "unit", "fmt", "clinical"),
    "What it is for": ("vocabulary", "checkpoint", "annotation", "gene_lengths"),
    "Drift": ("drift", "drift_samples", "seed"),
    "Output": ("out",),
}


@stage("doctor", EXAMPLES, GROUPS)
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    help="Table to look at: a file, or a folder of STAR-Counts files.",
)
@click.option(
    "--samplesheet",
    type=EXISTING_FILE,
    help="Look at every RNA-seq table of a samplesheet, with its unit, format and clinical table, in place of --table.",
)
@click.option(
    "--unit",
    default="",
    help="What its numbers are: tpm, counts, estimated_counts, rsem, fpkm, 'log2(tpm+1)', 'log2(tpm+0.001)', zscore, …"
    "  [default: none; then the likeliest is proposed, and the verdict is no-go]",
)
@click.option(
    "--format",
    "fmt",
    default="",
    help="tsv, csv, parquet, h5ad, gct, star_counts; tsv:genes-in-rows or tsv:genes-in-columns where the ids do not"
    " tell.  [default: by the extension]",
)
@click.option("--vocabulary", type=EXISTING_FILE, help="Genes that are wanted: .txt, one id a line, or .tsv, .csv.")
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Model that the table is for, in place of --vocabulary: its genes and its unit.",
)
@click.option(
    "--annotation",
    type=EXISTING_FILE,
    help="Table of genes (`bulkrnabert annotate` makes one): symbols to Ensembl ids, lengths for counts.",
)
@click.option("--gene-lengths", type=EXISTING_FILE, help="TSV or CSV with gene_id and length (bases), for counts.")
@click.option("--clinical", type=EXISTING_FILE, help="Clinical table: how many of its samples match.")
@click.option("--drift", is_flag=True, help="Also measure how embeddings move when genes are missing (--checkpoint).")
@click.option(
    "--drift-samples", type=click.IntRange(min=1), default=20, show_default=True, help="Samples to measure it on."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the genes left out by --drift."
)
@click.option("--out", type=click.Path(path_type=Path), help="File to write the JSON to as well, as doctor.json.")
def command(
    table: Path | None,
    samplesheet: Path | None,
    unit: str,
    fmt: str,
    vocabulary: Path | None,
    checkpoint: Path | None,
    annotation: Path | None,
    gene_lengths: Path | None,
    clinical: Path | None,
    drift: bool,
    drift_samples: int,
    seed: int,
    out: Path | None,
) -> int:
    """Check a table of expression: file, gene ids, coverage, scale, samples. Exit status 0 is go, 2 is no-go.

    Coverage of the vocabulary: at least 80 % to go, 95 % to be fine. The scale is told from the numbers and compared
    with --unit. Nothing is changed or written but --out.

    JSON keys: version, table, verdict (go, no-go), checks (name, status, found, expected, cure), coverage, samples,
    scale, drift. Of a samplesheet: a list of them, and go only if every table is.
    """
    from bulkrnabert.data.doctor import DoctorRequest, examine
    from bulkrnabert.data.doctor_text import render
    from bulkrnabert.provenance import require_writable, write_json

    if (table is None) == (samplesheet is None):
        raise ConfigError("give --table, or --samplesheet for all of its tables")
    if samplesheet is not None and (unit or fmt or clinical):
        raise ConfigError("--unit, --format and --clinical describe --table; a samplesheet has its own")
    if vocabulary is not None and checkpoint is not None:
        raise ConfigError("give either --vocabulary or --checkpoint: a checkpoint has its own genes")
    if drift and checkpoint is None:
        raise ConfigError("--drift needs --checkpoint: embeddings come from a model")
    if out is not None:
        require_writable(out)
    wanted = DoctorRequest(Path(), unit, fmt, vocabulary, checkpoint, annotation, gene_lengths, clinical)
    requests = [replace(wanted, table=table)] if table is not None else _requests(samplesheet, wanted)
    diagnoses = []
    for request in requests:
        examination = examine(request)
        diagnosis = examination.diagnosis
        if samplesheet is not None:
            folder = samplesheet.resolve().parent
            is_beside = request.table.is_relative_to(folder)
            name = request.table.relative_to(folder) if is_beside else request.table.name
            diagnosis = replace(diagnosis, table=str(name))
        if drift and checkpoint is not None:
            diagnosis = replace(diagnosis, drift=_drift(examination, checkpoint, drift_samples, seed))
        diagnoses.append(diagnosis)
    found = [diagnosis.to_json() for diagnosis in diagnoses]
    content = found[0] if table is not None else found
    if out is not None:
        write_json(out, content)
    is_go = all(diagnosis.verdict == "go" for diagnosis in diagnoses)
    n_go = sum(diagnosis.verdict == "go" for diagnosis in diagnoses)
    finish(
        out,
        f"{n_go} of {len(diagnoses)} tables are go",
        _next(table, samplesheet, unit, clinical) if is_go else "mend what is marked above, and run it again",
        text="\n".join(render(diagnosis) for diagnosis in diagnoses),
        document=content,
    )
    return 0 if is_go else EXIT_BAD_INPUT


def _next(table: Path | None, samplesheet: Path | None, unit: str, clinical: Path | None) -> str:
    if table is None:
        return f"bulkrnabert preprocess --samplesheet {samplesheet} --out COHORTS"
    labels = f" --clinical {clinical}" if clinical else ""
    return f"bulkrnabert preprocess --table {table} --unit '{unit}'{labels} --cohort NAME --out COHORTS"


def _requests(samplesheet: Path | None, wanted: DoctorRequest) -> list[DoctorRequest]:
    """What to look at in a samplesheet: each of its RNA-seq tables once."""
    from bulkrnabert.data.samplesheet import read_samplesheet

    assert samplesheet is not None
    rows = [row for row in read_samplesheet(samplesheet) if row.modality == keys.RNASEQ]
    requests = [
        replace(wanted, table=row.path, unit=str(row.unit), fmt=row.format, clinical=row.clinical) for row in rows
    ]
    return list(dict.fromkeys(requests))


def _drift(examination: Examination, checkpoint: Path, n_samples: int, seed: int) -> tuple[DriftPoint, ...]:
    """The curve, or nothing where the table is not fit for the model."""
    if examination.diagnosis.verdict != "go":
        logger.warning("no drift is measured on a table that is no-go")
        return ()
    import numpy as np

    from bulkrnabert.data.doctor import table_for_model
    from bulkrnabert.data.units import stored_unit
    from bulkrnabert.downstream.drift import embedding_drift
    from bulkrnabert.downstream.embed import tokens_of
    from bulkrnabert.downstream.pretrained import load

    assert examination.unit is not None
    model = load(checkpoint)
    some = table_for_model(examination, n_samples)
    unit = str(stored_unit(examination.unit, has_gene_lengths=True))
    return embedding_drift(model, tokens_of(model, some, unit), np.random.default_rng(seed))
