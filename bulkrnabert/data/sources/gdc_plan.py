"""What is fetched from the GDC and what is not, and why: the plan of a raw folder, its files on disk.

No network here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field

from bulkrnabert.config import FrozenConfig
from bulkrnabert.data.sources.gdc_rules import Modality, SampleTypes, SelectionRules
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.keys import PATIENT_ID, PLAN_JSON, PROJECT_ID, REASON, REJECTED_TSV, RULE, SAMPLE_ID
from bulkrnabert.provenance import atomic_path, write_json

Json = dict[str, Any]

_FILE_ID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_MD5 = re.compile(r"^[0-9a-f]{32}$")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_MAX_NAME = 200
_REJECTED_COLUMNS = ("file_id", "file_name", SAMPLE_ID, PATIENT_ID, "aliquot_id", PROJECT_ID, RULE, REASON)


class PlannedFile(FrozenConfig):
    """One file of a plan.

    Attributes:
        file_name: Name in the raw folder: the published one, made safe.
        size: Bytes.
        patient_id: Submitter id of the case, as `TCGA-SA-0001`.
        sample_id: Submitter id of the sample, as `TCGA-SA-0001-01A`.
        aliquot_id: Submitter id of the aliquot, as `TCGA-SA-0001-01A-11R-A001-07`.
        sample_type: As published, for example `Primary Tumor`, `Solid Tissue Normal`, `Metastatic`; where the portal
            has none, TCGA's name for what its other fields say.
        access: `open` or `controlled`.
        tissue: `tumor`, `normal` or `unknown`; empty in plans that do not say it.
        sample_code: TCGA's code of the sample type, as `01`; empty when nothing tells it.
        vial: Letter after the sample code; this and the next three are empty where the barcode has none.
        portion: Two digits.
        analyte: Letter: R, T or H for RNA, D, G, W or X for DNA.
        plate: Four characters.
        platform: As published, for example `Illumina Human Methylation 450`.
        version: Of the file, counted by the portal.
        releases: Data releases that have the file, as `32.0 - 45.0`.
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
    tissue: str = ""
    sample_code: str = ""
    vial: str = ""
    portion: str = ""
    analyte: str = ""
    plate: str = ""
    platform: str = ""
    version: str = ""
    releases: str = ""


class RejectedFile(PlannedFile):
    """A file that the portal has and the plan leaves out."""

    rule: str
    reason: str


class Plan(FrozenConfig):
    """Content of `plan.json`: what a raw folder holds, what was left out, and of which data release.

    Attributes:
        api: The portal that was asked.
        api_tag: Version of its interface.
        data_release: As the portal names it.
        requested: Projects as they were asked for; merged cohorts and `all-tcga` by their own names.
        projects: Project ids, sorted.
        merged: Merged cohorts that were asked for, and their projects.
        sample_types: As `rules.tissue`.
        filters: What the portal was asked for, in its own grammar; None where a list of files was given.
        rules: What decided between `files` and `rejected`; None in plans that do not say it, and where a list of files
            was given.
    """

    source: Literal["gdc"] = "gdc"
    api: str
    api_tag: str = ""
    data_release: str
    requested: tuple[str, ...] = ()
    projects: tuple[str, ...]
    merged: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    modality: Modality
    sample_types: SampleTypes
    filters: Json | None = None
    rules: SelectionRules | None = None
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
    if not (raw_folder / PLAN_JSON).exists():
        raise DataError(f"{raw_folder}: no {PLAN_JSON} here; make the folder with `bulkrnabert download`")
    return read_plan_file(raw_folder / PLAN_JSON)


def read_plan_file(path: Path) -> Plan:
    """Read a plan, wherever it lies.

    Raises:
        DataError: it cannot be read, or is no plan.
    """
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a download plan: {error}") from error
    try:
        return Plan.from_mapping(values, f"{path}: not a download plan")
    except ConfigError as error:
        raise DataError(str(error)) from error


def write_rejected(raw_folder: Path, plan: Plan) -> None:
    """Write `rejected.tsv`: a row a file that the plan leaves out, with the rule and the reason, sorted by file id."""
    lines = ["\t".join(_REJECTED_COLUMNS)]
    for file in sorted(plan.rejected, key=lambda file: file.file_id):
        values = file.model_dump()
        lines.append("\t".join(" ".join(str(values[column]).split()) for column in _REJECTED_COLUMNS))
    with atomic_path(raw_folder / REJECTED_TSV) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def file_path(raw_folder: Path, file: PlannedFile) -> Path:
    """Where a file of a plan lies in its raw folder."""
    return raw_folder / file.file_id / file.file_name


def is_file_id(text: str) -> bool:
    """Whether a text is a file id of the GDC: a UUID in lower case."""
    return _FILE_ID.fullmatch(text) is not None


def is_md5(text: str) -> bool:
    """Whether a text is an md5 as the GDC writes it: 32 hexadecimal digits in lower case."""
    return _MD5.fullmatch(text) is not None


def safe_file_name(name: str) -> str:
    """A published file name without folders, hidden-file dots or unusual characters, at most 200 characters long."""
    base = _UNSAFE.sub("_", PurePosixPath(name.replace("\\", "/")).name).lstrip(".")
    return base[-_MAX_NAME:] or "unnamed"
