"""A finished run as an RO-Crate: what it was made from, by what, and what came of it, with every hash.

Source:
    RO-Crate Metadata Specification 1.1; its process runs (a `CreateAction` with objects, results and an instrument).
"""

from __future__ import annotations

import csv
import html
import itertools
import json
import logging
import mimetypes
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from bulkrnabert import keys
from bulkrnabert.data.access import CONTROLLED, OPEN, STRICTNESS, strictest
from bulkrnabert.data.sources.raw_plan import GDC
from bulkrnabert.errors import DataError
from bulkrnabert.evaluate.artefacts import read_run, read_summary
from bulkrnabert.logs import hide_credentials, progress
from bulkrnabert.provenance import atomic_path, package_version, sha256_file, write_json

logger = logging.getLogger(__name__)

CONTEXT: Final = "https://w3id.org/ro/crate/1.1/context"
CONFORMS_TO: Final = "https://w3id.org/ro/crate/1.1"
OWN_TERMS: Final = "https://w3id.org/ro/terms/bulkrnabert#"
RUN_JSON: Final = "pipeline_info/run.json"
# What is known to hold a row or a name for each patient; it goes along only when asked for, and only where the data are
# open. Other files are searched for the ids of the run's patients (`select_files`).
PATIENT_LEVEL: Final = (
    "cohorts/*",
    "splits/*",
    "embeddings/*",
    "download/*",
    "**/changes.*",
    f"**/{keys.CHANGES_MD}",
    f"**/{keys.DECISION_MD}",
    f"**/{keys.EMBEDDING_MAPS_JSON}",
    "**/*.parquet",
    "**/*.h5ad",
)
SUMMARY_OF_COHORTS: Final = "cohorts/summary.json"
LEFT_BEHIND: Final = ("mlflow/*", "pipeline_info/*.html", "pipeline_info/*.mmd", keys.AUDIT_JSONL)
TEXTS: Final = frozenset({".json", ".jsonl", ".tsv", ".csv", ".md", ".txt", ".html", ".yaml", ".yml"})
WEIGHTS: Final = ".safetensors"
ID_COLUMNS: Final = (keys.SAMPLE_ID, keys.PATIENT_ID, "case_id", "aliquot_id")
HIDDEN: Final = "…"
_CHUNK: Final = 1 << 24
_WORD: Final = re.compile(r"[^\W_]+")
# What may stand around an id of digits alone, which elsewhere is a number like any other.
_QUOTED: Final = re.compile(r"""["'`>]([^\W_]+)["'`<]""")
_URL: Final = re.compile(r'://[^\s"<]+')


@dataclass(frozen=True)
class Run:
    """What a results folder says about its run.

    Attributes:
        access: The strictest data-access class of anything in it.
        reasons: What has that class.
        inputs: Files that were downloaded: `file_id, file_name, md5, size, release, api`.
        patient_level: Files of the folder that tell of single patients, relative.
        others: The other files that are exported, relative.
    """

    folder: Path
    access: str
    reasons: tuple[str, ...]
    inputs: tuple[dict[str, Any], ...]
    patient_level: tuple[Path, ...]
    others: tuple[Path, ...]


