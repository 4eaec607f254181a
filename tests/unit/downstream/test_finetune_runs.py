"""Whole runs of fine-tuning: tuning, random start, imported weights, refusals, processes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bulkrnabert.cli.finetune import command as finetune_command
from bulkrnabert.cli.preprocess import command as preprocess_command
from bulkrnabert.data.sources.files import read_expression
from bulkrnabert.downstream.finetuned_folder import load_finetuned
from bulkrnabert.downstream.predict import predict_table
from bulkrnabert.downstream.predictions import read_predictions
from bulkrnabert.provenance import sha256_file
from tests.unit.downstream.finetuning import CPU, Study, refusal, run


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
    assert set(frame["method"]) == {"BulkRNABert, tuned fine-tuning"} and len(frame) == 30


def test_a_random_start_keeps_its_own_encoder(finetune_study: Study, config_file: Path, tmp_path: Path) -> None:
    arguments = [*finetune_study.arguments("r0f0"), "--fold", "r0f0", "--task", "cancer_type", "--start", "random"]
    out = ["--task-config", config_file, "--adapter", "full", "--out", tmp_path / "out"]
    assert run(finetune_command, *arguments, *out).exception is None
    model = load_finetuned(tmp_path / "out" / "model")
    own = read_predictions(tmp_path / "out" / "predictions.parquet").frame
    assert set(own["method"]) == {"BulkRNABert, full fine-tuning from a random start"}
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
    held = "holds a fine-tuned model of cancer_type \\(by cohort\\), scope pan, BulkRNABert, IA3 fine-tuning"
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
