from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import mannwhitneyu

from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.downstream.enrichment import describe_sets, enrich, match_sets, read_gmt
from bulkrnabert.errors import DataError

N_GENES = 40
IDS = tuple(f"ENSG{number:011d}" for number in range(N_GENES))
GENES = GeneVocabulary(IDS, tuple(f"GENE{number}" for number in range(N_GENES)), ("",) * N_GENES)


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def row(name: str, columns: range, ensembl: bool = False) -> str:
    return "\t".join([name, "about", *(f"{IDS[c]}.4" if ensembl else f"GENE{c}" for c in columns)])


def test_sets_match_by_symbol_and_by_versioned_id(tmp_path: Path) -> None:
    path = write(
        tmp_path / "sets.gmt",
        row("SYMBOLS", range(6)),
        "",
        row("ENSEMBL", range(5, 11), ensembl=True),
        "MIXED\t\tGENE1\tGENE1\tGENE2\tGENE3\tGENE4\tGENE5\tNOT_IN_MODEL",
        row("SMALL", range(4)),
    )
    sets = match_sets(read_gmt(path), GENES, "sets.gmt")
    assert sets.names == ("SYMBOLS", "ENSEMBL", "MIXED")
    assert [members.tolist() for members in sets.members] == [[0, 1, 2, 3, 4, 5], [5, 6, 7, 8, 9, 10], [1, 2, 3, 4, 5]]
    assert describe_sets(sets) == {
        "n_sets_tested": 3,
        "n_sets_too_small": 1,
        "n_sets_too_large": 0,
        "n_genes_listed": 6 + 6 + 1,
        "n_genes_not_in_model": 1,
    }


def test_a_symbol_of_two_genes_matches_neither(tmp_path: Path) -> None:
    genes = GeneVocabulary(IDS, ("GENE1", *GENES.symbols[1:]), GENES.gene_types)
    sets = match_sets(read_gmt(write(tmp_path / "sets.gmt", row("A", range(1, 8)))), genes, "sets.gmt")
    assert sets.members[0].tolist() == [2, 3, 4, 5, 6, 7] and sets.n_unmatched == 1


def test_overlap_by_hand(tmp_path: Path) -> None:
    # The first 4 of 40 genes, a set of 5 that has 2 of them: 1 - [C(35,4) + 5 C(35,3)] / C(40,4) = 1 - 85085 / 91390.
    sets = match_sets(
        read_gmt(write(tmp_path / "sets.gmt", "A\t\tGENE0\tGENE1\tGENE20\tGENE21\tGENE22")), GENES, "sets.gmt"
    )
    table = enrich(np.arange(N_GENES, 0, -1.0), 4, sets, GENES)
    assert table.loc[0, "p_overlap"] == pytest.approx(1 - (52360 + 5 * 6545) / 91390)
    assert table.loc[0, ["n_in_model", "n_in_top", "genes"]].tolist() == [5, 2, "GENE0,GENE1"]
    assert table.loc[0, "n_expected"] == pytest.approx(0.5)


@pytest.mark.parametrize("has_ties", [False, True])
def test_ranks_as_scipy_and_false_discovery_by_hand(tmp_path: Path, has_ties: bool) -> None:
    scores = np.random.default_rng(0).normal(size=N_GENES)
    scores[:8] += 2
    if has_ties:
        scores = scores.round()
    path = write(tmp_path / "sets.gmt", row("HIGH", range(8)), row("OTHER", range(20, 30)), row("LAST", range(30, 40)))
    table = enrich(scores, 5, match_sets(read_gmt(path), GENES, "x"), GENES).set_index("set")
    for name, columns in (("HIGH", range(8)), ("OTHER", range(20, 30)), ("LAST", range(30, 40))):
        inside = np.isin(np.arange(N_GENES), list(columns))
        expected = mannwhitneyu(scores[inside], scores[~inside], alternative="greater", method="asymptotic")
        assert table.loc[name, "p_rank"] == pytest.approx(expected.pvalue)
        assert table.loc[name, "auc"] == pytest.approx(expected.statistic / (inside.sum() * (~inside).sum()))
    p = np.sort(table["p_rank"])
    assert_allclose(np.sort(table["q_rank"]), np.minimum.accumulate((p * 3 / [1, 2, 3])[::-1])[::-1].clip(max=1))
    assert table["q_rank"].idxmin() == "HIGH" and table.loc["HIGH", "q_rank"] < 0.01 < table.loc["OTHER", "q_rank"]


def test_equal_scores_say_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "sets.gmt", row("A", range(8)), row("ALL", range(N_GENES)))
    table = enrich(np.zeros(N_GENES), 5, match_sets(read_gmt(path), GENES, "x"), GENES)
    assert table["p_rank"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "no gene set; expected lines of"),
        (("A\tabout",), "line 1: 2 cells and no gene; a GMT line is a name, a description and at least one gene"),
        (("A B C",), "line 1: 1 cells and no gene"),
        (("A\t\tG1", "A\t\tG2"), "line 2: set 'A' is there for the second time"),
        (("\tabout\tG1",), "line 1: the first cell, the set's name, is empty"),
    ],
)
def test_a_bad_gmt_is_named_with_its_line(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_gmt(write(tmp_path / "sets.gmt", *lines))


def test_a_missing_gmt(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.gmt: cannot be read as text"):
        read_gmt(tmp_path / "none.gmt")


def test_sets_of_other_genes_or_sizes(tmp_path: Path) -> None:
    bare = GeneVocabulary.from_ids(IDS)
    path = write(tmp_path / "sets.gmt", row("A", range(3)))
    with pytest.raises(DataError, match=r"none of its 3 genes .* have no symbols here: give them with --genes"):
        match_sets(read_gmt(path), bare, "sets.gmt")
    with pytest.raises(DataError, match=r"no set has between 5 and 1000 of the model's genes \(1 sets: 1 smaller, 0"):
        match_sets(read_gmt(path), GENES, "sets.gmt")
