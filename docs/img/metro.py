"""Draws the metro map of the pipeline: `python docs/img/metro.py` writes metro.svg beside this file.

A line is a model or a source of data, a station is a process of the pipeline. A test holds the stations to
`pipeline/modules`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

WIDTH, HEIGHT = 1240, 560
BLUE, ORANGE, GREEN = "bulkrnabert", "mojo", "gexbert"
MODEL_Y = {BLUE: 255, ORANGE: 265, GREEN: 275}
ALT = (
    "Metro map of the pipeline. Lines of GDC, GTEx, ENCODE and the demo's synthetic study pass download, the "
    "line of own files passes doctor; all meet at preprocess, then split. From there the lines of BulkRNABert, "
    "MOJO and GexBERT pass tokenize and pretrain, then embed and probe, or finetune; BulkRNABert goes on to "
    "attribute, MOJO branches to cross_modal, GexBERT to panels, imputation, anchors and biomarkers. Baselines "
    "run beside them from split. All end in evaluate, report and track; a retraining begins at update and ends "
    "at promote."
)
STYLE = """
 .card{fill:#fff} .zone{fill:#f2f4f7}
 .name,.zone-name,.place{fill:#1b1f24;font-family:Helvetica,Arial,'Liberation Sans',sans-serif}
 .name{font-size:15px;font-weight:600} .place{font-size:15px}
 .zone-name{font-size:13px;letter-spacing:1px;opacity:.75}
 .stop{fill:#fff;stroke:#1b1f24;stroke-width:3}
 path{fill:none;stroke-width:7;stroke-linejoin:round;stroke-linecap:round}
 .bulkrnabert{stroke:#0072b2} .mojo{stroke:#d55e00} .gexbert{stroke:#009e73} .trunk{stroke:#57606a}
 .baselines{stroke:#8c959f}
 .retraining{stroke:#8c959f;stroke-width:4;stroke-dasharray:2 9}
 .gdc{stroke:#8250df} .gtex{stroke:#bf3989}
 .encode{stroke:#9a6700} .synthetic{stroke:#a40e26} .own{stroke:#1b7c83}
 @media (prefers-color-scheme: dark){
  .card{fill:#0d1117} .zone{fill:#171d26}
  .name,.zone-name,.place{fill:#e6edf3} .stop{fill:#0d1117;stroke:#e6edf3}
  .bulkrnabert{stroke:#56b4e9}
  .mojo{stroke:#f08a3c} .gexbert{stroke:#2cc295} .trunk{stroke:#9198a1}
  .gdc{stroke:#b392f0} .gtex{stroke:#f778ba} .encode{stroke:#d4a72c} .synthetic{stroke:#ff7b72} .own{stroke:#39c5cf}
 }
"""

Point = tuple[float, float]


@dataclass(frozen=True)
class Station:
    """A process.

    Attributes:
        name: As its file in `pipeline/modules`.
        x: Middle.
        ys: Lines that stop there, top to bottom.
        label: Where the name stands.
        shift: Of the name to the right.
        width: Of its sign; more where lines come from below side by side.
    """

    name: str
    x: float
    ys: tuple[float, ...]
    label: Literal["above", "below"] = "below"
    shift: float = 0
    width: float = 18


@dataclass(frozen=True)
class Line:
    """A line of the map through points."""

    kind: str
    points: Sequence[Point]


ALL = tuple(float(y) for y in MODEL_Y.values())
STATIONS = (
    Station("update", 190, (90,), "above"),
    Station("synth", 175, (300,), "above"),
    Station("download", 275, (235, 245, 255, 265), "below", 4),
    Station("doctor", 275, (360,)),
    Station("preprocess", 385, (235, 245, 255, 265, 275), "above"),
    Station("split", 495, (265,)),
    Station("tokenize", 605, ALL),
    Station("pretrain", 705, ALL),
    Station("baselines", 895, (95,)),
    Station("embed", 850, tuple(y - 90 for y in ALL)),
    Station("probe", 940, tuple(y - 90 for y in ALL)),
    Station("finetune", 895, ALL),
    Station("attribute", 1000, (315,)),
    Station("cross_modal", 895, (360,)),
    Station("panels", 825, (450,)),
    Station("imputation", 885, (450,), "above"),
    Station("anchors", 945, (450,)),
    Station("biomarkers", 1005, (450,), "above"),
    Station("evaluate", 1075, tuple(y - 45 for y in ALL), "below", 4),
    Station("report", 1175, tuple(y - 45 for y in ALL), "above", width=46),
    Station("track", 1175, (140,), "above"),
    Station("promote", 1175, (85,), "above"),
)


def model_lines() -> list[Line]:
    """The three models from the splits to the numbers; drawn apart where they run side by side."""
    lines = []
    for kind, y in MODEL_Y.items():
        bend = y - MODEL_Y[ORANGE]
        lines.append(Line(kind, [(495, 265), (520, 265), (520 + abs(bend), y), (735, y)]))
        up = [(735, y), (825, y - 90), (975, y - 90), (1020, y - 45), (1175, y - 45)]
        lines.append(Line(kind, up))
        lines.append(Line(kind, [(735, y), (975, y), (1020, y - 45)]))
    lines.append(Line(BLUE, [(895, 255), (915, 255), (975, 315), (1143, 315), (1163, 295), (1163, 230)]))
    lines.append(Line(ORANGE, [(735, 265), (765, 295), (765, 345), (780, 360), (1155, 360), (1175, 340), (1175, 230)]))
    lines.append(Line(GREEN, [(735, 275), (750, 290), (750, 430), (770, 450), (1167, 450), (1187, 430), (1187, 230)]))
    return lines


SOURCES = (
    ("gdc", "GDC", [(110, 150), (170, 150), (255, 235), (385, 235), (405, 235), (435, 265)]),
    ("gtex", "GTEx", [(110, 195), (185, 195), (235, 245), (385, 245), (415, 245), (435, 265)]),
    ("encode", "ENCODE", [(110, 240), (205, 240), (220, 255), (385, 255), (425, 255), (435, 265)]),
    ("synthetic", "demo", [(110, 300), (200, 300), (235, 265), (385, 265), (435, 265)]),
    ("own", "own files", [(110, 360), (300, 360), (365, 295), (385, 275), (425, 275), (435, 265)]),
)
OTHER_LINES = (
    Line("trunk", [(435, 265), (495, 265)]),
    Line("baselines", [(495, 265), (495, 220), (620, 95), (1035, 95), (1075, 135), (1075, 210)]),
    Line("trunk", [(1085, 210), (1130, 165), (1150, 140), (1175, 140)]),
    Line("retraining", [(190, 90), (230, 90), (275, 135), (275, 230)]),
    Line("retraining", [(1075, 210), (1120, 165), (1120, 110), (1145, 85), (1175, 85)]),
)
ZONES = (("PREPARE", 20, 535), ("PRETRAINING", 550, 760), ("DOWNSTREAM", 775, 1035), ("SUMMARISE", 1050, 1220))
LEGEND = (
    (BLUE, "BulkRNABert"),
    (ORANGE, "MOJO"),
    (GREEN, "GexBERT"),
    ("baselines", "baselines"),
    ("retraining", "retraining only"),
)


def draw() -> str:
    """The map as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t d">',
        f'<title id="t">Metro map of the pipeline</title><desc id="d">{ALT}</desc><style>{STYLE}</style>',
        f'<rect class="card" width="{WIDTH}" height="{HEIGHT}" rx="12"/>',
    ]
    for name, left, right in ZONES:
        parts.append(f'<rect class="zone" x="{left}" y="20" width="{right - left}" height="480" rx="8"/>')
        parts.append(f'<text class="zone-name" x="{left + 12}" y="42">{name}</text>')
    parts += [_path(line) for line in (*OTHER_LINES[1:2], *OTHER_LINES[3:])]
    for kind, name, points in SOURCES:
        parts.append(_path(Line(kind, points)))
        x, y = points[0]
        parts.append(f'<text class="place" x="{x - 12}" y="{y + 5}" text-anchor="end">{name}</text>')
    parts += [_path(line) for line in (OTHER_LINES[0], *model_lines(), OTHER_LINES[2])]
    parts += [_stop(station) for station in STATIONS]
    x = 40
    for kind, name in LEGEND:
        parts.append(_path(Line(kind, [(x, 530), (x + 40, 530)])))
        parts.append(f'<text class="place" x="{x + 52}" y="535">{name}</text>')
        x += 90 + 9 * len(name)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _path(line: Line) -> str:
    steps = " ".join(f"{x:g},{y:g}" for x, y in line.points)
    return f'<path class="{line.kind}" d="M{steps}"/>'


def _stop(station: Station) -> str:
    top, bottom = station.ys[0], station.ys[-1]
    left, height = station.x - station.width / 2, bottom - top + 18
    rect = f'<rect class="stop" x="{left:g}" y="{top - 9:g}" width="{station.width:g}" height="{height:g}" rx="9"/>'
    y = top - 16 if station.label == "above" else bottom + 26
    x = station.x + station.shift
    return f'{rect}<text class="name" x="{x:g}" y="{y:g}" text-anchor="middle">{station.name}</text>'


if __name__ == "__main__":
    (Path(__file__).parent / "metro.svg").write_text(draw(), encoding="utf-8")
