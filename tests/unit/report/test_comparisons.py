"""Headlines and the table of comparisons, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from bulkrnabert.evaluate.artefacts import Numbers
from bulkrnabert.report import comparisons, tables


def metric(method: str, role: str, value: float | None, **more: Any) -> dict[str, Any]:
    base = {"task": "cancer_type", "scope": "pan", "metric": "macro_f1", "n_patients": 100, "split_sha256": "s"}
    return {**base, "method": method, "role": role, "value": value, **more}


def comparison(holds: str | None, difference: float | None, low: float | None, high: float | None, **more: Any) -> Any:
    base = {"task": "cancer_type", "scope": "pan", "metric": "macro_f1", "method": "mlp", "against": "knn"}
    return {
        **base,
        "is_best_baseline": True,
        "difference": difference,
        "low": low,
        "high": high,
        "p_corrected": 0.0312,
        "n_folds": 5,
        "holds": holds,
        **more,
    }


def numbers(metrics: list[dict[str, Any]], *found: dict[str, Any]) -> Numbers:
    return Numbers.model_validate(
        {"split_sha256": "s", "protocol": "leak-free", "metrics": metrics, "comparisons": list(found)}
    )


PAIR = [metric("mlp", "model", 0.93), metric("knn", "baseline", 0.90)]


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            comparison("ahead", 0.03, 0.01, 0.05),
            "The encoder is ahead of the best baseline: difference +0.030 (95\u00a0% interval [+0.010, +0.050]; "
            "corrected p\u00a0=\u00a00.031).",
        ),
        (
            comparison("behind", -0.03, -0.05, -0.01, p_corrected=None),
            "The encoder is behind the best baseline: difference \u22120.030 (95\u00a0% interval [\u22120.050, "
            "\u22120.010]).",
        ),
        (
            comparison("level", 0.03, -0.01, 0.05),
            "The encoder is level with the best baseline: difference +0.030 (95\u00a0% interval [\u22120.010, +0.050]; "
            "corrected p\u00a0=\u00a00.031); that may be chance.",
        ),
        (
            comparison("level", 0.03, 0.01, 0.05, p_corrected=0.2),
            "The encoder scores higher: difference +0.030 (95\u00a0% interval [+0.010, +0.050]; "
            "corrected p\u00a0=\u00a00.2); a corrected test over 5 folds cannot confirm it.",
        ),
        (
            comparison("ahead", 0.03, 0.01, 0.05, against="svm"),
            "The encoder scores better, but the two were not compared by a test.",
        ),
        (
            comparison("ahead", 0.03, 0.01, 0.05, metric="accuracy"),
            "The encoder scores better, but the two were not compared by a test.",
        ),
    ],
)
def test_the_headline_says_what_holds(found: dict[str, Any], sentence: str) -> None:
    (headline,) = comparisons.build_headlines(numbers(PAIR, found), 0)
    assert [line.sentence for line in headline.models] == [sentence]


@pytest.mark.parametrize(
    ("model", "baseline", "sentence"),
    [
        (0.90, 0.95, "The baseline scores better, but the two were not compared by a test."),
        (0.95, 0.95, "The encoder and the best baseline score the same."),
        (None, 0.95, "No encoder-based method could be scored."),
        (0.95, None, "No baseline could be scored, so there is nothing to hold it against."),
    ],
)
def test_the_headline_without_a_comparison(model: float | None, baseline: float | None, sentence: str) -> None:
    (found,) = comparisons.build_headlines(
        numbers([metric("mlp", "model", model), metric("knn", "baseline", baseline)]), 0
    )
    assert [found.sentence, *(line.sentence for line in found.models)] == (
        [sentence] if model is None else ["", sentence]
    )
    assert found.n_patients == "100"


def test_an_encoder_that_was_not_pretrained_is_told() -> None:
    name = "IA3 fine-tuning from a random start"
    found = comparison("ahead", 0.03, 0.01, 0.05, method=name)
    (headline,) = comparisons.build_headlines(numbers([metric(name, "model", 0.95), PAIR[1]], found), 0)
    assert headline.models[0].sentence.endswith("corrected p\u00a0=\u00a00.031). This encoder was not pretrained.")


def test_the_headline_takes_the_best_of_each_role() -> None:
    more = [metric("logistic", "model", 0.95), metric("svm", "baseline", 0.6)]
    (found,) = comparisons.build_headlines(numbers([*PAIR, *more]), 0)
    assert [line.metric.method for line in found.models] == ["logistic"]
    assert found.baseline is not None and found.baseline.metric.method == "knn"


def test_every_kind_of_model_has_a_line_of_its_own() -> None:
    metrics = [
        metric("MOJO, IA3 fine-tuning", "model", 0.91, low=0.89, high=0.93),
        metric("BulkRNABert embedding + MLP", "model", 0.95, low=0.93, high=0.97),
        metric("BulkRNABert embedding + Cox", "model", 0.80),
        metric("GexBERT, head only", "model", None),
        metric("PCA", "baseline", 0.97, low=0.96, high=0.99),
    ]
    found = [
        comparison("level", -0.02, -0.03, -0.01, method="BulkRNABert embedding + MLP", against="PCA"),
        comparison("behind", -0.06, -0.08, -0.04, method="MOJO, IA3 fine-tuning", against="PCA"),
    ]
    (headline,) = comparisons.build_headlines(numbers(metrics, *found), 0)
    assert [(line.kind, line.metric.method) for line in headline.models] == [
        ("bulkrnabert", "BulkRNABert embedding + MLP"),
        ("mojo", "MOJO, IA3 fine-tuning"),
    ]
    assert [(line.holds, line.sign) for line in headline.models] == [("lower, not confirmed", "▽"), ("behind", "▼")]
    assert headline.models[0].sentence.startswith("The baseline scores higher: difference")
    assert headline.models[1].sentence.startswith("MOJO is behind the best baseline")
    # The axis goes from 0.89 to 0.99 with 6 % to spare at either end: 0.884 to 0.996.
    assert headline.axis == ("0.88", "1.00")
    assert headline.models[1].bar == comparisons.Bar(value=23.2, low=5.4, high=41.1)
    assert headline.baseline is not None and headline.baseline.bar is not None
    assert headline.baseline.bar.high == 94.6


def test_no_headline_without_a_pan_scope() -> None:
    only = [metric("cox", "model", 0.6, task="survival", scope="BRCA", metric="c_index_pooled")]
    assert comparisons.build_headlines(numbers(only), 0) == []


def test_rows_of_the_table() -> None:
    table = comparisons.build_comparisons(
        numbers(
            PAIR,
            comparison("ahead", 0.03, 0.01, 0.05),
            comparison(None, None, None, None, against="pca_logistic", is_best_baseline=False, reason="only 3 events",
                       p_corrected=None),
        ),
        "cancer_type",
        ["pan"],
        small_cells=5,
    )  # fmt: skip
    assert table is not None
    assert table.metric == "Macro F1"
    assert not table.has_scopes
    first, second = table.rows
    assert (first.method, first.against, first.is_best, first.holds, first.sign) == ("mlp", "knn", True, "ahead", "▲")
    assert first.difference == tables.Cell("+0.030", "[+0.010, +0.050]")
    assert (first.p, first.n_folds) == ("0.031", "5")
    assert (second.against, second.holds, second.p) == ("pca logistic", "", "")
    assert second.difference == tables.Cell("n/e", note=1)
    assert table.notes == ["only <5 events"]


def test_rows_of_several_cohorts_name_them() -> None:
    found = [
        comparison("level", 0.0, -0.1, 0.1, task="survival", scope=name, metric="c_index_pooled", p_corrected=0.00001)
        for name in ("B", "A")
    ]
    table = comparisons.build_comparisons(numbers([], *found), "survival", ["A", "B"], 0, name_scopes=True)
    assert table is not None and table.has_scopes
    assert [row.scope for row in table.rows] == ["A", "B"]
    assert table.rows[0].p == "<\u00a00.0001"


def test_no_table_without_comparisons() -> None:
    assert comparisons.build_comparisons(numbers(PAIR), "cancer_type", ["pan"], 0) is None
