"""A pretraining run from its settings to the checkpoint folder."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bulkrnabert import keys
from bulkrnabert.config import preset_path
from bulkrnabert.data.coexpression import bin_statistics, coexpression_table
from bulkrnabert.data.tokens import Tokens, read_tokens
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.registry import BULKRNABERT, build_model, load_strictly, save_network
from bulkrnabert.provenance import (
    atomic_path,
    describe_run,
    hash_patients,
    package_version,
    sha256_file,
    sha256_lines,
    write_json,
)
from bulkrnabert.train.batches import BatchSource, Parts, split_off_validation
from bulkrnabert.train.checkpoint import StateFolder, TrainingState
from bulkrnabert.train.config import TrainConfig
from bulkrnabert.train.engine import Engine, TorchEngine
from bulkrnabert.train.engine_deepspeed import DeepSpeedEngine, ZeroStage
from bulkrnabert.train.loop import Trainer, TrainingResult, describe_engine
from bulkrnabert.train.losses import MaskedLanguageModel
from bulkrnabert.train.mixture import SampleOrder, mix_cohorts
from bulkrnabert.train.model_card import TrainingData, model_card
from bulkrnabert.train.records import NoRecords, RecordWriter
from bulkrnabert.train.stopping import StopWatch

logger = logging.getLogger(__name__)

EngineName = Literal["torch", "deepspeed"]
STAGE = "pretrain"


@dataclass(frozen=True)
class RunSettings:
    """What the command line says.

    Attributes:
        tokens: Tokens folder.
        out: Checkpoint folder to write.
        state_folder: Where unfinished work is kept.
        preset: Shipped sizes and settings, where no file is given.
        model_config: YAML of the model's sizes instead of the preset's.
        train_config: YAML of the training settings instead of the preset's.
        steps: Number of steps instead of the configured one.
        engine: Which engine.
        zero_stage: ZeRO stage of the DeepSpeed engine.
        n_processes: Processes of the run.
        device: `cpu` or `cuda`.
        seed: Seed of everything that is drawn.
    """

    tokens: Path
    out: Path
    state_folder: Path
    preset: str
    model_config: Path | None
    train_config: Path | None
    steps: int | None
    engine: EngineName
    zero_stage: ZeroStage
    n_processes: int
    device: Literal["cpu", "cuda"]
    seed: int


@dataclass(frozen=True)
class RunPlan:
    """A run whose input has been read and checked."""

    settings: RunSettings
    tokens: Tokens
    parts: Parts
    order: SampleOrder
    model: BulkRNABertConfig
    train: TrainConfig
    use_bf16: bool
    states: StateFolder


def plan_run(settings: RunSettings) -> RunPlan:
    """Read and check everything that can be wrong before training starts.

    Raises:
        ConfigError: a configuration, or a combination of options, is wrong.
        DataError: the tokens folder is wrong.
        CheckpointError: the state folder belongs to another run.
    """
    _check_out(settings.out)
    train = _train_config(settings)
    train.accumulation(settings.n_processes)
    if settings.engine == "torch" and settings.n_processes > 1:
        raise ConfigError(f"engine torch runs one process, found {settings.n_processes}: use --engine deepspeed")
    tokens = read_tokens(settings.tokens)
    model = _model_config(settings, tokens)
    _check_token_ids(tokens, model.n_bins)
    parts = split_off_validation(tokens.samples, train.validation_fraction, settings.seed)
    n_places = train.steps * train.global_batch_size
    order = mix_cohorts(tokens.samples, parts.fit_idx, train.cohort_weights, n_places, settings.seed)
    use_bf16 = train.precision == "bf16" or (train.precision == "auto" and settings.device == "cuda")
    identity = {
        "model": model.model_dump(mode="json"),
        "train": train.model_dump(mode="json", exclude={"micro_batch_size"}),
        "precision": "bf16" if use_bf16 else "fp32",
        "seed": settings.seed,
        "tokens": sha256_file(settings.tokens / keys.TOKENS_PARQUET),
    }
    states = StateFolder(settings.state_folder, identity, train.keep_best)
    states.check()
    _make_folder(settings.state_folder)
    return RunPlan(settings, tokens, parts, order, model, train, use_bf16, states)


def run_plan(plan: RunPlan, stop: StopWatch) -> None:
    """Train to the end and write the checkpoint folder; on every process of the run.

    Raises:
        RunMeAgain: stopped early, state saved.
        TrainingError: the loss is not finite; nothing was written under the final name.
    """
    is_first = int(os.environ.get("RANK", "0")) == 0 or plan.settings.engine == "torch"
    if not is_first:
        _train(plan, stop, NoRecords(), plan.states.load())
        return
    with plan.states.locked():
        state = plan.states.load()
        with RecordWriter(plan.states.records_path, state.records_bytes if state else 0) as records:
            _train(plan, stop, records, state)


def _train(plan: RunPlan, stop: StopWatch, records: RecordWriter | NoRecords, state: TrainingState | None) -> None:
    network = build_model(BULKRNABERT, plan.model, torch.Generator().manual_seed(plan.settings.seed))
    if state is not None:
        load_strictly(network, state.weights, str(plan.states.folder))
    else:
        _start_from_data(plan, network)
    engine = _build_engine(plan, network)
    try:
        _train_on(plan, network, engine, stop, records, state)
    finally:
        engine.close()


def _start_from_data(plan: RunPlan, network: BulkRNABert) -> None:
    """What the training samples themselves give: each gene's usual bin, and co-expression for the gene embedding."""
    token_ids = plan.tokens.token_ids[plan.parts.fit_idx]
    statistics = bin_statistics(token_ids, plan.model.n_bins)
    network.set_bin_statistics(torch.from_numpy(statistics.mean), torch.from_numpy(statistics.deviation))
    if plan.train.gene_embedding_start == "coexpression" and plan.model.use_gene_embedding:
        rng = np.random.default_rng(plan.settings.seed)
        table = coexpression_table(token_ids, statistics, plan.model.n_bins, plan.model.init_gene_embed_dim, rng)
        network.start_gene_embedding(torch.from_numpy(table))


