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
from bulkrnabert.data.tokens import Tokens
from bulkrnabert.downstream.job import Fold, Job
from bulkrnabert.downstream.joint import JointJob
from bulkrnabert.downstream.predictions import MODEL, Predictions
from bulkrnabert.downstream.pretrained import PretrainedModel
from bulkrnabert.downstream.probe import choose_logistic, class_frame, risk_frame
from bulkrnabert.downstream.survival import (
    Baseline,
    choose_ridge_cox,
    fit_baseline,
    pooled_risk,
    survival_probabilities,
)
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.models.bulkrnabert import BulkRNABert
from bulkrnabert.models.finetuned import FinetunedConfig, FinetunedNetwork, FinetunePooling, embedding_width
from bulkrnabert.models.heads import HeadConfig
from bulkrnabert.train.finetune import Curve, FinetuneConfig, FinetuneData, Finetuner, pooled_embeddings
from bulkrnabert.train.targets import Target

logger = logging.getLogger(__name__)

Start = Literal["pretrained", "random"]
IntArray = npt.NDArray[np.int64]
METHOD_NAMES = {"none": "head only", "ia3": "IA3 fine-tuning", "lora": "LoRA fine-tuning", "full": "full fine-tuning"}
LOGIT_OF_ABSENT_CLASS = -5.0


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

    @property
    def split_id(self) -> str:
        """The split that it was pretrained under; `all` for one that may have seen every sample."""
        return str(self.model.provenance.get("split_id") or keys.ALL_SPLIT)


@dataclass(frozen=True)
class FinetuneSettings:
    """How to fine-tune.

    Attributes:
        config: Sizes and rates.
        start: `pretrained`, or `random`: the same network with weights drawn anew, which shows what pretraining gives.
        seed: Of everything drawn.
        device: CPU or a GPU.
        is_tuned: Whether `config` was chosen for the fold (see `tune_fold`).
    """

    config: FinetuneConfig
    start: Start
    seed: int
    device: torch.device
    is_tuned: bool = False

    @property
    def method(self) -> str:
        """Name that a reader sees, the same for every fold."""
        name = "tuned fine-tuning" if self.is_tuned else METHOD_NAMES[self.config.adapter.kind]
        return name + ("" if self.start == "pretrained" else " from a random start")


@dataclass(frozen=True)
class FinetunedFold:
    """One fold's fine-tuned network.

    Attributes:
        fold: Which; its test part is empty for a network that learnt from every sample.
        encoder: What it started from.
        settings: How it was made.
        network: Encoder, adapter and heads.
        curve: Loss of the inner validation part along the search for the number of epochs.
        baseline: For survival: baseline hazards of the training part.
    """

    fold: Fold
    encoder: Encoder
    settings: FinetuneSettings
    network: FinetunedNetwork
    curve: Curve
    baseline: Baseline | None


def pair_encoders(
    job: JointJob, models: Sequence[tuple[Path, PretrainedModel]], tokens: Sequence[tuple[Path, Tokens]]
) -> Mapping[str, Encoder]:
    """The encoder of each fold with its tokens of the job's rows.

    Args:
        job: The job.
        models: Checkpoints: one a fold, or a single one trained on all samples (or on others).
        tokens: Tokens folders: one a checkpoint, matched by `split_id`; or a single one for a single checkpoint.
    Returns:
        `split_id` of each fold to its encoder; `all` as well, where a single encoder serves every fold.
    Raises:
        DataError: an encoder or its tokens are missing, are given twice, or do not belong together.
    """
    by_split = {tokens_.split_id: (path, tokens_) for path, tokens_ in tokens}
    if len(by_split) < len(tokens):
        raise DataError(f"tokens of one split are given twice ({', '.join(item.split_id for _, item in tokens)})")
    encoders: dict[str, Encoder] = {}
    for path, model in models:
        split_id = str(model.provenance.get("split_id") or keys.ALL_SPLIT)
        if split_id in encoders:
            raise DataError(f"{path}: second checkpoint of split {split_id}; give one a fold")
        folder, found = by_split.get(split_id, tokens[0] if len(tokens) == 1 == len(models) else (None, None))
        if found is None or folder is None:
            raise DataError(
                f"{path}: no tokens of its split {split_id} among {', '.join(map(str, (item for item, _ in tokens)))}; "
                "give the tokens folder that the checkpoint was pretrained on"
            )
        _check_tokens(job, path, model, folder, found)
        positions = pd.Index(found.samples[keys.SAMPLE_ID]).get_indexer(pd.Index(job.rows[keys.SAMPLE_ID]))
        if (positions < 0).any():
            absent = job.rows.loc[positions < 0, keys.SAMPLE_ID].iloc[0]
            raise DataError(f"{folder}: sample {absent!r} of the splits has no tokens; tokenize again")
        encoders[split_id] = Encoder(path, model, found.token_ids[positions])
    if set(encoders) == {keys.ALL_SPLIT}:
        return {**{fold.split_id: encoders[keys.ALL_SPLIT] for fold in job.folds}, **encoders}
    missing = sorted({fold.split_id for fold in job.folds} - set(encoders))
    if missing:
        raise DataError(
            f"no checkpoint of split {', '.join(missing)} (given: {', '.join(sorted(encoders))}); give one "
            "--checkpoint and one --tokens for every fold, or one of an encoder trained on all samples"
        )
    return encoders


