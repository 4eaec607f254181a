"""The benchmarks' own modules, which stand beside the package and not in it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
BENCHMARKS = ROOT / "benchmarks"
OWN = ("suite", "timing", "run")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of `benchmarks/` by name, as its scripts do; forgotten again after the test."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    for name in [name for name in sys.modules if name.split(".")[0] in OWN]:
        del sys.modules[name]


@pytest.fixture
def script() -> Callable[[str], ModuleType]:
    """Loads a file of the repository as a module."""

    def load(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"loaded_{Path(path).stem}", ROOT / path)
        assert spec is not None and spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = loaded
        spec.loader.exec_module(loaded)
        return loaded

    return load