def _train_on(
    plan: RunPlan,
    network: BulkRNABert,
    engine: Engine,
    stop: StopWatch,
    records: RecordWriter | NoRecords,
    state: TrainingState | None,
) -> None:
    start_step = 0
    if state is not None:
        engine.load_moments(state.moments, state.step)
        start_step = state.step
    source = BatchSource(
        plan.tokens.token_ids, plan.parts, plan.order, plan.train, plan.model.n_bins, plan.settings.seed
    )
    if engine.rank == 0:
        _log_start(plan, source, engine, state)
    trainer = Trainer(engine, source, plan.train, plan.model, plan.settings.seed, plan.states, records, stop)
    result = trainer.run(start_step)
    weights = engine.weights()
    if engine.rank == 0:
        summary = _summary(plan, engine, result, sum(weights[name].numel() for name, _ in network.named_parameters()))
        records.write(summary)
        _write_checkpoint(plan, network, weights, result, summary)
    engine.sum_over_processes([0.0])  # the others wait for the one that writes


def _build_engine(plan: RunPlan, network: BulkRNABert) -> Engine:
    objective = MaskedLanguageModel(network, plan.use_bf16)
    if plan.settings.device == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    if plan.settings.engine == "deepspeed":
        return DeepSpeedEngine(objective, plan.train, device, plan.settings.zero_stage)
    return TorchEngine(objective, plan.train, device)


def _train_config(settings: RunSettings) -> TrainConfig:
    train = TrainConfig.from_yaml(settings.train_config or preset_path("train", settings.preset))
    if settings.steps is None:
        return train
    return TrainConfig.from_mapping({**train.model_dump(), "steps": settings.steps}, "--steps")


def _model_config(settings: RunSettings, tokens: Tokens) -> BulkRNABertConfig:
    source = settings.model_config or preset_path("model", settings.preset)
    model = BulkRNABertConfig.from_yaml(source).with_genes(len(tokens.gene_ids))
    model = model.model_copy(update={"has_bin_statistics": True})
    if model.n_bins != tokens.tokenizer.n_bins:
        raise ConfigError(
            f"{source}: n_bins {model.n_bins}, the tokenizer has {tokens.tokenizer.n_bins}: make them equal"
        )
    if model.n_embedding_rows < keys.N_TOKEN_IDS:
        raise ConfigError(
            f"{source}: n_embedding_rows {model.n_embedding_rows}, expected at least {keys.N_TOKEN_IDS}: without a "
            "row of its own, <mask> cannot be told from the top bin in training"
        )
    return model


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file, expected a folder to write the checkpoint to")
    if out.is_dir() and any(out.iterdir()) and not (out / keys.CONFIG_JSON).is_file():
        raise ConfigError(f"{out}: is a folder of something else than a checkpoint; it would be replaced: name another")
    _make_folder(out.parent)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made ({error}): name another folder") from error
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{folder}: cannot be written to: name another folder or change its permissions")


def _check_token_ids(tokens: Tokens, n_bins: int) -> None:
    is_wrong = (tokens.token_ids >= n_bins) & (tokens.token_ids != keys.MASK_ID) & tokens.is_training[:, None]
    if is_wrong.any():
        row, column = np.argwhere(is_wrong)[0]
        raise DataError(
            f"{int(is_wrong.sum())} tokens of the training part are neither one of {n_bins} bins nor {keys.MASK_ID} "
            f"(missing): the first is {tokens.token_ids[row, column]} at sample "
            f"{tokens.samples[keys.SAMPLE_ID].iloc[row]}, gene {tokens.gene_ids[column]}; tokenize with a "
            "tokenizer that clips at the top bin"
        )


