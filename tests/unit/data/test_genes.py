"""Gene ids: cleaning and alignment, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bulkrnabert import provenance
from bulkrnabert.data.genes import GeneVocabulary, normalise_gene_ids, strip_version
from bulkrnabert.errors import VocabularyError


@pytest.mark.parametrize(
    ("raw", "bare"),
    [
        ("ENSG00000000003.15", "ENSG00000000003"),
        ("ENSG00000000003", "ENSG00000000003"),
        ("ENSG00000002586.20_PAR_Y", None),
        ("ENSGR0000002586.16", None),
        ("TP53", "TP53"),
        ("RP11-34P13.7", "RP11-34P13.7"),
    ],
)
def test_versions_go_and_copies_on_y_too(raw: str, bare: str | None) -> None:
    assert strip_version(raw) == bare


def test_ensembl_ids_are_cleaned() -> None:
    raw = [
        "N_unmapped",
        "ENSG00000000003.15",
        "__no_feature",
        "ENSG00000002586.20",
        "ENSG00000002586.20_PAR_Y",
        "ERCC-00002",
    ]
    genes = normalise_gene_ids(raw)
    assert genes.ids == ("ENSG00000000003", "ENSG00000002586")
    assert genes.keep_idx.tolist() == [1, 3]
    assert genes.kind == "ensembl"
    assert set(genes.dropped) == {
        ("summary_row", "N_unmapped"),
        ("summary_row", "__no_feature"),
        ("par_y", "ENSG00000002586.20_PAR_Y"),
        ("spike_in", "ERCC-00002"),
    }


def test_firehose_names_become_symbols_and_ambiguous_ones_go() -> None:
    genes = normalise_gene_ids(["?|100130426", "A1BG|1", "SLC35E2|728661", "SLC35E2|9906", "A2M|2"])
    assert genes.ids == ("A1BG", "A2M")
    assert genes.keep_idx.tolist() == [1, 4]
    assert genes.dropped == (
        ("no_symbol", "?|100130426"),
        ("duplicated_symbol", "SLC35E2|728661"),
        ("duplicated_symbol", "SLC35E2|9906"),
    )
    assert genes.kind == "symbol"


def test_mixed_kinds_are_refused_with_examples() -> None:
    with pytest.raises(VocabularyError, match=r"table\.tsv: 1 Ensembl ids .* mixed with 1 other names \('TP53'\)"):
        normalise_gene_ids(["ENSG00000000003", "TP53"], "table.tsv")


def test_an_ensembl_id_twice_is_refused() -> None:
    with pytest.raises(VocabularyError, match=r"ENSG00000000003.*keep one row"):
        normalise_gene_ids(["ENSG00000000003.1", "ENSG00000000003.2"])


@pytest.mark.parametrize("raw", [[], ["N_unmapped"]])
def test_no_gene_at_all(raw: list[str]) -> None:
    with pytest.raises(VocabularyError, match="no gene id found"):
        normalise_gene_ids(raw)


def test_every_gene_dropped() -> None:
    with pytest.raises(VocabularyError, match="had to be dropped"):
        normalise_gene_ids(["?|1", "?|2"])


def test_align_and_apply() -> None:
    genes = GeneVocabulary.from_ids(["B", "A", "C"])
    alignment = genes.align(["A", "X", "B"])
    assert alignment.source_idx.tolist() == [2, 0, -1]
    assert alignment.missing == ("C",)
    assert alignment.n_unknown == 1
    assert alignment.coverage == pytest.approx(2 / 3)
    values = np.array([[1.0, 2.0, 3.0]])
    before = values.copy()
    aligned = alignment.apply(values)
    assert aligned.dtype == np.float32
    np.testing.assert_array_equal(aligned, np.array([[3.0, 1.0, np.nan]], dtype=np.float32))
    np.testing.assert_array_equal(values, before)


def test_a_table_with_a_gene_twice_is_refused() -> None:
    with pytest.raises(VocabularyError, match="gene 'A' stands in columns 1 and 2"):
        GeneVocabulary.from_ids(["A"]).align(["A", "A"])


def test_a_vocabulary_with_a_gene_twice_is_refused() -> None:
    with pytest.raises(VocabularyError, match="more than once: 'A'"):
        GeneVocabulary.from_ids(["A", "B", "A"])


def test_an_empty_vocabulary_is_refused() -> None:
    with pytest.raises(VocabularyError, match="at least one gene"):
        GeneVocabulary.from_ids([])


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(VocabularyError, match="equally long"):
        GeneVocabulary(("A",), (), ("",))


def test_tsv_round_trip(tmp_path: Path) -> None:
    genes = GeneVocabulary(("ENSG1", "ENSG2"), ("A", ""), ("protein_coding", "lncRNA"))
    genes.to_tsv(tmp_path / "genes.tsv")
    again = GeneVocabulary.from_tsv(tmp_path / "genes.tsv")
    assert again == genes
    assert again.sha256 == provenance.sha256_lines(["ENSG1", "ENSG2"])
    assert (tmp_path / "genes.tsv").read_text().splitlines()[0] == "gene_id\tsymbol\tgene_type"


def test_tsv_without_ids(tmp_path: Path) -> None:
    (tmp_path / "genes.tsv").write_text("name\nA\n")
    with pytest.raises(VocabularyError, match="expected a column `gene_id`"):
        GeneVocabulary.from_tsv(tmp_path / "genes.tsv")


@pytest.mark.parametrize("separator", ["\t", ","])
def test_tables_of_genes_lose_versions(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "genes.csv"
    path.write_text(f"symbol{separator}gene_id\nA{separator}ENSG00000000003.15\nB{separator}ENSG00000000005.6\n")
    genes = GeneVocabulary.from_tsv(path)
    assert (genes.gene_ids, genes.symbols) == (("ENSG00000000003", "ENSG00000000005"), ("A", "B"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene_id\tsymbol\nENSG1\tA\tx\n", "row 2: 3 cells, but the header has 2 columns"),
        ("gene_id\tsymbol\n\tA\n", "row 2 has no `gene_id`"),
        ("gene_id\n", "at least one gene"),
        ("gene_id\nENSG00000002586.20_PAR_Y\n", "copies on chromosome Y"),
        ("<html></html>", "an HTML page"),
    ],
)
def test_tables_of_genes_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "genes.tsv").write_text(text)
    with pytest.raises(VocabularyError, match=message):
        GeneVocabulary.from_tsv(tmp_path / "genes.tsv")


@pytest.mark.parametrize("line", ["gene_id,symbol", "<p>", "TP53 EGFR"])
def test_txt_with_a_line_that_is_no_id(tmp_path: Path, line: str) -> None:
    (tmp_path / "genes.txt").write_text(f"ENSG00000000003\n{line}\n")
    with pytest.raises(VocabularyError, match=r"is no gene id; expected one id a line"):
        GeneVocabulary.from_txt(tmp_path / "genes.txt")


def test_txt(tmp_path: Path) -> None:
    path = tmp_path / "genes.txt"
    path.write_text("ENSG00000000003.15\n\nENSG00000000005\n")
    genes = GeneVocabulary.from_txt(path)
    assert genes.gene_ids == ("ENSG00000000003", "ENSG00000000005")
    assert genes.kind == "ensembl"
    path.write_text("ENSG00000000003.15\nENSG00000000003.16\n")
    with pytest.raises(VocabularyError, match=r"genes\.txt.*more than once"):
        GeneVocabulary.from_txt(path)
    path.write_text("ENSG00000002586.20_PAR_Y\n")
    with pytest.raises(VocabularyError, match="copies on chromosome Y"):
        GeneVocabulary.from_txt(path)


def test_subset_keeps_the_order_asked_for() -> None:
    genes = GeneVocabulary(("a", "b", "c"), ("A", "B", "C"), ("x", "y", "z"))
    assert genes.subset([2, 0]) == GeneVocabulary(("c", "a"), ("C", "A"), ("z", "x"))


def test_the_published_vocabularies_read(shared: Path) -> None:
    assert len(GeneVocabulary.from_txt(shared / "vocab" / "bulkrnabert_gene_ids.txt")) == 19_062
    assert len(GeneVocabulary.from_txt(shared / "vocab" / "mojo_gene_names.txt")) == 17_116
