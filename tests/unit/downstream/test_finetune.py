"""Fine-tuning of folds: rows, heads, folder, tuning, and predictions of new samples."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.torch import load_file, save_file

from bulkrnabert.cli.finetune import command as finetune_command
from bulkrnabert.cli.predict import command as predict_command
from bulkrnabert.cli.preprocess import command as preprocess_command
from bulkrnabert.data.sources.files import read_expression
from bulkrnabert.data.tokens import read_tokens
from bulkrnabert.downstream.finetune import FinetuneSettings, StartEmbeddings, pair_encoders, start_finetuner
from bulkrnabert.downstream.finetuned_folder import load_finetuned
from bulkrnabert.downstream.job import make_job
from bulkrnabert.downstream.joint import JointJob, join_jobs
from bulkrnabert.downstream.predict import predict_table
from bulkrnabert.downstream.predictions import read_predictions
from bulkrnabert.downstream.pretrained import load
from bulkrnabert.downstream.probe import predict_logistic
from bulkrnabert.downstream.survival import fit_cox
from bulkrnabert.errors import BulkRNABertError, CheckpointError, ConfigError, DataError, VocabularyError
from bulkrnabert.provenance import sha256_file
from bulkrnabert.train.finetune import FinetuneConfig
from bulkrnabert.train.targets import ClassTarget, CoxTarget

Study = Any
CPU = torch.device("cpu")
QUICK = "{adapter: {kind: ia3}, max_epochs: 2, patience: 1, learning_rate: 0.01}"


def make(study: Study, *tasks: str, label_column: str = "cohort") -> JointJob:
    return join_jobs([make_job(study.splits, study.clinical, task, "pan", label_column) for task in tasks])  # type: ignore[arg-type]


def settings(**values: Any) -> FinetuneSettings:
    return FinetuneSettings(FinetuneConfig.model_validate(values), "pretrained", 0, CPU)


def pairs(study: Study, job: JointJob, *split_ids: str) -> Any:
    models = [(study.checkpoint(name), load(study.checkpoint(name))) for name in split_ids]
    return pair_encoders(job, models, [(study.tokens(name), read_tokens(study.tokens(name))) for name in split_ids])


def run(command: Any, *arguments: Any) -> Any:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, BulkRNABertError):
        raise result.exception
    return result


def refusal(command: Any, *arguments: Any) -> str:
    result = run(command, *arguments)
    assert result.exception is not None
    return str(result.exception)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "task.yaml"
    path.write_text(f"cancer_type: {QUICK}\nsurvival: {QUICK}\njoint: {QUICK}\n")
    return path


@pytest.fixture(scope="module")
def classifier(finetune_study: Study, config_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("classifier") / "out"
    arguments = [*finetune_study.arguments("r0f0", "r0f1"), "--task", "cancer_type", "--task-config", config_file]
    assert run(finetune_command, *arguments, "--out", out).exception is None
    return out


@pytest.fixture(scope="module")
def both(finetune_study: Study, config_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("both") / "out"
    arguments = [*finetune_study.arguments("all"), "--task", "cancer_type", "--task", "survival", "--final"]
    assert run(finetune_command, *arguments, "--task-config", config_file, "--out", out).exception is None
    return out


def test_joint_rows_are_the_union_with_labels_where_usable(finetune_study: Study) -> None:
    job = make(finetune_study, "survival", "cancer_type")
    assert len(job.rows) == 60 and len(job.jobs[0].rows) == 56
    survival, classes = job.targets()
    assert isinstance(survival, CoxTarget) and isinstance(classes, ClassTarget)
    by_sample = finetune_study.clinical.set_index(job.rows["sample_id"].str.replace("S", "P").sort_values().to_numpy())
    expected = by_sample.loc[job.rows["patient_id"], "time_days"].to_numpy()
    assert_array_equal(survival.time_days, expected)
    assert (classes.class_ids >= 0).all() and np.isnan(survival.time_days).sum() == 4
    for fold in job.folds:
        assert not set(job.rows["patient_id"].iloc[fold.train]) & set(job.rows["patient_id"].iloc[fold.test])
        assert sorted([*fold.train, *fold.test]) == list(range(60))
        for number, one_task in enumerate(job.jobs):
            own = job.rows_of_job(number, fold.train)
            assert_array_equal(np.sort(own), next(f for f in one_task.folds if f.split_id == fold.split_id).train)


def test_a_single_job_keeps_its_rows(finetune_study: Study) -> None:
    job = make(finetune_study, "survival")
    assert list(job.rows["sample_id"]) == list(job.jobs[0].rows["sample_id"])
    assert_array_equal(job.folds[0].test, job.jobs[0].folds[0].test)
    with pytest.raises(ConfigError, match="give each task once"):
        make(finetune_study, "survival", "survival")


def test_the_inner_part_is_of_whole_patients_and_spread(finetune_study: Study) -> None:
    job = make(finetune_study, "cancer_type")
    doubled = JointJob(
        job.jobs, job.rows.assign(patient_id=[f"P{row // 2}" for row in range(60)]), job.folds, job.places
    )
    inner = doubled.inner_part(np.arange(60), 0.2, 0)
    patients = doubled.rows["patient_id"]
    assert not set(patients.iloc[inner]) & set(patients.drop(inner))
    inner = job.inner_part(job.folds[0].train, 0.2, 0)
    assert np.bincount(job.jobs[0].class_ids[inner]).tolist() == [3, 3]


def test_each_fold_gets_its_own_encoder(finetune_study: Study) -> None:
    job = make(finetune_study, "cancer_type")
    found = pairs(finetune_study, job, "r0f1", "r0f0")
    assert {name: item.split_id for name, item in found.items()} == {"r0f0": "r0f0", "r0f1": "r0f1"}
    shared = pairs(finetune_study, job, "all")
    assert shared["r0f0"] is shared["r0f1"] is shared["all"]
    with pytest.raises(DataError, match="no checkpoint of split r0f1"):
        pairs(finetune_study, job, "r0f0")
    with pytest.raises(DataError, match="second checkpoint of split r0f0"):
        model = (finetune_study.checkpoint("r0f0"), load(finetune_study.checkpoint("r0f0")))
        tokens = [(finetune_study.tokens(name), read_tokens(finetune_study.tokens(name))) for name in ("r0f0", "r0f1")]
        pair_encoders(job, [model, model], tokens)


def test_tokens_of_another_encoder_are_refused(finetune_study: Study, tmp_path: Path) -> None:
    job = make(finetune_study, "cancer_type")
    folder = tmp_path / "checkpoint"
    shutil.copytree(finetune_study.checkpoint("all"), folder)
    tokens = [(finetune_study.tokens("all"), read_tokens(finetune_study.tokens("all")))]
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "normalization_factor": 4.0}))
    with pytest.raises(DataError, match="another tokenizer than the checkpoint"):
        pair_encoders(job, [(folder, load(folder))], tokens)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "provenance.json").write_text(json.dumps({"split_id": "all", "split_sha256": "e" * 64}))
    with pytest.raises(DataError, match="checkpoint: made under other splits"):
        pair_encoders(job, [(folder, load(folder))], tokens)
    genes = (folder / "genes.txt").read_text().splitlines()
    (folder / "genes.txt").write_text("\n".join(reversed(genes)))
    with pytest.raises(DataError, match="other genes than the checkpoint"):
        pair_encoders(job, [(folder, load(folder))], tokens)


def test_linear_heads_start_as_the_probe(finetune_study: Study) -> None:
    job = make(finetune_study, "cancer_type")
    fold, encoder = job.folds[0], pairs(finetune_study, job, "all")["r0f0"]
    chosen = settings(adapter={"kind": "none"}, pooling="mean")
    finetuner = start_finetuner(job, fold.train, fold, encoder, chosen, StartEmbeddings(chosen))
    outputs = finetuner.outputs(fold.test)
    features = encoder.model.sample_embedding(torch.from_numpy(encoder.token_ids)).detach().double().numpy()
    expected = predict_logistic(features[fold.train], job.jobs[0].class_ids[fold.train], features[fold.test], 2, 0)
    assert_allclose(outputs["cancer_type"].softmax(dim=1).numpy(), expected, atol=2e-3)
    job = make(finetune_study, "survival")
    fold, encoder = job.folds[0], pairs(finetune_study, job, "all")["r0f0"]
    finetuner = start_finetuner(job, fold.train, fold, encoder, chosen, StartEmbeddings(chosen))
    features = encoder.model.sample_embedding(torch.from_numpy(encoder.token_ids)).detach().double().numpy()
    risk = fit_cox(features[fold.train], job.jobs[0].survival.take(fold.train), 0)(features[fold.test])
    assert_allclose(finetuner.outputs(fold.test)["survival"][:, 0].numpy(), risk, atol=2e-3)


def test_each_sample_goes_through_an_encoder_once(finetune_study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    import bulkrnabert.downstream.finetune as module

    counts: list[int] = []
    real = module.pooled_embeddings

    def counted(network: Any, token_ids: Any, *more: Any) -> Any:
        counts.append(len(token_ids))
        return real(network, token_ids, *more)

    monkeypatch.setattr(module, "pooled_embeddings", counted)
    job = make(finetune_study, "cancer_type")
    encoders, chosen = pairs(finetune_study, job, "all"), settings(adapter={"kind": "none"}, max_epochs=1)
    starts = StartEmbeddings(chosen)
    for fold in job.folds:
        module.finish_fold(
            job,
            fold,
            encoders[fold.split_id],
            module.search_fold(job, fold, encoders[fold.split_id], chosen, starts),
            starts,
        )
    assert counts == [60]


def test_out_of_fold_predictions(classifier: Path, finetune_study: Study) -> None:
    found = read_predictions(classifier / "predictions.parquet")
    assert sorted(found.frame["sample_id"]) == sorted(finetune_study.values.index)
    assert (found.classes, set(found.frame["method"])) == (["A", "B"], {"IA3 fine-tuning"})
    assert set(found.frame["split_id"]) == {"r0f0", "r0f1"}
    assert (found.frame["label"] == found.frame["predicted"]).mean() > 0.9
    kinds = {json.loads(line)["kind"] for line in (classifier / "records" / "records.jsonl").open()}
    assert kinds == {"train", "validation", "summary"}


def test_predictions_of_both_tasks(both: Path) -> None:
    classes = read_predictions(both / "predictions.cancer_type.parquet")
    survival = read_predictions(both / "predictions.survival.parquet")
    assert (len(classes.frame), len(survival.frame)) == (60, 56)
    assert set(survival.frame["split_id"]) == {"all"}
    assert survival.frame["risk"].notna().all() and survival.survival_days


def test_the_folder_is_enough_alone(classifier: Path, finetune_study: Study, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(classifier / "model", moved)
    model = load_finetuned(moved)
    assert [member.split_id for member in model.members] == ["r0f0", "r0f1"]
    table = read_expression(finetune_study.table)
    out_of_fold = read_predictions(classifier / "predictions.parquet").frame.set_index("sample_id")
    for member in model.members:
        alone = type(model)(model.record, (member,))
        frame = predict_table(alone, table, "tpm", None, CPU).set_index("sample_id")
        own = out_of_fold[out_of_fold["split_id"] == member.split_id]
        expected = np.stack(own["probabilities"].to_numpy())
        assert_allclose(frame.loc[own.index, ["probability_A", "probability_B"]], expected, atol=1e-5)
    card = (moved / "README.md").read_text()
    assert "For research" in card and "| r0f0 | 30 |" in card


def test_adapters_are_small_and_say_whose_they_are(classifier: Path) -> None:
    path = classifier / "model" / "members" / "r0f0" / "adapter.safetensors"
    assert path.stat().st_size < 100_000
    assert not [name for name in load_file(path) if "ia3" not in name and name.startswith("encoder.")]
    patients = json.loads((classifier / "model" / "provenance.json").read_text())["patient_hashes"]
    assert len(patients) == 60 and "P00" not in (classifier / "model" / "config.json").read_text()


def test_members_are_averaged(classifier: Path, finetune_study: Study) -> None:
    model, table = load_finetuned(classifier / "model"), read_expression(finetune_study.table)
    frame = predict_table(model, table, "tpm", None, CPU)
    single = [predict_table(type(model)(model.record, (member,)), table, "tpm", None, CPU) for member in model.members]
    by_member = np.stack([item[["probability_A", "probability_B"]].to_numpy() for item in single])
    assert_allclose(frame[["probability_A", "probability_B"]], by_member.mean(axis=0), atol=1e-7)
    best = by_member.mean(axis=0).argmax(axis=1)
    assert list(frame["predicted"]) == [["A", "B"][number] for number in best]
    assert_allclose(frame["confidence_spread"], by_member[:, np.arange(60), best].std(axis=0, ddof=1), atol=1e-7)
    assert single[0]["confidence_spread"].isna().all()


def test_a_survival_model_and_its_strata(both: Path, finetune_study: Study) -> None:
    model, table = load_finetuned(both / "model"), read_expression(finetune_study.table)
    assert [member.split_id for member in model.members] == ["r0f0", "r0f1", "final"]
    assert {member.encoder for member in model.record.members} == {"encoder"}
    pooled = predict_table(model, table, "tpm", None, CPU)
    of_a = predict_table(model, table, "tpm", "A", CPU)
    shift = of_a["risk"] - pooled["risk"]
    assert_allclose(shift, shift[0], atol=1e-9)
    offsets = [
        m.baseline.log_hazard[m.strata.index("A")] - m.baseline.pooled_log_hazard for m in model.members if m.baseline
    ]
    assert shift[0] == pytest.approx(np.mean(offsets))
    assert pooled["survival_3y"].between(0, 1).all() and "survival_5y" not in pooled
    assert np.corrcoef(pooled["risk"], pooled["survival_3y"])[0, 1] < -0.8
    with pytest.raises(ConfigError, match="'C' is not known to the model: choose one of A, B"):
        predict_table(model, table, "tpm", "C", CPU)


def test_a_member_reproduces_its_out_of_fold_risk(both: Path, finetune_study: Study) -> None:
    model, table = load_finetuned(both / "model"), read_expression(finetune_study.table)
    own = read_predictions(both / "predictions.survival.parquet").frame
    own = own[(own["fold"] == 0) & (own["cohort"] == "B")].set_index("sample_id")
    alone = type(model)(model.record, model.members[:1])
    risk = predict_table(alone, table, "tpm", "B", CPU).set_index("sample_id")["risk"]
    assert_allclose(risk.loc[own.index], own["risk"], atol=1e-4)


def test_predict_command(both: Path, finetune_study: Study, tmp_path: Path) -> None:
    table = tmp_path / "new.csv"
    new = finetune_study.values.iloc[:, ::-1].drop(columns=[finetune_study.values.columns[3]]) / 2
    np.log2(new + 1).T.rename_axis("gene_id").to_csv(table)
    labels = tmp_path / "labels.csv"
    finetune_study.clinical.dropna().to_csv(labels, index=False)
    frames = {}
    for suffix in ("parquet", "tsv", "csv"):
        arguments = ["--model", both / "model", "--table", table, "--unit", "log2(tpm+1)", "--device", "cpu"]
        result = run(predict_command, *arguments, "--out", tmp_path / f"p.{suffix}")
        assert result.exception is None
    frames["parquet"] = pd.read_parquet(tmp_path / "p.parquet")
    frames["tsv"] = pd.read_csv(tmp_path / "p.tsv", sep="\t")
    frames["csv"] = pd.read_csv(tmp_path / "p.csv")
    expected = ["sample_id", "predicted", "confidence", "confidence_spread", "probability_A", "probability_B", "risk"]
    assert list(frames["tsv"].columns)[:7] == expected
    assert_allclose(frames["tsv"]["missing_share"], 1 / 20, atol=1e-6)
    for frame in frames.values():
        assert_allclose(frame["risk"], frames["parquet"]["risk"], atol=1e-9)


def test_predict_says_how_good_it_is(
    both: Path, finetune_study: Study, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = tmp_path / "labels.csv"
    renamed = finetune_study.clinical.rename(columns={"patient_id": "sample_id"})
    renamed.assign(sample_id=renamed["sample_id"].str.replace("P", "S")).to_csv(labels, index=False)
    arguments = ["--model", both / "model", "--table", finetune_study.table, "--unit", "tpm", "--device", "cpu"]
    result = run(predict_command, *arguments, "--labels", labels, "--out", tmp_path / "p.tsv")
    assert result.exception is None
    assert any("the model was trained on say nothing about new ones" in text for text in caplog.messages)
    values = {line.split("\t")[0]: line.split("\t")[1:] for line in result.stdout.splitlines()}
    assert float(values["accuracy"][0]) > 0.9 and values["accuracy"][1] == "60 samples"
    assert float(values["c_index"][0]) > 0.6 and values["c_index"][1] == "56 samples"
    message = refusal(
        predict_command, *arguments, "--labels", labels, "--label-column", "size", "--out", tmp_path / "p.tsv"
    )
    assert "'size' is not in labels.csv: choose one of cohort" in message
    message = refusal(
        predict_command, *arguments, "--labels", labels, "--label-column", "grade", "--out", tmp_path / "p.tsv"
    )
    assert "no sample has a class of the model (A, B, …) in `grade`; found high, low" in message


def test_refusals_of_predict(classifier: Path, finetune_study: Study, tmp_path: Path) -> None:
    def message(
        *more: Any, table: Path = finetune_study.table, out: str = "p.tsv", model: Path = classifier / "model"
    ) -> str:
        unit = () if "--unit" in more else ("--unit", "tpm")
        return refusal(predict_command, "--model", model, "--table", table, *unit, *more, "--out", tmp_path / out)

    assert "ends in .parquet, .tsv, .csv" in message(out="p.xlsx")
    assert "does not predict survival" in message("--cohort", "A")
    assert "--label-column belongs to --labels" in message("--label-column", "grade")
    assert "no value is negative" in message("--unit", "zscore")
    assert f"the model is {classifier / 'model'}" in message(model=classifier)
    assert "a pretrained encoder, which predicts nothing" in message(model=finetune_study.checkpoint("all"))
    few = tmp_path / "few.tsv"
    finetune_study.values.iloc[:, :5].to_csv(few, sep="\t")
    with pytest.raises(VocabularyError, match="5 of the model's 20 genes"):
        raise run(
            predict_command,
            "--model",
            classifier / "model",
            "--table",
            few,
            "--unit",
            "tpm",
            "--out",
            tmp_path / "p.tsv",
        ).exception
    assert not (tmp_path / "p.tsv").exists()


@pytest.fixture
def broken(classifier: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(classifier / "model", folder)
    return folder


def restate(folder: Path, name: str) -> None:
    """Put a changed file's hash into config.json, as one who forges a folder would."""
    record = json.loads((folder / "config.json").read_text())
    for member in record["members"]:
        if name in member["sha256"]:
            member["sha256"][name] = sha256_file(folder / name)
    (folder / "config.json").write_text(json.dumps(record))


