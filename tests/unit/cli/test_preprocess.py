"""The command: options, exit codes, and what stays unwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkrnabert.cli import _run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "t.tsv"
    path.write_text("gene_id\tS1\tS2\nTP53\t1.5\t200\nEGFR\t0\t31\n")
    return path


def test_a_table(tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert _run(["preprocess", "--table", str(table), "--unit", "tpm", "--cohort", "A", "--out", str(out)]) == 0
    assert (out / "A.rnaseq.parquet").is_file()
    assert "1 cohorts, 2 profiles, 2 rnaseq genes in tpm; 0 samples rejected here" in capsys.readouterr().err


def test_a_samplesheet_and_check_only(tmp_path: Path, table: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("cohort,modality,path,format,unit,clinical\nA,rnaseq,t.tsv,,tpm,\n")
    out = tmp_path / "out"
    assert _run(["preprocess", "--samplesheet", str(sheet), "--check-only", "--out", str(out)]) == 0
    assert not out.exists()
    assert _run(["preprocess", "--samplesheet", str(sheet), "--out", str(out)]) == 0
    assert (out / "summary.json").is_file()
    sheet.write_text("cohort,modality,path,format,unit,clinical\nA,rnaseq,t.tsv,,log2(tpm+1),\n")
    assert _run(["preprocess", "--samplesheet", str(sheet), "--check-only"]) == 2


def test_survival_and_cohort_options_reach_the_files(tmp_path: Path, table: Path) -> None:
    clinical = tmp_path / "c.csv"
    clinical.write_text("sample_id,cohort,OS,OS.time\nS1,GBM,1,0\nS2,LGG,0,20\n")
    out = tmp_path / "out"
    arguments = ["preprocess", "--table", str(table), "--unit", "tpm", "--cohort", "STUDY", "--clinical", str(clinical)]
    arguments += ["--zero-time", "half-day", "--alive-with-death", "follow-vital-status", "--merge", "GBMLGG"]
    assert _run([*arguments, "--rescale-tpm", "--out", str(out)]) == 0
    assert [path.name for path in out.glob("*.parquet")] == ["GBMLGG.rnaseq.parquet"]
    assert "\tzero_time_as_half_day\t" in (out / "clinical.tsv").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--unit", "tpm", "--cohort", "A", "--out", "x"], "describe --table, which was not given"),
        (["--table", "{table}", "--unit", "tpm", "--cohort", "A"], "needs --out FOLDER"),
        (["--table", "{table}", "--cohort", "A", "--out", "x"], "no unit"),
        (["--table", "{table}", "--unit", "tpm", "--out", "x"], "no cohort"),
        (["--table", "{table}", "--unit", "log2(tpm+1)", "--cohort", "A", "--out", "x"], "looks like a linear scale"),
        (["--out", "x"], "nothing to preprocess"),
        (["--out", "x", "--min-coverage", "0.3"], "0.5<=x<=1.0"),
        (["--out", "x", "--merge", "GBM"], "'GBM' is no merged cohort"),
        (
            ["--table", "{table}", "--unit", "tpm", "--modality", "methylation", "--cohort", "A", "--out", "x"],
            "unit `tpm` of modality methylation",
        ),
        (["--raw", "nowhere", "--out", "x"], "does not exist"),
    ],
)
def test_bad_input_exits_2_with_one_message(
    table: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert _run(["preprocess", *(argument.format(table=table) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_help_names_units_and_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["preprocess", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(word in text for word in ("log2(tpm+0.001)", "rejected.tsv", "days", "default: OS"))
