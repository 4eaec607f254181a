"""Charts of values along one axis: panel sizes, shares of missing values, years."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from bulkrnabert.report.drawing import (
    BASELINE_COLOUR,
    COLOURS,
    LINE_STYLES,
    MARKERS,
    MUTED,
    RULE,
    Figure,
    colour_of,
    new_canvas,
    put_legend_above,
    to_figure,
)

# Several baselines stand in one chart; none has the colour of a model.
BASELINE_COLOURS = (BASELINE_COLOUR, *COLOURS[3:])


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
    charts: Sequence[Chart],
    identifier: str,
    x_label: str,
    description: str,
    has_log_x: bool = False,
    reference: float | None = None,
) -> Figure:
    """Panels side by side, one line a method with its interval as a bar, one legend for all.

    Args:
        charts: At least one, of the same methods.
        identifier: Id of the figure.
        x_label: What the axis is.
        description: What a reader who cannot see it should know.
        has_log_x: Whether the axis doubles at even steps.
        reference: Where chance lies, drawn as a dashed line.
    """
    names = list(dict.fromkeys(series.name for chart in charts for series in chart.series))
    n_columns = 3 if len(charts) > 1 else 1
    n_rows = -(-len(names) // n_columns)
    with new_canvas(max(4.3, 3.3 * len(charts)), 2.9 + 0.2 * n_rows, identifier) as canvas:
        panels: list[Axes] = list(canvas.subplots(1, len(charts), squeeze=False)[0])
        for axes, chart in zip(panels, charts, strict=True):
            for series in chart.series:
                _draw_series(axes, series, names.index(series.name))
            axes.set(title=chart.title, xlabel=x_label, ylabel=chart.y_label)
            axes.grid(axis="y", color=RULE, linewidth=0.6)
            if reference is not None:
                axes.axhline(reference, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
            places = sorted({point.x for series in chart.series for point in series.points})
            if has_log_x:
                axes.set_xscale("log", base=2)
            axes.xaxis.set_major_locator(FixedLocator(places))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticklabels([f"{place:g}" for place in places])
        put_legend_above(canvas, panels, n_columns)
        return to_figure(canvas, identifier, description)


def _draw_series(axes: Axes, series: Series, number: int) -> None:
    colour = colour_of(series.name, "model") if series.is_model else BASELINE_COLOURS[number % len(BASELINE_COLOURS)]
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
