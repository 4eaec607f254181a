"""What can be used of a time and an event, which endpoint suits which cancer, and the account of both."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from bulkrnabert.data.survival_endpoints import (
    ENDPOINTS,
    Outcome,
    SurvivalPolicy,
    endpoint_advice,
    judge_outcome,
    survival_account,
    write_survival_account,
)
from bulkrnabert.errors import ConfigError

NAN = math.nan


@pytest.mark.parametrize(
    ("zero_time", "time_days", "flags"),
    [("drop", None, ("zero_time",)), ("half_day", 0.5, ("zero_time_as_half_day",)), ("keep", 0.0, ("zero_time_kept",))],
)
def test_what_becomes_of_zero(zero_time: str, time_days: float | None, flags: tuple[str, ...]) -> None:
    policy = SurvivalPolicy.from_mapping({"zero_time": zero_time}, "test")
    outcome = judge_outcome(0.0, 1.0, policy)
    assert outcome.flags == flags
    assert outcome.is_usable == (time_days is not None)
    if time_days is not None:
        assert (outcome.time_days, outcome.event) == (time_days, 1.0)
    assert judge_outcome(3.0, 0.0, policy) == Outcome(3.0, 0.0, ())
    assert judge_outcome(-1.0, 1.0, policy).flags == ("negative_time",)
    assert judge_outcome(NAN, 1.0, policy).flags == judge_outcome(1.0, NAN, policy).flags == ("no_survival",)


def test_a_negative_time_is_never_kept() -> None:
    with pytest.raises(ConfigError, match="`negative_time`"):
        SurvivalPolicy.from_mapping({"negative_time": "keep"}, "test")


@pytest.mark.parametrize(
    ("cohort", "endpoint", "advice"),
    [
        ("TCGA-BRCA", "OS", "caution"),
        ("brca", "PFI", "recommended"),
        ("GBM", "DFI", "not_recommended"),
        ("READ", "DSS", "caution"),
        ("LAML", "PFI", "none"),
        ("GBMLGG", "OS", "caution"),
        ("GBMLGG", "DFI", "not_recommended"),
        ("COADREAD", "DFI", "not_recommended"),
        ("KIPAN", "DSS", "caution"),
        ("STES", "DSS", "recommended"),
        ("CPTAC-3", "OS", "none"),
        ("BRCA", "RFS", "none"),
    ],
)
def test_advice(cohort: str, endpoint: str, advice: str) -> None:
    assert endpoint_advice(cohort, endpoint) == advice


def test_advice_is_known_for_every_cancer_type(shared: Path) -> None:
    types = pd.read_csv(shared / "data" / "ref" / "tcga_cdr_samples.csv.gz", usecols=["cohort"])["cohort"].unique()
    assert len(types) == 33
    assert all(endpoint_advice(name, "OS") != "none" for name in types)
    assert all(endpoint_advice(name, endpoint) for name in types for endpoint in ENDPOINTS)


def patients() -> pd.DataFrame:
    rows = [
        # patient, cohort, time, event, endpoint, source, flags, project, PFI, PFI.time
        ("P1", "GBMLGG", 100.0, 1.0, "OS", "cases.json", "", "TCGA-GBM", "1", "50"),
        ("P2", "GBMLGG", 300.0, 0.0, "OS", "cases.json", "follow_up_after_death", "TCGA-LGG", "0", "300"),
        ("P3", "GBMLGG", 500.0, 0.0, "OS", "cases.json", "differs_from_gdc", "TCGA-LGG", "1", "0"),
        ("P4", "GBMLGG", NAN, NAN, "OS", "cases.json", "conflicting_label:x;zero_time", "TCGA-LGG", "", ""),
        ("P5", "GBMLGG", NAN, NAN, "", "", "no_clinical_row", "", "", ""),
        ("Q1", "own", NAN, NAN, "OS", "c.csv: OS.time, OS", "no_survival", "", "", ""),
        ("Q2", "own", NAN, NAN, "OS", "c.csv: OS.time, OS", "conflicting_rows;no_survival", "", "", ""),
    ]
    columns = ["patient_id", "cohort", "time_days", "event", "endpoint", "endpoint_source", "flags", "project_id"]
    return pd.DataFrame(rows, columns=[*columns, "PFI", "PFI.time"])


def test_account_by_hand(tmp_path: Path) -> None:
    before = patients()
    table = before.copy()
    account = survival_account(table)
    pd.testing.assert_frame_equal(table, before)
    assert account.cohorts.to_dict("records") == [
        {
            "cohort": "GBMLGG",
            "endpoint": "OS",
            "used": 1,
            "endpoint_source": "cases.json",
            "n_patients": 5,
            "n_usable": 3,
            "n_events": 1,
            "median_follow_up_days": "400",
            "excluded": "no_clinical_row:1;zero_time:1",
            "recommendation": "caution",
            "n_differ": 1,
        },
        {
            "cohort": "GBMLGG",
            "endpoint": "PFI",
            "used": 0,
            "endpoint_source": "label columns",
            "n_patients": 5,
            "n_usable": 2,
            "n_events": 1,
            "median_follow_up_days": "300",
            "excluded": "no_clinical_row:1;no_survival:1;zero_time:1",
            "recommendation": "recommended",
            "n_differ": 0,
        },
        {
            "cohort": "own",
            "endpoint": "OS",
            "used": 1,
            "endpoint_source": "c.csv: OS.time, OS",
            "n_patients": 2,
            "n_usable": 0,
            "n_events": 0,
            "median_follow_up_days": "",
            "excluded": "conflicting_rows:1;no_survival:1",
            "recommendation": "none",
            "n_differ": 0,
        },
    ]
    assert account.excluded.to_numpy().tolist() == [
        ["P4", "GBMLGG", "OS", "zero_time"],
        ["P5", "GBMLGG", "OS", "no_clinical_row"],
        ["P3", "GBMLGG", "PFI", "zero_time"],
        ["P4", "GBMLGG", "PFI", "no_survival"],
        ["P5", "GBMLGG", "PFI", "no_clinical_row"],
        ["Q1", "own", "OS", "no_survival"],
        ["Q2", "own", "OS", "conflicting_rows"],
    ]
    write_survival_account(account, tmp_path)
    assert (tmp_path / "survival.tsv").read_text().splitlines()[0].startswith("cohort\tendpoint\tused")
    assert len((tmp_path / "survival_excluded.tsv").read_text().splitlines()) == 8


def test_account_follows_the_policy() -> None:
    account = survival_account(patients(), SurvivalPolicy(zero_time="keep"))
    assert account.cohorts["n_usable"].tolist() == [3, 3, 0]


def test_account_without_any_survival_or_patient() -> None:
    bare = patients().drop(columns=["PFI", "PFI.time", "project_id"]).assign(endpoint="", endpoint_source="")
    bare[["time_days", "event"]] = NAN
    account = survival_account(bare.assign(flags="no_survival"))
    assert account.cohorts["endpoint"].tolist() == ["", ""]
    assert account.cohorts["excluded"].tolist() == ["no_survival:5", "no_survival:2"]
    assert survival_account(bare.iloc[:0]).cohorts.empty
