"""A fine-tuning run from its settings to the model folder, predictions and records."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from bulkrnabert import keys
from bulkrnabert.config import preset_names, preset_path
from bulkrnabert.data.access import strictest
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.omics import join_samples
from bulkrnabert.data.splits import read_clinical, read_splits, splits_file
from bulkrnabert.data.tables import modalities_of, read_cohorts
from bulkrnabert.data.tokens import Tokens, read_tokens
from bulkrnabert.downstream.encode import EncodedSamples, align_to_model, encode_aligned, join_blocks
from bulkrnabert.downstream.finetune import (
    FinetunedFold,
    FinetuneSettings,
    Start,
    StartEmbeddings,
    finish_fold,
    search_fold,
)
from bulkrnabert.downstream.finetune_predict import predict_folds
from bulkrnabert.downstream.finetuned_folder import refuse_other_model, write_finetuned
from bulkrnabert.downstream.fold_encoders import FoldEncoder, named_panel, pair_encoders
from bulkrnabert.downstream.job import Fold, Task, make_job
from bulkrnabert.downstream.joint import JointJob, join_jobs
from bulkrnabert.downstream.predictions import write_predictions
from bulkrnabert.downstream.pretrained import PretrainedModel, load
from bulkrnabert.downstream.tuning import Tuning, tune_fold
from bulkrnabert.errors import ConfigError
from bulkrnabert.logs import is_main_process, progress
from bulkrnabert.models.adapters import AdapterKind
from bulkrnabert.provenance import describe_run, write_json
from bulkrnabert.train.finetune import FinetuneConfig, TaskConfig
from bulkrnabert.train.records import RecordWriter

logger = logging.getLogger(__name__)

MODEL_FOLDER: Final = "model"
RECORDS_FOLDER: Final = "records"
TUNING_JSON: Final = "tuning.json"
FINAL: Final = "final"


@dataclass(frozen=True)
class FinetuneRequest:
    """What the command line says.

    Attributes:
        checkpoints: Checkpoint folders: one a fold, or one trained on all samples.
        tokens: Their tokens folders; empty: the cohorts' expression goes through the checkpoints' own tokenizers.
        cohorts: Folder that `preprocess` wrote.
        splits: `splits.tsv`.
        tasks: What to predict.
        scope: `pan` or a cohort.
        label_column: Class to predict.
        preset: Shipped settings, where no file is given.
        task_config: YAML of settings instead of the preset's.
        adapter: Kind of adapter instead of the configured one.
        start: Pretrained weights, or weights drawn anew.
        n_trials: Settings to try in each fold; 0: as configured.
        panel: File with the ids of the genes that the networks read, one a line; None: all genes of the checkpoint.
        only_folds: Folds to run; empty: all.
        has_final: Train a member on every sample as well, which needs an encoder of all samples.
        seed: Of everything drawn.
        device: Where to run.
        out: Folder to write.
    """

    checkpoints: tuple[Path, ...]
    tokens: tuple[Path, ...]
    cohorts: Path
    splits: Path
    tasks: tuple[Task, ...]
    scope: str
    label_column: str
    preset: str
    task_config: Path | None
    adapter: AdapterKind | None
    start: Start
    n_trials: int
    panel: Path | None
    only_folds: tuple[str, ...]
    has_final: bool
    seed: int
    device: torch.device
    out: Path


def run_finetuning(request: FinetuneRequest) -> None:
    """Fine-tune every fold and write the model, its out-of-fold predictions and the records; on every process.

    Raises:
        ConfigError: the model's folder holds something else, or a model of other tasks, scope or method.
    """
    models = [(path, load(path)) for path in request.checkpoints]
    settings = _settings(request, models)
    method = replace(settings, is_tuned=bool(request.n_trials)).method
    classes_by = {keys.CANCER_TYPE: request.label_column, keys.SURVIVAL: ""}
    named_tasks = [(task, classes_by[task]) for task in request.tasks]
    refuse_other_model(request.out / MODEL_FOLDER, named_tasks, request.scope, method)
    splits = read_splits(request.splits)
    clinical = read_clinical(request.cohorts / keys.CLINICAL_TSV)
    job = join_jobs([make_job(splits, clinical, task, request.scope, request.label_column) for task in request.tasks])
    job = _with_folds(job, request.only_folds)
    encoders = pair_encoders(job, models, _tokens(request, models))
    todo = [(fold, encoders[fold.split_id]) for fold in job.folds] + _final(request, job, encoders)
    logger.info(
        "%s, scope %s: %d samples, %d networks, %s, %s",
        " and ".join(request.tasks),
        request.scope,
        len(job.rows),
        len(todo),
        settings.method,
        request.device,
    )
    starts = StartEmbeddings(settings)
    done, tunings = [], []
    for fold, encoder in progress(todo, what="fine-tune", unit="network"):
        if request.n_trials:
            tunings.append(tune_fold(job, fold, encoder, settings, starts, request.n_trials))
            search = tunings[-1].best
        else:
            search = search_fold(job, fold, encoder, settings, starts)
        done.append(finish_fold(job, fold, encoder, search, starts))
    predictions = predict_folds(job, [item for item in done if item.fold.split_id != FINAL], starts)
    if not is_main_process():
        return
    write_finetuned(
        request.out / MODEL_FOLDER,
        job,
        done,
        request.label_column,
        _provenance(request, settings),
    )
    for task, found in predictions.items():
        name = keys.PREDICTIONS_PARQUET if len(predictions) == 1 else f"predictions.{task}.parquet"
        write_predictions(found, request.out / name)
    _write_records(request.out / RECORDS_FOLDER, done, tunings)
    _warn_of_unchanged(done)


def _settings(request: FinetuneRequest, models: list[tuple[Path, PretrainedModel]]) -> FinetuneSettings:
    """Settings for the kind of model that is given.

    Raises:
        ConfigError: checkpoints of several kinds.
    """
    first, model = models[0]
    for path, other in models:
        if other.name != model.name:
            raise ConfigError(f"{path}: a {other.name} checkpoint, {first} is of {model.name}: give checkpoints of one")
    config = _config(request, model.name)
    if (config.genes_per_step or config.inner_genes) and not model.network.reads_subsets:
        logger.info(
            "genes_per_step and inner_genes are left out: a %s model reads all of its genes at once", model.name
        )
        config = config.model_copy(update={"genes_per_step": None, "inner_genes": None})
    if request.panel is None:
        return FinetuneSettings(config, request.start, request.seed, request.device, model=model.name)
    size = len(GeneVocabulary.from_txt(request.panel))
    return FinetuneSettings(
        config,
        request.start,
        request.seed,
        request.device,
        panel_chooser=named_panel(request.panel),
        panel_name=f"{size} genes",
        model=model.name,
    )


def _tokens(request: FinetuneRequest, models: list[tuple[Path, PretrainedModel]]) -> list[tuple[Path, Tokens]]:
    if request.tokens:
        return [(path, read_tokens(path)) for path in request.tokens]
    first = models[0][1]
    omics = [omic for omic in first.omics if omic in modalities_of(request.cohorts)] or [first.omics[0]]
    cohorts = {omic: read_cohorts(request.cohorts, omic) for omic in omics}
    joined = join_samples({omic: one.samples for omic, one in cohorts.items()})
    found = []
    for path, model in models:
        logger.info("%s: tokens of %s by the checkpoint's own tokenizer", path, request.cohorts)
        blocks: dict[str, tuple[npt.NDArray[np.int64], EncodedSamples]] = {}
        for omic, one in cohorts.items():
            alignment = align_to_model(model, one.genes.gene_ids)
            block = encode_aligned(model, alignment, [one.values], len(one.samples), one.unit, omic)
            ids = pd.Index(joined.samples[keys.SAMPLE_ID])
            blocks[omic] = ids.get_indexer(pd.Index(one.samples[keys.SAMPLE_ID])).astype(np.int64), block
        encoded = join_blocks(model, blocks, len(joined.samples))
        split_id = str(model.provenance.get("split_id") or keys.ALL_SPLIT)
        sha256 = str(model.provenance.get("split_sha256") or "")
        tokens = Tokens(
            joined.samples,
            encoded.token_ids,
            model.gene_ids,
            model.tokenizers,
            split_id,
            sha256,
            model=model.name,
            data_access=strictest(one.data_access for one in cohorts.values()),
        )
        found.append((path, tokens))
    return found


def _config(request: FinetuneRequest, model: str) -> FinetuneConfig:
    """Settings of the tasks: the model's own preset where it has one of this name."""
    of_model = model if request.preset in preset_names("task", model) else keys.BULKRNABERT
    path = request.task_config or preset_path("task", request.preset, of_model)
    config = TaskConfig.from_yaml(path).of_tasks(request.tasks)
    if request.adapter is None:
        return config
    return config.model_copy(update={"adapter": config.adapter.model_copy(update={"kind": request.adapter})})


