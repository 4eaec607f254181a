"""What the stand-in portal searches: files, cases, projects and annotations, joined as the GDC joins them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property, lru_cache

from bulkrnabert.data.sources.gdc_filters import FilterError, Json, leaf_paths
from bulkrnabert.data.synthetic import SyntheticStudy
from bulkrnabert.data.synthetic_genes import stable_uuid
from bulkrnabert.data.synthetic_patients import Outcome, Patient, annotation_record, case_record

# What needs the bodies of files: answered only to those who ask for it by name.
FROM_BODIES = {"md5sum", "file_size"}
PROGRAM = {"name": "TCGA", "dbgap_accession_number": "phs000000"}
_TIMES = {
    "created_datetime": "2026-01-01T00:00:00.000000-05:00",
    "updated_datetime": "2026-01-01T00:00:00.000000-05:00",
}
_DEFAULT_FILE_FIELDS = {
    "data_format",
    "access",
    "file_name",
    "submitter_id",
    "data_category",
    "acl",
    "type",
    "file_size",
    "created_datetime",
    "updated_datetime",
    "file_id",
    "data_type",
    "state",
    "experimental_strategy",
    "version",
    "data_release",
}


@dataclass(frozen=True)
class Endpoint:
    """One searchable kind of record.

    Attributes:
        name: `files`, `cases`, `projects` or `annotations`.
        records: All records, without what needs the bodies of files. Not to be modified.
        known: Paths that a request may name.
        defaults: Paths that are answered when none are named.
    """

    name: str
    records: list[Json]
    known: set[str]
    defaults: set[str]

    @cached_property
    def groups(self) -> set[str]:
        """Names that `expand` knows."""
        parts = [path.split(".") for path in self.known]
        return {".".join(path[:depth]) for path in parts for depth in range(1, len(path))}

    @cached_property
    def by_id(self) -> dict[str, Json]:
        """Records by their `id`."""
        return {record["id"]: record for record in self.records}

    def resolve(self, name: str) -> str:
        """Path of a field, whose name may start with the endpoint's own."""
        for path in (name, name.removeprefix(f"{self.name}.")):
            if path in self.known:
                return path
        raise FilterError(f"unknown field {name!r} on /{self.name}")


@lru_cache(maxsize=4)
def endpoints_of(study: SyntheticStudy) -> dict[str, Endpoint]:
    """The four searchable kinds of a study, by name; made once a study."""
    files = study.files()
    files_of: dict[str, list[Json]] = defaultdict(list)
    for file in files:
        files_of[file["cases"][0]["case_id"]].append(file)
    cases = [_case(case, files_of[case["case_id"]]) for case in study.cases()]
    clinical = {case["case_id"]: case for case in cases}
    joined = [_file(file, clinical[file["cases"][0]["case_id"]]) for file in files]
    projects = [_project(project, cases, files) for project in study.projects()]
    annotations = [
        {**_TIMES, "state": "submitted", "submitter_id": str(number), **annotation}
        for number, annotation in enumerate(study.annotations(), start=1)
    ]

    # From records that have every optional group, so that the known fields do not depend on who is in the study.
    full_case = _full_case(study)
    file_fields = leaf_paths(files) | _below("annotations", leaf_paths(annotation_record(0, _somebody(study))))
    case_fields = leaf_paths(full_case) | leaf_paths(cases[:1]) | _below("files", file_fields | FROM_BODIES, "cases.")
    annotation_fields = leaf_paths(annotation_record(0, _somebody(study))) | {*_TIMES, "state", "submitter_id"}
    own_files = file_fields | _below("cases", leaf_paths(full_case)) | FROM_BODIES
    project_fields = leaf_paths(projects) | {"summary.file_size"}
    return {
        endpoint.name: endpoint
        for endpoint in (
            Endpoint("files", joined, own_files, _DEFAULT_FILE_FIELDS),
            Endpoint("cases", cases, case_fields, _without_groups(case_fields)),
            Endpoint("projects", projects, project_fields, _without_groups(project_fields)),
            Endpoint("annotations", annotations, annotation_fields, _without_groups(annotation_fields)),
        )
    }