class PatientIds:
    """Ids of patients and samples, to be looked for in texts.

    An id is found as a whole word, also where it begins a longer one, as a patient's barcode does that of a sample. One
    of digits alone, or of a single letter, is found only in quotes or as a whole cell of a page.

    Args:
        ids: Ids as in the tables.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        known = {text for text in ids if _WORD.search(text)}
        self._vague = frozenset(text for text in known if text.isdecimal() or len(text) == 1)
        self._words = {
            written: frozenset(_WORD.findall(written))
            for text in sorted(known - self._vague)
            for written in (text, json.dumps(text)[1:-1], html.escape(text))
        }

    def first_in(self, text: str) -> str | None:
        """An id that the text holds, or None."""
        words = set(_WORD.findall(text))
        for written, parts in self._words.items():
            # Few ids have all their words in a text, so that few are searched for.
            if parts <= words and re.search(rf"(?<![^\W_]){re.escape(written)}(?![^\W_])", text):
                return written
        return next((text for text in _QUOTED.findall(text) if text in self._vague), None) if self._vague else None


@dataclass(frozen=True)
class Selection:
    """What of a run leaves, relative to its folder.

    Attributes:
        files: What goes along.
        stays: What stays, with the reason.
        with_patients: Whether single patients' data go along.
        ids: What must not be in anything that leaves; none with patients.
    """

    files: tuple[Path, ...]
    stays: dict[Path, str]
    with_patients: bool
    ids: PatientIds


def read_results(folder: Path) -> Run:
    """Look through the results folder of a run.

    Raises:
        DataError: it is none, or a file in it is not what it should be.
    """
    if not (folder / SUMMARY_OF_COHORTS).is_file():
        raise DataError(f"{folder}: no {SUMMARY_OF_COHORTS} here; give the results folder of a finished run")
    classes: dict[str, list[str]] = {name: [] for name in STRICTNESS}
    inputs: list[dict[str, Any]] = []

    def note(access: str, what: str) -> None:
        # What is of no known class is treated as the strictest.
        classes[access if access in classes else CONTROLLED].append(what)

    note(read_summary(folder / SUMMARY_OF_COHORTS).data_access, SUMMARY_OF_COHORTS)
    for path in sorted((folder / "download").glob(f"*.{keys.PLAN_JSON}")):
        plan = _read_object(path)
        for file in plan.get("files") or []:
            note(str(file.get("access", OPEN)), f"{path.name}: {file.get('file_id')}")
            facts = {name: file.get(name) for name in ("file_id", "file_name", "md5", "size")}
            release = plan.get("data_release") or plan.get("release")
            inputs.append({**facts, "release": release, "source": plan.get("source", GDC), "api": plan.get("api")})
    for path in sorted(folder.rglob(keys.PROVENANCE_JSON)):
        declared = _read_object(path).get("data_access")
        if declared is not None:
            note(str(declared), path.relative_to(folder).as_posix())
    access = strictest(name for name, found in classes.items() if found)
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    exported = [path for path in files if not _matches(path, LEFT_BEHIND)]
    of_patients = [path for path in exported if _matches(path, PATIENT_LEVEL) and str(path) != SUMMARY_OF_COHORTS]
    others = [path for path in exported if path not in set(of_patients)]
    return Run(folder, access, tuple(classes[access]), tuple(inputs), tuple(of_patients), tuple(others))


def check_export(run: Run, with_patients: bool) -> None:
    """Refuse what must not leave.

    Raises:
        DataError: something is of class `controlled`, or single patients' data would leave that are not open.
    """
    if run.access == CONTROLLED:
        raise DataError(
            f"{run.folder}: {len(run.reasons)} things are of data-access class controlled, as {run.reasons[0]}; what is"
            " made from them, weights too, is not exported"
        )
    if with_patients and run.access != OPEN:
        raise DataError(
            f"{run.folder}: {run.reasons[0]} is of data-access class {run.access}; single patients' data leave only"
            " where all are open: leave --with-patients out"
        )


def select_files(run: Run, with_patients: bool) -> Selection:
    """Which files leave. Without patients every text is searched for ids of the run's own patients and samples.

    Args:
        run: From `read_results`; `check_export` has let it pass.
        with_patients: Whether single patients' data go along.
    Raises:
        DataError: a table that says who is in the run cannot be read.
    """
    if with_patients:
        return Selection(tuple(sorted([*run.others, *run.patient_level])), {}, True, PatientIds(()))
    ids = PatientIds(_read_ids(run))
    stays = dict.fromkeys(run.patient_level, "tells of single patients")
    for file in progress(run.others, what="search for patients", unit="file"):
        reason = _reason_to_stay(run, file, ids)
        if reason is not None:
            logger.info("%s stays: %s", file, reason)
            stays[file] = reason
    return Selection(tuple(file for file in run.others if file not in stays), stays, False, ids)


@contextmanager
def new_crate(run: Run, selection: Selection, out: Path, image: str | None) -> Iterator[Path]:
    """Copy what leaves, and describe it in `ro-crate-metadata.json`, which is given to the block.

    The crate takes its name, and the place of an older one, when the block ends without an error. Passwords in
    addresses are hidden in what is copied.

    Args:
        run: From `read_results`; `check_export` has let it pass.
        selection: From `select_files`.
        out: Folder of the crate.
        image: Container image with its digest; None where there was none.
    """
    with atomic_path(out) as partial:
        for file in progress(selection.files, what="copy", unit="file"):
            (partial / file).parent.mkdir(parents=True, exist_ok=True)
            _copy(run, file, partial / file, selection.with_patients)
        metadata = partial / keys.CRATE_JSON
        write_json(metadata, crate_of(run, selection, partial, image))
        yield metadata


def crate_of(run: Run, selection: Selection, copied: Path, image: str | None) -> dict[str, Any]:
    """The content of `ro-crate-metadata.json`.

    Args:
        run: From `read_results`.
        selection: What the crate holds.
        copied: Folder that it was copied to.
        image: As `new_crate`.
    """

    def shown(text: str) -> str:
        return HIDDEN if selection.ids.first_in(text) else hide_credentials(text)

    path = run.folder / RUN_JSON
    facts = read_run(path if path.is_file() else None)
    times = _read_object(path) if path.is_file() else {}
    outputs = [_file(copied, file) for file in selection.files]
    inputs = [_input(file, number, selection.ids) for number, file in enumerate(run.inputs)]
    parameters = [
        {"@id": f"#parameter-{name}", "@type": "PropertyValue", "name": name, "value": shown(str(value))}
        for name, value in sorted(facts.params.items())
    ]
    encoders = list(_encoders(run.folder))
    split_hashes = sorted({str(one["split_sha256"]) for one in encoders if one.get("split_sha256")})
    code = sorted({str(one["code_sha256"]) for one in encoders if one.get("code_sha256")})
    software = {
        "@id": "#software",
        "@type": ["SoftwareApplication", "SoftwareSourceCode"],
        "name": "bulkrnabert",
        "version": facts.pipeline_version or package_version(),
        "identifier": [f"sha256 of the code of pretrain: {value}" for value in code],
        **({"commit": times["revision"]} if times.get("revision") else {}),
    }
    container = {"@id": "#container", "@type": "SoftwareApplication", "name": image} if image else None
    used = [*inputs, *parameters]
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": facts.run_name or "run",
        "instrument": [_link(one) for one in (software, container) if one is not None],
        "object": [_link(one) for one in used],
        "result": [_link(one) for one in outputs],
        **({"description": shown(facts.command_line)} if facts.command_line else {}),
        **{name: times[key] for name, key in (("startTime", "start"), ("endTime", "complete")) if times.get(key)},
    }
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"bulkrnabert {facts.run_name or 'run'}",
        "description": "Results of a run of the bulkrnabert pipeline, for research.",
        "conditionsOfAccess": run.access,
        "splitSha256": split_hashes,
        "hasPart": [_link(one) for one in outputs],
        "mentions": _link(action),
        **({"datePublished": times["complete"]} if times.get("complete") else {}),
    }
    about = {
        "@id": keys.CRATE_JSON,
        "@type": "CreativeWork",
        "conformsTo": {"@id": CONFORMS_TO},
        "about": {"@id": "./"},
    }
    terms = {name: f"{OWN_TERMS}{name}" for name in ("md5", "dataRelease", "splitSha256", "commit")}
    graph = [about, root, action, software, *([container] if container else []), *used, *outputs]
    return {"@context": [CONTEXT, terms], "@graph": graph}


def _link(entity: dict[str, Any]) -> dict[str, str]:
    return {"@id": entity["@id"]}


def _file(folder: Path, file: Path) -> dict[str, Any]:
    kind, _ = mimetypes.guess_type(file.name)
    return {
        "@id": file.as_posix(),
        "@type": "File",
        "name": file.name,
        "contentSize": (folder / file).stat().st_size,
        "sha256": sha256_file(folder / file),
        "encodingFormat": kind or "application/octet-stream",
    }


def _input(file: dict[str, Any], number: int, ids: PatientIds) -> dict[str, Any]:
    entity = {
        "@id": f"#{file['source']}-{file['file_id']}",
        "@type": "File",
        "name": file["file_name"],
        "identifier": file["file_id"],
        "contentSize": file["size"],
        "md5": file["md5"],
        "dataRelease": file["release"],
        "isPartOf": hide_credentials(str(file["api"] or file["source"])),
    }
    if ids.first_in(json.dumps(entity)):
        return {**entity, "@id": f"#input-{number}", "name": HIDDEN, "identifier": HIDDEN}
    return entity


def _read_ids(run: Run) -> Iterator[str]:
    """Ids of patients and samples in the run's tables, of those too that were left out or withdrawn."""
    for file in run.patient_level:
        path = run.folder / file
        if file.suffix == ".tsv":
            yield from _ids_of_table(path)
        elif file.name.endswith(keys.PLAN_JSON):
            plan = _read_object(path)
            rows = [*(plan.get("files") or []), *(plan.get("rejected") or [])]
            yield from (str(row[name]) for row in rows for name in ID_COLUMNS if row.get(name))
        elif file.match("cohorts/*.parquet"):
            yield from _ids_of_cohort(path)


