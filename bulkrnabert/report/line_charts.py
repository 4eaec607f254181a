"""Charts of values along one axis: panel sizes, shares of missing values; and the heat map of genes by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from bulkrnabert.report.drawing import (
    COLOURS,
    LINE_STYLES,
    MARKERS,
    RULE,
    Figure,
    new_canvas,
    put_legend_above,
    shorten,
    to_figure,
)

MAX_HEATMAP_GENES = 80


@dataclass(frozen=True)
class Point:
    """A value at a place, with its interval."""

    x: float
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Series:
    """One line: a method along the axis; models are drawn thicker."""

    name: str
    is_model: bool
    points: list[Point]


@dataclass(frozen=True)
class Chart:
    """One panel of a figure."""

    title: str
    y_label: str
    series: list[Series]


def draw_charts(
    charts: Sequence[Chart], identifier: str, x_label: str, description: str, has_log_x: bool = False
) -> Figure:
    """Panels side by side, one line a method with its interval as a bar, one legend for all.

    Args:
        charts: At least one, of the same methods.
        identifier: Id of the figure.
        x_label: What the axis is.
        description: What a reader who cannot see it should know.
        has_log_x: Whether the axis doubles at even steps.
    """
    names = list(dict.fromkeys(series.name for chart in charts for series in chart.series))
    n_rows = -(-len(names) // 3)
    with new_canvas(max(4.3, 3.3 * len(charts)), 2.9 + 0.2 * n_rows, identifier) as canvas:
        panels: list[Axes] = list(canvas.subplots(1, len(charts), squeeze=False)[0])
        for axes, chart in zip(panels, charts, strict=True):
            for series in chart.series:
                _draw_series(axes, series, names.index(series.name))
            axes.set(title=chart.title, xlabel=x_label, ylabel=chart.y_label)
            axes.grid(axis="y", color=RULE, linewidth=0.6)
            places = sorted({point.x for series in chart.series for point in series.points})
            if has_log_x:
                axes.set_xscale("log", base=2)
            axes.xaxis.set_major_locator(FixedLocator(places))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticklabels([f"{place:g}" for place in places])
        put_legend_above(canvas, panels)
        return to_figure(canvas, identifier, description)


def _draw_series(axes: Axes, series: Series, number: int) -> None:
    colour = COLOURS[number % len(COLOURS)]
    x = [point.x for point in series.points]
    axes.plot(
        x,
        [point.value for point in series.points],
        linestyle=LINE_STYLES[0] if series.is_model else LINE_STYLES[1 + number % 3],
        marker=MARKERS[number % len(MARKERS)],
        markersize=4.5,
        linewidth=2.2 if series.is_model else 1.2,
        color=colour,
        label=series.name,
        zorder=3 if series.is_model else 2,
    )
    for point in series.points:
        if point.low is not None and point.high is not None:
            axes.plot([point.x, point.x], [point.low, point.high], color=colour, linewidth=1.0, alpha=0.7)


def draw_gene_map(
    genes: Sequence[str], classes: Sequence[str], values: Sequence[Sequence[float]], identifier: str, description: str
) -> Figure:
    """Heat map, a row a class and a column a gene; at most 80 genes."""
    shown = list(genes)[:MAX_HEATMAP_GENES]
    width = min(12.0, max(4.4, 1.9 + 0.16 * len(shown)))
    with new_canvas(width, max(2.2, 1.3 + 0.2 * len(classes)), identifier) as canvas:
        axes = canvas.subplots()
        cells = [list(row)[: len(shown)] for row in values]
        limit = max((abs(value) for row in cells for value in row), default=1.0) or 1.0
        mesh = axes.pcolormesh(cells, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.invert_yaxis()
        axes.set_yticks([number + 0.5 for number in range(len(classes))], [shorten(name, 16) for name in classes])
        axes.set_xticks(
            [number + 0.5 for number in range(len(shown))],
            [shorten(name, 16) for name in shown],
            rotation=90,
            fontsize=6.5,
        )
        axes.tick_params(length=0)
        canvas.colorbar(mesh, ax=axes, label="attention above other classes", shrink=0.8)
        return to_figure(canvas, identifier, description)