def _check_tokens(job: JointJob, path: Path, model: PretrainedModel, folder: Path, tokens: Tokens) -> None:
    if tokens.gene_ids != model.gene_ids:
        raise DataError(f"{folder}: other genes than the checkpoint {path} has; give the tokens of that checkpoint")
    if tokens.tokenizer != model.tokenizer:
        raise DataError(f"{folder}: another tokenizer than the checkpoint {path} has; tokenize with the checkpoint's")
    for what, sha256 in ((folder, tokens.split_sha256), (path, str(model.provenance.get("split_sha256") or ""))):
        if sha256 not in ("", job.split_sha256):
            raise DataError(
                f"{what}: made under other splits (sha256 {sha256[:12]}…) than these ({job.split_sha256[:12]}…), so it "
                "may have seen test patients: tokenize and pretrain again, or use its splits"
            )


class StartEmbeddings:
    """Pooled embeddings by the encoders as they were pretrained; each sample goes through an encoder once.

    Args:
        settings: Decide the start and the device.
    """

    def __init__(self, settings: FinetuneSettings) -> None:
        self._settings = settings
        self._found: dict[tuple[int, FinetunePooling, int | None], torch.Tensor] = {}

    def get(self, encoder: Encoder, network: FinetunedNetwork, rows: IntArray) -> torch.Tensor:
        """Embeddings in their rows, shape (all rows, E); those of `rows` are there, others may be NaN.

        Args:
            encoder: The encoder.
            network: On it, not trained yet.
            rows: Rows that are needed.
        """
        key = id(encoder), network.config.pooling, network.config.layer
        if key not in self._found:
            width = embedding_width(network.encoder, network.config.pooling)
            self._found[key] = torch.full((len(encoder.token_ids), width), torch.nan, device=self._settings.device)
        whole = self._found[key]
        absent = rows[torch.isnan(whole[torch.from_numpy(rows), 0]).cpu().numpy()]
        if len(absent):
            places = torch.from_numpy(absent).to(whole.device)
            whole[places] = pooled_embeddings(network, encoder.token_ids[absent], self._settings.device)
        return whole


@dataclass(frozen=True)
class Search:
    """A search for the number of epochs on one part of the training patients, judged on the other.

    Attributes:
        settings: How.
        finetuner: With the weights of the best epoch.
        curve: How it went.
    """

    settings: FinetuneSettings
    finetuner: Finetuner
    curve: Curve


def search_fold(
    job: JointJob, fold: Fold, encoder: Encoder, settings: FinetuneSettings, starts: StartEmbeddings
) -> Search:
    """Train until the loss on patients set aside from the training part no longer falls; the test part is not seen.

    Args:
        job: The job.
        fold: One of its folds.
        encoder: The encoder that may judge this fold.
        settings: How.
        starts: Shared by folds and searches.
    """
    inner = job.inner_part(fold.train, settings.config.inner_fraction, settings.seed)
    to_fit = np.setdiff1d(fold.train, inner)
    finetuner = start_finetuner(job, to_fit, fold, encoder, settings, starts)
    return Search(settings, finetuner, finetuner.search(to_fit, inner))


def finish_fold(job: JointJob, fold: Fold, encoder: Encoder, search: Search, starts: StartEmbeddings) -> FinetunedFold:
    """The network of a fold: trained anew on the whole training part, or, without `refit`, as the search left it."""
    settings, curve, finetuner = search.settings, search.curve, search.finetuner
    if settings.config.refit:
        finetuner = start_finetuner(job, fold.train, fold, encoder, settings, starts)
        finetuner.fit(fold.train, curve.best_epoch)
    logger.info(
        "%s, fold %s: inner loss %.4f at the start, %.4f after %d of %d epochs",
        settings.method,
        fold.split_id,
        curve.losses[0],
        min(curve.losses),
        curve.best_epoch,
        len(curve.losses) - 1,
    )
    baseline = None
    for number, one_task in enumerate(job.jobs):
        if one_task.task == keys.SURVIVAL:
            own = job.rows_of_job(number, fold.train)
            outputs = finetuner.outputs(job.places[number][own])[one_task.task]
            baseline = fit_baseline(outputs[:, 0].double().cpu().numpy(), one_task.survival.take(own))
    return FinetunedFold(fold, encoder, settings, finetuner.network, curve, baseline)


def start_finetuner(
    job: JointJob, rows: IntArray, fold: Fold, encoder: Encoder, settings: FinetuneSettings, starts: StartEmbeddings
) -> Finetuner:
    """A new network, standardised on `rows`, its linear heads started as the probe that is fitted on them."""
    targets = job.targets()
    network = _new_network(encoder, targets, settings)
    is_frozen = not network.encoder_parameters()
    start = starts.get(encoder, network, np.concatenate([fold.train, fold.test]) if is_frozen else fold.train)
    data = FinetuneData(encoder.token_ids, targets, start)
    finetuner = Finetuner(network, data, settings.config, settings.seed, settings.device)
    ready = finetuner.standardise(rows).double().cpu().numpy()
    if not settings.config.head_hidden:
        place_of = np.full(len(job.rows), -1, dtype=np.int64)
        place_of[rows] = np.arange(len(rows))
        for number, one_task in enumerate(job.jobs):
            own = job.rows_of_job(number, rows)
            _start_head(finetuner.network, one_task, ready[place_of[job.places[number][own]]], own, settings.seed)
    return finetuner


