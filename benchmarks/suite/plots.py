"""One look for all plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which stay apart for the colour-blind; markers tell the lines apart without colour.
LOOKS: Mapping[str, tuple[str, str]] = {
    "ours": ("#0072B2", "o"),
    "other": ("#D55E00", "s"),
    "worst": ("#009E73", "^"),
    "extra": ("#CC79A7", "D"),
}
_STYLE: Mapping[str, Any] = {
    "svg.hashsalt": "bulkrnabert",
    "svg.fonttype": "path",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def draw_to(path: Path, size: tuple[float, float], draw: Callable[[Figure], None]) -> None:
    """An SVG on white, readable on a dark page too; the same numbers give the same file."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    with pyplot.rc_context(dict(_STYLE)):
        figure = pyplot.figure(figsize=size, layout="constrained")
        draw(figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, facecolor="white", metadata={"Date": None})
        pyplot.close(figure)


def line(axes: Axes, points: Sequence[tuple[float, float | None]], look: str, label: str, style: str = "-") -> None:
    """Points that are there, joined."""
    there = [(x, y) for x, y in points if y is not None]
    if not there:
        return
    colour, marker = LOOKS[look]
    axes.plot([x for x, _ in there], [y for _, y in there], style, marker=marker, color=colour, label=label)


def finish(axes: Axes, title: str, x_label: str, y_label: str, is_log: bool = True) -> None:
    """Labels, scales, and a legend where there is something to tell apart."""
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if is_log:
        axes.set_xscale("log")
        axes.set_yscale("log")
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(fontsize="small")


def goal_line(axes: Axes, value: float, label: str) -> None:
    """A horizontal line where the goal is."""
    axes.axhline(value, color="black", linestyle=":", linewidth=1)
    axes.annotate(label, (0.01, value), xycoords=("axes fraction", "data"), fontsize="small", va="bottom")


def bars(axes: Axes, values: Sequence[tuple[str, float | None, str]], y_label: str) -> None:
    """A bar for each (name, value, look) that is there, with its value above it."""
    there = [(name, value, look) for name, value, look in values if value is not None]
    drawn = axes.bar([name for name, _, _ in there], [value for _, value, _ in there])
    for bar, (_, _, look) in zip(drawn, there, strict=True):
        bar.set_color(LOOKS[look][0])
    axes.bar_label(drawn, fmt="%.3g", fontsize="small")
    axes.set_ylabel(y_label)
    axes.grid(False, axis="x")
