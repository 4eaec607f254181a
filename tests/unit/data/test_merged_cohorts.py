"""Merged cohorts: what a list of names stands for, and the cohort of a project."""

from __future__ import annotations

import pytest

from bulkrnabert.data.merged_cohorts import MERGED, ExpandedProjects, expand_projects, merged_name
from bulkrnabert.errors import ConfigError

KNOWN = ["CPTAC-3", "TCGA-BRCA", "TCGA-COAD", "TCGA-GBM", "TCGA-LGG", "TCGA-READ"]


def test_the_four_of_the_papers() -> None:
    assert {name: len(projects) for name, projects in MERGED.items()} == {
        "COADREAD": 2,
        "GBMLGG": 2,
        "KIPAN": 3,
        "STES": 2,
    }
    assert all(list(projects) == sorted(projects) for projects in MERGED.values())


@pytest.mark.parametrize("name", ["GBMLGG", "TCGA-GBMLGG", "gbmlgg", " tcga-gbmlgg "])
def test_a_merged_cohort(name: str) -> None:
    assert expand_projects([name]) == ExpandedProjects(("TCGA-GBM", "TCGA-LGG"), {"GBMLGG": ("TCGA-GBM", "TCGA-LGG")})


def test_projects_alone() -> None:
    assert expand_projects(["tcga-brca", "TCGA-BRCA", "", "CPTAC-3"]) == ExpandedProjects(("CPTAC-3", "TCGA-BRCA"), {})


def test_a_project_beside_its_merged_cohort_counts_once() -> None:
    names = ["TCGA-GBM", "GBMLGG", "TCGA-BRCA", "TCGA-GBMLGG"]
    expanded = expand_projects(names)
    assert expanded.project_ids == ("TCGA-BRCA", "TCGA-GBM", "TCGA-LGG")
    assert expanded == expand_projects(names[::-1])


def test_an_own_cohort() -> None:
    expanded = expand_projects(["Lung = tcga-lusc + TCGA-LUAD", "KIPAN"])
    assert list(expanded.merged) == ["KIPAN", "Lung"]
    assert expanded.merged["Lung"] == ("TCGA-LUAD", "TCGA-LUSC")
    assert len(expanded.project_ids) == 5


def test_an_own_cohort_that_says_what_is_known() -> None:
    assert expand_projects(["stes=TCGA-STAD+TCGA-ESCA"]) == expand_projects(["STES"])


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["GBMLGG", "BRAIN=TCGA-GBM+TCGA-PCPG"], "TCGA-GBM would be in BRAIN and GBMLGG; a project has one cohort"),
        (["A=TCGA-GBM+TCGA-LGG", "A=TCGA-GBM+TCGA-BRCA"], "A is named twice"),
        (["A=TCGA-GBM"], "expected two or more projects"),
        (["A=TCGA-GBM+TCGA-GBM"], "expected two or more projects"),
        (["A=TCGA-GBM+"], "expected two or more projects"),
        (["=TCGA-GBM+TCGA-LGG"], "a cohort is named with"),
        (["../A=TCGA-GBM+TCGA-LGG"], "a cohort is named with"),
        (["pan=TCGA-GBM+TCGA-LGG"], "a cohort is named with"),
        (["TCGA-GBM=TCGA-GBM+TCGA-LGG"], "cannot have the name of a project"),
        (["GBMLGG=TCGA-GBM+TCGA-BRCA"], r"GBMLGG means TCGA-GBM\+TCGA-LGG"),
        (["A=GBMLGG+TCGA-BRCA"], "GBMLGG is a merged cohort itself"),
        (["all-tcga"], "needs a portal"),
    ],
)
def test_names_that_cannot_be(names: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        expand_projects(names)


def test_all_of_tcga() -> None:
    expanded = expand_projects(["all-tcga", "COADREAD"], KNOWN)
    assert expanded.project_ids == tuple(KNOWN[1:])
    assert expanded.merged == {"COADREAD": ("TCGA-COAD", "TCGA-READ")}


def test_every_unknown_project_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        expand_projects(["TCGA-BRAC", "KIPAN", "TCGA-GBM"], KNOWN)
    message = str(caught.value)
    assert "no project 'TCGA-BRAC'; the nearest are TCGA-BRCA" in message
    assert "'TCGA-KIRC'" in message and "4 problems" in message


@pytest.mark.parametrize(
    ("project", "cohort"), [("TCGA-GBM", "GBMLGG"), ("TCGA-LGG", "GBMLGG"), ("TCGA-BRCA", "TCGA-BRCA")]
)
def test_the_cohort_of_a_project(project: str, cohort: str) -> None:
    merged = expand_projects(["GBMLGG", "TCGA-BRCA"]).merged
    assert merged_name(project, merged) == cohort
    assert merged_name(project, {}) == project
