"""What the plans of all raw folders have in common: which portal a folder comes from, its files, its manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from bulkrnabert.config import FrozenConfig
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.keys import MANIFEST_TSV, PLAN_JSON
from bulkrnabert.provenance import atomic_path, write_json

GDC = "gdc"
GTEX = "gtex"
ENCODE = "encode"
KNOWN = (GDC, GTEX, ENCODE)

AnyPlan = TypeVar("AnyPlan", bound=FrozenConfig)


class RawFile(FrozenConfig):
    """One file of a raw folder, at `<file_id>/<file_name>`.

    Attributes:
        md5: Hex; the portal's, or for an own file the one that it had.
        size: Bytes.
        url: Where it was fetched; for an own file its name.
    """

    file_id: str
    file_name: str
    md5: str
    size: int
    url: str


def plan_source(raw_folder: Path) -> str:
    """The portal that a raw folder comes from: `gdc`, `gtex` or `encode`.

    Raises:
        DataError: no plan, or one of another portal.
    """
    source = _read_json(raw_folder).get("source", GDC)
    if source not in KNOWN:
        raise DataError(f"{raw_folder / PLAN_JSON}: source {source!r}; expected one of {', '.join(KNOWN)}")
    return str(source)


def read_raw_plan(raw_folder: Path, kind: type[AnyPlan]) -> AnyPlan:
    """Read the `plan.json` of a raw folder.

    Raises:
        DataError: there is none, or it is no plan of this kind.
    """
    path = raw_folder / PLAN_JSON
    try:
        return kind.from_mapping(_read_json(raw_folder), f"{path}: not a download plan")
    except ConfigError as error:
        raise DataError(str(error)) from error


def save_plan(raw_folder: Path, plan: FrozenConfig) -> None:
    """Write `plan.json`.

    Raises:
        DataError: the folder cannot be written to.
    """
    try:
        raw_folder.mkdir(parents=True, exist_ok=True)
        write_json(raw_folder / PLAN_JSON, plan.model_dump(mode="json"))
    except OSError as error:
        raise DataError(f"{raw_folder}: cannot be written: {error.strerror}; choose another --out") from error


def write_manifest(raw_folder: Path, files: Sequence[RawFile], release: str) -> None:
    """Write `manifest.tsv`, the last file of a raw folder: with it the folder is complete."""
    lines = ["id\tfilename\tmd5\tsize\trelease"]
    lines += [f"{file.file_id}\t{file.file_name}\t{file.md5}\t{file.size}\t{release}" for file in files]
    with atomic_path(raw_folder / MANIFEST_TSV) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def raw_file_path(raw_folder: Path, file: RawFile) -> Path:
    """Where a file of a plan lies in its raw folder."""
    return raw_folder / file.file_id / file.file_name


def refuse_other_plan(raw_folder: Path, source: str) -> None:
    """Stop before the raw folder of one portal becomes that of another.

    Raises:
        ConfigError: the folder has a plan of another source.
    """
    if (raw_folder / PLAN_JSON).exists() and plan_source(raw_folder) != source:
        raise ConfigError(f"{raw_folder} holds files of {plan_source(raw_folder)}; choose another --out for {source}")


def require_files(raw_folder: Path, files: Sequence[RawFile]) -> None:
    """Stop when a planned file is not there, or is not as long as it should be.

    Raises:
        DataError: names the first.
    """
    for file in files:
        path = raw_file_path(raw_folder, file)
        if not path.is_file():
            raise DataError(f"{raw_folder}: the planned file {path} is not there; run the download again to go on")
        if path.stat().st_size != file.size:
            raise DataError(
                f"{path}: {path.stat().st_size} bytes, the plan says {file.size}: truncated; run the download again"
            )


def _read_json(raw_folder: Path) -> dict[str, Any]:
    path = raw_folder / PLAN_JSON
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{raw_folder}: no {PLAN_JSON} here; make the folder with `bulkrnabert download`") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a download plan: {error}") from error
    if not isinstance(values, dict):
        raise DataError(f"{path}: not a download plan: expected a JSON object, found {type(values).__name__}")
    return values
