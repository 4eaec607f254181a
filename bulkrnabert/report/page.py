"""The report as one self-contained HTML page, and the files beside it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import jinja2
from markupsafe import Markup

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import Metric, RejectedSample, ReportInputs
from bulkrnabert.evaluate.tracking import server_command
from bulkrnabert.logs import hide_credentials
from bulkrnabert.provenance import atomic_path, code_fingerprint, package_version
from bulkrnabert.report import figures, overview, tables, text
from bulkrnabert.report.attribution import attribution_part
from bulkrnabert.report.classification import classification_part
from bulkrnabert.report.comparisons import build_headlines
from bulkrnabert.report.drawing import kind_of
from bulkrnabert.report.embedding import embedding_part
from bulkrnabert.report.exports import write_results
from bulkrnabert.report.flow import build_flow, draw_flow
from bulkrnabert.report.gexbert import gexbert_part
from bulkrnabert.report.mojo import mojo_part
from bulkrnabert.report.multiqc import write_multiqc
from bulkrnabert.report.parts import Captioned, capitalised, n_repeats
from bulkrnabert.report.references import REFERENCES, cited
from bulkrnabert.report.survival import survival_part
from bulkrnabert.report.terms import PROTOCOLS, terms_of

TEMPLATES = Path(__file__).parent / "templates"
SCRIPT = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.js", "explorer.js"))
MAX_REJECTED_SHOWN = 2000
OPEN_ACCESS = "open"
SYNTHETIC_API = "embedded"
SYNTHETIC_PREFIX = "TCGA-SYN"
SECTIONS = (
    ("summary", "Summary"),
    ("data", "Data"),
    ("training", "Training"),
    ("embedding", "Embedding"),
    ("classification", text.name_of_task(keys.CANCER_TYPE)),
    ("survival", "Survival"),
    ("gexbert", "Panels and restored genes"),
    ("modalities", "Two modalities"),
    ("attribution", "Genes behind the predictions"),
    ("skipped", "Skipped"),
    ("methods", "Methods"),
    ("terms", "How to read"),
    ("run", "This run"),
)


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
    code = sorted({row.code_sha256 for row in map(overview.describe_encoder, inputs.encoders) if row.code_sha256})
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
    return text.join_names(list(dict.fromkeys(encoder.model_title for encoder in inputs.encoders))) or "An encoder"


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


def _title_in(method: str) -> str:
    """The model that a method's name begins with; empty where it names none."""
    return keys.MODEL_TITLES.get(kind_of(method), "")


