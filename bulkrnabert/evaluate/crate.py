"""A finished run as an RO-Crate: what it was made from, by what, and what came of it, with every hash.

Source:
    RO-Crate Metadata Specification 1.1; its process runs (a `CreateAction` with objects, results and an instrument).
"""

from __future__ import annotations

import json
import mimetypes
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bulkrnabert import keys
from bulkrnabert.data.access import CONTROLLED, OPEN, STRICTNESS, strictest
from bulkrnabert.data.sources.raw_plan import GDC
from bulkrnabert.errors import DataError
from bulkrnabert.evaluate.artefacts import read_run, read_summary
from bulkrnabert.logs import hide_credentials, progress
from bulkrnabert.provenance import atomic_path, package_version, sha256_file, write_json

CONTEXT: Final = "https://w3id.org/ro/crate/1.1/context"
CONFORMS_TO: Final = "https://w3id.org/ro/crate/1.1"
OWN_TERMS: Final = "https://w3id.org/ro/terms/bulkrnabert#"
RUN_JSON: Final = "pipeline_info/run.json"
# What holds a row or a name for each patient; it goes along only when asked for, and only where the data are open.
PATIENT_LEVEL: Final = (
    "cohorts/*",
    "splits/*",
    "embeddings/*",
    "download/*",
    "**/predictions*.parquet",
    "retraining/changes/changes.*",
)
SUMMARY_OF_COHORTS: Final = "cohorts/summary.json"
LEFT_BEHIND: Final = ("mlflow/*", "pipeline_info/*.html", "pipeline_info/*.mmd", keys.AUDIT_JSONL)


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


def write_crate(run: Run, out: Path, with_patients: bool, image: str | None) -> Path:
    """Copy what may leave, and describe it in `ro-crate-metadata.json`.

    Args:
        run: From `read_results`; `check_export` has let it pass.
        out: Folder of the crate, made; an older one is replaced.
        with_patients: Whether single patients' data go along.
        image: Container image with its digest; None where there was none.
    Returns:
        The metadata file.
    """
    files = sorted([*run.others, *(run.patient_level if with_patients else ())])
    with atomic_path(out) as partial:
        for file in progress(files, what="copy", unit="file"):
            (partial / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run.folder / file, partial / file)
        write_json(partial / keys.CRATE_JSON, crate_of(run, files, image))
    return out / keys.CRATE_JSON


def crate_of(run: Run, files: Iterable[Path], image: str | None) -> dict[str, Any]:
    """The content of `ro-crate-metadata.json`.

    Args:
        run: From `read_results`.
        files: What the crate holds, relative to it.
        image: As `write_crate`.
    """
    path = run.folder / RUN_JSON
    facts = read_run(path if path.is_file() else None)
    times = _read_object(path) if path.is_file() else {}
    outputs = [_file(run.folder, file) for file in files]
    inputs = [_input(file) for file in run.inputs]
    parameters = [
        {"@id": f"#parameter-{name}", "@type": "PropertyValue", "name": name, "value": hide_credentials(str(value))}
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
        **({"description": hide_credentials(facts.command_line)} if facts.command_line else {}),
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


def _input(file: dict[str, Any]) -> dict[str, Any]:
    return {
        "@id": f"#{file['source']}-{file['file_id']}",
        "@type": "File",
        "name": file["file_name"],
        "identifier": file["file_id"],
        "contentSize": file["size"],
        "md5": file["md5"],
        "dataRelease": file["release"],
        "isPartOf": hide_credentials(str(file["api"] or file["source"])),
    }


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
