"""From inputs to a cohorts folder: genes, cohorts, duplicates, rejected samples, and nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bulkrnabert.data.cohort_source import InputOptions
from bulkrnabert.data.inputs import collect_sources
from bulkrnabert.data.preprocess import PlanOptions, plan_cohorts, told, write_cohorts
from bulkrnabert.data.samplesheet import make_row
from bulkrnabert.data.tables import read_cohorts
from bulkrnabert.errors import DataError, VocabularyError

STAR_HEADER = (
    "# gene-model: GENCODE v36\ngene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second"
    "\ttpm_unstranded\tfpkm_unstranded\tfpkm_uq_unstranded\nN_unmapped\t\t\t1\t1\t1\t\t\t\n"
)


def write_table(path: Path, values: dict[str, list[float]], genes: list[str]) -> Path:
    pd.DataFrame(values, index=pd.Index(genes, name="gene_id")).to_csv(path, sep="\t")
    return path


GENES = ["TP53", "EGFR", "A2M"]


def run(
    out: Path,
    *rows: tuple[str, Path, str, Path | None],
    raw: tuple[Path, ...] = (),
    methylation: tuple[tuple[str, Path, str, Path | None], ...] = (),
    plan: PlanOptions | None = None,
    **options: Any,
) -> dict[str, Any]:
    made = [make_row(cohort, path, "", unit, clinical) for cohort, path, unit, clinical in rows]
    made += [make_row(cohort, path, "", unit, clinical, "methylation") for cohort, path, unit, clinical in methylation]
    return write_cohorts(plan_cohorts(collect_sources(raw, made, InputOptions(**options)), plan), out)


def rejected(out: Path) -> dict[str, str]:
    table = pd.read_csv(out / "rejected.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert table.columns.tolist() == ["sample_id", "patient_id", "cohort", "file", "rule", "reason", "modality"]
    return dict(zip(table["sample_id"], table["rule"], strict=True))


def test_two_tables_share_genes_and_unit(tmp_path: Path) -> None:
    first = write_table(tmp_path / "a.tsv", {"S2": [1.0, 700.5, 3.0], "S1": [4.0, 50.0, 6.0]}, GENES)
    second = write_table(tmp_path / "b.tsv", {"S3": [3.0, 1.0]}, ["A2M", "TP53"])
    out = tmp_path / "out"
    summary = run(out, ("A", first, "tpm", None), ("B", second, "log2(tpm+1)", None))
    cohorts = read_cohorts(out)
    assert cohorts.genes.gene_ids == ("A2M", "TP53")
    assert cohorts.samples["sample_id"].tolist() == ["S1", "S2", "S3"]
    np.testing.assert_allclose(cohorts.values, [[6, 4], [3, 1], [7, 1]])
    assert cohorts.data_access == "local"
    assert summary["genes"]["dropped"] == [
        {"rule": "not_in_every_cohort", "source": "a.tsv", "n": 1, "examples": ["EGFR"]}
    ]
    assert summary == json.loads((out / "summary.json").read_text())
    assert sorted(path.name for path in out.iterdir()) == [
        "A.rnaseq.parquet",
        "B.rnaseq.parquet",
        "clinical.tsv",
        "genes.tsv",
        "genes_dropped.tsv",
        "rejected.tsv",
        "summary.json",
    ]
    clinical = pd.read_csv(out / "clinical.tsv", sep="\t", keep_default_na=False)
    assert clinical["flags"].tolist() == ["no_clinical_row"] * 3


def test_the_order_of_the_inputs_does_not_matter(tmp_path: Path) -> None:
    first = write_table(tmp_path / "a.tsv", {"S2": [1.0, 700.5, 3.0], "S1": [4.0, 50.0, 6.0]}, GENES)
    second = write_table(tmp_path / "b.tsv", {"S3": [3.0, 900.5, 2.0]}, GENES)
    rows = [("A", first, "tpm", None), ("B", second, "tpm", None)]
    run(tmp_path / "one", *rows)
    run(tmp_path / "two", *reversed(rows))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


CLINICAL = (
    "sample_id\tcohort\tsample_type\tOS\tOS.time\nS1\tA\ttumor\t1\t10\nS2\tB\ttumor\t0\t20\nS3\tA\tnormal\t1\t10\n"
)


@pytest.fixture
def mixed(tmp_path: Path) -> tuple[Path, Path]:
    values = {name: [float(number), 100.5, 1.0] for number, name in enumerate(["S1", "S2", "S3", "S4"])}
    (tmp_path / "c.tsv").write_text(CLINICAL)
    return write_table(tmp_path / "t.tsv", values, GENES), tmp_path / "c.tsv"


def test_a_named_cohort_takes_its_own_samples(tmp_path: Path, mixed: tuple[Path, Path]) -> None:
    table, clinical = mixed
    out = tmp_path / "out"
    summary = run(out, ("A", table, "tpm", clinical))
    assert read_cohorts(out).samples["sample_id"].tolist() == ["S1"]
    assert rejected(out) == {"S2": "cohort_not_asked", "S3": "normal_tissue", "S4": "no_cohort"}
    assert summary["cohorts"] == [
        {
            "cohort": "A",
            "source": "t.tsv",
            "unit": "tpm",
            "n_samples": 1,
            "n_patients": 1,
            "n_tumor": 1,
            "n_normal": 0,
            "n_with_survival": 1,
            "n_events": 1,
            "endpoint": "OS",
        }
    ]


def test_one_file_listed_for_each_cohort(tmp_path: Path, mixed: tuple[Path, Path]) -> None:
    table, clinical = mixed
    out = tmp_path / "out"
    run(out, ("A", table, "tpm", clinical), ("B", table, "tpm", clinical), use_normals=True)
    assert read_cohorts(out).samples[["sample_id", "cohort"]].to_numpy().tolist() == [
        ["S1", "A"],
        ["S3", "A"],
        ["S2", "B"],
    ]
    assert rejected(out) == {"S4": "no_cohort"}


def test_a_study_takes_cohorts_from_the_clinical_table(tmp_path: Path, mixed: tuple[Path, Path]) -> None:
    table, clinical = mixed
    run(tmp_path / "out", ("STUDY", table, "tpm", clinical))
    assert set(read_cohorts(tmp_path / "out").samples["cohort"]) == {"A", "B"}


def test_cohort_column_switched_off(tmp_path: Path, mixed: tuple[Path, Path]) -> None:
    table, clinical = mixed
    run(tmp_path / "out", ("MINE", table, "tpm", clinical), cohort_column="")
    samples = read_cohorts(tmp_path / "out").samples
    assert samples["cohort"].tolist() == ["MINE"] * 3
    assert samples["sample_id"].tolist() == ["S1", "S2", "S4"]


def test_a_study_beside_a_cohort_of_the_same_file_is_refused(tmp_path: Path, mixed: tuple[Path, Path]) -> None:
    table, clinical = mixed
    with pytest.raises(DataError, match=r"cohort 'X' .* is not among those of c\.tsv \(A, B\)"):
        run(tmp_path / "out", ("A", table, "tpm", clinical), ("X", table, "tpm", clinical))


def test_one_file_for_two_cohorts_needs_a_cohort_column(tmp_path: Path, mixed: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="no cohort column tells its samples apart"):
        run(tmp_path / "out", ("A", mixed[0], "tpm", None), ("B", mixed[0], "tpm", None))


def test_an_empty_cohort_is_refused(tmp_path: Path, mixed: tuple[Path, Path]) -> None:
    table, clinical = mixed
    clinical.write_text(CLINICAL.replace("S1", "Q1").replace("S3\tA", "S3\tB"))
    with pytest.raises(DataError, match=r"no sample left for any cohort; rejected: 2 cohort_not_asked, 2 no_cohort"):
        run(tmp_path / "out", ("A", table, "tpm", clinical))
    assert not (tmp_path / "out").exists()


def test_repeated_patients_keep_their_first_profile(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("sample_id,TP53,EGFR\nP1,1,90.5\nP1,2,80.5\nP1,1,90.5\nP1,2,80.5\nP2,5,5\n")
    clinical = tmp_path / "c.csv"
    clinical.write_text("sample,patient_id,OS,OS.time\nP1,P1,1,5\nP1,P1,1,5\nP2,P2,0,5\n")
    out = tmp_path / "out"
    summary = run(out, ("A", table, "tpm", clinical))
    np.testing.assert_allclose(read_cohorts(out).values[0], [90.5, 1])
    assert summary["rejected"] == [
        {"cohort": "", "rule": "exact_copy", "n": 2},
        {"cohort": "", "rule": "one_profile_a_patient", "n": 1},
    ]
    with pytest.raises(DataError, match=r"sample 'P1' stands there twice \(samples 1 and 2\)"):
        run(out, ("A", table, "tpm", None))


def test_the_same_sample_in_two_cohorts_is_refused(tmp_path: Path) -> None:
    first = write_table(tmp_path / "a.tsv", {"S1": [1.0, 700.5, 3.0]}, GENES)
    second = write_table(tmp_path / "b.tsv", {"S1": [1.0, 700.5, 3.0]}, GENES)
    with pytest.raises(DataError, match=r"sample 'S1' is in .*a\.tsv \(cohort A\) and in .*b\.tsv \(cohort B\)"):
        run(tmp_path / "out", ("A", first, "tpm", None), ("B", second, "tpm", None))


def test_units_and_gene_kinds_must_agree(tmp_path: Path) -> None:
    first = write_table(tmp_path / "a.tsv", {"S1": [1.0, 700.5, 3.0]}, GENES)
    second = write_table(tmp_path / "b.tsv", {"S2": [1.0, 700.5, 3.0]}, GENES)
    ensembl = write_table(tmp_path / "e.tsv", {"S3": [1.0, 700.5]}, ["ENSG00000000003", "ENSG00000000005"])
    with pytest.raises(DataError, match=r"units after conversion, found .*a\.tsv: tpm; .*b\.tsv: rsem"):
        run(tmp_path / "out", ("A", first, "tpm", None), ("B", second, "rsem", None))
    with pytest.raises(VocabularyError, match=r"gene ids, found .*a\.tsv: symbol; .*e\.tsv: ensembl"):
        run(tmp_path / "out", ("A", first, "tpm", None), ("B", ensembl, "tpm", None))
    other = write_table(tmp_path / "o.tsv", {"S4": [1.0, 700.5]}, ["XIST", "MYC"])
    with pytest.raises(VocabularyError, match="no gene in common"):
        run(tmp_path / "out", ("A", first, "tpm", None), ("B", other, "tpm", None))
    with pytest.raises(DataError, match=r"a\.tsv: values from 1 to 700\.5 are no `log2\(tpm\+1\)`"):
        run(tmp_path / "out", ("A", first, "log2(tpm+1)", None))


def test_samples_without_usable_values_are_rejected(tmp_path: Path) -> None:
    values = {"S1": [1.0, 700.5, 3.0], "S2": [0.0, 0.0, 0.0], "S3": [1.0, float("inf"), 1.0]}
    table = write_table(tmp_path / "a.tsv", values, GENES)
    run(tmp_path / "out", ("A", table, "tpm", None))
    assert rejected(tmp_path / "out") == {"S2": "no_expression", "S3": "not_finite"}
    table = write_table(tmp_path / "b.tsv", {"S2": [0.0, 0.0, 0.0]}, GENES)
    with pytest.raises(DataError, match="cohort B, rnaseq: no sample has usable values"):
        run(tmp_path / "empty", ("B", table, "tpm", None))
    assert not (tmp_path / "empty").exists()


def test_counts_become_tpm_over_genes_with_a_length(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.tsv", {"S1": [10, 10, 400]}, GENES)
    lengths = tmp_path / "lengths.csv"
    lengths.write_text("gene_id,length\nTP53,1000\nEGFR,4000\n")
    with pytest.raises(DataError, match="--gene-lengths"):
        run(tmp_path / "out", ("A", table, "counts", None))
    summary = run(tmp_path / "out", ("A", table, "counts", None), gene_lengths=lengths)
    cohorts = read_cohorts(tmp_path / "out")
    assert cohorts.genes.gene_ids == ("EGFR", "TP53")
    np.testing.assert_allclose(cohorts.values, [[200_000, 800_000]])
    assert summary["genes"]["dropped"][0]["rule"] == "no_gene_length"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,bases\nTP53,1\n", "expected the columns `gene_id` and `length`"),
        ("gene_id,length\nTP53,long\n", "row 2: no gene length"),
        ("gene_id,length\nTP53,0\n", "row 2: length 0 of TP53"),
        ("gene_id,length\nTP53,5\nTP53,6\n", "row 3: TP53 stands there before with another length"),
        ("gene_id,length\nXIST,5\n", "has none of its genes"),
    ],
)
def test_gene_lengths_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    table = write_table(tmp_path / "a.tsv", {"S1": [10, 10, 400]}, GENES)
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        run(tmp_path / "out", ("A", table, "counts", None), gene_lengths=tmp_path / "l.csv")


def test_vocabulary(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.tsv", {"S1": [1.0, 700.5, 3.0]}, GENES)
    vocabulary = tmp_path / "v.txt"
    vocabulary.write_text("TP53\nA2M\n")
    summary = run(tmp_path / "out", ("A", table, "tpm", None), plan=PlanOptions(vocabulary=vocabulary))
    assert read_cohorts(tmp_path / "out").genes.gene_ids == ("TP53", "A2M")
    assert summary["genes"]["dropped"][0]["rule"] == "not_in_vocabulary"
    vocabulary.write_text("TP53\nA2M\nMYC\n")
    with pytest.raises(VocabularyError, match=r"has only 66\.7% of the 3 genes .* missing MYC"):
        run(tmp_path / "out", ("A", table, "tpm", None), plan=PlanOptions(vocabulary=vocabulary))
    vocabulary.write_text("ENSG00000000003\n")
    with pytest.raises(VocabularyError, match="give a vocabulary of the same kind"):
        run(tmp_path / "out", ("A", table, "tpm", None), plan=PlanOptions(vocabulary=vocabulary))


def test_out_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.tsv", {"S1": [1.0, 700.5, 3.0]}, GENES)
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.docx").write_text("x")
    with pytest.raises(DataError, match="a folder with other files in it"):
        run(out, ("A", table, "tpm", None))
    assert (out / "thesis.docx").is_file()


def test_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to preprocess"):
        run(tmp_path / "out")


def raw_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    files = []
    for number, (sample, kind) in enumerate(
        [
            ("TCGA-XX-0002-01A", "Primary Tumor"),
            ("TCGA-XX-0001-01A", "Primary Tumor"),
            ("TCGA-XX-0001-11A", "Solid Tissue Normal"),
        ]
    ):
        file_id = f"id{number}"
        (folder / file_id).mkdir(parents=True)
        rows = [
            ("ENSG00000000005.6", "TNMD", "protein_coding", number + 1.5),
            ("ENSG00000000003.15", "TSPAN6", "protein_coding", 2.5),
            ("ENSG00000223972.5", "DDX11L1", "lncRNA", 1.25),
        ]
        body = "".join(f"{gene}\t{name}\t{kind_}\t5\t3\t2\t{tpm}\t1.0\t1.0\n" for gene, name, kind_, tpm in rows)
        (folder / file_id / f"u{number}.tsv").write_text(STAR_HEADER + body)
        files.append(
            {
                "file_id": file_id,
                "file_name": f"u{number}.tsv",
                "project_id": "TCGA-XXXX",
                "patient_id": sample[:12],
                "sample_id": sample,
                "sample_type": kind,
                "access": "open",
                "md5": "0" * 32,
                "size": 1,
                "case_id": f"case{number}",
                "aliquot_id": f"{sample}-11R-A001-07",
                "is_ffpe": False,
            }
        )
    left_out = files[0] | {"sample_id": "TCGA-XX-0002-01B", "rule": "not_ffpe", "reason": "FFPE sample"}
    plan = {
        "source": "gdc",
        "api": "http://portal",
        "data_release": "1.0",
        "projects": ["TCGA-XXXX"],
        "modality": "rnaseq",
        "sample_types": "all",
        "files": files,
        "rejected": [left_out],
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    cases = [
        {
            "submitter_id": "TCGA-XX-0001",
            "project": {"project_id": "TCGA-XXXX"},
            "demographic": {"vital_status": "Dead", "days_to_death": 12},
        }
    ]
    (folder / "cases.json").write_text(json.dumps(cases))
    return folder


def test_a_raw_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = run(out, raw=(raw_folder(tmp_path),))
    cohorts = read_cohorts(out)
    assert cohorts.genes.gene_ids == ("ENSG00000000003", "ENSG00000000005")
    assert cohorts.genes.symbols == ("TSPAN6", "TNMD")
    np.testing.assert_allclose(cohorts.values, [[2.5, 2.5], [2.5, 1.5]])
    assert cohorts.samples["sample_id"].tolist() == ["TCGA-XX-0001-01A", "TCGA-XX-0002-01A"]
    assert cohorts.samples["project_id"].tolist() == ["TCGA-XXXX"] * 2
    assert cohorts.data_access == "open"
    assert rejected(out) == {"TCGA-XX-0002-01B": "not_ffpe", "TCGA-XX-0001-11A": "normal_tissue"}
    clinical = pd.read_csv(out / "clinical.tsv", sep="\t", dtype=str, keep_default_na=False).set_index("patient_id")
    assert clinical.loc["TCGA-XX-0001", ["time_days", "event", "flags"]].tolist() == ["12", "1", ""]
    assert clinical.loc["TCGA-XX-0002", ["time_days", "event", "flags"]].tolist() == ["", "", "no_clinical_row"]
    assert {item["rule"]: item["n"] for item in summary["genes"]["dropped"]} == {
        "summary_row": 1,
        "not_protein_coding": 1,
    }
    assert summary["data_access"] == "open"


def test_the_closing_line_tells_files_of_the_portal_from_samples_rejected_here(tmp_path: Path) -> None:
    table = write_table(tmp_path / "b.tsv", {"S1": [0.25, 0.5]}, ["ENSG00000000003", "ENSG00000000005"])
    row = make_row("B", table, "", "beta", None, "methylation")
    plan = plan_cohorts(collect_sources([raw_folder(tmp_path)], [row], InputOptions()))
    assert told(plan, write_cohorts(plan, tmp_path / "out")) == (
        "2 cohorts, 3 profiles, 2 rnaseq genes in tpm, 2 methylation genes in beta; 1 files left out by the portals'"
        " rules, 1 samples rejected here (each with its reason in rejected.tsv)"
    )


def test_a_download_that_did_not_end_well_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = raw_folder(tmp_path)
    (folder / "manifest.tsv").write_text("id\n")
    with caplog.at_level("WARNING", logger="bulkrnabert"):
        run(tmp_path / "out", raw=(folder,))
    assert "the download did not end well" not in caplog.text
    (folder / "manifest.tsv").unlink()
    with caplog.at_level("WARNING", logger="bulkrnabert"):
        run(tmp_path / "out", raw=(folder,))
    assert "every planned file is there, but no manifest.tsv: the download did not end well" in caplog.text


def test_raw_folders_that_are_wrong(tmp_path: Path) -> None:
    folder = raw_folder(tmp_path)
    with pytest.raises(DataError, match="overall survival only, not PFI"):
        run(tmp_path / "out", raw=(folder,), endpoint="PFI")
    (folder / "id1" / "u1.tsv").unlink()
    with pytest.raises(DataError, match=r"the plan is there, but 1 of its 3 files are not, as .*without --plan-only"):
        run(tmp_path / "out", raw=(folder,))
    (folder / "manifest.tsv").write_text("id\n")
    with pytest.raises(DataError, match=r"1 of 3 planned files are not there, as .*u1\.tsv; run the same"):
        run(tmp_path / "out", raw=(folder,))
    plan = (folder / "plan.json").read_text()
    (folder / "plan.json").write_text(plan.replace('"project_id": "TCGA-XXXX"', '"project_id": "../../elsewhere"'))
    with pytest.raises(DataError, match=r"project '../../elsewhere'; a cohort is named with"):
        run(tmp_path / "out", raw=(folder,))
    (folder / "plan.json").write_text("{}")
    with pytest.raises(DataError, match=r"plan\.json: not a download plan: \d problems"):
        run(tmp_path / "out", raw=(folder,))
    (folder / "plan.json").unlink()
    with pytest.raises(DataError, match="make the folder with `bulkrnabert download`"):
        run(tmp_path / "out", raw=(folder,))


def test_a_clinical_table_of_other_samples(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table, clinical = tmp_path / "t.tsv", tmp_path / "c.csv"
    table.write_text("gene_id\tS1\tS2\nENSG00000000003\t1\t200\n")
    clinical.write_text("sample_id,stage\nX1,I\nX2,II\n")
    with pytest.raises(DataError, match=r"c\.csv: lists none of the 2 samples of .*t\.tsv: .* as 'S1'.* as 'X1'"):
        run(tmp_path / "out", ("A", table, "tpm", clinical))
    clinical.write_text("sample_id,stage\nS1,I\nX2,II\n")
    with caplog.at_level("WARNING", logger="bulkrnabert"):
        run(tmp_path / "out", ("A", table, "tpm", clinical))
    assert f"does not list 1 of 2 samples of {table}, as S2; they are kept without survival" in caplog.text
    clinical.write_text("sample_id,cohort\nS1,A\nX2,A\n")
    with caplog.at_level("WARNING", logger="bulkrnabert"):
        run(tmp_path / "out", ("A", table, "tpm", clinical))
    assert "as S2; they are rejected (no_cohort)" in caplog.text
    names = [f"S{number}" for number in range(1, 13)]
    table.write_text("\t".join(["gene_id", *names]) + "\n" + "\t".join(["ENSG00000000003", *["200.5"] * 12]) + "\n")
    with pytest.raises(
        DataError, match=r"c\.csv: lists only 1 of the 12 samples of .*: 'S1' among them, but not 'S2'; give"
    ):
        run(tmp_path / "out", ("A", table, "tpm", clinical))


def test_symbols_that_became_dates_are_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    genes = ["TP53", "2-Sep", "1-Mar", "1-Mar"]
    table = write_table(tmp_path / "t.tsv", {"S1": [1.0, 200.5, 3.0, 1.0]}, genes)
    with caplog.at_level("WARNING", logger="bulkrnabert"):
        run(tmp_path / "out", ("A", table, "tpm", None))
    assert "3 gene names have become dates, as 2-Sep" in caplog.text
    dropped = pd.read_csv(tmp_path / "out" / "genes_dropped.tsv", sep="\t")
    assert set(dropped.loc[dropped["rule"] == "excel_date", "gene"]) == {"2-Sep", "1-Mar"}
    assert read_cohorts(tmp_path / "out").genes.gene_ids == ("TP53",)


def test_a_cohort_column_that_no_table_has(tmp_path: Path) -> None:
    table, clinical = tmp_path / "t.tsv", tmp_path / "c.csv"
    table.write_text("gene_id\tS1\tS2\nENSG00000000003\t1\t200\n")
    clinical.write_text("sample_id,Study\nS1,X\nS2,X\n")
    with pytest.raises(DataError, match=r"--cohort-column 'stdy' is in none of the clinical tables \(c\.csv\)"):
        run(tmp_path / "out", ("A", table, "tpm", clinical), cohort_column="stdy")
    summary = run(tmp_path / "out", ("A", table, "tpm", clinical), cohort_column="study")
    assert [entry["cohort"] for entry in summary["cohorts"]] == ["X"]


def test_counts_without_lengths_name_the_file(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("gene_id\tS1\tS2\nENSG00000000003\t1\t200\n")
    with pytest.raises(DataError, match=r"t\.tsv: values in `counts` become TPM only with"):
        run(tmp_path / "out", ("A", table, "counts", None))


def test_real_survpath(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "survpath_toil4"
    row = ("SURVPATH", folder / "expression_log2tpm.parquet", "log2(tpm+0.001)", folder / "labels.csv")
    summary = run(tmp_path / "out", row)
    assert {entry["cohort"]: entry["n_samples"] for entry in summary["cohorts"]} == {
        "BLCA": 269,
        "COAD": 186,
        "READ": 59,
        "STAD": 234,
        "UCEC": 122,
    }
    assert sum(entry["n"] for entry in summary["rejected"]) == 12
    assert summary["genes"]["n_kept"] == 1577
