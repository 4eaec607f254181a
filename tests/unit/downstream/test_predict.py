"""Predictions of a fine-tuned model for new samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from bulkrnabert.cli.predict import command as predict_command
from bulkrnabert.data.sources.files import read_expression
from bulkrnabert.downstream.finetuned_folder import load_finetuned
from bulkrnabert.downstream.predict import predict_table
from bulkrnabert.downstream.predictions import read_predictions
from bulkrnabert.errors import ConfigError, VocabularyError
from tests.unit.downstream.finetuning import CPU, Study, refusal, run


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
