"""Figures of how far predicted probabilities can be believed: predicted against observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bulkrnabert.evaluate.artefacts import Calibration, Reliability
from bulkrnabert.report.drawing import (
    MUTED,
    PAPER,
    RULE,
    Figure,
    colour_of,
    new_canvas,
    put_legend_above,
    shorten,
    to_figure,
)
from bulkrnabert.report.text import format_number, format_time, is_small, name_of_method


@dataclass(frozen=True)
class ReliabilityOf:
    """Reliability of one method, and whether it is a baseline."""

    reliability: Reliability
    is_baseline: bool


@dataclass(frozen=True)
class CalibrationOf:
    """Calibration of one method, and whether it is a baseline."""

    calibration: Calibration
    is_baseline: bool


def _colour(method: str, is_baseline: bool) -> str:
    return colour_of(method, "baseline" if is_baseline else "model")


def _draw_curve(axes: Axes, x: Sequence[float], y: Sequence[float], method: str, is_baseline: bool) -> None:
    colour = _colour(method, is_baseline)
    axes.plot(
        x,
        y,
        color=colour,
        linestyle="--" if is_baseline else "-",
        linewidth=1.5,
        marker="s" if is_baseline else "o",
        markersize=5 if is_baseline else 5.5,
        markerfacecolor=PAPER if is_baseline else colour,
        markeredgewidth=1.3,
        label=shorten(name_of_method(method), 48),
    )


def _draw_diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.05)
    axes.grid(color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def draw_reliability(curves: Sequence[ReliabilityOf], identifier: str, small_cells: int) -> Figure:
    """Share of right predictions over the probability that they were made with, and the samples of each tenth below.

    Args:
        curves: One a method.
        identifier: Id of the figure.
        small_cells: Tenths with 1 to below this many samples are left out; 0 shows all.
    """
    with new_canvas(4.3, 4.1, identifier) as canvas:
        axes, counts = canvas.subplots(2, 1, sharex=True, height_ratios=[3.0, 1.0])
        _draw_diagonal(axes)
        words = []
        for index, item in enumerate(curves):
            bins = [part for part in item.reliability.bins if not is_small(part.n, small_cells)]
            confidence = [part.mean_probability for part in bins]
            shares = [part.observed_share for part in bins]
            _draw_curve(axes, confidence, shares, item.reliability.method, item.is_baseline)
            width = 0.8 / len(curves) / 10
            colour = _colour(item.reliability.method, item.is_baseline)
            counts.bar(
                [part.low + 0.01 + (index + 0.5) * width for part in bins],
                [part.n for part in bins],
                width=0.9 * width,
                color=PAPER if item.is_baseline else colour,
                edgecolor=colour,
                linewidth=1.0,
            )
            last = bins[-1] if bins else None
            if last is not None:
                words.append(
                    f"{name_of_method(item.reliability.method)} is right in {format_number(last.observed_share, 2)} of "
                    f"the samples that it is {format_number(last.mean_probability, 2)} sure of"
                )
        axes.set_ylabel("share that is right")
        axes.tick_params(labelbottom=False)
        counts.set_ylabel("samples")
        counts.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        counts.grid(axis="y", color=RULE, linewidth=0.6)
        counts.set_axisbelow(True)
        counts.set_xlabel("probability of the predicted class")
        put_legend_above(canvas, [axes], n_columns=1)
        return to_figure(canvas, identifier, f"Reliability diagram: {'; '.join(words)}.")


def draw_calibration(curves: Sequence[CalibrationOf], identifier: str, small_cells: int) -> Figure:
    """Observed over predicted survival at one time, in groups of patients of like prediction, with 95 % intervals.

    Args:
        curves: One a method, all at the same time.
        identifier: Id of the figure.
        small_cells: Groups of 1 to below this many patients are left out; 0 shows all.
    """
    with new_canvas(4.3, 3.6, identifier) as canvas:
        axes = canvas.subplots()
        _draw_diagonal(axes)
        words = []
        for item in curves:
            groups = [group for group in item.calibration.groups if not is_small(group.n, small_cells)]
            for group in groups:
                if group.low is not None and group.high is not None:
                    colour = _colour(item.calibration.method, item.is_baseline)
                    axes.plot([group.predicted] * 2, [group.low, group.high], color=colour, linewidth=1.0)
            predicted, observed = [group.predicted for group in groups], [group.observed for group in groups]
            _draw_curve(axes, predicted, observed, item.calibration.method, item.is_baseline)
            pairs = ", ".join(
                f"{format_number(group.predicted, 2)} and {format_number(group.observed, 2)}" for group in groups
            )
            words.append(f"{name_of_method(item.calibration.method)} {pairs}")
        when = format_time(curves[0].calibration.at_days)
        axes.set_xlabel(f"predicted survival at {when}")
        axes.set_ylabel("observed survival")
        put_legend_above(canvas, [axes], n_columns=1)
        return to_figure(canvas, identifier, f"Predicted and observed survival at {when}: {'; '.join(words)}.")