def _by_rule(rejected: list[RejectedSample]) -> list[tuple[str, list[RejectedSample]]]:
    """The samples of each rule, the commonest rule first."""
    groups: dict[str, list[RejectedSample]] = {}
    for item in rejected:
        groups.setdefault(item.rule, []).append(item)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def _sha256_source(script: str) -> str:
    """How the page's policy names the one script that may run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


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
        kind=kind_of,
        model_title=lambda method: _title_in(method) or "Encoder",
        method_rest=lambda method: text.name_of_method(method.removeprefix(_title_in(method))).strip(" ,"),
        capital=capitalised,
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
    totals = overview.build_totals(inputs, small_cells)
    headlines = build_headlines(inputs.numbers, small_cells)
    heading, lead = _heading(inputs, totals)
    label_column = _label_column(inputs)
    embedding_name = _embedding_name(inputs)
    classification_name = text.name_of_task(keys.CANCER_TYPE, label_column)
    checks = overview.build_checks(inputs)
    protocol = inputs.numbers.protocol
    protocol_text = PROTOCOLS[protocol].text if protocol in PROTOCOLS else "see the documentation."
    parts = {
        **classification_part(inputs.numbers, small_cells),
        **survival_part(inputs.numbers, small_cells),
        **gexbert_part(inputs.findings),
        **mojo_part(inputs.findings, inputs.numbers, label_column),
        **attribution_part(inputs.findings, label_column, small_cells),
        **embedding_part(inputs, embedding_name, small_cells),
    }
    absent = {
        name
        for name, has in (
            ("embedding", parts["projections"] or parts["explorer"]),
            ("gexbert", parts["has_gexbert"]),
            ("modalities", parts["has_mojo"]),
            ("attribution", parts["has_attribution"]),
        )
        if not has
    }
    run = inputs.run.model_copy(
        update={
            "command_line": hide_credentials(inputs.run.command_line or ""),
            "params": {name: hide_credentials(str(value)) for name, value in inputs.run.params.items()},
        }
    )
    models = {encoder.model for encoder in inputs.encoders} or {keys.BULKRNABERT}
    names = cited(models, inputs.numbers, bool(parts["censoring_table"]))
    return _environment(small_cells, label_column).get_template("report.html").render(
        version=package_version(),
        script=Markup(SCRIPT),  # noqa: S704
        script_sha256=_sha256_source(SCRIPT),
        title=f"{heading} · bulkrnabert",
        heading=heading,
        lead=lead,
        is_synthetic=_is_synthetic(inputs),
        sections=[
            (name, classification_name if name == "classification" else title)
            for name, title in SECTIONS
            if name not in absent
        ],
        absent=absent,
        model_titles=_model_titles(inputs),
        models=models,
        cites={name: number for number, name in enumerate(names, start=1)},
        model_cites=", ".join(str(number) for number, name in enumerate(names, start=1) if name in models),
        references=[REFERENCES[name] for name in names],
        classification_name=classification_name,
        label_name=capitalised(text.name_of_label(label_column)),
        embedding_name=embedding_name,
        gene_rules=tables.build_gene_rules(inputs.summary.genes.dropped),
        numbers=inputs.numbers,
        summary=inputs.summary,
        run=run,
        small_cells=small_cells,
        totals=totals,
        facts=overview.build_facts(inputs, totals),
        checks=checks,
        n_warnings=sum(check.state == "warn" for check in checks),
        headlines=headlines,
        flow=draw_flow(build_flow(inputs, label_column, small_cells), "fig-flow"),
        diagnoses=inputs.diagnoses,
        drift_figures=_drift_figures(inputs),
        endpoints=inputs.endpoints,
        gene_sources=[(name, part.genes) for name, part in sorted(inputs.summary.modalities.items())],
        pairs=inputs.summary.pairs,
        rejected=_by_rule(inputs.rejected[:MAX_REJECTED_SHOWN]),
        n_rejected=len(inputs.rejected),
        n_rejected_shown=min(len(inputs.rejected), MAX_REJECTED_SHOWN),
        n_repeats=n_repeats(inputs.numbers),
        terms=terms_of(inputs.numbers),
        encoders=[overview.describe_encoder(encoder) for encoder in inputs.encoders],
        trainings=_trainings(inputs),
        skipped=inputs.numbers.skipped,
        parameters_text=overview.parameters_text(inputs.encoders),
        protocol={"name": protocol, "text": protocol_text},
        fine_tunings=[name for name in _method_names(inputs, "model") if "fine-tuning" in name],
        baselines=_method_names(inputs, "baseline"),
        mlflow_command=server_command(f"{inputs.run.params.get('outdir', 'OUTDIR')}/mlflow"),
        identity=_identity(inputs),
        **parts,
    )  # fmt: skip


def _method_names(inputs: ReportInputs, role: str) -> list[str]:
    names = {text.name_of_method(item.method) for item in inputs.numbers.metrics if item.role == role}
    return sorted(names)


def write_report(inputs: ReportInputs, out: Path, small_cells: int) -> Path:
    """Write `report.html`, `results.csv` and the sections for MultiQC.

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
    write_multiqc(out, inputs, limit)
    page = out / keys.REPORT_HTML
    with atomic_path(page) as partial:
        partial.write_text(render_page(inputs, limit), encoding="utf-8")
    return page
