"""Jobs, embeddings and heads: the right rows in the right folds, and a head that learns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.splits import Splits, make_splits
from bulkrnabert.data.tables import Cohorts
from bulkrnabert.downstream.embeddings import Embeddings, encoder_of, read_embeddings
from bulkrnabert.downstream.job import Job, embeddings_by_split, make_job
from bulkrnabert.downstream.predictions import read_predictions, write_predictions
from bulkrnabert.downstream.probe import predict_logistic, predict_mlp, predict_nearest, probe_embeddings
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.evaluate.baselines import run_baselines
from bulkrnabert.evaluate.expression import expression_features, modality_features, most_variable, principal_components

N = 40


def make_study(n: int = N) -> tuple[pd.DataFrame, pd.DataFrame]:
    cohorts = np.where(np.arange(n) % 2 == 0, "A", "B")
    samples = pd.DataFrame(
        {
            "sample_id": [f"S{number:02d}" for number in range(n)],
            "patient_id": [f"P{number:02d}" for number in range(n)],
            "cohort": cohorts,
            "sample_type": "tumor",
        }
    )
    clinical = pd.DataFrame(
        {
            "patient_id": samples["patient_id"],
            "cohort": cohorts,
            "time_days": np.arange(n) + 1.0,
            "event": (np.arange(n) % 4 < 2).astype(float),
        }
    )
    return samples, clinical


@pytest.fixture
def splits() -> Splits:
    return make_splits(*make_study(), n_folds=2, n_repeats=1, seed=0)


def encoder_output(splits: Splits, split_id: str, value: float = 0.0, sha256: str | None = None) -> Embeddings:
    """Embeddings in another order than the splits; the second column is the sample's number."""
    names = sorted(splits.frame["sample_id"], reverse=True)
    numbers = np.array([float(name[1:]) for name in names])
    is_a = numbers % 2 == 0
    values = np.stack([np.full(len(names), value), numbers, is_a * 3.0], axis=1)
    return Embeddings(split_id, splits.sha256 if sha256 is None else sha256, names, ["A"] * len(names), values)


def test_each_fold_takes_its_own_encoder(splits: Splits) -> None:
    job = make_job(splits, make_study()[1], "cancer_type", "pan")
    files = [Path("one"), Path("two")]
    features = embeddings_by_split(job, [encoder_output(splits, "r0f1", 1.0), encoder_output(splits, "r0f0")], files)
    assert set(features["r0f0"][:, 0]) == {0.0}
    assert set(features["r0f1"][:, 0]) == {1.0}
    assert [f"S{int(number):02d}" for number in features["r0f0"][:, 1]] == list(job.rows["sample_id"])


def test_one_encoder_of_all_samples_serves_every_fold(splits: Splits) -> None:
    job = make_job(splits, make_study()[1], "cancer_type", "pan")
    features = embeddings_by_split(job, [encoder_output(splits, "all", sha256="")], [Path("one")])
    assert list(features) == ["r0f0", "r0f1"]


def test_wrong_embeddings_are_refused(splits: Splits) -> None:
    job = make_job(splits, make_study()[1], "cancer_type", "pan")
    first = encoder_output(splits, "r0f0")
    with pytest.raises(DataError, match="no embeddings of split r0f1"):
        embeddings_by_split(job, [first], [Path("one")])
    with pytest.raises(DataError, match="two: second file of split 'r0f0'"):
        embeddings_by_split(job, [first, first], [Path("one"), Path("two")])
    with pytest.raises(DataError, match="trained under other splits"):
        embeddings_by_split(job, [encoder_output(splits, "r0f0", sha256="0" * 64)], [Path("one")])
    short = Embeddings("all", "", first.sample_ids[:-1], first.cohorts[:-1], first.values[:-1])
    with pytest.raises(DataError, match="no embedding of 1 samples, first 'S00'"):
        embeddings_by_split(job, [short], [Path("one")])


