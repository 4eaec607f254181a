"""The STAR-Counts reader: same numbers as a plain reader, and one message for each way a file can be wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.sources import star
from bulkrnabert.data.sources.star import StarReader, list_star_files, read_star_genes, sample_name
from bulkrnabert.errors import DataError, VocabularyError

HEADER = (
    "# gene-model: GENCODE v36\n"
    "gene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second\ttpm_unstranded\tfpkm_unstranded"
    "\tfpkm_uq_unstranded\n"
    "N_unmapped\t\t\t10\t10\t10\t\t\t\n"
    "N_ambiguous\t\t\t1\t1\t1\t\t\t\n"
)
ROWS = [
    ("ENSG00000000003.15", "TSPAN6", "protein_coding", 69.5439),
    ("ENSG00000000005.6", "TNMD", "protein_coding", 0.0),
    ("ENSG00000002586.20", "CD99", "protein_coding", 456.2969),
    ("ENSG00000002586.20_PAR_Y", "CD99", "protein_coding", 7.0),
    ("ENSG00000223972.5", "DDX11L1", "lncRNA", 1.25),
]


def star_text(rows: list[tuple[str, str, str, float]], header: str = HEADER) -> str:
    return header + "".join(f"{gene}\t{name}\t{kind}\t5\t3\t2\t{tpm:.4f}\t1.0\t1.0\n" for gene, name, kind, tpm in rows)


def write_star(path: Path, rows: list[tuple[str, str, str, float]] = ROWS) -> Path:
    path.write_text(star_text(rows))
    return path


def test_genes_of_a_file(tmp_path: Path) -> None:
    first = read_star_genes(write_star(tmp_path / "a.tsv"))
    assert first.genes.gene_ids == ("ENSG00000000003", "ENSG00000000005", "ENSG00000002586", "ENSG00000223972")
    assert first.genes.symbols == ("TSPAN6", "TNMD", "CD99", "DDX11L1")
    assert first.genes.gene_types[-1] == "lncRNA"
    assert first.annotation == "GENCODE v36"
    assert [rule for rule, _ in first.normalised.dropped] == ["summary_row", "summary_row", "par_y"]


def test_values_come_in_the_order_of_the_vocabulary(tmp_path: Path) -> None:
    path = write_star(tmp_path / "a.tsv")
    vocabulary = GeneVocabulary.from_ids(["ENSG00000002586", "ENSG00000000003"])
    tpm = StarReader(read_star_genes(path), vocabulary).read(path)
    assert tpm.dtype == np.float32
    np.testing.assert_allclose(tpm, [456.2969, 69.5439], rtol=1e-6)


def test_another_order_or_version_is_aligned_anew(tmp_path: Path) -> None:
    first = write_star(tmp_path / "a.tsv")
    other = write_star(tmp_path / "b.tsv", [(gene.replace(".15", ".16"), *rest) for gene, *rest in reversed(ROWS)])  # type: ignore[misc]
    genes = read_star_genes(first)
    reader = StarReader(genes, genes.genes)
    np.testing.assert_array_equal(reader.read(first), reader.read(other))


def test_many_files_keep_their_order(tmp_path: Path) -> None:
    paths = [
        write_star(tmp_path / f"{number:03}.tsv", [(gene, name, kind, float(number)) for gene, name, kind, _ in ROWS])
        for number in range(75)
    ]
    genes = read_star_genes(paths[0])
    batches = list(StarReader(genes, genes.genes, n_threads=3).batches(paths))
    assert [len(batch) for batch in batches] == [32, 32, 11]
    np.testing.assert_array_equal(np.concatenate(batches)[:, 0], np.arange(75))


def test_no_files_give_no_batches(tmp_path: Path) -> None:
    genes = read_star_genes(write_star(tmp_path / "a.tsv"))
    assert list(StarReader(genes, genes.genes).batches([])) == []


def test_gzip_is_read(tmp_path: Path) -> None:
    plain = write_star(tmp_path / "a.tsv")
    packed = tmp_path / "b.tsv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    genes = read_star_genes(plain)
    reader = StarReader(genes, genes.genes)
    np.testing.assert_array_equal(reader.read(plain), reader.read(packed))
    packed.write_bytes(gzip.compress(plain.read_bytes())[:60])
    with pytest.raises(DataError, match=r"b\.tsv\.gz: cannot be read"):
        reader.read(packed)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty file"),
        ("<html><body>502</body></html>", "found an HTML page"),
        ("gene\tvalue\nA\t1\n", "missing gene_id, gene_name"),
        (HEADER.split("N_unmapped")[0], "a STAR-Counts header without any row"),
        (star_text(ROWS)[:-30], "damaged STAR-Counts table"),
        (star_text(ROWS[:-1]), "1 genes are missing, as ENSG00000223972"),
        (star_text([*ROWS, ("ENSG00000999999.1", "X", "lncRNA", 1.0)]), "1 genes are new, as ENSG00000999999"),
        (star_text(ROWS).replace("69.5439", ""), "`tpm_unstranded` of gene ENSG00000000003 is nan; expected a number"),
        (star_text(ROWS).replace("69.5439", "-2"), "of gene ENSG00000000003 is -2; expected a number, 0 or more"),
        (star_text(ROWS).replace("69.5439", "inf"), "of gene ENSG00000000003 is inf"),
        (star_text(ROWS).replace("69.5439", "many"), "damaged STAR-Counts table"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, content: str, message: str) -> None:
    genes = read_star_genes(write_star(tmp_path / "a.tsv"))
    bad = tmp_path / "bad.tsv"
    bad.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        StarReader(genes, genes.genes).read(bad)
    assert str(caught.value).startswith(str(bad))


@pytest.mark.parametrize("is_packed", [True, False])
def test_a_file_far_too_large_is_refused_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_packed: bool
) -> None:
    content = star_text(ROWS * 5000).encode()
    path = tmp_path / "bomb.tsv"
    path.write_bytes(gzip.compress(content) if is_packed else content)
    monkeypatch.setattr(star, "MOST_BYTES", 1 << 20)
    with pytest.raises(DataError, match=f"more than 1 MB{' when unpacked' if is_packed else ''}, far more than"):
        read_star_genes(path)


def test_an_error_in_a_thread_is_raised(tmp_path: Path) -> None:
    good = write_star(tmp_path / "a.tsv")
    bad = tmp_path / "bad.tsv"
    bad.write_text("<html>")
    genes = read_star_genes(good)
    with pytest.raises(DataError, match="HTML"):
        list(StarReader(genes, genes.genes).batches([good, bad, good]))


def test_a_vocabulary_with_genes_that_the_files_lack(tmp_path: Path) -> None:
    genes = read_star_genes(write_star(tmp_path / "a.tsv"))
    with pytest.raises(VocabularyError, match="1 genes of the vocabulary are not in the STAR-Counts files"):
        StarReader(genes, GeneVocabulary.from_ids(["ENSG00000000003", "ENSG00000999999"]))


def test_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    real = write_star(tmp_path / "x" / "u.rna_seq.augmented_star_gene_counts.tsv")
    (tmp_path / "manifest.tsv").write_text("id\n")
    assert list_star_files(tmp_path) == [real]
    assert sample_name(real) == "u"
    assert list_star_files(real) == [real]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no STAR-Counts file"):
        list_star_files(tmp_path / "empty")


def test_real_heads_read(shared: Path) -> None:
    for path in sorted((shared / "fixtures" / "gdc" / "star").glob("*.tsv")):
        genes = read_star_genes(path)
        tpm = StarReader(genes, genes.genes).read(path)
        assert genes.annotation == "GENCODE v36"
        assert len(tpm) == len(genes.genes) > 5
