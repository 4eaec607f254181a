"""Out-of-fold predictions of fine-tuned folds; of models of several omics also with each omic left out."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from bulkrnabert import keys
from bulkrnabert.downstream.finetune import FinetunedFold, StartEmbeddings
from bulkrnabert.downstream.job import Fold, Job
from bulkrnabert.downstream.joint import JointJob
from bulkrnabert.downstream.predictions import MODEL, Predictions
from bulkrnabert.downstream.probe import class_frame, risk_frame
from bulkrnabert.downstream.survival import pooled_risk, survival_probabilities
from bulkrnabert.train.finetune import FinetuneData, Finetuner

logger = logging.getLogger(__name__)


def predict_folds(job: JointJob, folds: Sequence[FinetunedFold], starts: StartEmbeddings) -> dict[str, Predictions]:
    """Out-of-fold predictions of each task.

    For a model of two omics there are two more methods, which see one omic alone: `<method>, RNA-seq alone` and
    `<method>, methylation alone` (of more than two: `<method>, without RNA-seq` …).

    Args:
        job: The job.
        folds: From `finish_fold`.
        starts: As given there.
    """
    frames: dict[str, list[pd.DataFrame]] = {one_task.task: [] for one_task in job.jobs}
    for done in folds:
        omics = done.encoder.model.omics
        for without in [None, *(range(len(omics)) if len(omics) > 1 else ())]:
            method = done.settings.method + ("" if without is None else _without(omics, without))
            for task, frame in _predict_fold(job, done, starts, without, method).items():
                frames[task].append(frame)
    _tell_unseen(folds)
    found: dict[str, Predictions] = {}
    for one_task in job.jobs:
        frame = pd.concat(frames[one_task.task], ignore_index=True)
        is_survival = one_task.task == keys.SURVIVAL
        found[one_task.task] = Predictions(
            frame,
            [] if is_survival else one_task.classes,
            job.split_sha256,
            one_task.survival_times.tolist() if is_survival else [],
        )
    return found


def _without(omics: Sequence[str], number: int) -> str:
    titles = [keys.OMIC_TITLES.get(omic, omic) for omic in omics]
    return f", {titles[1 - number]} alone" if len(omics) == 2 else f", without {titles[number]}"


def _tell_unseen(folds: Sequence[FinetunedFold]) -> None:
    """Say of how many samples a method that sees one omic alone sees nothing."""
    omics = folds[0].encoder.model.omics if folds else ()
    if len(omics) != 2:
        return
    has = np.concatenate([done.encoder.droppable(None).has_omic[done.fold.test] for done in folds])
    for number, omic in enumerate(omics):
        n_unseen = int((~has[:, number]).sum())
        if n_unseen:
            title = keys.OMIC_TITLES.get(omic, omic)
            logger.info("%d of %d predictions with %s alone are of samples without it", n_unseen, len(has), title)


def _predict_fold(
    job: JointJob, done: FinetunedFold, starts: StartEmbeddings, without: int | None, method: str
) -> dict[str, pd.DataFrame]:
    """Predictions of one fold's test part, by task."""
    test, config = done.fold.test, done.network.config
    tokens = done.encoder.droppable(config.gene_idx)
    rows = test if without is None else tokens.without(torch.from_numpy(test), without).numpy()
    start = starts.get(done.encoder, done.network, rows if not done.network.encoder_parameters() else rows[:0])
    data = FinetuneData(done.encoder.tokens_of(config.gene_idx), job.targets(), start, done.encoder.n_omics)
    settings = done.settings
    outputs = Finetuner(done.network, data, settings.config, settings.seed, settings.device).outputs(test, without)
    place_of = np.full(len(job.rows), -1, dtype=np.int64)
    place_of[test] = np.arange(len(test))
    frames: dict[str, pd.DataFrame] = {}
    for number, one_task in enumerate(job.jobs):
        fold = next((item for item in one_task.folds if item.split_id == done.fold.split_id), None)
        if fold is None:
            continue
        own = torch.from_numpy(place_of[job.places[number][fold.test]])
        frame = _predict(one_task, fold, done, method, outputs[one_task.task].cpu()[own].double())
        is_shared = done.encoder.split_id == keys.ALL_SPLIT
        frames[one_task.task] = frame.assign(split_id=keys.ALL_SPLIT) if is_shared else frame
    return frames


def _predict(job: Job, fold: Fold, done: FinetunedFold, method: str, outputs: torch.Tensor) -> pd.DataFrame:
    if job.task == keys.CANCER_TYPE:
        return class_frame(job, fold, method, MODEL, outputs.softmax(dim=1).numpy())
    assert done.baseline is not None
    strata, predictor = job.survival.strata[fold.test], outputs[:, 0].numpy()
    survival = survival_probabilities(predictor, strata, done.baseline, job.survival_times)
    risk = pooled_risk(predictor, strata, done.baseline)
    return risk_frame(job, fold, method, MODEL, risk, survival)