def test_embeddings_file(tmp_path: Path) -> None:
    adata = AnnData(obs=pd.DataFrame({"patient_id": ["P", "Q"]}, index=["S1", "S2"]))
    path = tmp_path / "embeddings.h5ad"
    adata.write_h5ad(path)
    with pytest.raises(DataError, match="2 problems"):
        read_embeddings(path)
    adata.obs["cohort"] = ["A", "B"]
    adata.obsm["X_bulkrnabert"] = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    adata.uns["provenance"] = json.dumps({"split_id": "r0f1", "split_sha256": "abc"})
    adata.write_h5ad(path)
    found = read_embeddings(path)
    assert (found.split_id, found.split_sha256, found.sample_ids) == ("r0f1", "abc", ["S1", "S2"])
    np.testing.assert_array_equal(found.values, [[1, 2], [3, 4]])
    adata.obsm["X_bulkrnabert"][1, 0] = np.nan
    adata.write_h5ad(path)
    with pytest.raises(DataError, match="sample 'S2' is not finite"):
        read_embeddings(path)
    path.write_text("no table")
    with pytest.raises(DataError, match="cannot be read as h5ad"):
        read_embeddings(path)


def test_jobs_take_the_rows_they_can_use(splits: Splits) -> None:
    clinical = make_study()[1]
    clinical.loc[0, "time_days"] = np.nan
    assert len(make_job(splits, clinical, "cancer_type", "pan").rows) == N
    pan = make_job(splits, clinical, "survival", "pan")
    assert len(pan.rows) == N - 1
    one = make_job(splits, clinical, "survival", "A")
    assert set(one.rows["cohort"]) == {"A"}
    for fold in pan.folds:
        held_out = splits.held_out_samples(fold.split_id)
        assert set(pan.rows["sample_id"].iloc[fold.test]) <= held_out
        assert not set(pan.rows["sample_id"].iloc[fold.train]) & held_out
    with pytest.raises(ConfigError, match="'C' is no cohort of the splits: choose one of pan, A, B"):
        make_job(splits, clinical, "survival", "C")
    with pytest.raises(DataError, match="0 events among 40 patients"):
        make_job(splits, make_study()[1].assign(event=0.0), "survival", "pan")
    with pytest.raises(DataError, match="0 classes of `stage`"):
        make_job(splits, make_study()[1].assign(stage=""), "cancer_type", "pan", "stage")


def cohorts_of(samples: pd.DataFrame, values: np.ndarray, modality: str = "rnaseq") -> Cohorts:
    n_genes = values.shape[1]
    genes = GeneVocabulary(tuple(f"ENSG{number:011d}" for number in range(n_genes)), ("",) * n_genes, ("",) * n_genes)
    return Cohorts(genes, samples, values.astype(np.float32), "zscore", "local", modality)


def test_features_are_found_by_name_and_missing_where_a_sample_lacks_the_modality(splits: Splits) -> None:
    job = make_job(splits, make_study()[1], "cancer_type", "pan")
    samples = make_study()[0][::-1].reset_index(drop=True)
    values = samples["sample_id"].str[1:].astype(np.float32).to_numpy()[:, None]
    found = modality_features(job, cohorts_of(samples, values))
    assert [f"S{int(number):02d}" for number in found[:, 0]] == list(job.rows["sample_id"])
    assert samples["sample_id"].iloc[-1] == "S00"
    without = modality_features(job, cohorts_of(samples[:-1], values[:-1]))
    is_s00 = (job.rows["sample_id"] == "S00").to_numpy()
    assert np.isnan(without[is_s00]).all()
    np.testing.assert_array_equal(without[~is_s00], found[~is_s00])
    with pytest.raises(DataError, match="none of the 40 samples of cancer_type, scope pan has methylation"):
        modality_features(job, cohorts_of(samples.assign(sample_id="X" + samples["sample_id"]), values, "methylation"))


