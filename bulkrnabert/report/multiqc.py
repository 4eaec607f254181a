"""Custom content for MultiQC: general statistics, and a section for each family of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import LOWER_IS_BETTER, Metric, ReportInputs
from bulkrnabert.provenance import write_json
from bulkrnabert.report import tables, text
from bulkrnabert.report.parts import best_methods

UNBOUNDED = {"brier_score", "log_loss"}
SD_SUFFIX = "_sd"
PARENT = {
    "parent_id": "bulkrnabert",
    "parent_name": "bulkrnabert",
    "parent_description": "Cancer type and survival from pretrained encoders, on patients that were held out; "
    "intervals and figures are in report.html.",
}
# Metrics of each section; what is in none of them has no section.
FAMILIES = {
    "classification": ("Classification", keys.CANCER_TYPE, tables.CLASSIFICATION_METRICS),
    "probabilities": ("Probabilities of classes", keys.CANCER_TYPE, tables.PROBABILITY_METRICS),
    "concordance": ("Survival: concordance", keys.SURVIVAL, (*tables.SURVIVAL_METRICS, "c_index_cohort")),
    "time_dependent": ("Survival: corrected for follow-up", keys.SURVIVAL, tables.CENSORING_METRICS),
    "survival_probabilities": (
        "Survival: probabilities", keys.SURVIVAL, tables.SURVIVAL_PROBABILITY_METRICS,
    ),
}  # fmt: skip


def write_multiqc(out: Path, inputs: ReportInputs, small_cells: int) -> list[Path]:
    """Write `bulkrnabert_mqc.json` (general statistics, a line a cohort) and `bulkrnabert_<section>_mqc.json`.

    Args:
        out: Folder that is there.
        inputs: What was read.
        small_cells: Counts from 1 to below this are left out.
    Returns:
        The files; there is none for a section without numbers.
    """
    sections = {"": general_statistics(inputs, small_cells), "left_out": _left_out(inputs, small_cells)}
    for name, (title, task, metrics) in FAMILIES.items():
        chosen = [item for item in inputs.numbers.metrics if item.task == task and item.metric in metrics]
        sections[name] = metric_table(name, title, chosen)
    sections["training"] = _training(inputs)
    written = []
    for name, section in sections.items():
        if section is not None:
            written.append(out / "_".join(filter(None, ["bulkrnabert", name, "mqc.json"])))
            write_json(written[-1], section)
    return written


def _header(title: str, description: str, **more: Any) -> dict[str, Any]:
    return {"title": title, "description": description, **more}


def general_statistics(inputs: ReportInputs, small_cells: int) -> dict[str, Any] | None:
    """Size of each cohort, and the concordance within it of the best model and the best baseline over all cohorts."""
    best = best_methods(inputs.numbers, keys.SURVIVAL, keys.PAN)
    rejected: dict[str, int] = {}
    for item in inputs.summary.rejected:
        rejected[item.cohort] = rejected.get(item.cohort, 0) + item.n
    of_cohort = tables.cohort_metrics(inputs.numbers)
    data: dict[str, dict[str, float]] = {}
    for cohort in inputs.summary.cohorts:
        counts = {
            "samples": cohort.n_samples,
            "patients": cohort.n_patients,
            "events": cohort.n_events,
            "left_out": rejected.get(cohort.cohort, 0),
        }
        shown: dict[str, float] = {
            name: n for name, n in counts.items() if n is not None and not text.is_small(n, small_cells)
        }
        scores = {item.method: item.value for item in of_cohort.get(cohort.cohort, [])}
        for name, method in (("c_model", next(iter(best.models), "")), ("c_baseline", best.baseline or "")):
            if (value := scores.get(method)) is not None:
                shown[name] = value
        data[cohort.cohort] = shown
    if not data:
        return None
    whole = {"format": "{:,.0f}", "min": 0}
    share = {"format": "{:,.3f}", "min": 0, "max": 1, "scale": "GnBu"}
    headers = [
        {"samples": _header("Samples", "Samples kept", **whole)},
        {"patients": _header("Patients", "Patients with a sample", **whole)},
        {"left_out": _header("Left out", "Samples left out", scale="OrRd", **whole)},
        {"events": _header("Events", "Patients with the event of the endpoint", hidden=True, **whole)},
        {"c_model": _header("C, model", f"Concordance within the cohort, {next(iter(best.models), '')}", **share)},
        {"c_baseline": _header("C, baseline", f"Concordance within the cohort, {best.baseline or ''}", **share)},
    ]
    present = {name for row in data.values() for name in row}
    return {
        "id": "bulkrnabert_general",
        "plot_type": "generalstats",
        "pconfig": [header for header in headers if present.intersection(header)],
        "data": data,
    }


def _row_name(item: Metric) -> str:
    scope = f"{item.scope}, in {item.scope_cohort}" if item.scope_cohort else item.scope
    return f"{scope} | {item.method}"


def _metric_headers(metrics: Sequence[Metric]) -> dict[str, dict[str, Any]]:
    headers: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(item.metric for item in metrics):
        title = text.name_of_metric(name)
        headers[name] = _header(title, text.name_of_orientation(name), min=0, format="{:,.3f}")
        headers[name]["scale"] = "GnBu-rev" if name in LOWER_IS_BETTER else "GnBu"
        if name not in UNBOUNDED:
            headers[name]["max"] = 1
        if any(item.metric == name and item.sd_over_repeats is not None for item in metrics):
            words = "Standard deviation over repeats."
            headers[f"{name}{SD_SUFFIX}"] = _header(f"{title}, SD", words, min=0, format="{:,.3f}", hidden=True)
    return headers


def metric_table(name: str, title: str, metrics: Sequence[Metric]) -> dict[str, Any] | None:
    """One family: a line a scope (and cohort within it) and method, a column a metric; None without a number."""
    data: dict[str, dict[str, float]] = {}
    estimable = [item for item in metrics if item.value is not None]
    for item in estimable:
        assert item.value is not None
        row = data.setdefault(_row_name(item), {})
        row[item.metric] = item.value
        if item.sd_over_repeats is not None:
            row[f"{item.metric}{SD_SUFFIX}"] = item.sd_over_repeats
    if not data:
        return None
    return {
        **PARENT,
        "id": f"bulkrnabert_{name}",
        "section_name": title,
        "description": "Encoder-based methods and baselines on the same patients.",
        "plot_type": "table",
        "pconfig": {
            "id": f"bulkrnabert_{name}_table",
            "title": f"bulkrnabert: {title}",
            "col1_header": "Scope | method",
        },
        "headers": _metric_headers(estimable),
        "data": data,
    }


def _left_out(inputs: ReportInputs, small_cells: int) -> dict[str, Any] | None:
    data: dict[str, dict[str, int]] = {}
    for item in inputs.summary.rejected:
        if not text.is_small(item.n, small_cells):
            data.setdefault(item.cohort or "no cohort", {})[text.name_of_rule(item.rule)] = item.n
    if not data:
        return None
    return {
        **PARENT,
        "id": "bulkrnabert_left_out",
        "section_name": "Samples left out",
        "description": "Samples that no number rests on, by the reason.",
        "plot_type": "bargraph",
        "pconfig": {"id": "bulkrnabert_left_out_plot", "title": "bulkrnabert: samples left out", "ylab": "samples"},
        "data": data,
    }


def _training(inputs: ReportInputs) -> dict[str, Any] | None:
    data = {
        encoder.name: [
            [record["step"], record["loss"]]
            for record in encoder.records_of("validation")
            if record.get("loss") is not None and record.get("step") is not None
        ]
        for encoder in inputs.encoders
    }
    data = {name: points for name, points in data.items() if points}
    if not data:
        return None
    return {
        **PARENT,
        "id": "bulkrnabert_training",
        "section_name": "Pretraining",
        "description": "Validation loss over training steps, a line an encoder.",
        "plot_type": "linegraph",
        "pconfig": {
            "id": "bulkrnabert_training_plot", "title": "bulkrnabert: validation loss", "xlab": "step", "ylab": "loss",
        },
        "data": data,
    }  # fmt: skip
