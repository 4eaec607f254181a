"""Asks the GDC what it has for some projects or a list of files, and makes the plan of a download."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from bulkrnabert.data.merged_cohorts import expand_projects
from bulkrnabert.data.sources.gdc import GdcClient
from bulkrnabert.data.sources.gdc_plan import Json, Plan
from bulkrnabert.data.sources.gdc_rules import DEFAULT_RULES, ONE_ALIQUOT, Modality, SampleTypes, SelectionRules
from bulkrnabert.data.sources.gdc_selection import Selection, select_files
from bulkrnabert.errors import DataError, PortalAnswerError, PortalError, join_problems

logger = logging.getLogger(__name__)

WANTED_FILES: dict[Modality, dict[str, str]] = {
    "rnaseq": {
        "data_category": "Transcriptome Profiling",
        "data_type": "Gene Expression Quantification",
        "experimental_strategy": "RNA-Seq",
        "analysis.workflow_type": "STAR - Counts",
    },
    "methylation": {
        "data_category": "DNA Methylation",
        "data_type": "Methylation Beta Value",
        "experimental_strategy": "Methylation Array",
        "analysis.workflow_type": "SeSAMe Methylation Beta Estimation",
    },
}
FILE_FIELDS = (
    "file_id",
    "file_name",
    "md5sum",
    "file_size",
    "state",
    "access",
    "version",
    "data_release",
    "platform",
    "cases.case_id",
    "cases.submitter_id",
    "cases.project.project_id",
    "cases.samples.submitter_id",
    "cases.samples.sample_type",
    "cases.samples.tissue_type",
    "cases.samples.tumor_descriptor",
    "cases.samples.specimen_type",
    "cases.samples.preservation_method",
    "cases.samples.portions.is_ffpe",
    "cases.samples.portions.analytes.aliquots.submitter_id",
    "associated_entities.entity_submitter_id",
    "associated_entities.entity_type",
    "annotations.classification",
    "annotations.category",
    "annotations.status",
)
# A plan can be made without these: the type of a sample stands in other fields too, or in its barcode.
OPTIONAL_FIELDS = ("version", "data_release", "cases.samples.sample_type", "annotations.status")
_CASE_GROUPS = ("demographic", "diagnoses", "follow_ups", "project")


@dataclass(frozen=True)
class PlannedCohorts:
    """A plan and the clinical records of its patients.

    Attributes:
        plan: What to fetch.
        cases: The `/cases` records of the projects, as the portal sent them, sorted by case id.
    """

    plan: Plan
    cases: list[Json]


def make_plan(
    client: GdcClient,
    projects: Sequence[str],
    modality: Modality,
    sample_types: SampleTypes | None,
    api_name: str,
    rules: SelectionRules = DEFAULT_RULES,
    *,
    may_be_empty: bool = False,
) -> PlannedCohorts:
    """Ask the portal what it has for some projects, and choose.

    Args:
        client: The portal.
        projects: Project ids, merged cohorts, `all-tcga`; see `expand_projects`.
        modality: What to fetch.
        sample_types: Tissues, instead of those of the rules; None for those.
        api_name: How the plan names the portal.
        rules: Which of the portal's files are wanted.
        may_be_empty: Whether a project may have no file to fetch.
    Raises:
        ConfigError: a project does not exist (names the nearest), or would be in two cohorts.
        DataError: a project has no file to fetch (says what was left out).
        PortalError: the portal's answers cannot be used, or its data release changed meanwhile.
    """
    rules = rules if sample_types is None else rules.with_tissue(sample_types)
    before = client.status()
    known = listed_projects(client)
    expanded = expand_projects(projects, known)
    wanted = expanded.project_ids
    filters = project_filters(wanted, modality)
    hits = client.query("files", sort="file_id", filters=filters, fields=FILE_FIELDS, optional_fields=OPTIONAL_FIELDS)
    cases = query_cases(client, wanted)
    check_release(client, before.data_release)
    selection = select_files(hits, modality, rules)
    _check_no_foreign_project(client, wanted, selection)
    if not may_be_empty:
        _check_no_cohort_is_empty(wanted, modality, selection)
    plan = Plan(
        api=api_name,
        api_tag=before.tag,
        data_release=before.data_release,
        requested=requested_names(projects),
        projects=wanted,
        merged=expanded.merged,
        modality=modality,
        sample_types=rules.tissue,
        filters=filters,
        rules=rules,
        files=selection.files,
        rejected=selection.rejected,
    )
    _log_plan(plan, len(cases))
    return PlannedCohorts(plan=plan, cases=cases)


def listed_projects(client: GdcClient) -> list[str]:
    """Ids of all projects that the portal lists, sorted."""
    return sorted(str(project.get("project_id")) for project in client.query("projects", sort="project_id"))


def requested_names(projects: Sequence[str]) -> tuple[str, ...]:
    """Projects and merged cohorts of a request, written in one way, so that two requests can be compared."""
    return tuple(sorted({"".join(name.split()).upper() for name in projects if name.strip()}))


def project_filters(project_ids: Sequence[str], modality: Modality) -> Json:
    """The filter that finds the files of some projects."""
    conditions: list[Json] = [
        {"op": "in", "content": {"field": "cases.project.project_id", "value": list(project_ids)}}
    ]
    for field, value in WANTED_FILES[modality].items():
        conditions.append({"op": "=", "content": {"field": field, "value": value}})
    return {"op": "and", "content": conditions}


def query_cases(client: GdcClient, project_ids: Sequence[str]) -> list[Json]:
    """The clinical records of some projects, sorted by case id."""
    return client.query(
        "cases",
        sort="case_id",
        filters={"op": "in", "content": {"field": "project.project_id", "value": list(project_ids)}},
        expand=_CASE_GROUPS,
    )


def check_release(client: GdcClient, data_release: str) -> None:
    """Stop when the portal's data release is no longer the one that the work began with.

    Raises:
        PortalError: it changed.
    """
    now = client.status().data_release
    if now != data_release:
        raise PortalError(
            f"{client.api}: the data release changed from {data_release!r} to {now!r} during the download; "
            "run it again to get one release"
        )


def _log_plan(plan: Plan, n_patients: int) -> None:
    """One line: how much a plan is."""
    logger.info(
        "%s: %d %s files planned (%.1f MB), %d left out, %d patients, %s",
        ", ".join(plan.projects),
        len(plan.files),
        plan.modality,
        plan.total_bytes / 1e6,
        len(plan.rejected),
        n_patients,
        plan.data_release,
    )


def _check_no_foreign_project(client: GdcClient, wanted: Sequence[str], selection: Selection) -> None:
    """A pooled file may be found by its second case; every other one is of a project that was asked for."""
    pooled = {file.file_id for file in selection.rejected if file.rule == ONE_ALIQUOT and file.project_id}
    foreign = sorted(
        {
            file.project_id
            for file in (*selection.files, *selection.rejected)
            if file.project_id not in wanted and file.file_id not in pooled
        }
    )
    if foreign:
        raise PortalAnswerError(
            f"{client.api}/files: answered with files of project {foreign[0]!r}, which was not asked for; the portal's"
            " answer cannot be trusted"
        )


def _check_no_cohort_is_empty(wanted: Sequence[str], modality: Modality, selection: Selection) -> None:
    problems = []
    for project in wanted:
        if any(file.project_id == project for file in selection.files):
            continue
        rules = [file.rule for file in selection.rejected if file.project_id == project]
        counts = ", ".join(f"{rules.count(rule)} by {rule}" for rule in sorted(set(rules)))
        problems.append(
            f"{project} has no {modality} file to fetch: "
            + (f"all {len(rules)} are left out ({counts})" if rules else "the portal has none")
        )
    if problems:
        raise DataError(join_problems("nothing to download", problems))
