"""Portals and an own table in one run: normals of GTEx stay, ids meet as Ensembl ids, gaps are missing values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bulkrnabert.data.cohort_source import InputOptions
from bulkrnabert.data.inputs import collect_sources
from bulkrnabert.data.preprocess import PlanOptions, plan_cohorts, write_cohorts
from bulkrnabert.data.samplesheet import make_row
from bulkrnabert.data.sources.gtex import download_gtex
from bulkrnabert.data.tables import read_cohorts

LUNG, BRAIN = "GTEX-1117F-0001-SM-A", "GTEX-ZZPU-0002-SM-B"
STAR = (
    "# gene-model: GENCODE v36\ngene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second"
    "\ttpm_unstranded\tfpkm_unstranded\tfpkm_uq_unstranded\n"
    "ENSG00000000003.15\tTSPAN6\tprotein_coding\t5\t3\t2\t{}\t1\t1\n"
    "ENSG00000000005.6\tTNMD\tprotein_coding\t5\t3\t2\t2.5\t1\t1\n"
    "ENSG00000223972.5\tDDX11L1\tlncRNA\t5\t3\t2\t1.5\t1\t1\n"
)


@pytest.fixture
def gtex(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    own.mkdir()
    (own / "tpm.gct").write_text(
        f"#1.2\n3\t2\nName\tDescription\t{LUNG}\t{BRAIN}\nENSG00000000003.14\tTSPAN6\t30\t40\n"
        "ENSG00000223972.5\tDDX11L1\t1\t2\nENSG00000999999.1\tNEW\t5\t6\n"
    )
    titles = "SAMPID\tSMPTHNTS\tSMRIN\tSMTS\tSMTSD\tSMTSISCH\tSMAFRZE\n"
    rows = f"{LUNG}\t\t6.3\tLung\tLung\t1188\tRNASEQ\n{BRAIN}\t\t5.1\tBrain\tBrain - Cortex\t300\tRNASEQ\n"
    (own / "attributes.txt").write_text(titles + rows)
    (own / "subjects.txt").write_text("SUBJID\tSEX\tAGE\tDTHHRDY\nGTEX-1117F\t2\t60-69\t4\nGTEX-ZZPU\t1\t20-29\t\n")
    names = {"gct": "tpm.gct", "attributes": "attributes.txt", "subjects": "subjects.txt"}
    download_gtex(tmp_path / "gtex", "v8", **{role: str(own / name) for role, name in names.items()})
    return tmp_path / "gtex"


@pytest.fixture
def gdc(tmp_path: Path) -> Path:
    folder = tmp_path / "gdc"
    files = []
    for number, (code, kind) in enumerate([("01A", "Primary Tumor"), ("11A", "Solid Tissue Normal")]):
        (folder / f"id{number}").mkdir(parents=True)
        (folder / f"id{number}" / "u.tsv").write_text(STAR.format(7.5 + number))
        ids = {
            "patient_id": "TCGA-XX-0001",
            "sample_id": f"TCGA-XX-0001-{code}",
            "aliquot_id": f"TCGA-XX-0001-{code}-1",
        }
        files.append(
            {"file_id": f"id{number}", "file_name": "u.tsv", "project_id": "TCGA-LGG", "sample_type": kind}
            | {"access": "open", "md5": "0" * 32, "size": 1, "case_id": "c", "is_ffpe": False}
            | ids
        )
    plan = {"source": "gdc", "api": "x", "data_release": "1", "projects": ["TCGA-LGG"], "modality": "rnaseq"}
    plan |= {"sample_types": "all", "merged": {"GBMLGG": ["TCGA-GBM", "TCGA-LGG"]}, "files": files, "rejected": []}
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "cases.json").write_text(
        json.dumps([{"submitter_id": "TCGA-XX-0001", "project": {"project_id": "TCGA-LGG"}}])
    )
    return folder


def test_portals_and_an_own_table(tmp_path: Path, gtex: Path, gdc: Path) -> None:
    (tmp_path / "lab.tsv").write_text("gene_id\tL1\tL2\nTSPAN6\t5\t700.5\nDDX11L1\t1\t2\n")
    row = make_row("LAB", tmp_path / "lab.tsv", "", "tpm", None)
    sources = collect_sources([gtex, gdc], [row], InputOptions())
    summary = write_cohorts(plan_cohorts(sources), tmp_path / "out")
    cohorts = read_cohorts(tmp_path / "out")
    assert cohorts.genes.gene_ids == ("ENSG00000000003",)
    assert cohorts.samples[["sample_id", "cohort", "sample_type"]].to_numpy().tolist() == [
        ["TCGA-XX-0001-01A", "GBMLGG", "tumor"],
        [LUNG, "GTEX", "normal"],
        [BRAIN, "GTEX", "normal"],
        ["L1", "LAB", "unknown"],
        ["L2", "LAB", "unknown"],
    ]
    assert cohorts.values[:, 0].tolist() == [7.5, 30, 40, 5, 700.5]
    assert {item["source"]: item["dropped"] for item in summary["genes"]["sources"]} == {
        "gdc": {"not_in_every_cohort": 1, "not_protein_coding": 1},
        "gtex": {"not_in_every_cohort": 1, "not_protein_coding": 1},
        "lab.tsv": {"not_protein_coding": 1},
    }
    patients = pd.read_csv(tmp_path / "out" / "clinical.tsv", sep="\t", keep_default_na=False).set_index("patient_id")
    assert patients.loc["TCGA-XX-0001", "project_id"] == "TCGA-LGG"
    rejected = pd.read_csv(tmp_path / "out" / "rejected.tsv", sep="\t")
    assert rejected[["sample_id", "rule"]].to_numpy().tolist() == [["TCGA-XX-0001-11A", "normal_tissue"]]


def test_a_vocabulary_that_no_portal_has_in_full(tmp_path: Path, gtex: Path, gdc: Path) -> None:
    vocabulary = tmp_path / "v.txt"
    vocabulary.write_text("ENSG00000000005\nENSG00000223972\nENSG00000000003\nENSG00000999999\n")
    plan = plan_cohorts(collect_sources([gtex, gdc], [], InputOptions()), PlanOptions(vocabulary, min_coverage=0.75))
    write_cohorts(plan, tmp_path / "out")
    nan = np.nan
    np.testing.assert_array_equal(
        read_cohorts(tmp_path / "out").values, [[2.5, 1.5, 7.5, nan], [nan, 1, 30, 5], [nan, 2, 40, 6]]
    )
