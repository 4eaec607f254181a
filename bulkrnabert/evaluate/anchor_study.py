"""Survival from restored anchor genes: from checkpoints and splits to `anchors.json`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from bulkrnabert import keys
from bulkrnabert.data.splits import read_clinical, read_splits, splits_file
from bulkrnabert.data.tokens import read_tokens
from bulkrnabert.downstream.fold_encoders import pair_encoders
from bulkrnabert.downstream.job import make_job
from bulkrnabert.downstream.joint import join_jobs
from bulkrnabert.downstream.model_restorers import GexBERTRestorer
from bulkrnabert.downstream.panel_finetune import Panel, PanelData, panel_of_fold, values_of_rows
from bulkrnabert.downstream.predictions import write_predictions
from bulkrnabert.downstream.pretrained import load
from bulkrnabert.downstream.standardised_values import gexbert_network
from bulkrnabert.errors import ConfigError
from bulkrnabert.evaluate.anchors import AnchorFold, anchor_features, anchor_table, predict_anchors, score_anchors
from bulkrnabert.logs import progress
from bulkrnabert.provenance import describe_run, write_json

logger = logging.getLogger(__name__)

STAGE = "anchors"
ANCHORS_JSON = "anchors.json"
ANCHORS_VERSION = 1


@dataclass(frozen=True)
class AnchorRequest:
    """What the command line says.

    Attributes:
        checkpoints: Checkpoint folders of GexBERT: one a fold, or one trained on all samples.
        tokens: Their tokens folders.
        cohorts: Folder that `preprocess` wrote; its clinical table is read.
        splits: `splits.tsv`.
        scopes: `pan` or cohorts.
        panel_size: Genes that are read.
        chooser: How they are chosen: `variance`, or `list` with `genes`.
        genes: The user's panel, or None.
        n_anchors: Genes to restore.
        n_resamples: Bootstrap resamples of patients.
        seed: Of everything drawn.
        device: Where to run.
        out: Folder to write.
    """

    checkpoints: tuple[Path, ...]
    tokens: tuple[Path, ...]
    cohorts: Path
    splits: Path
    scopes: tuple[str, ...]
    panel_size: int
    chooser: Literal["variance", "list"]
    genes: Path | None
    n_anchors: int
    n_resamples: int
    seed: int
    device: torch.device
    out: Path


def run_anchors(request: AnchorRequest) -> None:
    """Every scope; writes `anchors.json` and predictions of each.

    Raises:
        ConfigError: a panel that leaves no gene to restore, a list without `--genes`, a model other than GexBERT.
        DataError: tokens, checkpoints and splits that do not belong together, or too few events.
    """
    if (request.chooser == "list") != (request.genes is not None):
        raise ConfigError("--chooser list and --genes FILE go together: give both, or neither")
    splits = read_splits(request.splits)
    clinical = read_clinical(request.cohorts / keys.CLINICAL_TSV)
    models = [(path, load(path)) for path in request.checkpoints]
    for path, model in models:
        gexbert_network(model, path)
    tokens = [(path, read_tokens(path)) for path in request.tokens]
    rows: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    anchors: list[dict[str, Any]] = []
    for scope in request.scopes:
        job = make_job(splits, clinical, keys.SURVIVAL, scope)
        encoders = pair_encoders(join_jobs([job]), models, tokens)
        data = PanelData(job, encoders, values_of_rows(job, encoders, tokens))
        folds = _folds(request, data)
        predictions = predict_anchors(job, folds, request.seed)
        if set(encoders) >= {keys.ALL_SPLIT}:
            predictions = replace(predictions, frame=predictions.frame.assign(split_id=keys.ALL_SPLIT))
        write_predictions(predictions, request.out / scope / keys.PREDICTIONS_PARQUET)
        numbers = score_anchors(predictions, request.n_resamples, request.seed, splits.share_tested(scope))
        rows += numbers["rows"]
        comparisons += numbers["comparisons"]
        gene_ids = {name: encoder.model.gene_ids for name, encoder in encoders.items()}
        anchors += [{"scope": scope, **row} for row in anchor_table(folds, gene_ids, data.values)]
        for row in numbers["rows"]:
            if row["scope_cohort"] is None and row["value"] is not None:
                shown = scope, row["method"], row["metric"], row["value"], row["low"], row["high"]
                logger.info("%s, %s: %s %.3f [%.3f, %.3f]", *shown)
    record = {
        "kind": "anchors",
        "version": ANCHORS_VERSION,
        "split_sha256": splits.sha256,
        "panel_size": len(folds[0].panel),
        "chooser": request.chooser,
        "n_anchors": request.n_anchors,
        "rows": rows,
        "comparisons": comparisons,
        "anchors": anchors,
        "provenance": _provenance(request),
    }
    write_json(request.out / ANCHORS_JSON, record)


def _folds(request: AnchorRequest, data: PanelData) -> list[AnchorFold]:
    panel = Panel(request.chooser, request.panel_size, request.genes)
    if request.genes is None and request.panel_size >= data.n_genes:
        raise ConfigError(
            f"--panel-size {request.panel_size}: the data has {data.n_genes} genes, which leaves none to restore; "
            "choose a smaller panel"
        )
    found = []
    for fold in progress(data.job.folds, what="restore anchors", unit="fold"):
        encoder = data.encoders[fold.split_id]
        network = gexbert_network(encoder.model, encoder.path)
        columns = panel_of_fold(data, panel, fold)
        if len(columns) >= network.config.n_genes:
            raise ConfigError(f"{request.genes}: names every gene of the model, which leaves none to restore")
        restorer = GexBERTRestorer(network.to(request.device), encoder.model.tokenizer)
        values = data.values[fold.split_id]
        found.append(anchor_features(data.job, fold, values, columns, request.n_anchors, restorer, request.seed))
        shown = data.job.scope, fold.split_id, len(found[-1].anchors), len(columns)
        logger.info("%s, %s: %d anchors restored from %d genes", *shown)
    return found


def _provenance(request: AnchorRequest) -> dict[str, Any]:
    parameters = {
        "scopes": list(request.scopes),
        "panel_size": request.panel_size,
        "chooser": request.chooser,
        "n_anchors": request.n_anchors,
        "n_resamples": request.n_resamples,
        "seed": request.seed,
    }
    inputs = {"splits": splits_file(request.splits), "clinical": request.cohorts / keys.CLINICAL_TSV}
    inputs |= {f"weights {number}": path / keys.WEIGHTS for number, path in enumerate(request.checkpoints)}
    inputs |= {f"tokens {number}": path / keys.TOKENS_PARQUET for number, path in enumerate(request.tokens)}
    return describe_run(STAGE, parameters, inputs if request.genes is None else {**inputs, "genes": request.genes})
