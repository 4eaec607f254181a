"""Baselines: what each is fed, that it learns, and that both protocols judge them from the splits to the numbers."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from bulkrnabert.data.holdouts import leave_cohorts_out, make_paper_splits
from bulkrnabert.data.splits import Splits, make_splits
from bulkrnabert.downstream.job import Job, make_job
from bulkrnabert.downstream.predictions import MODEL, Predictions
from bulkrnabert.downstream.survival import SurvivalLabels
from bulkrnabert.errors import DataError
from bulkrnabert.evaluate import class_baselines, survival_baselines
from bulkrnabert.evaluate.baselines import run_baselines
from bulkrnabert.evaluate.evaluate import Setting, evaluate, results_table
from bulkrnabert.evaluate.expression import fill_missing

N = 96


def make_study() -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Two cohorts; gene 0 tells them apart, gene 1 is the risk, every sixth patient has normal tissue too."""
    generator = np.random.default_rng(0)
    cohort = np.where(np.arange(N) % 2 == 0, "A", "B")
    patients = [f"P{number:02d}" for number in range(N)]
    genes = generator.normal(size=(N, 8))
    genes[:, 0] += np.where(cohort == "A", 2.0, -2.0)
    days = generator.exponential(1200 * np.exp(-1.2 * genes[:, 1]))
    censored = generator.exponential(2500, N)
    clinical = pd.DataFrame(
        {
            "patient_id": patients,
            "cohort": cohort,
            "time_days": np.minimum(days, censored) + 1,
            "event": (days <= censored).astype(float),
            "endpoint": "OS",
            "age_at_diagnosis_days": [str(15000 + 100 * number) for number in range(N)],
            "sex": np.where(np.arange(N) % 3 == 0, "female", "Male"),
            "stage": "",
        }
    )
    samples = pd.DataFrame({"sample_id": patients, "patient_id": patients, "cohort": cohort, "sample_type": "tumor"})
    normal = samples[::6].assign(sample_id=lambda rows: rows["sample_id"] + "-11", sample_type="normal")
    return pd.concat([samples, normal], ignore_index=True), clinical, np.concatenate([genes, genes[::6]])


def features_of(job: Job) -> np.ndarray:
    samples, _, genes = make_study()
    return genes[pd.Index(samples["sample_id"]).get_indexer(pd.Index(job.rows["sample_id"]))]


def judged(job: Job, splits: Splits, protocol: str, found: Predictions) -> pd.DataFrame:
    """Numbers of the baselines, the first of which plays the model."""
    first = found.frame["method"].iloc[0]
    frame = found.frame.assign(
        role=found.frame["role"].mask(found.frame["method"] == first, MODEL),
        method=found.frame["method"].replace(first, "model"),
    )
    again = Predictions(frame, found.classes, found.split_sha256, found.survival_days, found.not_estimable)
    setting = Setting(splits, protocol, 0, 30, {})  # type: ignore[arg-type]
    return results_table(evaluate([again], {}, None, [], setting))


def test_missing_genes_take_the_training_median_and_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    features = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan], [99.0, 5.0]])
    before = features.copy()
    filled = fill_missing(features, np.array([0, 1, 2]))
    np.testing.assert_array_equal(filled, [[1, 0], [3, 0], [2, 0], [99, 5]])
    np.testing.assert_array_equal(features, before)
    whole = np.ones((2, 2))
    assert fill_missing(whole, np.array([0])) is whole
    samples, clinical, _ = make_study()
    job = make_job(make_splits(samples, clinical, 2, 1, 0), clinical, "cancer_type", "pan")
    with_gaps = features_of(job)
    with_gaps[3, 2] = np.nan
    with caplog.at_level(logging.INFO):
        found = run_baselines(job, {"rnaseq": with_gaps}, 0, which="fast")
    assert f"1 of {8 * N} rnaseq values are missing, in 1 of 8 genes" in caplog.text
    assert np.isfinite(np.stack(found.frame["probabilities"].tolist())).all()


@pytest.mark.parametrize("classify", [class_baselines.predict_svm, class_baselines.predict_neighbours])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_classifier_learns_and_gives_probabilities(classify: object, n_classes: int) -> None:
    generator = np.random.default_rng(0)
    truth = np.arange(120) % n_classes
    features = generator.normal(size=(120, 5)) + 3 * np.eye(5)[truth]
    found = classify(features[:90], truth[:90], features[90:], n_classes, 1)  # type: ignore[operator]
    assert (found.argmax(axis=1) == truth[90:]).mean() > 0.85
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-9)
    lacking = classify(features[:90], truth[:90] * 2, features[90:], 2 * n_classes, 1)  # type: ignore[operator]
    assert (lacking[:, 1::2] == 0).all()


