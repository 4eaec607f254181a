"""`bulkrnabert synth`: write the description of a synthetic study."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish

logger = logging.getLogger(__name__)

EXAMPLES = {
    "Four cohorts with survival, and what downloads them": "bulkrnabert synth --out study.json",
    "Small, with gene and probe annotations": (
        "bulkrnabert synth --cohorts 2 --patients-per-cohort 20 --genes 300 --seed 1 --annotation-out annotation "
        "--out study.json"
    ),
}
GROUPS = {
    "Sizes": ("cohorts", "patients_per_cohort", "genes", "probes", "normal_share", "full_rows", "seed"),
    "What is odd about it": ("oddities", "more_oddities", "release", "unreleased_cohorts", "withdrawn", "spoil"),
    "Output": ("out", "annotation_out", "gtex_out", "gtex_donors"),
}


@stage("synth", EXAMPLES, GROUPS)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Study file to write (JSON)."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Everything follows from it and from the sizes.",
)
@click.option("--cohorts", default=4, show_default=True, help="Cancer types, 1 to 26: TCGA-SYNA, TCGA-SYNB, …")
@click.option("--patients-per-cohort", default=60, show_default=True, help="Patients in each cohort.")
@click.option(
    "--genes", type=int, help="Gene rows of an RNA-seq file, at least 200.  [default: 1000; 60660 with --full-rows]"
)
@click.option(
    "--probes",
    type=int,
    help="Probe rows of a 450k methylation file, at least 100.  [default: 800; 486427 with --full-rows]",
)
@click.option(
    "--normal-share", default=0.15, show_default=True, help="Share of patients with a normal sample too, 0 to 1."
)
@click.option(
    "--oddities/--no-oddities", default=True, show_default=True, help="Include what real portals surprise with."
)
@click.option(
    "--more-oddities",
    is_flag=True,
    help="Include the rarer surprises too: other arrays, blood, recurrences, more clinical contradictions.",
)
@click.option(
    "--full-rows", is_flag=True, help="Files as large as real ones: 60,660 gene rows (4 MB), 486,427 probes (14 MB)."
)
@click.option("--release", type=click.IntRange(min=1), default=1, show_default=True, help="Number of the data release.")
@click.option(
    "--unreleased-cohorts",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Cohorts, the last ones, that the portal does not list yet; a study with fewer of them is a later release.",
)
@click.option(
    "--withdraw", "withdrawn", metavar="FILE_ID", multiple=True, help="File that the portal no longer serves; repeat."
)
@click.option(
    "--spoil",
    metavar="PROJECT=labels|values",
    multiple=True,
    help="Cohort with wrong files: profiles of other cohorts, or the genes' values permuted; repeat.",
)
@click.option(
    "--annotation-out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for genes.annotation.tsv and probes.annotation.tsv (450k): where the genes and probes lie.",
)
@click.option(
    "--gtex-out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for normal tissues in the form of GTEx: GCT tables (TPM, reads), samples, subjects.",
)
@click.option(
    "--gtex-donors",
    type=click.IntRange(1, 999),
    default=20,
    show_default=True,
    help="Donors of --gtex-out, two tissues each.",
)
def command(
    out: Path,
    seed: int,
    cohorts: int,
    patients_per_cohort: int,
    genes: int | None,
    probes: int | None,
    normal_share: float,
    oddities: bool,
    more_oddities: bool,
    full_rows: bool,
    release: int,
    unreleased_cohorts: int,
    withdrawn: tuple[str, ...],
    spoil: tuple[str, ...],
    annotation_out: Path | None,
    gtex_out: Path | None,
    gtex_donors: int,
) -> None:
    """Write a synthetic study: invented patients, genes and files with a known signal.

    Cohorts differ by programmes of co-regulated genes; survival depends on a few known genes beside the cancer type;
    methylation follows expression. The file holds the seed, the sizes and, under `truth`, the prognostic genes, the
    programmes and the baselines. File bodies are made on demand by `serve-gdc` and by `download --api embedded:FILE`.
    """
    from bulkrnabert.data.synthetic import SyntheticStudy
    from bulkrnabert.data.synthetic_annotation import write_annotation
    from bulkrnabert.data.synthetic_gtex import write_gtex

    sizes = {name: size for name, size in (("genes", genes), ("probes", probes)) if size is not None}
    study = SyntheticStudy.create(
        seed=seed,
        cohorts=cohorts,
        patients_per_cohort=patients_per_cohort,
        normal_share=normal_share,
        oddities=oddities,
        more_oddities=more_oddities,
        full_rows=full_rows,
        release=release,
        unreleased_cohorts=unreleased_cohorts,
        withdrawn_files=withdrawn,
        spoilt_cohorts=dict(_spoilt(text) for text in spoil),
        **sizes,
    )
    study.save(out)
    if annotation_out is not None:
        write_annotation(annotation_out, study.gene_table(), study.probe_table())
        logger.info(
            "wrote %s: %d genes, %d probes", annotation_out, len(study.genes.row_ids), len(study.probes.probe_ids)
        )
    if gtex_out is not None:
        written = write_gtex(gtex_out, seed, study.genes, gtex_donors)
        logger.info("wrote %s: %d donors, %s", gtex_out, gtex_donors, written.tpm.name)
    finish(
        out,
        f"{cohorts} cohorts, {len(study.patients)} patients, {len(study.all_files)} files, seed {seed}",
        f"bulkrnabert download --api embedded:{out} --projects {','.join(study.project_ids[:2])} --out RAW",
        projects=study.project_ids,
        n_patients=len(study.patients),
        n_files=len(study.all_files),
    )


def _spoilt(text: str) -> tuple[str, str]:
    project, _, how = text.partition("=")
    return project, how
