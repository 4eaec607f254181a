"""A raw folder of the GDC as a source of `preprocess`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.clinical import sample_type_from_text
from bulkrnabert.data.cohort_source import (
    CONTROLLED,
    GDC,
    OPEN,
    ROW,
    InputOptions,
    Rejected,
    Source,
    StarValues,
    drop_normals,
)
from bulkrnabert.data.gdc_cases import read_gdc_cases
from bulkrnabert.data.samplesheet import COHORT_NAME_RULE, is_cohort_name
from bulkrnabert.data.sources.gdc_plan import file_path, read_plan
from bulkrnabert.data.sources.star import read_star_genes
from bulkrnabert.data.units import Unit
from bulkrnabert.errors import DataError


def read_gdc_raw(folder: Path, options: InputOptions) -> Source:
    """Read the plan and the clinical records of a raw folder, and find its files.

    Raises:
        DataError: no complete raw folder of the GDC, or an endpoint that the GDC does not have.
    """
    plan_path = folder / keys.PLAN_JSON
    plan = read_plan(folder)
    files = plan.files
    if plan.modality != keys.RNASEQ:
        raise DataError(f"{plan_path}: modality {plan.modality!r}; this release preprocesses {keys.RNASEQ} only")
    if not files:
        raise DataError(f"{plan_path}: the plan lists no file; check --projects of the download")
    wrong = sorted({file.project_id for file in files if not is_cohort_name(file.project_id)})
    if wrong:
        raise DataError(f"{plan_path}: project {wrong[0]!r}; a cohort is named with {COHORT_NAME_RULE}")
    if options.endpoint != "OS":
        raise DataError(
            f"{folder}: the GDC's cases have overall survival only, not {options.endpoint}; use --endpoint OS"
        )
    paths = tuple(file_path(folder, file) for file in files)
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise DataError(
            f"{folder}: {len(absent)} of {len(paths)} planned files are not there, as {absent[0]}; resume it"
        )
    samples = pd.DataFrame(
        [
            {
                keys.SAMPLE_ID: file.sample_id,
                keys.PATIENT_ID: file.patient_id,
                keys.COHORT: file.project_id,
                keys.PROJECT_ID: file.project_id,
                keys.SAMPLE_TYPE: sample_type_from_text(file.sample_type),
                keys.SOURCE: GDC,
                ROW: row,
            }
            for row, file in enumerate(files)
        ]
    )
    rejected = [
        Rejected(file.sample_id, file.patient_id, file.project_id, file.file_name, file.rule, file.reason)
        for file in plan.rejected
    ]
    samples = drop_normals(samples, rejected, options, lambda row: paths[row].name)
    is_open = all(file.access == OPEN for file in files)
    return Source(
        GDC,
        folder,
        StarValues(paths, read_star_genes(paths[0])),
        samples,
        tuple(rejected),
        read_gdc_cases(folder / keys.CASES_JSON),
        Unit("tpm"),
        OPEN if is_open else CONTROLLED,
    )