def _with_folds(job: JointJob, only: tuple[str, ...]) -> JointJob:
    if not only:
        return job
    known = [fold.split_id for fold in job.folds]
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise ConfigError(f"--fold {unknown[0]!r}: choose of {', '.join(known)}")
    return JointJob(job.jobs, job.rows, [fold for fold in job.folds if fold.split_id in only], job.places)


def _final(
    request: FinetuneRequest, job: JointJob, encoders: Mapping[str, FoldEncoder]
) -> list[tuple[Fold, FoldEncoder]]:
    if not request.has_final:
        return []
    if keys.ALL_SPLIT not in encoders:
        raise ConfigError(
            f"--final learns from every sample, so it needs an encoder that may see all of them (split "
            f"{keys.ALL_SPLIT}), found {', '.join(sorted(encoders))}: pretrain on all samples, or leave --final out"
        )
    everyone = np.arange(len(job.rows), dtype=np.int64)
    return [(Fold(0, -1, FINAL, everyone, everyone[:0]), encoders[keys.ALL_SPLIT])]


def _provenance(request: FinetuneRequest, settings: FinetuneSettings) -> dict[str, Any]:
    parameters = {
        "tasks": list(request.tasks),
        "scope": request.scope,
        "label_column": request.label_column,
        "config": settings.config.model_dump(mode="json"),
        "start": request.start,
        "tune": request.n_trials,
        "seed": request.seed,
    }
    inputs = {"splits": splits_file(request.splits), "clinical": request.cohorts / keys.CLINICAL_TSV}
    inputs |= {f"weights {number}": path / keys.WEIGHTS for number, path in enumerate(request.checkpoints)}
    inputs |= {f"tokens {number}": path / keys.TOKENS_PARQUET for number, path in enumerate(request.tokens)}
    if request.panel is not None:
        inputs["panel"] = request.panel
    return describe_run("finetune", parameters, inputs)


