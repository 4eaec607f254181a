"""Reads `/files` records: what a plan needs to know of a file, and what only the rules of selection need.

A value may be null or its key absent; both mean that it is not known. The type of a sample stands in `tissue_type`,
`tumor_descriptor` and `specimen_type`, before data release 40 in `sample_type`; the last resort is the barcode.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from bulkrnabert.data.sources.gdc_plan import Json, PlannedFile, is_file_id, is_md5, safe_file_name
from bulkrnabert.data.sources.gdc_rules import Array
from bulkrnabert.errors import PortalAnswerError
from bulkrnabert.keys import NORMAL, TUMOR, UNKNOWN

# https://gdc.cancer.gov/resources-tcga-users/tcga-code-tables/sample-type-codes
SAMPLE_TYPES: Final[dict[str, str]] = {
    "01": "Primary Tumor",
    "02": "Recurrent Tumor",
    "03": "Primary Blood Derived Cancer - Peripheral Blood",
    "04": "Recurrent Blood Derived Cancer - Bone Marrow",
    "05": "Additional - New Primary",
    "06": "Metastatic",
    "07": "Additional Metastatic",
    "08": "Human Tumor Original Cells",
    "09": "Primary Blood Derived Cancer - Bone Marrow",
    "10": "Blood Derived Normal",
    "11": "Solid Tissue Normal",
    "12": "Buccal Cell Normal",
    "13": "EBV Immortalized Normal",
    "14": "Bone Marrow Normal",
    "20": "Control Analyte",
    "40": "Recurrent Blood Derived Cancer - Peripheral Blood",
    "50": "Cell Lines",
    "60": "Primary Xenograft Tissue",
    "61": "Cell Line Derived Xenograft Tissue",
}
TUMOR_CODES: Final = ("01", "02", "03", "04", "05", "06", "07", "08", "09", "40")
NORMAL_CODES: Final = ("11", "10", "12", "14", "13")
_CODE_OF = {name.lower(): code for code, name in SAMPLE_TYPES.items()}
_NOT_SAID = frozenset({"", "not reported", "unknown", "not applicable", "not allowed to collect"})
# (tumor_descriptor, where it is from) -> code
_TUMOR_CODE_OF = {
    ("primary", "solid"): "01",
    ("primary", "blood"): "03",
    ("primary", "marrow"): "09",
    ("recurrence", "solid"): "02",
    ("recurrence", "marrow"): "04",
    ("recurrence", "blood"): "40",
    ("new primary", "solid"): "05",
    ("metastatic", "solid"): "06",
}
_NORMAL_CODE_OF = {"blood": "10", "solid": "11", "buccal": "12", "marrow": "14"}
# Codes that differ only in where a sample is from, which its name tells better than `specimen_type`.
_FAMILIES = (frozenset({"01", "03", "09"}), frozenset({"02", "04", "40"}), frozenset(_NORMAL_CODE_OF.values()))
_BARCODE_END = re.compile(r"^-(\d\d)([A-Z])?(?:-(\d\d)([A-Z]))?(?:-([A-Z0-9]{4}))?(?:-[A-Z0-9]{2})?$")
_RESCINDED = "rescinded"


@dataclass(frozen=True)
class FileRecord:
    """A `/files` record, read once.

    Attributes:
        planned: What the plan says of the file.
        n_cases: Cases that it is made from; 1 as a rule, as the next two.
        n_samples: Samples.
        n_aliquots: Aliquots.
        state: `released`, as a rule.
        redactions: Categories of the redactions that hold.
        categories: Categories of all annotations that hold.
        array: The methylation array, None when the platform is none.
    """

    planned: PlannedFile
    n_cases: int
    n_samples: int
    n_aliquots: int
    state: str
    redactions: tuple[str, ...]
    categories: tuple[str, ...]
    array: Array | None


def read_file_record(hit: Json) -> FileRecord:
    """Read one `/files` record.

    Args:
        hit: As the portal sent it. Not modified.
    Raises:
        PortalAnswerError: no usable id, name, md5 or size.
    """
    cases = _items(hit, "cases")
    samples = [sample for case in cases for sample in _items(case, "samples")]
    aliquots = _aliquot_barcodes(hit, samples)
    case, sample = (cases or [{}])[0], (samples or [{}])[0]
    project = case.get("project")
    patient_id, sample_id = _said(case, "submitter_id"), _said(sample, "submitter_id")
    aliquot_id = aliquots[0] if aliquots else ""
    # A sample's code stands in its own barcode, where that of the aliquot is of another make.
    parts = _BARCODE_END.match(aliquot_id.removeprefix(patient_id)) if patient_id else None
    own = _BARCODE_END.match(sample_id.removeprefix(patient_id)) if patient_id else None
    barcode_code = next((match[1] for match in (own, parts) if match), "")
    vial = next((match[2] for match in (own, parts) if match and match[2]), "")
    tissue, code = sample_kind(sample, barcode_code)
    annotations = [note for note in _annotations(hit, cases, samples) if _said(note, "status").lower() != _RESCINDED]
    planned = PlannedFile(
        file_id=_checked_text(hit, "file_id", is_file_id),
        file_name=safe_file_name(_checked_text(hit, "file_name", bool)),
        md5=_checked_text(hit, "md5sum", is_md5),
        size=_size_of(hit),
        project_id=_said(project, "project_id") if isinstance(project, dict) else "",
        case_id=_said(case, "case_id"),
        patient_id=patient_id,
        sample_id=sample_id,
        aliquot_id=aliquot_id,
        sample_type=_said(sample, "sample_type") or SAMPLE_TYPES.get(code, tissue.capitalize()),
        is_ffpe=any(_is_ffpe(one) for one in samples),
        access=_said(hit, "access"),
        tissue=tissue,
        sample_code=code,
        vial=vial,
        portion=(parts[3] or "") if parts else "",
        analyte=(parts[4] or "") if parts else "",
        plate=(parts[5] or "") if parts else "",
        platform=_said(hit, "platform"),
        version=_said(hit, "version"),
        releases=_said(hit, "data_release"),
    )
    return FileRecord(
        planned=planned,
        n_cases=len(cases),
        n_samples=len(samples),
        n_aliquots=len(aliquots),
        state=_said(hit, "state"),
        redactions=tuple(
            _said(note, "category") or "no category"
            for note in annotations
            if note.get("classification") == "Redaction"
        ),
        categories=tuple(_said(note, "category") for note in annotations),
        array=array_of(_said(hit, "platform")),
    )


def sample_kind(sample: Json, barcode_code: str = "") -> tuple[str, str]:
    """What a sample is: `tumor`, `normal` or `unknown`, and TCGA's code of its type, empty when nothing tells it.

    Args:
        sample: A sample of a `/files` or `/cases` record.
        barcode_code: The code in its barcode, used when no field says what it is.
    """
    kind = {"tumor": TUMOR, "normal": NORMAL}.get(_said(sample, "tissue_type").lower(), UNKNOWN)
    origin = _origin(_said(sample, "specimen_type").lower())
    if kind == TUMOR:
        code = _TUMOR_CODE_OF.get((_said(sample, "tumor_descriptor").lower(), origin), "")
    else:
        code = _NORMAL_CODE_OF.get(origin, "") if kind == NORMAL else ""
    words = _said(sample, "sample_type").lower()
    family = next((codes for codes in _FAMILIES if code in codes), frozenset())
    code = next((named for named in (_CODE_OF.get(words, ""), barcode_code) if named in family), code)
    for candidate in (_CODE_OF.get(words, ""), barcode_code):
        # A code of the other kind contradicts the fields that count.
        if not code and (kind == UNKNOWN or _kind_of(candidate) in (kind, UNKNOWN)):
            code = candidate
    if kind == UNKNOWN:
        kind = _kind_of(code)
    if kind == UNKNOWN and not code:
        if "normal" in words:
            kind = NORMAL
        elif any(word in words for word in ("tumor", "cancer", "metastatic")):
            kind = TUMOR
    return kind, code


def array_of(platform: str) -> Array | None:
    """The methylation array that a platform's name means, whatever its spelling; None when it is none."""
    name = re.sub(r"[^a-z0-9]", "", platform.lower())
    if not re.match(r"(illumina|infinium|human|methylation|hm|epic|27|450)", name):
        return None
    if "epic" in name or "850k" in name:
        return "epic_v2" if "epicv2" in name else "epic"
    match = re.search(r"(?:methylation|hm|^)(27|450)(?!\d)", name)
    if match is None:
        return None
    return "27k" if match[1] == "27" else "450k"


