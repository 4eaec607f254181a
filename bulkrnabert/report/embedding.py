"""The part of the page on embeddings: a drawing, and the data of the explorer that takes its place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import ReportInputs
from bulkrnabert.evaluate.embedding_maps import Category, EmbeddingMaps, Quantity, View
from bulkrnabert.report.figures import draw_projection
from bulkrnabert.report.text import name_of_column

# Places of points in the page: a screen has fewer pixels.
N_PLACES = 4095


def _scaled(values: Sequence[float], low: float, span: float) -> list[int]:
    return [round(N_PLACES * (value - low) / span) for value in values]


def _view(view: View, n_samples: int) -> dict[str, Any]:
    """A view in whole numbers, with the same scale on both axes."""
    low_x, low_y = min(view.x), min(view.y)
    span = max(max(view.x) - low_x, max(view.y) - low_y) or 1.0
    return {
        "model": keys.MODEL_TITLES.get(view.model, view.model),
        "split": view.split_id,
        "method": view.method,
        "rows": None if view.rows == list(range(n_samples)) else view.rows,
        "x": _scaled(view.x, low_x, span),
        "y": _scaled(view.y, low_y, span),
    }


def _column(column: Category | Quantity) -> dict[str, Any]:
    label = name_of_column(column.name)
    if isinstance(column, Category):
        return {"label": label, "levels": column.levels, "codes": column.codes}
    return {"label": label, "values": column.values}


def explorer_data(maps: EmbeddingMaps, has_samples: bool) -> dict[str, Any] | None:
    """What the explorer is given; None without a view.

    Args:
        maps: Embeddings in the plane, and what is known of the samples.
        has_samples: Whether single samples may be shown; else their ids and all but their cohort stay out of the page.
    """
    views = [_view(view, len(maps.sample_ids)) for view in maps.views if view.x]
    if not views:
        return None
    columns = maps.columns if has_samples else [item for item in maps.columns if item.name == keys.COHORT]
    return {
        "samples": maps.sample_ids if has_samples else None,
        "patients": maps.patient_ids if has_samples else None,
        "columns": [_column(column) for column in columns],
        "views": views,
    }


def as_script(data: object) -> Markup:
    """JSON that can stand in a script element: no bracket in it can close the element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704


def embedding_part(inputs: ReportInputs, embedding_name: str, small_cells: int) -> dict[str, Any]:
    """What the template of this part is given; nothing is there without a projection."""
    projection = inputs.numbers.projection
    data = explorer_data(inputs.maps, has_samples=not small_cells)
    has_points = projection is not None and bool(projection.points)
    models = list(dict.fromkeys(view["model"] for view in data["views"])) if data else []
    text = ""
    if projection is not None and has_points:
        split = f", encoder {projection.split_id}" if projection.split_id else ""
        text = (
            f"{projection.method} of the {embedding_name}{split}; one point a sample, {len(projection.points):,} "
            "samples. Distances between far groups mean little."
        )
    return {
        "projections": [draw_projection(projection, "fig-embedding")] if projection is not None and has_points else [],
        "projection_text": text,
        "explorer": as_script(data) if data else None,
        "explorer_models": models,
        "explorer_has_samples": bool(data and data["samples"]),
        "explorer_columns": [column["label"] for column in data["columns"]] if data else [],
        "explorer_views": [(view["model"], view["split"], view["method"]) for view in data["views"]] if data else [],
    }
