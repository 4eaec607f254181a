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
from bulkrnabert.downstream.predictions import BASELINE, MODEL, Predictions, join_methods
from bulkrnabert.errors import DataError
from bulkrnabert.evaluate.artefacts import PRIMARY_METRIC
from bulkrnabert.evaluate.baselines import PCA_METHOD
from bulkrnabert.evaluate.comparisons import MeanScore, paired_comparison
from bulkrnabert.evaluate.kaplan_meier import kaplan_meier
from bulkrnabert.evaluate.metrics import (
    ClassPredictions,
    classification_metrics,
    confusion_counts,
    reliability,
    scores_per_class,
)
from bulkrnabert.evaluate.scores import (
    RepeatJudge,
    Score,
    class_predictions,
    score_classes,
    score_survival,
)
from bulkrnabert.evaluate.uncertainty import percentile_interval, resample_weights
from bulkrnabert.logs import progress
from bulkrnabert.provenance import hash_patients

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

METRICS_VERSION = 1
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
    "scope_cohort",
    "at_days",
    "n_repeats",
    "sd_over_repeats",
]


@dataclass(frozen=True)
class Setting:
    """What holds for every number of a run.

    Attributes:
        splits: The folds that every prediction must come from.
        protocol: `leak-free`, `transductive` or `paper`.
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
class Evaluation:
    """The parts of `metrics.json` that come from predictions."""

    metrics: list[dict[str, Any]]
    confusion: list[dict[str, Any]]
    kaplan_meier: list[dict[str, Any]]
    per_class: list[dict[str, Any]]
    reliability: list[dict[str, Any]]
    calibration: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]


def read_training_patients(paths: Sequence[Path]) -> dict[str, set[str]]:
    """Hashed training patients of the encoders of each `split_id` (`all` where an encoder is of no split).

    Several models of one split count together.

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
        trained_on.setdefault(provenance.get("split_id") or keys.ALL_SPLIT, set()).update(provenance["patient_hashes"])
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


def _check(predictions: Predictions, splits: Splits, protocol: Protocol) -> None:
    """Every prediction is of a judged sample, in the fold that held its patient out, and there once."""
    frame = predictions.frame
    twice = splits.judged[keys.PATIENT_ID].duplicated()
    if protocol == "leak-free" and twice.any():
        raise DataError(
            f"splits.tsv has more than one judged sample of patient {splits.judged[keys.PATIENT_ID][twice].iloc[0]!r} "
            f"(and {twice.sum() - 1} more): `leak-free` judges one a patient; use the protocol that they were drawn "
            "for, `paper`"
        )
    if predictions.split_sha256 != splits.sha256:
        raise DataError(
            f"predictions of {frame['task'].iloc[0]}, scope {frame['scope'].iloc[0]} are from other splits (sha256 "
            f"{predictions.split_sha256[:12]}…) than splits.tsv ({splits.sha256[:12]}…): run `probe` again"
        )
    if frame[keys.STRATUM].isna().any():
        raise DataError(
            f"predictions of {frame['task'].iloc[0]}, scope {frame['scope'].iloc[0]} do not say which `{keys.STRATUM}`"
            " a patient is of: run `probe` again"
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


def _by_method(frame: pd.DataFrame, splits: Splits) -> dict[str, list[pd.DataFrame]]:
    """Rows of each method and repeat, sorted by patient and sample; the same samples in all methods.

    Raises:
        DataError: a sample is predicted twice, or by some methods or in some repeats only.
    """
    grouped: dict[str, list[pd.DataFrame]] = {}
    job = f"{frame['task'].iloc[0]}, scope {frame['scope'].iloc[0]}"
    judged = splits.judged[splits.judged[keys.SAMPLE_ID].isin(set(frame[keys.SAMPLE_ID]))]
    for method, of_method in frame.groupby("method", sort=False):
        for repeat in range(splits.n_repeats):
            expected = sorted(judged.loc[judged[keys.fold_column(repeat)] >= 0, keys.SAMPLE_ID])
            rows = of_method[of_method["repeat"] == repeat]
            if sorted(rows[keys.SAMPLE_ID]) != expected:
                raise DataError(
                    f"{job}: `{method}` has {len(rows)} predictions in repeat {repeat} for {len(expected)} samples; "
                    "expected one a sample from every method (is a file given twice?)"
                )
            ordered = rows.sort_values([keys.PATIENT_ID, keys.SAMPLE_ID], kind="stable").reset_index(drop=True)
            grouped.setdefault(str(method), []).append(ordered)
    return grouped


def _metric_row(
    score: Score, repeats: list[pd.DataFrame], n_pretrained: int | None, setting: Setting
) -> dict[str, Any]:
    first = repeats[0].iloc[0]
    rows = pd.concat(repeats).drop_duplicates(keys.SAMPLE_ID)
    if score.scope_cohort:
        rows = rows[rows[keys.STRATUM] == score.scope_cohort]
    patients = rows.drop_duplicates(keys.PATIENT_ID)
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
        "n_samples": len(rows),
        "n_patients": len(patients),
        "n_events": int(patients[keys.EVENT].sum()) if first["task"] == keys.SURVIVAL else None,
        "estimable": is_estimable,
        "reason": (score.note if is_estimable else "; ".join(filter(None, [score.reason, score.note]))) or None,
        "n_pretrained_patients_in_test": n_pretrained,
        "split_sha256": setting.splits.sha256,
        "seed": setting.seed,
        "scope_cohort": score.scope_cohort or None,
        "at_days": score.at_days,
        "n_repeats": len(repeats),
        "sd_over_repeats": float(np.std(score.values, ddof=1)) if is_estimable and len(repeats) > 1 else None,
    }