def predict_folds(job: JointJob, folds: Sequence[FinetunedFold], starts: StartEmbeddings) -> dict[str, Predictions]:
    """Out-of-fold predictions of each task.

    Args:
        job: The job.
        folds: From `finish_fold`.
        starts: As given there.
    """
    frames: dict[str, list[pd.DataFrame]] = {one_task.task: [] for one_task in job.jobs}
    for done in folds:
        start = starts.get(done.encoder, done.network, done.fold.test if _is_frozen(done) else done.fold.test[:0])
        data = FinetuneData(done.encoder.token_ids, job.targets(), start)
        settings = done.settings
        finetuner = Finetuner(done.network, data, settings.config, settings.seed, settings.device)
        outputs = finetuner.outputs(done.fold.test)
        place_of = np.full(len(job.rows), -1, dtype=np.int64)
        place_of[done.fold.test] = np.arange(len(done.fold.test))
        for number, one_task in enumerate(job.jobs):
            fold = next((item for item in one_task.folds if item.split_id == done.fold.split_id), None)
            if fold is None:
                continue
            own = torch.from_numpy(place_of[job.places[number][fold.test]])
            frame = _predict(one_task, fold, done, outputs[one_task.task].cpu()[own].double())
            frames[one_task.task].append(
                frame.assign(split_id=keys.ALL_SPLIT) if done.encoder.split_id == keys.ALL_SPLIT else frame
            )
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


def _is_frozen(done: FinetunedFold) -> bool:
    return not done.network.encoder_parameters()


def _predict(job: Job, fold: Fold, done: FinetunedFold, outputs: torch.Tensor) -> pd.DataFrame:
    if job.task == keys.CANCER_TYPE:
        return class_frame(job, fold, done.settings.method, MODEL, outputs.softmax(dim=1).numpy())
    assert done.baseline is not None
    strata, predictor = job.survival.strata[fold.test], outputs[:, 0].numpy()
    survival = survival_probabilities(predictor, strata, done.baseline, job.survival_times)
    risk = pooled_risk(predictor, strata, done.baseline)
    return risk_frame(job, fold, done.settings.method, MODEL, risk, survival)


def base_network(encoder: Encoder, start: Start, seed: int) -> BulkRNABert:
    """A copy of the encoder before fine-tuning: its own weights, or weights drawn anew."""
    pretrained = encoder.model.network
    network = BulkRNABert(pretrained.config, torch.Generator().manual_seed(seed))
    if start == "pretrained":
        network.load_state_dict(pretrained.state_dict())
    elif pretrained.config.has_bin_statistics:
        network.set_bin_statistics(pretrained.get_buffer("bin_mean"), pretrained.get_buffer("bin_deviation"))
    return network


def _new_network(encoder: Encoder, targets: Sequence[Target], settings: FinetuneSettings) -> FinetunedNetwork:
    config = settings.config
    network = base_network(encoder, settings.start, settings.seed)
    if config.layer is not None and config.layer > network.config.n_layers:
        raise ConfigError(f"layer {config.layer}, but the encoder has {network.config.n_layers} layers")
    pooling = resolve_pooling(config, network)
    heads = {
        target.name: HeadConfig(
            n_inputs=embedding_width(network, pooling),
            n_outputs=target.n_outputs,
            hidden=config.head_hidden,
            dropout=config.head_dropout,
            layer_norm=config.head_layer_norm,
        )
        for target in targets
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return FinetunedNetwork(
            network, FinetunedConfig(adapter=config.adapter, pooling=pooling, layer=config.layer, heads=heads)
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
    return config.pooling


def _start_head(network: FinetunedNetwork, job: Job, ready: npt.NDArray[np.float64], own: IntArray, seed: int) -> None:
    """Start a linear head as the probe on standardised embeddings of the job's rows `own`."""
    output = network.linear_output(job.task)
    if job.task == keys.CANCER_TYPE:
        model = choose_logistic(ready, job.class_ids[own], seed)
        weight, bias = model.coef_, model.intercept_
        if len(model.classes_) == 2 and len(weight) == 1:
            weight, bias = np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
        with torch.no_grad():
            output.bias.fill_(float(np.min(bias)) + LOGIT_OF_ABSENT_CLASS)  # of a class that the training part lacks
            output.weight[model.classes_] = torch.from_numpy(weight).to(output.weight)
            output.bias[model.classes_] = torch.from_numpy(bias).to(output.bias)
        return
    coefficients = choose_ridge_cox(ready, job.survival.take(own), seed)
    with torch.no_grad():
        output.weight[0] = torch.from_numpy(coefficients).to(output.weight)
