"""Merged cohorts: two projects under one name keep hazards of their own, in training and in judging."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bulkrnabert.data.splits import Splits, make_splits, strata_of
from bulkrnabert.downstream.job import Job, make_job
from bulkrnabert.downstream.predictions import Predictions, read_predictions, write_predictions
from bulkrnabert.downstream.probe import predict_cox, risk_frame
from bulkrnabert.downstream.survival import fit_cox
from bulkrnabert.errors import DataError
from bulkrnabert.evaluate.baselines import run_baselines
from bulkrnabert.evaluate.evaluate import Setting, evaluate

N_EACH = 150
GBM, LGG = "TCGA-GBM", "TCGA-LGG"


def test_strata() -> None:
    judged = pd.DataFrame({"patient_id": ["a", "b", "c", "d"], "cohort": ["GBMLGG", "GBMLGG", "TCGA-ACC", "own"]})
    clinical = pd.DataFrame({"patient_id": ["d", "c", "b", "a"], "project_id": ["", "TCGA-ACC", LGG, GBM]})
    assert strata_of(judged, clinical).tolist() == ["GBMLGG/TCGA-GBM", "GBMLGG/TCGA-LGG", "TCGA-ACC", "own"]
    assert strata_of(judged, clinical.drop(columns="project_id")).tolist() == judged["cohort"].tolist()


def test_two_cohorts_of_one_project_stay_apart() -> None:
    judged = pd.DataFrame({"patient_id": ["a", "b"], "cohort": ["basal", "luminal"]})
    clinical = judged[["patient_id"]].assign(project_id="TCGA-BRCA")
    assert strata_of(judged, clinical).nunique() == 2


def make_study(with_projects: bool) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """One project dies ten times as fast as the other; features tell the project, and nothing within it."""
    generator = np.random.default_rng(5)
    n = 2 * N_EACH
    is_gbm = np.arange(n) < N_EACH
    patients = pd.Series([f"P{number:03d}" for number in range(n)])
    samples = pd.DataFrame(
        {"sample_id": "S" + patients, "patient_id": patients, "cohort": "GBMLGG", "sample_type": "tumor"}
    )
    clinical = pd.DataFrame(
        {
            "patient_id": patients,
            "cohort": "GBMLGG",
            "time_days": generator.exponential(np.where(is_gbm, 300.0, 3000.0)) + 1.0,
            "event": (generator.random(n) < 0.8).astype(float),
            "endpoint": "OS",
        }
    )
    if with_projects:
        clinical["project_id"] = np.where(is_gbm, GBM, LGG)
    features = generator.normal(size=(n, 4))
    features[:, 0] += np.where(is_gbm, 5.0, -5.0)
    return samples, clinical, features


def judge(job: Job, splits: Splits, features: np.ndarray) -> dict[str, float | None]:
    position = [int(name[2:]) for name in job.rows["sample_id"]]
    frames = [
        risk_frame(
            job,
            fold,
            "Cox",
            "model",
            predict_cox(fit_cox, features[position], job.survival, fold, 0, job.survival_times).risk,
        )
        for fold in job.folds
    ]
    predictions = Predictions(pd.concat(frames, ignore_index=True), [], splits.sha256)
    numbers = evaluate([predictions], {}, None, [], Setting(splits, "leak-free", 0, 20, {}))
    return {row["metric"]: row["value"] for row in numbers["metrics"]}


def test_telling_projects_apart_is_no_prediction_of_survival() -> None:
    samples, clinical, features = make_study(with_projects=True)
    splits = make_splits(samples, clinical, 3, 1, 0)
    found = judge(make_job(splits, clinical, "survival", "GBMLGG"), splits, features)
    assert found["c_index_pooled"] > 0.65  # type: ignore[operator]
    assert found["c_index_within_weighted"] == pytest.approx(0.5, abs=0.06)
    assert found["c_index_within_macro"] == pytest.approx(0.5, abs=0.06)


def test_without_projects_it_would_look_like_one() -> None:
    samples, clinical, features = make_study(with_projects=False)
    splits = make_splits(samples, clinical, 3, 1, 0)
    found = judge(make_job(splits, clinical, "survival", "GBMLGG"), splits, features)
    assert not [name for name in found if "within" in name or "cohort" in name]
    assert found["c_index_pooled"] > 0.65  # type: ignore[operator]


def test_the_coefficient_is_fitted_within_projects() -> None:
    """A stratified model has no reason to weigh the feature that tells the projects apart; an unstratified one does."""
    samples, clinical, features = make_study(with_projects=True)
    splits = make_splits(samples, clinical, 3, 1, 0)
    job = make_job(splits, clinical, "survival", "GBMLGG")
    position = [int(name[2:]) for name in job.rows["sample_id"]]
    labels = job.survival
    assert len(np.unique(labels.strata)) == 2
    at_the_means = np.array([[5.0, 0, 0, 0], [-5.0, 0, 0, 0]])
    apart = {}
    for name, chosen in (("stratified", job), ("not", make_job(splits, make_study(False)[1], "survival", "GBMLGG"))):
        high, low = fit_cox(features[position], chosen.survival, 0)(at_the_means)
        apart[name] = high - low
    assert apart["not"] > 1.5
    assert abs(apart["stratified"]) < 1.0


def test_projects_are_spread_over_the_folds() -> None:
    samples, clinical, _ = make_study(with_projects=True)
    splits = make_splits(samples, clinical, 4, 1, 0)
    of_project = splits.judged["patient_id"].map(clinical.set_index("patient_id")["project_id"])
    counts = pd.crosstab(of_project, splits.judged["fold_r0"]).to_numpy()
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()


def test_cancer_type_alone_knows_the_project() -> None:
    samples, clinical, features = make_study(with_projects=True)
    splits = make_splits(samples, clinical, 2, 1, 0)
    predictions = run_baselines(make_job(splits, clinical, "survival", "GBMLGG"), {"rnaseq": features}, 0)
    alone = predictions.frame[predictions.frame["method"] == "cancer type alone"]
    assert (alone.groupby(["fold", "stratum"])["risk"].nunique() == 1).all()
    assert set(alone["stratum"]) == {"GBMLGG/TCGA-GBM", "GBMLGG/TCGA-LGG"}


def test_follow_up_of_zero_days_can_be_fitted() -> None:
    samples, clinical, features = make_study(with_projects=True)
    clinical.loc[:4, "time_days"] = 0.0
    splits = make_splits(samples, clinical, 2, 1, 0)
    job = make_job(splits, clinical, "survival", "GBMLGG")
    assert len(job.rows) == 2 * N_EACH
    assert np.isfinite(predict_cox(fit_cox, features, job.survival, job.folds[0], 0, job.survival_times).risk).all()


def test_predictions_keep_cohort_and_stratum(tmp_path: Path) -> None:
    samples, clinical, _ = make_study(with_projects=True)
    splits = make_splits(samples, clinical, 2, 1, 0)
    job = make_job(splits, clinical, "survival", "GBMLGG")
    frame = risk_frame(job, job.folds[0], "m", "model", np.zeros(len(job.folds[0].test)))
    write_predictions(Predictions(frame, [], splits.sha256), tmp_path / "p.parquet")
    found = read_predictions(tmp_path / "p.parquet").frame
    assert set(found["cohort"]) == {"GBMLGG"}
    assert set(found["stratum"]) == {"GBMLGG/TCGA-GBM", "GBMLGG/TCGA-LGG"}
    without = Predictions(found.assign(stratum=None), [], splits.sha256)
    with pytest.raises(DataError, match="do not say which `stratum` a patient is of: run `probe` again"):
        evaluate([without], {}, None, [], Setting(splits, "leak-free", 0, 20, {}))
