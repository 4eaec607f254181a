"""Overall survival from the cases of the GDC, in the shapes of every release."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bulkrnabert.data.gdc_cases import read_gdc_cases
from bulkrnabert.data.survival_endpoints import SurvivalPolicy

# patient -> days, event, flags, as the rules say
OF_PAGE: dict[str, tuple[float | None, int | None, str]] = {
    "TCGA-ZZ-0001": (900, 0, ""),
    "TCGA-ZZ-0002": (512, 1, ""),
    "TCGA-ZZ-0003": (1200, 0, ""),
    "TCGA-ZZ-0004": (None, None, "dead_without_days_to_death"),
    "TCGA-ZZ-0005": (None, None, "alive_with_days_to_death"),
    "TCGA-ZZ-0006": (None, None, "zero_time"),
    "TCGA-ZZ-0007": (None, None, "negative_time"),
    "TCGA-ZZ-0008": (None, None, "unknown_vital_status"),
    "TCGA-ZZ-0009": (None, None, "unknown_vital_status"),
    "TCGA-ZZ-0010": (None, None, "zero_time"),
}


def read(tmp_path: Path, cases: list[dict[str, Any]], policy: SurvivalPolicy | None = None) -> pd.DataFrame:
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(cases))
    return read_gdc_cases(path, policy or SurvivalPolicy()).patients.set_index("patient_id")


def one(tmp_path: Path, policy: SurvivalPolicy | None = None, **case: Any) -> dict[str, Any]:
    row = read(tmp_path, [{"submitter_id": "P1", "project": {"project_id": "TCGA-XXXX"}} | case], policy).loc["P1"]
    return {str(key): None if value != value else value for key, value in row.to_dict().items()}


def outcome(row: dict[str, Any]) -> tuple[Any, Any, Any]:
    return row["time_days"], row["event"], row["flags"]


@pytest.fixture
def page(shared: Path) -> list[dict[str, Any]]:
    text = (shared / "fixtures" / "gdc" / "synthetic" / "cases_survival_page.json").read_text()
    hits: list[dict[str, Any]] = json.loads(text)["data"]["hits"]
    return hits


def test_every_case_of_the_page(page: list[dict[str, Any]], tmp_path: Path) -> None:
    table = read(tmp_path, page)
    found = {
        str(name): (None, None, row["flags"])
        if math.isnan(row["time_days"])
        else (row["time_days"], row["event"], row["flags"])
        for name, row in table.iterrows()
    }
    assert found == OF_PAGE
    assert set(table["project_id"]) == set(table["cohort"]) == {"TCGA-XXXX"}
    assert table.loc["TCGA-ZZ-0001", ["sex", "stage"]].tolist() == ["female", "Stage IIA"]
    assert table.loc["TCGA-ZZ-0009", "sex"] == ""


def test_the_page_under_other_policies(page: list[dict[str, Any]], tmp_path: Path) -> None:
    lenient = SurvivalPolicy(zero_time="half_day", alive_with_days_to_death="follow_vital_status")
    table = read(tmp_path, page, lenient)
    columns = ["time_days", "event", "flags"]
    assert table.loc["TCGA-ZZ-0005", columns].tolist() == [650, 0, "days_to_death_ignored"]
    assert table.loc["TCGA-ZZ-0006", columns].tolist() == [0.5, 0, "zero_time_as_half_day"]
    assert table.loc["TCGA-ZZ-0010", columns].tolist() == [0.5, 1, "zero_time_as_half_day"]
    assert table.loc["TCGA-ZZ-0007", "flags"] == "negative_time"
    assert read(tmp_path, page, SurvivalPolicy(zero_time="keep"))["time_days"].eq(0).sum() == 2


def harmonised(row: dict[str, str]) -> dict[str, Any]:
    """A row of the harmonised table as the portal has it: numbers are text there, blanks are null."""
    demographic = {name: row[name] or None for name in ("vital_status", "days_to_death", "race")}
    diagnosis = {"diagnosis_is_primary_disease": True, "days_to_last_follow_up": row["days_to_last_follow_up"] or None}
    return {
        "submitter_id": row["case_id"],
        "project": {"project_id": row["project"]},
        "demographic": demographic | {"sex_at_birth": row["sex"]},
        "diagnoses": [diagnosis],
    }


def read_harmonised(shared: Path, name: str) -> list[dict[str, str]]:
    table = pd.read_csv(shared / "fixtures" / "gdc" / "clinical" / name, dtype=str, keep_default_na=False)
    return [{str(key): str(value) for key, value in row.items()} for row in table.to_dict("records")]


def test_every_odd_row(shared: Path, tmp_path: Path) -> None:
    rows = read_harmonised(shared, "tcga_clinical_odd_rows.csv")
    cases = [harmonised(row) for row in rows]
    dropped = read(tmp_path, cases)
    assert len(dropped) == 103
    assert dropped["time_days"].isna().all()
    assert set(dropped["flags"]) == {"zero_time"}
    kept = read(tmp_path, cases, SurvivalPolicy(zero_time="keep"))
    for row in rows:
        found = kept.loc[row["case_id"]]
        assert (found["time_days"], found["event"]) == (0.0, float(row["vital_status"] == "Dead"))
    assert kept["event"].value_counts().to_dict() == {0.0: 82, 1.0: 21}


def test_ordinary_rows_are_read_as_they_stand(shared: Path, tmp_path: Path) -> None:
    rows = [row for row in read_harmonised(shared, "tcga_clinical_sample.csv") if row["vital_status"] == "Dead"]
    table = read(tmp_path, [harmonised(row) for row in rows], SurvivalPolicy(zero_time="keep"))
    expected = {row["case_id"]: float(row["days_to_death"]) for row in rows if row["days_to_death"]}
    assert len(expected) > 50
    usable = table["time_days"].dropna()
    assert usable.to_dict() == {name: days for name, days in expected.items() if days >= 0}


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (512, (512, 1, "")),
        ("512", (512, 1, "")),
        (" 512.0 ", (512, 1, "")),
        ("'--", (None, None, "dead_without_days_to_death")),
        ("Not Reported", (None, None, "dead_without_days_to_death")),
        ("", (None, None, "dead_without_days_to_death")),
        ("17 months", (None, None, "unreadable_days")),
        (True, (None, None, "unreadable_days")),
        ("inf", (None, None, "unreadable_days")),
    ],
)
def test_days_as_text(tmp_path: Path, days: object, expected: tuple[Any, Any, str]) -> None:
    assert outcome(one(tmp_path, demographic={"vital_status": "Dead", "days_to_death": days})) == expected


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        # absent, null and empty lists; null entries
        ({"diagnoses": None, "follow_ups": None}, (None, None, "no_follow_up")),
        ({"diagnoses": [], "follow_ups": []}, (None, None, "no_follow_up")),
        ({"diagnoses": [None], "follow_ups": [None, {"days_to_follow_up": 7}]}, (7, 0, "")),
        ({"diagnoses": [{"days_to_last_follow_up": None}, {"days_to_last_follow_up": 40}]}, (40, 0, "")),
        # the mark as text, and a table where nothing is marked as primary
        (
            {
                "diagnoses": [
                    {"diagnosis_is_primary_disease": "false", "days_to_last_follow_up": 90},
                    {"diagnosis_is_primary_disease": "true", "days_to_last_follow_up": 30},
                ]
            },
            (30, 0, ""),
        ),
        (
            {
                "diagnoses": [{"diagnosis_is_primary_disease": False, "days_to_last_follow_up": 90}],
                "follow_ups": [{"days_to_follow_up": 20}],
            },
            (20, 0, ""),
        ),
        # the field in its place of each release: only in follow_ups, only in diagnoses, in both
        ({"diagnoses": [{}], "follow_ups": [{"days_to_follow_up": 5}, {"days_to_follow_up": 60}]}, (60, 0, "")),
        (
            {"diagnoses": [{"days_to_last_follow_up": 61}], "follow_ups": [{"days_to_follow_up": 60}]},
            (61, 0, ""),
        ),
    ],
)
def test_where_follow_up_stands(tmp_path: Path, case: dict[str, Any], expected: tuple[Any, Any, str]) -> None:
    assert outcome(one(tmp_path, demographic={"vital_status": "Alive"}, **case)) == expected


def test_records_of_2017(tmp_path: Path) -> None:
    """Status and day of death stood in `diagnoses`, in lower case; sex was `gender`, stage `tumor_stage`."""
    diagnosis = {"vital_status": "dead", "days_to_death": 100, "days_to_last_follow_up": 90, "tumor_stage": "stage iia"}
    row = one(tmp_path, demographic={"gender": "male"}, diagnoses=[diagnosis])
    assert outcome(row) == (100, 1, "")
    assert (row["sex"], row["stage"]) == ("male", "stage iia")
    assert one(tmp_path, demographic={"sex_at_birth": "female", "gender": "male"})["sex"] == "female"


def test_a_page_of_2017_without_clinical_groups(shared: Path, tmp_path: Path) -> None:
    text = (shared / "fixtures" / "gdc" / "gdc_docs" / "cases_page_2017.json").read_text()
    table = read(tmp_path, json.loads(text)["data"]["hits"])
    assert len(table)
    assert set(table["flags"]) == {"unknown_vital_status"}
