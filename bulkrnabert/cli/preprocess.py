"""`bulkrnabert preprocess`: raw folders and own tables to a cohorts folder."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from bulkrnabert.errors import ConfigError

logger = logging.getLogger(__name__)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("preprocess")
@click.option(
    "--raw",
    "raw_folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder written by `bulkrnabert download`. May be given more than once.",
)
@click.option(
    "--samplesheet",
    type=EXISTING_FILE,
    help="CSV or TSV of own tables: cohort, modality, path, format, unit, clinical (the last three may be empty;"
    " paths relative to the sheet).",
)
@click.option("--table", type=click.Path(exists=True, path_type=Path), help="One own table, in place of a samplesheet.")
@click.option("--unit", default="", help="What the numbers of --table are: tpm, 'log2(tpm+0.001)', rsem, counts, …")
@click.option("--cohort", default="", help="Cohort of --table (file name of its output).")
@click.option(
    "--format",
    "fmt",
    default="",
    help="Format of --table: tsv, csv, parquet, h5ad, gct, star_counts; tsv:genes-in-rows or tsv:genes-in-columns where"
    " the ids do not tell.  [default: by the extension]",
)
@click.option("--clinical", type=EXISTING_FILE, help="Clinical table for --table, times in days.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write; an older cohorts folder is replaced as a whole."
)
@click.option(
    "--endpoint",
    type=click.Choice(["OS", "PFI", "DSS", "DFI"]),
    default="OS",
    show_default=True,
    help="Survival endpoint. With OS, tables without it use time_days and event.",
)
@click.option(
    "--cohort-column",
    default="cohort",
    show_default=True,
    help="Column of the clinical tables that holds the cohort of a sample; '' to take the cohort of the sheet only.",
)
@click.option("--normals", is_flag=True, help="Keep samples of normal tissue.")
@click.option(
    "--vocabulary",
    type=EXISTING_FILE,
    help="Genes to use, .txt (one id a line), or .tsv or .csv with a column gene_id; each input must have 80 % of them."
    "  [default: protein-coding genes that every input has]",
)
@click.option(
    "--gene-lengths", type=EXISTING_FILE, help="TSV or CSV with gene_id and length (bases); turns counts into TPM."
)
@click.option(
    "--check-only", is_flag=True, help="Check sheet, ids, units, clinical tables and gene lists, then stop; no output."
)
def command(
    raw_folders: tuple[Path, ...],
    samplesheet: Path | None,
    table: Path | None,
    unit: str,
    cohort: str,
    fmt: str,
    clinical: Path | None,
    out: Path | None,
    endpoint: str,
    cohort_column: str,
    normals: bool,
    vocabulary: Path | None,
    gene_lengths: Path | None,
    check_only: bool,
) -> None:
    """Turn raw files into one table a cohort, with one gene list and one unit.

    Writes <cohort>.rnaseq.parquet, genes.tsv, clinical.tsv (a row a patient, times in days), rejected.tsv (every sample
    that is left out, and why) and summary.json. Logarithms are inverted; FPKM, and counts with --gene-lengths, become
    TPM; RSEM and z-scores stay as they are. The scale is stated by you and compared with the numbers, never guessed.
    """
    from bulkrnabert.data.cohort_source import InputOptions
    from bulkrnabert.data.inputs import collect_sources
    from bulkrnabert.data.preprocess import plan_cohorts, refuse_foreign_folder, write_cohorts
    from bulkrnabert.data.samplesheet import make_row, read_samplesheet
    from bulkrnabert.provenance import require_writable

    if out is None and not check_only:
        raise ConfigError("preprocess needs --out FOLDER (or --check-only)")
    if table is None and (unit or cohort or fmt or clinical):
        raise ConfigError("--unit, --cohort, --format and --clinical describe --table, which was not given")
    if out is not None and not check_only:
        refuse_foreign_folder(out)
        require_writable(out)
    rows = read_samplesheet(samplesheet) if samplesheet else []
    if table is not None:
        rows.append(make_row(cohort, table, fmt, unit, clinical))
    options = InputOptions(endpoint, cohort_column, normals, gene_lengths)
    plan = plan_cohorts(collect_sources(raw_folders, rows, options), vocabulary)
    if check_only or out is None:
        n_samples = sum(len(source.samples) for source in plan.sources)
        logger.info("checked: %d samples, %d genes, stored as %s", n_samples, len(plan.genes), plan.unit)
        return
    summary = write_cohorts(plan, out)
    logger.info(
        "%s: %d cohorts, %d samples, %d genes in %s, %d samples rejected",
        out,
        len(summary["cohorts"]),
        sum(entry["n_samples"] for entry in summary["cohorts"]),
        summary["genes"]["n_kept"],
        summary["unit"],
        sum(entry["n"] for entry in summary["rejected"]),
    )
