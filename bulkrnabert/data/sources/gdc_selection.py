"""Chooses one file for each patient and tissue, and says of every other one why it is left out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bulkrnabert.data.sources.gdc_hits import NORMAL_CODES, FileRecord, read_file_record
from bulkrnabert.data.sources.gdc_plan import Json, PlannedFile, RejectedFile
from bulkrnabert.data.sources.gdc_rules import (
    DEFAULT_RULES,
    NOT_ANNOTATED,
    NOT_FFPE,
    NOT_REDACTED,
    ONE_ALIQUOT,
    ONE_ALIQUOT_A_SAMPLE,
    ONE_ARRAY,
    ONE_SAMPLE_A_PATIENT,
    OPEN_ACCESS,
    RELEASED,
    SAMPLE_TYPE_RULE,
    SINGLE_FILE_RULES,
    Array,
    Criterion,
    Direction,
    Modality,
    SelectionRules,
)
from bulkrnabert.errors import PortalAnswerError
from bulkrnabert.keys import METHYLATION, NORMAL, RNASEQ, TUMOR

logger = logging.getLogger(__name__)

OPEN = "open"
_ARRAY_ORDER: tuple[Array, ...] = ("450k", "epic", "epic_v2", "27k")
_TCGA = "TCGA-"
Reason = str | None


@dataclass(frozen=True)
class Selection:
    """What became of the files that a portal has.

    Attributes:
        files: Chosen, sorted by file id.
        rejected: All others with rule and reason, sorted by file id.
    """

    files: tuple[PlannedFile, ...]
    rejected: tuple[RejectedFile, ...]


def select_files(hits: Iterable[Json], modality: Modality, rules: SelectionRules = DEFAULT_RULES) -> Selection:
    """Choose one file for each patient and tissue (tumour, normal), and say why every other one is left out.

    The choice does not depend on the order of the records.

    Args:
        hits: `/files` records. Not modified.
        modality: What they are.
        rules: What is wanted.
    Raises:
        PortalAnswerError: a record has no usable id, name, md5 or size, stands there twice, or is a TCGA expression
            file of more than one case, sample or aliquot.
    """
    rejected: list[RejectedFile] = []

    def reject(record: FileRecord, rule: str, reason: str) -> None:
        rejected.append(RejectedFile(**record.planned.model_dump(), rule=rule, reason=reason))

    records = _read_records(hits, modality)
    kept: list[FileRecord] = []
    for record in records:
        objection = _first_objection(record, rules)
        if objection is None:
            kept.append(record)
        else:
            reject(record, *objection)
    if modality == METHYLATION:
        kept = _keep_array(kept, rules, reject)

    chosen: dict[tuple[str, str], FileRecord] = {}
    for record in sorted(kept, key=lambda record: _rank(record, modality, rules)):
        winner = chosen.setdefault((record.planned.patient_id, record.planned.tissue), record)
        if winner is not record:
            reject(record, *_replicate_reason(record, winner, modality, rules))
    return Selection(
        files=tuple(sorted((record.planned for record in chosen.values()), key=lambda file: file.file_id)),
        rejected=tuple(sorted(rejected, key=lambda file: file.file_id)),
    )


def _read_records(hits: Iterable[Json], modality: Modality) -> list[FileRecord]:
    records = sorted((read_file_record(hit) for hit in hits), key=lambda record: record.planned.file_id)
    counts = Counter(record.planned.file_id for record in records)
    for record in records:
        file = record.planned
        if counts[file.file_id] > 1:
            raise PortalAnswerError(f"/files: file {file.file_id} is listed {counts[file.file_id]} times")
        most = max(record.n_cases, record.n_samples, record.n_aliquots)
        if modality == RNASEQ and file.project_id.startswith(_TCGA) and most > 1:
            raise PortalAnswerError(
                f"/files: file {file.file_id} ({file.aliquot_id or file.sample_id or file.patient_id}) belongs to"
                f" {record.n_cases} cases, {record.n_samples} samples and {record.n_aliquots} aliquots; an expression"
                f" file of {file.project_id} belongs to one of each, so the portal's answer cannot be trusted"
            )
    return records


# ---- rules about one file ----


def _first_objection(record: FileRecord, rules: SelectionRules) -> tuple[str, str] | None:
    """The first rule that leaves a file out, and its reason."""
    for rule in SINGLE_FILE_RULES:
        reason = _JUDGES[rule](record, rules)
        if reason is not None:
            return rule, reason
    return None


def _more_or_less_than_one(record: FileRecord, _rules: SelectionRules) -> Reason:
    for count, what in ((record.n_cases, "case"), (record.n_samples, "sample"), (record.n_aliquots, "aliquot")):
        if count == 0:
            return f"no {what} is named"
        if count > 1:
            return f"made from {count} {what}s, not one"
    file = record.planned
    if not (file.patient_id and file.sample_id and file.aliquot_id and file.project_id and file.case_id):
        return "the project or an id of case, sample or aliquot is not given"
    return None


def _unwanted_state(record: FileRecord, rules: SelectionRules) -> Reason:
    return None if record.state in rules.states else f"state {record.state!r}"


def _no_access(record: FileRecord, rules: SelectionRules) -> Reason:
    access = record.planned.access
    return None if access == OPEN or (rules.access == "all" and access) else f"access {access!r}"


def _redacted(record: FileRecord, rules: SelectionRules) -> Reason:
    if rules.redactions == "exclude" and record.redactions:
        return f"redaction: {'; '.join(sorted(set(record.redactions)))}"
    return None


def _annotated(record: FileRecord, rules: SelectionRules) -> Reason:
    unwanted = sorted(set(record.categories) & set(rules.annotation_categories))
    return f"annotation: {'; '.join(unwanted)}" if unwanted else None


def _unwanted_tissue(record: FileRecord, rules: SelectionRules) -> Reason:
    file = record.planned
    codes = rules.codes_of(file.project_id)
    is_wanted = file.tissue == TUMOR or (rules.tissue == "all" and file.tissue == NORMAL)
    if rules.tissue == "primary":
        is_wanted = file.tissue == TUMOR and file.sample_code in codes
    if is_wanted:
        return None
    wanted = {
        "primary": f"primary tumours ({', '.join(codes)}) of {file.project_id}",
        "tumor": "tumours",
        "all": "tumours and normal tissue",
    }
    found = f"{file.sample_type or 'not reported'!r}" + (f" ({file.sample_code})" if file.sample_code else "")
    return f"sample type {found}; only {wanted[rules.tissue]} are wanted"


def _ffpe(record: FileRecord, rules: SelectionRules) -> Reason:
    return "FFPE sample" if rules.ffpe == "exclude" and record.planned.is_ffpe else None


_JUDGES: dict[str, Callable[[FileRecord, SelectionRules], Reason]] = {
    ONE_ALIQUOT: _more_or_less_than_one,
    RELEASED: _unwanted_state,
    OPEN_ACCESS: _no_access,
    NOT_REDACTED: _redacted,
    NOT_ANNOTATED: _annotated,
    SAMPLE_TYPE_RULE: _unwanted_tissue,
    NOT_FFPE: _ffpe,
}


def _keep_array(
    records: list[FileRecord], rules: SelectionRules, reject: Callable[[FileRecord, str, str], None]
) -> list[FileRecord]:
    """The files of the wanted array; of any known one where all are wanted."""
    counts = Counter(record.array for record in records if record.array is not None)
    if rules.methylation_array == "all":
        if len(counts) > 1:
            logger.warning(
                "arrays are mixed: %s; they share only some probes",
                ", ".join(f"{counts[array]} files of {array}" for array in _ARRAY_ORDER if array in counts),
            )
        wanted = set(counts)
        why = "it is no known array"
    else:
        most = min(_ARRAY_ORDER, key=lambda array: (-counts[array], _ARRAY_ORDER.index(array)))
        wanted = {most if rules.methylation_array == "auto" else rules.methylation_array}
        why = f"most files are of array {most}, and arrays are not mixed"
        if rules.methylation_array != "auto":
            why = f"only array {rules.methylation_array} is wanted"
    for record in records:
        if record.array not in wanted:
            reject(record, ONE_ARRAY, f"platform {record.planned.platform!r}; {why}")
    return [record for record in records if record.array in wanted]


# ---- rules between files of one patient and tissue ----


def _rank(record: FileRecord, modality: Modality, rules: SelectionRules) -> tuple[tuple[int, ...], ...]:
    """Smaller is better; aliquot and file id settle what no criterion does."""
    file = record.planned
    criteria = [_criterion_rank(criterion, record, modality, rules) for criterion in rules.order[modality]]
    return (*criteria, _text_rank(file.sample_id), _text_rank(file.aliquot_id), _text_rank(file.file_id))


def _criterion_rank(
    criterion: Criterion, record: FileRecord, modality: Modality, rules: SelectionRules
) -> tuple[int, ...]:
    file = record.planned
    match criterion:
        case "tissue":
            return (_tissue_rank(file, rules),)
        case "ffpe":
            return (int(file.is_ffpe and rules.ffpe == "prefer_frozen"),)
        case "array":
            return (_ARRAY_ORDER.index(record.array) if record.array else len(_ARRAY_ORDER),)
        case "analyte":
            letters = rules.analytes[modality]
            return (letters.index(file.analyte) if file.analyte and file.analyte in letters else len(letters),)
        case "vial":
            return _text_rank(file.vial, rules.vial)
        case "portion":
            return _text_rank(file.portion, rules.portion)
        case "plate":
            return _text_rank(file.plate, rules.plate)


def _tissue_rank(file: PlannedFile, rules: SelectionRules) -> int:
    code = file.sample_code
    if file.tissue == NORMAL:
        return NORMAL_CODES.index(code) if code in NORMAL_CODES else len(NORMAL_CODES)
    codes = rules.codes_of(file.project_id)
    if code in codes:
        return codes.index(code)
    return len(codes) + (int(code) if code.isdigit() else 100)


def _text_rank(text: str, direction: Direction = "lowest") -> tuple[int, ...]:
    """Sorts texts; an empty one comes last whatever the direction."""
    if not text:
        return (2,)
    letters = [ord(letter) for letter in text]
    # The 1 at the end puts the longer of two texts that begin alike first.
    return (1, *letters) if direction == "lowest" else (1, *(-letter for letter in letters), 1)


def _replicate_reason(
    loser: FileRecord, winner: FileRecord, modality: Modality, rules: SelectionRules
) -> tuple[str, str]:
    """The rule between two files, and the reason with the winner and what decided."""
    lost, won = loser.planned, winner.planned
    decided = next(
        (
            f"{criterion} {_criterion_value(criterion, winner)} before {_criterion_value(criterion, loser)}"
            for criterion in rules.order[modality]
            if _criterion_rank(criterion, loser, modality, rules) != _criterion_rank(criterion, winner, modality, rules)
        ),
        "by the order of their ids",
    )
    if lost.sample_id == won.sample_id:
        return ONE_ALIQUOT_A_SAMPLE, f"{won.aliquot_id} (file {won.file_id}) is used for this sample: {decided}"
    return (
        ONE_SAMPLE_A_PATIENT,
        f"{won.aliquot_id} (file {won.file_id}) is used for this patient's {won.tissue}: {decided}",
    )


def _criterion_value(criterion: Criterion, record: FileRecord) -> str:
    file = record.planned
    values: dict[Criterion, str] = {
        "tissue": file.sample_code or file.sample_type,
        "ffpe": "FFPE" if file.is_ffpe else "frozen",
        "array": record.array or file.platform,
        "analyte": file.analyte,
        "vial": file.vial,
        "portion": file.portion,
        "plate": file.plate,
    }
    return values[criterion] or "unknown"
