"""Cohorts that join projects: GBMLGG, COADREAD, KIPAN, STES and those that a user names.

They are constructs of papers, no projects of a portal. A sample keeps its project, so that survival can be stratified
by it: otherwise a model of GBMLGG is praised for telling glioblastoma from lower grade glioma.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bulkrnabert.data.samplesheet import COHORT_NAME_RULE, is_cohort_name
from bulkrnabert.errors import ConfigError, join_problems

MERGED: Final[dict[str, tuple[str, ...]]] = {
    "COADREAD": ("TCGA-COAD", "TCGA-READ"),
    "GBMLGG": ("TCGA-GBM", "TCGA-LGG"),
    "KIPAN": ("TCGA-KICH", "TCGA-KIRC", "TCGA-KIRP"),
    "STES": ("TCGA-ESCA", "TCGA-STAD"),
}
ALL_TCGA: Final = "ALL-TCGA"
_TCGA = "TCGA-"


@dataclass(frozen=True)
class ExpandedProjects:
    """What a list of projects and merged cohorts stands for.

    Attributes:
        project_ids: Sorted, each once.
        merged: Merged cohorts that were named, sorted, with the sorted ids of their projects.
    """

    project_ids: tuple[str, ...]
    merged: dict[str, tuple[str, ...]]


def expand_projects(names: Sequence[str], known: Sequence[str] | None = None) -> ExpandedProjects:
    """Read names of projects and merged cohorts, in any case.

    Args:
        names: Project ids (`TCGA-BRCA`), merged cohorts (`GBMLGG`, `TCGA-GBMLGG`), own ones
            (`LUNG=TCGA-LUAD+TCGA-LUSC`) and `all-tcga`. What is named twice counts once.
        known: Ids of a portal's projects; a project that is not among them is an error. None when there is no portal
            to ask, which leaves out `all-tcga`.
    Raises:
        ConfigError: lists every name that means nothing, and projects that two merged cohorts share.
    """
    problems: list[str] = []
    merged: dict[str, tuple[str, ...]] = {}
    singles: set[str] = set()
    for name in dict.fromkeys(" ".join(name.split()) for name in names):
        upper = name.upper()
        if not name:
            continue
        if "=" in name:
            own = _own_cohort(name)
            if isinstance(own, str):
                problems.append(own)
            elif merged.setdefault(own[0], own[1]) != own[1]:
                problems.append(f"{own[0]} is named twice, with {'+'.join(merged[own[0]])} and {'+'.join(own[1])}")
        elif upper.removeprefix(_TCGA) in MERGED:
            standard = upper.removeprefix(_TCGA)
            merged.setdefault(standard, MERGED[standard])
        elif upper == ALL_TCGA and known is None:
            problems.append(f"{name!r} needs a portal that lists its projects; name them")
        elif upper == ALL_TCGA:
            singles |= {project for project in known or () if project.startswith(_TCGA)}
        else:
            singles.add(upper)
    problems += _shared(merged)
    project_ids = sorted(singles.union(*merged.values()))
    if known is not None:
        problems += [_unknown_project(project, known) for project in project_ids if project not in known]
    if problems:
        raise ConfigError(join_problems("projects", problems))
    return ExpandedProjects(tuple(project_ids), {name: merged[name] for name in sorted(merged)})


def merged_name(project_id: str, merged: Mapping[str, Sequence[str]]) -> str:
    """Cohort of a project: the merged one that it belongs to, else its own id."""
    return next((name for name, projects in merged.items() if project_id in projects), project_id)


def _own_cohort(text: str) -> tuple[str, tuple[str, ...]] | str:
    """Name and sorted projects of `NAME=A+B`; a text says what is wrong."""
    name, _, members = text.partition("=")
    name, projects = name.strip(), [part.strip().upper() for part in members.split("+")]
    if not is_cohort_name(name):
        return f"{text!r}: a cohort is named with {COHORT_NAME_RULE}"
    if len(set(projects)) < 2 or not all(projects):
        return f"{text!r}: expected two or more projects, as NAME=TCGA-A+TCGA-B"
    nested = [project for project in projects if project.removeprefix(_TCGA) in MERGED]
    if nested:
        return f"{text!r}: {nested[0]} is a merged cohort itself; name its projects"
    if name.upper() in projects or name.upper().startswith(_TCGA):
        return f"{text!r}: a merged cohort cannot have the name of a project"
    standard = MERGED.get(name.upper())
    if standard is not None and standard != tuple(sorted(set(projects))):
        return f"{text!r}: {name.upper()} means {'+'.join(standard)}; choose another name"
    return (name.upper() if standard is not None else name), tuple(sorted(set(projects)))


def _shared(merged: Mapping[str, Sequence[str]]) -> list[str]:
    """Complaints about projects that would be in two merged cohorts."""
    homes: dict[str, list[str]] = {}
    for name in sorted(merged):
        for project in merged[name]:
            homes.setdefault(project, []).append(name)
    return [
        f"{project} would be in {' and '.join(names)}; a project has one cohort"
        for project, names in sorted(homes.items())
        if len(names) > 1
    ]


def _unknown_project(project: str, known: Sequence[str]) -> str:
    candidates = [*known, *(name for name, projects in MERGED.items() if set(projects) <= set(known))]
    nearest = difflib.get_close_matches(project, candidates, n=3, cutoff=0.4) or sorted(known)[:5]
    return f"no project {project!r}; the nearest are {', '.join(nearest)}"
