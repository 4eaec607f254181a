"""Patients of a synthetic study: what is odd about some of them, their samples and files, and their clinical record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bulkrnabert.data.synthetic_arrays import Array
from bulkrnabert.data.synthetic_genes import generator_for, stable_uuid

Modality = Literal["rnaseq", "methylation"]
FileChange = Literal["released", "superseded", "redacted"]
Json = dict[str, Any]

# One patient each, dealt out over the cohorts in turn. Every one of them occurs in the real portal.
ODDITIES = (
    "two_aliquots",
    "two_vials",
    "ffpe_vial",
    "no_clinical",
    "zero_time_alive",
    "negative_time",
    "dead_without_days_to_death",
    "zero_time_dead",
    "withdrawn_file",
    "superseded_file",
    "controlled_file",
    "redaction_annotation",
    "rnaseq_only",
    "methylation_only",
    "vital_status_not_reported",
    "alive_with_days_to_death",
    "follow_up_elsewhere",
    "two_diagnoses",
    "ffpe_only",
    "metastatic",
    "same_file_name",
    "smaller_array",
)
# Dealt out after those, to the studies that ask for more.
MORE_ODDITIES = (
    "blood_tumor",
    "recurrent",
    "epic_array",
    "epic_v2_array",
    "many_failed_probes",
    "dead_with_follow_up",
    "follow_up_after_death",
    "empty_lists",
    "null_groups",
    "follow_up_of_other_diagnosis",
    "flagged_aliquot",
    "no_sample_type",
)

SAMPLE_TYPES = {  # code in the barcode -> GDC's sample_type, tissue_type, tumor_descriptor
    "01": ("Primary Tumor", "Tumor", "Primary"),
    "02": ("Recurrent Tumor", "Tumor", "Recurrence"),
    "03": ("Primary Blood Derived Cancer - Peripheral Blood", "Tumor", "Primary"),
    "06": ("Metastatic", "Tumor", "Metastatic"),
    "11": ("Solid Tissue Normal", "Normal", "Not Applicable"),
}
PLATFORMS: dict[Array, str] = {
    "27k": "Illumina Human Methylation 27",
    "450k": "Illumina Human Methylation 450",
    "epic": "Illumina Methylation Epic",
    "epic_v2": "Illumina Methylation Epic v2",
}
_ARRAYS: dict[str, Array] = {"smaller_array": "27k", "epic_array": "epic", "epic_v2_array": "epic_v2"}
MANY_FAILED = 0.32
ANNOTATED = frozenset({"redaction_annotation", "flagged_aliquot"})
PLATE = "A001"
SECOND_PLATE = "A277"
_ALWAYS_DEAD = frozenset(
    {
        "zero_time_dead",
        "dead_without_days_to_death",
        "dead_with_follow_up",
        "follow_up_after_death",
        "empty_lists",
    }
)
_ALWAYS_ALIVE = frozenset(
    {
        "zero_time_alive",
        "negative_time",
        "alive_with_days_to_death",
        "follow_up_elsewhere",
        "two_diagnoses",
        "follow_up_of_other_diagnosis",
    }
)
STAGES = ("Stage I", "Stage IIA", "Stage IIB", "Stage III", "Stage IV")


@dataclass(frozen=True)
class Patient:
    """One invented patient (a GDC "case")."""

    project_id: str
    cohort_idx: int
    barcode: str
    case_id: str
    oddities: frozenset[str]


@dataclass(frozen=True)
class Outcome:
    """Overall survival: days to death or to the last contact, before any oddity is applied to the record."""

    time_days: int
    is_dead: bool


@dataclass(frozen=True)
class SyntheticFile:
    """One file of the study.

    Attributes:
        vial: Sample code and vial letter, as `01A`.
        aliquot: Full barcode, as `TCGA-SA-0001-01A-11R-A001-07`.
        array: Kind of methylation array; of no meaning for RNA-seq.
        missing_share: Share of the array's probes that failed; None for the usual one.
        change: `released`, or why the portal no longer serves it.
        replaced_by: Id of the file that came in its place, when it was superseded.
    """

    file_id: str
    file_name: str
    modality: Modality
    patient: Patient
    vial: str
    aliquot: str
    is_ffpe: bool
    array: Array
    missing_share: float | None
    access: Literal["open", "controlled"]
    change: FileChange
    version: int
    replaced_by: str | None

    @property
    def sample_barcode(self) -> str:
        """Barcode of the sample, as `TCGA-SA-0001-01A`."""
        return f"{self.patient.barcode}-{self.vial}"

    @property
    def is_27k(self) -> bool:
        """Whether this is a file of the smallest array."""
        return self.modality == "methylation" and self.array == "27k"

    @property
    def is_tumor(self) -> bool:
        """Whether the sample is a tumour rather than normal tissue."""
        return self.vial[:2] != "11"


def make_patients(
    seed: int, project_ids: tuple[str, ...], n_per_cohort: int, oddities_to_deal: tuple[str, ...]
) -> list[Patient]:
    """Every patient, cohort after cohort; the oddities are dealt out over the cohorts in turn, one a patient."""
    patients = []
    for cohort_idx, project_id in enumerate(project_ids):
        odd = oddities_to_deal[cohort_idx :: len(project_ids)]
        for number in range(1, n_per_cohort + 1):
            barcode = f"TCGA-S{project_id[-1]}-{number:04d}"
            # When there are more oddities than patients, the last patient does not get the rest: they are left out.
            oddities = frozenset(odd[number - 1 : number])
            patients.append(Patient(project_id, cohort_idx, barcode, stable_uuid(seed, "case", barcode), oddities))
    return patients


def _vials(patient: Patient, has_normal: bool) -> list[tuple[str, str, bool]]:
    """(vial, plate, is FFPE) of each aliquot of a patient."""
    odd = patient.oddities
    vials = [("03A" if "blood_tumor" in odd else "01A", PLATE, "ffpe_only" in odd)]
    if "two_aliquots" in odd:
        vials.append(("01A", SECOND_PLATE, False))
    if odd & {"two_vials", "ffpe_vial"}:
        vials.append(("01B", PLATE, "ffpe_vial" in odd))
    if "recurrent" in odd:
        vials.append(("02A", PLATE, False))
    if "metastatic" in odd:
        vials.append(("06A", PLATE, False))
    if has_normal or "same_file_name" in odd:
        vials.append(("11A", PLATE, False))
    return vials


def make_files(seed: int, patient: Patient, normal_share: float) -> list[SyntheticFile]:
    """Every file of a patient, of both modalities, withdrawn ones included."""
    has_normal = generator_for(seed, "has-normal", patient.barcode).random() < normal_share
    files = []
    for vial, plate, is_ffpe in _vials(patient, has_normal):
        if "methylation_only" not in patient.oddities:
            files.append(_make_file(seed, patient, "rnaseq", vial, plate, is_ffpe))
        if "rnaseq_only" not in patient.oddities and plate == PLATE:
            files.append(_make_file(seed, patient, "methylation", vial, plate, is_ffpe))
    if "superseded_file" in patient.oddities:
        latest = files[0]
        files.append(_make_file(seed, patient, "rnaseq", "01A", PLATE, False, replaced_by=latest.file_id))
    if "withdrawn_file" in patient.oddities:
        files.append(_make_file(seed, patient, "rnaseq", "01C", PLATE, False, change="redacted"))
    return files


def _make_file(
    seed: int,
    patient: Patient,
    modality: Modality,
    vial: str,
    plate: str,
    is_ffpe: bool,
    change: FileChange = "released",
    replaced_by: str | None = None,
) -> SyntheticFile:
    analyte, centre = ("R", "07") if modality == "rnaseq" else ("D", "05")
    aliquot = f"{patient.barcode}-{vial}-11{analyte}-{plate}-{centre}"
    key = f"{aliquot}/old" if replaced_by else aliquot
    # The uuid in a file's name is not its file_id.
    name_key = patient.barcode if "same_file_name" in patient.oddities else key
    suffix = (
        "rna_seq.augmented_star_gene_counts.tsv" if modality == "rnaseq" else "methylation_array.sesame.level3betas.txt"
    )
    is_controlled = "controlled_file" in patient.oddities and modality == "rnaseq"
    return SyntheticFile(
        file_id=stable_uuid(seed, "file", modality, key),
        file_name=f"{stable_uuid(seed, 'file-name', modality, name_key)}.{suffix}",
        modality=modality,
        patient=patient,
        vial=vial,
        aliquot=aliquot,
        is_ffpe=is_ffpe,
        array=next((array for oddity, array in _ARRAYS.items() if oddity in patient.oddities), "450k"),
        missing_share=MANY_FAILED if "many_failed_probes" in patient.oddities else None,
        access="controlled" if is_controlled else "open",
        change="superseded" if replaced_by else change,
        version=2 if "superseded_file" in patient.oddities and not replaced_by and modality == "rnaseq" else 1,
        replaced_by=replaced_by,
    )


def case_record(seed: int, patient: Patient, outcome: Outcome) -> Json:
    """The `/cases` record of a patient, with the oddity of its clinical data where it has one."""
    record: Json = {
        "id": patient.case_id,
        "case_id": patient.case_id,
        "submitter_id": patient.barcode,
        "primary_site": "Synthetic site",
        "disease_type": "Synthetic Neoplasms",
        "state": "released",
        "project": {"project_id": patient.project_id, "name": f"Synthetic cohort {patient.cohort_idx + 1}"},
    }
    odd = patient.oddities
    if "no_clinical" in odd:
        return record
    if "null_groups" in odd:
        return {**record, "demographic": None, "diagnoses": None, "follow_ups": None}
    rng = generator_for(seed, "clinical", patient.barcode)
    age_days = int(rng.integers(35 * 365, 85 * 365))
    time_days = outcome.time_days
    is_dead = outcome.is_dead
    if odd & _ALWAYS_ALIVE:
        is_dead = False
    if odd & _ALWAYS_DEAD:
        is_dead = True
    if odd & {"zero_time_alive", "zero_time_dead"}:
        time_days = 0
    if "negative_time" in odd:
        time_days = -31

    lacks_death_date = bool(odd & {"dead_without_days_to_death", "empty_lists"})
    has_death_date = (is_dead and not lacks_death_date) or "alive_with_days_to_death" in odd
    is_reported = "vital_status_not_reported" not in odd
    record["demographic"] = {
        "demographic_id": stable_uuid(seed, "demographic", patient.barcode),
        "submitter_id": f"{patient.barcode}_demographic",
        "vital_status": ("Dead" if is_dead else "Alive") if is_reported else "Not Reported",
        "days_to_death": time_days if has_death_date and is_reported else None,
        "sex_at_birth": str(rng.choice(["female", "male"])),
        "race": "not reported",
        "ethnicity": "not reported",
        "days_to_birth": -age_days,
    }
    primary: Json = {
        "diagnosis_id": stable_uuid(seed, "diagnosis", patient.barcode),
        "submitter_id": f"{patient.barcode}_diagnosis",
        "diagnosis_is_primary_disease": True,
        "classification_of_tumor": "primary",
        "days_to_last_follow_up": None if is_dead or not is_reported or "follow_up_elsewhere" in odd else time_days,
        "age_at_diagnosis": age_days,
        "ajcc_pathologic_stage": str(rng.choice(STAGES)),
        "primary_diagnosis": "Synthetic carcinoma, NOS",
    }
    record["diagnoses"] = [primary]
    if "two_diagnoses" in odd:
        later = {
            **primary,
            "diagnosis_id": stable_uuid(seed, "second-diagnosis", patient.barcode),
            "submitter_id": f"{patient.barcode}_diagnosis2",
            "diagnosis_is_primary_disease": False,
            "classification_of_tumor": "metastasis",
            "days_to_last_follow_up": time_days + 500,
        }
        record["diagnoses"] = [later, primary]
    if (not is_dead and time_days > 0 and is_reported) or "follow_up_elsewhere" in odd:
        record["follow_ups"] = [
            {
                "follow_up_id": stable_uuid(seed, "follow-up", patient.barcode, str(number)),
                "submitter_id": f"{patient.barcode}_follow_up{number}",
                "days_to_follow_up": days,
                "timepoint_category": "Last Contact",
            }
            for number, days in enumerate((time_days // 2, time_days), start=1)
        ]
    if odd:
        _apply_more_oddities(record, odd, time_days)
    return record


def _apply_more_oddities(record: Json, odd: frozenset[str], time_days: int) -> None:
    """Change a clinical record in place."""
    if odd & {"dead_with_follow_up", "follow_up_after_death"}:
        days = time_days + (30 if "follow_up_after_death" in odd else -1)
        record["follow_ups"] = [
            {
                "follow_up_id": stable_uuid(0, "follow-up", record["submitter_id"]),
                "submitter_id": f"{record['submitter_id']}_follow_up1",
                "days_to_follow_up": days,
                "timepoint_category": "Last Contact",
            }
        ]
    if "empty_lists" in odd:
        record["follow_ups"] = []
        record["diagnoses"][0]["days_to_last_follow_up"] = time_days
    if "follow_up_of_other_diagnosis" in odd:
        later = {
            **record["diagnoses"][0],
            "diagnosis_id": stable_uuid(0, "second-diagnosis", record["submitter_id"]),
            "submitter_id": f"{record['submitter_id']}_diagnosis2",
            "diagnosis_is_primary_disease": False,
            "classification_of_tumor": "metastasis",
        }
        record["diagnoses"] = [{**record["diagnoses"][0], "days_to_last_follow_up": None}, later]
        record.pop("follow_ups", None)


def file_record(seed: int, file: SyntheticFile, data_release: str) -> Json:
    """The `/files` record of a file, without the md5 and the size of its body."""
    is_rnaseq = file.modality == "rnaseq"
    sample_type, tissue_type, tumor_descriptor = SAMPLE_TYPES[file.vial[:2]]
    aliquot_id = stable_uuid(seed, "aliquot", file.aliquot)
    record: Json = {
        "id": file.file_id,
        "file_id": file.file_id,
        "file_name": file.file_name,
        "submitter_id": stable_uuid(seed, "submitter", file.file_id),
        "state": "released",
        "access": file.access,
        "acl": ["open"] if file.access == "open" else ["phs000000"],
        "version": str(file.version),
        "data_release": data_release,
        "created_datetime": "2026-01-01T00:00:00.000000-05:00",
        "updated_datetime": "2026-01-01T00:00:00.000000-05:00",
        "data_format": "TSV" if is_rnaseq else "TXT",
        "type": "gene_expression" if is_rnaseq else "methylation_beta_value",
        "data_category": "Transcriptome Profiling" if is_rnaseq else "DNA Methylation",
        "data_type": "Gene Expression Quantification" if is_rnaseq else "Methylation Beta Value",
        "experimental_strategy": "RNA-Seq" if is_rnaseq else "Methylation Array",
        "platform": "Illumina" if is_rnaseq else PLATFORMS[file.array],
        "analysis": {"workflow_type": "STAR - Counts" if is_rnaseq else "SeSAMe Methylation Beta Estimation"},
        "cases": [
            {
                "case_id": file.patient.case_id,
                "submitter_id": file.patient.barcode,
                "project": {"project_id": file.patient.project_id},
                "samples": [
                    {
                        "sample_id": stable_uuid(seed, "sample", file.sample_barcode),
                        "submitter_id": file.sample_barcode,
                        "sample_type": sample_type,
                        "tissue_type": tissue_type,
                        "tumor_descriptor": tumor_descriptor,
                        "specimen_type": "Peripheral Blood NOS" if file.vial[:2] == "03" else "Solid Tissue",
                        "preservation_method": "FFPE" if file.is_ffpe else "OCT",
                        "portions": [
                            {
                                "is_ffpe": file.is_ffpe,
                                "analytes": [{"aliquots": [{"aliquot_id": aliquot_id, "submitter_id": file.aliquot}]}],
                            }
                        ],
                    }
                ],
            }
        ],
        "associated_entities": [
            {
                "entity_id": aliquot_id,
                "entity_submitter_id": file.aliquot,
                "entity_type": "aliquot",
                "case_id": file.patient.case_id,
            }
        ],
    }
    if file.patient.oddities & ANNOTATED:
        note = annotation_record(seed, file.patient)
        if concerns(note, file):
            record["annotations"] = [note]
    if "no_sample_type" in file.patient.oddities:
        del record["cases"][0]["samples"][0]["sample_type"]
    return record


def concerns(annotation: Json, file: SyntheticFile) -> bool:
    """Whether an annotation is on a file's patient or on its aliquot."""
    return annotation["entity_submitter_id"] in (file.patient.barcode, file.aliquot)


