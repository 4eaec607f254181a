"""Cohorts of a run that are merged under one name, while their projects stay known."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bulkrnabert import keys
from bulkrnabert.data.cohort_source import Source
from bulkrnabert.data.merged_cohorts import expand_projects
from bulkrnabert.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


def parse_merges(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read merges as `GBMLGG`, `COADREAD`, or `NAME=A+B`; several may be separated by commas.

    Returns:
        The new cohorts and those that become them, in capitals.
    Raises:
        ConfigError: a name that is no merged cohort, or a cohort that would be in two.
    """
    names = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    expanded = expand_projects(names)
    single = sorted(set(expanded.project_ids).difference(*expanded.merged.values()))
    if single:
        raise ConfigError(
            f"--merge: {single[0]!r} is no merged cohort; name GBMLGG, COADREAD, KIPAN or STES, or say what is merged,"
            " as NAME=A+B"
        )
    return expanded.merged


def merge_cohorts(sources: Sequence[Source], merged: Mapping[str, Sequence[str]]) -> list[Source]:
    """Give samples of merged cohorts the new name; `project_id` keeps where each comes from.

    A TCGA project may be named with or without `TCGA-`, in any case.

    Args:
        sources: Of a run. Not modified.
        merged: From `parse_merges`.
    Raises:
        DataError: a merge of which no cohort is there, or a new name that another cohort has.
    """
    cohorts = {cohort for source in sources for cohort in source.samples[keys.COHORT]}
    new_name: dict[str, str] = {}
    for name, members in merged.items():
        wanted = {_bare(member) for member in members}
        found = sorted(cohort for cohort in cohorts if _bare(cohort) in wanted)
        if not found:
            raise DataError(
                f"--merge {name}: none of {', '.join(members)} is in this run; its cohorts are"
                f" {', '.join(sorted(cohorts))}"
            )
        if name in cohorts - set(found):
            raise DataError(f"--merge {name}: another cohort of this run has this name; choose a new one")
        absent = sorted(wanted - {_bare(cohort) for cohort in found})
        logger.info(
            "cohort %s: merged from %s%s", name, ", ".join(found), f"; no {', '.join(absent)}" if absent else ""
        )
        new_name |= dict.fromkeys(found, name)
    return [_renamed(source, new_name) for source in sources] if new_name else list(sources)


def _bare(cohort: str) -> str:
    return cohort.upper().removeprefix("TCGA-")


def _renamed(source: Source, new_name: Mapping[str, str]) -> Source:
    samples = source.samples.copy()
    without_project = samples[keys.COHORT].isin(list(new_name)) & (samples[keys.PROJECT_ID] == "")
    samples.loc[without_project, keys.PROJECT_ID] = samples.loc[without_project, keys.COHORT]
    samples[keys.COHORT] = samples[keys.COHORT].replace(dict(new_name))
    rejected = tuple(replace(item, cohort=new_name.get(item.cohort, item.cohort)) for item in source.rejected)
    return replace(source, samples=samples, rejected=rejected)