@dataclass(frozen=True)
class _Judged:
    """A method with its main metric, which it is compared by."""

    role: str
    metric: str
    score: MeanScore


def _fold_scores(metric: str, repeats: list[pd.DataFrame], judges: list[RepeatJudge], classes: list[str]) -> FloatArray:
    found: list[float] = []
    for number, rows in enumerate(repeats):
        if judges:
            by_cohort = metric != "c_index_pooled"
            risk = rows["risk"].to_numpy(np.float64)
            found.extend(judges[number].concordance.of_folds(risk, by_cohort).values())
        else:
            for _, of_fold in rows.groupby("fold"):
                found.append(classification_metrics(class_predictions(of_fold, classes))[metric])
    return np.array(found)


def _compare(task: str, scope: str, judged: Mapping[str, _Judged], splits: Splits) -> list[dict[str, Any]]:
    """Every model against the best baseline by the value of the main metric, and against PCA."""
    baselines = {name: item.score.value for name, item in judged.items() if item.role != MODEL}
    estimable = {name: value for name, value in baselines.items() if np.isfinite(value)}
    best = max(estimable, key=lambda name: estimable[name], default=None)
    against = [name for name in dict.fromkeys([best, PCA_METHOD[task]]) if name in baselines]
    share = splits.share_tested(scope)
    rows: list[dict[str, Any]] = []
    for method, model in judged.items():
        if model.role != MODEL:
            continue
        for name in against:
            found = paired_comparison(model.score, judged[name].score, share)
            is_estimable = found["difference"] is not None
            rows.append(
                {
                    "task": task,
                    "scope": scope,
                    "metric": model.metric,
                    "method": method,
                    "against": name,
                    "is_best_baseline": name == best,
                    **found,
                    "reason": None if is_estimable else "the metric is not estimable for one of the two",
                }
            )
    return rows


