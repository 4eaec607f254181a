"""How figures of the report are made: style, colours, and SVG whose ids cannot collide on one page."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

INK = "#1b2027"
MUTED = "#66707c"
RULE = "#d5dae0"
MODEL_COLOUR = "#0072b2"
BASELINE_COLOUR = "#8a6d1d"
SECOND_COLOUR = "#d55e00"
# Okabe and Ito's colours for colour-blind readers, without the yellow that vanishes on white. Seven colours and eight
# markers have no common divisor, so that 56 cohorts differ, neighbours in both.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#3b3b3b")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
LINE_STYLES = ("-", "--", "-.", ":")

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True)
class Figure:
    """One figure of the page.

    Attributes:
        identifier: Id of its element, made by us, never from a name in the data.
        svg: The drawing, safe to place in the page.
        width_px: Width at which its text has its nominal size.
    """

    identifier: str
    svg: Markup
    width_px: int


@contextmanager
def new_canvas(width_in: float, height_in: float, identifier: str) -> Iterator[Canvas]:
    """An empty figure in the style of the page."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": identifier}):
        yield Canvas(figsize=(width_in, height_in), layout="constrained")


def to_figure(canvas: Canvas, identifier: str, description: str) -> Figure:
    """Write the SVG, prefix its ids with the figure's, and say to a screen reader what it shows."""
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    canvas.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]*)"', rf'id="{identifier}-\1"', svg)
    svg = re.sub(r"url\(#([^)]*)\)", rf"url(#{identifier}-\1)", svg)
    svg = re.sub(r'href="#([^"]*)"', rf'href="#{identifier}-\1"', svg)
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {view_box.group(0)} '
        f'role="img" aria-label="{escape(description)}">'
    )
    svg = opening + svg[svg.index(">") + 1 :]
    # Drawn by matplotlib, which escapes the texts; the tests put hostile names through it.
    return Figure(identifier, Markup(svg.strip()), round(canvas.get_figwidth() * 96))  # noqa: S704


def wrap(text: str, n_characters: int = 27) -> str:
    """At most two lines of a label."""
    lines = textwrap.wrap(text, n_characters) or [""]
    return "\n".join([*lines[:1], *([shorten(" ".join(lines[1:]), n_characters)] if lines[1:] else [])])


def shorten(text: str, n_characters: int) -> str:
    """The text, or its beginning with an ellipsis."""
    return text if len(text) <= n_characters else text[: n_characters - 1] + "…"


def put_legend_above(canvas: Canvas, panels: Sequence[Axes], n_columns: int = 3) -> None:
    """One legend for all panels, where it cannot hide a curve."""
    entries = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    canvas.legend(
        entries.values(),
        entries.keys(),
        loc="outside upper left",
        ncols=max(1, min(n_columns, len(entries))),
        handlelength=2.2,
        columnspacing=1.2,
        borderaxespad=0.1,
    )
