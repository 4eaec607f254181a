"""Write docs/example: tables as a laboratory has them, of invented patients.

The values are those of `bulkrnabert synth`: no gene and no patient in them exists.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.tables import Cohorts, read_cohorts

EXAMPLE = Path(__file__).resolve().parent / "example"
PROJECTS = "TCGA-SYNA,TCGA-SYNB,TCGA-SYNC"
N_PATIENTS, N_GENES, N_PROBES = 24, 300, 900
N_NEW, N_GENES_LACKING = 6, 12
N_WITHOUT_ARRAY = 6  # every sixth sample has no methylation
SHEET = "cohort,modality,path,format,unit,clinical\n"
RNASEQ_ROW = "lab,rnaseq,expression.tsv,tsv,log2(tpm+1),clinical.csv\n"
METHYLATION_ROW = "lab,methylation,methylation.tsv,tsv,beta,clinical.csv\n"


def write_example(folder: Path) -> None:
    """Write all files of the example.

    Args:
        folder: Where; made when it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        cohorts = _make_cohorts(Path(scratch))
        rnaseq = read_cohorts(cohorts)
        methylation = read_cohorts(cohorts, keys.METHYLATION)
        clinical = pd.read_csv(cohorts / keys.CLINICAL_TSV, sep="\t")
    names = [f"LAB-{number:03d}" for number in range(1, len(rnaseq.samples) + 1)]
    by_patient = dict(zip(rnaseq.samples[keys.PATIENT_ID], names, strict=True))
    expression = _genes_in_rows(rnaseq, names, np.log2(rnaseq.values + 1), ".1")
    expression.to_csv(folder / "expression.tsv", sep="\t", float_format="%.2f")
    new = expression.iloc[: len(expression) - N_GENES_LACKING, :: len(names) // N_NEW]
    new = new.rename(columns={name: f"NEW-{number}" for number, name in enumerate(new.columns, start=1)})
    new.to_csv(folder / "new_samples.tsv", sep="\t", float_format="%.2f")
    _with_gaps(new).to_csv(folder / "gaps.tsv", sep="\t", float_format="%.2f")
    owners = [by_patient[patient] for patient in methylation.samples[keys.PATIENT_ID]]
    betas = _genes_in_rows(methylation, owners, methylation.values, "")
    betas.drop(columns=betas.columns[::N_WITHOUT_ARRAY]).to_csv(
        folder / "methylation.tsv", sep="\t", float_format="%.2f"
    )
    table = clinical.assign(
        sample_id=clinical[keys.PATIENT_ID].map(by_patient),
        cohort=clinical[keys.COHORT].str.removeprefix("TCGA-"),
        age_at_diagnosis_days=clinical["age_at_diagnosis_days"],
    )[["sample_id", "cohort", "time_days", "event", "sex", "age_at_diagnosis_days", "stage"]]
    table.sort_values("sample_id").to_csv(folder / "clinical.csv", index=False)
    (folder / "samplesheet.csv").write_text(SHEET + RNASEQ_ROW, encoding="utf-8")
    (folder / "samplesheet_both.csv").write_text(SHEET + RNASEQ_ROW + METHYLATION_ROW, encoding="utf-8")


def _make_cohorts(scratch: Path) -> Path:
    study, annotation, out = scratch / "study.json", scratch / "annotation", scratch / "cohorts"
    sizes = ("--patients-per-cohort", N_PATIENTS, "--genes", N_GENES, "--probes", N_PROBES, "--cohorts", 3)
    _run("synth", *sizes, "--no-oddities", "--normal-share", 0, "--annotation-out", annotation, "--out", study)
    portal = ("--api", f"embedded:{study}", "--projects", PROJECTS)
    raw, arrays, probes = scratch / "raw", scratch / "arrays", scratch / "probes.tsv"
    _run("download", *portal, "--out", raw)
    _run("download", *portal, "--modality", "methylation", "--out", arrays)
    places = ("--probes", annotation / "probes.annotation.tsv", "--genes", annotation / "genes.annotation.tsv")
    _run("annotate-probes", *places, "--out", probes)
    _run("preprocess", "--raw", raw, "--raw", arrays, "--probe-annotation", probes, "--out", out)
    return out


def _run(*arguments: object) -> None:
    command = [sys.executable, "-m", "bulkrnabert.cli", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def _genes_in_rows(cohorts: Cohorts, names: list[str], values: np.ndarray, version: str) -> pd.DataFrame:
    ids = pd.Index([gene + version for gene in cohorts.genes.gene_ids], name="gene_id")
    return pd.DataFrame(values.T, index=ids, columns=names)[sorted(names)]


def _with_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """A tenth of the cells emptied."""
    is_empty = np.random.default_rng(0).random(table.shape) < 0.1
    return table.mask(is_empty)


if __name__ == "__main__":
    write_example(EXAMPLE)
