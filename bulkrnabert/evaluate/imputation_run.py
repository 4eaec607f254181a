"""The imputation benchmark: values of held-out samples hidden, restored by every method, judged."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bulkrnabert import keys
from bulkrnabert.data.tokens import read_tokens
from bulkrnabert.downstream.imputation_vae import fit_vae
from bulkrnabert.downstream.imputers import fit_mean, fit_neighbours, fit_ridge, fit_soft
from bulkrnabert.downstream.model_restorers import GexBERTRestorer
from bulkrnabert.downstream.predictions import BASELINE, MODEL
from bulkrnabert.downstream.pretrained import load
from bulkrnabert.downstream.restoration import Restorer
from bulkrnabert.downstream.standardised_values import (
    check_own_tokens,
    gexbert_network,
    levels_of,
    standardised_values,
)
from bulkrnabert.errors import DataError
from bulkrnabert.evaluate.imputation import LOWER_IS_BETTER, HiddenCells, Judged, coverage, score_restored
from bulkrnabert.evaluate.missing_patterns import Pattern, hide
from bulkrnabert.evaluate.uncertainty import Interval, percentile_interval, resample_weights
from bulkrnabert.logs import progress_bar
from bulkrnabert.provenance import describe_run, write_json

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.floating]
IMPUTATION_VERSION = 1
STAGE = "impute-benchmark"


@dataclass(frozen=True)
class ImputationRequest:
    """What the command line says.

    Attributes:
        checkpoint: A checkpoint of GexBERT.
        tokens: The tokens folder that it was pretrained on; its held-out samples are judged.
        patterns: Ways in which values go missing.
        rates: Shares that are hidden.
        n_samples: Held-out samples at most; None for all.
        n_resamples: Bootstrap resamples of patients.
        seed: Of what is hidden, of the methods and of the resamples.
        device: Where the model runs.
        out: `imputation.json` to write.
    """

    checkpoint: Path
    tokens: Path
    patterns: tuple[Pattern, ...]
    rates: tuple[float, ...]
    n_samples: int | None
    n_resamples: int
    seed: int
    device: torch.device
    out: Path


def run_imputation(request: ImputationRequest) -> None:
    """Hide, restore and judge; write `imputation.json`.

    Raises:
        ConfigError: no GexBERT, or tokens without values.
        DataError: tokens of another checkpoint, or of a split that holds nobody out.
    """
    model = load(request.checkpoint)
    tokens = read_tokens(request.tokens)
    network = gexbert_network(model, request.checkpoint)
    values = standardised_values(tokens, request.tokens)
    check_own_tokens(model, request.checkpoint, tokens, request.tokens)
    held_out = np.flatnonzero(~tokens.is_training & ~np.isnan(values).all(axis=1))
    if not len(held_out):
        raise DataError(
            f"{request.tokens}: split {tokens.split_id} holds nobody out, so nothing can be judged: give the tokens "
            "and the checkpoint of a fold"
        )
    held_out = np.sort(np.random.default_rng(request.seed).permutation(held_out)[: request.n_samples])
    restorer = GexBERTRestorer(network.to(request.device), model.tokenizer)
    methods = fit_methods(restorer, values[tokens.is_training], request.seed)
    patients, of_patient = np.unique(tokens.samples[keys.PATIENT_ID].to_numpy(dtype=str)[held_out], return_inverse=True)
    weights = resample_weights(len(patients), request.n_resamples, request.seed)[:, of_patient.ravel()]
    numbers = benchmark(methods, values[held_out], levels_of(model.tokenizer, values[held_out]), weights, request)
    parameters = {"seed": request.seed, "n_resamples": request.n_resamples, "n_samples": request.n_samples}
    inputs = {"weights": request.checkpoint / keys.WEIGHTS, "tokens": request.tokens / keys.TOKENS_PARQUET}
    record = {
        "kind": "imputation",
        "version": IMPUTATION_VERSION,
        "split_id": tokens.split_id,
        "split_sha256": tokens.split_sha256,
        "patterns": list(request.patterns),
        "rates": list(request.rates),
        "n_samples": len(held_out),
        "n_patients": len(patients),
        "n_genes": len(tokens.gene_ids),
        "n_training_samples": int(tokens.is_training.sum()),
        "provenance": describe_run(STAGE, parameters, inputs),
        **numbers,
    }
    write_json(request.out, record)
    _log_summary(numbers)


def fit_methods(restorer: Restorer, train: FloatArray, seed: int) -> dict[str, Restorer]:
    """The model and every baseline by name, the baselines fitted on z of the training part; the model comes first."""
    methods: dict[str, Restorer] = {keys.MODEL_TITLES[keys.GEXBERT]: restorer, "gene mean": fit_mean(train)}
    for name, fit in (
        ("k nearest neighbours", fit_neighbours),
        ("iterated ridge regression", fit_ridge),
        ("PCA (soft-impute)", fit_soft),
        ("VAE", fit_vae),
    ):
        logger.info("fitting %s on %d training samples", name, len(train))
        methods[name] = fit(train, seed)
    return methods


def benchmark(
    methods: Mapping[str, Restorer],
    values: FloatArray,
    levels: FloatArray,
    weights: npt.NDArray[np.float64],
    request: ImputationRequest,
) -> dict[str, list[dict[str, Any]]]:
    """Rows, comparisons and calibration of every pattern, rate and method.

    Args:
        methods: By name; the first is the model.
        values: z of the judged samples, shape (samples, genes), NaN where missing.
        levels: The same cells on a scale that genes share (see `hide`).
        weights: How often each sample is in each resample, shape (resamples, samples).
        request: Patterns, rates and seed.
    """
    rows: list[dict[str, Any]] = []
    calibration: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    with progress_bar(len(request.patterns) * len(request.rates), what="judge", unit="rate") as bar:
        for pattern, rate in itertools.product(request.patterns, request.rates):
            where = {"pattern": pattern, "rate": rate}
            rng = np.random.default_rng([request.seed, round(rate * 1000), len(pattern)])
            hidden = hide(levels, pattern, rate, rng)
            cells = HiddenCells(values.astype(np.float64), hidden, weights)
            shown = np.where(hidden, np.nan, values)
            counts = {"n_samples": int(hidden.any(axis=1).sum()), "n_cells": int(hidden.sum())}
            scores: dict[str, dict[str, Judged]] = {}
            for number, (method, restorer) in enumerate(methods.items()):
                restored = restorer.restore(shown)
                named = {**where, "method": method, "role": BASELINE if number else MODEL}
                scores[method] = score_restored(cells, restored.mean)
                rows += [{**named, "metric": name, **_shown(item), **counts} for name, item in scores[method].items()]
                if restored.deviation is not None:
                    found = coverage(cells, restored)
                    calibration += [{**named, "level": level, **_shown(item)} for level, item in found.items()]
            comparisons += [{**where, **item} for item in compare(scores)]
            logger.info("%s, %.0f%% hidden: %d cells judged", pattern, 100 * rate, counts["n_cells"])
            bar.update()
    return {"rows": rows, "comparisons": comparisons, "calibration": calibration}


def compare(scores: Mapping[str, Mapping[str, Judged]]) -> list[dict[str, Any]]:
    """The first method against each other one by every metric: paired differences over the same resamples.

    `holds` says whether the first is `ahead`, `behind` or `level`, whichever direction is better for the metric.
    """
    model, *others = scores
    found = []
    for against in others:
        for metric, own in scores[model].items():
            other = scores[against][metric]
            difference = Judged(own.value - other.value, own.resampled - other.resampled)
            shown = _shown(difference)
            interval = Interval(shown["low"], shown["high"])
            found.append(
                {
                    "metric": metric,
                    "method": model,
                    "against": against,
                    "difference": shown["value"],
                    "low": interval.low,
                    "high": interval.high,
                    "holds": _holds(interval, metric in LOWER_IS_BETTER),
                }
            )
    return found


def _holds(interval: Interval, lower_is_better: bool) -> str | None:
    if interval.low is None or interval.high is None:
        return None
    if interval.low <= 0 <= interval.high:
        return "level"
    return "ahead" if (interval.high < 0) == lower_is_better else "behind"


def _shown(item: Judged) -> dict[str, float | None]:
    if not np.isfinite(item.value):
        return {"value": None, "low": None, "high": None}
    interval = percentile_interval(item.resampled)
    return {"value": item.value, "low": interval.low, "high": interval.high}


def _log_summary(numbers: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    for item in numbers["rows"]:
        if item["metric"] == "rmse" and item["value"] is not None:
            logger.info(
                "%s, %.0f%% hidden, %s: RMSE %.3f [%.3f, %.3f]",
                item["pattern"],
                100 * item["rate"],
                item["method"],
                item["value"],
                item["low"],
                item["high"],
            )
