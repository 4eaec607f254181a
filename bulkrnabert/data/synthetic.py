"""A seeded synthetic study with known signal, in the shape of a real portal's data.

Everything follows from the seed and the sizes in `study.json`: file bodies are made on demand, so that a study of any
size costs nothing until it is read. No gene, probe, patient or project of it exists.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from bulkrnabert.config import FrozenConfig
from bulkrnabert.data.synthetic_annotation import gene_table, probe_table
from bulkrnabert.data.synthetic_arrays import N_450K, Array, build_array_model, select_probes, with_exact_27k
from bulkrnabert.data.synthetic_files import MISSING_SHARE, BodyCache, sesame_body, star_counts_body
from bulkrnabert.data.synthetic_genes import (
    ACTIVITY_SD,
    BIOLOGICAL_SD,
    N_PAR_PAIRS,
    FloatArray,
    GeneModel,
    ProbeModel,
    build_gene_model,
    build_probe_model,
    generator_for,
)
from bulkrnabert.data.synthetic_patients import (
    ANNOTATED,
    MORE_ODDITIES,
    ODDITIES,
    Json,
    Outcome,
    Patient,
    SyntheticFile,
    annotation_record,
    case_record,
    file_record,
    make_files,
    make_patients,
)
from bulkrnabert.errors import DataError
from bulkrnabert.provenance import write_json

DATA_RELEASE = "Data Release {release}.0 - January 01, 2026 (synthetic)"
API_TAG = "8.5.0"
N_GENE_ROWS = 60_660
N_FULL_PAR_PAIRS = 44
BODY_CACHE_BYTES = 64 << 20
VIAL_B_SD = 0.15
FFPE_SD = 0.6
MEDIAN_SURVIVAL_DAYS = (600.0, 2400.0)  # range of the cohorts' baselines
CENSORING_DAYS = (250.0, 3000.0)


Spoilt = Literal["labels", "values"]
# Left out of a study file while they say nothing, so that older files stay as they are.
LATER_KEYS = ("more_oddities", "full_rows", "release", "unreleased_cohorts", "withdrawn_files", "spoilt_cohorts")


def project_names(n_cohorts: int) -> tuple[str, ...]:
    """Project ids of a study: TCGA-SYNA, TCGA-SYNB, …"""
    return tuple(f"TCGA-SYN{chr(ord('A') + index)}" for index in range(n_cohorts))


class StudyConfig(FrozenConfig):
    """What a study is made from; the content of `study.json` but for `truth`.

    Attributes:
        normal_share: Share of the patients who have a sample of normal tissue too.
        oddities: Include what real portals surprise with, one patient each.
        more_oddities: Include the rarer surprises too: other arrays, blood, recurrences, more clinical contradictions.
        full_rows: Files with as many rows as real ones: 60,660 gene rows with 44 `_PAR_Y` pairs, 486,427 probes.
        release: Number of the data release that is served.
        unreleased_cohorts: How many of the cohorts, the last ones, the portal does not list yet.
        withdrawn_files: Ids of files that the portal listed once and no longer serves.
        spoilt_cohorts: Cohorts whose files are wrong, by project id: `labels` (profiles of other cohorts, drawn at
            random, so that neither cancer type nor survival fits) or `values` (the genes' values permuted).
    """

    kind: Literal["synthetic-study"] = "synthetic-study"
    version: Literal[1] = 1
    seed: int = Field(default=0, ge=0)
    cohorts: int = Field(default=4, ge=1, le=26)
    patients_per_cohort: int = Field(default=60, ge=1, le=9999)
    genes: int = Field(default=1000, ge=200, le=100_000)
    probes: int = Field(default=800, ge=100, le=1_000_000)
    normal_share: float = Field(default=0.15, ge=0, le=1)
    oddities: bool = True
    more_oddities: bool = False
    full_rows: bool = False
    release: int = Field(default=1, ge=1)
    unreleased_cohorts: int = Field(default=0, ge=0)
    withdrawn_files: tuple[str, ...] = ()
    spoilt_cohorts: dict[str, Spoilt] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _something_is_released(self) -> Self:
        if self.unreleased_cohorts >= self.cohorts:
            raise ValueError(f"unreleased_cohorts is {self.unreleased_cohorts} of {self.cohorts}: one must be released")
        strange = set(self.spoilt_cohorts).difference(project_names(self.cohorts))
        if strange or (self.cohorts < 2 and self.spoilt_cohorts):
            raise ValueError(f"spoilt_cohorts {sorted(self.spoilt_cohorts)}: expected some of two or more cohorts")
        return self

    @model_validator(mode="before")
    @classmethod
    def _full_rows_decide_the_sizes(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("full_rows") is not True:
            return values
        sizes = {"genes": N_GENE_ROWS, "probes": N_450K}
        for name, size in sizes.items():
            if values.get(name, size) != size:
                raise ValueError(f"full_rows means {size} {name}: leave `{name}` out, or full_rows")
        return {**values, **sizes}


class SyntheticStudy:
    """The world that a study file describes: projects, cases, files and their bodies."""

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self.project_ids = project_names(config.cohorts)
        self._integrity: dict[str, tuple[str, int]] = {}
        self._bodies = BodyCache(BODY_CACHE_BYTES)

    @classmethod
    def create(cls, **sizes: Any) -> Self:
        """A new study; `sizes` are the fields of `StudyConfig`."""
        return cls(StudyConfig.from_mapping(sizes, "synthetic study"))

    @classmethod
    def from_json(cls, path: Path) -> Self:
        """Read a study file.

        Raises:
            DataError: the file is no study, or another version of the generator made it.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise DataError(f"{path}: cannot be read as a synthetic study: {error}") from error
        if not isinstance(content, dict) or content.get("kind") != "synthetic-study":
            raise DataError(
                f'{path}: expected a study made by `bulkrnabert synth` ("kind": "synthetic-study"), found another file'
            )
        truth = content.pop("truth", None)
        study = cls(StudyConfig.from_mapping(content, str(path)))
        if truth is not None and truth != study.truth:
            raise DataError(
                f"{path}: its `truth` is not what this version of the program makes from its seed: "
                "run `bulkrnabert synth` again"
            )
        return study

    def save(self, path: Path) -> None:
        """Write `study.json`: the configuration, and the truth for those who judge a model by it."""
        unused = {name for name in LATER_KEYS if getattr(self.config, name) == getattr(StudyConfig(), name)}
        write_json(path, {**self.config.model_dump(mode="json", exclude=unused), "truth": self.truth})

    # ---- the world ----

    @cached_property
    def genes(self) -> GeneModel:
        """Gene rows and what regulates them."""
        n_pairs = N_FULL_PAR_PAIRS if self.config.full_rows else N_PAR_PAIRS
        return build_gene_model(self.config.seed, self.config.genes, self.config.cohorts, n_pairs)

    @cached_property
    def probes(self) -> ProbeModel:
        """Probes of the 450k array."""
        probes = build_probe_model(self.config.seed, self.config.probes, self.genes)
        return with_exact_27k(self.config.seed, probes) if self.config.full_rows else probes

    @cached_property
    def _epic(self) -> ProbeModel:
        return build_array_model(self.config.seed, "epic", self.probes, self.genes)

    @cached_property
    def _epic_v2(self) -> ProbeModel:
        return build_array_model(self.config.seed, "epic_v2", self.probes, self.genes)

    def probes_of(self, array: Array) -> ProbeModel:
        """Probes of one kind of array, in the order of its files."""
        if array == "27k":
            return select_probes(self.probes, np.flatnonzero(self.probes.is_on_27k))
        return {"450k": lambda: self.probes, "epic": lambda: self._epic, "epic_v2": lambda: self._epic_v2}[array]()

    def gene_table(self) -> pd.DataFrame:
        """Annotation of the gene rows: see `synthetic_annotation.gene_table`."""
        return gene_table(self.config.seed, self.genes)

    def probe_table(self, array: Array = "450k") -> pd.DataFrame:
        """Annotation of the probes of an array: see `synthetic_annotation.probe_table`."""
        return probe_table(self.config.seed, self.probes_of(array), self.genes)

    @cached_property
    def patients(self) -> list[Patient]:
        """Every patient, cohort after cohort."""
        config = self.config
        odd = (ODDITIES if config.oddities else ()) + (MORE_ODDITIES if config.more_oddities else ())
        return make_patients(config.seed, self.project_ids, config.patients_per_cohort, odd)

    @cached_property
    def all_files(self) -> dict[str, SyntheticFile]:
        """Every file by id, those that the portal no longer serves included."""
        withdrawn = set(self.config.withdrawn_files)
        files = (
            replace(file, change="redacted") if file.file_id in withdrawn else file
            for patient in self.patients
            for file in make_files(self.config.seed, patient, self.config.normal_share)
        )
        return {file.file_id: file for file in files}

    @cached_property
    def _median_survival_days(self) -> FloatArray:
        low, high = np.log(MEDIAN_SURVIVAL_DAYS)
        medians = np.exp(np.linspace(low, high, self.config.cohorts))
        return generator_for(self.config.seed, "baseline-hazards").permutation(medians)

    @cached_property
    def truth(self) -> Json:
        """What a good model should find: JSON values, rounded."""
        genes = self.genes
        prognostic = np.flatnonzero(genes.log_hazard_coefficients)
        return {
            "prognostic_genes": [
                {
                    "gene_id": genes.row_ids[row].split(".")[0],
                    "symbol": genes.symbols[row],
                    "log_hazard_per_sd": round(float(genes.log_hazard_coefficients[row]), 6),
                }
                for row in prognostic
            ],
            "programmes": {name: genes.programme_genes(name) for name in genes.programmes},
            "median_survival_days": {
                project: round(float(days), 3)
                for project, days in zip(self.project_ids, self._median_survival_days, strict=True)
            },
            "censoring_days": list(CENSORING_DAYS),
            "oddities": {name: patient.barcode for patient in self.patients for name in sorted(patient.oddities)},
        }

    @property
    def released_ids(self) -> tuple[str, ...]:
        """Projects that the portal lists."""
        return self.project_ids[: len(self.project_ids) - self.config.unreleased_cohorts]

    def _is_released(self, patient: Patient) -> bool:
        return patient.cohort_idx < len(self.released_ids)

    # ---- what the portal answers ----

    def status(self) -> Json:
        """The body of `/status`."""
        release = DATA_RELEASE.format(release=self.config.release)
        return {"commit": "0" * 40, "data_release": release, "status": "OK", "tag": API_TAG, "version": 1}

    def notifications(self) -> Json:
        """The body of `/notifications`."""
        note = {"level": "INFO", "components": ["API"], "message": "This is a synthetic study: nothing in it is real."}
        return {"data": [note]}

    def projects(self) -> list[Json]:
        """Records of `/projects`."""
        return [
            {
                "id": project_id,
                "project_id": project_id,
                "name": f"Synthetic cohort {number}",
                "primary_site": ["Synthetic site"],
                "disease_type": ["Synthetic Neoplasms"],
                "dbgap_accession_number": None,
                "state": "open",
                "releasable": True,
                "released": True,
            }
            for number, project_id in enumerate(self.released_ids, start=1)
        ]

    def cases(self) -> list[Json]:
        """Records of `/cases`, with all clinical groups."""
        released = filter(self._is_released, self.patients)
        return [case_record(self.config.seed, patient, self.outcome(patient)) for patient in released]

    def annotations(self) -> list[Json]:
        """Records of `/annotations`."""
        annotated = [
            patient for patient in self.patients if patient.oddities & ANNOTATED and self._is_released(patient)
        ]
        return [annotation_record(self.config.seed, patient) for patient in annotated]

    def files(self) -> list[Json]:
        """Records of `/files` without `md5sum` and `file_size`, which need the body: see `with_integrity`."""
        return [
            file_record(self.config.seed, file, f"{self.config.release}.0")
            for file in self.all_files.values()
            if file.change == "released" and self._is_released(file.patient)
        ]

    def with_integrity(self, record: Json) -> Json:
        """A `/files` record with the true `md5sum` and `file_size` of its body."""
        md5, size = self.integrity(record["file_id"])
        return {**record, "md5sum": md5, "file_size": size}

    def integrity(self, file_id: str) -> tuple[str, int]:
        """MD5 (hex) and size in bytes of a file's body."""
        if file_id not in self._integrity:
            body = self.file_body(file_id)
            self._integrity[file_id] = (hashlib.md5(body, usedforsecurity=False).hexdigest(), len(body))
        return self._integrity[file_id]

    def history(self, file_id: str) -> list[Json]:
        """The body of `/history/{id}`: the versions of a file, oldest first; empty for an unknown id."""
        if file_id not in self.all_files:
            return []
        file = self.all_files[file_id]
        chain = [
            other
            for other in self.all_files.values()
            if other is file or other.replaced_by == file_id or file.replaced_by == other.file_id
        ]
        return [
            {
                "uuid": version.file_id,
                "version": str(version.version),
                "file_change": version.change,
                "release_date": "2026-01-01",
                "data_release": "1.0",
            }
            for version in sorted(chain, key=lambda version: version.version)
        ]

    def file_body(self, file_id: str) -> bytes:
        """The bytes of a file; the last ones asked for are kept.

        Raises:
            KeyError: no such file.
        """
        file = self.all_files[file_id]
        return self._bodies.get(file_id, lambda: self._make_body(file))

    def _make_body(self, file: SyntheticFile) -> bytes:
        rng = generator_for(self.config.seed, "body", file.file_id)
        expression = self._sample_expression(file)
        if file.modality == "rnaseq":
            return star_counts_body(rng, self.genes, expression)
        # The smallest array is drawn as a part of the 450k one.
        probes = self.probes if file.is_27k else self.probes_of(file.array)
        missing_share = MISSING_SHARE if file.missing_share is None else file.missing_share
        return sesame_body(rng, probes, self.genes, expression, file.is_27k, missing_share)

    # ---- biology ----

    def _tissue_expression(self, patient: Patient, is_tumor: bool) -> FloatArray:
        """Log2 expression of a patient's tumour or normal tissue, shape (n_rows,)."""
        rng = generator_for(self.config.seed, "tissue", patient.barcode, "tumor" if is_tumor else "normal")
        genes = self.genes
        means = (genes.tumor_means if is_tumor else genes.normal_means)[patient.cohort_idx]
        activity = means + rng.normal(0.0, ACTIVITY_SD, len(means))
        expression: FloatArray = genes.baseline_log2 + genes.loadings @ activity
        return expression + rng.normal(0.0, BIOLOGICAL_SD, len(genes.row_ids))

    def _measured_tissue(self, patient: Patient, is_tumor: bool) -> FloatArray:
        """What files hold of a tissue: its expression, or in a spoilt cohort something else."""
        spoilt = self.config.spoilt_cohorts.get(patient.project_id)
        if spoilt is None:
            return self._tissue_expression(patient, is_tumor)
        rng = generator_for(self.config.seed, "spoilt", patient.barcode, "tumor" if is_tumor else "normal")
        if spoilt == "values":
            return rng.permutation(self._tissue_expression(patient, is_tumor))
        others = [index for index in range(self.config.cohorts) if index != patient.cohort_idx]
        stranger = replace(patient, cohort_idx=int(rng.choice(others)), barcode=f"{patient.barcode}-stranger")
        return self._tissue_expression(stranger, is_tumor)

    def _sample_expression(self, file: SyntheticFile) -> FloatArray:
        expression = self._measured_tissue(file.patient, file.is_tumor)
        noise_sd = (0.0 if file.vial[2] == "A" else VIAL_B_SD) + (FFPE_SD if file.is_ffpe else 0.0)
        rng = generator_for(self.config.seed, "vial", file.sample_barcode)
        return expression + noise_sd * rng.normal(0.0, 1.0, len(expression))

    def log_hazard(self, patient: Patient) -> float:
        """True log hazard of a patient relative to the cohort's mean; higher is worse."""
        genes = self.genes
        means = genes.baseline_log2 + genes.loadings @ genes.tumor_means[patient.cohort_idx]
        scores = (self._tissue_expression(patient, is_tumor=True) - means) / genes.within_cohort_sd
        return float(scores @ genes.log_hazard_coefficients)

    def outcome(self, patient: Patient) -> Outcome:
        """Survival of a patient: exponential with the cohort's baseline hazard, censored uniformly."""
        rng = generator_for(self.config.seed, "survival", patient.barcode)
        hazard = np.log(2.0) / self._median_survival_days[patient.cohort_idx] * np.exp(self.log_hazard(patient))
        death_days = rng.exponential(1.0 / hazard)
        censoring_days = rng.uniform(*CENSORING_DAYS)
        return Outcome(
            time_days=max(1, int(min(death_days, censoring_days))), is_dead=bool(death_days <= censoring_days)
        )
