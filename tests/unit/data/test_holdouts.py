"""The papers' repeated hold-out and cohorts left out, from the splits to the rows of a job."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bulkrnabert.data.holdouts import leave_cohorts_out, make_paper_splits
from bulkrnabert.data.probe_jobs import plan_jobs
from bulkrnabert.data.splits import make_splits, read_splits, write_tsv
from bulkrnabert.downstream.job import make_job
from bulkrnabert.errors import ConfigError, DataError


def make_study() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Three cohorts of 20 patients; every fourth has normal tissue too, one has nothing else; and a normal cohort."""
    rows = [(f"{name}{number:02d}", name, "tumor") for name in "ABC" for number in range(20)]
    rows += [(f"{name}{number:02d}", name, "normal") for name in "ABC" for number in range(0, 20, 4)]
    rows += [("A99", "A", "normal"), *((f"N{number:02d}", "N", "normal") for number in range(6))]
    samples = pd.DataFrame(rows, columns=["patient_id", "cohort", "sample_type"])
    samples["sample_id"] = samples["patient_id"] + samples["sample_type"].map({"tumor": "-01", "normal": "-11"})
    clinical = samples.drop_duplicates("patient_id")[["patient_id", "cohort"]].reset_index(drop=True)
    numbers = np.arange(len(clinical))
    return samples, clinical.assign(time_days=10.0 + numbers, event=(numbers % 2).astype(float))


def test_a_fifth_of_the_patients_five_times_with_all_their_samples() -> None:
    samples, clinical = make_study()
    splits = make_paper_splits(samples, clinical, n_parts=5, n_repeats=5, seed=0)
    assert (splits.n_repeats, splits.n_folds, splits.n_parts) == (5, 1, 5)
    assert splits.split_ids("paper") == ["all"]
    of_cohort = splits.frame[splits.frame["cohort"] != "N"]
    assert (of_cohort["judged"] == 1).all()
    assert (splits.frame.loc[splits.frame["cohort"] == "N", ["judged", "fold_r0"]] == [0, -1]).all(axis=None)
    for repeat in range(5):
        column = f"fold_r{repeat}"
        assert set(splits.frame[column]) == {-1, 0}
        assert (splits.frame.groupby("patient_id")[column].nunique() == 1).all()
        tested = of_cohort[of_cohort[column] == 0].drop_duplicates("patient_id")
        assert tested.groupby("cohort").size().between(4, 5).all()
    assert splits.frame["fold_r0"].tolist() != splits.frame["fold_r1"].tolist()
    assert make_paper_splits(samples[::-1], clinical, 5, 5, 0).sha256 == splits.sha256


def test_paper_splits_survive_the_file_and_make_jobs(tmp_path: object) -> None:
    samples, clinical = make_study()
    splits = make_paper_splits(samples, clinical, 5, 3, seed=1)
    path = tmp_path / "splits.tsv"  # type: ignore[operator]
    write_tsv(splits.frame, path)
    assert read_splits(path).sha256 == splits.sha256
    plan = plan_jobs(splits, clinical, min_events=5)
    classes = plan.jobs.iloc[0]
    assert (classes["task"], classes["n_samples"], classes["n_patients"]) == ("cancer_type", 76, 61)
    job = make_job(splits, clinical, "cancer_type", "pan")
    assert [fold.split_id for fold in job.folds] == ["r0f0", "r1f0", "r2f0"]
    for fold in job.folds:
        patients = [set(job.rows["patient_id"].iloc[rows]) for rows in (fold.train, fold.test)]
        assert not patients[0] & patients[1]
        assert len(fold.train) + len(fold.test) == len(job.rows)
        assert len(patients[1]) == pytest.approx(61 / 5, abs=1)
        held_out = splits.held_out_samples(fold.split_id)
        assert set(job.rows["sample_id"].iloc[fold.test]) == held_out


def test_paper_splits_need_patients_and_parts() -> None:
    samples, clinical = make_study()
    with pytest.raises(ConfigError, match="at least 2 folds"):
        make_paper_splits(samples, clinical, 1, 5, 0)
    with pytest.raises(DataError, match="'A' has 20 patients that can be judged"):
        make_paper_splits(samples, clinical, 11, 5, 0)


def test_a_cohort_left_out_is_tested_by_what_the_others_taught() -> None:
    samples, clinical = make_study()
    splits = leave_cohorts_out(samples, ["B", "A"])
    assert splits.split_ids("leak-free") == ["r0f0", "r0f1"]
    folds = splits.frame.set_index("sample_id")["fold_r0"]
    assert folds["B00-01"] == folds["B00-11"] == 0
    assert folds["A00-01"] == folds["A99-11"] == 1
    assert folds["C00-01"] == folds["N00-11"] == -1
    assert splits.has_left_out_cohorts
    plan = plan_jobs(splits, clinical, min_events=5)
    assert plan.jobs[["task", "scope", "n_patients"]].to_numpy().tolist() == [
        ["survival", "A", 20],
        ["survival", "B", 20],
    ]
    assert set(plan.skipped["scope"]) == {"pan"}
    job = make_job(splits, clinical, "survival", "A")
    (fold,) = job.folds
    assert fold.split_id == "r0f1"
    assert set(job.rows["cohort"].iloc[fold.test]) == {"A"}
    assert set(job.rows["cohort"].iloc[fold.train]) == {"B", "C"}


def test_folds_of_a_cross_validation_leave_no_cohort_out() -> None:
    samples, clinical = make_study()
    splits = make_splits(samples, clinical, 5, 1, 0)
    assert not splits.has_left_out_cohorts
    job = make_job(splits, clinical, "survival", "A")
    assert {name for fold in job.folds for name in job.rows["cohort"].iloc[fold.train]} == {"A"}


def test_what_cannot_be_left_out() -> None:
    samples, _ = make_study()
    with pytest.raises(ConfigError) as caught:
        leave_cohorts_out(samples, ["B", "B", "Z"])
    assert "no cohort 'Z'" in str(caught.value)
    assert "'B' is given twice" in str(caught.value)
    with pytest.raises(ConfigError, match="none would remain"):
        leave_cohorts_out(samples[samples["cohort"] == "A"], ["A"])
    with pytest.raises(DataError, match="'N' has 0 patients that can be judged"):
        leave_cohorts_out(samples, ["N"])
    moved = samples.assign(cohort=samples["cohort"].mask(samples["sample_id"] == "A00-11", "B"))
    with pytest.raises(DataError, match=r"patient .A00. .* is in another cohort too"):
        leave_cohorts_out(moved, ["A"])
