"""The package imports in one direction only, names no forbidden module, and loads no torch by itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "bulkrnabert"
LAYERS = ["base", "data", "models", "train", "downstream", "evaluate", "report", "cli"]
BASE_MODULES = {"errors", "keys", "config", "logs", "provenance"}
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def layer_of(module: str) -> str:
    parts = module.split(".")
    if len(parts) == 1 or parts[1] in BASE_MODULES:
        return "base"
    return parts[1]


def imported_modules(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module or "")
    return {name for name in found if name.split(".")[0] == "bulkrnabert"}


def violations(layer: str, source: str) -> list[str]:
    allowed = set(LAYERS[: LAYERS.index(layer) + 1])
    if layer == "models":
        allowed.discard("data")
    return [name for name in imported_modules(source) if layer_of(name) not in allowed]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    module = "bulkrnabert." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    layer = layer_of(module)
    assert layer in LAYERS, f"{path} is in no known layer"
    assert violations(layer, path.read_text(encoding="utf-8")) == []


def test_the_check_can_fail() -> None:
    assert violations("data", "from bulkrnabert.models.layers import Block") == ["bulkrnabert.models.layers"]
    assert violations("models", "import bulkrnabert.data.genes") == ["bulkrnabert.data.genes"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_drawer_modules(path: Path) -> None:
    assert path.stem not in {"utils", "common", "helpers", "misc"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_outgrows_its_reader(path: Path) -> None:
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= 600, f"{path} has {n_lines} lines: split it"


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, bulkrnabert; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
