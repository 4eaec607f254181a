"""Fine-tuning of a job's folds: each from the encoder that never saw the fold's patients."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from bulkrnabert import keys
from bulkrnabert.data.splits import deal_folds
from bulkrnabert.data.tokens import Tokens
from bulkrnabert.downstream.job import Fold, Job
from bulkrnabert.downstream.predictions import MODEL, Predictions
from bulkrnabert.downstream.pretrained import PretrainedModel
from bulkrnabert.downstream.probe import choose_logistic, class_frame, risk_frame
from bulkrnabert.downstream.survival import Baseline, SurvivalLabels, choose_ridge_cox, fit_baseline, pooled_risk
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.models.bulkrnabert import BulkRNABert
from bulkrnabert.models.finetuned import FinetunedConfig, FinetunedNetwork, FinetunePooling, embedding_width
from bulkrnabert.models.heads import HeadConfig
from bulkrnabert.train.finetune import Curve, FinetuneConfig, FinetuneData, Finetuner
from bulkrnabert.train.targets import ClassTarget, CoxTarget, Target

logger = logging.getLogger(__name__)

Start = Literal["pretrained", "random"]
IntArray = npt.NDArray[np.int64]
METHOD_NAMES = {"none": "head only", "ia3": "IA3 fine-tuning", "lora": "LoRA fine-tuning", "full": "full fine-tuning"}


@dataclass(frozen=True)
class Encoder:
    """One pretrained encoder with the tokens that it reads.

    Attributes:
        path: Checkpoint folder.
        model: What is in it.
        token_ids: Of the job's rows, shape (rows, genes).
    """

    path: Path
    model: PretrainedModel
    token_ids: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FinetunedFold:
    """One fold's fine-tuned network.

    Attributes:
        fold: Which.
        encoder: What it started from.
        network: Encoder, adapter and heads.
        curve: Loss of the inner validation part along the search for the number of epochs.
        baseline: For survival: baseline hazards of the training part.
        strata: For survival: name of each stratum of `baseline`.
    """

    fold: Fold
    encoder: Encoder
    network: FinetunedNetwork
    curve: Curve
    baseline: Baseline | None
    strata: tuple[str, ...]


@dataclass(frozen=True)
class FinetuneResult:
    """Out-of-fold predictions, and the networks that made them."""

    predictions: Predictions
    folds: list[FinetunedFold]


def pair_encoders(
    job: Job, models: Sequence[tuple[Path, PretrainedModel]], tokens: Sequence[tuple[Path, Tokens]]
) -> Mapping[str, Encoder]:
    """The encoder of each fold with its tokens of the job's rows.

    Args:
        job: The job.
        models: Checkpoints: one a fold, or a single one trained on all samples (or on others).
        tokens: Tokens folders: one a checkpoint, matched by `split_id`; or a single one for a single checkpoint.
    Returns:
        `split_id` of each fold to its encoder.
    Raises:
        DataError: an encoder or its tokens are missing, or they do not belong together.
    """
    by_split = {tokens_.split_id: (path, tokens_) for path, tokens_ in tokens}
    encoders: dict[str, Encoder] = {}
    for path, model in models:
        split_id = str(model.provenance.get("split_id") or keys.ALL_SPLIT)
        folder, found = by_split.get(split_id, tokens[0] if len(tokens) == 1 == len(models) else (None, None))
        if found is None or folder is None:
            raise DataError(
                f"{path}: no tokens of its split {split_id} among {', '.join(map(str, (item for item, _ in tokens)))}; "
                "give the tokens folder that the checkpoint was pretrained on"
            )
        if found.gene_ids != model.gene_ids:
            raise DataError(f"{folder}: other genes than the checkpoint {path} has; give the tokens of that checkpoint")
        if found.split_sha256 not in ("", job.split_sha256):
            raise DataError(
                f"{folder}: made under other splits (sha256 {found.split_sha256[:12]}…) than these "
                f"({job.split_sha256[:12]}…); tokenize again"
            )
        positions = pd.Index(found.samples[keys.SAMPLE_ID]).get_indexer(pd.Index(job.rows[keys.SAMPLE_ID]))
        if (positions < 0).any():
            absent = job.rows.loc[positions < 0, keys.SAMPLE_ID].iloc[0]
            raise DataError(f"{folder}: sample {absent!r} of the splits has no tokens; tokenize again")
        encoders[split_id] = Encoder(path, model, found.token_ids[positions])
    if set(encoders) == {keys.ALL_SPLIT}:
        return {fold.split_id: encoders[keys.ALL_SPLIT] for fold in job.folds}
    missing = sorted({fold.split_id for fold in job.folds} - set(encoders))
    if missing:
        raise DataError(
            f"no checkpoint of split {', '.join(missing)} (given: {', '.join(sorted(encoders))}); give one "
            "--checkpoint and one --tokens for every fold, or one of an encoder trained on all samples"
        )
    return encoders


def finetune_job(
    job: Job, encoders: Mapping[str, Encoder], config: FinetuneConfig, start: Start, seed: int, device: torch.device
) -> FinetuneResult:
    """Fine-tune on the training part of every fold and predict its test part.

    Args:
        job: The job.
        encoders: From `pair_encoders`.
        config: Settings.
        start: `pretrained`, or `random`: the same network with weights drawn anew, which shows what pretraining gives.
        seed: Of everything drawn.
        device: CPU or a GPU.
    """
    method = METHOD_NAMES[config.adapter.kind] + ("" if start == "pretrained" else " from a random start")
    frames, folds = [], []
    is_shared = len({id(encoder) for encoder in encoders.values()}) == 1 < len(job.folds)
    for fold in job.folds:
        done = _finetune_fold(job, fold, encoders[fold.split_id], config, start, seed, device)
        frame = _predict_fold(job, done, method, config, seed, device)
        if is_shared:
            frame["split_id"] = keys.ALL_SPLIT
        frames.append(frame)
        folds.append(done)
        logger.info(
            "%s, fold %s: inner loss %.4f at the start, %.4f after %d of %d epochs",
            method,
            fold.split_id,
            done.curve.losses[0],
            min(done.curve.losses),
            done.curve.best_epoch,
            len(done.curve.losses) - 1,
        )
    classes = job.classes if job.task == keys.CANCER_TYPE else []
    return FinetuneResult(Predictions(pd.concat(frames, ignore_index=True), classes, job.split_sha256), folds)


def make_target(job: Job) -> Target:
    """The job's labels as what fine-tuning learns."""
    if job.task == keys.CANCER_TYPE:
        return ClassTarget(job.task, job.class_ids, len(job.classes))
    labels = job.survival
    return CoxTarget(job.task, labels.time_days, labels.event, labels.strata)


