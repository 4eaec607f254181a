"""The report as one self-contained HTML page, and the files beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import Encoder, Metric, ReportInputs
from bulkrnabert.evaluate.tracking import server_command
from bulkrnabert.logs import hide_credentials
from bulkrnabert.provenance import atomic_path, code_fingerprint, package_version, write_json
from bulkrnabert.report import figures, tables, text
from bulkrnabert.report.classification import classification_part
from bulkrnabert.report.comparisons import Headline, build_headlines
from bulkrnabert.report.drawing import Figure
from bulkrnabert.report.exports import MULTIQC_JSON, multiqc_table, write_results
from bulkrnabert.report.gexbert import gexbert_part
from bulkrnabert.report.mojo import mojo_part
from bulkrnabert.report.parts import Captioned, capitalised, n_repeats
from bulkrnabert.report.references import REFERENCES, cited
from bulkrnabert.report.survival import survival_part
from bulkrnabert.report.terms import terms_of

TEMPLATES = Path(__file__).parent / "templates"
MAX_REJECTED_SHOWN = 2000
OPEN_ACCESS = "open"
SYNTHETIC_API = "embedded"
SYNTHETIC_PREFIX = "TCGA-SYN"
SECTIONS = (
    ("summary", "Summary"),
    ("data", "Data"),
    ("classification", text.name_of_task(keys.CANCER_TYPE)),
    ("survival", "Survival"),
    ("gexbert", "Panels and restored genes"),
    ("modalities", "Two modalities"),
    ("embedding", "Embedding"),
    ("training", "Training"),
    ("skipped", "Skipped"),
    ("methods", "Methods"),
    ("terms", "How to read"),
    ("run", "This run"),
)
PROTOCOL_TEXTS = {
    "leak-free": "the folds are over patients, and the gene list, the bins and the encoder of each fold never saw "
    "its patients.",
    "transductive": "the encoder was pretrained on all samples, without labels, as in the papers; the heads on it are "
    "cross-validated over patients.",
    "paper": "the encoder was pretrained on all samples, without labels, and a fifth of the patients is held out for "
    "testing, anew in each repeat. Every sample is judged, normal tissue too, with the label of its patient. Numbers "
    "are means over the repeats, with their standard deviation (±), as the papers print them.",
}


@dataclass(frozen=True)
class Fact:
    """One number of the strip under the headline."""

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class EncoderRow:
    """One line of the table of encoders."""

    name: str
    n_parameters: int | None
    n_patients: int | None
    n_steps: int | None
    loss: float | None
    accuracy: float | None
    baseline: float | None
    rmse: float | None
    baseline_rmse: float | None
    code_sha256: str


def _label_column(inputs: ReportInputs) -> str:
    return str(inputs.run.params.get("label_column") or keys.COHORT)


def _embedding_name(inputs: ReportInputs) -> str:
    pooling = inputs.run.params.get("pooling")
    return text.name_of_embedding(str(pooling) if pooling else None)


def _is_synthetic(inputs: ReportInputs) -> bool:
    """Whether every cohort comes from the study that the pipeline makes up by itself."""
    cohorts = [cohort.cohort for cohort in inputs.summary.cohorts]
    return (
        inputs.run.params.get("gdc_api") == SYNTHETIC_API
        and bool(cohorts)
        and all(cohort.startswith(SYNTHETIC_PREFIX) for cohort in cohorts)
    )


def _describe_encoder(encoder: Encoder) -> EncoderRow:
    validation = encoder.records_of("validation")
    last = validation[-1] if validation else {}
    patients = encoder.provenance.get("patient_hashes")
    steps = [record["step"] for record in encoder.records if isinstance(record.get("step"), int)]
    return EncoderRow(
        name=encoder.name,
        n_parameters=encoder.n_parameters,
        n_patients=len(patients) if isinstance(patients, list) else None,
        n_steps=max(steps, default=None),
        loss=last.get("loss"),
        accuracy=last.get("masked_accuracy"),
        baseline=last.get("baseline_accuracy"),
        rmse=last.get("rmse"),
        baseline_rmse=last.get("baseline_rmse"),
        code_sha256=str(encoder.provenance.get("code_sha256", "")),
    )


def _short_count(n: int) -> str:
    """`6.0 M`, `182 k` or the number itself."""
    if n >= 1_000_000:
        return f"{n / 1e6:.1f} M"
    return f"{n / 1e3:.0f} k" if n >= 10_000 else f"{n:,}"


def _parameters_text(encoders: list[Encoder]) -> str:
    known = sorted({encoder.n_parameters for encoder in encoders if encoder.n_parameters is not None})
    return " to ".join(_short_count(n) for n in ([known[0], known[-1]] if len(known) > 1 else known))


def _total(counts: list[int | None], small_cells: int) -> str:
    known = [count for count in counts if count is not None]
    return text.format_count(sum(known) if known else None, small_cells)


def _totals(inputs: ReportInputs, small_cells: int) -> dict[str, str]:
    cohorts = inputs.summary.cohorts
    return {
        "cohorts": f"{len(cohorts):,}",
        "samples": _total([cohort.n_samples for cohort in cohorts], small_cells),
        "patients": _total([cohort.n_patients for cohort in cohorts], small_cells),
        "events": _total([cohort.n_events for cohort in cohorts], small_cells),
        "tumor": _total([cohort.n_tumor for cohort in cohorts], small_cells),
        "normal": _total([cohort.n_normal for cohort in cohorts], small_cells),
        "rejected": text.format_count(sum(count.n for count in inputs.summary.rejected), small_cells),
    }


def _event_names(inputs: ReportInputs) -> str:
    """What an event is in this run, by the endpoints of the cohorts that have one."""
    endpoints = [name.strip() for cohort in inputs.summary.cohorts for name in (cohort.endpoint or "").split(",")]
    return text.name_of_events(name for name in endpoints if name)


def _facts(inputs: ReportInputs, totals: dict[str, str]) -> list[Fact]:
    dropped = sum(item.n for item in tables.build_gene_rules(inputs.summary.genes.dropped) if item.are_genes)
    events = _event_names(inputs)
    size = _parameters_text(inputs.encoders)
    repeats = n_repeats(inputs.numbers)
    is_typed = any(cohort.n_tumor or cohort.n_normal for cohort in inputs.summary.cohorts)
    types = f"{totals['tumor']} tumour, {totals['normal']} normal" if is_typed else "tumour or normal not stated"
    return [
        Fact("Cohorts", totals["cohorts"]),
        Fact("Samples", totals["samples"], types),
        Fact("Patients", totals["patients"]),
        Fact("Events", totals["events"], "" if events == "events" else events),
        Fact("Left out", totals["rejected"], "samples, reasons below" if inputs.summary.rejected else "samples"),
        Fact("Genes", f"{inputs.summary.genes.n_kept:,}", f"{dropped:,} left out" if dropped else ""),
        Fact("Encoders", f"{len(inputs.encoders)}", f"{size} parameters" + (" each" if len(inputs.encoders) > 1 else "")
             if size else ""),
        Fact("Protocol", inputs.numbers.protocol, f"{repeats} repeats" if repeats > 1 else ""),
    ]  # fmt: skip


def _verdict_figures(headlines: list[Headline], label_column: str) -> list[list[Figure]]:
    """Model above baseline on one axis, for each headline where both could be scored."""
    drawn: list[list[Figure]] = []
    for index, item in enumerate(headlines):
        if item.model is None or item.baseline is None:
            drawn.append([])
            continue
        rows = [tables.interval_row(item.model, "encoder"), tables.interval_row(item.baseline, "baseline")]
        task = text.name_of_task(item.task, label_column)
        description = f"{task}: encoder above baseline, with intervals. {item.sentence}"
        group = [tables.IntervalGroup("", rows)]
        drawn.append([figures.draw_forest(group, f"fig-verdict-{index}", "", description, width_in=3.9)])
    return drawn


def _projection_part(inputs: ReportInputs) -> dict[str, Any]:
    projection = inputs.numbers.projection
    if projection is None or not projection.points:
        return {"projections": [], "projection_text": ""}
    split = f", encoder {projection.split_id}" if projection.split_id else ""
    return {
        "projections": [figures.draw_projection(projection, "fig-embedding")],
        "projection_text": f"{projection.method} of the {_embedding_name(inputs)}{split}; one point a sample, "
        f"{len(projection.points):,} samples. Distances between far groups mean little.",
    }


def _drift_figures(inputs: ReportInputs) -> list[Captioned]:
    return [
        Captioned(
            figures.draw_drift(diagnosis.drift, f"fig-drift-{index}"),
            f"{diagnosis.table}.",
            "Cosine of an embedding to that with all genes, when a share of the genes is missing; mean and 5 to 95 % of"
            " the samples.",
        )
        for index, diagnosis in enumerate(inputs.diagnoses)
        if diagnosis.drift
    ]


def _trainings(inputs: ReportInputs) -> list[Captioned]:
    return [
        Captioned(figure, f"Encoder {encoder.name}.")
        for index, encoder in enumerate(inputs.encoders)
        if (figure := figures.draw_training(encoder, f"fig-training-{index}")) is not None
    ]


def _identity(inputs: ReportInputs) -> list[tuple[str, str]]:
    run, numbers = inputs.run, inputs.numbers
    code = sorted({row.code_sha256 for row in map(_describe_encoder, inputs.encoders) if row.code_sha256})
    rows = [
        ("Run", run.run_name),
        ("Session", run.session_id),
        ("Pipeline version", run.pipeline_version),
        ("Package version", package_version()),
        ("Splits, SHA-256", numbers.split_sha256),
        ("Code of pretraining, SHA-256", ", ".join(code)),
        ("Code of this report, SHA-256", code_fingerprint("report")),
        ("Seed", None if numbers.seed is None else str(numbers.seed)),
        ("Data access", inputs.summary.data_access),
    ]
    return [(name, value) for name, value in rows if value]


def _model_titles(inputs: ReportInputs) -> str:
    """The models of the run in prose, `BulkRNABert and MOJO`."""
    titles = list(dict.fromkeys(encoder.model_title for encoder in inputs.encoders)) or ["An encoder"]
    return " and ".join([", ".join(titles[:-1]), titles[-1]]) if len(titles) > 1 else titles[0]


def _heading(inputs: ReportInputs, totals: dict[str, str]) -> tuple[str, str]:
    names = {keys.CANCER_TYPE: text.name_of_label(_label_column(inputs)), keys.SURVIVAL: "survival"}
    tasks = [names[task] for task in names if tables.scopes_of(inputs.numbers, task)]
    profiles = "bulk RNA-seq and methylation" if inputs.summary.pairs else "bulk RNA-seq"
    heading = (
        f"{capitalised(' and '.join(tasks))} from {profiles}" if tasks else f"{capitalised(profiles)}, no task scored"
    )
    cohorts = "cohort" if len(inputs.summary.cohorts) == 1 else "cohorts"
    return heading, (
        f"{_model_titles(inputs)} on {totals['samples']} samples of {totals['patients']} patients "
        f"in {totals['cohorts']} {cohorts}, judged beside simple baselines on the same patients."
    )


def _environment(small_cells: int, label_column: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def interval(metric: Metric) -> str:
        return text.format_interval(metric.low, metric.high)

    environment.filters.update(
        count=lambda n: text.format_count(n, small_cells),
        plain_count=text.format_count,
        number=text.format_number,
        interval=interval,
        sd=text.format_sd,
        hide_small=lambda reason: text.hide_small_counts(reason, small_cells),
        method_name=text.name_of_method,
        metric_name=text.name_of_metric,
        task_name=lambda task: text.name_of_task(task, label_column),
        rule_name=text.name_of_rule,
    )
    return environment


def render_page(inputs: ReportInputs, small_cells: int) -> str:
    """The whole page as HTML text.

    Args:
        inputs: What was read.
        small_cells: Counts of patients or samples from 1 to below this are shown as `<N`, and single samples are not
            listed; 0 shows everything.
    """
    totals = _totals(inputs, small_cells)
    headlines = build_headlines(inputs.numbers, small_cells)
    heading, lead = _heading(inputs, totals)
    overlap, overlap_is_warning = tables.pretraining_overlap(inputs.numbers)
    protocol = inputs.numbers.protocol
    label_column = _label_column(inputs)
    classification_name = text.name_of_task(keys.CANCER_TYPE, label_column)
    of_gexbert, of_mojo = gexbert_part(inputs.findings), mojo_part(inputs.findings, inputs.numbers, label_column)
    absent = {
        name for name, has in (("gexbert", of_gexbert["has_gexbert"]), ("modalities", of_mojo["has_mojo"])) if not has
    }
    run = inputs.run.model_copy(
        update={
            "command_line": hide_credentials(inputs.run.command_line or ""),
            "params": {name: hide_credentials(str(value)) for name, value in inputs.run.params.items()},
        }
    )
    models = {encoder.model for encoder in inputs.encoders} or {keys.BULKRNABERT}
    of_survival = survival_part(inputs.numbers, small_cells)
    names = cited(models, inputs.numbers, bool(of_survival["censoring_table"]))
    return _environment(small_cells, label_column).get_template("report.html").render(
        version=package_version(),
        title=f"{heading} · bulkrnabert",
        heading=heading,
        lead=lead,
        is_synthetic=_is_synthetic(inputs),
        sections=[
            (name, classification_name if name == "classification" else title)
            for name, title in SECTIONS
            if name not in absent
        ],
        model_titles=_model_titles(inputs),
        models=models,
        cites={name: number for number, name in enumerate(names, start=1)},
        model_cites=", ".join(str(number) for number, name in enumerate(names, start=1) if name in models),
        references=[REFERENCES[name] for name in names],
        classification_name=classification_name,
        label_name=capitalised(text.name_of_label(label_column)),
        embedding_name=_embedding_name(inputs),
        gene_rules=tables.build_gene_rules(inputs.summary.genes.dropped),
        numbers=inputs.numbers,
        summary=inputs.summary,
        run=run,
        small_cells=small_cells,
        totals=totals,
        facts=_facts(inputs, totals),
        headlines=headlines,
        verdict_figures=_verdict_figures(headlines, label_column),
        overlap=overlap,
        overlap_is_warning=overlap_is_warning,
        diagnoses=inputs.diagnoses,
        drift_figures=_drift_figures(inputs),
        endpoints=inputs.endpoints,
        gene_sources=[(name, part.genes) for name, part in sorted(inputs.summary.modalities.items())],
        pairs=inputs.summary.pairs,
        rejected=inputs.rejected[:MAX_REJECTED_SHOWN],
        n_rejected=len(inputs.rejected),
        n_repeats=n_repeats(inputs.numbers),
        terms=terms_of(inputs.numbers),
        encoders=[_describe_encoder(encoder) for encoder in inputs.encoders],
        trainings=_trainings(inputs),
        skipped=inputs.numbers.skipped,
        parameters_text=_parameters_text(inputs.encoders),
        protocol={"name": protocol, "text": PROTOCOL_TEXTS.get(protocol, "see the documentation.")},
        fine_tunings=[name for name in _method_names(inputs, "model") if "fine-tuning" in name],
        baselines=_method_names(inputs, "baseline"),
        mlflow_command=server_command(f"{inputs.run.params.get('outdir', 'OUTDIR')}/mlflow"),
        identity=_identity(inputs),
        **classification_part(inputs.numbers, small_cells),
        **of_survival,
        **of_gexbert,
        **of_mojo,
        **_projection_part(inputs),
    )  # fmt: skip


def _method_names(inputs: ReportInputs, role: str) -> list[str]:
    names = {text.name_of_method(item.method) for item in inputs.numbers.metrics if item.role == role}
    return sorted(names)


def write_report(inputs: ReportInputs, out: Path, small_cells: int) -> Path:
    """Write `report.html`, `results.csv` and the table for MultiQC.

    Args:
        inputs: What was read; nothing is computed from it.
        out: Folder, made where it is missing.
        small_cells: See `render_page`; data whose access class is `open` are always shown as they are.
    Returns:
        The page.
    """
    limit = 0 if inputs.summary.data_access == OPEN_ACCESS else small_cells
    out.mkdir(parents=True, exist_ok=True)
    write_results(out / keys.RESULTS_CSV, inputs.numbers.metrics, limit)
    write_json(out / MULTIQC_JSON, multiqc_table(inputs.numbers.metrics))
    page = out / keys.REPORT_HTML
    with atomic_path(page) as partial:
        partial.write_text(render_page(inputs, limit), encoding="utf-8")
    return page
