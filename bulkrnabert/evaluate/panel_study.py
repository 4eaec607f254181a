"""Classification from gene panels of several sizes: the fine-tuned model and its baselines, to files and numbers."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from bulkrnabert import keys
from bulkrnabert.config import preset_path
from bulkrnabert.data.splits import read_clinical, read_splits, splits_file
from bulkrnabert.data.tokens import read_tokens
from bulkrnabert.downstream.finetune import FinetuneSettings, Start
from bulkrnabert.downstream.finetuned_folder import refuse_other_folder
from bulkrnabert.downstream.fold_encoders import named_panel, pair_encoders
from bulkrnabert.downstream.job import Fold, make_job
from bulkrnabert.downstream.joint import join_jobs
from bulkrnabert.downstream.panel_finetune import (
    Panel,
    PanelData,
    finetune_panel,
    panel_of_fold,
    predict_panel,
    values_of_rows,
    write_panel_model,
)
from bulkrnabert.downstream.panels import PANEL_SIZES, Chooser, check_sizes
from bulkrnabert.downstream.predictions import BASELINE, Predictions, write_predictions
from bulkrnabert.downstream.pretrained import load
from bulkrnabert.downstream.probe import class_frame
from bulkrnabert.downstream.standardised_values import gexbert_network
from bulkrnabert.errors import ConfigError
from bulkrnabert.evaluate.expression import fill_missing
from bulkrnabert.evaluate.panel_baselines import panel_baselines
from bulkrnabert.evaluate.panels import PANELS_VERSION, score_panel
from bulkrnabert.logs import progress
from bulkrnabert.provenance import describe_run, write_json
from bulkrnabert.train.finetune import TaskConfig

logger = logging.getLogger(__name__)

STAGE = "panels"
PANELS_JSON = "panels.json"
MODEL_FOLDER = "model"


@dataclass(frozen=True)
class PanelRequest:
    """What the command line says.

    Attributes:
        checkpoints: Checkpoint folders of GexBERT: one a fold, or one trained on all samples.
        tokens: Their tokens folders.
        cohorts: Folder that `preprocess` wrote; its clinical table is read.
        splits: `splits.tsv`.
        sizes: Panel sizes; empty: those of 64, 128, 256, 512 and 1,024 that the data has.
        choosers: How panels are chosen; `list` needs `genes`.
        genes: The user's panel, or None.
        label_column: Class to predict.
        preset: Shipped settings of fine-tuning.
        task_config: YAML of settings instead of the preset's, or None.
        start: Pretrained weights, or weights drawn anew.
        baselines: `fast` leaves out the forest and gradient boosting.
        only_folds: Folds to run; empty: all.
        n_resamples: Bootstrap resamples of patients.
        seed: Of everything drawn.
        device: Where to run.
        out: Folder to write.
    """

    checkpoints: tuple[Path, ...]
    tokens: tuple[Path, ...]
    cohorts: Path
    splits: Path
    sizes: tuple[int, ...]
    choosers: tuple[Chooser, ...]
    genes: Path | None
    label_column: str
    preset: str
    task_config: Path | None
    start: Start
    baselines: Literal["all", "fast"]
    only_folds: tuple[str, ...]
    n_resamples: int
    seed: int
    device: torch.device
    out: Path


def run_panels(request: PanelRequest) -> None:
    """Every panel, one after the other; `panels.json` grows with each.

    Raises:
        ConfigError: a panel larger than the data, a list without `--genes`, a model other than GexBERT.
        DataError: tokens, checkpoints and splits that do not belong together; a list with unknown genes.
    """
    config = TaskConfig.from_yaml(request.task_config or preset_path("task", request.preset))
    settings = FinetuneSettings(
        config.of_tasks([keys.CANCER_TYPE]), request.start, request.seed, request.device, model=keys.GEXBERT
    )
    splits = read_splits(request.splits)
    clinical = read_clinical(request.cohorts / keys.CLINICAL_TSV)
    job = make_job(splits, clinical, keys.CANCER_TYPE, keys.PAN, request.label_column)
    job = replace(job, folds=_chosen_folds(job.folds, request.only_folds))
    models = [(path, load(path)) for path in request.checkpoints]
    for path, model in models:
        gexbert_network(model, path)
    tokens = [(path, read_tokens(path)) for path in request.tokens]
    encoders = pair_encoders(join_jobs([job]), models, tokens)
    data = PanelData(job, encoders, values_of_rows(job, encoders, tokens))
    panels = _panels(request, data)
    provenance = describe_run(STAGE, _parameters(request, settings), _inputs(request))
    rows: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    chosen: list[dict[str, Any]] = []
    for panel in panels:
        refuse_other_folder(request.out / panel.folder / MODEL_FOLDER)
    for panel in progress(panels, what="panels", unit="panel"):
        logger.info("panel of %s: %d folds, %d samples", panel.name, len(job.folds), len(job.rows))
        predictions = _run_panel(request, data, panel, settings, provenance)
        numbers = score_panel(predictions, panel, request.n_resamples, request.seed, splits.share_tested(keys.PAN))
        rows += numbers["rows"]
        comparisons += numbers["comparisons"]
        chosen.append({"size": panel.size, "chooser": panel.chooser, "genes": _genes_of(data, panel)})
        _log_panel(panel, numbers["rows"])
        record = {
            "kind": "panels",
            "version": PANELS_VERSION,
            "split_sha256": job.split_sha256,
            "label_column": request.label_column,
            "n_classes": len(job.classes),
            "rows": rows,
            "comparisons": comparisons,
            "panels": chosen,
            "provenance": provenance,
        }
        write_json(request.out / PANELS_JSON, record)


def _chosen_folds(folds: list[Fold], only: tuple[str, ...]) -> list[Fold]:
    known = [fold.split_id for fold in folds]
    unknown = sorted(set(only).difference(known))
    if unknown:
        raise ConfigError(f"--fold {unknown[0]!r}: choose of {', '.join(known)}")
    return [fold for fold in folds if not only or fold.split_id in only]


def _panels(request: PanelRequest, data: PanelData) -> list[Panel]:
    panels: list[Panel] = []
    by_score = [chooser for chooser in request.choosers if chooser != "list"]
    if by_score:
        sizes = check_sizes(request.sizes or PANEL_SIZES, data.n_genes, is_default=not request.sizes)
        panels += [Panel(chooser, size) for chooser in by_score for size in sizes]
    if ("list" in request.choosers) != (request.genes is not None):
        raise ConfigError("--chooser list and --genes FILE go together: give both, or neither")
    if request.genes is not None:
        read = named_panel(request.genes)
        n_listed = [len(read(encoder, np.empty(0, dtype=np.int64))) for encoder in data.encoders.values()]
        panels.append(Panel("list", n_listed[0], request.genes))
    return panels


def _run_panel(
    request: PanelRequest, data: PanelData, panel: Panel, settings: FinetuneSettings, provenance: dict[str, Any]
) -> Predictions:
    folder, job = request.out / panel.folder, data.job
    frames = []
    for fold in progress(job.folds, what=f"classifiers on {panel.name}", unit="fold"):
        columns = panel_of_fold(data, panel, fold)
        features = fill_missing(data.values[fold.split_id][:, columns].astype("float64"), fold.train)
        for name, found in panel_baselines(job, fold, features, request.seed, request.baselines == "all"):
            frames.append(class_frame(job, fold, f"{name} on {panel.name}", BASELINE, found))
    done = finetune_panel(data, panel, settings)
    by_model = predict_panel(data, done, settings)
    predictions = replace(by_model, frame=pd.concat([by_model.frame, *frames], ignore_index=True))
    write_panel_model(folder / MODEL_FOLDER, data, done, request.label_column, {**provenance, "panel": panel.name})
    write_predictions(predictions, folder / keys.PREDICTIONS_PARQUET)
    return predictions


def _genes_of(data: PanelData, panel: Panel) -> list[dict[str, Any]]:
    """Genes of a panel with the share of folds that chose them, the most frequent first."""
    counts: dict[str, int] = {}
    for fold in data.job.folds:
        gene_ids = data.encoders[fold.split_id].model.gene_ids
        for column in panel_of_fold(data, panel, fold):
            counts[gene_ids[column]] = counts.get(gene_ids[column], 0) + 1
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    return [{"gene_id": name, "share_of_folds": counts[name] / len(data.job.folds)} for name in ordered]


def _log_panel(panel: Panel, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["metric"] in ("accuracy", "macro_f1"):
            shown = panel.name, row["method"], row["metric"], row["value"], row["low"], row["high"]
            logger.info("%s, %s: %s %.3f [%.3f, %.3f]", *shown)


def _parameters(request: PanelRequest, settings: FinetuneSettings) -> dict[str, Any]:
    return {
        "label_column": request.label_column,
        "config": json.loads(settings.config.model_dump_json()),
        "start": request.start,
        "baselines": request.baselines,
        "n_resamples": request.n_resamples,
        "seed": request.seed,
    }


def _inputs(request: PanelRequest) -> dict[str, Path]:
    inputs = {"splits": splits_file(request.splits), "clinical": request.cohorts / keys.CLINICAL_TSV}
    inputs |= {f"weights {number}": path / keys.WEIGHTS for number, path in enumerate(request.checkpoints)}
    inputs |= {f"tokens {number}": path / keys.TOKENS_PARQUET for number, path in enumerate(request.tokens)}
    return inputs if request.genes is None else {**inputs, "genes": request.genes}
