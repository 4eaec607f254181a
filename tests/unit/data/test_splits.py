"""Splits: who is judged, balance, files, jobs, and every message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bulkrnabert.data import splits as splitting
from bulkrnabert.data.probe_jobs import plan_jobs
from bulkrnabert.errors import ConfigError, DataError


def make_samples(n_of_cohort: dict[str, int]) -> pd.DataFrame:
    names = [(f"{cohort}-{number:02d}", cohort) for cohort, count in n_of_cohort.items() for number in range(count)]
    return pd.DataFrame(
        {
            "sample_id": [f"{patient}-01A" for patient, _ in names],
            "patient_id": [patient for patient, _ in names],
            "cohort": [cohort for _, cohort in names],
            "sample_type": "tumor",
        }
    )


def make_clinical(samples: pd.DataFrame, every: int = 2) -> pd.DataFrame:
    patients = samples.drop_duplicates("patient_id")
    event = (np.arange(len(patients)) % every == 0).astype(float)
    return pd.DataFrame(
        {
            "patient_id": patients["patient_id"].to_numpy(),
            "cohort": patients["cohort"].to_numpy(),
            "time_days": np.arange(1.0, len(patients) + 1),
            "event": event,
            "sex": np.where(np.arange(len(patients)) % 3 == 0, "female", "male"),
        }
    )


def test_one_judged_sample_a_patient_primary_first_then_lowest_id() -> None:
    samples = pd.DataFrame(
        [
            ("P1-11A", "P1", "A", "normal"),
            ("P1-06A", "P1", "A", "metastatic"),
            ("P1-01B", "P1", "A", "tumor"),
            ("P1-01A", "P1", "A", "tumor"),
            ("P2-06A", "P2", "A", "metastatic"),
            ("P3-11A", "P3", "A", "normal"),
            ("P4", "P4", "A", "unknown"),
        ],
        columns=["sample_id", "patient_id", "cohort", "sample_type"],
    )
    assert list(splitting.judged_samples(samples)["sample_id"]) == ["P1-01A", "P2-06A", "P4"]


def test_folds_are_balanced_in_cohort_and_event() -> None:
    samples = make_samples({"A": 23, "B": 12})
    clinical = make_clinical(samples)
    frame = splitting.make_splits(samples, clinical, n_folds=5, n_repeats=2, seed=0).frame
    joined = frame.merge(clinical[["patient_id", "event"]], on="patient_id")
    for column in ("fold_r0", "fold_r1"):
        sizes = joined.groupby(["cohort", column]).size().unstack()
        assert (sizes.max(axis=1) - sizes.min(axis=1) <= 1).all()
        by_event = joined.groupby(["cohort", "event", column]).size().unstack(fill_value=0)
        assert (by_event.max(axis=1) - by_event.min(axis=1) <= 1).all()
    assert not frame["fold_r0"].equals(frame["fold_r1"])


def test_normal_tissue_follows_its_patient_or_is_always_in_training() -> None:
    samples = make_samples({"A": 10})
    normals = pd.DataFrame(
        {
            "sample_id": ["A-03-11A", "X-11A"],
            "patient_id": ["A-03", "X"],
            "cohort": "A",
            "sample_type": "normal",
        }
    )
    samples = pd.concat([samples, normals], ignore_index=True)
    splits = splitting.make_splits(samples, make_clinical(samples), n_folds=2, n_repeats=1, seed=0)
    rows = splits.frame.set_index("sample_id")
    assert rows.loc["A-03-11A", "fold_r0"] == rows.loc["A-03-01A", "fold_r0"]
    assert rows.loc["A-03-11A", "judged"] == 0
    assert rows.loc["X-11A", "fold_r0"] == -1
    held_out = splits.held_out_samples(f"r0f{rows.loc['A-03-01A', 'fold_r0']}")
    assert {"A-03-01A", "A-03-11A"} <= held_out
    assert all("X-11A" in splits.training_samples(name) for name in splits.split_ids("leak-free"))


def test_training_and_held_out_are_the_whole() -> None:
    samples = make_samples({"A": 12, "B": 12})
    splits = splitting.make_splits(samples, make_clinical(samples), n_folds=3, n_repeats=2, seed=4)
    assert splits.split_ids("leak-free") == ["r0f0", "r0f1", "r0f2", "r1f0", "r1f1", "r1f2"]
    assert splits.split_ids("transductive") == ["all"]
    assert (splits.n_folds, splits.n_repeats) == (3, 2)
    everyone = set(samples["sample_id"])
    assert splits.training_samples("all") == everyone
    assert splits.held_out_samples("all") == set()
    for repeat in range(2):
        parts = [splits.held_out_samples(f"r{repeat}f{fold}") for fold in range(3)]
        assert set().union(*parts) == everyone
        assert sum(map(len, parts)) == len(everyone)
    assert splits.training_samples("r1f2") == everyone - splits.held_out_samples("r1f2")
    with pytest.raises(ConfigError, match="no split named 'r0f3'"):
        splits.held_out_samples("r0f3")


def test_the_share_that_is_tested() -> None:
    """Twelve patients in three folds: 4 tested, 8 train, in a cohort too; or two held out of twelve, twice."""
    samples = make_samples({"A": 6, "B": 6})
    splits = splitting.make_splits(samples, make_clinical(samples), n_folds=3, n_repeats=1, seed=0)
    assert splits.share_tested("pan") == pytest.approx(4 / 8)
    assert splits.share_tested("A") == pytest.approx(2 / 4)
    held_out = splits.frame.assign(fold_r0=[0, 1, 0, 1, *[-1] * 8])
    assert splitting.Splits(held_out, "0" * 64).share_tested("pan") == pytest.approx(2 / 10)


def test_inputs_stay_as_they_were_and_a_seed_gives_the_same_folds() -> None:
    samples = make_samples({"A": 12})
    clinical = make_clinical(samples)
    before = samples.copy(), clinical.copy()
    first = splitting.make_splits(samples, clinical, 3, 1, seed=1)
    pd.testing.assert_frame_equal(samples, before[0])
    pd.testing.assert_frame_equal(clinical, before[1])
    assert splitting.make_splits(samples, clinical, 3, 1, seed=1).sha256 == first.sha256
    assert splitting.make_splits(samples, clinical, 3, 1, seed=2).sha256 != first.sha256


def test_files_say_the_same_as_memory(tmp_path: Path) -> None:
    samples = make_samples({"A": 12})
    splits = splitting.make_splits(samples, make_clinical(samples), 3, 2, seed=1)
    splitting.write_tsv(splits.frame, tmp_path / "splits.tsv")
    again = splitting.read_splits(tmp_path / "splits.tsv")
    assert again.sha256 == splits.sha256
    pd.testing.assert_frame_equal(again.frame, splits.frame)
    assert splitting.read_splits(tmp_path).sha256 == splits.sha256
    (tmp_path / "splits.tsv").unlink()
    with pytest.raises(DataError, match=r"is a folder without splits\.tsv; give the splits\.tsv that `split` wrote"):
        splitting.read_splits(tmp_path)


def test_a_small_cohort_is_named_with_the_cure() -> None:
    samples = make_samples({"A": 12, "B": 5, "C": 3})
    with pytest.raises(DataError) as caught:
        splitting.make_splits(samples, make_clinical(samples), n_folds=3, n_repeats=1, seed=0)
    message = str(caught.value)
    assert "'B' has 5 patients" in message
    assert "'C' has 3 patients" in message
    assert "--folds" in message
    assert "'A'" not in message


@pytest.mark.parametrize(
    ("n_folds", "n_repeats"),
    [(1, 1), (3, 0)],
)
def test_folds_and_repeats_are_checked(n_folds: int, n_repeats: int) -> None:
    samples = make_samples({"A": 12})
    with pytest.raises(ConfigError, match="at least 2 folds and 1 repeat"):
        splitting.make_splits(samples, make_clinical(samples), n_folds, n_repeats, seed=0)


def test_other_bad_input_has_a_message() -> None:
    samples = make_samples({"A": 12})
    clinical = make_clinical(samples)
    with pytest.raises(DataError, match="'A-00-01A' is in the cohort tables more than once"):
        splitting.make_splits(pd.concat([samples, samples[:1]]), clinical, 3, 1, 0)
    with pytest.raises(DataError, match="named 'pan'"):
        splitting.make_splits(samples.assign(cohort="pan"), clinical, 3, 1, 0)
    with pytest.raises(ConfigError, match=r"--label-column .stage. is not in clinical\.tsv"):
        splitting.make_splits(samples, clinical, 3, 1, 0, label_column="stage")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample_id\tpatient_id\nS\tP\n", "columns are sample_id, patient_id"),
        ("sample_id\tpatient_id\tcohort\tjudged\tfold_r0\nS\tP\tA\t1\t0\nS\tP\tA\t0\t0\n", "'S' has more than one row"),
        ("sample_id\tpatient_id\tcohort\tjudged\tfold_r0\nS\tP\tA\t1\t0\nT\tP\tA\t0\t1\n", "'P' is in more than one"),
        ("sample_id\tpatient_id\tcohort\tjudged\tfold_r0\nS\tP\tA\t1\t-1\n", "in folds none of fold_r0"),
        ("sample_id\tpatient_id\tcohort\tjudged\tfold_r0\nS\tP\tA\t1\t0\nT\tQ\tA\t1\t2\n", "in folds 0, 2 of fold_r0"),
        (
            "sample_id\tpatient_id\tcohort\tjudged\tfold_r0\tfold_r1\nS\tP\tA\t1\t0\t0\nT\tQ\tA\t1\t1\t0\n",
            "fold_r1 has 1 folds, fold_r0 another",
        ),
        ("sample_id\tpatient_id\tcohort\tjudged\tfold_r0\nS\tP\tA\t1\tx\n", "fold_r0 holds something other"),
        ("", "cannot be read"),
    ],
)
def test_a_wrong_splits_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "splits.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        splitting.read_splits(tmp_path / "splits.tsv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient_id\tcohort\nP\tA\n", "no column time_days, event"),
        ("patient_id\tcohort\ttime_days\tevent\nP\tA\t1\t1\nP\tA\t1\t1\n", "'P' has more than one row"),
        ("patient_id\tcohort\ttime_days\tevent\nP\tA\tlong\t1\n", "`time_days` of patient 'P' is 'long'"),
    ],
)
def test_a_wrong_clinical_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "clinical.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        splitting.read_clinical(tmp_path / "clinical.tsv")


def test_jobs_and_why_not() -> None:
    samples = make_samples({"A": 40, "B": 12})
    clinical = make_clinical(samples)
    splits = splitting.make_splits(samples, clinical, 3, 1, 0)
    plan = plan_jobs(splits, clinical)
    assert list(zip(plan.jobs["task"], plan.jobs["scope"], strict=True)) == [
        ("cancer_type", "pan"),
        ("survival", "pan"),
        ("survival", "A"),
    ]
    assert list(plan.jobs["n_events"]) == ["", 26, 20]
    assert list(plan.skipped["scope"]) == ["B"]
    assert "6 events among 12 patients" in plan.skipped["reason"].iloc[0]
    assert len(plan_jobs(splits, clinical, min_events=6).skipped) == 0


def test_one_cohort_is_neither_classified_nor_pooled() -> None:
    samples = make_samples({"A": 40})
    clinical = make_clinical(samples)
    plan = plan_jobs(splitting.make_splits(samples, clinical, 3, 1, 0), clinical)
    assert list(plan.jobs["scope"]) == ["A"]
    assert "has 1 classes" in plan.skipped["reason"].iloc[0]
    assert "one cohort only" in plan.skipped["reason"].iloc[1]


def test_another_label_and_its_rare_classes() -> None:
    samples = make_samples({"A": 30})
    clinical = make_clinical(samples)
    clinical.loc[:1, "sex"] = "not stated"
    splits = splitting.make_splits(samples, clinical, 3, 1, 0, label_column="sex")
    plan = plan_jobs(splits, clinical, label_column="sex")
    assert plan.jobs.loc[0, "label_column"] == "sex"
    assert plan.jobs.loc[0, "n_patients"] == 28
    assert "2 patients left out" in plan.skipped.loc[0, "reason"]


def test_unusable_follow_up_is_not_used() -> None:
    samples = make_samples({"A": 4})
    clinical = make_clinical(samples)
    clinical["time_days"] = [0.0, -5.0, np.nan, 8.0]  # a zero is there only if `preprocess` was told to keep it
    usable = splitting.survival_of(samples, clinical)
    assert usable["time_days"].isna().tolist() == [False, True, True, False]
    assert usable["event"].isna().tolist() == [False, True, True, False]
