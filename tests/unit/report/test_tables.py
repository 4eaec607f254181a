"""Tables and sentences, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from bulkrnabert.evaluate.artefacts import DroppedGenes, Numbers
from bulkrnabert.logs import hide_credentials
from bulkrnabert.report import comparisons, tables, text


def metric(method: str, role: str, value: float | None, scope: str = "pan", **more: Any) -> dict[str, Any]:
    base = {"task": "cancer_type", "scope": scope, "metric": "macro_f1", "n_patients": 100, "split_sha256": "s"}
    interval = {} if value is None else {"low": value - 0.01, "high": value + 0.01}
    return {**base, **interval, "method": method, "role": role, "value": value, **more}


def numbers(*metrics: dict[str, Any]) -> Numbers:
    return Numbers.model_validate({"split_sha256": "s", "protocol": "leak-free", "metrics": list(metrics)})


def survival(cohort: str, method: str, value: float | None, **more: Any) -> dict[str, Any]:
    role = "baseline" if method.startswith("pca") else "model"
    return metric(method, role, value, cohort, task="survival", metric="c_index_pooled", **more)


def test_the_table_is_sorted_and_marks_the_best_whatever_its_role() -> None:
    table = tables.build_method_table(
        numbers(
            metric("mlp", "model", 0.90), metric("pca_logistic", "baseline", 0.95), metric("knn", "baseline", None)
        ),
        "cancer_type",
        "pan",
        ["macro_f1", "accuracy"],
    )
    assert table is not None
    assert table.columns == [tables.Column("Macro F1")]
    assert [row.method for row in table.rows] == ["pca logistic", "mlp", "knn"]
    assert [row.is_baseline for row in table.rows] == [True, False, True]
    assert [row.cells[0].is_best for row in table.rows] == [True, False, False]
    assert table.rows[1].cells[0] == tables.Cell("0.900", "[0.890, 0.910]")


def test_what_is_not_estimable_says_why_once() -> None:
    table = tables.build_method_table(
        numbers(metric("mlp", "model", None, reason="one class"), metric("pca", "baseline", None, reason="one class")),
        "cancer_type",
        "pan",
        ["macro_f1"],
    )
    assert table is not None
    assert [row.cells[0] for row in table.rows] == [tables.Cell("n/e", note=1)] * 2
    assert table.notes == ["one class"]


def test_cohorts_by_methods_with_models_first() -> None:
    table = tables.build_cohort_table(
        numbers(
            survival("BRCA", "pca_cox", 0.61, n_events=50),
            survival("BRCA", "cox_mlp", 0.60, n_events=50),
            survival("CHOL", "cox_mlp", None, n_events=3, reason="few events"),
        ),
        small_cells=5,
    )
    assert table.methods == ["cox mlp", "pca cox"]
    assert table.baselines == {"pca cox"}
    assert [(row.cohort, row.n_events) for row in table.rows] == [("BRCA", "50"), ("CHOL", "<5")]
    assert [cell.is_best for cell in table.rows[0].cells] == [False, True]
    assert [cell.text for cell in table.rows[1].cells] == ["n/e", ""]
    assert table.notes == ["few events"]


def test_within_a_cohort_the_within_metric_comes_first() -> None:
    found = tables.first_metrics(
        numbers(survival("BRCA", "cox", 0.6), survival("BRCA", "cox", 0.7) | {"metric": "c_index_within_weighted"}),
        "BRCA",
    )
    assert [item.value for item in found] == [0.7]


def test_groups_of_the_forest_plot() -> None:
    value = numbers(
        survival("BRCA", "pca_cox", 0.61), survival("BRCA", "cox_mlp", 0.60), survival("CHOL", "cox_mlp", None)
    )
    brca, chol = tables.cohort_interval_groups(tables.own_cohort_metrics(value))
    assert [row.label for row in brca.rows] == ["cox mlp", "pca cox"]
    assert chol.rows[0].value is None
    assert chol.rows[0].note.startswith("not estimable")


@pytest.mark.parametrize(
    ("seen", "is_warning", "words"), [(0, False, "none"), (12, True, "12 of the 100"), (None, True, "not recorded")]
)
def test_overlap_with_pretraining_is_said(seen: int | None, is_warning: bool, words: str) -> None:
    sentence, warns = tables.pretraining_overlap(
        numbers(metric("mlp", "model", 0.9, n_pretrained_patients_in_test=seen))
    )
    assert warns is is_warning
    assert words in sentence


def test_building_tables_leaves_the_numbers_alone() -> None:
    value = numbers(metric("mlp", "model", 0.9), survival("BRCA", "cox", 0.6))
    before = value.model_dump_json()
    comparisons.build_headlines(value, 0)
    tables.build_cohort_table(value, 5)
    assert value.model_dump_json() == before


@pytest.mark.parametrize(
    ("count", "limit", "shown"),
    [(0, 5, "0"), (1, 5, "<5"), (4, 5, "<5"), (5, 5, "5"), (3, 0, "3"), (12345, 5, "12,345"), (None, 5, "–")],
)
def test_small_counts_are_hidden(count: int | None, limit: int, shown: str) -> None:
    assert text.format_count(count, limit) == shown


def test_how_numbers_are_written() -> None:
    assert text.format_number(0.12345) == "0.123"
    assert text.format_number(None) == "–"
    assert text.format_interval(0.1, None) == ""
    assert text.format_interval(0.1, 0.25) == "[0.100, 0.250]"
    assert text.format_seconds(48.2) == "48 s"
    assert text.format_seconds(731) == "12 min"
    assert text.format_seconds(12300) == "3.4 h"
    assert [text.join_names(names) for names in ([], ["a"], ["a", "b", "c"])] == ["", "a", "a, b and c"]
    assert text.name_of_column("age_at_diagnosis_days") == "age at diagnosis, days"
    assert text.format_p(0.00001) == "p\u00a0<\u00a00.0001"
    assert text.format_p(0.0312) == "p\u00a0=\u00a00.031"
    assert text.format_p(None) == ""
    assert text.name_of_metric("new_metric") == "new metric"
    assert text.name_of_task("methylation_age") == "methylation age"


def test_credentials_are_hidden() -> None:
    assert hide_credentials("--uri http://me:secret@host/x -resume") == "--uri http://…@host/x -resume"
    assert hide_credentials("https://host/path@2") == "https://host/path@2"


def test_rules_over_sources() -> None:
    dropped = [
        DroppedGenes(rule="not_expression", source="a.tsv", n=1, examples=["stage"]),
        DroppedGenes(rule="par_y", source="a.tsv", n=2, examples=["p", "q"]),
        DroppedGenes(rule="par_y", source="b.tsv", n=5, examples=["q", "r", "s", "t", "u"]),
    ]
    assert tables.build_gene_rules(dropped) == [
        tables.GeneRule("par_y", 5, 2, ["q", "r", "s"], are_genes=True),
        tables.GeneRule("not_expression", 1, 1, ["stage"], are_genes=False),
    ]


def test_a_rule_is_told_as_the_reason() -> None:
    assert text.name_of_rule("not_ffpe") == "FFPE sample"
    assert text.name_of_rule("open_access") == "controlled access"
    assert text.name_of_rule("a_new_rule") == "a new rule"


@pytest.mark.parametrize(
    ("endpoints", "words"),
    [
        (["OS", "OS"], "deaths"),
        (["OS", "DFI"], "deaths; recurrences"),
        (["DSS"], "deaths from the disease"),
        (["OS", "relapse"], "events"),
        ([], "events"),
    ],
)
def test_events_are_named_by_endpoint(endpoints: list[str], words: str) -> None:
    assert text.name_of_events(endpoints) == words