def _ids_of_table(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as handle:
        # Nothing of ours quotes an id, and a lone quote in another column must not swallow the rows after it.
        reader = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
        wanted = (*ID_COLUMNS, "id") if path.name == keys.UNMATCHED_TSV else ID_COLUMNS
        columns = [name for name in wanted if name in (reader.fieldnames or [])]
        if columns:
            yield from (row[name] for row in reader for name in columns if row[name])


def _ids_of_cohort(path: Path) -> Iterator[str]:
    try:
        names = [name for name in pq.read_schema(path).names if name in ID_COLUMNS]
        table = pq.read_table(path, columns=names)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: is no Parquet table: {error}; give the results folder of a finished run") from error
    for column in table.columns:
        yield from (str(text) for text in column.to_pylist() if text)


def _reason_to_stay(run: Run, file: Path, ids: PatientIds) -> str | None:
    """Why a file must not leave without patients; None where it may."""
    if file.suffix == WEIGHTS:
        return None
    if file.suffix not in TEXTS:
        return "is no text that can be searched for patients"
    values = _without_patients(run, file)
    texts = _texts(run.folder / file) if values is None else iter([json.dumps(values)])
    if file.suffix in (".tsv", ".csv"):
        first = next(texts, "")
        columns = re.split("[\t,]", first.partition("\n")[0].strip())
        if set(ID_COLUMNS) & set(columns):
            return "has a row a sample or patient"
        texts = itertools.chain([first], texts)
    for text in itertools.chain([file.as_posix()], texts):
        found = ids.first_in(text)
        if found is not None:
            return f"names {found}"
    return None


def _texts(path: Path) -> Iterator[str]:
    """A file's text in pieces of whole lines; what is no UTF-8 comes back as it was when it is written again."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as handle:
        while lines := handle.readlines(_CHUNK):
            yield "".join(lines)


def _without_patients(run: Run, file: Path) -> dict[str, Any] | None:
    """What leaves in place of a file that partly tells of patients; None for other files, which leave as they are."""
    if file.as_posix() == SUMMARY_OF_COHORTS:
        values = _read_object(run.folder / file)
        return {**values, "pairs": [_counted(pair) for pair in values.get("pairs") or []]}
    if file.name == keys.PROVENANCE_JSON and run.access != OPEN:
        values = _read_object(run.folder / file)
        # As `push` does it: ids can be guessed and hashed.
        return {**values, "patient_hashes": None} if values.get("patient_hashes") else None
    return None


def _counted(pair: dict[str, Any]) -> dict[str, Any]:
    """Pairs of a cohort with the number of patients who have no vial in common, in place of their ids."""
    others = pair.get("other_vials") or []
    return {**{name: cell for name, cell in pair.items() if name != "other_vials"}, "n_other_vials": len(others)}


def _copy(run: Run, file: Path, target: Path, with_patients: bool) -> None:
    values = None if with_patients else _without_patients(run, file)
    if values is not None:
        write_json(target, values)
    elif file.suffix not in TEXTS:
        shutil.copyfile(run.folder / file, target)
    else:
        with target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as handle:
            for text in _texts(run.folder / file):
                handle.write(_URL.sub(lambda found: hide_credentials(found.group()), text))


def _encoders(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / "encoders").glob(f"*/{keys.PROVENANCE_JSON}")):
        yield _read_object(path)


def _matches(path: Path, patterns: Iterable[str]) -> bool:
    """Whether a path lies under `folder/*`, has a name as `**/name*`, or is the pattern."""
    for pattern in patterns:
        folder, _, rest = pattern.rpartition("/")
        if folder == "**":
            found = path.match(rest)
        elif rest == "*":
            found = path.is_relative_to(folder)
        else:
            found = path.match(pattern)
        if found:
            return True
    return False


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values