def test_clinical_values_are_read_and_what_is_not_known_stays_unknown() -> None:
    rows = pd.DataFrame({"patient_id": ["a", "b", "c", "d"]})
    clinical = pd.DataFrame(
        {
            "patient_id": ["d", "c", "b", "a"],
            "age": ["70", "", "50", "40"],
            "gender": ["FEMALE", "male", "unknown", "male"],
            "stage": ["", "", "", ""],
            "ajcc_stage": ["Stage IVA", "stage iii", "Stage X", "I/II NOS"],
        }
    )
    found = survival_baselines.clinical_features(rows, clinical)
    assert found.names == ["age", "gender", "ajcc_stage"]
    np.testing.assert_array_equal(found.values, [[40, 1, 1], [50, np.nan, np.nan], [np.nan, 1, 3], [70, 0, 4]])
    assert survival_baselines.clinical_features(rows, clinical[["patient_id", "stage"]]).names == []


def test_the_forest_and_coxnet_find_the_risk_and_give_survival() -> None:
    from sksurv.metrics import concordance_index_censored

    samples, clinical, _ = make_study()
    job = make_job(make_splits(samples, clinical, 2, 1, 0), clinical, "survival", "pan")
    features, fold = features_of(job), job.folds[0]
    labels: SurvivalLabels = job.survival
    test = labels.take(fold.test)
    forest = survival_baselines.predict_forest(features, labels, fold, 0, job.survival_times)
    assert concordance_index_censored(test.event == 1, test.time_days, forest.risk)[0] > 0.65
    assert (np.diff(forest.survival, axis=1) <= 1e-9).all()
    assert ((forest.survival >= 0) & (forest.survival <= 1)).all()
    predict = survival_baselines.fit_coxnet(features[fold.train], labels.take(fold.train), 0)
    assert concordance_index_censored(test.event == 1, test.time_days, predict(features[fold.test]))[0] > 0.6


def test_without_age_sex_or_stage_that_baseline_is_not_estimable() -> None:
    samples, clinical, _ = make_study()
    splits = make_splits(samples, clinical, 3, 1, 0)
    job = make_job(splits, clinical, "survival", "pan")
    found = run_baselines(
        job, {"rnaseq": features_of(job)}, 0, clinical.drop(columns=["age_at_diagnosis_days", "sex"]), "fast"
    )
    assert "clinical alone" not in set(found.frame["method"])
    table = judged(job, splits, "leak-free", found)
    rows = table[table["method"] == "clinical alone"]
    assert "c_index_pooled" in set(rows["metric"])
    assert not rows["estimable"].any()
    assert rows["reason"].str.contains("no age, sex or stage").all()
    with_them = run_baselines(job, {"rnaseq": features_of(job)}, 0, clinical, "fast")
    assert "clinical alone" in set(with_them.frame["method"])


def test_the_paper_protocol_from_splits_to_numbers() -> None:
    samples, clinical, _ = make_study()
    splits = make_paper_splits(samples, clinical, 4, 3, 0)
    for task, metric in (("cancer_type", "macro_f1"), ("survival", "c_index_pooled")):
        job = make_job(splits, clinical, task, "pan")  # type: ignore[arg-type]
        assert len(job.rows) == N + N // 6
        found = run_baselines(job, {"rnaseq": features_of(job)}, 0, clinical, "fast")
        table = judged(job, splits, "paper", found)
        row = table[(table["method"] == "model") & (table["metric"] == metric)].iloc[0]
        assert row["n_repeats"] == 3
        assert row["sd_over_repeats"] >= 0
        assert row["low"] <= row["value"] <= row["high"]
        tested = found.frame.drop_duplicates("sample_id")
        assert row["n_samples"] == len(tested) > row["n_patients"] == tested["patient_id"].nunique()
        with pytest.raises(DataError, match="`leak-free` judges one a patient"):
            judged(job, splits, "leak-free", found)


def test_a_cohort_left_out_is_judged_by_one_fold() -> None:
    samples, clinical, _ = make_study()
    splits = leave_cohorts_out(samples, ["A"])
    job = make_job(splits, clinical, "survival", "A")
    table = judged(job, splits, "leak-free", run_baselines(job, {"rnaseq": features_of(job)}, 0, clinical, "fast"))
    row = table[(table["method"] == "model") & (table["metric"] == "c_index_pooled")].iloc[0]
    assert row["value"] > 0.6
    assert (row["n_patients"], row["scope"]) == (N // 2, "A")
    assert np.isfinite(table.loc[table["metric"] == "integrated_brier_score", "value"].astype(float)).any()
