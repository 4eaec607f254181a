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


def test_a_table(tmp_path: Path, table: Path) -> None:
    out = tmp_path / "out"
    assert _run(["preprocess", "--table", str(table), "--unit", "tpm", "--cohort", "A", "--out", str(out)]) == 0
    assert (out / "A.rnaseq.parquet").is_file()


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--unit", "tpm", "--cohort", "A", "--out", "x"], "describe --table, which was not given"),
        (["--table", "{table}", "--unit", "tpm", "--cohort", "A"], "needs --out FOLDER"),
        (["--table", "{table}", "--cohort", "A", "--out", "x"], "no unit"),
        (["--table", "{table}", "--unit", "tpm", "--out", "x"], "no cohort"),
        (["--table", "{table}", "--unit", "log2(tpm+1)", "--cohort", "A", "--out", "x"], "looks like a linear scale"),
        (["--out", "x"], "nothing to preprocess"),
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
    text = capsys.readouterr().out
    assert all(word in text for word in ("log2(tpm+0.001)", "rejected.tsv", "days", "default: OS"))
