"""Fine-tuning of folds: rows, encoders, heads, and out-of-fold predictions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from bulkrnabert.data.tokens import read_tokens
from bulkrnabert.downstream.finetune import StartEmbeddings, start_finetuner
from bulkrnabert.downstream.fold_encoders import pair_encoders
from bulkrnabert.downstream.joint import JointJob
from bulkrnabert.downstream.predictions import read_predictions
from bulkrnabert.downstream.pretrained import load
from bulkrnabert.downstream.probe import predict_logistic
from bulkrnabert.downstream.survival import fit_cox
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.train.targets import ClassTarget, CoxTarget
from tests.unit.downstream.finetuning import Study, make, pairs, settings


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
    assert (found.classes, set(found.frame["method"])) == (["A", "B"], {"BulkRNABert, IA3 fine-tuning"})
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
