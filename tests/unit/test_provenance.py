"""Hashes, fingerprints derived from imports, atomic writing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bulkrnabert import provenance
from bulkrnabert.errors import ConfigError


def test_sha256_lines_is_the_hash_of_the_lines() -> None:
    assert provenance.sha256_lines(["a", "b"]) == provenance.sha256_lines(iter(["a", "b"]))
    assert provenance.sha256_lines(["ab"]) != provenance.sha256_lines(["a", "b"])


def test_hash_patients_is_sorted_and_short() -> None:
    hashed = provenance.hash_patients(["P2", "P1", "P2"])
    assert hashed == sorted(set(hashed)) and len(hashed) == 2 and all(len(value) == 16 for value in hashed)


@pytest.fixture
def toy_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with the stages `one` (uses data) and `two` (uses report, lazily), in place of the real one."""
    root = tmp_path / "bulkrnabert"
    for folder in ("cli", "data", "report/templates"):
        (root / folder).mkdir(parents=True)
    (root / "__init__.py").write_text("def lazy():\n    from bulkrnabert.report import page\n")
    (root / "cli/__init__.py").write_text("")
    (root / "cli/one.py").write_text("from bulkrnabert.data import genes\n")
    (root / "cli/two.py").write_text("def command():\n    from bulkrnabert.report.page import render\n")
    (root / "data/__init__.py").write_text("")
    (root / "data/genes.py").write_text("N = 1\n")
    (root / "report/__init__.py").write_text("")
    (root / "report/page.py").write_text("def render(): ...\n")
    (root / "report/templates/page.html").write_text("<p>")
    monkeypatch.setattr(provenance, "PACKAGE_FOLDER", root)
    provenance.stage_files.cache_clear()
    yield root
    provenance.stage_files.cache_clear()


def fingerprints() -> tuple[str, str]:
    provenance.stage_files.cache_clear()
    return provenance.code_fingerprint("one"), provenance.code_fingerprint("two")


def test_fingerprint_follows_imports_and_only_them(toy_package: Path) -> None:
    names = [path.relative_to(toy_package).as_posix() for path in provenance.stage_files("two")]
    expected = ["__init__.py", "cli/__init__.py", "cli/two.py", "report/__init__.py", "report/page.py"]
    assert names == [*expected, "report/templates/page.html"]
    one, two = fingerprints()
    (toy_package / "report/page.py").write_text("def render(): return 1\n")
    assert fingerprints()[0] == one and fingerprints()[1] != two


def test_fingerprint_sees_templates(toy_package: Path) -> None:
    one, two = fingerprints()
    (toy_package / "report/templates/page.html").write_text("<b>")
    assert fingerprints()[0] == one and fingerprints()[1] != two


def test_unknown_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="no stage"):
        provenance.stage_files("no-such-stage")


def test_atomic_path_leaves_nothing_after_an_error(tmp_path: Path) -> None:
    final = tmp_path / "out" / "table.tsv"
    with pytest.raises(RuntimeError), provenance.atomic_path(final) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert list(final.parent.iterdir()) == []


@pytest.mark.parametrize("place", ["file/out", "file/sub/out", "folder"])
def test_atomic_path_says_what_is_in_the_way(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    final = tmp_path / place
    with (
        pytest.raises(ConfigError, match=rf"{place}: (cannot be written|is a folder)"),
        provenance.atomic_path(final) as p,
    ):
        p.write_text("new")
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_require_writable_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    provenance.require_writable(tmp_path / "new" / "out")
    for place in ("file/out", "file/sub/out"):
        with pytest.raises(ConfigError, match=rf"{place}: cannot be written, .*file is no folder"):
            provenance.require_writable(tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_atomic_path_replaces_a_folder(tmp_path: Path) -> None:
    final = tmp_path / "checkpoint"
    for text in ("old", "new"):
        with provenance.atomic_path(final) as partial:
            partial.mkdir()
            (partial / "a").write_text(text)
    assert (final / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    shutil.rmtree(final)


def test_private_files_get_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with provenance.atomic_path(tmp_path / "folder") as partial:
            partial.mkdir()
            (partial / "weights").touch(0o600)
        with provenance.atomic_path(tmp_path / "file") as partial:
            partial.touch(0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "folder" / "weights").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