def test_changed_or_missing_files_are_all_named(broken: Path) -> None:
    (broken / "members/r0f0/encoder/genes.txt").write_text("ENSG1\n")
    (broken / "members/r0f1/adapter.safetensors").unlink()
    with pytest.raises(CheckpointError) as caught:
        load_finetuned(broken)
    assert "members/r0f0/encoder/genes.txt: not the file that was written" in str(caught.value)
    assert "members/r0f1/adapter.safetensors: missing" in str(caught.value)


def test_a_pickle_is_not_read(broken: Path) -> None:
    path = broken / "members/r0f0/adapter.safetensors"
    torch.save({"weight": torch.zeros(2)}, path)
    restate(broken, "members/r0f0/adapter.safetensors")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_finetuned(broken)


def test_an_encoder_of_another_model_is_refused(broken: Path, finetune_study: Study) -> None:
    shutil.copyfile(
        finetune_study.checkpoint("all") / "model.safetensors", broken / "members/r0f0/encoder/model.safetensors"
    )
    restate(broken, "members/r0f0/encoder/model.safetensors")
    with pytest.raises(CheckpointError, match="was trained on another encoder"):
        load_finetuned(broken)


def test_other_genes_are_refused(broken: Path) -> None:
    path = broken / "members/r0f0/encoder/genes.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    restate(broken, "members/r0f0/encoder/genes.txt")
    with pytest.raises(CheckpointError, match="19 genes, but the model"):
        load_finetuned(broken)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split_id": "../x"}, "split_id"),
        ({"encoder": "../../encoder"}, "encoder"),
        ({"sha256": {}}, "must be made of"),
    ],
)
def test_a_forged_record_is_refused(broken: Path, change: dict[str, Any], message: str) -> None:
    record = json.loads((broken / "config.json").read_text())
    record["members"][0] |= change
    (broken / "config.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=message):
        load_finetuned(broken)


def test_tensors_of_another_shape_are_refused(broken: Path) -> None:
    path = broken / "members/r0f0/adapter.safetensors"
    tensors = load_file(path)
    tensors["embedding_mean"] = torch.zeros(3)
    sha256 = json.loads((broken / "config.json").read_text())["members"][0]["sha256"][
        "members/r0f0/encoder/model.safetensors"
    ]
    save_file(tensors, path, metadata={"encoder_sha256": sha256})
    restate(broken, "members/r0f0/adapter.safetensors")
    with pytest.raises(CheckpointError, match=r"embedding_mean has shape \(3,\), expected \(32,\)"):
        load_finetuned(broken)


def test_tuning_is_nested_and_repeats_itself(finetune_study: Study, config_file: Path, tmp_path: Path) -> None:
    arguments = [*finetune_study.arguments("r0f0"), "--fold", "r0f0", "--task", "cancer_type", "--tune", "3"]
    for name in ("one", "two"):
        out = ["--task-config", config_file, "--out", tmp_path / name]
        assert run(finetune_command, *arguments, *out).exception is None
    texts = [(tmp_path / name / "records" / "tuning.json").read_text() for name in ("one", "two")]
    assert texts[0] == texts[1]
    fold = json.loads(texts[0])["folds"][0]
    assert len(fold["trials"]) == 3 and fold["trials"][0]["choice"] == {}
    best = min(fold["trials"], key=lambda trial: trial["inner_loss"])
    assert best["choice"].get("adapter", "ia3") == fold["best"]["adapter"]["kind"]
    frame = read_predictions(tmp_path / "one" / "predictions.parquet").frame
    assert set(frame["method"]) == {"tuned fine-tuning"} and len(frame) == 30


def test_a_random_start_keeps_its_own_encoder(finetune_study: Study, config_file: Path, tmp_path: Path) -> None:
    arguments = [*finetune_study.arguments("r0f0"), "--fold", "r0f0", "--task", "cancer_type", "--start", "random"]
    out = ["--task-config", config_file, "--adapter", "full", "--out", tmp_path / "out"]
    assert run(finetune_command, *arguments, *out).exception is None
    model = load_finetuned(tmp_path / "out" / "model")
    own = read_predictions(tmp_path / "out" / "predictions.parquet").frame
    assert set(own["method"]) == {"full fine-tuning from a random start"}
    frame = predict_table(model, read_expression(finetune_study.table), "tpm", None, CPU).set_index("sample_id")
    expected = np.stack(own["probabilities"].to_numpy())[:, 0]
    assert_allclose(frame.loc[own["sample_id"], "probability_A"], expected, atol=1e-5)
    pretrained = sha256_file(finetune_study.checkpoint("r0f0") / "model.safetensors")
    assert model.members[0].encoder.weights_sha256 != pretrained


def test_imported_weights_need_no_tokens(finetune_study: Study, config_file: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "imported"
    shutil.copytree(finetune_study.checkpoint("all"), checkpoint)
    nothing = {"split_id": None, "split_sha256": None, "patient_hashes": None}
    (checkpoint / "provenance.json").write_text(json.dumps(nothing))
    clinical = finetune_study.clinical.assign(sample_id=finetune_study.values.index)
    clinical.to_csv(tmp_path / "clinical.csv", index=False)
    table = ["--table", finetune_study.table, "--unit", "tpm", "--clinical", tmp_path / "clinical.csv"]
    assert run(preprocess_command, *table, "--cohort", "STUDY", "--out", tmp_path / "cohorts").exception is None
    splits = ["--splits", finetune_study.folder / "splits.tsv", "--device", "cpu", "--task", "cancer_type"]
    arguments = ["--checkpoint", checkpoint, "--cohorts", tmp_path / "cohorts", *splits, "--fold", "r0f1"]
    assert run(finetune_command, *arguments, "--task-config", config_file, "--out", tmp_path / "one").exception is None
    arguments = [*finetune_study.arguments("all"), "--task", "cancer_type", "--fold", "r0f1"]
    assert run(finetune_command, *arguments, "--task-config", config_file, "--out", tmp_path / "two").exception is None
    frames = [read_predictions(tmp_path / name / "predictions.parquet").frame for name in ("one", "two")]
    assert set(frames[0]["split_id"]) == {"all"}
    found = [np.stack(frame.sort_values("sample_id")["probabilities"].to_numpy()) for frame in frames]
    assert_allclose(found[0], found[1], atol=0.02)  # a cohort table holds float32


def test_refusals_of_finetune(finetune_study: Study, classifier: Path, tmp_path: Path) -> None:
    base = [*finetune_study.arguments("r0f0", "r0f1"), "--task", "cancer_type"]
    assert "needs an encoder that may see all of them" in refusal(
        finetune_command, *base, "--final", "--out", tmp_path / "o"
    )
    assert "--fold 'r9f9': choose of r0f0, r0f1" in refusal(
        finetune_command, *base, "--fold", "r9f9", "--out", tmp_path / "o"
    )
    survival = [*finetune_study.arguments("r0f0", "r0f1"), "--task", "survival", "--label-column", "grade"]
    assert "--label-column is for --task cancer_type" in refusal(finetune_command, *survival, "--out", tmp_path / "o")
    (tmp_path / "o" / "model").mkdir(parents=True)
    (tmp_path / "o" / "model" / "thesis.txt").write_text("do not lose me")
    assert "holds something else than a fine-tuned model" in refusal(finetune_command, *base, "--out", tmp_path / "o")


def test_a_model_of_something_else_is_not_replaced(
    finetune_study: Study, classifier: Path, config_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    shutil.copytree(classifier, out)
    before = sha256_file(out / "model" / "config.json")
    base = [*finetune_study.arguments("r0f0", "r0f1"), "--task-config", config_file, "--out", out]
    same = [*base, "--task", "cancer_type"]
    held = "holds a fine-tuned model of cancer_type \\(by cohort\\), scope pan, IA3 fine-tuning"
    for arguments in (
        [*base, "--task", "survival"],
        [*same, "--task", "survival"],
        [*same, "--scope", "A"],
        [*same, "--label-column", "grade"],
        [*same, "--adapter", "full"],
        [*same, "--tune", "2"],
    ):
        message = refusal(finetune_command, *arguments)
        assert re.search(held, message, re.IGNORECASE), message
        assert "give another --out or remove it" in message
    assert sha256_file(out / "model" / "config.json") == before
    (out / "model" / "config.json").write_text('{"kind": "finetuned"}')
    assert "whose record cannot be read" in refusal(finetune_command, *same)
    shutil.copyfile(classifier / "model" / "config.json", out / "model" / "config.json")
    with caplog.at_level("INFO"):
        assert run(finetune_command, *same, "--fold", "r0f0").exception is None
    assert len(load_finetuned(out / "model").members) == 1
    last = caplog.messages[-1]
    assert str(out / "model") in last
    assert f"next: bulkrnabert evaluate --predictions {out / 'predictions.parquet'}" in last


@pytest.mark.parametrize(
    ("rate", "hidden", "warning"),
    [
        (100.0, "[]", "did not improve on the fitted probe in 1 of 1 networks (r0f0); the probe is kept there"),
        (
            100.0,
            "[8], head_learning_rate: 1000",
            "did not improve on the random heads that it starts from in 1 of 1 networks (r0f0); they are",
        ),
        (0.01, "[]", None),
    ],
)
def test_zero_epochs_are_warned_of(
    rate: float,
    hidden: str,
    warning: str | None,
    finetune_study: Study,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = f"{{adapter: {{kind: full}}, max_epochs: 1, patience: 1, learning_rate: {rate}, head_hidden: {hidden}}}"
    (tmp_path / "task.yaml").write_text(f"cancer_type: {one}\nsurvival: {one}\njoint: {one}\n")
    arguments = [*finetune_study.arguments("r0f0"), "--fold", "r0f0", "--task", "cancer_type", "--out", tmp_path / "o"]
    assert run(finetune_command, *arguments, "--task-config", tmp_path / "task.yaml").exception is None
    warned = [record.message for record in caplog.records if "did not improve" in record.message]
    best = load_finetuned(tmp_path / "o" / "model").record.members[0].best_epoch
    assert (best == 0) is bool(warned) is (warning is not None)
    assert warning is None or warning in warned[0]


@pytest.mark.slow
def test_two_processes_give_the_same_model(finetune_study: Study, config_file: Path, tmp_path: Path) -> None:
    arguments = [*finetune_study.arguments("r0f0"), "--fold", "r0f0", "--task", "survival", "--threads", "1"]
    for n_processes in (1, 2):
        out = ["--task-config", config_file, "--processes", n_processes, "--out", tmp_path / str(n_processes)]
        assert run(finetune_command, *arguments, *out).exception is None
    risks = [read_predictions(tmp_path / str(n) / "predictions.parquet").frame["risk"] for n in (1, 2)]
    assert_allclose(risks[0], risks[1], atol=1e-4)
