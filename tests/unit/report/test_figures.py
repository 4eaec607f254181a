"""Figures: well-formed, deterministic, escaped, with ids that do not collide, and small cells hidden."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from bulkrnabert.evaluate import artefacts
from bulkrnabert.report import figures
from bulkrnabert.report.tables import IntervalGroup, IntervalRow

HOSTILE = '<script>alert(1)</script> $x^2$ & "quoted"'


def texts(figure: figures.Figure) -> list[str]:
    root = ElementTree.fromstring(figure.svg)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def ids(figure: figures.Figure) -> list[str]:
    return [element.attrib["id"] for element in ElementTree.fromstring(figure.svg).iter() if "id" in element.attrib]


def curves(name: str = "high risk") -> artefacts.KaplanMeier:
    group = artefacts.SurvivalCurve(
        name=name, n=40, times=[0, 300, 900], survival=[1, 0.9, 0.5], low=[None, 0.8, 0.3], high=[None, 1.0, 0.7]
    )
    return artefacts.KaplanMeier(
        scope="BRCA", method="cox", groups=[group], at_risk_times=[0, 365, 730], at_risk={name: [40, 17, 3]}
    )


def test_small_numbers_at_risk() -> None:
    shown = texts(figures.draw_kaplan_meier(curves(), "f", small_cells=5))
    assert {"40", "17", "<5", "time (years)", "number at risk"} <= set(shown)
    assert "3" in texts(figures.draw_kaplan_meier(curves(), "f", small_cells=0))


def test_short_follow_up_is_in_days() -> None:
    group = artefacts.SurvivalCurve(name="all", n=9, times=[0, 300], survival=[1, 0.5], low=[1, 0.2], high=[1, 0.8])
    shown = texts(figures.draw_kaplan_meier(artefacts.KaplanMeier(scope="X", method="m", groups=[group]), "f", 0))
    assert "time (days)" in shown


def test_hostile_names_stay_text() -> None:
    projection = artefacts.Projection(method="PCA", points=[artefacts.Point(x=0, y=1, cohort=HOSTILE)])
    drawn = [
        figures.draw_kaplan_meier(curves(HOSTILE), "f", 0),
        figures.draw_projection(projection, "f"),
        figures.draw_forest(
            [IntervalGroup(HOSTILE, [IntervalRow(HOSTILE, 0.5, 0.4, 0.6, "model")])], "f", "C", HOSTILE
        ),
    ]
    for figure in drawn:
        assert "<script" not in figure.svg
        assert any(text.startswith("<script>alert") for text in texts(figure))


def test_ids_are_prefixed_and_unique() -> None:
    first, second = (figures.draw_kaplan_meier(curves(), name, 0) for name in ("fig-a", "fig-b"))
    assert len(ids(first)) == len(set(ids(first)))
    assert not set(ids(first)) & set(ids(second))
    assert all(identifier.startswith("fig-a-") for identifier in ids(first))
    assert "url(#fig-a-" in first.svg


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert figures.draw_kaplan_meier(curves(), "f", 0).svg == figures.draw_kaplan_meier(curves(), "f", 0).svg


def test_nothing_is_fetched_and_styles_stay_inside() -> None:
    svg = figures.draw_kaplan_meier(curves(), "f", 0).svg
    assert "<style" not in svg
    assert "<metadata" not in svg
    assert 'href="http' not in svg
    assert 'role="img" aria-labelledby="f-title f-desc"' in svg
    assert '<title id="f-title">Kaplan-Meier curves of BRCA by cox</title>' in svg
    assert "high risk (n = 40)" in svg[svg.index("<desc") : svg.index("</desc>")]


def test_colours_follow_the_page_and_belong_to_models() -> None:
    names = ["BulkRNABert embedding + MLP", "MOJO, IA3", "GexBERT", "own name"]
    rows = [IntervalRow(name, 0.6, 0.5, 0.7, "model") for name in names]
    svg = figures.draw_forest(
        [IntervalGroup("", [*rows, IntervalRow("MOJO", 0.5, 0.4, 0.6, "baseline")])], "f", "C", "d"
    ).svg
    strokes = re.findall(r"stroke: var\(--(c\d|baseline)\); stroke-width: 1\.7", svg)
    assert strokes == ["c0", "c2", "c1", "c0", "baseline"]
    assert "#" not in re.sub(r"url\(#[^)]*\)|href=\"#[^\"]*\"|&#\d+;", "", svg)


def test_text_that_looks_like_markup_does_not_open_an_element() -> None:
    name = 'a id="b fill: #1b2027 url(#c x="1.2345'
    figure = figures.draw_forest([IntervalGroup(name, [IntervalRow(name, 0.5, 0.4, 0.6, "model")])], "f", "C", name)
    plain = figures.draw_forest([IntervalGroup("n", [IntervalRow("n", 0.5, 0.4, 0.6, "model")])], "f", "C", "n")
    shapes = [[element.tag for element in ElementTree.fromstring(item.svg).iter()] for item in (figure, plain)]
    assert [tag for tag in shapes[0] if not tag.endswith(("tspan", "text"))] == [
        tag for tag in shapes[1] if not tag.endswith(("tspan", "text"))
    ]


def test_a_value_that_is_missing_is_a_note() -> None:
    rows = [IntervalRow("cox", 0.6, 0.5, 0.7, "model"), IntervalRow("none", None, None, None, "baseline", "few events")]
    shown = texts(figures.draw_forest([IntervalGroup("BRCA", rows)], "f", "C", "d", reference=0.5))
    assert {"BRCA", "cox", "none", "few events", "C"} <= set(shown)


def test_every_cohort_has_its_own_look() -> None:
    looks = {
        (figures.COLOURS[index % len(figures.COLOURS)], figures.MARKERS[index % len(figures.MARKERS)])
        for index in range(40)
    }
    assert len(looks) == 40


@pytest.mark.parametrize(("n_points", "has_image"), [(50, False), (6001, True)])
def test_many_points_become_an_image(n_points: int, has_image: bool) -> None:
    points = [artefacts.Point(x=index % 97, y=index % 89, cohort="A") for index in range(n_points)]
    svg = figures.draw_projection(artefacts.Projection(method="UMAP", points=points), "f").svg
    assert ("data:image/png" in svg) is has_image


def test_training_curves_show_the_accuracy_to_beat(study: Any) -> None:
    figure = figures.draw_training(artefacts.read_encoder(study.checkpoints[0]), "f")
    assert figure is not None
    assert {"training", "validation", "most frequent bin", "masked accuracy", "loss"} <= set(texts(figure))


def test_no_records_no_curve() -> None:
    encoder = artefacts.Encoder("all", None, {}, {}, [{"kind": "summary", "step": 3}])
    assert figures.draw_training(encoder, "f") is None
