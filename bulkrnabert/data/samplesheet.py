"""The samplesheet of own files: read and checked as a whole, with every problem named at once."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from bulkrnabert import keys
from bulkrnabert.data.sources.delimited import read_cells, shorten
from bulkrnabert.data.sources.files import parse_format
from bulkrnabert.data.tables import MODALITIES
from bulkrnabert.data.units import Unit, parse_unit
from bulkrnabert.errors import DataError, join_problems

COLUMNS = (keys.COHORT, "modality", "path", "format", "unit", "clinical")
OPTIONAL_COLUMNS = ("format", "unit", "clinical")
CENTRED_BASES = ("zscore", "log2_ratio")
_COHORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
COHORT_NAME_RULE = (
    "letters, digits, `.`, `_` and `-`, at most 100, starting with a letter or digit (it becomes a file name), and is"
    f" not `{keys.PAN}` (all cohorts together)"
)


@dataclass(frozen=True)
class SheetRow:
    """One table of expression or methylation.

    Attributes:
        where: Row of the sheet or option of the command, for messages.
        cohort: Cohort, or a study whose samples take their cohort from the clinical table.
        path: File, or folder of STAR-Counts files.
        format: As `sources.files.parse_format` reads it; empty to go by the extension.
        unit: What the numbers are.
        clinical: Clinical table, if there is one.
        modality: `rnaseq` or `methylation`.
    """

    where: str
    cohort: str
    path: Path
    format: str
    unit: Unit
    clinical: Path | None
    modality: str = keys.RNASEQ


def read_samplesheet(path: Path) -> list[SheetRow]:
    """Read a samplesheet (CSV or TSV; `cohort, modality, path, format, unit, clinical`).

    Paths are relative to the sheet itself, also when it is reached through a link. `format`, `unit` and `clinical` may
    be empty: the extension tells the format, and STAR-Counts files are in TPM.

    Raises:
        DataError: lists every problem with its row.
    """
    first, *body = read_cells(path)
    header = first.cells
    problems = _header_problems(header)
    if problems:
        raise DataError(join_problems(f"samplesheet {path}", problems))
    if not body:
        raise DataError(f"samplesheet {path}: a header without rows; list at least one table")
    folder = path.resolve().parent
    rows: list[SheetRow] = []
    seen: dict[tuple[str, str, Path], str] = {}
    for line in body:
        number = line.number
        if len(line.cells) > len(header):
            problems.append(f"row {number}: {len(line.cells)} cells, but the header has {len(header)} columns")
            continue
        values = dict.fromkeys(COLUMNS, "") | dict(zip(header, line.cells, strict=False))
        row, found = _parse_row(number, values, folder)
        problems += found
        if row is not None:
            key = (row.modality, row.cohort, row.path.resolve())
            if key in seen:
                problems.append(f"row {number}: {values['path']!r} is listed for {row.cohort!r} in {seen[key]} already")
            seen.setdefault(key, row.where)
            rows.append(row)
    if problems:
        raise DataError(join_problems(f"samplesheet {path}", problems))
    return rows


def make_row(
    cohort: str, path: Path, fmt: str, unit: str, clinical: Path | None, modality: str = keys.RNASEQ
) -> SheetRow:
    """One table named on the command line, checked like a row of a samplesheet.

    Raises:
        DataError: lists every problem.
    """
    values = {
        keys.COHORT: cohort,
        "modality": modality,
        "path": str(path),
        "format": fmt,
        "unit": unit,
        "clinical": str(clinical) if clinical else "",
    }
    row, problems = _parse_row(0, values, Path())
    if row is None:
        raise DataError(join_problems("--table", [problem.removeprefix("row 0: ") for problem in problems]))
    return row


def is_cohort_name(name: str) -> bool:
    """Whether a cohort may be named so: it becomes a file name, and a scope beside `pan`."""
    return _COHORT_NAME.match(name) is not None and name != keys.PAN


def _header_problems(header: list[str]) -> list[str]:
    if len(header) == 1:
        return [f"only one column, {shorten(header[0])!r}; separate {', '.join(COLUMNS)} by commas or tabs"]
    problems = []
    missing = [name for name in COLUMNS if name not in header and name not in OPTIONAL_COLUMNS]
    for name in header:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name.lower(), COLUMNS, n=1)
            hint = f", did you mean `{near[0]}`?" if near else f"; columns are {', '.join(COLUMNS)}"
            problems.append(f"unknown column {shorten(name)!r}{hint}")
            if near and near[0] in missing:
                missing.remove(near[0])
    problems += [f"column `{name}` is missing" for name in missing]
    problems += [f"column `{name}` stands there twice" for name in sorted({n for n in header if header.count(n) > 1})]
    return problems


def _parse_row(number: int, values: dict[str, str], folder: Path) -> tuple[SheetRow | None, list[str]]:
    where = f"row {number}"
    problems = []
    cohort = values[keys.COHORT]
    if not cohort:
        problems.append(f"{where}: no cohort; name it")
    elif not is_cohort_name(cohort):
        problems.append(f"{where}: cohort {shorten(cohort)!r}; a cohort is named with {COHORT_NAME_RULE}")
    problems += _modality_problems(where, values["modality"])
    table = folder / values["path"]
    if not values["path"]:
        problems.append(f"{where}: no path")
    elif not _exists(table):
        problems.append(f"{where}: {shorten(values['path'])!r} not found (looked for it in {folder})")
    unit, unit_problems = _parse_unit_and_format(values, table)
    problems += [f"{where}: {problem}" for problem in unit_problems]
    problems += _modality_unit_problems(where, values["modality"], unit)
    clinical = folder / values["clinical"] if values["clinical"] else None
    if clinical is not None and not (_exists(clinical) and clinical.is_file()):
        problems.append(
            f"{where}: clinical table {shorten(values['clinical'])!r} not found (looked for it in {folder})"
        )
    if problems or unit is None:
        return None, problems
    return SheetRow(where, cohort, table, values["format"], unit, clinical, values["modality"]), []


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is longer than names can be
        return False


def _parse_unit_and_format(values: dict[str, str], table: Path) -> tuple[Unit | None, list[str]]:
    """The row's unit, and what is wrong with its format and unit; an absent table's only if stated."""
    problems = []
    is_star = False
    if values["format"] or _exists(table):
        try:
            is_star = parse_format(values["format"], table).name == "star_counts"
        except DataError as error:
            problems.append(str(error))
    try:
        return _unit(values["unit"], is_star), problems
    except DataError as error:
        return None, [*problems, str(error)]


def _modality_problems(where: str, modality: str) -> list[str]:
    if modality in MODALITIES:
        return []
    near = difflib.get_close_matches(modality.lower(), MODALITIES, n=1)
    hint = f", did you mean {near[0]!r}?" if near else f"; write {' or '.join(map(repr, MODALITIES))}"
    return [f"{where}: unknown modality {modality!r}{hint}"]


def _modality_unit_problems(where: str, modality: str, unit: Unit | None) -> list[str]:
    """Beta is of methylation and nothing else; centred scales may be of either."""
    if unit is None or unit.base in CENTRED_BASES or (unit.base == "beta") == (modality == keys.METHYLATION):
        return []
    if modality == keys.METHYLATION:
        return [f"{where}: unit `{unit}` of modality methylation; give beta, sqrt(beta), zscore or log2_ratio"]
    return [f"{where}: unit `{unit}` of modality {modality}; beta values are of modality methylation"]


def _unit(text: str, is_star: bool) -> Unit:
    if is_star:
        unit = parse_unit(text or "tpm")
        if unit != Unit("tpm"):
            raise DataError(f"unit {text!r}: of STAR-Counts files the TPM column is read; write tpm or nothing")
        return unit
    if not text:
        raise DataError("no unit; say what the numbers are, as tpm, log2(tpm+0.001), rsem, counts")
    return parse_unit(text)