def _log_start(plan: RunPlan, source: BatchSource, engine: Engine, state: TrainingState | None) -> None:
    logger.info(
        "%d samples to train on, %d set aside for validation, %d held out; %d of %d genes a step; %s, %s",
        len(plan.parts.fit_idx),
        len(plan.parts.validation_idx),
        int((~plan.tokens.is_training).sum()),
        source.n_genes_at(0),
        source.n_genes,
        describe_engine(engine),
        "bf16" if plan.use_bf16 else "fp32",
    )
    if state is None:
        return
    logger.info("going on from step %d of %s", state.step, plan.states.folder)
    if state.engine != describe_engine(engine):
        logger.info(
            "the state was written by %s: the result agrees with an undisturbed run within rounding, not bit for bit",
            state.engine,
        )


def _summary(plan: RunPlan, engine: Engine, result: TrainingResult, n_parameters: int) -> dict[str, Any]:
    return {
        "kind": "summary",
        "step": plan.train.steps,
        **asdict(result.validation),
        **asdict(result.speed),
        "n_parameters": n_parameters,
        "engine": engine.name,
        "zero_stage": plan.settings.zero_stage if engine.name == "deepspeed" else None,
        "n_processes": engine.world_size,
        "device": engine.device.type,
        "precision": "bf16" if plan.use_bf16 else "fp32",
    }


def _training_data(plan: RunPlan) -> TrainingData:
    training = plan.tokens.samples[plan.tokens.is_training]
    return TrainingData(
        cohorts={str(name): int(count) for name, count in training[keys.COHORT].value_counts().items()},
        n_patients=int(training[keys.PATIENT_ID].nunique()),
        n_fit_samples=len(plan.parts.fit_idx),
        n_validation_samples=len(plan.parts.validation_idx),
        n_held_out_samples=int((~plan.tokens.is_training).sum()),
        unit=plan.tokens.tokenizer.unit,
        split_id=plan.tokens.split_id,
        split_sha256=plan.tokens.split_sha256,
    )


def _provenance(plan: RunPlan, data: TrainingData, summary: dict[str, Any]) -> dict[str, Any]:
    settings = plan.settings
    parameters = {
        "model": plan.model.model_dump(mode="json"),
        "train": plan.train.model_dump(mode="json"),
        "preset": settings.preset,
        "engine": settings.engine,
        "zero_stage": settings.zero_stage,
        "n_processes": settings.n_processes,
        "seed": settings.seed,
    }
    inputs = {
        name: settings.tokens / file
        for name, file in (
            ("tokens", keys.TOKENS_PARQUET),
            ("tokenizer", keys.TOKENIZER_JSON),
            ("genes", keys.GENES_TXT),
        )
    }
    training = plan.tokens.samples[plan.tokens.is_training]
    return {
        **describe_run(STAGE, parameters, inputs),
        "split_id": data.split_id,
        "split_sha256": data.split_sha256,
        "gene_list_sha256": sha256_lines(plan.tokens.gene_ids),
        "n_patients": data.n_patients,
        "cohorts": data.cohorts,
        "metrics": {name: value for name, value in summary.items() if name != "kind"},
        "patient_hashes": hash_patients(training[keys.PATIENT_ID].astype(str)),
    }


def _write_checkpoint(
    plan: RunPlan, network: BulkRNABert, weights: dict[str, Tensor], result: TrainingResult, summary: dict[str, Any]
) -> None:
    settings = plan.settings
    data = _training_data(plan)
    card = model_card(
        plan.model, plan.train, data, result.validation, summary["n_parameters"], settings.seed, package_version()
    )
    with atomic_path(settings.out) as partial:
        save_network(partial, network, weights)
        shutil.copyfile(settings.tokens / keys.TOKENIZER_JSON, partial / keys.TOKENIZER_JSON)
        shutil.copyfile(settings.tokens / keys.GENES_TXT, partial / keys.GENES_TXT)
        shutil.copyfile(plan.states.records_path, partial / keys.RECORDS_JSONL)
        write_json(partial / keys.PROVENANCE_JSON, _provenance(plan, data, summary))
        (partial / keys.MODEL_CARD).write_text(card, encoding="utf-8")
    logger.info(
        "%s: %d steps, validation loss %.3f, masked accuracy %.3f (baseline %.3f); state kept in %s",
        settings.out,
        plan.train.steps,
        result.validation.loss,
        result.validation.masked_accuracy,
        result.validation.baseline_accuracy,
        settings.state_folder,
    )
