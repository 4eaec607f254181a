"""Predictions to numbers: `metrics.json` and `results.csv`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.splits import Protocol, Splits
from bulkrnabert.downstream.predictions import MODEL, Predictions
from bulkrnabert.errors import DataError
from bulkrnabert.evaluate.kaplan_meier import kaplan_meier
from bulkrnabert.evaluate.metrics import (
    CLASSIFICATION_METRICS,
    ClassPredictions,
    classification_metrics,
    confusion_counts,
    resampled_classification,
)
from bulkrnabert.evaluate.survival_metrics import MIN_EVENTS_IN_MEAN, Concordance, ConcordanceJudge, FollowUp
from bulkrnabert.evaluate.uncertainty import percentile_interval, resample_weights
from bulkrnabert.provenance import hash_patients

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

METRICS_VERSION = 1
NO_PAIR = "no two patients of one fold can be compared"
NO_CLASS = "a class has no patient"
METRIC_COLUMNS = [
    "task",
    "scope",
    "method",
    "role",
    "metric",
    "value",
    "low",
    "high",
    "n_samples",
    "n_patients",
    "n_events",
    "estimable",
    "reason",
    "n_pretrained_patients_in_test",
    "split_sha256",
    "seed",
]


@dataclass(frozen=True)
class Setting:
    """What holds for every number of a run.

    Attributes:
        splits: The folds that every prediction must come from.
        protocol: `leak-free` or `transductive`.
        seed: Of the resamples.
        n_resamples: Bootstrap resamples of patients.
        trained_on: Hashes of the patients that each encoder was pretrained on, by `split_id`.
    """

    splits: Splits
    protocol: Protocol
    seed: int
    n_resamples: int
    trained_on: Mapping[str, set[str]]


@dataclass(frozen=True)
class _Score:
    metric: str
    values: list[float]
    resampled: list[FloatArray]
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """The parts of `metrics.json` that come from predictions."""

    metrics: list[dict[str, Any]]
    confusion: list[dict[str, Any]]
    kaplan_meier: list[dict[str, Any]]


def read_training_patients(paths: Sequence[Path]) -> dict[str, set[str]]:
    """Hashed training patients of each encoder, by `split_id` (`all` where an encoder is of no split).

    Raises:
        DataError: a file is no JSON object.
    """
    trained_on: dict[str, set[str]] = {}
    for path in paths:
        try:
            provenance = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as JSON: {error}") from error
        if not isinstance(provenance, dict):
            raise DataError(f"{path}: expected the provenance.json of a checkpoint, found {type(provenance).__name__}")
        if provenance.get("patient_hashes") is None:
            logger.warning("%s lists no training patients: their overlap with test patients is unknown", path)
            continue
        trained_on[provenance.get("split_id") or keys.ALL_SPLIT] = set(provenance["patient_hashes"])
    return trained_on


def count_pretrained(rows: pd.DataFrame, trained_on: Mapping[str, set[str]]) -> int | None:
    """Test patients that the encoder which judged them was pretrained on; None where that is not known.

    Args:
        rows: Predictions of one method: `role, split_id, patient_id`.
        trained_on: Hashed patients by `split_id`.
    """
    if (rows["role"] != MODEL).all():
        return 0
    seen: set[str] = set()
    for split_id, of_split in rows.groupby("split_id"):
        if split_id not in trained_on:
            return None
        seen.update(trained_on[str(split_id)].intersection(hash_patients(of_split[keys.PATIENT_ID])))
    return len(seen)


def _check(predictions: Predictions, splits: Splits) -> None:
    """Every prediction is of a judged sample, in the fold that held its patient out, and there once."""
    frame = predictions.frame
    if predictions.split_sha256 != splits.sha256:
        raise DataError(
            f"predictions of {frame['task'].iloc[0]}, scope {frame['scope'].iloc[0]} are from other splits (sha256 "
            f"{predictions.split_sha256[:12]}…) than splits.tsv ({splits.sha256[:12]}…): run `probe` again"
        )
    judged = splits.judged.set_index(keys.SAMPLE_ID)
    for repeat, rows in frame.groupby("repeat"):
        expected = judged.reindex(rows[keys.SAMPLE_ID])[keys.fold_column(int(str(repeat)))].to_numpy()
        wrong = rows[rows["fold"].to_numpy() != expected]
        if len(wrong):
            first = wrong.iloc[0]
            raise DataError(
                f"sample {first[keys.SAMPLE_ID]!r} is predicted in fold {first['fold']} of repeat {repeat}, but "
                "splits.tsv does not hold it out there: run `probe` again"
            )


def _by_method(frame: pd.DataFrame) -> dict[str, list[pd.DataFrame]]:
    """Rows of each method and repeat, sorted by patient; the same patients in all.

    Raises:
        DataError: a patient is predicted twice, or by some methods only.
    """
    grouped: dict[str, list[pd.DataFrame]] = {}
    job = f"{frame['task'].iloc[0]}, scope {frame['scope'].iloc[0]}"
    patients = sorted(frame[keys.PATIENT_ID].unique())
    for (method, repeat), rows in frame.groupby(["method", "repeat"], sort=False):
        ordered = rows.sort_values(keys.PATIENT_ID, kind="stable").reset_index(drop=True)
        if list(ordered[keys.PATIENT_ID]) != patients:
            raise DataError(
                f"{job}: `{method}` has {len(ordered)} predictions in repeat {repeat} for {len(patients)} patients; "
                "expected one a patient from every method (is a file given twice?)"
            )
        grouped.setdefault(str(method), []).append(ordered)
    return grouped


def _class_predictions(rows: pd.DataFrame, classes: list[str]) -> ClassPredictions:
    positions = pd.Index(classes)
    return ClassPredictions(
        positions.get_indexer(pd.Index(rows["label"])).astype(np.int64),
        positions.get_indexer(pd.Index(rows["predicted"])).astype(np.int64),
        np.stack(rows["probabilities"].tolist()).astype(np.float64),
    )


def _classification_scores(repeats: list[ClassPredictions], weights: FloatArray) -> list[_Score]:
    points = [classification_metrics(item) for item in repeats]
    resampled = [resampled_classification(item, weights) for item in repeats]
    return [
        _Score(name, [item[name] for item in points], [item[name] for item in resampled], NO_CLASS)
        for name in CLASSIFICATION_METRICS
    ]


def _follow_up(rows: pd.DataFrame) -> FollowUp:
    return FollowUp(
        rows[keys.TIME_DAYS].to_numpy(np.float64),
        rows[keys.EVENT].to_numpy(np.int64).astype(bool),
        rows["fold"].to_numpy(np.int64),
        np.unique(rows[keys.COHORT].to_numpy(dtype=str), return_inverse=True)[1].astype(np.int64),
    )


def _survival_scores(repeats: list[pd.DataFrame], judges: list[ConcordanceJudge], is_pan: bool) -> list[_Score]:
    risks = [rows["risk"].to_numpy(np.float64) for rows in repeats]
    pairs = list(zip(judges, risks, strict=True))

    def score(metric: str, found: list[Concordance], reason: str) -> _Score:
        return _Score(metric, [item.value for item in found], [item.resampled for item in found], reason)

    scores = [score("c_index_pooled", [judge.pooled(risk) for judge, risk in pairs], NO_PAIR)]
    if is_pan:
        cohorts = sorted(repeats[0][keys.COHORT].unique())
        left_out = ", ".join(f"{cohorts[name]} ({count})" for name, count in judges[0].n_events_left_out.items())
        reason = f"cohorts left out for fewer than {MIN_EVENTS_IN_MEAN} events: {left_out}" if left_out else NO_PAIR
        for metric, is_weighted in (("c_index_within_weighted", True), ("c_index_within_macro", False)):
            scores.append(score(metric, [judge.within(risk, is_weighted) for judge, risk in pairs], reason))
    return scores


def _metric_row(
    score: _Score, repeats: list[pd.DataFrame], n_pretrained: int | None, setting: Setting
) -> dict[str, Any]:
    first = repeats[0].iloc[0]
    is_survival = first["task"] == keys.SURVIVAL
    value = float(np.mean(score.values))
    is_estimable = bool(np.isfinite(value))
    interval = percentile_interval(np.mean(score.resampled, axis=0))
    return {
        "task": first["task"],
        "scope": first["scope"],
        "method": first["method"],
        "role": first["role"],
        "metric": score.metric,
        "value": value if is_estimable else None,
        "low": interval.low if is_estimable else None,
        "high": interval.high if is_estimable else None,
        "n_samples": len(repeats[0]),
        "n_patients": int(repeats[0][keys.PATIENT_ID].nunique()),
        "n_events": int(repeats[0][keys.EVENT].sum()) if is_survival else None,
        "estimable": is_estimable,
        "reason": None if is_estimable and score.reason in (NO_PAIR, NO_CLASS) else score.reason,
        "n_pretrained_patients_in_test": n_pretrained,
        "split_sha256": setting.splits.sha256,
        "seed": setting.seed,
    }


def evaluate_job(predictions: Predictions, endpoint_of: Mapping[str, str], setting: Setting) -> Evaluation:
    """Numbers of one job: every method, with intervals over the same resampled patients.

    With repeated folds a number is the mean over repeats; confusion matrices and curves show the first.

    Args:
        predictions: Of one task and scope.
        endpoint_of: Endpoint (as OS) by patient.
        setting: What holds for the whole run.
    Raises:
        DataError: predictions that do not fit the splits, or, under `leak-free`, from an encoder that was pretrained on
            patients it is judged on.
    """
    _check(predictions, setting.splits)
    frame = predictions.frame
    task, scope = str(frame["task"].iloc[0]), str(frame["scope"].iloc[0])
    methods = _by_method(frame)
    weights = resample_weights(frame[keys.PATIENT_ID].nunique(), setting.n_resamples, setting.seed)
    result = Evaluation([], [], [])
    some_method = next(iter(methods.values()))
    judges = [ConcordanceJudge(_follow_up(rows), weights) for rows in some_method] if task == keys.SURVIVAL else []
    for method, repeats in methods.items():
        n_pretrained = count_pretrained(pd.concat(repeats), setting.trained_on)
        if setting.protocol == "leak-free" and n_pretrained:
            raise DataError(
                f"{task}, scope {scope}, {method}: {n_pretrained} test patients were in the pretraining of the encoder "
                "that judges them, which `leak-free` rules out: use the encoder of each fold or --protocol transductive"
            )
        if task == keys.SURVIVAL:
            scores = _survival_scores(repeats, judges, scope == keys.PAN)
            if repeats[0]["role"].iloc[0] == MODEL:
                endpoints = sorted({endpoint_of.get(name, "") for name in repeats[0][keys.PATIENT_ID]} - {""})
                curves = kaplan_meier(repeats[0], scope, method, "/".join(endpoints))
                result.kaplan_meier.extend([curves] if curves else [])
        else:
            by_repeat = [_class_predictions(rows, predictions.classes) for rows in repeats]
            scores = _classification_scores(by_repeat, weights)
            matrix = confusion_counts(by_repeat[0]).tolist()
            result.confusion.append(
                {"scope": scope, "method": method, "classes": predictions.classes, "matrix": matrix}
            )
        result.metrics.extend(_metric_row(score, repeats, n_pretrained, setting) for score in scores)
    return result


def evaluate(
    predictions: Sequence[Predictions],
    endpoint_of: Mapping[str, str],
    projection: dict[str, Any] | None,
    skipped: list[dict[str, str]],
    setting: Setting,
) -> dict[str, Any]:
    """The content of `metrics.json`.

    Args:
        predictions: One a job.
        endpoint_of: Endpoint by patient.
        projection: As `projection.project`.
        skipped: Jobs that did not run: `task, scope, reason`.
        setting: What holds for the whole run.
    Raises:
        DataError: as `evaluate_job`, or one job in two files.
    """
    jobs = [(str(item.frame["task"].iloc[0]), str(item.frame["scope"].iloc[0])) for item in predictions]
    twice = {job for job in jobs if jobs.count(job) > 1}
    if twice:
        task, scope = sorted(twice)[0]
        raise DataError(f"predictions of {task}, scope {scope} are given more than once; give one file a job")
    ordered = sorted(
        zip(jobs, predictions, strict=True), key=lambda item: (item[0][0], item[0][1] != keys.PAN, item[0][1])
    )
    results = [evaluate_job(item, endpoint_of, setting) for _, item in ordered]
    return {
        "version": METRICS_VERSION,
        "split_sha256": setting.splits.sha256,
        "protocol": setting.protocol,
        "seed": setting.seed,
        "metrics": [row for result in results for row in result.metrics],
        "confusion": [item for result in results for item in result.confusion],
        "kaplan_meier": [item for result in results for item in result.kaplan_meier],
        "projection": projection,
        "skipped": skipped,
    }


def results_table(numbers: Mapping[str, Any]) -> pd.DataFrame:
    """The metrics of `metrics.json` as a table, one row each."""
    return pd.DataFrame(numbers["metrics"], columns=METRIC_COLUMNS)