def _finetune_fold(
    job: Job, fold: Fold, encoder: Encoder, config: FinetuneConfig, start: Start, seed: int, device: torch.device
) -> FinetunedFold:
    target = make_target(job)
    data = FinetuneData(encoder.token_ids, [target])
    inner = fold.train[_is_inner(job, fold.train, config, seed)]
    searched = Finetuner(_new_network(encoder, target, config, start, seed), data, config, seed, device)
    to_fit = np.setdiff1d(fold.train, inner)
    _start_heads(job, searched, to_fit, config, seed)
    curve = searched.search(to_fit, inner)
    network = _new_network(encoder, target, config, start, seed)
    final = Finetuner(network, data, config, seed, device)
    _start_heads(job, final, fold.train, config, seed)
    final.fit(fold.train, curve.best_epoch)
    if job.task == keys.CANCER_TYPE:
        return FinetunedFold(fold, encoder, network, curve, None, ())
    labels = job.survival.take(fold.train)
    predictor = final.outputs(fold.train)[job.task][:, 0].double().cpu().numpy()
    names = np.unique(job.rows[keys.STRATUM].to_numpy(dtype=str))
    return FinetunedFold(fold, encoder, network, curve, fit_baseline(predictor, labels), tuple(map(str, names)))


def _predict_fold(
    job: Job, done: FinetunedFold, method: str, config: FinetuneConfig, seed: int, device: torch.device
) -> pd.DataFrame:
    data = FinetuneData(done.encoder.token_ids, [make_target(job)])
    outputs = Finetuner(done.network, data, config, seed, device).outputs(done.fold.test)[job.task].double()
    if job.task == keys.CANCER_TYPE:
        return class_frame(job, done.fold, method, MODEL, outputs.softmax(dim=1).cpu().numpy())
    assert done.baseline is not None
    strata = job.survival.strata[done.fold.test]
    risk = pooled_risk(outputs[:, 0].cpu().numpy(), strata, done.baseline)
    return risk_frame(job, done.fold, method, MODEL, risk)


