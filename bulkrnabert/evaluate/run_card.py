"""What the records of a finished run add to the card of one of its models: origin of the data, numbers, cost."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bulkrnabert import keys
from bulkrnabert.data.access import CONTROLLED, OPEN, SMALL_CELL
from bulkrnabert.downstream.published_form import FINETUNED, read_card
from bulkrnabert.errors import CheckpointError, ConfigError, DataError
from bulkrnabert.evaluate.artefacts import (
    CohortsSummary,
    Metric,
    Numbers,
    RunFacts,
    read_numbers,
    read_run,
    read_summary,
)
from bulkrnabert.evaluate.cost import cost_of, format_hours, read_trace
from bulkrnabert.evaluate.crate import RUN_JSON, SUMMARY_OF_COHORTS, read_results
from bulkrnabert.train import card as parts
from bulkrnabert.train.card import Card

logger = logging.getLogger(__name__)

METRICS: Final = f"numbers/{keys.METRICS_JSON}"
TRACE: Final = "pipeline_info/trace.tsv"
SHOWN: Final = {
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "balanced_accuracy": "balanced accuracy",
    "auroc_ovr_macro": "AUROC, one against the rest",
    "expected_calibration_error": "expected calibration error (lower is better)",
    "c_index_pooled": "C-index, pooled",
    "c_index_within_weighted": "C-index within cohorts",
    "uno_c": "Uno's C",
    "integrated_brier_score": "integrated Brier score (lower is better)",
}
WHOLE_RUN: Final = "The whole run"


@dataclass(frozen=True)
class RunRecords:
    """What a results folder tells of a run.

    Attributes:
        folder: The results folder.
        numbers: `metrics.json`.
        summary: Of the cohorts.
        facts: What the pipeline knows; all may be missing.
        releases: Portal and release of the downloaded files, as `gdc, release 43.0`; empty where there are none.
        access: The strictest data-access class.
        total: Totals of the trace, as `cost.json` has them; None without a trace.
    """

    folder: Path
    numbers: Numbers
    summary: CohortsSummary
    facts: RunFacts
    releases: tuple[str, ...]
    access: str
    total: dict[str, Any] | None


@dataclass(frozen=True)
class ModelFacts:
    """What a model's folder tells of it.

    Attributes:
        folder: Its folder.
        config: `config.json`.
        provenance: `provenance.json`; empty where there is none.
    """

    folder: Path
    config: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def model(self) -> str:
        """Kind of model."""
        return str(self.config.get("model"))

    @property
    def is_finetuned(self) -> bool:
        """Whether it predicts; else it is an encoder."""
        return self.config.get("kind") == FINETUNED


def read_model_facts(folder: Path) -> ModelFacts:
    """Read what a model's folder says, without its weights.

    Raises:
        CheckpointError: it is no model's folder.
    """
    found: list[dict[str, Any]] = []
    for name in (keys.CONFIG_JSON, keys.PROVENANCE_JSON):
        path = folder / name
        if name == keys.PROVENANCE_JSON and not path.is_file():
            found.append({})
            continue
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: cannot be read as JSON: {error}; give a model's folder") from error
        if not isinstance(values, dict):
            raise CheckpointError(f"{path}: expected a JSON object, found {type(values).__name__}")
        found.append(values)
    return ModelFacts(folder, *found)


def read_records(results: Path, n_gpus: int = 0) -> RunRecords:
    """Read the records of a finished run.

    Args:
        results: Its results folder.
        n_gpus: GPUs that each task of a GPU stage had; the trace does not say it.
    Raises:
        DataError: it is no results folder, or a file is not what it should be.
    """
    run = read_results(results)
    releases = {f"{file['source']}, release {file['release'] or 'not stated'}" for file in run.inputs}
    trace, facts = results / TRACE, results / RUN_JSON
    return RunRecords(
        folder=results,
        numbers=read_numbers(results / METRICS),
        summary=read_summary(results / SUMMARY_OF_COHORTS),
        facts=read_run(facts if facts.is_file() else None),
        releases=tuple(sorted(releases)),
        access=run.access,
        total=_total(trace, n_gpus) if trace.is_file() else None,
    )


def _total(trace: Path, n_gpus: int) -> dict[str, Any] | None:
    try:
        total: dict[str, Any] = cost_of(read_trace(trace), n_gpus, None)["total"]
    except DataError as error:
        logger.warning("hours of the run are left out of the card: %s", error)
        return None
    return total


def metrics_of(model: ModelFacts, numbers: Numbers) -> list[Metric]:
    """The numbers of a model: of a fine-tuned one those of its own method and scope; of an encoder those of every
    method that uses encoders of its kind.

    Raises:
        ConfigError: the numbers are of other splits, or none is of this model.
    """
    own_split = model.provenance.get("split_sha256")
    if own_split and own_split != numbers.split_sha256:
        raise ConfigError(
            f"{model.folder}: made under splits {str(own_split)[:12]}…, the numbers are of "
            f"{numbers.split_sha256[:12]}…: give the results of the run that made the model"
        )
    found = [one for one in numbers.metrics if one.metric in SHOWN and not one.scope_cohort and _is_of(model, one)]
    if not found:
        raise ConfigError(f"{model.folder}: no number in {METRICS} is of this model: run `bulkrnabert evaluate` on it")
    return found


def _is_of(model: ModelFacts, metric: Metric) -> bool:
    if metric.role != "model":
        return False
    if model.is_finetuned:
        tasks = [task["name"] for task in model.config["tasks"]]
        return (
            metric.method == model.config["method"] and metric.scope == model.config["scope"] and metric.task in tasks
        )
    others = [title for name, title in keys.MODEL_TITLES.items() if name != model.model]
    return "random start" not in metric.method and not any(title in metric.method for title in others)


def completed_card(model: ModelFacts, records: RunRecords) -> Card:
    """The model's card with what the run's records know; run again, it replaces what it wrote.

    Raises:
        ConfigError: as `metrics_of`, or anything in the run is of data-access class `controlled`.
        CheckpointError: the card cannot be read.
    """
    if records.access == CONTROLLED:
        raise ConfigError(f"{records.folder}: holds data of access class controlled; its numbers stay with it")
    metrics = metrics_of(model, records.numbers)
    card = read_card(model.folder)
    cost = card.sections.get(parts.COST, "").split(WHOLE_RUN)[0].strip()
    return (
        card.with_section(parts.ORIGIN, origin_text(records))
        .with_section(parts.RESULTS, _results_text(model, records, metrics))
        .with_section(parts.COST, f"{cost}\n\n{_cost_text(records)}".strip())
        .with_front(**{"model-index": [{"name": card.title, "results": _index(records, metrics)}]})
    )


def origin_text(records: RunRecords) -> str:
    """Portal, release, cohorts and what was left out."""
    summary = records.summary
    releases = "; ".join(records.releases) or "nothing was downloaded by this run; the tables were given"
    rows = "\n".join(
        f"| {one.cohort} | {one.source} | {one.unit} | "
        + " | ".join(_count(n, records) for n in (one.n_samples, one.n_patients, one.n_with_survival, one.n_events))
        + " |"
        for one in summary.cohorts
    )
    rules: Counter[str] = Counter()
    for one in summary.rejected:
        rules[one.rule] += one.n
    rejected = ", ".join(f"{rule} {n}" for rule, n in sorted(rules.items())) or "none"
    return f"""Portal and data release: {releases}.
