"""How figures of the report are made: style, colours, and SVG whose ids cannot collide on one page.

Colours are drawn as fixed values and written as CSS variables, so that a figure follows the page from light to dark.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bulkrnabert import keys

INK = "#1b2027"
MUTED = "#5b6570"
RULE = "#d5dae0"
PAPER = "#ffffff"
BASELINE_COLOUR = "#5f6975"
# Okabe and Ito's colours for colour-blind readers, without the yellow that vanishes on white. Seven colours and eight
# markers have no common divisor, so that 56 cohorts differ, neighbours in both.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#3b3b3b")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
LINE_STYLES = ("-", "--", "-.", ":")
# From the lowest to the highest risk; told apart by their darkness and their lines too.
RISK_COLOURS = ("#4a9ccf", "#7d7396", "#b23a0e")
MODEL_COLOUR = COLOURS[0]
# One colour a kind of model, the same in every chart.
KIND_COLOURS = {keys.BULKRNABERT: COLOURS[0], keys.MOJO: COLOURS[2], keys.GEXBERT: COLOURS[1]}
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    PAPER: "paper",
    BASELINE_COLOUR: "baseline",
    **{colour: f"c{number}" for number, colour in enumerate(COLOURS)},
    **{colour: f"risk{number}" for number, colour in enumerate(RISK_COLOURS)},
}

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


def kind_of(method: str) -> str:
    """The kind of model that a method's name names, as `bulkrnabert`; empty where it names none."""
    return next((kind for kind, title in keys.MODEL_TITLES.items() if title in method), "")


def colour_of(method: str, role: Literal["model", "baseline"] | str) -> str:
    """The colour of a method in every chart: that of its kind of model, or that of baselines."""
    return KIND_COLOURS.get(kind_of(method), MODEL_COLOUR) if role == "model" else BASELINE_COLOUR


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
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    # Drawn by matplotlib, which escapes the texts; the tests put hostile names through it.
    drawn = open_svg(view_box.group(0), identifier, description) + _slim(body, identifier) + "</svg>"
    return Figure(identifier, Markup(drawn), round(canvas.get_figwidth() * 96))  # noqa: S704


def open_svg(view_box: str, identifier: str, description: str) -> str:
    """The opening of a drawing: a short title, and the whole description, for those who cannot see it.

    Args:
        view_box: The attribute, as `viewBox="0 0 100 50"`.
        identifier: Id of the figure.
        description: What it shows; the part before the first colon, semicolon or full stop is the title.
    """
    title = re.split(r"[:;]|\.\s|\.$", description, maxsplit=1)[0]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {view_box} role="img" '
        f'aria-labelledby="{identifier}-title {identifier}-desc"><title id="{identifier}-title">{escape(title)}</title>'
        f'<desc id="{identifier}-desc">{escape(description)}</desc>'
    )


def _slim(svg: str, identifier: str) -> str:
    """The inside of a drawing without what a page does not need: it holds a hundred of them."""
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    # No pattern reaches over a bracket, so that text which looks like markup stays inside its element.
    used = set(re.findall(r'(?:url\(|href=")#([^")<>]*)', svg))
    svg = re.sub(r' id="([^"<>]*)"', lambda found: f' id="{identifier}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r"url\(#([^)<>]*)\)", rf"url(#{identifier}-\1)", svg)
    svg = re.sub(r'href="#([^"<>]*)"', rf'href="#{identifier}-\1"', svg)
    svg = re.sub(r"; font-family: '[^'<>]*'| transform=\"rotate\(-?0 [^\"<>]*\)\"", "", svg)
    svg = re.sub(r'(?<= [xyd]=")[^"<>]*|(?<= points=")[^"<>]*', lambda found: _rounded(found[0]), svg)
    svg = re.sub(r"(?<=(?:fill|roke): )#[0-9a-f]{6}\b", lambda found: _variable(found[0]), svg)
    return re.sub(r">\s+<", "><", svg).strip()


def _rounded(coordinates: str) -> str:
    return re.sub(r"(\.\d\d)\d+", r"\1", " ".join(coordinates.split()))


def _variable(colour: str) -> str:
    return f"var(--{VARIABLES[colour]})" if colour in VARIABLES else colour


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