def _not_estimable_rows(predictions: Predictions, metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a metric of each baseline that could not be run."""
    template = {(row["metric"], row["at_days"]): row for row in metrics if row["scope_cohort"] is None}
    nothing = {"value": None, "low": None, "high": None, "estimable": False, "sd_over_repeats": None}
    return [
        {**row, **nothing, "method": method, "role": BASELINE, "reason": reason, "n_pretrained_patients_in_test": 0}
        for method, reason in predictions.not_estimable.items()
        for row in template.values()
    ]


def evaluate_job(predictions: Predictions, endpoint_of: Mapping[str, str], setting: Setting) -> Evaluation:
    """Numbers of one job: every method, with intervals over the same resampled patients.

    With repeats a number is the mean over them, with their standard deviation beside the interval; matrices, curves
    and the scores of single classes show the first.

    Args:
        predictions: Of one task and scope.
        endpoint_of: Endpoint (as OS) by patient.
        setting: What holds for the whole run.
    Raises:
        DataError: predictions that do not fit the splits, or, under `leak-free`, from an encoder that was pretrained on
            patients it is judged on.
    """
    _check(predictions, setting.splits, setting.protocol)
    frame = predictions.frame
    task, scope = str(frame["task"].iloc[0]), str(frame["scope"].iloc[0])
    methods = _by_method(frame, setting.splits)
    patients = np.unique(frame[keys.PATIENT_ID].to_numpy(dtype=str))
    of_patients = resample_weights(len(patients), setting.n_resamples, setting.seed)
    weights = [
        of_patients[:, np.searchsorted(patients, rows[keys.PATIENT_ID].to_numpy(dtype=str))]
        for rows in next(iter(methods.values()))
    ]
    judges = []
    if task == keys.SURVIVAL:
        judges = [RepeatJudge(*pair) for pair in zip(next(iter(methods.values())), weights, strict=True)]
    result = Evaluation([], [], [], [], [], [], [])
    judged: dict[str, _Judged] = {}
    for method, repeats in methods.items():
        n_pretrained = count_pretrained(pd.concat(repeats), setting.trained_on)
        if setting.protocol == "leak-free" and n_pretrained:
            raise DataError(
                f"{task}, scope {scope}, {method}: {n_pretrained} test patients were in the pretraining of the encoder "
                "that judges them, which `leak-free` rules out: use the encoder of each fold or --protocol transductive"
            )
        role = str(repeats[0]["role"].iloc[0])
        if task == keys.SURVIVAL:
            found = score_survival(repeats, judges, predictions.survival_days)
            scores = found.scores
            result.calibration.extend(found.calibration)
            if role == MODEL:
                endpoints = sorted({endpoint_of.get(name, "") for name in repeats[0][keys.PATIENT_ID]} - {""})
                curves = kaplan_meier(repeats[0], scope, method, "/".join(endpoints))
                result.kaplan_meier.extend([curves] if curves else [])
        else:
            by_repeat = [class_predictions(rows, predictions.classes) for rows in repeats]
            scores = score_classes(by_repeat, weights)
            _add_tables(result, by_repeat[0], scope, method, predictions.classes)
        result.metrics.extend(_metric_row(score, repeats, n_pretrained, setting) for score in scores)
        main = next((item for item in scores if item.metric == PRIMARY_METRIC[task]), scores[0])
        of_folds = _fold_scores(main.metric, repeats, judges, predictions.classes)
        mean = MeanScore(float(np.mean(main.values)), np.mean(main.resampled, axis=0), of_folds)
        judged[method] = _Judged(role, main.metric, mean)
    result.metrics.extend(_not_estimable_rows(predictions, result.metrics))
    result.comparisons.extend(_compare(task, scope, judged, setting.splits))
    return result


def _add_tables(result: Evaluation, predictions: ClassPredictions, scope: str, method: str, classes: list[str]) -> None:
    """Confusion, scores of each class and reliability of one method's first repeat."""
    who = {"scope": scope, "method": method}
    result.confusion.append({**who, "classes": classes, "matrix": confusion_counts(predictions).tolist()})
    of_class = zip(classes, scores_per_class(predictions), strict=True)
    result.per_class.append({**who, "classes": [{"label": name, **vars(item)} for name, item in of_class]})
    result.reliability.append({**who, "bins": reliability(predictions)})


def evaluate(
    predictions: Sequence[Predictions],
    endpoint_of: Mapping[str, str],
    projection: dict[str, Any] | None,
    skipped: list[dict[str, str]],
    setting: Setting,
) -> dict[str, Any]:
    """The content of `metrics.json`.

    Args:
        predictions: One a job, or several with different methods.
        endpoint_of: Endpoint by patient.
        projection: As `projection.project`.
        skipped: Jobs that did not run: `task, scope, reason`.
        setting: What holds for the whole run.
    Raises:
        DataError: as `evaluate_job` and `join_methods`.
    """
    joined = join_methods(predictions)
    jobs = [(str(item.frame["task"].iloc[0]), str(item.frame["scope"].iloc[0])) for item in joined]
    ordered = sorted(zip(jobs, joined, strict=True), key=lambda item: (item[0][0], item[0][1] != keys.PAN, item[0][1]))
    judged = progress(ordered, what="judge", unit="job")
    results = [evaluate_job(item, endpoint_of, setting) for _, item in judged]
    return {
        "version": METRICS_VERSION,
        "split_sha256": setting.splits.sha256,
        "protocol": setting.protocol,
        "seed": setting.seed,
        "metrics": [row for result in results for row in result.metrics],
        "confusion": [item for result in results for item in result.confusion],
        "kaplan_meier": [item for result in results for item in result.kaplan_meier],
        "per_class": [item for result in results for item in result.per_class],
        "reliability": [item for result in results for item in result.reliability],
        "calibration": [item for result in results for item in result.calibration],
        "comparisons": [item for result in results for item in result.comparisons],
        "projection": projection,
        "skipped": skipped,
    }


def results_table(numbers: Mapping[str, Any]) -> pd.DataFrame:
    """The metrics of `metrics.json` as a table, one row each."""
    return pd.DataFrame(numbers["metrics"], columns=METRIC_COLUMNS)
