"""From predictions to metrics.json, on predictions made by hand, and the commands end to end on a small study."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from click.testing import CliRunner

from bulkrnabert.cli import program
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.splits import Splits, make_splits, read_splits
from bulkrnabert.data.tables import CohortTableWriter, TableHeader, cohort_path
from bulkrnabert.downstream.embeddings import Embeddings
from bulkrnabert.downstream.predictions import SCHEMA, Predictions
from bulkrnabert.errors import DataError
from bulkrnabert.evaluate.evaluate import METRIC_COLUMNS, Setting, evaluate, read_training_patients, results_table
from bulkrnabert.evaluate.projection import planes_of, project
from bulkrnabert.provenance import hash_patients

N = 48


def make_study() -> tuple[pd.DataFrame, pd.DataFrame]:
    numbers = np.arange(N)
    samples = pd.DataFrame(
        {
            "sample_id": [f"S{number:02d}" for number in numbers],
            "patient_id": [f"P{number:02d}" for number in numbers],
            "cohort": np.where(numbers % 2 == 0, "A", "B"),
            "project_id": "X",
            "sample_type": "tumor",
            "source": "by hand",
        }
    )
    clinical = samples[["patient_id", "cohort"]].assign(
        time_days=100.0 + numbers, event=(numbers % 3 > 0).astype(int), endpoint="OS"
    )
    return samples, clinical


def make_predictions(splits: Splits, clinical: pd.DataFrame, task: str) -> Predictions:
    """One model that is always right and one baseline that knows nothing."""
    rows = splits.judged.merge(clinical.drop(columns="cohort"), on="patient_id")
    frames = []
    for method, role in (("oracle", "model"), ("nothing", "baseline")):
        frame = rows[["sample_id", "patient_id", "cohort"]].assign(
            stratum=rows["cohort"],
            task=task,
            scope="pan",
            method=method,
            role=role,
            repeat=0,
            fold=rows["fold_r0"],
            split_id=[f"r0f{fold}" for fold in rows["fold_r0"]],
        )
        knows = method == "oracle"
        if task == "survival":
            frame["time_days"], frame["event"] = rows["time_days"], rows["event"]
            frame["risk"] = -rows["time_days"] if knows else 0.0
        else:
            frame["label"] = rows["cohort"]
            frame["predicted"] = rows["cohort"] if knows else "A"
            is_a = (rows["cohort"] == "A").to_numpy(float) if knows else np.full(len(rows), 0.5)
            frame["probabilities"] = list(np.stack([is_a, 1 - is_a], axis=1))
        frames.append(frame.reindex(columns=SCHEMA.names))
    classes = ["A", "B"] if task == "cancer_type" else []
    return Predictions(pd.concat(frames, ignore_index=True), classes, splits.sha256)


@pytest.fixture
def splits() -> Splits:
    return make_splits(*make_study(), n_folds=3, n_repeats=1, seed=0)


def setting(splits: Splits, **changes: object) -> Setting:
    values = {"protocol": "leak-free", "seed": 0, "n_resamples": 50, "trained_on": {}, **changes}
    return Setting(splits, **values)  # type: ignore[arg-type]


def numbers_of(splits: Splits, task: str, **changes: object) -> dict[str, object]:
    clinical = make_study()[1]
    predictions = make_predictions(splits, clinical, task)
    endpoint_of = dict(zip(clinical["patient_id"], clinical["endpoint"], strict=True))
    return evaluate([predictions], endpoint_of, None, [], setting(splits, **changes))


def test_classification_numbers(splits: Splits) -> None:
    numbers = numbers_of(splits, "cancer_type")
    table = results_table(numbers).set_index(["method", "metric"])
    better_low = ["expected_calibration_error", "brier_score", "log_loss"]
    assert (table.loc["oracle", "value"].drop(better_low) == 1.0).all()
    assert table.loc["oracle", "value"][better_low].tolist() == pytest.approx([0, 0, 0])
    assert table.loc["nothing", "value"][better_low].tolist() == pytest.approx([0, 0.5, np.log(2)])
    assert table.loc[("nothing", "accuracy"), "value"] == 0.5
    assert table.loc[("nothing", "auroc_ovr_macro"), "value"] == 0.5
    low, high = table.loc[("nothing", "accuracy"), ["low", "high"]]
    assert 0.25 < low < 0.5 < high < 0.75
    assert numbers["confusion"][0]["matrix"] == [[24, 0], [0, 24]]  # type: ignore[index]
    assert numbers["per_class"][1]["classes"] == [  # type: ignore[index]
        {"label": "A", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "n": 24},
        {"label": "B", "precision": None, "recall": 0.0, "f1": 0.0, "n": 24},
    ]
    assert numbers["reliability"][1]["bins"] == [  # type: ignore[index]
        {"low": 0.5, "high": 0.6, "mean_probability": 0.5, "observed_share": 0.5, "n": 48}
    ]
    (compared,) = numbers["comparisons"]  # type: ignore[misc]
    assert (compared["method"], compared["against"], compared["metric"]) == ("oracle", "nothing", "macro_f1")
    assert compared["difference"] == pytest.approx(2 / 3)
    assert (compared["n_folds"], compared["holds"]) == (3, "ahead")
    assert (table["n_patients"] == N).all()
    json.dumps(numbers, allow_nan=False)


def test_survival_numbers(splits: Splits) -> None:
    numbers = numbers_of(splits, "survival")
    results = results_table(numbers)
    of_cohorts = results[results["metric"] == "c_index_cohort"]
    assert of_cohorts["scope_cohort"].tolist() == ["A", "B", "A", "B"]
    assert of_cohorts["value"].tolist() == [1.0, 1.0, 0.5, 0.5]
    assert (of_cohorts["n_events"] == 16).all()
    table = results.drop(of_cohorts.index).set_index(["method", "metric"])
    ranks = ["c_index_pooled", "c_index_within_weighted", "c_index_within_macro", "uno_c", "uno_c_within_weighted"]
    assert list(table.loc["oracle"].index[:5]) == ranks
    assert (table.loc["oracle", "value"][ranks] == 1.0).all()
    assert (table.loc["nothing", "value"][ranks] == 0.5).all()
    assert table.loc[("oracle", "uno_c"), "at_days"] == pytest.approx(np.quantile(100.0 + np.arange(N), 0.9))
    assert "ranks patients" in table.loc[("oracle", "integrated_brier_score"), "reason"]
    assert "fewer than 5 events" in table.loc[("oracle", "auc_5y"), "reason"]
    assert (table["n_events"] == 32).all()
    curves = numbers["kaplan_meier"]
    assert [item["method"] for item in curves] == ["oracle"]  # type: ignore[attr-defined]
    assert curves[0]["endpoint"] == "OS"  # type: ignore[index]
    assert curves[0]["logrank_p"] < 0.01  # type: ignore[index]


def test_repeats_are_averaged() -> None:
    samples, clinical = make_study()
    splits = make_splits(samples, clinical, n_folds=3, n_repeats=2, seed=0)
    first = make_predictions(splits, clinical, "survival").frame
    folds = splits.frame.set_index("sample_id")["fold_r1"]
    second = first.assign(repeat=1, fold=first["sample_id"].map(folds), risk=-first["risk"])
    both = Predictions(pd.concat([first, second], ignore_index=True), [], splits.sha256)
    results = results_table(evaluate([both], {}, None, [], setting(splits)))
    row = results[(results["method"] == "oracle") & (results["metric"] == "c_index_pooled")].iloc[0]
    assert (row["value"], row["n_patients"], row["n_repeats"]) == (0.5, N, 2)
    assert row["sd_over_repeats"] == pytest.approx(np.std([1.0, 0.0], ddof=1))
    with pytest.raises(DataError, match="`oracle` has 0 predictions in repeat 1 for 48 samples"):
        evaluate([Predictions(first, [], splits.sha256)], {}, None, [], setting(splits))


def test_overlap_with_pretraining_is_counted_or_refused(splits: Splits) -> None:
    everyone = set(hash_patients(splits.frame["patient_id"]))
    trained_on = dict.fromkeys(splits.split_ids("leak-free"), everyone)
    with pytest.raises(DataError, match="48 test patients were in the pretraining"):
        numbers_of(splits, "survival", trained_on=trained_on)
    numbers = numbers_of(splits, "survival", trained_on=trained_on, protocol="transductive")
    by_role = {row["role"]: row["n_pretrained_patients_in_test"] for row in numbers["metrics"]}  # type: ignore[attr-defined]
    assert by_role == {"model": N, "baseline": 0}
    of_training = {
        name: set(
            hash_patients(splits.frame.loc[splits.frame["sample_id"].isin(splits.training_samples(name)), "patient_id"])
        )
        for name in splits.split_ids("leak-free")
    }
    clean = numbers_of(splits, "survival", trained_on=of_training)
    assert {row["n_pretrained_patients_in_test"] for row in clean["metrics"]} == {0}  # type: ignore[attr-defined]
    unknown = numbers_of(splits, "survival")
    assert unknown["metrics"][0]["n_pretrained_patients_in_test"] is None  # type: ignore[index]


def test_no_event_is_not_estimable_with_a_reason(splits: Splits) -> None:
    predictions = make_predictions(splits, make_study()[1].assign(event=0), "survival")
    numbers = evaluate([predictions], {}, None, [], setting(splits))
    row = numbers["metrics"][0]
    assert (row["value"], row["low"], row["estimable"]) == (None, None, False)
    assert row["reason"] == "no two patients of one fold can be compared"
    assert "fewer than 5 events: A (0), B (0)" in numbers["metrics"][1]["reason"]
    json.dumps(numbers, allow_nan=False)


def test_predictions_that_do_not_fit_are_refused(splits: Splits) -> None:
    predictions = make_predictions(splits, make_study()[1], "survival")
    frame = predictions.frame

    def judge(changed: pd.DataFrame, sha256: str = splits.sha256) -> None:
        evaluate([Predictions(changed, [], sha256)], {}, None, [], setting(splits))

    with pytest.raises(DataError, match="are from other splits"):
        judge(frame, sha256="0" * 64)
    with pytest.raises(DataError, match="'S00' is predicted in fold"):
        judge(frame.assign(fold=(frame["fold"] + 1) % 3))
    with pytest.raises(DataError, match="`oracle` has 47 predictions in repeat 0 for 48 samples"):
        judge(frame[1:])
    with pytest.raises(DataError, match="given more than once"):
        evaluate([predictions, predictions], {}, None, [], setting(splits))


def test_training_patients_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"split_id": "r0f0", "patient_hashes": ["x"]}))
    (tmp_path / "b.json").write_text(json.dumps({"split_id": None, "patient_hashes": ["y"]}))
    (tmp_path / "c.json").write_text(json.dumps({"split_id": "r0f1"}))
    found = read_training_patients([tmp_path / name for name in ("a.json", "b.json", "c.json")])
    assert found == {"r0f0": {"x"}, "all": {"y"}}
    (tmp_path / "a.json").write_text("no")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_training_patients([tmp_path / "a.json"])
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(DataError, match="found list"):
        read_training_patients([tmp_path / "a.json"])


def test_few_samples_are_projected_by_pca() -> None:
    values = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    embeddings = Embeddings("all", "", ["a", "b", "c"], ["A", "A", "B"], values)
    plane = project(embeddings, planes_of(embeddings, seed=0))
    assert plane["method"] == "PCA"
    assert [abs(point["x"]) for point in plane["points"]] == [2.0, 0.0, 2.0]
    assert [point["cohort"] for point in plane["points"]] == ["A", "A", "B"]


def write_study(folder: Path) -> None:
    samples, clinical = make_study()
    generator = np.random.default_rng(0)
    is_a = (samples["cohort"] == "A").to_numpy()
    values = generator.exponential(size=(N, 20)).astype(np.float32)
    values[:, :5] *= np.where(is_a, 5.0, 1.0)[:, None].astype(np.float32)
    genes = GeneVocabulary.from_ids([f"ENSG{number:011d}" for number in range(20)])
    for cohort in ("A", "B"):
        inside = (samples["cohort"] == cohort).to_numpy()
        header = TableHeader("tpm", "rnaseq", genes.sha256, "", "open")
        folder.mkdir(exist_ok=True)
        with CohortTableWriter(cohort_path(folder, cohort), header, 20) as writer:
            writer.write(samples[inside], values[inside])
    genes.to_tsv(folder / "genes.tsv")
    clinical.to_csv(folder / "clinical.tsv", sep="\t", index=False)


def write_embeddings(folder: Path, splits: Splits) -> list[str]:
    arguments = []
    samples = make_study()[0].set_index("sample_id")
    for number, name in enumerate(splits.split_ids("leak-free")):
        adata = AnnData(obs=samples[["patient_id", "cohort", "sample_type"]])
        adata.obsm["X_bulkrnabert"] = np.random.default_rng(number).normal(size=(N, 6)).astype(np.float32)
        adata.uns["provenance"] = json.dumps({"split_id": name, "split_sha256": splits.sha256})
        adata.write_h5ad(folder / f"{name}.h5ad")
        arguments += ["--embeddings", str(folder / f"{name}.h5ad")]
    return arguments


def run(*arguments: str) -> None:
    result = CliRunner().invoke(program, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_the_commands_from_cohorts_to_numbers(tmp_path: Path) -> None:
    write_study(tmp_path / "cohorts")
    cohorts = ["--cohorts", str(tmp_path / "cohorts")]
    run("split", *cohorts, "--folds", "3", "--out", str(tmp_path / "splits"))
    assert {path.name for path in (tmp_path / "splits").iterdir()} == {
        "splits.tsv",
        "jobs.tsv",
        "skipped.tsv",
        "encoders.tsv",
    }
    encoders = pd.read_csv(tmp_path / "splits" / "encoders.tsv", sep="\t")
    assert list(encoders["split_id"]) == ["r0f0", "r0f1", "r0f2"]
    splits_file = ["--splits", str(tmp_path / "splits" / "splits.tsv")]
    embeddings = write_embeddings(tmp_path, read_splits(tmp_path / "splits" / "splits.tsv"))
    predictions = []
    for task in ("cancer_type", "survival"):
        out = str(tmp_path / f"{task}.parquet")
        run("probe", *cohorts, *splits_file, *embeddings, "--task", task, "--out", out)
        predictions += ["--predictions", out]
    judged = [*predictions, *splits_file, *cohorts, *embeddings[:2], "--skipped", str(tmp_path / "splits/skipped.tsv")]
    for name in ("first", "second"):
        run("evaluate", *judged, "--bootstrap", "100", "--out", str(tmp_path / name))
    first = (tmp_path / "first" / "metrics.json").read_bytes()
    assert first == (tmp_path / "second" / "metrics.json").read_bytes()
    numbers = json.loads(first)
    assert set(numbers) == {
        "version",
        "split_sha256",
        "protocol",
        "seed",
        "metrics",
        "confusion",
        "kaplan_meier",
        "per_class",
        "reliability",
        "calibration",
        "comparisons",
        "projection",
        "skipped",
    }
    results = pd.read_csv(tmp_path / "first" / "results.csv")
    assert list(results.columns) == METRIC_COLUMNS
    macro_f1 = results[results["metric"] == "macro_f1"].set_index("method")["value"]
    assert macro_f1["PCA + logistic regression"] > macro_f1["most frequent class"]
    assert len(numbers["projection"]["points"]) == N
    assert {row["role"] for row in numbers["metrics"]} == {"model", "baseline"}


@pytest.mark.parametrize(
    ("options", "protocol", "n_encoders", "scope"),
    [
        (["--protocol", "paper", "--folds", "4", "--repeats", "2"], "paper", 1, "pan"),
        (["--leave-out", "A", "--leave-out", "B"], "leak-free", 2, "A"),
        (["--published", "parts.tsv"], "leak-free", 1, "pan"),
    ],
)
def test_the_commands_under_other_splits(
    tmp_path: Path, options: list[str], protocol: str, n_encoders: int, scope: str
) -> None:
    write_study(tmp_path / "cohorts")
    parts = pd.DataFrame({"patient_id": [f"P{number:02d}" for number in range(40)]})
    parts["part"] = ["test" if number % 4 < 2 else "train" for number in range(40)]
    parts.to_csv(tmp_path / "parts.tsv", sep="\t", index=False)
    cohorts = ["--cohorts", str(tmp_path / "cohorts")]
    options = [str(tmp_path / name) if name.endswith(".tsv") else name for name in options]
    run("split", *cohorts, *options, "--min-events", "5", "--out", str(tmp_path / "splits"))
    encoders = pd.read_csv(tmp_path / "splits" / "encoders.tsv", sep="\t")
    assert len(encoders) == n_encoders
    splits_file = ["--splits", str(tmp_path / "splits" / "splits.tsv")]
    splits = read_splits(tmp_path / "splits" / "splits.tsv")
    samples = make_study()[0].set_index("sample_id")
    embeddings = []
    for name in encoders["split_id"]:
        adata = AnnData(obs=samples[["patient_id", "cohort", "sample_type"]])
        adata.obsm["X_bulkrnabert"] = np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32)
        adata.uns["provenance"] = json.dumps({"split_id": name, "split_sha256": splits.sha256})
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
        embeddings += ["--embeddings", str(tmp_path / f"{name}.h5ad")]
    out = str(tmp_path / "predictions.parquet")
    for which, n_methods in (("none", 2), ("fast", 4)):
        job = ["--task", "survival", "--scope", scope, "--baselines", which, "--out", out]
        run("probe", *cohorts, *splits_file, *embeddings, *job)
        judging = ["--predictions", out, *splits_file, *cohorts, "--protocol", protocol, "--bootstrap", "20"]
        run("evaluate", *judging, "--out", str(tmp_path / "numbers"))
        numbers = json.loads((tmp_path / "numbers" / "metrics.json").read_text())
        found = {row["method"] for row in numbers["metrics"] if row["value"] is not None}
        assert len(found) == n_methods
        assert bool(numbers["comparisons"]) == (which == "fast")
        assert numbers["protocol"] == protocol
        for row in numbers["comparisons"]:
            assert (row["holds"] is None) == (row["difference"] is None) == (row["reason"] is not None)
    unmatched = tmp_path / "splits" / "unmatched.tsv"
    assert unmatched.is_file() == ("--published" in options)
    if unmatched.is_file():
        assert len(pd.read_csv(unmatched, sep="\t")) == N - 40


def test_files_of_one_job_with_different_methods_are_judged_together(splits: Splits) -> None:
    predictions = make_predictions(splits, make_study()[1], "survival")
    first = predictions.frame["method"] == predictions.frame["method"].iloc[0]
    other = Predictions(predictions.frame[first].assign(method="second"), [], splits.sha256)
    together = evaluate([predictions, other], {}, None, [], setting(splits))
    assert {row["method"] for row in together["metrics"]} == {*predictions.frame["method"], "second"}
    with pytest.raises(DataError, match="differ in their classes"):
        evaluate([predictions, Predictions(other.frame, ["A"], splits.sha256)], {}, None, [], setting(splits))
