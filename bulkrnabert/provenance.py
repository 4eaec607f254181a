"""Where a file came from: hashes, the code a stage imports, and the record written beside every artefact.

Standard library only (beside the errors), so that a fingerprint costs no imports.
"""

from __future__ import annotations

import ast
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from bulkrnabert.errors import ConfigError

PACKAGE = "bulkrnabert"
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # what a file system without locks says to `flock`
PACKAGE_FOLDER = Path(__file__).resolve().parent


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_lines(lines: Iterable[str]) -> str:
    """SHA-256 over text lines, each ended by a newline: the hash of a gene list or of a list of patients."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def hash_patients(patient_ids: Iterable[str]) -> list[str]:
    """Sorted, shortened SHA-256 of each patient id: enough to count an overlap without listing patients."""
    return sorted({hashlib.sha256(patient.encode()).hexdigest()[:16] for patient in patient_ids})


def package_version() -> str:
    """Version of the installed package, or `unknown` when it runs from a bare clone."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _module_file(name: str) -> Path | None:
    relative = "/".join(name.split(".")[1:])
    for candidate in (PACKAGE_FOLDER / relative / "__init__.py", PACKAGE_FOLDER / f"{relative}.py"):
        if candidate.is_file():
            return candidate
    return None


def _imported_modules(path: Path, at_import_only: bool) -> set[str]:
    """Modules of this package that a source file imports.

    Args:
        path: Python source.
        at_import_only: Leave out imports inside functions. For a parent package, which a stage runs through on its
            way to a submodule, only what happens at import counts, not what its lazy attributes would load.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    found: set[str] = set()
    for node in tree.body if at_import_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in found if name.split(".")[0] == PACKAGE}


@cache
def stage_files(stage: str) -> tuple[Path, ...]:
    """Files that a stage depends on: its command, what that imports (transitively), and data files beside them.

    Args:
        stage: Name of the command, as `pretrain` or `serve-gdc`.
    Raises:
        ValueError: no such command.
    """
    start = f"{PACKAGE}.cli.{stage.replace('-', '_')}"
    if _module_file(start) is None:
        raise ValueError(f"no stage named {stage!r}")
    files: set[Path] = set()
    todo: list[tuple[str, bool]] = [(start, False)]
    seen: set[tuple[str, bool]] = set()
    while todo:
        name, is_parent = todo.pop()
        path = _module_file(name)
        if path is None or (name, is_parent) in seen:
            continue
        seen.add((name, is_parent))
        files.add(path)
        parents = name.split(".")[:-1]
        todo.extend((".".join(parents[:depth]), True) for depth in range(1, len(parents) + 1))
        todo.extend((imported, False) for imported in _imported_modules(path, is_parent) if imported != PACKAGE)
    for folder in {path.parent for path in files if path.name != "__init__.py"}:
        templates = folder / "templates"
        if templates.is_dir():
            files.update(path for path in templates.rglob("*") if path.is_file())
    return tuple(sorted(files))


def code_fingerprint(stage: str) -> str:
    """SHA-256 over the code that a stage imports; another value means that its results may differ."""
    digest = hashlib.sha256()
    for path in stage_files(stage):
        digest.update(f"{path.relative_to(PACKAGE_FOLDER)}\0".encode())
        digest.update(path.read_bytes())
        digest.update(b"\0")
    return digest.hexdigest()


def require_writable(final: Path) -> None:
    """Look, before any work, whether something can be written under this name; makes nothing.

    Raises:
        ConfigError: a file is where a folder would have to be, or the folder may not be written to.
    """
    above = next(folder for folder in final.absolute().parents if os.path.lexists(folder))
    if not above.is_dir():
        raise ConfigError(f"{final}: cannot be written, {above} is no folder; choose another place")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"{final}: cannot be written, no permission in {above}; choose another place")


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """A path to write to that takes its final name only when the block ends without an error.

    Works for a file and for a folder (create it inside the block); a folder replaces an older one. Files that a library
    made for their owner alone, as safetensors does, get the permissions that other new files have.

    Raises:
        ConfigError: nothing can be written there, or a file and a folder are in each other's place.
    """
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        folder_aside = tempfile.TemporaryDirectory(prefix=f".{final.name}.", suffix=".part", dir=final.parent)
    except OSError as error:
        raise ConfigError(f"{final}: cannot be written: {error.strerror}; choose another place") from error
    with folder_aside as aside:
        partial = Path(aside) / final.name
        yield partial
        _open_to_umask(partial)
        if partial.is_dir() and final.is_dir():
            final.replace(Path(aside) / f"{final.name}.old")
        try:
            partial.replace(final)
        except (IsADirectoryError, NotADirectoryError) as error:
            kind = "folder" if final.is_dir() else "file"
            raise ConfigError(f"{final}: is a {kind}; choose another name") from error


def _open_to_umask(path: Path) -> None:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file() and not file.is_symlink()]
    private = [file for file in files if not file.stat().st_mode & 0o077]
    if private:
        umask = os.umask(0)
        os.umask(umask)
        for file in private:
            file.chmod(0o666 & ~umask)


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, keys in the order given, NaN refused."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def describe_run(stage: str, parameters: dict[str, Any], inputs: dict[str, Path]) -> dict[str, Any]:
    """The record that goes into `provenance.json`: software, code, parameters and input hashes.

    Args:
        stage: Name of the command.
        parameters: Settings that decide the result; JSON values.
        inputs: Files by role; each is hashed.
    """
    return {
        "stage": stage,
        "software": {PACKAGE: package_version(), "python": platform.python_version()},
        "code_sha256": code_fingerprint(stage),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "parameters": parameters,
        "inputs": {role: {"file": path.name, "sha256": sha256_file(path)} for role, path in sorted(inputs.items())},
        "platform": f"{platform.system()} {platform.machine()}, Python {sys.version.split()[0]}",
    }