def _warn_of_unchanged(done: list[FinetunedFold]) -> None:
    unchanged = [item for item in done if item.curve.best_epoch == 0 and item.curve.train_losses]
    if unchanged:
        # Heads with a hidden layer start as they are drawn, linear ones as the probe.
        is_drawn = any(item.settings.config.head_hidden for item in unchanged)
        start = "random heads that it starts from" if is_drawn else "fitted probe"
        logger.warning(
            "fine-tuning did not improve on the %s in %d of %d networks (%s); %s there",
            start,
            len(unchanged),
            len(done),
            ", ".join(item.fold.split_id for item in unchanged),
            "they are untrained" if is_drawn else "the probe is kept",
        )


def _write_records(folder: Path, done: list[FinetunedFold], tunings: list[Tuning]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with RecordWriter(folder / keys.RECORDS_JSONL, 0) as records:
        for item in done:
            name, curve = item.fold.split_id, item.curve
            records.write({"kind": "validation", "split_id": name, "step": 0, "loss": curve.losses[0]})
            for epoch, (train_loss, seconds) in enumerate(zip(curve.train_losses, curve.seconds, strict=True), start=1):
                records.write({"kind": "train", "split_id": name, "step": epoch, "loss": train_loss})
                loss = curve.losses[epoch]
                records.write(
                    {"kind": "validation", "split_id": name, "step": epoch, "loss": loss, "seconds": round(seconds, 3)}
                )
            records.write({"kind": "summary", "split_id": name, "step": curve.best_epoch, "loss": min(curve.losses)})
    if tunings:
        write_json(folder / TUNING_JSON, {"folds": [tuning.record() for tuning in tunings]})
