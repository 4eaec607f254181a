"""What is fetched from a portal and what is not, and why: the plan of a raw folder and the rules behind it.

No network here: `/files` records go in, a plan comes out.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from bulkrnabert.config import FrozenConfig
from bulkrnabert.errors import ConfigError, DataError, PortalAnswerError
from bulkrnabert.keys import PLAN_JSON
from bulkrnabert.provenance import write_json

Json = dict[str, Any]
Modality = Literal["rnaseq", "methylation"]
SampleTypes = Literal["tumor", "all"]

_FILE_ID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_MD5 = re.compile(r"^[0-9a-f]{32}$")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_MAX_NAME = 200
_ANALYTE_ORDER = {"rnaseq": "HRT", "methylation": "DGWX"}  # better first, as the Broad's Firehose ranked them


class PlannedFile(FrozenConfig):
    """One file of a plan.

    Attributes:
        file_name: Name in the raw folder: the published one, made safe.
        size: Bytes.
        patient_id: Submitter id of the case, as `TCGA-SA-0001`.
        sample_id: Submitter id of the sample, as `TCGA-SA-0001-01A`.
        aliquot_id: Submitter id of the aliquot, as `TCGA-SA-0001-01A-11R-A001-07`.
        sample_type: As published, for example `Primary Tumor`, `Solid Tissue Normal`, `Metastatic`.
    """

    file_id: str
    file_name: str
    md5: str
    size: int
    project_id: str
    case_id: str
    patient_id: str
    sample_id: str
    aliquot_id: str
    sample_type: str
    is_ffpe: bool
    access: str


class RejectedFile(PlannedFile):
    """A file that the portal has and the plan leaves out."""

    rule: str
    reason: str


class Plan(FrozenConfig):
    """Content of `plan.json`: what a raw folder holds, what was left out, and of which data release."""

    source: Literal["gdc"] = "gdc"
    api: str
    data_release: str
    projects: tuple[str, ...]
    modality: Modality
    sample_types: SampleTypes
    files: tuple[PlannedFile, ...]
    rejected: tuple[RejectedFile, ...]

    @property
    def total_bytes(self) -> int:
        """Size of all planned files."""
        return sum(file.size for file in self.files)

    def save(self, raw_folder: Path) -> None:
        """Write `plan.json`."""
        write_json(raw_folder / PLAN_JSON, self.model_dump(mode="json"))


def read_plan(raw_folder: Path) -> Plan:
    """Read the `plan.json` of a raw folder.

    Raises:
        DataError: there is none, or it is no plan.
    """
    path = raw_folder / PLAN_JSON
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{raw_folder}: no {PLAN_JSON} here; make the folder with `bulkrnabert download`") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a download plan: {error}") from error
    try:
        return Plan.from_mapping(values, f"{path}: not a download plan")
    except ConfigError as error:
        raise DataError(str(error)) from error


def file_path(raw_folder: Path, file: PlannedFile) -> Path:
    """Where a file of a plan lies in its raw folder."""
    return raw_folder / file.file_id / file.file_name


def safe_file_name(name: str) -> str:
    """A published file name without folders, hidden-file dots or unusual characters, at most 200 characters long."""
    base = _UNSAFE.sub("_", PurePosixPath(name.replace("\\", "/")).name).lstrip(".")
    return base[-_MAX_NAME:] or "unnamed"


def _get_list(record: Json, key: str) -> list[Json]:
    value = record.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _aliquots(sample: Json) -> list[str]:
    return [
        str(aliquot.get("submitter_id", ""))
        for portion in _get_list(sample, "portions")
        for analyte in _get_list(portion, "analytes")
        for aliquot in _get_list(analyte, "aliquots")
    ]


class _Candidate:
    """A `/files` record, read once: the facts of the plan and those that only the rules need."""

    def __init__(self, hit: Json, modality: Modality) -> None:
        cases = _get_list(hit, "cases")
        case = cases[0] if cases else {}
        samples = [sample for one in cases for sample in _get_list(one, "samples")]
        sample = samples[0] if samples else {}
        aliquots = [barcode for one in samples for barcode in _aliquots(one)]
        self.n_sources = max(len(cases), len(samples), len(aliquots))
        self.has_source = bool(cases and samples and aliquots)
        self.tissue = str(sample.get("tissue_type") or "")
        self.sample_type = str(sample.get("sample_type") or "")
        self.platform = str(hit.get("platform") or "")
        self.state = str(hit.get("state") or "")
        self.annotations = _get_list(hit, "annotations")
        self.is_ffpe = sample.get("preservation_method") == "FFPE" or any(
            portion.get("is_ffpe") is True for portion in _get_list(sample, "portions")
        )
        self.planned = PlannedFile(
            file_id=_checked_text(hit, "file_id", _FILE_ID),
            file_name=safe_file_name(_checked_text(hit, "file_name", None)),
            md5=_checked_text(hit, "md5sum", _MD5),
            size=_checked_size(hit),
            project_id=str((case.get("project") or {}).get("project_id") or ""),
            case_id=str(case.get("case_id") or ""),
            patient_id=str(case.get("submitter_id") or ""),
            sample_id=str(sample.get("submitter_id") or ""),
            aliquot_id=aliquots[0] if aliquots else "",
            sample_type=self.sample_type,
            is_ffpe=self.is_ffpe,
            access=str(hit.get("access") or ""),
        )
        self.rank = self._rank(modality)

    @property
    def is_normal(self) -> bool:
        return self.tissue == "Normal" or (not self.tissue and "Normal" in self.sample_type)

    @property
    def is_tumor(self) -> bool:
        words = ("Tumor", "Cancer", "Metastatic")
        return self.tissue == "Tumor" or (not self.tissue and any(word in self.sample_type for word in words))

    def _rank(self, modality: Modality) -> tuple[int, str, str, int, str, str]:
        """Smaller is better: primary before other tumours, vial, analyte, plate; the rest only settles ties."""
        fields = self.planned.aliquot_id.split("-")
        sample_code, portion, plate = (fields[index] if len(fields) > index else "" for index in (3, 4, 5))
        analyte = portion[-1:]
        order = _ANALYTE_ORDER[modality]
        return (
            0 if self.sample_type.startswith(("Primary", "Solid Tissue Normal")) else 1,
            sample_code[:2],
            sample_code[2:],
            order.index(analyte) if analyte and analyte in order else len(order),
            plate,
            f"{self.planned.aliquot_id} {self.planned.file_id}",
        )


def _checked_text(hit: Json, key: str, pattern: re.Pattern[str] | None) -> str:
    value = hit.get(key)
    if not isinstance(value, str) or (pattern is not None and not pattern.match(value)):
        raise PortalAnswerError(
            f"/files: record {hit.get('id')!r} has {key} {value!r}; the portal's answer cannot be trusted"
        )
    return value


def _checked_size(hit: Json) -> int:
    value = hit.get("file_size")
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PortalAnswerError(f"/files: record {hit.get('id')!r} has file_size {value!r}; expected a number of bytes")
    return value


Rule = tuple[str, Callable[[_Candidate], str | None]]


def _single_file_rules(sample_types: SampleTypes) -> list[Rule]:
    """Rules that look at one file: name, and a function that returns the reason to leave it out, or None."""

    def wrong_tissue(file: _Candidate) -> str | None:
        if file.is_tumor or (sample_types == "all" and file.is_normal):
            return None
        wanted = "tumours" if sample_types == "tumor" else "tumours and normal tissue"
        return f"sample type {file.sample_type or file.tissue or 'not reported'!r}; only {wanted} are wanted"

    return [
        (
            "one_aliquot",
            lambda file: (
                None if file.has_source and file.n_sources == 1 else f"made from {file.n_sources} aliquots, not one"
            ),
        ),
        ("released", lambda file: None if file.state == "released" else f"state {file.state!r}"),
        ("open_access", lambda file: None if file.planned.access == "open" else f"access {file.planned.access!r}"),
        (
            "not_redacted",
            lambda file: next(
                (
                    f"redaction: {note.get('category', 'no category')}"
                    for note in file.annotations
                    if note.get("classification") == "Redaction"
                ),
                None,
            ),
        ),
        ("sample_type", wrong_tissue),
        ("not_ffpe", lambda file: "FFPE sample" if file.is_ffpe else None),
    ]


def _replicate_reason(loser: _Candidate, winner: _Candidate) -> tuple[str, str]:
    chosen = winner.planned
    if loser.planned.sample_id == chosen.sample_id:
        return "one_aliquot_a_sample", f"{chosen.aliquot_id} ({chosen.file_id}) is used for this sample"
    return "one_sample_a_patient", f"{chosen.sample_id} is used for this patient's {loser.tissue.lower() or 'tissue'}"


def select_files(
    hits: Iterable[Json], modality: Modality, sample_types: SampleTypes
) -> tuple[list[PlannedFile], list[RejectedFile]]:
    """Choose one file for each patient and tissue (tumour, normal), and say why every other one is left out.

    The choice does not depend on the order of the records. FFPE is out; a primary tumour comes before other tumours,
    vial A before B; then the analyte; then the lowest plate.

    Args:
        hits: `/files` records. Not modified.
        modality: Decides the order of analytes; methylation files of the rarer array are left out.
        sample_types: `tumor`, or `all` for normal tissue too.
    Returns:
        Chosen and rejected files, each sorted by file id.
    Raises:
        PortalAnswerError: a record has no usable id, name, md5 or size.
    """
    rejected: list[RejectedFile] = []

    def reject(file: _Candidate, rule: str, reason: str) -> None:
        rejected.append(RejectedFile(**file.planned.model_dump(), rule=rule, reason=reason))

    kept: list[_Candidate] = []
    rules = _single_file_rules(sample_types)
    for file in (_Candidate(hit, modality) for hit in hits):
        for rule, reason_of in rules:
            reason = reason_of(file)
            if reason is not None:
                reject(file, rule, reason)
                break
        else:
            kept.append(file)

    if modality == "methylation":
        array = _main_array(kept)
        for file in [file for file in kept if file.platform != array]:
            reject(file, "one_array", f"{file.platform!r}; most files are {array!r} and arrays are not mixed")
        kept = [file for file in kept if file.platform == array]

    chosen: dict[tuple[str, bool], _Candidate] = {}
    for file in sorted(kept, key=lambda file: file.rank):
        winner = chosen.setdefault((file.planned.patient_id, file.is_normal), file)
        if winner is not file:
            reject(file, *_replicate_reason(file, winner))
    return (
        sorted((file.planned for file in chosen.values()), key=lambda file: file.file_id),
        sorted(rejected, key=lambda file: file.file_id),
    )


def _main_array(files: list[_Candidate]) -> str:
    counts = Counter(file.platform for file in files)
    return min(counts, key=lambda platform: (-counts[platform], platform), default="")
