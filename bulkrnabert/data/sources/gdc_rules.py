"""Which files of a portal are wanted: the rules of a plan, in the order in which they are applied.

`SINGLE_FILE_RULES` look at one file each, and the first that objects decides; then methylation files of one array stay
(`one_array`). Of what is left, one aliquot a sample (`one_aliquot_a_sample`) and one sample a patient and tissue
(`one_sample_a_patient`) stay: the first by the criteria of `SelectionRules.order`, the last resort being the ids.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, field_validator

from bulkrnabert.config import FrozenConfig

Modality = Literal["rnaseq", "methylation"]
SampleTypes = Literal["primary", "tumor", "all"]
Direction = Literal["lowest", "highest"]
Array = Literal["27k", "450k", "epic", "epic_v2"]
Criterion = Literal["tissue", "ffpe", "array", "analyte", "vial", "portion", "plate"]

ONE_ALIQUOT: Final = "one_aliquot"
RELEASED: Final = "released"
OPEN_ACCESS: Final = "open_access"
NOT_REDACTED: Final = "not_redacted"
NOT_ANNOTATED: Final = "not_annotated"
SAMPLE_TYPE_RULE: Final = "sample_type"
NOT_FFPE: Final = "not_ffpe"
ONE_ARRAY: Final = "one_array"
ONE_ALIQUOT_A_SAMPLE: Final = "one_aliquot_a_sample"
ONE_SAMPLE_A_PATIENT: Final = "one_sample_a_patient"

SINGLE_FILE_RULES: Final = (
    ONE_ALIQUOT,
    RELEASED,
    OPEN_ACCESS,
    NOT_REDACTED,
    NOT_ANNOTATED,
    SAMPLE_TYPE_RULE,
    NOT_FFPE,
)

ANY_PROJECT: Final = "default"
PRIMARY_CODES: Final[dict[str, tuple[str, ...]]] = {
    ANY_PROJECT: ("01",),
    "TCGA-LAML": ("03",),
    "TARGET-AML": ("09", "03"),
    "TARGET-ALL-P1": ("09", "03"),
    "TARGET-ALL-P2": ("09", "03"),
    "TARGET-ALL-P3": ("09", "03"),
    "BEATAML1.0-COHORT": ("09", "03"),
    "MP2PRT-ALL": ("09", "03"),
    "MMRF-COMMPASS": ("09",),
}
_ANALYTES: dict[Modality, str] = {"rnaseq": "HRT", "methylation": "DGWX"}
_ORDER: tuple[Criterion, ...] = ("tissue", "ffpe", "array", "analyte", "vial", "portion", "plate")
_ORDERS: dict[Modality, tuple[Criterion, ...]] = {"rnaseq": _ORDER, "methylation": _ORDER}


class SelectionRules(FrozenConfig):
    """Which of the files that a portal has are wanted, and which of several of one patient.

    Attributes:
        tissue: `primary` takes the tumours of `primary_codes`; `tumor` every tumour, those first; `all` normal tissue
            and blood too, one file beside the tumour's.
        primary_codes: Codes of TCGA's sample types that are a project's primary tumours, the preferred first; under
            `default` for projects not named. `TCGA-SKCM: ["01", "06"]` lets metastases of melanoma count as primary.
        ffpe: `exclude`; `prefer_frozen` takes an FFPE sample where there is no other; `keep` makes no difference.
        redactions: What becomes of files with a redaction that is not rescinded.
        annotation_categories: Further categories of annotation that leave a file out, as `Item flagged DNU`.
        states: States of a file that are wanted.
        access: `open`, or `all` for controlled files too, which need a token.
        methylation_array: The array that is wanted; `auto` is the one that most files of the plan come from, `all`
            takes every array, which then share only some probes.
        analytes: Letters of the analytes, better first; others come last.
        order: What decides between files of one patient and tissue, the strongest first.
        vial: Whether the first or the last vial is preferred.
        portion: The same for portions.
        plate: The same for plates.
    """

    tissue: SampleTypes = "tumor"
    primary_codes: dict[str, tuple[str, ...]] = Field(default_factory=lambda: dict(PRIMARY_CODES))
    ffpe: Literal["exclude", "prefer_frozen", "keep"] = "exclude"
    redactions: Literal["exclude", "keep"] = "exclude"
    annotation_categories: tuple[str, ...] = ()
    states: tuple[str, ...] = ("released",)
    access: Literal["open", "all"] = "open"
    methylation_array: Array | Literal["auto", "all"] = "auto"
    analytes: dict[Modality, str] = Field(default_factory=lambda: dict(_ANALYTES))
    order: dict[Modality, tuple[Criterion, ...]] = Field(default_factory=lambda: dict(_ORDERS))
    vial: Direction = "lowest"
    portion: Direction = "lowest"
    plate: Direction = "lowest"

    @field_validator("primary_codes")
    @classmethod
    def _check_codes(cls, codes: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if ANY_PROJECT not in codes:
            raise ValueError(f"has no entry `{ANY_PROJECT}` for the projects that are not named")
        wrong = [code for listed in codes.values() for code in listed if len(code) != 2 or not code.isdigit()]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no sample type code; expected two digits in quotes, as '01'")
        return codes

    @field_validator("analytes", "order")
    @classmethod
    def _check_modalities(cls, values: dict[Modality, tuple[str, ...]]) -> dict[Modality, tuple[str, ...]]:
        if set(values) != {"rnaseq", "methylation"}:
            raise ValueError("expected one entry for rnaseq and one for methylation")
        if any(len(set(items)) != len(items) for items in values.values()):
            raise ValueError("names something twice")
        return values

    def codes_of(self, project_id: str) -> tuple[str, ...]:
        """Sample type codes of a project's primary tumours, the preferred first."""
        return self.primary_codes.get(project_id, self.primary_codes[ANY_PROJECT])

    def with_tissue(self, tissue: SampleTypes) -> SelectionRules:
        """The same rules for other tissues."""
        return self.model_copy(update={"tissue": tissue})


DEFAULT_RULES: Final = SelectionRules()
