"""Steps of fine-tuning that several tests take."""

from __future__ import annotations

from typing import Any

import torch
from click.testing import CliRunner

from bulkrnabert.data.tokens import read_tokens
from bulkrnabert.downstream.finetune import FinetuneSettings
from bulkrnabert.downstream.fold_encoders import pair_encoders
from bulkrnabert.downstream.job import make_job
from bulkrnabert.downstream.joint import JointJob, join_jobs
from bulkrnabert.downstream.pretrained import load
from bulkrnabert.errors import BulkRNABertError
from bulkrnabert.train.finetune import FinetuneConfig

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
