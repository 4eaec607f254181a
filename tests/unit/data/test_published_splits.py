"""Every published form becomes our splits.tsv: who is matched, who is not, and every message."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from bulkrnabert.cli import program
from bulkrnabert.data.published_splits import Form, match_published, patient_of, read_published
from bulkrnabert.errors import ConfigError, DataError

PATIENTS = [f"TCGA-AA-{number:04d}" for number in range(8)]
SAMPLES = pd.DataFrame(
    {
        "sample_id": [*(f"{name}-01A" for name in PATIENTS), f"{PATIENTS[0]}-11A"],
        "patient_id": [*PATIENTS, PATIENTS[0]],
        "cohort": "A",
        "sample_type": ["tumor"] * 8 + ["normal"],
    }
)


def folds_of(path: Path, form: Form) -> pd.DataFrame:
    frame = match_published(SAMPLES, read_published(path, form)).splits.frame
    return frame[frame["judged"] == 1].set_index("patient_id").filter(like="fold_r")


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_barcodes_of_any_length_are_of_one_patient() -> None:
    assert {patient_of(name) for name in ("TCGA-AA-0001", "TCGA-AA-0001-01", "tcga-aa-0001-01a-11r")} == {
        "TCGA-AA-0001"
    }
    assert patient_of("own-1") == "own-1"


def test_customics(tmp_path: Path) -> None:
    for number, test in ((1, 0), (2, 1)):
        write(tmp_path / f"split_test_{number}.txt", [f"{PATIENTS[test]}-01", "TCGA-ZZ-9999-01"])
        write(tmp_path / f"split_val_{number}.txt", [f"{PATIENTS[2]}-01"])
        write(tmp_path / f"split_train_{number}.txt", [f"{PATIENTS[row]}-01" for row in (0, 1, 3) if row != test])
    found = match_published(SAMPLES, read_published(tmp_path, "customics"))
    frame = found.splits.frame.set_index("sample_id")
    assert set(frame["patient_id"]) == set(PATIENTS[:4])
    assert frame.loc[f"{PATIENTS[0]}-01A", ["judged", "fold_r0", "fold_r1"]].tolist() == [1, 0, -1]
    assert frame.loc[f"{PATIENTS[0]}-11A", ["judged", "fold_r0", "fold_r1"]].tolist() == [0, 0, -1]
    assert frame.loc[f"{PATIENTS[1]}-01A", ["judged", "fold_r0", "fold_r1"]].tolist() == [1, -1, 0]
    assert frame.loc[f"{PATIENTS[2]}-01A", ["fold_r0", "fold_r1"]].tolist() == [-1, -1]
    assert found.splits.split_ids("leak-free") == ["r0f0", "r1f0"]
    assert f"{PATIENTS[0]}-11A" in found.splits.held_out_samples("r0f0")
    unmatched = found.unmatched.groupby("side")["id"].agg(list)
    assert unmatched["published"] == ["TCGA-ZZ-9999-01"]
    assert unmatched["ours"] == PATIENTS[4:]


@pytest.mark.parametrize("by_number", [False, True])
def test_survboard_folds_become_one_cross_validation(tmp_path: Path, by_number: bool) -> None:
    names = [str(number) for number in range(4)] if by_number else PATIENTS[:4]
    write(tmp_path / "X_test_splits.csv", ["0,1", f"{names[0]},{names[2]}", f"{names[1]},{names[3]}"])
    write(tmp_path / "X_train_splits.csv", ["0,1", f"{names[2]},{names[0]}", f"{names[3]},{names[1]}"])
    if by_number:
        with pytest.raises(ConfigError, match="say nothing without the rows"):
            read_published(tmp_path, "survboard")
        write(tmp_path / "ids.csv", ["id", *PATIENTS[:4]])
    assert folds_of(tmp_path, "survboard")["fold_r0"].to_dict() == dict(zip(PATIENTS, [0, 0, 1, 1], strict=False))
    if by_number:
        write(tmp_path / "ids.csv", ["id", *PATIENTS[:3]])
        with pytest.raises(DataError, match="row 3 of a table with 3 ids"):
            read_published(tmp_path, "survboard")


def test_multisurv(tmp_path: Path) -> None:
    lines = [f"{PATIENTS[0]}\ttest", f"{PATIENTS[1]}\tval", f"{PATIENTS[2]}\ttrain", f"{PATIENTS[3]}\t"]
    path = write(tmp_path / "labels.tsv", ["submitter_id\tgroup", *lines])
    assert folds_of(path, "multisurv")["fold_r0"].to_dict() == dict(zip(PATIENTS, [0, -1, -1], strict=False))


def test_real_multisurv(shared: Path) -> None:
    (repeat,) = read_published(shared / "data" / "ref" / "multisurv_os_labels.tsv.gz", "multisurv")
    assert (len(repeat.learnt), len(repeat.tested)) == (8880 + 1109, 1092)


def test_own_table_by_part_and_by_fold(tmp_path: Path) -> None:
    parts = write(tmp_path / "parts.csv", ["patient_id,part", f"{PATIENTS[0]},test", f"{PATIENTS[1]},train"])
    assert folds_of(parts, "custom")["fold_r0"].tolist() == [0, -1]
    rows = [f"{name}-01A\t{number % 2}" for number, name in enumerate(PATIENTS)]
    folds = write(tmp_path / "folds.tsv", ["sample_id\tfold", *rows])
    assert folds_of(folds, "custom")["fold_r0"].tolist() == [0, 1] * 4
    rows = [f"{PATIENTS[0]}\t0\t", f"{PATIENTS[1]}\t-1\t0", f"{PATIENTS[2]}\t\t-1"]
    holdouts = write(tmp_path / "holdouts.tsv", ["sample_id\tfold_a\tfold_b", *rows])
    assert folds_of(holdouts, "custom").to_numpy().tolist() == [[0, -1], [-1, 0], [-1, -1]]


@pytest.mark.parametrize(
    ("form", "name", "lines", "message"),
    [
        ("custom", "a.tsv", ["name\tpart", "x\ttrain"], "expected sample_id or patient_id"),
        ("custom", "a.tsv", ["sample_id\tage", "x\t1"], "none that begins with fold"),
        ("custom", "a.tsv", ["sample_id\tfold", "x\ttwo"], "`fold` of 'x' is 'two'"),
        ("custom", "a.tsv", ["sample_id\tfold", "x\t-1"], "no row is in a fold"),
        ("custom", "a.tsv", ["sample_id\tpart", "x\tholdout"], "`part` of 'x' is 'holdout'"),
        ("custom", "a.tsv", ["sample_id\tpart", "x\ttrain"], "1 patients to learn from and 0 to test"),
        ("multisurv", "a.tsv", ["submitter_id\tpart", "x\ttrain"], "no column group"),
        ("customics", "a.tsv", ["x"], "expected a folder with split_train_1.txt"),
        ("survboard", "a.tsv", ["x"], "found no file"),
        (
            "custom",
            "a.tsv",
            ["sample_id\tpart", "TCGA-AA-0001-01A\ttrain", "TCGA-AA-0001-11A\ttest"],
            "1 patients are both learnt from and tested, first 'TCGA-AA-0001'",
        ),
    ],
)
def test_what_is_not_of_the_form_is_refused(
    tmp_path: Path, form: Form, name: str, lines: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_published(write(tmp_path / name, lines), form)


def test_incomplete_folders_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "split_train_1.txt", ["x"])
    with pytest.raises(DataError, match=r"split 1 has no split_test_1\.txt"):
        read_published(tmp_path, "customics")
    (tmp_path / "split_test_1.txt").write_text("\n")
    with pytest.raises(DataError, match="holds no id"):
        read_published(tmp_path, "customics")


def test_splits_of_other_cohorts_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", ["sample_id\tpart", "x\ttrain", "y\ttest"])
    with pytest.raises(DataError, match="0 of 1 ids to learn from and 0 of 1 to test are in the cohorts"):
        match_published(SAMPLES, read_published(path, "custom"))


def test_options_that_exclude_each_other(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", ["x"])
    arguments = ["split", "--cohorts", str(tmp_path), "--out", str(tmp_path / "out"), "--published", str(path)]
    for more, message in ((["--leave-out", "A"], "choose one"), (["--protocol", "paper"], "draws its own test parts")):
        result = CliRunner().invoke(program, [*arguments, *more])
        assert isinstance(result.exception, ConfigError) or result.exit_code == 2
        assert message in str(result.exception) + result.output
