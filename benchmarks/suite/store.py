"""Records of benchmarks: one JSON file each, rewritten after every case, so that a stopped run goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite.model import Results


@dataclass
class Record:
    """What is known of one benchmark.

    Attributes:
        name: Of the benchmark.
        digest: Of the code that was measured (`suite.machine.digest`).
        is_quick: Whether its sizes are the small ones.
        conditions: Machine, versions, date and revision (`suite.machine.describe`).
        cases: By name: what came of it.
    """

    name: str
    digest: str
    is_quick: bool
    conditions: dict[str, Any]
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def results(self) -> Results:
        """The cases alone."""
        return Results(self.cases)

    def answers(self, digest: str, is_quick: bool, conditions: Mapping[str, Any]) -> bool:
        """Whether it is of this code and these sizes, on this machine."""
        same = self.digest == digest and self.is_quick == is_quick
        return same and self.conditions["machine"] == conditions["machine"]


def record_path(out: Path, name: str) -> Path:
    """Where a benchmark's record is."""
    return out / "img" / f"bench_{name}.json"


def plot_path(out: Path, name: str) -> Path:
    """Where a benchmark's plot is."""
    return out / "img" / f"bench_{name}.svg"


def read_record(out: Path, name: str) -> Record | None:
    """A benchmark's record; None where there is none.

    Raises:
        SystemExit: the file is no record.
    """
    path = record_path(out, name)
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Record(**found)
    except (ValueError, TypeError) as error:
        raise SystemExit(f"{path}: is no record of a benchmark ({error}); delete it, or name another --out") from error


def write_record(out: Path, record: Record) -> None:
    """Write a record whole or not at all."""
    path = record_path(out, record.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(vars(record), indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
