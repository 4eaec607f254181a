"""The parts of GexBERT and MOJO: every kind of finding is read, drawn and put into the page; what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bulkrnabert.cli.report import command
from bulkrnabert.errors import DataError
from bulkrnabert.evaluate.artefacts import Numbers
from bulkrnabert.evaluate.findings import Anchors, Biomarkers, CrossModal, Findings, Imputation, Panels, read_findings
from bulkrnabert.report.gexbert import gexbert_part
from bulkrnabert.report.mojo import mojo_part
from bulkrnabert.report.simple_tables import SimpleTable

HOSTILE = "<script>alert(1)</script>"


def value(method: str, role: str, metric: str, number: float | None, **more: Any) -> dict[str, Any]:
    low, high = (None, None) if number is None else (number - 0.1, number + 0.1)
    return {"method": method, "role": role, "metric": metric, "value": number, "low": low, "high": high, **more}


def difference(against: str, metric: str, number: float, holds: str, **more: Any) -> dict[str, Any]:
    bounds = {"low": number - 0.01, "high": number + 0.01, "p_corrected": 0.01, "holds": holds}
    return {"method": "GexBERT", "against": against, "metric": metric, "difference": number, **bounds, **more}


PANELS: dict[str, Any] = {
    "kind": "panels",
    "version": 1,
    "n_classes": 3,
    "rows": [
        value(method, role, metric, 0.5 + size / 1000, size=size, chooser="anova", n_samples=90)
        for size in (64, 128)
        for method, role in (("GexBERT", "model"), ("MLP", "baseline"))
        for metric in ("accuracy", "macro_f1")
    ],
    "comparisons": [difference("MLP", "accuracy", 0.02, "ahead", size=64, chooser="anova")],
}
IMPUTATION = {
    "kind": "imputation",
    "split_id": "r0f0",
    "n_samples": 40,
    "n_genes": 90,
    "rows": [
        value(method, role, "rmse", error, pattern="at_random", rate=rate, n_samples=40, n_cells=100)
        for rate in (0.1, 0.5)
        for method, role, error in (("GexBERT", "model", 0.5), (HOSTILE, "baseline", 0.7))
    ],
    "comparisons": [difference(HOSTILE, "rmse", -0.2, "ahead", pattern="at_random", rate=0.1)],
    "calibration": [{"pattern": "at_random", "rate": 0.1, "method": "GexBERT", "level": 0.8, "value": 0.79}],
}
ANCHORS: dict[str, Any] = {
    "kind": "anchors",
    "panel_size": 64,
    "n_anchors": 50,
    "rows": [
        value("panel genes", "baseline", "c_index_within_weighted", 0.6, scope="pan"),
        value("anchors, restored by GexBERT", "model", "c_index_within_weighted", None, scope="pan"),
        value("panel genes", "baseline", "c_index_cohort", 0.55, scope="pan", scope_cohort="A"),
    ],
    "comparisons": [difference("panel genes", "c_index_within_weighted", 0.01, "level", scope="pan")],
}
BIOMARKERS = {
    "kind": "biomarkers",
    "n_members": 3,
    "n_top": 50,
    "n_genes": 90,
    "stability": [{"class": "A", "rank_correlation": 0.8, "top_overlap": 0.6}],
    "agreement": [
        {"class": "A", "with": "t test", "rank_correlation": 0.3, "top_overlap": 0.4, "expected_overlap": 0.5},
    ],
    "heatmap": {"genes": [HOSTILE, "KRT5"], "classes": ["A", "B"], "values": [[0.4, -0.1], [-0.2, 0.3]]},
    "enrichment": [{"class": "A", "set": "HALLMARK", "n_in_top": 4, "n_expected": 1.5, "q_overlap": 0.02}],
}
CORRELATION = {"median_pearson": 0.61, "quartiles": [0.4, 0.7], "within_cohort_median_pearson": 0.32}
CROSS_MODAL = {
    "kind": "cross_modal",
    "split_id": "r0f1",
    "directions": [
        {
            "from": "rnaseq",
            "to": "methylation",
            "n_genes": 88,
            "n_samples": 30,
            "model": CORRELATION,
            "ridge": {**CORRELATION, "median_pearson": None},
            "share_of_genes_ahead_of_ridge": 0.75,
        }
    ],
}


def written(folder: Path, *items: dict[str, Any]) -> list[Path]:
    paths = [folder / f"{number}.json" for number in range(len(items))]
    for path, item in zip(paths, items, strict=True):
        path.write_text(json.dumps(item))
    return paths


def test_every_kind_is_read_back(tmp_path: Path) -> None:
    found = read_findings(written(tmp_path, PANELS, IMPUTATION, ANCHORS, BIOMARKERS, CROSS_MODAL, CROSS_MODAL))
    assert [len(found.of(kind)) for kind in (Panels, Imputation, Anchors, Biomarkers)] == [1, 1, 1, 1]
    assert [item.split_id for item in found.of(CrossModal)] == ["r0f1", "r0f1"]
    assert found.of(Biomarkers)[0].agreement[0].with_score == "t test"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "`kind` is None, expected one of panels, imputation, anchors, biomarkers, cross_modal"),
        ('{"kind": "other"}', "`kind` is 'other'"),
        (
            '{"kind": "cross_modal", "split_id": "r0f0"}',
            "not what `kind` cross_modal holds.*directions: Field required",
        ),
    ],
)
def test_what_is_no_finding_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "wrong.json").write_text(text)
    with pytest.raises(DataError, match=rf"(?s)wrong\.json: {message}"):
        read_findings([tmp_path / "wrong.json"])


def test_tables_say_what_was_found(tmp_path: Path) -> None:
    part = gexbert_part(read_findings(written(tmp_path, PANELS, IMPUTATION, ANCHORS, BIOMARKERS)))
    panels = part["panel_tables"]
    assert [table.caption for table in panels] == ["64 genes, highest ANOVA F", "128 genes, highest ANOVA F"]
    assert panels[0].rows[1] == [
        "MLP",
        "0.564 [0.464, 0.664]",
        "0.564 [0.464, 0.664]",
        "+0.020 [+0.010, +0.030], ahead",
    ]
    errors, covered = part["imputation_tables"]
    assert errors.columns == ["Method", "10 %", "50 %"]
    assert errors.rows[1] == [HOSTILE, "0.700 [0.600, 0.800]; GexBERT ahead", "0.700 [0.600, 0.800]"]
    assert covered.rows == [["GexBERT, 80 % interval", "0.790"]]
    assert part["anchor_tables"][0].rows[1] == ["anchors, restored by GexBERT", "n/e"]
    assert len(part["anchor_tables"][0].rows) == 2  # single cohorts of the pan model have no line
    assert part["biomarker_tables"][0].rows[0] == ["A", "0.800", "0.600", "0.40 (chance 0.50)"]
    assert part["biomarker_tables"][0].rows[1] == ["B", "–", "–", "–"]


def test_one_size_of_panel_is_a_forest_plot_and_several_are_lines(tmp_path: Path) -> None:
    several = gexbert_part(read_findings(written(tmp_path, PANELS)))["panel_figures"]
    assert "genes in the panel" in several[0].figure.svg
    one = {**PANELS, "rows": [row for row in PANELS["rows"] if row["size"] == 64]}
    (figure,) = gexbert_part(read_findings(written(tmp_path, one)))["panel_figures"]
    assert "Macro F1, 64 genes" in figure.figure.svg and "genes in the panel" not in figure.figure.svg


def test_models_without_a_name_of_their_own_are_named_in_the_drawing(tmp_path: Path) -> None:
    rows = [*ANCHORS["rows"], value("panel and restored", "model", "c_index_within_weighted", 0.7, scope="pan")]
    (drawn,) = gexbert_part(read_findings(written(tmp_path, {**ANCHORS, "rows": rows})))["anchor_figures"]
    assert "(GexBERT)" in drawn.figure.svg and "All cohorts" in drawn.figure.svg
    assert "0.550" not in drawn.figure.svg, "single cohorts of the job over all"


def test_columns_of_words_are_told_from_columns_of_numbers() -> None:
    rows = [["a", "0.5 [0.4, 0.6]", "b"], ["c", "n/e", "\u2013"]]
    assert SimpleTable("t", ["x", "y", "z"], rows).heads == [("x", False), ("y", True), ("z", False)]


def test_one_modality_hidden_stands_beside_both() -> None:
    def metric(method: str, number: float) -> dict[str, Any]:
        row = value(method, "model", "macro_f1", number)
        return {**row, "task": "cancer_type", "scope": "pan", "split_sha256": "s"}

    names = ["MOJO, IA3", "MOJO, IA3, RNA-seq alone", "MOJO, IA3, methylation alone", "BulkRNABert, IA3"]
    rows = [metric(name, 0.9 - number / 10) for number, name in enumerate(names)]
    numbers = Numbers.model_validate({"split_sha256": "s", "protocol": "leak-free", "metrics": rows})
    part = mojo_part(Findings(), numbers, "cohort")
    assert part["has_mojo"]
    assert part["dropped_tables"][0].rows == [
        ["MOJO, IA3", "0.900 [0.800, 1.000]", "0.800 [0.700, 0.900]", "0.700 [0.600, 0.800]"]
    ]
    (figure,) = part["dropped_figures"]
    assert "MOJO, RNA-seq alone" in figure.figure.svg and "0.800\u2002[0.700, 0.900]" in figure.figure.svg
    without = numbers.model_copy(update={"metrics": [numbers.metrics[0], numbers.metrics[3]]})
    assert not mojo_part(Findings(), without, "cohort")["has_mojo"]


def test_the_page_has_the_parts_only_where_there_is_something(study: Any, tmp_path: Path) -> None:
    paths = written(tmp_path, PANELS, IMPUTATION, ANCHORS, BIOMARKERS, CROSS_MODAL)
    flags = [text for path in paths for text in ("--findings", str(path))]
    pages = []
    for name, more in (("without", []), ("with", flags)):
        result = CliRunner().invoke(command, [*study.report_arguments(tmp_path / name), *more], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        pages.append((tmp_path / name / "report.html").read_text(encoding="utf-8"))
    for identifier in ("gexbert", "modalities"):
        assert f'id="{identifier}"' not in pages[0]
        assert f'href="#{identifier}"' not in pages[0]
        assert f'id="{identifier}"' in pages[1]
        assert f'href="#{identifier}"' in pages[1]
    for identifier in ("fig-panels-0", "fig-imputation", "fig-biomarkers-0", "cross-modal", "anchors"):
        assert f'id="{identifier}"' in pages[1]
    assert HOSTILE not in pages[1]
    assert "Methylation from RNA-seq" in pages[1]
