"""Both modalities in one run: pairs, vials, merged cohorts, endpoints, and splits and tokens of such a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from bulkrnabert.cli import _run, program
from bulkrnabert.data.cohort_source import InputOptions
from bulkrnabert.data.inputs import collect_sources
from bulkrnabert.data.preprocess import plan_cohorts, write_cohorts
from bulkrnabert.data.samplesheet import make_row
from bulkrnabert.data.survival_endpoints import SurvivalPolicy
from bulkrnabert.data.tables import cohort_files, modalities_of, read_cohorts, read_samples
from bulkrnabert.errors import ConfigError, DataError

GENES = ["TP53", "EGFR"]


def table(path: Path, samples: dict[str, list[float]], genes: list[str] = GENES) -> Path:
    pd.DataFrame(samples, index=pd.Index(genes, name="gene_id")).to_csv(path, sep="\t", na_rep="NA")
    return path


def barcode(patient: int, sample: str) -> str:
    return f"TCGA-XX-{patient:04}-{sample}"


@pytest.fixture
def both(tmp_path: Path) -> list[Any]:
    """Patient 1 has both of one vial, patient 2 of two vials, patient 3 RNA only, patient 4 methylation only."""
    rnaseq = {barcode(1, "01A"): [1.5, 100.0], barcode(2, "01A"): [2.5, 100.0], barcode(3, "01A"): [3.5, 100.0]}
    betas = {
        barcode(1, "01A"): [0.1, 0.2, 0.3, 0.4],
        barcode(2, "01B"): [0.3, 0.4, 0.5, 0.6],
        barcode(4, "01A"): [0.5, 0.6, 0.7, float("nan")],
    }
    return [
        make_row("A", table(tmp_path / "rna.tsv", rnaseq), "", "tpm", None),
        make_row("A", table(tmp_path / "beta.tsv", betas, [*GENES, "A2M", "MYC"]), "", "beta", None, "methylation"),
    ]


def preprocess(out: Path, rows: list[Any], raw: tuple[Path, ...] = (), **options: Any) -> dict[str, Any]:
    return write_cohorts(plan_cohorts(collect_sources(raw, rows, InputOptions(**options))), out)


def test_pairs_singles_and_other_vials(tmp_path: Path, both: list[Any]) -> None:
    out = tmp_path / "out"
    summary = preprocess(out, both)
    assert modalities_of(out) == ("rnaseq", "methylation")
    assert list(cohort_files(out, "methylation")) == list(cohort_files(out)) == ["A"]
    methylation = read_cohorts(out, "methylation")
    assert (methylation.unit, methylation.modality) == ("beta", "methylation")
    # A gene of the list that is not measured in a sample is missing there.
    assert methylation.genes.gene_ids == ("A2M", "EGFR", "MYC", "TP53")
    np.testing.assert_allclose(methylation.values[2], [0.7, 0.6, np.nan, 0.5], rtol=1e-6)
    assert read_cohorts(out).samples["sample_id"].tolist() == [barcode(patient, "01A") for patient in (1, 2, 3)]
    assert summary["pairs"] == [
        {
            "cohort": "A",
            "n_paired_samples": 1,
            "n_paired_patients": 1,
            "n_rnaseq_only": 2,
            "n_methylation_only": 2,
            "other_vials": [
                {"patient_id": "TCGA-XX-0002", "rnaseq": [barcode(2, "01A")], "methylation": [barcode(2, "01B")]}
            ],
        }
    ]
    assert summary["unit"] == "tpm"
    assert {name: part["n_samples"] for name, part in summary["modalities"].items()} == {"rnaseq": 3, "methylation": 3}
    assert summary["cohorts"][0]["n_samples"] == 5 and summary["cohorts"][0]["n_patients"] == 4
    assert pd.read_csv(out / "clinical.tsv", sep="\t")["patient_id"].tolist() == [
        f"TCGA-XX-{patient:04}" for patient in (1, 2, 3, 4)
    ]


def test_samples_are_those_of_either_modality(tmp_path: Path, both: list[Any]) -> None:
    preprocess(tmp_path / "out", both)
    everyone = [barcode(1, "01A"), barcode(2, "01A"), barcode(2, "01B"), barcode(3, "01A"), barcode(4, "01A")]
    assert read_samples(tmp_path / "out")["sample_id"].tolist() == everyone
    for modality in ("rnaseq", "methylation"):
        own = read_samples(tmp_path / "out", modality)
        pd.testing.assert_frame_equal(own, read_cohorts(tmp_path / "out", modality).samples)
    with pytest.raises(DataError, match=r"no cohort table .*only rnaseq"):
        preprocess(tmp_path / "one", both[:1])
        read_cohorts(tmp_path / "one", "methylation")


def test_a_run_of_methylation_alone(tmp_path: Path, both: list[Any]) -> None:
    summary = preprocess(tmp_path / "out", both[1:])
    assert (summary["unit"], summary["pairs"], summary["genes"]["n_kept"]) == ("beta", [], 4)
    assert sorted(path.name for path in (tmp_path / "out").glob("genes*.tsv")) == [
        "genes.methylation.tsv",
        "genes_dropped.tsv",
    ]
    assert len(read_samples(tmp_path / "out")) == 3


def test_a_sample_is_of_one_patient_and_cohort_in_both(tmp_path: Path, both: list[Any]) -> None:
    other = make_row("B", both[1].path, "", "beta", None, "methylation")
    with pytest.raises(DataError, match=r"cohort 'A' in .*rna\.tsv.* cohort 'B' in .*|cohort 'B' in .*beta\.tsv.*'A'"):
        preprocess(tmp_path / "out", [both[0], other])


def test_rejections_say_of_which_modality(tmp_path: Path, both: list[Any]) -> None:
    nothing = table(tmp_path / "beta.tsv", {barcode(1, "01A"): [0.1, 0.2], barcode(9, "01A"): [float("nan")] * 2})
    preprocess(tmp_path / "out", [both[0], make_row("A", nothing, "", "beta", None, "methylation")])
    rejected = pd.read_csv(tmp_path / "out" / "rejected.tsv", sep="\t")
    assert rejected[["sample_id", "rule", "modality"]].to_numpy().tolist() == [
        [barcode(9, "01A"), "too_many_probes_missing", "methylation"]
    ]


def test_modalities_that_do_not_meet_are_said(
    tmp_path: Path, both: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    preprocess(tmp_path / "some", both)
    assert "check that both tables name" not in caplog.text
    others = table(tmp_path / "beta.tsv", {"other-1": [0.1, 0.2], "other-2": [0.3, 0.2]})
    preprocess(tmp_path / "none", [both[0], make_row("A", others, "", "beta", None, "methylation")])
    assert "0 samples have both modalities" in caplog.text and "check that both tables name" in caplog.text


def sheet_of_many(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rnaseq = {barcode(patient, "01A"): [*rng.lognormal(3, 1, 2)] for patient in range(0, 30)}
    betas = {barcode(patient, "01A"): [*rng.random(2)] for patient in range(10, 40)}
    table(tmp_path / "rna.tsv", rnaseq)
    table(tmp_path / "beta.tsv", betas)
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("cohort,modality,path,unit\nA,rnaseq,rna.tsv,tpm\nA,methylation,beta.tsv,beta\n")
    return sheet


def test_splits_and_tokens_of_a_folder_with_both(tmp_path: Path) -> None:
    out, splits, tokens = tmp_path / "cohorts", tmp_path / "splits", tmp_path / "tokens"
    assert _run(["preprocess", "--samplesheet", str(sheet_of_many(tmp_path)), "--out", str(out)]) == 0
    assert _run(["split", "--cohorts", str(out), "--folds", "3", "--out", str(splits)]) == 0
    folds = pd.read_csv(splits / "splits.tsv", sep="\t")
    assert folds["sample_id"].tolist() == [barcode(patient, "01A") for patient in range(30)]
    assert folds["judged"].all(), "only samples with RNA-seq are split, and all of them can be judged"
    arguments = ["tokenize", "--cohorts", str(out), "--splits", str(splits / "splits.tsv"), "--split-id", "r0f1"]
    assert _run([*arguments, "--max-genes", "0", "--missing-genes", "zero", "--out", str(tokens)]) == 0
    assert json.loads((tokens / "tokenizer.json").read_text())["missing"] == "zero"


def test_splits_over_another_modality_or_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cohorts"
    assert _run(["preprocess", "--samplesheet", str(sheet_of_many(tmp_path)), "--out", str(out)]) == 0
    n_samples = {}
    for modalities in (["methylation"], ["rnaseq", "methylation"]):
        asked = [word for modality in modalities for word in ("--modality", modality)]
        splits = tmp_path / "-".join(modalities)
        capsys.readouterr()
        assert _run(["split", "--cohorts", str(out), "--folds", "3", *asked, "--out", str(splits)]) == 0
        said = "10 samples do not have methylation and are in no split" in capsys.readouterr().err
        assert said == (len(modalities) == 1)
        n_samples[len(modalities)] = len(pd.read_csv(splits / "splits.tsv", sep="\t"))
    assert n_samples == {1: 30, 2: 40}


def test_splits_of_rnaseq_where_there_is_none(tmp_path: Path, both: list[Any]) -> None:
    preprocess(tmp_path / "out", both[1:])
    with pytest.raises(ConfigError, match="has samples of methylation only; split them with --modality methylation"):
        program.main(["split", "--cohorts", str(tmp_path / "out"), "--out", str(tmp_path / "s")], standalone_mode=False)


def test_cohorts_merged_under_a_name(tmp_path: Path) -> None:
    clinical = tmp_path / "c.csv"
    clinical.write_text("sample_id,OS,OS.time\nS1,1,10\nS2,0,20\nS3,1,30\n")
    rows = [
        make_row(cohort, table(tmp_path / f"{cohort}.tsv", {sample: [1.5, 100.0]}), "", "tpm", clinical)
        for cohort, sample in (("GBM", "S1"), ("TCGA-LGG", "S2"), ("BRCA", "S3"))
    ]
    preprocess(tmp_path / "out", rows, merge=("GBMLGG",))
    samples = read_samples(tmp_path / "out")
    assert samples[["sample_id", "cohort", "project_id"]].to_numpy().tolist() == [
        ["S3", "BRCA", ""],
        ["S1", "GBMLGG", "GBM"],
        ["S2", "GBMLGG", "TCGA-LGG"],
    ]
    patients = pd.read_csv(tmp_path / "out" / "clinical.tsv", sep="\t", keep_default_na=False)
    assert patients[["cohort", "project_id"]].to_numpy().tolist() == [
        ["GBMLGG", "GBM"],
        ["GBMLGG", "TCGA-LGG"],
        ["BRCA", ""],
    ]
    preprocess(tmp_path / "own", rows, merge=("BRAIN=GBM+LGG",))
    assert set(read_samples(tmp_path / "own")["cohort"]) == {"BRCA", "BRAIN"}
    with pytest.raises(DataError, match="--merge COADREAD: none of TCGA-COAD, TCGA-READ is in this run; its cohorts"):
        preprocess(tmp_path / "no", rows, merge=("COADREAD",))
    with pytest.raises(DataError, match="--merge BRCA: another cohort of this run has this name"):
        preprocess(tmp_path / "no", rows, merge=("BRCA=GBM+LGG",))
    with pytest.raises(ConfigError, match="--merge: 'GBM' is no merged cohort"):
        preprocess(tmp_path / "no", rows, merge=("GBM",))


def test_times_of_zero_as_the_user_wants_them(tmp_path: Path) -> None:
    clinical = tmp_path / "c.csv"
    clinical.write_text("sample_id,OS,OS.time\nS1,1,0\nS2,0,20\n")
    rows = [make_row("A", table(tmp_path / "a.tsv", {"S1": [1, 100.5], "S2": [1, 100.5]}), "", "tpm", clinical)]
    for policy, expected in (("drop", ["", "20"]), ("half_day", ["0.5", "20"]), ("keep", ["0", "20"])):
        out = tmp_path / policy
        preprocess(out, rows, survival=SurvivalPolicy(zero_time=policy))
        patients = pd.read_csv(out / "clinical.tsv", sep="\t", dtype=str, keep_default_na=False)
        assert patients["time_days"].tolist() == expected
        account = pd.read_csv(out / "survival.tsv", sep="\t")
        assert account["n_usable"].tolist() == [2 - expected.count("")]
    excluded = pd.read_csv(tmp_path / "drop" / "survival_excluded.tsv", sep="\t")
    assert excluded[["patient_id", "reason"]].to_numpy().tolist() == [["S1", "zero_time"]]


def test_endpoints_of_the_tcga_resource(tmp_path: Path, both: list[Any]) -> None:
    cdr = tmp_path / "cdr.csv"
    cdr.write_text(
        "bcr_patient_barcode,type,OS,OS.time,PFI,PFI.time\nTCGA-XX-0001,BRCA,0,100,1,50\nTCGA-XX-0004,BRCA,1,90,1,40\n"
    )
    preprocess(tmp_path / "out", both, cdr=cdr, endpoint="PFI")
    patients = pd.read_csv(tmp_path / "out" / "clinical.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert patients["time_days"].tolist() == ["50", "", "", "40"]
    assert patients["endpoint"].tolist() == ["PFI"] * 4
    assert patients["flags"].tolist()[1:3] == ["not_in_cdr", "not_in_cdr"]
    others = [make_row("A", table(tmp_path / "o.tsv", {"S1": [1, 100.5]}), "", "tpm", None)]
    with pytest.raises(DataError, match=r"cdr\.csv: no source has a TCGA patient"):
        preprocess(tmp_path / "no", others, cdr=cdr)


def raw_methylation(folder: Path) -> Path:
    files = []
    for number, betas in enumerate([[0.1, 0.3, 0.9], [0.2, None, None]]):
        name = f"u{number}.methylation_array.sesame.level3betas.txt"
        (folder / f"id{number}").mkdir(parents=True)
        lines = [f"cg{probe:08}\t{'NA' if beta is None else beta}\n" for probe, beta in enumerate(betas)]
        (folder / f"id{number}" / name).write_text("".join(lines))
        files.append(
            {
                "file_id": f"id{number}",
                "file_name": name,
                "project_id": "TCGA-XXXX",
                "patient_id": barcode(number + 1, "01A")[:12],
                "sample_id": barcode(number + 1, "01A"),
                "sample_type": "Primary Tumor",
                "access": "open",
                "md5": "0" * 32,
                "size": 1,
                "case_id": f"case{number}",
                "aliquot_id": barcode(number + 1, "01A-11D-A001-05"),
                "is_ffpe": False,
            }
        )
    plan = {"source": "gdc", "api": "http://portal", "data_release": "1.0", "projects": ["TCGA-XXXX"]}
    plan |= {"modality": "methylation", "sample_types": "all", "files": files, "rejected": []}
    (folder / "plan.json").write_text(json.dumps(plan))
    cases = [{"submitter_id": "TCGA-XX-0001", "project": {"project_id": "TCGA-XXXX"}}]
    (folder / "cases.json").write_text(json.dumps(cases))
    return folder


def test_a_raw_folder_of_methylation(tmp_path: Path, both: list[Any]) -> None:
    probes = tmp_path / "probes.tsv"
    probes.write_text("probe_id\tgene_id\ncg00000000\tENSG00000000001\ncg00000001\tENSG00000000001\n")
    raw = raw_methylation(tmp_path / "raw")
    summary = preprocess(tmp_path / "out", [], raw=(raw,), probe_annotation=probes, max_missing_probes=0.7)
    np.testing.assert_allclose(read_cohorts(tmp_path / "out", "methylation").values, [[0.2], [0.2]], rtol=1e-6)
    coverage = pd.read_csv(tmp_path / "out" / "probe_coverage.tsv", sep="\t")
    assert coverage[["gene_id", "n_probes", "n_on_array", "share_missing"]].to_numpy().tolist() == [
        ["ENSG00000000001", 2, 2, 0.25]
    ]
    assert summary["data_access"] == "open"
    preprocess(tmp_path / "strict", [], raw=(raw,), probe_annotation=probes, max_missing_probes=0.5)
    rejected = pd.read_csv(tmp_path / "strict" / "rejected.tsv", sep="\t")
    assert rejected[["sample_id", "rule"]].to_numpy().tolist() == [[barcode(2, "01A"), "too_many_probes_missing"]]
    with pytest.raises(DataError, match="--probe-annotation FILE"):
        preprocess(tmp_path / "no", [], raw=(raw,))


def test_the_help_is_in_groups() -> None:
    text = CliRunner().invoke(program, ["preprocess", "--help"]).output
    titles = ["Inputs:", "One own table:", "Survival:", "Genes and values:", "Methylation:", "Output:"]
    assert [title for title in titles if title in text] == titles
    assert all(f"--{name}" in text for name in ("merge", "cdr", "min-coverage", "rescale-tpm", "max-missing-probes"))


def test_real_tumours_with_both_modalities(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "pancan660"
    labels = folder / "labels.csv"
    rows = [
        make_row("PANCAN", folder / "expression_log2.parquet", "", "log2(rsem+1)", labels),
        make_row("PANCAN", folder / "methylation27k_100cpgs_beta.parquet", "", "beta", labels, "methylation"),
    ]
    summary = preprocess(tmp_path / "out", rows)
    kept = summary["modalities"]
    assert kept["rnaseq"]["n_samples"] == kept["methylation"]["n_samples"] == 499
    assert sum(entry["n_paired_samples"] for entry in summary["pairs"]) == 499
    assert kept["rnaseq"]["unit"] == "rsem" and kept["methylation"]["genes"]["n_kept"] == 100
