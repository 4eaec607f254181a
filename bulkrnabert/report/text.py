"""How the report writes numbers, names and intervals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import LOWER_IS_BETTER

NOT_ESTIMABLE = "n/e"
MISSING = "–"
DAYS_PER_YEAR = 365.25

METRIC_NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "auroc_ovr_macro": "AUROC",
    "c_index_within_weighted": "C within cohort, weighted",
    "c_index_within_macro": "C within cohort, mean",
    "c_index_pooled": "C pooled",
    "c_index_cohort": "C of one cohort",
    "expected_calibration_error": "Expected calibration error",
    "brier_score": "Brier score",
    "log_loss": "Log loss",
    "uno_c_within_weighted": "Uno's C within cohort, weighted",
    "uno_c": "Uno's C",
    "auc_1y": "AUC at 1 year",
    "auc_3y": "AUC at 3 years",
    "auc_5y": "AUC at 5 years",
    "auc_mean": "AUC, mean over years",
    "integrated_brier_score": "Integrated Brier score",
    "calibration_error": "Calibration error",
}
TASK_NAMES = {keys.CANCER_TYPE: "Cancer type", keys.SURVIVAL: "Survival"}
EMBEDDING_NAMES = {
    "mean": "mean embedding (over genes)",
    "max": "max-pooled embedding (the maximum over genes)",
    "eigengene": "eigengene-pooled embedding (the mean over genes, a mean weighted by genes above their usual level, "
    "and the sample's scores on the main directions of co-expression)",
    "marker": "marker-pooled embedding (the mean over genes beside a mean weighted by genes above their usual level)",
}
COLUMN_NAMES = {keys.TIME_DAYS: "follow-up_days", keys.EVENT: "event (1: yes)"}
EVENT_NAMES = {
    "OS": "deaths",
    "PFI": "progressions or deaths",
    "DSS": "deaths from the disease",
    "DFI": "recurrences",
}
# The rules of `bulkrnabert.data` are mostly named after what is kept; a reader of what was left out needs the reason.
SAMPLE_REASONS = {
    "assay": "other assay than asked for",
    "assembly": "other genome assembly",
    "cohort_not_asked": "cohort not asked for",
    "exact_copy": "exact copy of another profile",
    "experiment": "of no known experiment",
    "file_format": "other file format",
    "genome_annotation": "other gene annotation than asked for",
    "min_rin": "RNA integrity too low or unknown",
    "no_attributes": "not in the sample attributes",
    "no_cohort": "no cohort known",
    "no_expression": "no expression, every value is zero",
    "no_tissue": "no tissue known",
    "normal_tissue": "normal tissue",
    "not_annotated": "annotation that rules a file out",
    "not_ffpe": "FFPE sample",
    "not_finite": "infinite value",
    "not_in_table": "not in the expression table",
    "not_redacted": "redacted case or file",
    "one_aliquot": "not made from exactly one aliquot",
    "one_aliquot_a_sample": "further aliquot of a sample",
    "one_array": "array other than the chosen one",
    "one_file_a_replicate": "older file of a replicate",
    "one_profile_a_patient": "further sample of a patient",
    "one_replicate": "not of exactly one biological replicate",
    "one_sample_a_patient": "further sample of a patient",
    "open_access": "controlled access",
    "output_type": "no gene quantification",
    "preferred_default": "not the preferred analysis of its experiment",
    "released": "not released",
    "rnaseq_freeze": "not in the RNA-seq set of its release",
    "sample_type": "not a tumour sample",
    "tissue": "tissue not asked for",
    "too_many_genes_missing": "more than half of the genes without a value",
    "too_many_probes_missing": "too many probes without a value",
    "uniform_pipeline": "not made by the portal's uniform pipeline",
}
GENE_REASONS = {
    "ambiguous_symbol": "symbol of several genes",
    "chromosome_without_genes": "probe on a chromosome without genes",
    "duplicated_symbol": "symbol that stands there more than once",
    "empty_id": "row without an id",
    "excel_date": "symbol that a spreadsheet turned into a date",
    "no_gene_length": "no gene length known",
    "no_gene_near": "probe with no gene near it",
    "no_position": "probe of no known position",
    "no_probe_on_array": "no probe on the array",
    "no_symbol": "no gene symbol",
    "non_cpg_probe": "probe of no CpG site (ch)",
    "not_expression": "column without expression",
    "not_in_every_cohort": "not in every cohort",
    "not_in_vocabulary": "not in the vocabulary",
    "not_protein_coding": "not protein coding",
    "other_probe": "control, or no probe",
    "par_y": "_PAR_Y copy",
    "probe_without_gene": "probe of no gene",
    "snp_probe": "probe of a known variant (rs)",
    "spike_in": "spike-in control",
    "summary_row": "summary row of the read counts",
    "trna": "transfer RNA",
    "unknown_symbol": "symbol of no gene",
    "vocabulary_gene_absent": "gene of the vocabulary that a source lacks",
}
RULE_REASONS = SAMPLE_REASONS | GENE_REASONS


def format_number(value: float | None, n_digits: int = 3) -> str:
    """A value with a fixed number of decimals; a dash for None."""
    return MISSING if value is None else f"{value:.{n_digits}f}"


def format_interval(low: float | None, high: float | None, n_digits: int = 3) -> str:
    """`[0.912, 0.934]`; empty where a bound is missing."""
    return "" if low is None or high is None else f"[{low:.{n_digits}f}, {high:.{n_digits}f}]"


def is_small(count: int, small_cells: int) -> bool:
    """Whether a count could point at single patients: from 1 to below the limit."""
    return 0 < count < small_cells


def format_count(count: int | None, small_cells: int = 0) -> str:
    """`1,234`; `<5` for a small cell; a dash for None."""
    if count is None:
        return MISSING
    return f"<{small_cells}" if is_small(count, small_cells) else f"{count:,}"


def format_difference(value: float | None, n_digits: int = 3) -> str:
    """A difference with its sign, `+0.012` or `−0.030`; a dash for None."""
    return MISSING if value is None else f"{value:+.{n_digits}f}".replace("-", "\u2212")


def format_difference_interval(low: float | None, high: float | None) -> str:
    """`[−0.012, +0.034]`; empty where a bound is missing."""
    return "" if low is None or high is None else f"[{format_difference(low)}, {format_difference(high)}]"


def format_sd(value: float | None, n_digits: int = 3) -> str:
    """`± 0.006`; empty for None."""
    return "" if value is None else f"±\u00a0{value:.{n_digits}f}"


def format_p(value: float | None) -> str:
    """`p = 0.031` or `p < 0.0001`; empty for None."""
    if value is None:
        return ""
    return "p\u00a0<\u00a00.0001" if value < 0.0001 else f"p\u00a0=\u00a0{value:.2g}"


def format_time(days: float | None) -> str:
    """`3 years`, `5.4 years` or, below two years, days; empty for None."""
    if days is None:
        return ""
    years = days / DAYS_PER_YEAR
    if round(years, 2) == 1:
        return "1 year"
    return f"{round(years, 1):g} years" if years >= 2 else f"{days:.0f} days"


def format_seconds(seconds: float) -> str:
    """`48 s`, `12 min` or `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def join_names(names: Sequence[str]) -> str:
    """`a`, `a and b` or `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def hide_small_counts(reason: str, small_cells: int) -> str:
    """A reason without its counts of few patients or events; bounds (`fewer than 5 events`) stay."""

    def hide(found: re.Match[str]) -> str:
        return f"<{small_cells}" if is_small(int(found.group()), small_cells) else found.group()

    return re.sub(r"(?<!than )(?<!least )\b\d+(?= (?:events?|patients?|samples?)\b|\))", hide, reason)