def _somebody(study: SyntheticStudy) -> Patient:
    return Patient(study.project_ids[0], 0, "TCGA-S0-0000", "", frozenset({"follow_up_elsewhere"}))


def _full_case(study: SyntheticStudy) -> Json:
    case = case_record(study.config.seed, _somebody(study), Outcome(time_days=1, is_dead=False))
    return {**case, "project": {**case["project"], "program": PROGRAM}}


def _below(group: str, paths: set[str], left_out: str = " ") -> set[str]:
    return {f"{group}.{path}" for path in paths if not path.startswith(left_out)}


def _without_groups(paths: set[str]) -> set[str]:
    return {path for path in paths if "." not in path}


def _file(file: Json, case: Json) -> Json:
    """A file with the clinical groups of its case."""
    own = file["cases"][0]
    groups = {key: case[key] for key in ("demographic", "diagnoses", "follow_ups") if key in case}
    plain = {key: value for key, value in case.items() if isinstance(value, str) and key != "id"}
    return {**file, "cases": [{**plain, **groups, **own, "project": case["project"]}]}


def _case(case: Json, files: list[Json]) -> Json:
    """A case with its samples, the ids of everything below it, and its files."""
    samples: dict[str, Json] = {}
    aliquots: dict[str, Json] = {}
    portions: dict[str, str] = {}
    analytes: dict[str, str] = {}
    for file in files:
        sample = file["cases"][0]["samples"][0]
        known = samples.setdefault(sample["sample_id"], {**sample, "portions": []})
        known["portions"] = known["portions"] + sample["portions"]
        aliquot = sample["portions"][0]["analytes"][0]["aliquots"][0]
        aliquots[aliquot["aliquot_id"]] = aliquot
        parts = aliquot["submitter_id"].split("-")
        portion, analyte = "-".join([*parts[:4], parts[4][:2]]), "-".join(parts[:5])
        portions[stable_uuid(0, "portion", portion)] = portion
        analytes[stable_uuid(0, "analyte", analyte)] = analyte
    record = {**case, **_TIMES, "index_date": "Diagnosis", "project": {**case["project"], "program": PROGRAM}}
    # Cases without clinical keys have none of a diagnosis either.
    diagnoses = case.get("diagnoses") or []
    record |= {
        "sample_ids": list(samples),
        "submitter_sample_ids": [sample["submitter_id"] for sample in samples.values()],
        "portion_ids": list(portions),
        "submitter_portion_ids": list(portions.values()),
        "analyte_ids": list(analytes),
        "submitter_analyte_ids": list(analytes.values()),
        "aliquot_ids": list(aliquots),
        "submitter_aliquot_ids": [aliquot["submitter_id"] for aliquot in aliquots.values()],
        "diagnosis_ids": [diagnosis["diagnosis_id"] for diagnosis in diagnoses],
        "submitter_diagnosis_ids": [diagnosis["submitter_id"] for diagnosis in diagnoses],
        "samples": list(samples.values()),
        "files": [{key: value for key, value in file.items() if key not in ("cases", "id")} for file in files],
    }
    return {key: value for key, value in record.items() if value != [] or key in case}


def _project(project: Json, cases: list[Json], files: list[Json]) -> Json:
    """A project with its programme and the numbers of its cases and files."""
    own_files = [file for file in files if file["cases"][0]["project"]["project_id"] == project["project_id"]]
    summary: Json = {
        "case_count": sum(case["project"]["project_id"] == project["project_id"] for case in cases),
        "file_count": len(own_files),
    }
    for group, key in (("data_categories", "data_category"), ("experimental_strategies", "experimental_strategy")):
        n_files = Counter(file[key] for file in own_files)
        n_cases = Counter(value for value, _ in {(file[key], file["cases"][0]["case_id"]) for file in own_files})
        summary[group] = [
            {"file_count": n_files[value], "case_count": n_cases[value], key: value} for value in sorted(n_files)
        ]
    return {**project, "program": PROGRAM, "summary": summary}