def _kind_of(code: str) -> str:
    if code in TUMOR_CODES:
        return TUMOR
    return NORMAL if code in NORMAL_CODES else UNKNOWN


def _origin(specimen: str) -> str:
    for word, origin in (("marrow", "marrow"), ("blood", "blood"), ("buccal", "buccal"), ("solid", "solid")):
        if word in specimen:
            return origin
    return ""


def _is_ffpe(sample: Json) -> bool:
    # `samples.is_ffpe` is gone from the portal since March 2026.
    return (
        _said(sample, "preservation_method") == "FFPE"
        or sample.get("is_ffpe") is True
        or any(portion.get("is_ffpe") is True for portion in _items(sample, "portions"))
    )


def _aliquot_barcodes(hit: Json, samples: Iterable[Json]) -> list[str]:
    """Barcodes of the aliquots below the samples; without portions, of those that the file names as its own."""
    below = [
        _said(aliquot, "submitter_id")
        for sample in samples
        for portion in _items(sample, "portions")
        for analyte in _items(portion, "analytes")
        for aliquot in _items(analyte, "aliquots")
    ]
    if below:
        return below
    entities = _items(hit, "associated_entities")
    return [_said(entity, "entity_submitter_id") for entity in entities if entity.get("entity_type") == "aliquot"]


def _annotations(hit: Json, cases: list[Json], samples: list[Json]) -> list[Json]:
    return [note for record in (hit, *cases, *samples) for note in _items(record, "annotations")]


def _items(record: Json, key: str) -> list[Json]:
    value = record.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _said(record: Json, key: str) -> str:
    """A text of a record; empty when it is null, absent or a word for that."""
    value = record.get(key)
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return "" if text.lower() in _NOT_SAID else text


def _checked_text(hit: Json, key: str, is_right: Callable[[str], bool]) -> str:
    value = hit.get(key)
    if not isinstance(value, str) or not is_right(value):
        raise PortalAnswerError(
            f"/files: record {hit.get('id')!r} has {key} {value!r}; the portal's answer cannot be trusted"
        )
    return value


def _size_of(hit: Json) -> int:
    value = hit.get("file_size")
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PortalAnswerError(f"/files: record {hit.get('id')!r} has file_size {value!r}; expected a number of bytes")
    return value