def name_of_method(method: str) -> str:
    """A method's name as prose: `pca_logistic` is `pca logistic`."""
    return method.replace("_", " ")


def name_of_metric(metric: str) -> str:
    """A metric's name as prose."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def name_of_orientation(metric: str) -> str:
    """Whether more of a metric is better, as a sentence."""
    return "Lower is better." if metric in LOWER_IS_BETTER else "Higher is better."


def name_of_label(label_column: str) -> str:
    """What the classifier predicts, as prose: the cohort of a sample is its cancer type."""
    return "cancer type" if label_column == keys.COHORT else label_column.replace("_", " ")


def name_of_task(task: str, label_column: str = keys.COHORT) -> str:
    """A task's name as prose; a classification by another column than the cohort is named after that column."""
    if task == keys.CANCER_TYPE and label_column != keys.COHORT:
        return f"Classification: {name_of_label(label_column)}"
    return TASK_NAMES.get(task, task.replace("_", " "))


def name_of_embedding(pooling: str | None) -> str:
    """What the heads were given, by how the genes were pooled; None where this is not known."""
    return "embedding" if pooling is None else EMBEDDING_NAMES.get(pooling, f"{pooling}-pooled embedding")


def name_of_events(endpoints: Iterable[str]) -> str:
    """What an event is under these endpoints; `events` where an endpoint is not known."""
    names = list(dict.fromkeys(EVENT_NAMES.get(endpoint) for endpoint in endpoints))
    known = [name for name in names if name is not None]
    return "; ".join(known) if known and len(known) == len(names) else "events"


def name_of_column(column: str) -> str:
    """A clinical column as prose: `age_at_diagnosis_days` is `age at diagnosis, days`."""
    name = COLUMN_NAMES.get(column, column)
    return re.sub(r"_(days|years|months)$", r", \1", name).replace("_", " ")


def name_of_rule(rule: str) -> str:
    """Why a rule left something out: `not_ffpe` is `FFPE sample`."""
    return RULE_REASONS.get(rule, rule.replace("_", " "))
