"""`bulkrnabert preprocess`: raw folders and own tables to a cohorts folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish
from bulkrnabert.errors import ConfigError

if TYPE_CHECKING:
    from bulkrnabert.data.gene_lists import MissingGenes
    from bulkrnabert.data.sources.sesame import Arrays

EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
GROUPS = {
    "Inputs": ("raw_folders", "samplesheet"),
    "One own table": ("table", "unit", "cohort", "modality", "fmt", "clinical"),
    "Samples and cohorts": ("cohort_column", "merge", "normals"),
    "Survival": ("endpoint", "cdr", "zero_time", "alive_with_death"),
    "Genes and values": (
        "vocabulary",
        "missing_genes",
        "min_coverage",
        "annotation",
        "gene_lengths",
        "rescale_tpm",
    ),
    "Methylation": ("probe_annotation", "arrays", "max_missing_probes", "methylation_vocabulary"),
    "Output": ("out", "check_only"),
}
EXAMPLES = {
    "A download and its endpoint": "bulkrnabert preprocess --raw raw --endpoint OS --out cohorts",
    "One table of your own, with its clinical table": (
        "bulkrnabert preprocess --table tpm.tsv --unit tpm --cohort MINE --clinical clinical.tsv --out cohorts"
    ),
}


@stage("preprocess", EXAMPLES, GROUPS)
@click.option(
    "--raw",
    "raw_folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder written by `bulkrnabert download`, of any portal and modality. May be given more than once.",
)
@click.option(
    "--samplesheet",
    type=EXISTING_FILE,
    help="CSV or TSV of own tables: cohort, modality, path, format, unit, clinical (the last three may be empty;"
    " paths relative to the sheet).",
)
@click.option("--table", type=click.Path(exists=True, path_type=Path), help="One own table, in place of a samplesheet.")
@click.option(
    "--unit",
    default="",
    help="What the numbers of --table are: tpm, 'log2(tpm+0.001)', rsem, counts, beta, zscore, …",
)
@click.option("--cohort", default="", help="Cohort of --table (file name of its output).")
@click.option(
    "--modality",
    type=click.Choice(["rnaseq", "methylation"]),
    default="rnaseq",
    show_default=True,
    help="What --table holds.",
)
@click.option(
    "--format",
    "fmt",
    default="",
    help="Format of --table: tsv, csv, parquet, h5ad, gct, star_counts; tsv:genes-in-rows or tsv:genes-in-columns where"
    " the ids do not tell.  [default: by the extension]",
)
@click.option("--clinical", type=EXISTING_FILE, help="Clinical table for --table, times in days.")
@click.option(
    "--cohort-column",
    default="cohort",
    show_default=True,
    help="Column of the clinical tables that holds the cohort of a sample; '' to take the cohort of the sheet only.",
)
@click.option(
    "--merge",
    multiple=True,
    help="Cohorts to merge: GBMLGG, COADREAD, KIPAN, STES, or NAME=A+B; several separated by commas. project_id keeps"
    " where a sample comes from, and baseline hazards stay apart.",
)
@click.option(
    "--normals", is_flag=True, help="Keep normal tissue of the GDC and of own tables; GTEx and ENCODE keep theirs."
)
@click.option(
    "--endpoint",
    type=click.Choice(["OS", "PFI", "DSS", "DFI"]),
    default="OS",
    show_default=True,
    help="Survival endpoint. With OS, tables without it use time_days and event. The GDC itself has OS only.",
)
@click.option(
    "--cdr",
    type=EXISTING_FILE,
    help="TCGA clinical data resource (Liu 2018), .xlsx, .csv or .tsv: gives the endpoint of TCGA patients in place of"
    " what the GDC or your tables say.",
)
@click.option(
    "--zero-time",
    type=click.Choice(["drop", "half-day", "keep"]),
    default="drop",
    show_default=True,
    help="Follow-up of 0 days: leave it out of survival, make it 0.5 days, or keep it.",
)
@click.option(
    "--alive-with-death",
    type=click.Choice(["exclude", "follow-vital-status"]),
    default="exclude",
    show_default=True,
    help="Patients of the GDC who are alive and have a day of death: leave them out, or censor at last follow-up.",
)
@click.option(
    "--vocabulary",
    type=EXISTING_FILE,
    help="Genes to use for RNA-seq, .txt (one id a line), or .tsv or .csv with a column gene_id.  [default:"
    " protein-coding genes that every input has]",
)
@click.option(
    "--missing-genes",
    type=click.Choice(["keep", "drop"]),
    default="keep",
    show_default=True,
    help="Genes of a vocabulary that an input lacks: stay in the list as missing values of its samples, or leave the"
    " list for all.",
)
@click.option(
    "--min-coverage",
    type=click.FloatRange(0.5, 1.0),
    default=0.8,
    show_default=True,
    help="Share of a vocabulary that each input must have. A sample with more than half of the genes missing is"
    " rejected in any case.",
)
@click.option(
    "--annotation",
    type=EXISTING_FILE,
    help="Gene table (gene_id, symbol, gene_type, length): gives Ensembl ids to the symbols of own tables, types to"
    " genes, and lengths for counts.  [default: symbols are looked up in the run's STAR-Counts files, if any]",
)
@click.option(
    "--gene-lengths", type=EXISTING_FILE, help="TSV or CSV with gene_id and length (bases); turns counts into TPM."
)
@click.option(
    "--rescale-tpm", is_flag=True, help="Make the TPM of each sample sum to 1,000,000 over the genes that are kept."
)
@click.option(
    "--probe-annotation",
    type=EXISTING_FILE,
    help="Probe-to-gene table of the arrays (`bulkrnabert annotate-probes` makes one); values become the mean beta over"
    " the probes of each gene. Raw folders of methylation need it.",
)
@click.option(
    "--arrays",
    type=click.Choice(["refuse", "intersect"]),
    default="refuse",
    show_default=True,
    help="Several kinds of arrays in a run: refuse, or use only the probes that all have.",
)
@click.option(
    "--max-missing-probes",
    type=click.FloatRange(0.0, 1.0),
    default=0.3,
    show_default=True,
    help="A methylation sample with a larger share of its probes missing is rejected.",
)
@click.option(
    "--methylation-vocabulary",
    type=EXISTING_FILE,
    help="Genes to use for methylation, as --vocabulary.  [default: genes that every methylation input has]",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write; an older cohorts folder is replaced as a whole."
)
@click.option(
    "--check-only",
    "--dry-run",
    "check_only",
    is_flag=True,
    help="Check sheet, ids, units, clinical tables and gene lists, say what would be written, write nothing.",
)
def command(
    raw_folders: tuple[Path, ...],
    samplesheet: Path | None,
    table: Path | None,
    unit: str,
    cohort: str,
    modality: str,
    fmt: str,
    clinical: Path | None,
    out: Path | None,
    vocabulary: Path | None,
    methylation_vocabulary: Path | None,
    missing_genes: MissingGenes,
    min_coverage: float,
    annotation: Path | None,
    rescale_tpm: bool,
    endpoint: str,
    cdr: Path | None,
    zero_time: str,
    alive_with_death: str,
    cohort_column: str,
    merge: tuple[str, ...],
    normals: bool,
    gene_lengths: Path | None,
    probe_annotation: Path | None,
    arrays: Arrays,
    max_missing_probes: float,
    check_only: bool,
) -> None:
    """Turn raw files into one table a cohort and modality, with one gene list and one unit a modality.

    Writes <cohort>.rnaseq.parquet and genes.tsv, <cohort>.methylation.parquet and genes.methylation.tsv, clinical.tsv
    (a row a patient, times in days), survival.tsv and survival_excluded.tsv, rejected.tsv (every sample that is left
    out, and why), genes_dropped.tsv (every gene that an input loses, and why), probe_coverage.tsv and summary.json.

    Logarithms are inverted; FPKM, and counts with --gene-lengths or --annotation, become TPM; RSEM and z-scores stay as
    they are. The scale is stated by you and compared with the numbers, never guessed. Samples of both modalities are
    paired by their sample_id; nothing is joined. A value that was not measured stays missing, up to half of a sample.
    """
    from bulkrnabert.data.annotation import read_annotation
    from bulkrnabert.data.cohort_source import InputOptions
    from bulkrnabert.data.inputs import collect_sources
    from bulkrnabert.data.preprocess import PlanOptions, plan_cohorts, refuse_foreign_folder, told, write_cohorts
    from bulkrnabert.data.samplesheet import make_row, read_samplesheet
    from bulkrnabert.data.survival_endpoints import SurvivalPolicy
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
        rows.append(make_row(cohort, table, fmt, unit, clinical, modality))
    policy = SurvivalPolicy.from_mapping(
        {
            "zero_time": zero_time.replace("-", "_"),
            "alive_with_days_to_death": alive_with_death.replace("-", "_"),
        },
        "survival options",
    )
    genes = read_annotation(annotation) if annotation else None
    options = InputOptions(
        endpoint=endpoint,
        cohort_column=cohort_column,
        use_normals=normals,
        gene_lengths=gene_lengths,
        annotation=genes,
        probe_annotation=probe_annotation,
        arrays=arrays,
        max_missing_probes=max_missing_probes,
        survival=policy,
        cdr=cdr,
        merge=merge,
    )
    plan = plan_cohorts(
        collect_sources(raw_folders, rows, options),
        PlanOptions(vocabulary, methylation_vocabulary, missing_genes, min_coverage, genes, rescale_tpm, policy),
    )
    if check_only or out is None:
        parts = [
            {
                "modality": part.modality,
                "n_samples": sum(len(source.samples) for source in part.sources),
                "n_genes": len(part.genes),
                "unit": part.unit,
            }
            for part in plan.parts
        ]
        checked = "; ".join(
            f"checked: {part['modality']}, {part['n_samples']} samples, {part['n_genes']} genes, stored as"
            f" {part['unit']}"
            for part in parts
        )
        finish(None, f"{checked}; nothing was written", "the same with --out, without --check-only", modalities=parts)
        return
    summary = write_cohorts(plan, out)
    finish(
        out,
        told(plan, summary),
        f"bulkrnabert split --cohorts {out} --out SPLITS",
        cohorts=summary["cohorts"],
        rejected=summary["rejected"],
    )
