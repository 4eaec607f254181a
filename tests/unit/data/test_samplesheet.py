"""The samplesheet: what it may leave out, and every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkrnabert.data.samplesheet import make_row, read_samplesheet
from bulkrnabert.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.tsv").write_text("x")
    (tmp_path / "clinical.csv").write_text("x")
    (tmp_path / "star").mkdir()
    return tmp_path


def sheet(folder: Path, text: str, name: str = "sheet.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


HEADER = "cohort,modality,path,format,unit,clinical\n"


def test_a_good_sheet(folder: Path) -> None:
    text = HEADER + "A,rnaseq,a.tsv,,log2(TPM + 1),clinical.csv\n\nB,rnaseq,star,star_counts,,\n"
    first, second = read_samplesheet(sheet(folder, text))
    assert (first.cohort, first.path, first.clinical) == ("A", folder / "a.tsv", folder / "clinical.csv")
    assert str(first.unit) == "log2(tpm+1)"
    assert (str(second.unit), second.clinical, second.where) == ("tpm", None, "row 4")


def test_a_table_may_be_listed_for_each_modality(folder: Path) -> None:
    text = HEADER + "A,rnaseq,a.tsv,,zscore,\nA,methylation,a.tsv,,zscore,\n"
    assert [row.modality for row in read_samplesheet(sheet(folder, text))] == ["rnaseq", "methylation"]


def test_tab_separated_without_optional_columns(folder: Path) -> None:
    (row,) = read_samplesheet(sheet(folder, "cohort\tmodality\tpath\tunit\nA\trnaseq\ta.tsv\ttpm\n", "sheet.tsv"))
    assert row.format == ""


def test_paths_are_relative_to_the_sheet_behind_a_link(folder: Path) -> None:
    real = sheet(folder, HEADER + "A,rnaseq,a.tsv,,tpm,\n")
    (folder / "elsewhere").mkdir()
    link = folder / "elsewhere" / "sheet.csv"
    link.symlink_to(real)
    assert read_samplesheet(link)[0].path == folder / "a.tsv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cohort,modality,pth,unit\nA,rnaseq,a.tsv,tpm\n", "unknown column 'pth', did you mean `path`"),
        ("cohort,modality,unit\nA,rnaseq,tpm\n", "column `path` is missing"),
        ("cohort;modality;path\nA;rnaseq;a.tsv\n", "only one column, 'cohort;modality;path'; separate cohort,"),
        (HEADER + "pan,rnaseq,a.tsv,,tpm,\n", "row 2: cohort 'pan'; a cohort is named with letters"),
        ("cohort,modality,path,path\nA,rnaseq,a.tsv,tpm\n", "column `path` stands there twice"),
        (HEADER, "a header without rows"),
        ("", "empty file"),
        (HEADER + ",rnaseq,a.tsv,,tpm,\n", "row 2: no cohort"),
        (HEADER + "my cohort,rnaseq,a.tsv,,tpm,\n", "row 2: cohort 'my cohort'; a cohort is named with letters"),
        (HEADER + "A,rnasq,a.tsv,,tpm,\n", "row 2: unknown modality 'rnasq', did you mean 'rnaseq'"),
        (HEADER + "A,methylation,a.tsv,,tpm,\n", "row 2: unit `tpm` of modality methylation; give beta,"),
        (HEADER + "A,rnaseq,a.tsv,,sqrt(beta),\n", "row 2: unit `sqrt(beta)` of modality rnaseq; beta values are of"),
        (HEADER + "A,rnaseq,,,tpm,\n", "row 2: no path"),
        (HEADER + "A,rnaseq,b.tsv,,tpm,\n", "row 2: 'b.tsv' not found"),
        (HEADER + "A,rnaseq,a.tsv,xls,tpm,\n", "row 2: unknown format 'xls'"),
        (HEADER + "A,rnaseq,a.tsv,,,\n", "row 2: no unit"),
        (HEADER + "A,rnaseq,a.tsv,,rpkm,\n", "row 2: unknown unit 'rpkm'"),
        (HEADER + "A,rnaseq,star,star_counts,counts,\n", "of STAR-Counts files the TPM column is read"),
        (HEADER + "A,rnaseq,a.tsv,,tpm,none.csv\n", "row 2: clinical table 'none.csv' not found"),
        (HEADER + "A,rnaseq,a.tsv,,tpm,\nA,rnaseq,a.tsv,,tpm,\n", "row 3: 'a.tsv' is listed for 'A' in row 2 already"),
        (HEADER + "A,rnaseq,a.tsv,,tpm,,,x\n", "row 2: 8 cells, but the header has 6 columns"),
    ],
)
def test_sheets_that_are_wrong(folder: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_samplesheet(sheet(folder, text))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER.replace("\n", "\r\n") + "A,rnaseq,a.tsv,TSV,TPM,clinical.csv\r\n",
        HEADER.replace(",", ", ") + 'A, rnaseq, "a.tsv", TSV, "TPM", clinical.csv\n',
        "\n" + HEADER + "A,rnaseq,a.tsv,tsv,tpm,clinical.csv\n",
        HEADER.strip() + ",,\nA,rnaseq,a.tsv,tsv,tpm,clinical.csv,,\n",
    ],
    ids=["bom-and-windows-lines", "blanks-and-quotes", "blank-line-first", "empty-columns-at-the-end"],
)
def test_what_spreadsheets_do_to_a_sheet(folder: Path, text: str) -> None:
    (row,) = read_samplesheet(sheet(folder, text))
    assert (row.cohort, row.path, row.clinical) == ("A", folder / "a.tsv", folder / "clinical.csv")
    assert str(row.unit) == "tpm"


def test_a_column_that_is_nearly_right_is_one_problem(folder: Path) -> None:
    with pytest.raises(DataError, match=r"sheet\.csv: unknown column 'Path', did you mean `path`\?$"):
        read_samplesheet(sheet(folder, "cohort,modality,Path,unit\nA,rnaseq,a.tsv,tpm\n"))


def test_every_problem_at_once(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_samplesheet(sheet(folder, HEADER + ",dna,b.tsv,,tpm,\nA,rnaseq,a.tsv,,mmm,x.csv\n"))
    message = str(caught.value)
    assert "5 problems" in message
    assert all(part in message for part in ("no cohort", "modality 'dna'", "b.tsv", "'mmm'", "x.csv"))


def test_a_table_on_the_command_line(folder: Path) -> None:
    assert make_row("A", folder / "a.tsv", "tsv", "tpm", None).cohort == "A"
    with pytest.raises(DataError, match="--table: no unit"):
        make_row("A", folder / "a.tsv", "tsv", "", None)


@pytest.mark.parametrize(
    ("row", "message"),
    [("c" * 10_000 + ",rnaseq,t.tsv,tpm", "and `-`, at most 100"), ("c,rnaseq," + "p" * 10_000 + ",tpm", "not found")],
)
def test_names_longer_than_names_can_be(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "t.tsv").write_text("gene_id\tS1\nTP53\t1\n")
    (tmp_path / "sheet.csv").write_text(f"cohort,modality,path,unit\n{row}\n")
    with pytest.raises(DataError, match=message) as caught:
        read_samplesheet(tmp_path / "sheet.csv")
    assert len(str(caught.value)) < 600
