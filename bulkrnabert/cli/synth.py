"""`bulkrnabert synth`: write the description of a synthetic study."""

from __future__ import annotations

import logging
from pathlib import Path

import click

logger = logging.getLogger(__name__)


@click.command("synth")
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
@click.option("--genes", default=1000, show_default=True, help="Gene rows of an RNA-seq file, at least 200.")
@click.option("--probes", default=800, show_default=True, help="Probe rows of a methylation file, at least 100.")
@click.option(
    "--normal-share", default=0.15, show_default=True, help="Share of patients with a normal sample too, 0 to 1."
)
@click.option(
    "--oddities/--no-oddities", default=True, show_default=True, help="Include what real portals surprise with."
)
def command(
    out: Path,
    seed: int,
    cohorts: int,
    patients_per_cohort: int,
    genes: int,
    probes: int,
    normal_share: float,
    oddities: bool,
) -> None:
    """Write a synthetic study: invented patients, genes and files with a known signal.

    Cohorts differ by programmes of co-regulated genes; survival depends on a few known genes beside the cancer type;
    methylation follows expression. The file holds the seed, the sizes and, under `truth`, the prognostic genes, the
    programmes and the baselines. File bodies are made on demand by `serve-gdc` and by `download --api embedded:FILE`.
    """
    from bulkrnabert.data.synthetic import SyntheticStudy

    study = SyntheticStudy.create(
        seed=seed,
        cohorts=cohorts,
        patients_per_cohort=patients_per_cohort,
        genes=genes,
        probes=probes,
        normal_share=normal_share,
        oddities=oddities,
    )
    study.save(out)
    logger.info(
        "wrote %s: %d cohorts, %d patients, %d files, seed %d",
        out,
        cohorts,
        len(study.patients),
        len(study.all_files),
        seed,
    )
