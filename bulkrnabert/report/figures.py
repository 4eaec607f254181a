"""Figures of the report as inline SVG: deterministic, with selectable text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.ticker import MaxNLocator

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import Encoder, KaplanMeier, Projection
from bulkrnabert.evaluate.data_artefacts import DriftPoint
from bulkrnabert.report.drawing import (
    COLOURS,
    INK,
    KIND_COLOURS,
    LINE_STYLES,
    MARKERS,
    MODEL_COLOUR,
    MUTED,
    PAPER,
    RISK_COLOURS,
    RULE,
    Figure,
    colour_of,
    new_canvas,
    put_legend_above,
    shorten,
    to_figure,
    wrap,
)
from bulkrnabert.report.tables import IntervalGroup, IntervalRow
from bulkrnabert.report.text import DAYS_PER_YEAR, format_count, format_interval, format_number

MAX_VECTOR_POINTS = 6000
WITHOUT_NETWORK = "most frequent bin"


def draw_forest(
    groups: Sequence[IntervalGroup],
    identifier: str,
    x_label: str,
    description: str,
    reference: float | None = None,
    width_in: float = 5.6,
) -> Figure:
    """Values with their intervals, one line a method, in its colour; filled circles are models, open squares baselines.

    Args:
        groups: Lines from top to bottom.
        identifier: Id of the figure.
        x_label: What the values are, with their orientation.
        description: What a reader who cannot see it should know.
        reference: Where chance lies, drawn as a dashed line.
        width_in: Width at the nominal text size.
    """
    n_lines = sum(len(group.rows) + bool(group.heading) for group in groups)
    line_in = 0.34 if any("\n" in wrap(row.label) for group in groups for row in group.rows) else 0.235
    with new_canvas(width_in, 0.42 + 0.2 * bool(x_label) + line_in * n_lines, identifier) as canvas:
        axes = canvas.subplots()
        labels: list[tuple[float, str, bool]] = []
        line = 0.0
        for group in groups:
            if group.heading:
                labels.append((line, shorten(group.heading, 34), True))
                line += 1
            for row in group.rows:
                _draw_interval(axes, row, line)
                labels.append((line, wrap(row.label), False))
                line += 1
            line += 0.35 * bool(group.heading)
        if reference is not None:
            axes.axvline(reference, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        axes.set_ylim(line - 0.35, -0.75)
        axes.set_yticks([position for position, _, _ in labels], [label for _, label, _ in labels])
        for tick, (_, _, is_heading) in zip(axes.get_yticklabels(), labels, strict=True):
            tick.set_fontweight("bold" if is_heading else "normal")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel(x_label)
        axes.margins(x=0.04)
        return to_figure(canvas, identifier, description)


def _draw_interval(axes: Axes, row: IntervalRow, line: float) -> None:
    if row.value is None:
        note = axes.text(0.01, line, shorten(row.note, 60), transform=axes.get_yaxis_transform(), va="center")
        note.set(color=MUTED, fontsize=8)
        return
    is_model = row.role == "model"
    colour = colour_of(row.label, row.role)
    if row.low is not None and row.high is not None:
        axes.plot([row.low, row.high], [line, line], color=colour, linewidth=1.7)
    axes.plot(
        [row.value],
        [line],
        marker="o" if is_model else "s",
        markersize=6 if is_model else 5,
        color=colour,
        markerfacecolor=colour if is_model else PAPER,
        markeredgewidth=1.4,
        linestyle="none",
    )
    words = f"{format_number(row.value)}\u2002{format_interval(row.low, row.high)}"
    beside = axes.text(1.02, line, words.strip(), transform=axes.get_yaxis_transform(), va="center")
    beside.set(fontsize=8, color=INK, fontweight="bold" if row.is_best else "normal")


def draw_kaplan_meier(curves: KaplanMeier, identifier: str, small_cells: int) -> Figure:
    """Kaplan-Meier curves with 95 % bands and the number at risk under the axis.

    Args:
        curves: Times in days; shown in years from two years on.
        identifier: Id of the figure.
        small_cells: Numbers at risk from 1 to below this are shown as `<N`; 0 switches that off.
    """
    last_day = max([1.0, *curves.at_risk_times, *(time for group in curves.groups for time in group.times)])
    in_years = last_day >= 2 * DAYS_PER_YEAR
    scale = DAYS_PER_YEAR if in_years else 1.0
    n_groups = len(curves.groups)
    with new_canvas(4.3, 3.05 + 0.19 * n_groups, identifier) as canvas:
        axes, table = canvas.subplots(2, 1, sharex=True, height_ratios=[2.6, 0.16 * (n_groups + 1)])
        for index, group in enumerate(curves.groups):
            colour = _risk_colour(index, n_groups)
            times = [time / scale for time in group.times]
            axes.step(
                times,
                group.survival,
                where="post",
                color=colour,
                linewidth=1.7,
                linestyle=LINE_STYLES[index % len(LINE_STYLES)],
                label=shorten(group.name, 24),
            )
            low = [float("nan") if bound is None else bound for bound in group.low]
            high = [float("nan") if bound is None else bound for bound in group.high]
            axes.fill_between(times, low, high, step="post", color=colour, alpha=0.1, linewidth=0)
            for time in curves.at_risk_times:
                counts = dict(zip(curves.at_risk_times, curves.at_risk.get(group.name, []), strict=False))
                if time in counts:
                    text = format_count(counts[time], small_cells)
                    table.text(time / scale, index, text, ha="center", va="center", fontsize=8, color=INK)
        axes.set_ylim(0, 1.02)
        axes.set_xlim(0, 1.04 * last_day / scale)
        axes.set_ylabel("survival probability")
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        put_legend_above(canvas, [axes])
        _dress_risk_table(table, curves, n_groups)
        if curves.at_risk_times:
            positions = [time / scale for time in curves.at_risk_times]
            table.set_xticks(positions, [_time_label(position) for position in positions])
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("time (years)" if in_years else "time (days)")
        description = (
            f"Kaplan-Meier curves of {curves.scope} by {curves.method}: "
            + ", ".join(f"{group.name} (n = {format_count(group.n, small_cells)})" for group in curves.groups)
            + "; the numbers at risk stand under the axis."
        )
        return to_figure(canvas, identifier, description)


def _risk_colour(index: int, n_groups: int) -> str:
    """From the lowest to the highest risk; other colours where there are more groups than of these."""
    if n_groups > len(RISK_COLOURS):
        return COLOURS[index % len(COLOURS)]
    return RISK_COLOURS[index] if n_groups == len(RISK_COLOURS) else RISK_COLOURS[2 * index]


def _time_label(value: float) -> str:
    return f"{round(value)}" if abs(value - round(value)) < 0.02 else f"{value:.1f}"


def _dress_risk_table(table: Axes, curves: KaplanMeier, n_groups: int) -> None:
    table.set_ylim(n_groups - 0.4, -0.75)
    table.set_yticks(range(n_groups), [shorten(group.name, 14) for group in curves.groups])
    table.set_title("number at risk", fontsize=8, color=MUTED, fontweight="normal", pad=2)
    table.tick_params(length=0, labelbottom=False)
    table.tick_params(axis="y", pad=16)
    for spine in table.spines.values():
        spine.set_visible(False)


def draw_projection(projection: Projection, identifier: str) -> Figure:
    """The embedding in two dimensions, a colour and a marker a cohort."""
    by_cohort: dict[str, list[tuple[float, float]]] = {}
    for point in projection.points:
        by_cohort.setdefault(point.cohort, []).append((point.x, point.y))
    cohorts = sorted(by_cohort)
    n_points = len(projection.points)
    n_columns = 3
    legend_in = 0.2 * -(-len(cohorts) // n_columns)
    with new_canvas(5.6, 4.4 + legend_in, identifier) as canvas:
        axes = canvas.subplots()
        for index, cohort in enumerate(cohorts):
            x, y = zip(*by_cohort[cohort], strict=True)
            axes.scatter(
                x,
                y,
                s=18 if n_points < 600 else 9,
                c=COLOURS[index % len(COLOURS)],
                marker=MARKERS[index % len(MARKERS)],
                alpha=0.75,
                linewidths=0,
                rasterized=n_points > MAX_VECTOR_POINTS,
                label=shorten(cohort, 20),
            )
        axes.set_xlabel(f"{projection.method} 1")
        axes.set_ylabel(f"{projection.method} 2")
        axes.set_xticks([])
        axes.set_yticks([])
        handles, labels = axes.get_legend_handles_labels()
        legend = canvas.legend(
            handles, labels, loc="outside lower center", ncols=n_columns, columnspacing=1.2, handletextpad=0.3
        )
        for handle in legend.legend_handles:
            assert isinstance(handle, PathCollection)
            handle.set_sizes([32])
            handle.set_alpha(1)
        description = f"{projection.method} of {n_points:,} samples of {len(cohorts)} cohorts: " + ", ".join(cohorts)
        return to_figure(canvas, identifier, description)


def draw_training(encoder: Encoder, identifier: str) -> Figure | None:
    """Loss above, masked accuracy (or error of restored values) below, over steps; None where nothing was recorded."""
    train, validation = encoder.records_of(keys.TRAIN), encoder.records_of("validation")
    if not train and not validation:
        return None
    with new_canvas(4.3, 4.0, identifier) as canvas:
        loss, accuracy = canvas.subplots(2, 1, sharex=True)
        own = KIND_COLOURS.get(encoder.model, MODEL_COLOUR)
        _draw_records(loss, train, "loss", "training", own, "-")
        _draw_records(loss, validation, "loss", "validation", INK, "--")
        restores_values = any(record.get("rmse") is not None for record in validation)
        name, baseline = ("rmse", "baseline_rmse") if restores_values else ("masked_accuracy", "baseline_accuracy")
        _draw_records(accuracy, train, name, "training", own, "-")
        _draw_records(accuracy, validation, name, "validation", INK, "--")
        _draw_records(accuracy, validation, baseline, "gene mean" if restores_values else WITHOUT_NETWORK, MUTED, ":")
        loss.set_ylabel("loss")
        accuracy.set_ylabel("RMSE, z" if restores_values else "masked accuracy")
        accuracy.set_xlabel("step")
        for axes in (loss, accuracy):
            axes.grid(axis="y", color=RULE, linewidth=0.6)
        put_legend_above(canvas, [loss, accuracy])
        second = "error" if restores_values else "masked accuracy"
        description = f"Loss and {second} of encoder {encoder.name} over training steps"
        return to_figure(canvas, identifier, description + _last_values(validation, name, second))


def draw_drift(points: Sequence[DriftPoint], identifier: str) -> Figure:
    """Cosine to the embedding with all genes, over the share of genes missing, with the band of 5 to 95 %."""
    with new_canvas(4.3, 2.6, identifier) as canvas:
        axes = canvas.subplots()
        shares = [100 * point.missing_fraction for point in points]
        low, high = [point.low for point in points], [point.high for point in points]
        axes.fill_between(shares, low, high, color=MODEL_COLOUR, alpha=0.18, linewidth=0)
        axes.plot(shares, [point.mean for point in points], color=MODEL_COLOUR, linewidth=1.5, marker="o", markersize=3)
        axes.set_xlabel("genes missing, %")
        axes.set_ylabel("cosine to the full embedding")
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        last = points[-1]
        description = (
            f"Drift of embeddings with missing genes: mean cosine {format_number(last.mean)} at "
            f"{100 * last.missing_fraction:.0f} % of genes missing."
        )
        return to_figure(canvas, identifier, description)


def _draw_records(
    axes: Axes, records: list[dict[str, Any]], name: str, label: str, colour: str, line_style: str
) -> None:
    points = [(record["step"], record[name]) for record in records if record.get(name) is not None]
    if points:
        steps, values = zip(*points, strict=True)
        marker = "o" if len(points) < 30 and label not in (WITHOUT_NETWORK, "gene mean") else None
        axes.plot(steps, values, line_style, color=colour, label=label, linewidth=1.5, marker=marker, markersize=3)


def _last_values(validation: list[dict[str, Any]], name: str, words: str) -> str:
    if not validation:
        return "."
    last = validation[-1]
    return (
        f"; at the last validation, loss {format_number(last.get('loss'))} and {words} {format_number(last.get(name))}."
    )