def _is_inner(job: Job, train: IntArray, config: FinetuneConfig, seed: int) -> npt.NDArray[np.bool_]:
    """Training rows that decide when to stop, spread over classes, or over strata and events."""
    if job.task == keys.CANCER_TYPE:
        groups = pd.DataFrame({"class": job.class_ids[train]})
    else:
        labels = job.survival.take(train)
        groups = pd.DataFrame({"stratum": labels.strata, "event": labels.event})
    return np.asarray(deal_folds(groups, round(1 / config.inner_fraction), np.random.default_rng(seed)) == 0)


def _new_network(encoder: Encoder, target: Target, config: FinetuneConfig, start: Start, seed: int) -> FinetunedNetwork:
    pretrained = encoder.model.network
    network = BulkRNABert(pretrained.config, torch.Generator().manual_seed(seed))
    if start == "pretrained":
        network.load_state_dict(pretrained.state_dict())
    elif pretrained.config.has_bin_statistics:
        network.set_bin_statistics(pretrained.get_buffer("bin_mean"), pretrained.get_buffer("bin_deviation"))
    pooling = resolve_pooling(config, pretrained)
    head = HeadConfig(
        n_inputs=embedding_width(network, pooling),
        n_outputs=target.n_outputs,
        hidden=config.head_hidden,
        dropout=config.head_dropout,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FinetunedNetwork(
            network,
            FinetunedConfig(adapter=config.adapter, pooling=pooling, layer=config.layer, heads={target.name: head}),
        )


def resolve_pooling(config: FinetuneConfig, encoder: BulkRNABert) -> FinetunePooling:
    """The pooling that the settings ask for.

    Raises:
        ConfigError: `marker`, for an encoder that keeps no bin statistics.
    """
    has_statistics = encoder.config.has_bin_statistics
    if config.pooling == "marker" and not has_statistics:
        raise ConfigError("pooling: marker needs an encoder that keeps bin statistics; use mean or attention")
    if config.pooling == "auto":
        return "marker" if has_statistics else "mean"
    for name in ("mean", "max", "marker", "attention"):
        if config.pooling == name:
            return name
    raise ConfigError(f"pooling {config.pooling!r} is not known")


def _start_heads(job: Job, finetuner: Finetuner, rows: IntArray, config: FinetuneConfig, seed: int) -> None:
    """Standardise, and start a linear head as the probe that is fitted on the frozen embedding."""
    network = finetuner.network
    pooled = finetuner.standardise(rows)
    if config.head_hidden:
        return
    ready = network.standardised(pooled).double().cpu().numpy()
    output = network.linear_output(job.task)
    if job.task == keys.CANCER_TYPE:
        model = choose_logistic(ready, job.class_ids[rows], seed)
        weight, bias = model.coef_, model.intercept_
        if len(model.classes_) == 2 and len(weight) == 1:
            weight, bias = np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
        with torch.no_grad():
            output.bias.fill_(float(np.min(bias)) - 5.0)  # a class that the training part lacks
            output.weight[model.classes_] = torch.from_numpy(weight).to(output.weight)
            output.bias[model.classes_] = torch.from_numpy(bias).to(output.bias)
        return
    labels: SurvivalLabels = job.survival.take(rows)
    coefficients = choose_ridge_cox(ready, labels, seed)
    with torch.no_grad():
        output.weight[0] = torch.from_numpy(coefficients).to(output.weight)
