"""The made-up run, as `study` (plain names, open data) and `hostile_study` (markup in names, local data)."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def builder() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).with_name("study.py")), run_name="report_study")


@pytest.fixture(scope="session")
def study(builder: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return builder["write_study"](tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def hostile_study(builder: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("hostile")
    return builder["write_study"](folder, hostile=True, data_access="local", n_encoders=1)
