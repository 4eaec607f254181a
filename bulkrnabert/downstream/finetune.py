"""Fine-tuning of a job's folds: each from the encoder that never saw the fold's patients."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from bulkrnabert import keys
from bulkrnabert.downstream.fold_encoders import FoldEncoder, PanelChooser, chosen_panel
from bulkrnabert.downstream.job import Fold, Job
from bulkrnabert.downstream.joint import JointJob
from bulkrnabert.downstream.kernel_head import fit_kernel_ridge
from bulkrnabert.downstream.probe import choose_logistic
from bulkrnabert.downstream.survival import Baseline, choose_ridge_cox, fit_baseline
from bulkrnabert.errors import ConfigError
from bulkrnabert.models.encoder import Encoder
from bulkrnabert.models.finetuned import FinetunedConfig, FinetunedNetwork, FinetunePooling, embedding_width
from bulkrnabert.models.heads import HeadConfig
from bulkrnabert.models.registry import build_model
from bulkrnabert.train.finetune import Curve, FinetuneConfig, FinetuneData, Finetuner, pooled_embeddings
from bulkrnabert.train.targets import Target

logger = logging.getLogger(__name__)

Start = Literal["pretrained", "random"]
IntArray = npt.NDArray[np.int64]
KERNEL_NAME = "kernel head"
METHOD_NAMES = {"none": "head only", "ia3": "IA3 fine-tuning", "lora": "LoRA fine-tuning", "full": "full fine-tuning"}
LOGIT_OF_ABSENT_CLASS = -5.0


@dataclass(frozen=True)
class FinetuneSettings:
    """How to fine-tune.

    Attributes:
        config: Sizes and rates.
        start: `pretrained`, or `random`: the same network with weights drawn anew, which shows what pretraining gives.
        seed: Of everything drawn.
        device: CPU or a GPU.
        is_tuned: Whether `config` was chosen for the fold (see `tune_fold`).
        panel: Genes that the network reads, as numbers of the encoder's list; None: all of them.
        panel_chooser: Chooses the panel of each fold on its training part (see `with_panel`).
        panel_name: What a reader is told of the panel, as `64 genes`; part of `method` where it is given.
        model: Kind of model, as `bulkrnabert`.
    """

    config: FinetuneConfig
    start: Start
    seed: int
    device: torch.device
    is_tuned: bool = False
    panel: tuple[int, ...] | None = None
    panel_chooser: PanelChooser | None = None
    panel_name: str = ""
    model: str = keys.BULKRNABERT

    @property
    def method(self) -> str:
        """Name that a reader sees, the same for every fold."""
        kind = "tuned fine-tuning" if self.is_tuned else METHOD_NAMES[self.config.adapter.kind]
        if self.config.head_kernel:
            kind = KERNEL_NAME if self.config.adapter.kind == "none" else f"{kind}, {KERNEL_NAME}"
        name = f"{keys.MODEL_TITLES.get(self.model, self.model)}, {kind}"
        name += "" if self.start == "pretrained" else " from a random start"
        return f"{name} on {self.panel_name}" if self.panel_name else name

    def with_panel(self, encoder: FoldEncoder, fold: Fold) -> Self:
        """These settings with the panel of a fold, chosen on its training part; as they are without a chooser."""
        if self.panel_chooser is None:
            return self
        panel = chosen_panel(self.panel_chooser, encoder, fold.train)
        return replace(self, panel=panel, panel_chooser=None)


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
    encoder: FoldEncoder
    settings: FinetuneSettings
    network: FinetunedNetwork
    curve: Curve
    baseline: Baseline | None


class StartEmbeddings:
    """Pooled embeddings by the encoders as they were pretrained; each sample goes through an encoder once.

    Args:
        settings: Decide the start and the device.
    """

    def __init__(self, settings: FinetuneSettings) -> None:
        self._settings = settings
        self._found: dict[tuple[object, ...], torch.Tensor] = {}

    def get(self, encoder: FoldEncoder, network: FinetunedNetwork, rows: IntArray) -> torch.Tensor:
        """Embeddings in their rows, shape (all row numbers, E); those of `rows` are there, others may be NaN.

        Args:
            encoder: The encoder.
            network: On it, not trained yet.
            rows: Row numbers that are needed (see `DroppableTokens`).
        """
        config = network.config
        key = id(encoder), config.pooling, config.layer, config.gene_idx
        tokens = encoder.droppable(config.gene_idx)
        if key not in self._found:
            width = embedding_width(network.encoder, config.pooling, config.gene_idx)
            self._found[key] = torch.full((tokens.n_rows, width), torch.nan, device=self._settings.device)
        whole = self._found[key]
        absent = rows[torch.isnan(whole[torch.from_numpy(rows), 0]).cpu().numpy()]
        if len(absent):
            places = torch.from_numpy(absent)
            found = pooled_embeddings(network, tokens.take(places).numpy(), self._settings.device)
            whole[places.to(whole.device)] = found
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
    job: JointJob, fold: Fold, encoder: FoldEncoder, settings: FinetuneSettings, starts: StartEmbeddings
) -> Search:
    """Train until the loss on patients set aside from the training part no longer falls; the test part is not seen.

    Args:
        job: The job.
        fold: One of its folds.
        encoder: The encoder that may judge this fold.
        settings: How.
        starts: Shared by folds and searches.
    """
    settings = settings.with_panel(encoder, fold)
    inner = job.inner_part(fold.train, settings.config.inner_fraction, settings.seed)
    to_fit = np.setdiff1d(fold.train, inner)
    finetuner = start_finetuner(job, to_fit, fold, encoder, settings, starts)
    return Search(settings, finetuner, finetuner.search(to_fit, inner))


def finish_fold(
    job: JointJob, fold: Fold, encoder: FoldEncoder, search: Search, starts: StartEmbeddings
) -> FinetunedFold:
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
    job: JointJob, rows: IntArray, fold: Fold, encoder: FoldEncoder, settings: FinetuneSettings, starts: StartEmbeddings
) -> Finetuner:
    """A new network, standardised on `rows`, its heads without hidden layers started as the probe, or as kernel ridge
    regression, that is fitted on them."""
    targets = job.targets()
    network = _new_network(encoder, targets, settings)
    start = starts.get(encoder, network, _rows_to_embed(fold, encoder, network, settings.config))
    data = FinetuneData(encoder.tokens_of(settings.panel), targets, start, encoder.n_omics)
    finetuner = Finetuner(network, data, settings.config, settings.seed, settings.device)
    ready = finetuner.standardise(rows).double().cpu().numpy()
    if not settings.config.head_hidden:
        place_of = np.full(len(job.rows), -1, dtype=np.int64)
        place_of[rows] = np.arange(len(rows))
        for number, one_task in enumerate(job.jobs):
            own = job.rows_of_job(number, rows)
            copies = _standardised_copies(encoder, finetuner, start, job.places[number][own], settings.config)
            _start_head(
                finetuner.network, one_task, ready[place_of[job.places[number][own]]], own, copies, settings.seed
            )
    return finetuner


def _rows_to_embed(fold: Fold, encoder: FoldEncoder, network: FinetunedNetwork, config: FinetuneConfig) -> IntArray:
    """Row numbers whose embeddings a fold needs before it is trained; all of them if the encoder stays frozen."""
    rows = [fold.train] if network.encoder_parameters() else [fold.train, fold.test]
    if config.modality_dropout > 0 and encoder.n_omics > 1:
        tokens, train = encoder.droppable(None), torch.from_numpy(fold.train)
        rows += [tokens.without(train, omic).numpy() for omic in range(encoder.n_omics)]
    return np.concatenate(rows)


def base_network(encoder: FoldEncoder, start: Start, seed: int) -> Encoder:
    """A copy of the encoder before fine-tuning: its own weights, or weights drawn anew."""
    pretrained = encoder.model.network
    network = build_model(encoder.model.name, pretrained.config, torch.Generator().manual_seed(seed))
    if start == "pretrained":
        network.load_state_dict(pretrained.state_dict())
    else:
        network.load_state_dict(dict(pretrained.named_buffers()), strict=False)  # what it knows of the training samples
    return network


def _new_network(encoder: FoldEncoder, targets: Sequence[Target], settings: FinetuneSettings) -> FinetunedNetwork:
    config = settings.config
    network = base_network(encoder, settings.start, settings.seed)
    if config.layer is not None and config.layer > network.config.n_layers:
        raise ConfigError(f"layer {config.layer}, but the encoder has {network.config.n_layers} layers")
    pooling = resolve_pooling(config, network)
    heads = {
        target.name: HeadConfig(
            n_inputs=embedding_width(network, pooling, settings.panel),
            n_outputs=target.n_outputs,
            hidden=config.head_hidden,
            dropout=config.head_dropout,
            layer_norm=config.head_layer_norm,
            kernel_features=config.head_kernel if target.name == keys.CANCER_TYPE else 0,
        )
        for target in targets
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        of_network = FinetunedConfig(
            adapter=config.adapter, pooling=pooling, layer=config.layer, gene_idx=settings.panel, heads=heads
        )
        return FinetunedNetwork(network, of_network)


def resolve_pooling(config: FinetuneConfig, encoder: Encoder) -> FinetunePooling:
    """The pooling that the settings ask for.

    Raises:
        ConfigError: `marker` or `eigengene`, for an encoder that does not keep what they need.
    """
    kept = {"eigengene": encoder.config.n_eigengenes > 0, "marker": encoder.config.has_bin_statistics}
    if config.pooling == "auto":
        return "eigengene" if kept["eigengene"] else "marker" if kept["marker"] else "mean"
    if not kept.get(config.pooling, True):
        raise ConfigError(
            f"pooling: {config.pooling} needs an encoder that keeps statistics of its training samples, which imported "
            "and older ones do not; use mean or attention"
        )
    return config.pooling


@dataclass(frozen=True)
class _Copies:
    """Standardised embeddings of samples without one of their omics.

    Attributes:
        ready: Shape (copies, E).
        of: Which of the samples each is a copy of.
        weight: How much a copy counts beside a sample, as in training.
    """

    ready: npt.NDArray[np.float64]
    of: IntArray
    weight: float


def _standardised_copies(
    encoder: FoldEncoder, finetuner: Finetuner, start: torch.Tensor, samples: IntArray, config: FinetuneConfig
) -> _Copies | None:
    """Of every sample that has several omics, without each; None where training makes no copies."""
    if config.modality_dropout == 0:
        return None
    tokens = encoder.droppable(None)
    several = np.flatnonzero(tokens.has_omic[samples].sum(axis=1) > 1)
    numbers = [tokens.without(torch.from_numpy(samples[several]), omic) for omic in range(encoder.n_omics)]
    ready = finetuner.network.standardised(start[torch.cat(numbers).to(start.device)]).double().cpu().numpy()
    return _Copies(ready, np.tile(several, encoder.n_omics), config.modality_dropout / encoder.n_omics)


def _start_head(
    network: FinetunedNetwork,
    job: Job,
    ready: npt.NDArray[np.float64],
    own: IntArray,
    copies: _Copies | None,
    seed: int,
) -> None:
    """Start a linear head as the probe on standardised embeddings of the job's rows `own`; a classifier's is fitted on
    their copies as well, so that it does not need every omic from the start."""
    output = network.linear_output(job.task)
    if network.config.heads[job.task].kernel_features:
        _start_kernel_head(network, job, ready, job.class_ids[own], seed)
        return
    if job.task == keys.CANCER_TYPE:
        model = choose_logistic(ready, job.class_ids[own], seed)
        if copies is not None and len(copies.of):
            weights = np.concatenate([np.ones(len(own)), np.full(len(copies.of), copies.weight)])
            features, classes = (
                np.concatenate([ready, copies.ready]),
                job.class_ids[np.concatenate([own, own[copies.of]])],
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # as in `choose_logistic`
                model = model.fit(features, classes, sample_weight=weights)
        weight, bias = model.coef_, model.intercept_
        if len(model.classes_) == 2 and len(weight) == 1:
            weight, bias = np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
        with torch.no_grad():
            output.bias.fill_(float(np.min(bias)) + LOGIT_OF_ABSENT_CLASS)  # of a class that the training part lacks
            output.weight[model.classes_] = torch.from_numpy(weight).to(output.weight)
            output.bias[model.classes_] = torch.from_numpy(bias).to(output.bias)
        return
    scale = network.get_buffer("embedding_scale").double().cpu().numpy()
    coefficients = choose_ridge_cox(ready, scale, job.survival.take(own), seed)
    with torch.no_grad():
        output.weight[0] = torch.from_numpy(coefficients).to(output.weight)


def _start_kernel_head(
    network: FinetunedNetwork, job: Job, ready: npt.NDArray[np.float64], class_ids: IntArray, seed: int
) -> None:
    output = network.linear_output(job.task)
    with torch.no_grad():
        inputs = torch.from_numpy(ready).to(output.weight)
        features = network.head_features(job.task, inputs).cpu().numpy()
        fitted = fit_kernel_ridge(features, class_ids, len(job.classes), seed)
        output.weight.copy_(torch.from_numpy(fitted.weight))
        output.bias.fill_(LOGIT_OF_ABSENT_CLASS)
        output.bias[torch.from_numpy(np.unique(class_ids))] = 0.0
