"""How the report writes numbers, names and intervals."""

from __future__ import annotations

NOT_ESTIMABLE = "n/e"
MISSING = "–"

METRIC_NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "auroc_ovr_macro": "AUROC",
    "c_index_within_weighted": "C within cohort, weighted",
    "c_index_within_macro": "C within cohort, mean",
    "c_index_pooled": "C pooled",
}
TASK_NAMES = {"cancer_type": "Cancer type", "survival": "Survival"}


def format_number(value: float | None, n_digits: int = 3) -> str:
    """A value with a fixed number of decimals; a dash for None."""
    return MISSING if value is None else f"{value:.{n_digits}f}"


def format_interval(low: float | None, high: float | None, n_digits: int = 3) -> str:
    """`0.912 to 0.934`; empty where a bound is missing."""
    return "" if low is None or high is None else f"{low:.{n_digits}f} to {high:.{n_digits}f}"


def is_small(count: int, small_cells: int) -> bool:
    """Whether a count could point at single patients: from 1 to below the limit."""
    return 0 < count < small_cells


def format_count(count: int | None, small_cells: int = 0) -> str:
    """`1,234`; `<5` for a small cell; a dash for None."""
    if count is None:
        return MISSING
    return f"<{small_cells}" if is_small(count, small_cells) else f"{count:,}"


def format_p(value: float | None) -> str:
    """`p = 0.031` or `p < 0.0001`; empty for None."""
    if value is None:
        return ""
    return "p\u00a0<\u00a00.0001" if value < 0.0001 else f"p\u00a0=\u00a0{value:.2g}"


def name_of_method(method: str) -> str:
    """A method's name as prose: `pca_logistic` is `pca logistic`."""
    return method.replace("_", " ")


def name_of_metric(metric: str) -> str:
    """A metric's name as prose."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def name_of_task(task: str) -> str:
    """A task's name as prose."""
    return TASK_NAMES.get(task, task.replace("_", " "))
