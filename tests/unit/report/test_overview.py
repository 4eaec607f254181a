"""The first screen, the flow of samples and the data of the explorer, by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bulkrnabert.errors import DataError
from bulkrnabert.evaluate import artefacts
from bulkrnabert.evaluate.data_artefacts import Diagnosis, Endpoint
from bulkrnabert.evaluate.embedding_maps import Category, EmbeddingMaps, Quantity, View
from bulkrnabert.report import cost, embedding, flow, overview

HOSTILE = "</script><script>alert(1)</script>\u2028&"


def inputs(**more: Any) -> artefacts.ReportInputs:
    metric = {"role": "model", "method": "a", "value": 0.7, "n_pretrained_patients_in_test": 0}
    numbers = {
        "split_sha256": "s",
        "protocol": "leak-free",
        "metrics": [
            {**metric, "task": "cancer_type", "scope": "pan", "metric": "macro_f1", "n_patients": 50},
            {**metric, "task": "survival", "scope": "pan", "metric": "c_index_within_weighted", "n_patients": 44,
             "n_events": 20},
        ],
    }  # fmt: skip
    cohorts = [
        {"cohort": name, "source": source, "n_samples": 30, "n_patients": 25, "n_tumor": 28, "n_normal": 2}
        for name, source in (("A", "gdc"), ("B", "gdc"), ("C", "own.tsv"))
    ]
    rejected = [{"cohort": "A", "rule": rule, "n": n} for rule, n in (("not_ffpe", 4), ("sample_type", 7))]
    summary = {"cohorts": cohorts, "genes": {"n_kept": 9}, "rejected": [*rejected, {**rejected[0], "cohort": "B"}]}
    return replace(
        artefacts.ReportInputs(
            numbers=artefacts.Numbers.model_validate(numbers),
            summary=artefacts.CohortsSummary.model_validate(summary),
            encoders=[],
            rejected=[],
            run=artefacts.RunFacts(),
        ),
        **more,
    )


def encoder(accuracy: float, **more: Any) -> artefacts.Encoder:
    records = [
        {"kind": "validation", "step": 9, "loss": 1.0, "masked_accuracy": accuracy, "baseline_accuracy": 0.3},
        {"kind": "summary", "step": 9, "train_s": 90.0, "device": "cpu"},
    ]
    return artefacts.Encoder("r0f0", 12_000, {}, {"patient_hashes": ["x"] * 40}, records, **more)


def test_all_is_well() -> None:
    checks = overview.build_checks(inputs(encoders=[encoder(0.4), encoder(0.5)]))
    assert [(check.state, check.title) for check in checks] == [
        ("good", "2 jobs scored, none skipped"),
        ("good", "No leakage from pretraining"),
        ("good", "All 2 encoders learnt something"),
    ]


def test_what_is_not_well_is_said() -> None:
    given = inputs(encoders=[encoder(0.4), encoder(0.3)], diagnoses=[Diagnosis(table="own.tsv", verdict="no-go")])
    skipped = [artefacts.Skipped(task="survival", scope="C", reason="3 events")]
    metrics = [given.numbers.metrics[0].model_copy(update={"n_pretrained_patients_in_test": 3})]
    numbers = given.numbers.model_copy(update={"skipped": skipped, "metrics": metrics})
    checks = overview.build_checks(replace(given, numbers=numbers))
    assert [(check.state, check.title) for check in checks] == [
        ("warn", "1 job scored, 1 skipped"),
        ("warn", "Pretraining may have seen test patients"),
        ("warn", "1 of 2 encoders learnt nothing"),
        ("warn", "1 of 1 own tables no-go"),
    ]


def test_an_encoder_that_restores_values_is_judged_by_its_error() -> None:
    records = [{"kind": "validation", "step": 1, "rmse": 0.8, "baseline_rmse": 1.0}]
    row = overview.describe_encoder(artefacts.Encoder("GexBERT r0f0", None, {}, {}, records, model="gexbert"))
    assert row.has_learnt is True and row.took == ""
    assert overview.describe_encoder(artefacts.Encoder("all", None, {}, {}, [])).has_learnt is None


def test_the_strip_says_how_long_pretraining_took() -> None:
    given = inputs(encoders=[encoder(0.4), encoder(0.5)])
    facts = {fact.name: fact for fact in overview.build_facts(given, overview.build_totals(given, 0))}
    assert facts["Pretraining"] == overview.Fact("Pretraining", "3 min", "in all, on cpu")
    assert facts["Patients"] == overview.Fact("Patients", "75", "in 3 cohorts")
    assert facts["Encoders"].detail == "12 k parameters each"
    without = inputs()
    assert "Encoders" not in {fact.name for fact in overview.build_facts(without, overview.build_totals(without, 0))}


def test_the_flow_adds_up() -> None:
    endpoint = Endpoint(cohort="A", used=True, n_patients=25, n_usable=19, n_events=9)
    given = inputs(encoders=[encoder(0.4)], endpoints=[endpoint])
    found = flow.build_flow(given, "cohort", 0)
    examined, kept, encoders = found.steps
    assert (examined.title, examined.lines) == ("105 samples examined", ["GDC and 1 own file"])
    assert examined.leaving == ["15 left out", "8: FFPE sample", "7: not a tumour sample"]
    assert (kept.title, kept.lines) == ("90 samples kept", ["75 patients, 3 cohorts", "84 tumour, 6 normal"])
    assert (encoders.title, encoders.lines) == ("1 encoder", ["BulkRNABert", "pretrained on 40 patients"])
    assert [task.title for task in found.tasks] == ["Cancer type: 50 patients", "Survival: 44 patients"]
    assert found.tasks[1].lines == ["20 events", "1 methods, on the same patients", "6 without usable follow-up"]
    drawn = flow.draw_flow(found, "fig-flow")
    root = ElementTree.fromstring(drawn.svg)
    boxes = [item.attrib for item in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(boxes) == 6
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    for box in boxes:
        assert float(box["x"]) + float(box["width"]) <= width
        assert float(box["y"]) + float(box["height"]) <= height


def test_small_counts_of_the_flow_are_hidden() -> None:
    found = flow.build_flow(inputs(), "cohort", 10)
    assert found.steps[0].leaving == ["15 left out", "<10: FFPE sample", "<10: not a tumour sample"]


def test_reasons_that_are_few_are_put_together() -> None:
    rejected = [{"cohort": "A", "rule": f"rule{number}", "n": 9 - number} for number in range(7)]
    for n, last in ((6, "4: rule5"), (7, "7: 2 other reasons")):
        given = inputs()
        summary = artefacts.CohortsSummary.model_validate({**given.summary.model_dump(), "rejected": rejected[:n]})
        leaving = flow.build_flow(replace(given, summary=summary), "cohort", 0).steps[0].leaving
        assert (len(leaving), leaving[-1]) == (7, last)


def test_nothing_left_out_is_no_box() -> None:
    given = inputs()
    summary = given.summary.model_copy(update={"rejected": []})
    assert flow.build_flow(replace(given, summary=summary), "cohort", 0).steps[0].leaving == []


def maps() -> EmbeddingMaps:
    return EmbeddingMaps(
        sample_ids=["s1", HOSTILE],
        patient_ids=["p1", "p2"],
        columns=[
            Category(name="cohort", levels=["A", "B"], codes=[0, 1]),
            Quantity(name="age_years", values=[50.0, None]),
        ],
        views=[View(model="mojo", split_id="r0f0", method="PCA", rows=[0, 1], x=[-1.0, 1.0], y=[0.0, 1.0])],
    )


def test_both_axes_have_one_scale() -> None:
    data = embedding.explorer_data(maps(), has_samples=True)
    assert data is not None
    (view,) = data["views"]
    assert (view["model"], view["rows"], view["x"], view["y"]) == ("MOJO", None, [0, 4095], [0, 2048])
    assert [column["label"] for column in data["columns"]] == ["cohort", "age, years"]


def test_data_that_are_not_open_name_nobody() -> None:
    data = embedding.explorer_data(maps(), has_samples=False)
    assert data is not None
    assert data["samples"] is None and data["patients"] is None
    assert [column["label"] for column in data["columns"]] == ["cohort"]
    assert embedding.explorer_data(EmbeddingMaps(), has_samples=True) is None


def test_names_cannot_close_the_script_element() -> None:
    text = embedding.as_script({"name": HOSTILE})
    assert not {"<", ">", "&", "\u2028"} & set(text)
    assert json.loads(text) == {"name": HOSTILE}


COST = {
    "prices": {"name": "p", "source": "s", "valid_from": "2026-01-01", "currency": "EUR"},
    "n_nodes": 1,
    "total": {
        "stage": "", "cohort": "", "n_tasks": 12, "n_failed": 1, "n_cached": 0, "cpu_hours": 2.5, "cpu_hours_used": 2.0,
        "gpu_hours": 0.5, "peak_memory_gb": 3.14, "gb_read": 1.0, "gb_written": 2.0, "price": 4.2,
    },
    "stages": [],
    "cohorts": [],
}  # fmt: skip


def test_the_cost_comes_into_both_places_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(f"a{cost.BEGIN_SHORT}later{cost.END_SHORT}b{cost.BEGIN}later{cost.END}c")
    cost.insert_cost(page, COST)
    cost.insert_cost(page, COST)
    html = page.read_text()
    assert "later" not in html
    assert (
        html.count("2.50 CPU hours (2.00 in use), 0.50 GPU hours, at most 3.1 GB of memory, 4.20 EUR in 12 tasks") == 1
    )
    assert html.count("Reserved hours") == 1
    page.write_text("no report")
    with pytest.raises(DataError, match="has no place for the cost"):
        cost.insert_cost(page, COST)