Data-access class: {records.access}. Unit: {summary.unit}. {summary.genes.n_kept} genes before any choice.
Samples left out, by rule: {rejected}.

| cohort | source | unit in the source | samples | patients | with follow-up | events |
|---|---|---|---|---|---|---|
{rows}"""


def _count(value: int | None, records: RunRecords) -> str:
    """A count; a small one is not told where the data are not open."""
    if value is None:
        return "not stated"
    return f"<{SMALL_CELL}" if records.access != OPEN and 0 < value < SMALL_CELL else str(value)


def interval(metric: Metric) -> str:
    """Value with its interval, or why there is none."""
    if metric.value is None:
        return f"not estimable: {metric.reason or 'no reason given'}"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3f} (no interval)"
    return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"


def results_table(metrics: Sequence[Metric]) -> str:
    """Numbers as a table, a row each."""
    rows = "\n".join(
        f"| {one.task.replace('_', ' ')} | {one.scope} | {one.method} | {SHOWN[one.metric]} | {interval(one)} | "
        f"{'' if one.n_patients is None else one.n_patients} | {'' if one.n_events is None else one.n_events} |"
        for one in metrics
    )
    head = (
        "| task | scope | method | metric | value [95 % interval] | patients | events |\n|---|---|---|---|---|---|---|"
    )
    return f"{head}\n{rows}"


def _results_text(model: ModelFacts, records: RunRecords, metrics: Sequence[Metric]) -> str:
    numbers = records.numbers
    whose = (
        "Out-of-fold predictions of this model's members."
        if model.is_finetuned
        else "Of all encoders of the run, this one among them, each judged on the patients that its split holds out."
    )
    seen = max((one.n_pretrained_patients_in_test or 0 for one in metrics), default=0)
    unknown = any(one.n_pretrained_patients_in_test is None for one in metrics)
    overlap = "not known" if unknown else f"{seen}"
    lines = [
        f"{whose} Protocol `{numbers.protocol}`, splits sha256 `{numbers.split_sha256}`, seed {numbers.seed}.",
        "Intervals by patient bootstrap. Test patients that the encoders were pretrained on, at most: " + overlap + ".",
        "",
        results_table(metrics),
    ]
    against = _comparisons(numbers, metrics)
    if against:
        lines += ["", "Against the best baseline on the same folds (difference, 95 % interval):", "", against]
    return "\n".join(lines)


def _comparisons(numbers: Numbers, metrics: Sequence[Metric]) -> str:
    methods = {(one.task, one.scope, one.method) for one in metrics}
    return "\n".join(
        f"- {one.task.replace('_', ' ')}, {one.scope}, {SHOWN.get(one.metric, one.metric)}: {one.method} against "
        f"{one.against}: "
        + (
            f"not estimable: {one.reason or 'no reason given'}"
            if one.difference is None or one.low is None or one.high is None
            else f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}], {one.holds or 'not judged'}"
        )
        for one in numbers.comparisons
        if one.is_best_baseline and (one.task, one.scope, one.method) in methods
    )


def _cost_text(records: RunRecords) -> str:
    total = records.total
    if total is None:
        return f"{WHOLE_RUN}: its records have no trace that hours can be counted from."
    return (
        f"{WHOLE_RUN}, all models and baselines together: {format_hours(total['cpu_hours'])} CPU hours and "
        f"{format_hours(total['gpu_hours'])} GPU hours reserved, "
        f"{total['n_cached']} tasks from earlier runs not counted."
    )


def _index(records: RunRecords, metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """`model-index` of the front matter, one result a task and scope."""
    cohorts = ", ".join(one.cohort for one in records.summary.cohorts)
    name = f"{cohorts}; protocol {records.numbers.protocol}, splits {records.numbers.split_sha256[:12]}"
    results = []
    for task, scope in dict.fromkeys((one.task, one.scope) for one in metrics):
        chosen = [one for one in metrics if (one.task, one.scope) == (task, scope) and one.value is not None]
        kind = "tabular-classification" if task == keys.CANCER_TYPE else "other"
        if chosen:
            results.append(
                {
                    "task": {"type": kind, "name": f"{task.replace('_', ' ')}, {scope}"},
                    "dataset": {"type": "bulkrnabert-cohorts", "name": name},
                    "metrics": [
                        {"type": one.metric, "name": f"{SHOWN[one.metric]}, {one.method}", "value": round(one.value, 4)}
                        for one in chosen
                        if one.value is not None
                    ],
                }
            )
    return results
