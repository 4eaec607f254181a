"""A raw folder of the GDC as a source of `preprocess`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.access import CONTROLLED, OPEN
from bulkrnabert.data.clinical import sample_type_from_text
from bulkrnabert.data.cohort_source import (
    ROW,
    ExpressionValues,
    InputOptions,
    Rejected,
    Source,
    StarValues,
    drop_normals,
)
from bulkrnabert.data.gdc_cases import read_gdc_cases
from bulkrnabert.data.merged_cohorts import merged_name
from bulkrnabert.data.samplesheet import COHORT_NAME_RULE, is_cohort_name
from bulkrnabert.data.sources.gdc_plan import PlannedFile, file_path, read_plan
from bulkrnabert.data.sources.raw_plan import GDC
from bulkrnabert.data.sources.star import read_star_genes
from bulkrnabert.data.units import Unit
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)


def read_gdc_raw(folder: Path, options: InputOptions) -> Source:
    """Read a raw folder of RNA-seq.

    Raises:
        DataError: no complete raw folder of the GDC, or an endpoint that the GDC does not have.
    """
    return read_raw_folder(
        folder, options, keys.RNASEQ, Unit("tpm"), lambda paths: StarValues(paths, read_star_genes(paths[0]))
    )


def read_raw_folder(
    folder: Path,
    options: InputOptions,
    modality: str,
    unit: Unit,
    values_of: Callable[[tuple[Path, ...]], ExpressionValues],
) -> Source:
    """Read the plan and the clinical records of a raw folder, and find its files.

    Args:
        folder: Output of `bulkrnabert download`.
        options: How to read it.
        modality: `rnaseq` or `methylation`, which the folder must hold.
        unit: What its numbers are.
        values_of: Makes the way to the values of its files, in the order of the plan.
    Raises:
        DataError: no complete raw folder of the GDC, or an endpoint that the GDC does not have.
    """
    plan_path = folder / keys.PLAN_JSON
    plan = read_plan(folder)
    files = plan.files
    if plan.modality != modality:
        raise DataError(f"{plan_path}: modality {plan.modality!r}, expected {modality!r}")
    if not files:
        raise DataError(f"{plan_path}: the plan lists no file; check --projects of the download")
    wrong = sorted({file.project_id for file in files if not is_cohort_name(file.project_id)})
    if wrong:
        raise DataError(f"{plan_path}: project {wrong[0]!r}; a cohort is named with {COHORT_NAME_RULE}")
    if options.endpoint != "OS" and options.cdr is None:
        raise DataError(
            f"{folder}: the GDC's cases have overall survival only, not {options.endpoint}; use --endpoint OS, or give"
            " the TCGA clinical data resource with --cdr FILE"
        )
    paths = tuple(file_path(folder, file) for file in files)
    absent = [path for path in paths if not path.is_file()]
    if absent and not (folder / keys.MANIFEST_TSV).exists():
        raise DataError(
            f"{folder}: the plan is there, but {len(absent)} of its {len(paths)} files are not, as {absent[0]}: run"
            " `bulkrnabert download` with the same options, without --plan-only, to fetch them"
        )
    if absent:
        raise DataError(
            f"{folder}: {len(absent)} of {len(paths)} planned files are not there, as {absent[0]}; run the same"
            " `bulkrnabert download` again to fetch them"
        )
    if not (folder / keys.MANIFEST_TSV).exists():
        logger.warning(
            "%s: every planned file is there, but no %s: the download did not end well (the data release may have"
            " changed meanwhile); run it again to be sure",
            folder,
            keys.MANIFEST_TSV,
        )
    samples = pd.DataFrame(
        [
            {
                keys.SAMPLE_ID: file.sample_id,
                keys.PATIENT_ID: file.patient_id,
                keys.COHORT: merged_name(file.project_id, plan.merged),
                keys.PROJECT_ID: file.project_id,
                keys.SAMPLE_TYPE: _sample_type(file),
                keys.SOURCE: GDC,
                ROW: row,
            }
            for row, file in enumerate(files)
        ]
    )
    rejected = [
        Rejected(
            file.sample_id,
            file.patient_id,
            merged_name(file.project_id, plan.merged),
            file.file_name,
            file.rule,
            file.reason,
            modality,
        )
        for file in plan.rejected
    ]
    samples = drop_normals(samples, rejected, options, lambda row: paths[row].name)
    is_open = all(file.access == OPEN for file in files)
    return Source(
        GDC,
        folder,
        values_of(paths),
        samples,
        tuple(rejected),
        read_gdc_cases(folder / keys.CASES_JSON, options.survival),
        unit,
        OPEN if is_open else CONTROLLED,
        modality,
    )


def _sample_type(file: PlannedFile) -> str:
    """By the published type; where that says nothing, by the tissue that the download made out."""
    found = sample_type_from_text(file.sample_type)
    return file.tissue if found == keys.UNKNOWN and file.tissue in (keys.TUMOR, keys.NORMAL) else found
