"""A pretraining run from its settings to the checkpoint folder."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from bulkrnabert import keys
from bulkrnabert.config import preset_path
from bulkrnabert.data.access import strictest_stated
from bulkrnabert.data.tokens import Tokens, read_tokens
from bulkrnabert.errors import ConfigError
from bulkrnabert.models.encoder import Encoder
from bulkrnabert.models.registry import load_strictly, save_network
from bulkrnabert.provenance import (
    atomic_path,
    describe_run,
    hash_patients,
    package_version,
    sha256_file,
    write_json,
)
from bulkrnabert.train.batches import split_off_validation
from bulkrnabert.train.checkpoint import StateFolder, TrainingState
from bulkrnabert.train.config import TrainConfig
from bulkrnabert.train.continuing import Start, read_start, replay_order, with_sizes_of
from bulkrnabert.train.engine import Engine, TorchEngine
from bulkrnabert.train.engine_deepspeed import DeepSpeedEngine, ZeroStage
from bulkrnabert.train.loop import Trainer, TrainingResult, describe_engine, describe_measures
from bulkrnabert.train.mixture import mix_cohorts
from bulkrnabert.train.model_card import TrainingData, model_card
from bulkrnabert.train.recipes import Recipe, RunData, recipe_class
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
        start_from: Checkpoint folder to go on from; None for weights drawn anew.
        new_share: Share of each batch for patients that `start_from` was not trained on; None: every sample counts the
            same.
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
    start_from: Path | None = None
    new_share: float | None = None


@dataclass(frozen=True)
class RunPlan:
    """A run whose input has been read and checked."""

    settings: RunSettings
    recipe: Recipe
    use_bf16: bool
    states: StateFolder
    start: Start | None = None

    @property
    def tokens(self) -> Tokens:
        """What the run learns from."""
        return self.recipe.data.tokens

    @property
    def train(self) -> TrainConfig:
        """Settings of the training."""
        return self.recipe.data.train


def plan_run(settings: RunSettings, makes_folders: bool = True) -> RunPlan:
    """Read and check everything that can be wrong before training starts.

    Args:
        settings: Of the run.
        makes_folders: Make the folders of the state and the checkpoint; a run that is only looked at needs none.
    Raises:
        ConfigError: a configuration, or a combination of options, is wrong.
        DataError: the tokens folder is wrong.
        CheckpointError: the state folder belongs to another run.
    """
    _check_out(settings.out)
    if makes_folders:
        _make_folder(settings.out.parent)
    if settings.engine == "torch" and settings.n_processes > 1:
        raise ConfigError(f"engine torch runs one process, found {settings.n_processes}: use --engine deepspeed")
    tokens = read_tokens(settings.tokens)
    kind = recipe_class(tokens.model)
    train = _train_config(settings, kind)
    train.accumulation(settings.n_processes)
    model_path = settings.model_config or preset_path("model", settings.preset, kind.name)
    model = kind.configure(model_path, tokens, train)
    if settings.start_from is not None:
        model = with_sizes_of(settings.start_from, model)
    parts = split_off_validation(tokens.samples, train.validation_fraction, settings.seed)
    n_places = train.steps * train.global_batch_size
    start = None if settings.start_from is None else read_start(settings.start_from, kind.name, model, tokens)
    if start is not None and settings.new_share is not None:
        if train.cohort_weights is not None:
            raise ConfigError("--new-share and cohort_weights of the training configuration both mix: leave one out")
        order = replay_order(start, tokens.samples, parts.fit_idx, settings.new_share, n_places, settings.seed)
    elif settings.new_share is not None:
        raise ConfigError("--new-share is the share of patients that are new to --start-from: give that checkpoint")
    else:
        order = mix_cohorts(tokens.samples, parts.fit_idx, train.cohort_weights, n_places, settings.seed)
    use_bf16 = train.precision == "bf16" or (train.precision == "auto" and settings.device == "cuda")
    identity: dict[str, Any] = {
        "model": model.model_dump(mode="json"),
        "train": train.model_dump(mode="json", exclude={"micro_batch_size"}),
        "precision": "bf16" if use_bf16 else "fp32",
        "seed": settings.seed,
        "tokens": sha256_file(settings.tokens / keys.TOKENS_PARQUET),
    }
    if start is not None:
        identity.update(start_from=start.weights_sha256, new_share=settings.new_share)
    states = StateFolder(settings.state_folder, identity, train.keep_best)
    states.check()
    if makes_folders:
        _make_folder(settings.state_folder)
    recipe = kind(model, RunData(tokens, parts, order, train, settings.seed))
    return RunPlan(settings, recipe, use_bf16, states, start)


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
    network = plan.recipe.build()
    if state is not None:
        load_strictly(network, state.weights, str(plan.states.folder))
    elif plan.start is not None:
        plan.start.load_into(network)
    else:
        plan.recipe.start_from_data(network)
    engine = _build_engine(plan, network)
    try:
        _train_on(plan, network, engine, stop, records, state)
    finally:
        engine.close()


def _train_on(
    plan: RunPlan,
    network: Encoder,
    engine: Engine,
    stop: StopWatch,
    records: RecordWriter | NoRecords,
    state: TrainingState | None,
) -> None:
    start_step = 0
    if state is not None:
        engine.load_moments(state.moments, state.step)
        start_step = state.step
    if engine.rank == 0:
        _log_start(plan, engine, state)
    result = Trainer(engine, plan.recipe, plan.states, records, stop).run(start_step)
    weights = engine.weights()
    if engine.rank == 0:
        summary = _summary(plan, engine, result, sum(weights[name].numel() for name, _ in network.named_parameters()))
        records.write(summary)
        _write_checkpoint(plan, network, weights, result, summary)
    engine.sum_over_processes([0.0])  # the others wait for the one that writes


def _build_engine(plan: RunPlan, network: Encoder) -> Engine:
    objective = plan.recipe.objective(network, plan.use_bf16)
    if plan.settings.device == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    if plan.settings.engine == "deepspeed":
        return DeepSpeedEngine(objective, plan.train, device, plan.settings.zero_stage)
    return TorchEngine(objective, plan.train, device)


def _train_config(settings: RunSettings, kind: type[Recipe]) -> TrainConfig:
    path = settings.train_config or preset_path("train", settings.preset, kind.name)
    train = kind.train_config.from_yaml(path)
    if settings.steps is None:
        return train
    return kind.train_config.from_mapping({**train.model_dump(), "steps": settings.steps}, "--steps")


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file, expected a folder to write the checkpoint to")
    if out.is_dir() and any(out.iterdir()) and not (out / keys.CONFIG_JSON).is_file():
        raise ConfigError(f"{out}: is a folder of something else than a checkpoint; it would be replaced: name another")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made ({error}): name another folder") from error
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{folder}: cannot be written to: name another folder or change its permissions")


def _log_start(plan: RunPlan, engine: Engine, state: TrainingState | None) -> None:
    logger.info(
        "%d samples to train on, %d set aside for validation, %d held out; %d of %d tokens of a sample a step; %s, %s",
        len(plan.recipe.data.parts.fit_idx),
        len(plan.recipe.data.parts.validation_idx),
        int((~plan.tokens.is_training).sum()),
        plan.recipe.n_tokens_at(0),
        plan.recipe.model.n_columns,
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
        **result.validation.record(),
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
        n_fit_samples=len(plan.recipe.data.parts.fit_idx),
        n_validation_samples=len(plan.recipe.data.parts.validation_idx),
        n_held_out_samples=int((~plan.tokens.is_training).sum()),
        split_id=plan.tokens.split_id,
        split_sha256=plan.tokens.split_sha256,
        n_genes=len(plan.tokens.gene_ids),
        gene_list_sha256=plan.tokens.gene_list_sha256,
        data_access=_data_access(plan),
        units={omic: tokenizer.unit for omic, tokenizer in plan.tokens.tokenizers.items()},
    )


def _data_access(plan: RunPlan) -> str | None:
    """The strictest class of what the weights were made from; None where it is not stated."""
    earlier = [] if plan.start is None else [plan.start.provenance.get("data_access")]
    return strictest_stated([plan.tokens.data_access, *earlier])


def _provenance(plan: RunPlan, data: TrainingData, summary: dict[str, Any]) -> dict[str, Any]:
    settings = plan.settings
    parameters: dict[str, Any] = {
        "model": plan.recipe.model.model_dump(mode="json"),
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
    learnt = set(hash_patients(training[keys.PATIENT_ID].astype(str)))
    if plan.start is not None:
        parameters.update(start_from=plan.start.described(), new_share=settings.new_share)
        learnt |= plan.start.patient_hashes  # those who have left the study since are still in the weights
    return {
        **describe_run(STAGE, parameters, inputs),
        "split_id": data.split_id,
        "split_sha256": data.split_sha256,
        "gene_list_sha256": data.gene_list_sha256,
        "n_patients": data.n_patients,
        "cohorts": data.cohorts,
        "metrics": {name: value for name, value in summary.items() if name != "kind"},
        **({} if data.data_access is None else {"data_access": data.data_access}),
        "patient_hashes": sorted(learnt),
    }


def _write_checkpoint(
    plan: RunPlan, network: Encoder, weights: dict[str, Tensor], result: TrainingResult, summary: dict[str, Any]
) -> None:
    settings = plan.settings
    data = _training_data(plan)
    text = plan.recipe.card(result.validation)
    card = model_card(plan.recipe.name, text, plan.train, data, summary, settings.seed, package_version())
    if plan.start is not None:
        n_new = int((~plan.start.is_replayed(plan.tokens.samples[plan.tokens.is_training])).sum())
        card = card.with_section("Continued pretraining", plan.start.card_text(n_new, settings.new_share))
    with atomic_path(settings.out) as partial:
        save_network(partial, network, weights)
        shutil.copyfile(settings.tokens / keys.TOKENIZER_JSON, partial / keys.TOKENIZER_JSON)
        shutil.copyfile(settings.tokens / keys.GENES_TXT, partial / keys.GENES_TXT)
        shutil.copyfile(plan.states.records_path, partial / keys.RECORDS_JSONL)
        write_json(partial / keys.PROVENANCE_JSON, _provenance(plan, data, summary))
        (partial / keys.MODEL_CARD).write_text(card.text(), encoding="utf-8")
    logger.info(
        "%s: %d steps, validation %s; state kept in %s",
        settings.out,
        plan.train.steps,
        describe_measures(result.validation.loss, result.validation.measures),
        settings.state_folder,
    )
