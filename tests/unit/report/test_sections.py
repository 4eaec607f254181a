"""The parts on classification and survival: what is chosen, what is hidden, what is left out."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from bulkrnabert.evaluate import artefacts
from bulkrnabert.evaluate.artefacts import Numbers
from bulkrnabert.evaluate.findings import HeatMap
from bulkrnabert.report import classification, figures, heat, parts, survival, tables, terms, text
from bulkrnabert.report.calibration_figures import CalibrationOf, ReliabilityOf, draw_calibration, draw_reliability
from bulkrnabert.report.drawing import Figure


def metric(method: str, role: str, name: str, value: float | None, scope: str = "pan", **more: Any) -> dict[str, Any]:
    task = "survival" if name.startswith(("c_", "uno", "auc_", "integrated", "calibration")) else "cancer_type"
    base = {"task": task, "scope": scope, "metric": name, "n_patients": 100, "n_events": 40, "split_sha256": "s"}
    return {**base, "method": method, "role": role, "value": value, **more}


def numbers(*metrics: dict[str, Any], **more: Any) -> Numbers:
    return Numbers.model_validate({"split_sha256": "s", "protocol": "paper", "metrics": list(metrics), **more})


def texts(figure: Figure) -> list[str]:
    root = ElementTree.fromstring(figure.svg)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def bins(*counts: int) -> list[dict[str, Any]]:
    return [
        {"low": 0.1 * index, "high": 0.1 * index + 0.1, "mean_probability": 0.1 * index, "observed_share": 0.5, "n": n}
        for index, n in enumerate(counts)
    ]


def test_the_lowest_is_best_where_lower_is_better() -> None:
    found = numbers(
        metric("a", "model", "log_loss", 0.4), metric("b", "baseline", "log_loss", 0.2),
        metric("a", "model", "brier_score", 0.1), metric("b", "baseline", "brier_score", 0.3),
    )  # fmt: skip
    table = tables.build_method_table(found, "cancer_type", "pan", tables.PROBABILITY_METRICS)
    assert table is not None
    assert table.columns == [
        tables.Column("Log loss", "lower is better"),
        tables.Column("Brier score", "lower is better"),
    ]
    assert [row.method for row in table.rows] == ["b", "a"]
    assert [[cell.is_best for cell in row.cells] for row in table.rows] == [[True, False], [False, True]]


@pytest.mark.parametrize(("name", "best"), [("macro_f1", 0.9), ("integrated_brier_score", 0.1)])
def test_the_best_of_a_metric_by_its_orientation(name: str, best: float) -> None:
    found = numbers(*(metric(str(value), "model", name, value) for value in (0.1, 0.9, None)))
    chosen = artefacts.best_of(found.metrics)
    assert chosen is not None and chosen.value == best
    assert artefacts.best_of([found.metrics[2]]) is None


def test_every_metric_that_is_lower_better_has_a_name_and_says_so() -> None:
    assert set(text.METRIC_NAMES) >= artefacts.LOWER_IS_BETTER
    explained = {name: term for term in terms.METRIC_TERMS for name in term.metrics}
    shown = set(text.METRIC_NAMES) - {"accuracy", "c_index_pooled"}
    assert set(explained) == shown
    for name, term in explained.items():
        assert ("Lower is better" in term.meaning) is (name in artefacts.LOWER_IS_BETTER), name
        assert "is better" in term.meaning, name


def test_only_terms_of_metrics_that_there_are() -> None:
    assert [term.name for term in terms.terms_of(numbers(metric("a", "model", "log_loss", 0.4)))] == ["Log loss"]


def test_the_spread_over_repeats_stands_beside_the_number() -> None:
    found = numbers(metric("a", "model", "macro_f1", 0.9, low=0.8, high=0.95, sd_over_repeats=0.0123, n_repeats=5))
    table = tables.build_method_table(found, "cancer_type", "pan", ["macro_f1"])
    assert table is not None
    assert table.rows[0].cells == [tables.Cell("0.900", "[0.800, 0.950]", is_best=True, sd="±\u00a00.012")]
    assert parts.n_repeats(found) == 5


def test_no_table_without_a_metric() -> None:
    assert tables.build_method_table(numbers(), "cancer_type", "pan", ["macro_f1"]) is None


def test_the_time_of_a_metric_is_in_its_column() -> None:
    found = numbers(
        metric("a", "model", "integrated_brier_score", 0.2, at_days=1969.0),
        metric("a", "model", "calibration_error", 0.2, at_days=365.25),
        metric("a", "model", "auc_1y", 0.7, at_days=365.25),
    )
    table = tables.build_method_table(
        found, "survival", "pan", ["integrated_brier_score", "calibration_error", "auc_1y"]
    )
    assert table is not None
    assert [column.hint for column in table.columns] == [
        "up to 5.4 years, lower is better",
        "at 1 year, lower is better",
        "",
    ]


def test_scores_of_a_small_class_are_hidden() -> None:
    scores = artefacts.PerClass.model_validate(
        {
            "scope": "pan",
            "method": "mlp",
            "classes": [
                {"label": "A", "precision": 0.75, "recall": None, "f1": 0.8, "n": 40},
                {"label": "B", "precision": 0.5, "recall": 0.333, "f1": 0.4, "n": 3},
            ],
        }
    )
    hidden = classification.build_class_table(scores, 5)
    assert hidden.rows[0] == classification.ClassRow("A", "0.750", "–", "0.800", "40")
    assert hidden.rows[1] == classification.ClassRow("B", "–", "–", "–", "<5")
    assert hidden.has_hidden
    assert classification.build_class_table(scores, 0).rows[1].recall == "0.333"


def test_classes_and_reliability_are_those_of_the_best() -> None:
    of_method = [{"scope": "pan", "method": name, "bins": bins(0, 9)} for name in ("worse", "better", "knn")]
    classes = [{"label": "A", "precision": 1.0, "recall": 1.0, "f1": 1.0, "n": 9}]
    found = numbers(
        metric("worse", "model", "macro_f1", 0.8), metric("better", "model", "macro_f1", 0.9),
        metric("knn", "baseline", "macro_f1", 0.7), metric("svm", "baseline", "macro_f1", 0.6),
        reliability=of_method,
        per_class=[{"scope": "pan", "method": name, "classes": classes} for name in ("worse", "better", "knn")],
    )  # fmt: skip
    (part,) = classification.build_classification(found, 0)
    assert [item.method for item in part.class_tables] == ["better", "knn"]
    assert {"better", "knn"} <= set(texts(part.reliability[0].figure))
    assert "worse" not in texts(part.reliability[0].figure)
    assert part.comparisons is None and part.probabilities is None


def test_small_tenths_are_not_drawn() -> None:
    found = artefacts.Reliability.model_validate({"scope": "pan", "method": "m", "bins": bins(3, 40, 40)})
    shown = draw_reliability([ReliabilityOf(found, is_baseline=False)], "f", 5)
    without = artefacts.Reliability.model_validate({"scope": "pan", "method": "m", "bins": bins(3, 40, 40)[1:]})
    assert shown.svg == draw_reliability([ReliabilityOf(without, is_baseline=False)], "f", 5).svg
    assert shown.svg != draw_reliability([ReliabilityOf(found, is_baseline=False)], "f", 0).svg
    assert "m is right in 0.50 of the samples that it is 0.20 sure of" in shown.svg


def test_calibration_says_when_and_hides_small_groups() -> None:
    groups = [
        {"n": 3, "predicted": 0.11, "observed": 0.21, "low": None, "high": None},
        {"n": 30, "predicted": 0.52, "observed": 0.61, "low": 0.4, "high": 0.8},
    ]
    found = artefacts.Calibration.model_validate(
        {"scope": "pan", "method": "cox", "at_days": 1095.75, "groups": groups}
    )
    shown = draw_calibration([CalibrationOf(found, is_baseline=True)], "f", 5)
    assert {"predicted survival at 3 years", "observed survival", "cox"} <= set(texts(shown))
    assert ">Predicted and observed survival at 3 years: cox 0.52 and 0.61.</desc>" in shown.svg
    assert "0.11 and 0.21" in draw_calibration([CalibrationOf(found, is_baseline=True)], "f", 0).svg


def test_confusion_matrices_of_the_best_of_each_kind_come_first() -> None:
    names = ["MOJO, worse", "knn", "MOJO, better", "GexBERT", "svm"]
    matrices = [{"scope": "pan", "method": name, "classes": ["A"], "matrix": [[3]]} for name in names]
    values = {"MOJO, worse": 0.8, "MOJO, better": 0.85, "GexBERT": 0.9, "knn": 0.7, "svm": 0.6}
    metrics = [
        metric(name, "baseline" if name in ("knn", "svm") else "model", "macro_f1", value)
        for name, value in values.items()
    ]
    shown = classification.build_confusions(numbers(*metrics, confusion=matrices), 0)
    assert [item.title for item in shown.first] == [
        "GexBERT, all cohorts",
        "MOJO, better, all cohorts",
        "Knn, baseline, all cohorts",
    ]
    assert [item.title for item in shown.others] == ["MOJO, worse, all cohorts", "Svm, baseline, all cohorts"]


def confusion(*rows: list[int]) -> artefacts.Confusion:
    return artefacts.Confusion(scope="pan", method="mlp", classes=["A", "B"], matrix=list(rows))


def test_a_confusion_matrix_is_coloured_by_the_share_of_the_true_class() -> None:
    table = heat.confusion_table(confusion([30, 10], [0, 27]), small_cells=0)
    assert [[cell.text for cell in row.cells] for row in table.rows] == [["30", "10"], ["", "27"]]
    assert [[cell.depth for cell in row.cells] for row in table.rows] == [[0.45, 0.15], [0.0, 0.6]]
    assert [(row.n, row.share) for row in table.rows] == [("40", "0.750"), ("27", "1.000")]


def test_small_cells_of_a_confusion_matrix_have_one_text_and_one_colour() -> None:
    one, four = (heat.confusion_table(confusion([30, n], [0, 27]), small_cells=5) for n in (1, 4))
    assert one.rows[0].cells[1] == four.rows[0].cells[1] == heat.HeatCell("<5", 0.0)
    few = heat.confusion_table(confusion([30, 1], [2, 1]), small_cells=5)
    assert (few.rows[1].n, few.rows[1].share) == ("<5", "")


def test_genes_stand_in_rows_with_the_sign_of_their_value() -> None:
    genes = [f"G{index}" for index in range(70)]
    values = [[0.4, -0.2, *[0.0] * 68], [-0.8, 0.1, *[0.0] * 68]]
    table = heat.gene_table(HeatMap(genes=genes, classes=["A", "B"], values=values))
    assert len(table.rows) == heat.MAX_GENES and not table.is_square
    assert table.rows[0] == heat.HeatRow("G0", [heat.HeatCell("+0.40", 0.3), heat.HeatCell("\u22120.80", 0.6, True)])


def test_auc_over_years_is_of_the_best_of_each_kind_and_the_best_baseline() -> None:
    metrics = []
    for method, role, value in (
        ("MOJO, a", "model", 0.7), ("MOJO, b", "model", 0.6), ("pca", "baseline", 0.65), ("knn", "baseline", 0.6),
    ):  # fmt: skip
        metrics.append(metric(method, role, "c_index_within_weighted", value))
        metrics += [metric(method, role, f"auc_{years}y", value if years < 5 else None) for years in (1, 3, 5)]
    (drawn,) = survival.draw_auc(numbers(*metrics))
    assert {"MOJO, a", "pca", "1", "3"} <= set(texts(drawn.figure))
    assert not {"MOJO, b", "knn", "5"} & set(texts(drawn.figure))
    assert survival.draw_auc(numbers(metrics[0])) == []


def calibration(scope: str, method: str, at_days: float = 365.25) -> dict[str, Any]:
    group = {"n": 30, "predicted": 0.5, "observed": 0.6, "low": 0.4, "high": 0.8}
    return {"scope": scope, "method": method, "at_days": at_days, "groups": [group]}


def test_calibration_over_all_cohorts_comes_before_that_of_each() -> None:
    metrics = [metric("cox", "model", "c_index_pooled", 0.7, scope) for scope in ("pan", "A")]
    both = numbers(*metrics, calibration=[calibration("pan", "cox"), calibration("A", "cox")])
    assert [item.title for item in survival.draw_calibrations(both, 0)] == ["Calibration, all cohorts."]
    one = numbers(*metrics, calibration=[calibration("A", "cox"), calibration("A", "other")])
    (drawn,) = survival.draw_calibrations(one, 0)
    assert drawn.title == "Calibration, A."
    assert "other" not in texts(drawn.figure)
    assert survival.draw_calibrations(numbers(*metrics), 0) == []


def test_curves_of_another_time_are_not_on_the_same_axes() -> None:
    metrics = [metric("cox", "model", "c_index_pooled", 0.7), metric("pca", "baseline", "c_index_pooled", 0.6)]
    found = numbers(*metrics, calibration=[calibration("pan", "cox"), calibration("pan", "pca", 1095.75)])
    (drawn,) = survival.draw_calibrations(found, 0)
    assert "pca" not in texts(drawn.figure)


def test_each_cohort_of_a_job_over_all() -> None:
    metrics = [metric("cox", "model", "c_index_within_weighted", 0.7), metric("pca", "baseline", "c_index_pooled", 0.8)]
    metrics += [metric("age", "baseline", "c_index_pooled", 0.6)]
    for method, role, value in (("cox", "model", 0.7), ("pca", "baseline", 0.8), ("age", "baseline", 0.6)):
        metrics.append(metric(method, role, "c_index_cohort", value, scope_cohort="A"))
        reason = "fewer than 5 events"
        metrics.append(metric(method, role, "c_index_cohort", None, scope_cohort="B", reason=reason, n_events=3))
    part = survival.survival_part(numbers(*metrics), small_cells=5)
    (forest,) = part["pan_cohort_forests"]
    assert {"A", "B", "cox", "pca", "not estimable: fewer than 5 events"} <= set(texts(forest))
    assert "age" not in texts(forest)
    table = part["pan_cohort_table"]
    assert table.methods == ["cox", "age", "pca"]
    assert [(row.cohort, row.n_events) for row in table.rows] == [("A", "40"), ("B", "<5")]
    assert [cell.is_best for cell in table.rows[0].cells] == [False, False, True]
    assert table.notes == ["fewer than 5 events"]


def test_nothing_of_survival_is_made_up() -> None:
    part = survival.survival_part(numbers(), 0)
    lists = [name for name, value in part.items() if isinstance(value, list | str) and value]
    assert lists == []
    assert part["survival_table"] is None and part["censoring_table"] is None
    assert not part["cohort_table"].rows and not part["pan_cohort_table"].rows


def test_cohorts_of_a_mean_that_are_not_in_it_are_told_without_small_counts() -> None:
    note = "cohorts left out for fewer than 5 events: CHOL (3), UCS (12)"
    found = numbers(metric("cox", "model", "c_index_within_weighted", 0.7, reason=note))
    assert survival.survival_part(found, 5)["survival_left_out"].endswith("than 5 events: CHOL (<5), UCS (12)")
    assert survival.survival_part(found, 0)["survival_left_out"] == note


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("3 events; at least 10 are needed", "<5 events; at least 10 are needed"),
        ("fewer than 4 events, or at least 2 patients", "fewer than 4 events, or at least 2 patients"),
        ("12 events in TCGA-4", "12 events in TCGA-4"),
    ],
)
def test_small_counts_in_reasons_are_hidden(reason: str, shown: str) -> None:
    assert text.hide_small_counts(reason, 5) == shown
    assert text.hide_small_counts(reason, 0) == reason


@pytest.mark.parametrize(
    ("days", "shown"),
    [(365.25, "1 year"), (1095.75, "3 years"), (1969.0, "5.4 years"), (200.0, "200 days"), (None, "")],
)
def test_times_are_told_in_years(days: float | None, shown: str) -> None:
    assert text.format_time(days) == shown


def test_hostile_method_names_stay_text() -> None:
    hostile = '<script>alert(1)</script> $x^2$ & "q"'
    found = artefacts.Calibration.model_validate(calibration("pan", hostile))
    reliability = artefacts.Reliability.model_validate({"scope": "pan", "method": hostile, "bins": bins(9, 9)})
    for figure in (
        draw_calibration([CalibrationOf(found, is_baseline=False)], "f", 0),
        draw_reliability([ReliabilityOf(reliability, is_baseline=False)], "f", 0),
        figures.draw_forest([tables.IntervalGroup(hostile, [])], "f", "C", hostile),
    ):
        assert "<script" not in figure.svg
        assert any(shown.startswith("<script>alert") for shown in texts(figure))