def annotation_record(seed: int, patient: Patient) -> Json:
    """The annotation of a patient who withdrew consent, or whose tumour's aliquot failed a check."""
    annotation_id = stable_uuid(seed, "annotation", patient.barcode)
    if "flagged_aliquot" in patient.oddities:
        aliquot = f"{patient.barcode}-01A-11R-{PLATE}-07"
        return {
            "id": annotation_id,
            "annotation_id": annotation_id,
            "classification": "CenterNotification",
            "category": "Item flagged DNU",
            "entity_type": "aliquot",
            "entity_id": stable_uuid(seed, "aliquot", aliquot),
            "entity_submitter_id": aliquot,
            "case_id": patient.case_id,
            "case_submitter_id": patient.barcode,
            "status": "Approved",
            "notes": "synthetic",
            "project": {"project_id": patient.project_id},
        }
    return {
        "id": annotation_id,
        "annotation_id": annotation_id,
        "classification": "Redaction",
        "category": "Subject withdrew consent",
        "entity_type": "case",
        "entity_id": patient.case_id,
        "entity_submitter_id": patient.barcode,
        "case_id": patient.case_id,
        "case_submitter_id": patient.barcode,
        "status": "Approved",
        "notes": "synthetic",
        "project": {"project_id": patient.project_id},
    }
