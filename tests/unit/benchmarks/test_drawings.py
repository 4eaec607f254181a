"""The metro map and the badges say what the pipeline and its settings are."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]
MOST_BYTES = 60_000
# Hashes of the code: every process depends on it, nobody rides there.
NOT_ON_THE_MAP = {"fingerprint"}


def test_the_map_has_a_station_for_every_process(script: Callable[[str], ModuleType]) -> None:
    processes = {path.stem for path in (ROOT / "pipeline" / "modules").glob("*.nf")}
    stations = [station.name for station in script("docs/img/metro.py").STATIONS]
    assert len(stations) == len(set(stations))
    assert set(stations) == processes - NOT_ON_THE_MAP


def test_the_map_is_drawn_by_its_script_and_needs_nothing_else(script: Callable[[str], ModuleType]) -> None:
    text = (ROOT / "docs" / "img" / "metro.svg").read_text(encoding="utf-8")
    assert text == script("docs/img/metro.py").draw()
    assert len(text) < MOST_BYTES
    tree = ElementTree.fromstring(text)
    assert tree.find("{*}title") is not None and tree.find("{*}desc") is not None
    assert not [name for name in ("@import", "url(", "href", "<image") if name in text]


def test_no_name_on_the_map_runs_into_another(script: Callable[[str], ModuleType]) -> None:
    stations = script("docs/img/metro.py").STATIONS
    boxes = []
    for station in stations:
        y = station.ys[0] - 16 if station.label == "above" else station.ys[-1] + 26
        half = 4.6 * len(station.name)
        boxes.append((station.name, station.x + station.shift - half, station.x + station.shift + half, y))
    for number, (name, left, right, y) in enumerate(boxes):
        for other, other_left, other_right, other_y in boxes[number + 1 :]:
            is_beside = right < other_left or other_right < left
            assert is_beside or abs(y - other_y) >= 15, (name, other)


def test_the_badges_are_true(script: Callable[[str], ModuleType]) -> None:
    badges = script("docs/generate_badges.py").badges()
    folder = ROOT / "docs" / "img" / "badges"
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.svg")} == badges
    assert "licence: Apache-2.0" in badges["licence.svg"]
