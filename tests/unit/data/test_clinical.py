"""Clinical tables and GDC cases: times in days, one row a patient, a flag for every gap."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from bulkrnabert.data.clinical import read_clinical_table, sample_from_barcode, sample_type_from_text
from bulkrnabert.data.gdc_cases import read_gdc_cases
from bulkrnabert.data.survival_endpoints import SurvivalPolicy
from bulkrnabert.errors import DataError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def patient(path: Path, patient_id: str, endpoint: str = "OS") -> dict[str, Any]:
    table = read_clinical_table(path, endpoint).patients
    return {str(key): value for key, value in table.set_index("patient_id").loc[patient_id].to_dict().items()}


@pytest.mark.parametrize(
    ("barcode", "patient_id", "sample_type"),
    [
        ("TCGA-OR-A5J1-01A-11R-A29S-07", "TCGA-OR-A5J1", "tumor"),
        ("TCGA-OR-A5J1-03", "TCGA-OR-A5J1", "tumor"),
        ("TCGA-OR-A5J1-06A", "TCGA-OR-A5J1", "metastatic"),
        ("TCGA-OR-A5J1-11A", "TCGA-OR-A5J1", "normal"),
        ("TCGA-OR-A5J1-20A", "TCGA-OR-A5J1", "unknown"),
        ("TCGA-OR-A5J1", "TCGA-OR-A5J1", "unknown"),
        ("mine-01", "mine-01", "unknown"),
    ],
)
def test_barcodes(barcode: str, patient_id: str, sample_type: str) -> None:
    info = sample_from_barcode(barcode)
    assert (info.patient_id, info.sample_type) == (patient_id, sample_type)


@pytest.mark.parametrize(
    ("text", "sample_type"),
    [
        ("Primary Tumor", "tumor"),
        ("Primary Blood Derived Cancer - Peripheral Blood", "tumor"),
        ("Solid Tissue Normal", "normal"),
        ("Metastatic", "metastatic"),
        ("1", "tumor"),
        ("11.0", "normal"),
        ("01A", "tumor"),
        ("cell line", "unknown"),
        ("", "unknown"),
    ],
)
def test_sample_types(text: str, sample_type: str) -> None:
    assert sample_type_from_text(text) == sample_type


def test_tcga_columns_and_labels(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.csv",
        "barcode,cohort,sample_type_code,stage,OS,OS.time,PFI,PFI.time\n"
        "TCGA-AA-0001-01A,X,1,II,1,100,0,50\n"
        "TCGA-AA-0001-11A,X,11,II,1,100,0,50\n"
        "TCGA-AA-0002-01A,Y,1,[Not Available],0.0,30.5,1,10\n",
    )
    clinical = read_clinical_table(path)
    assert clinical.patients["patient_id"].tolist() == ["TCGA-AA-0001", "TCGA-AA-0002"]
    assert clinical.patients["time_days"].tolist() == [100, 30.5]
    assert clinical.patients["event"].tolist() == [1, 0]
    assert clinical.patients["stage"].tolist() == ["II", ""]
    assert clinical.patients["flags"].tolist() == ["", ""]
    assert clinical.patients["endpoint_source"][0] == "c.csv: OS.time, OS"
    assert clinical.cohorts == {"X", "Y"}
    assert clinical.find("TCGA-AA-0001-11A").sample_type == "normal"
    assert clinical.find("TCGA-AA-0001-06A").patient_id == "TCGA-AA-0001"
    assert clinical.find("TCGA-AA-0001-06A").cohort == "X"
    assert not clinical.find("TCGA-ZZ-0009-01A").is_listed
    assert clinical.repeated_patients == {"TCGA-AA-0001"}
    assert patient(path, "TCGA-AA-0002", "PFI")["time_days"] == 10


def test_own_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "c.tsv", "Sample\tpatient\ttime_days\tevent\nS1\tP1\t12\tTrue\nS2\tP2\t7\tfalse\n")
    clinical = read_clinical_table(path)
    assert clinical.patients["event"].tolist() == [1, 0]
    assert clinical.find("S1").patient_id == "P1"
    assert not clinical.has_cohorts


def test_without_survival(tmp_path: Path) -> None:
    row = patient(write(tmp_path / "c.csv", "patient_id,subtype\nP1,basal\n"), "P1")
    assert row["flags"] == "no_survival"
    assert row["subtype"] == "basal"
    assert row["endpoint"] == ""


@pytest.mark.parametrize(
    ("rows", "flags", "time_days"),
    [
        ("P1,1,-3\n", "negative_time", None),
        ("P1,0,0\n", "zero_time", None),
        ("P1,,12\n", "no_survival", None),
        ("P1,1,#N/A\n", "no_survival", None),
        ("P1,1,12\nP1,1,12\n", "", 12),
        ("P1,1,12\nP1,,\n", "", 12),
        ("P1,1,12\nP1,0,12\n", "conflicting_rows", None),
    ],
)
def test_what_makes_survival_unusable(tmp_path: Path, rows: str, flags: str, time_days: float | None) -> None:
    row = patient(write(tmp_path / "c.csv", "patient_id,event,time_days\n" + rows), "P1")
    assert row["flags"] == flags
    if time_days is None:
        assert row["time_days"] != row["time_days"]
        assert row["event"] != row["event"]
    else:
        assert row["time_days"] == time_days


@pytest.mark.parametrize(
    ("policy", "time_days", "flags"),
    [
        (SurvivalPolicy(zero_time="half_day"), 0.5, "zero_time_as_half_day"),
        (SurvivalPolicy(zero_time="keep"), 0.0, "zero_time_kept"),
    ],
)
def test_zero_under_other_policies(tmp_path: Path, policy: SurvivalPolicy, time_days: float, flags: str) -> None:
    path = write(tmp_path / "c.csv", "patient_id,event,time_days\nP1,1,0\n")
    row = read_clinical_table(path, policy=policy).patients.iloc[0]
    assert (row["time_days"], row["event"], row["flags"]) == (time_days, 1, flags)


def many_times(tmp_path: Path, n: int, longest: float) -> Path:
    rows = "".join(f"P{number},{number % 2},{longest * (number + 1) / n}\n" for number in range(n))
    return write(tmp_path / "c.csv", "patient_id,event,time_days\n" + rows)


@pytest.mark.parametrize(
    ("n", "longest", "is_warned"), [(30, 120, True), (20, 120, False), (30, 300, False), (30, 4000, False)]
)
def test_times_that_look_like_months_are_named_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, n: int, longest: float, is_warned: bool
) -> None:
    with caplog.at_level(logging.WARNING):
        table = read_clinical_table(many_times(tmp_path, n, longest)).patients
    assert table["time_days"].max() == longest
    assert ("times look like months or years, not days" in caplog.text) == is_warned
    assert ("the longest is 120, the median 62" in caplog.text) == is_warned


@pytest.mark.parametrize(
    ("text", "endpoint", "message"),
    [
        ("patient_id,OS_STATUS,OS_MONTHS\nP1,1:DECEASED,12\n", "OS", "`OS_MONTHS` is no column of days"),
        (
            "patient_id,OS,OS_MONTHS\nP1,1,12\n",
            "OS",
            r"Multiply months by 30\.4375 or years .*, name it `OS\.time`",
        ),
        ("patient_id,PFS_MONTHS\nP1,12\n", "PFI", "`PFS_MONTHS` is no column of days"),
        ("patient_id,event,time_years\nP1,1,12\n", "OS", "`time_years` is no column of days"),
    ],
)
def test_months_are_named_with_the_cure(tmp_path: Path, text: str, endpoint: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_clinical_table(write(tmp_path / "c.csv", text), endpoint)


def test_months_beside_days_are_a_label(tmp_path: Path) -> None:
    row = patient(write(tmp_path / "c.csv", "patient_id,OS,OS.time,OS_MONTHS\nP1,1,365,12\n"), "P1")
    assert (row["time_days"], row["OS_MONTHS"]) == (365, "12")


def test_columns_that_cannot_be_labels_are_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "c.csv", "patient_id,flags,endpoint,stage,,PFI,PFI.time,event\nP1,x,,II,y,1,5,0\n")
    with caplog.at_level(logging.INFO):
        row = patient(path, "P1", "PFI")
    assert (row["stage"], row["flags"], row["endpoint"], row["event"]) == ("II", "", "PFI", 1)
    assert "3 columns are not kept as labels: 'flags', '', 'event'" in caplog.text


def test_labels_that_disagree_are_left_empty(tmp_path: Path) -> None:
    row = patient(write(tmp_path / "c.csv", "patient_id,event,time_days,stage\nP1,1,5,I\nP1,1,5,II\n"), "P1")
    assert (row["stage"], row["flags"], row["time_days"]) == ("", "conflicting_label:stage", 5)


@pytest.mark.parametrize(
    ("text", "endpoint", "message"),
    [
        ("name,OS\nx,1\n", "OS", "expected a column `sample_id` or `patient_id`"),
        ("patient_id,OS.time\nP1,1\n", "OS", r"column `OS\.time` without `OS`"),
        ("patient_id,OS\nP1,1\n", "OS", r"needs the columns `OS` and `OS\.time` \(or `time_days` and `event`\)"),
        ("patient_id,event\nP1,1\n", "OS", "endpoint OS needs the columns"),
        ("patient_id,OS,OS.time\nP1,1,2\n", "PFI", "endpoint PFI needs .* this table has OS"),
        ("patient_id,OS,OS.time\nP1,1,2\n", "XYZ", "unknown endpoint 'XYZ'"),
        ("patient_id,OS,OS.time\nP1,2,2\n", "OS", r"row 2, column `OS`: '2', expected 1 \(event\) or 0"),
        ("patient_id,OS,OS.time\nP1,1,soon\n", "OS", r"row 2, column `OS\.time`: 'soon', expected a number of days"),
        ("patient_id,OS,OS.time\n,1,2\n", "OS", "row 2 has no `patient_id`"),
        ("patient_id,OS\n", "OS", "a header without rows"),
        ("", "OS", "empty file"),
        ("sample_id,patient_id\nS1,P1\nS1,P2\n", "OS", "sample 'S1' .row 3. stands there before with another patient"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str, endpoint: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_clinical_table(write(tmp_path / "c.csv", text), endpoint)


@pytest.mark.parametrize(
    "text",
    [
        "Sample_ID,Time_Days,EVENT\nS1,10,1\n",
        "sample_id,os,os.TIME\nS1,1,10\n",
        "\ufeffsample_id, time_days, event\r\n\r\nS1, 10, 1\r\n",
        'sample_id, time_days, event, note\nS1, 10, 1, "a, b"\n',
    ],
)
def test_titles_in_any_case_and_what_spreadsheets_do(tmp_path: Path, text: str) -> None:
    row = patient(write(tmp_path / "c.csv", text), "S1")
    assert (row["time_days"], row["event"], row["flags"]) == (10.0, 1.0, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample_id,time_days,event\nS1,10,1,9\nS2,10,1,9\n", "row 2: 4 cells, but the header has 3 columns"),
        ("sample_id,stage,stage\nS1,I,II\n", "column 'stage' stands there twice"),
        ("sample_id,Sample_ID\nS1,S2\n", "columns 'sample_id' and 'Sample_ID' both say `sample_id`"),
        ("sample_id,time_days,event\nS1,inf,1\n", "row 2, column `time_days`: 'inf', expected a number of days"),
        ("sample_id,patient_id\nS1,P1\nS1,P2\n", r"\(P1, unknown\) and \(P2, unknown\); keep the right row"),
    ],
)
def test_what_would_be_read_wrongly_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_clinical_table(write(tmp_path / "c.csv", text))


def test_cohort_column_can_be_another_or_none(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", "sample_id,cohort,study\nS1,A,X\n")
    assert read_clinical_table(path, cohort_column="study").find("S1").cohort == "X"
    assert not read_clinical_table(path, cohort_column="").has_cohorts


def case(**changes: Any) -> dict[str, Any]:
    demographic = {"vital_status": "Alive", "days_to_death": None, "sex_at_birth": "female"}
    demographic |= changes.pop("demographic", {})
    return {"submitter_id": "P1", "project": {"project_id": "TCGA-XXXX"}, "demographic": demographic} | changes


PRIMARY = {"diagnosis_is_primary_disease": True, "days_to_last_follow_up": 300, "ajcc_pathologic_stage": "Stage IIA"}


@pytest.mark.parametrize(
    ("changes", "time_days", "event", "flags"),
    [
        ({"diagnoses": [PRIMARY]}, 300, 0, ""),
        ({"diagnoses": [PRIMARY], "follow_ups": [{"days_to_follow_up": 900}, {}]}, 900, 0, ""),
        (
            {
                "diagnoses": [
                    PRIMARY,
                    {"diagnosis_is_primary_disease": False, "days_to_last_follow_up": 1200},
                ]
            },
            300,
            0,
            "",
        ),
        ({"demographic": {"vital_status": "Dead", "days_to_death": 512}}, 512, 1, ""),
        (
            {"demographic": {"vital_status": "Dead", "days_to_death": 250}, "diagnoses": [PRIMARY]},
            250,
            1,
            "follow_up_after_death",
        ),
        ({"demographic": {"vital_status": "Dead"}, "diagnoses": [PRIMARY]}, None, None, "dead_without_days_to_death"),
        ({"demographic": {"days_to_death": 700}, "diagnoses": [PRIMARY]}, None, None, "alive_with_days_to_death"),
        ({"demographic": {"vital_status": "Not Reported"}}, None, None, "unknown_vital_status"),
        ({"demographic": {"vital_status": None}}, None, None, "unknown_vital_status"),
        ({}, None, None, "no_follow_up"),
        ({"diagnoses": [PRIMARY | {"days_to_last_follow_up": 0}]}, None, None, "zero_time"),
        ({"demographic": {"vital_status": "Dead", "days_to_death": -5}}, None, None, "negative_time"),
    ],
)
def test_overall_survival_from_cases(
    tmp_path: Path, changes: dict[str, Any], time_days: float | None, event: float | None, flags: str
) -> None:
    path = write(tmp_path / "cases.json", json.dumps([case(**changes)]))
    row = read_gdc_cases(path).patients.iloc[0]
    assert row["flags"] == flags
    assert row["cohort"] == "TCGA-XXXX"
    if time_days is None:
        assert row[["time_days", "event"]].isna().all()
    else:
        assert (row["time_days"], row["event"]) == (time_days, event)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html>", "cannot be read as JSON"),
        ('{"data": 1}', "expected a list of GDC cases"),
        (json.dumps([case(), case()]), "case P1 stands there twice"),
    ],
)
def test_cases_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_gdc_cases(write(tmp_path / "cases.json", text))


def test_real_labels(shared: Path) -> None:
    clinical = read_clinical_table(shared / "data" / "survpath_toil4" / "labels.csv")
    assert len(clinical.patients) == 870
    assert len(clinical.repeated_patients) == 4
    assert clinical.cohorts == {"BLCA", "COAD", "READ", "STAD", "UCEC"}