def test_nearest_neighbours_vote_by_angle() -> None:
    train = np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 9.0]])
    found = predict_nearest(train[:2], np.array([0, 2]), np.array([[5.0, 0.0]]), 3, 0)
    np.testing.assert_allclose(found, [[0.5, 0.0, 0.5]])  # fewer samples than neighbours: all vote
    many = np.repeat(train, 10, axis=0)
    classes = np.repeat([0, 0, 2, 2], 10)
    found = predict_nearest(many, classes, np.array([[100.0, 1.0], [0.0, 0.5]]), 3, 0)
    np.testing.assert_allclose(found, [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def test_embeddings_of_two_models_are_not_mixed(splits: Splits) -> None:
    first = encoder_output(splits, "r0f0")
    paths = [Path("one.h5ad"), Path("two.h5ad")]
    assert encoder_of([first, first], paths) == "bulkrnabert"
    with pytest.raises(DataError, match=r"two\.h5ad: embeddings of mojo, one\.h5ad of bulkrnabert"):
        encoder_of([first, replace(first, model="mojo")], paths)


@pytest.mark.parametrize("classify", [predict_logistic, predict_mlp])
def test_a_classifier_learns_repeats_itself_and_leaves_its_input(classify: object) -> None:
    generator = np.random.default_rng(0)
    truth = np.arange(90) % 3
    features = generator.normal(size=(90, 5)) + 3 * np.eye(5)[truth]
    before = features.copy()
    found = classify(features[:60], truth[:60], features[60:], 3, 1)  # type: ignore[operator]
    again = classify(features[:60], truth[:60], features[60:], 3, 1)  # type: ignore[operator]
    assert (found.argmax(axis=1) == truth[60:]).mean() > 0.85
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(found, again)
    np.testing.assert_array_equal(features, before)


def test_a_class_that_training_lacks_gets_no_probability() -> None:
    features = np.random.default_rng(0).normal(size=(20, 2))
    found = predict_logistic(features, np.arange(20) % 2 * 2, features, 3, 0)
    assert (found[:, 1] == 0).all()


def test_test_rows_do_not_reach_the_fit(splits: Splits) -> None:
    """Other labels and features in the held-out fold change no fitted quantity: the leak would show here."""
    job = make_job(splits, make_study()[1], "cancer_type", "pan")
    features = np.random.default_rng(0).normal(size=(N, 30))
    fold = job.folds[0]
    changed = features.copy()
    changed[fold.test] *= 50
    components = principal_components(features, fold.train, 5, 0)
    np.testing.assert_allclose(principal_components(changed, fold.train, 5, 0)[fold.train], components[fold.train])
    chosen = most_variable(features, fold.train, 10)
    np.testing.assert_array_equal(most_variable(changed, fold.train, 10)[fold.train], chosen[fold.train])


def test_components_span_at_most_half_of_the_training_rows() -> None:
    features = np.random.default_rng(0).normal(size=(N, 30))
    assert principal_components(features, np.arange(20), 500, 0).shape[1] == 10
    assert principal_components(features, np.arange(20), 4, 0).shape[1] == 4


def test_linear_units_are_logged_others_are_not() -> None:
    values = np.array([[0.0, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(expression_features(values, "tpm"), [[0.0, np.log(2)]])
    np.testing.assert_allclose(expression_features(values, "zscore"), values)


def test_predictions_of_every_method_and_back_from_the_file(splits: Splits, tmp_path: Path) -> None:
    clinical = make_study()[1]
    expression = np.random.default_rng(1).normal(size=(N, 12))
    for task, n_methods in (("cancer_type", 9), ("survival", 6)):
        job: Job = make_job(splits, clinical, task, "pan")  # type: ignore[arg-type]
        features = embeddings_by_split(job, [encoder_output(splits, "all")], [Path("one")])
        heads = probe_embeddings(job, features, 0, encoder_split="all")
        baselines = run_baselines(job, {"rnaseq": expression}, 0)
        both = pd.concat([heads.frame, baselines.frame], ignore_index=True)
        assert both["method"].nunique() == n_methods
        assert (both.groupby("method").size() == N).all()
        assert set(heads.frame["split_id"]) == {"all"}
        assert set(baselines.frame["split_id"]) == {"r0f0", "r0f1"}
        write_predictions(replace(baselines, frame=both), tmp_path / "predictions.parquet")
        again = read_predictions(tmp_path / "predictions.parquet")
        assert again.survival_days == heads.survival_days
        assert list(again.not_estimable) == ([] if task == "cancer_type" else ["clinical alone"])
        assert (again.classes, again.split_sha256) == (heads.classes, splits.sha256)
        used = ["label", "predicted"] if task == "cancer_type" else ["time_days", "event", "risk"]
        assert again.frame[used].notna().all().all()
    survival = np.stack(again.frame["survival_probabilities"].tolist())
    assert survival.shape == (len(again.frame), len(again.survival_days))
    assert ((survival >= 0) & (survival <= 1)).all()
    assert (np.diff(survival, axis=1) <= 1e-6).all()
    assert again.frame["probabilities"].isna().all()


def test_a_file_that_is_no_predictions(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    path.write_text("x")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_predictions(path)
    pd.DataFrame({"task": ["survival"]}).to_parquet(path)
    with pytest.raises(
        DataError, match=r"brb\.survival_days, brb\.not_estimable missing; expected a file that `probe` wrote"
    ):
        read_predictions(path)
