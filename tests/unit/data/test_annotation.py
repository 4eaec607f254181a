"""Gene annotation: reading, symbols to Ensembl ids, and the table that a GTF becomes, by hand."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from click.testing import CliRunner

from bulkrnabert.cli.annotate import command
from bulkrnabert.data.annotation import (
    GeneAnnotation,
    annotation_from_star,
    read_annotation,
    to_ensembl,
    write_annotation,
)
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.gtf import annotation_from_gtf, union_length
from bulkrnabert.data.sources.files import ExpressionTable
from bulkrnabert.data.sources.gtf_file import fetched
from bulkrnabert.data.sources.star import read_star_genes
from bulkrnabert.data.sources.transfer import TransferError
from bulkrnabert.errors import ConfigError, DataError, VocabularyError

TABLE = (
    "# gene-model: GENCODE v36\n"
    "gene_id\tsymbol\tgene_type\tlength\tchrom\tstart\tend\tstrand\n"
    "ENSG00000000003.15\tTSPAN6\tprotein_coding\t4536\tchrX\t100627108\t100639991\t-\n"
    "ENSG00000000005.6\tTNMD\tprotein_coding\t1476\tchrX\t100584936\t100599885\t+\n"
    "ENSG00000002586.20\tCD99\tprotein_coding\t\tchrX\t2691187\t2741309\t+\n"
    "ENSG00000002586.20_PAR_Y\tCD99\tprotein_coding\t\tchrY\t2691187\t2741309\t+\n"
    "ENSG00000280001.1\tTWIN\tlncRNA\t100\tchr1\t1\t100\t+\n"
    "ENSG00000280002.1\tTWIN\tlncRNA\t200\tchr1\t301\t500\t+\n"
)


@pytest.fixture
def annotation(tmp_path: Path) -> GeneAnnotation:
    (tmp_path / "genes.tsv").write_text(TABLE)
    return read_annotation(tmp_path / "genes.tsv")


def table(names: list[str]) -> ExpressionTable:
    values = np.arange(2 * len(names), dtype=np.float32).reshape(2, len(names))
    return ExpressionTable(("S1", "S2"), GeneVocabulary.from_ids(names), values, None, (("spike_in", "ERCC-00002"),))


def test_a_table_of_genes(annotation: GeneAnnotation) -> None:
    assert annotation.gene_ids[:3] == ("ENSG00000000003", "ENSG00000000005", "ENSG00000002586")
    assert len(annotation) == 5
    assert annotation.symbols[:2] == ("TSPAN6", "TNMD")
    assert annotation.gene_types[3] == "lncRNA"
    assert annotation.release == "GENCODE v36"
    assert annotation.length_of == {
        "ENSG00000000003": 4536.0,
        "ENSG00000000005": 1476.0,
        "ENSG00000280001": 100.0,
        "ENSG00000280002": 200.0,
    }
    assert (annotation.chroms[0], annotation.strands[0], annotation.starts[0]) == ("chrX", "-", 100627108)


def test_it_writes_what_it_reads(annotation: GeneAnnotation, tmp_path: Path) -> None:
    write_annotation(annotation, tmp_path / "again.tsv")
    again = read_annotation(tmp_path / "again.tsv")
    assert (again.gene_ids, again.symbols, again.release) == (annotation.gene_ids, annotation.symbols, "GENCODE v36")
    np.testing.assert_array_equal(again.lengths, annotation.lengths)
    assert (tmp_path / "again.tsv").read_text().splitlines()[4] == (
        "ENSG00000002586\tCD99\tprotein_coding\t\tchrX\t2691187\t2741309\t+"
    )


def test_symbols_are_resolved_and_never_guessed(annotation: GeneAnnotation) -> None:
    found = annotation.resolve(["TNMD", "TWIN", "tspan6", "CD99|4267", "1-Mar", "TSPAN6", "TSPAN6|7105", "?|9"])
    assert found.gene_ids == ("ENSG00000000005", "ENSG00000002586")
    assert found.keep_idx.tolist() == [0, 3]
    assert found.dropped == (
        ("ambiguous_symbol", "TWIN"),
        ("unknown_symbol", "tspan6"),
        ("unknown_symbol", "1-Mar"),
        ("duplicated_symbol", "TSPAN6"),
        ("duplicated_symbol", "TSPAN6|7105"),
        ("unknown_symbol", "?|9"),
    )


def test_a_table_of_symbols_gets_ensembl_ids(annotation: GeneAnnotation) -> None:
    given = table(["TNMD", "NOPE", "TSPAN6"])
    found = to_ensembl(given, annotation)
    assert found.gene_ids == ("ENSG00000000005", "ENSG00000000003")
    assert found.genes.symbols == ("TNMD", "TSPAN6")
    assert found.genes.gene_types == ("protein_coding", "protein_coding")
    np.testing.assert_array_equal(found.values, [[0, 2], [3, 5]])
    assert found.dropped == (("spike_in", "ERCC-00002"), ("unknown_symbol", "NOPE"))
    assert given.gene_ids == ("TNMD", "NOPE", "TSPAN6")


def test_a_table_of_ensembl_ids_gets_symbols(annotation: GeneAnnotation) -> None:
    found = to_ensembl(table(["ENSG00000000005", "ENSG00000099999"]), annotation)
    assert found.gene_ids == ("ENSG00000000005", "ENSG00000099999")
    assert found.genes.symbols == ("TNMD", "")
    assert found.genes.gene_types == ("protein_coding", "")


def test_a_table_without_any_known_symbol_is_refused(annotation: GeneAnnotation) -> None:
    with pytest.raises(VocabularyError, match="none of the 2 gene names of the table, as 'Trp53'"):
        to_ensembl(table(["Trp53", "Egfr"]), annotation)


def test_an_annotation_without_symbols_says_so(tmp_path: Path) -> None:
    (tmp_path / "lengths.csv").write_text("ensg_id,length\nENSG00000000003,4536\n")
    lengths = read_annotation(tmp_path / "lengths.csv")
    assert lengths.length_of == {"ENSG00000000003": 4536.0}
    with pytest.raises(VocabularyError, match=r"lengths\.csv: has no gene symbols"):
        lengths.resolve(["TP53"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\tlength\nA\t1\n", "no column of gene ids"),
        ("gene_id\nTP53\n", "no human Ensembl gene id in its id column.*found 'TP53'"),
        ("probe_id\tgene_id\ncg00000029\tENSG00000000003\n", "a table of probes, as 'cg00000029' in column 'probe_id'"),
        ("#id\tgene\ncg00000029\tTP53\n", "a table of probes, as 'cg00000029'.*--probe-annotation"),
        ("gene_id\nENSG00000000003\nTP53\nEGFR\n", "only 1 of 3 rows have a human Ensembl gene id.*'TP53'"),
        ("gene_id\tlength\nENSG00000000003\t-5\n", "length '-5' of gene 'ENSG00000000003'"),
        ("gene_id\tlength\nENSG00000000003\tlong\n", "length 'long' of gene"),
        ("gene_id\tlength\nENSG00000000003\tinf\n", "length 'inf' of gene"),
        ("gene_id\tsymbol\nENSG00000000003.1\tA\nENSG00000000003.2\tB\n", "more than once with different attributes"),
        ("gene_id\tsymbol\n", "a header without rows"),
        ("<html></html>", "an HTML page"),
    ],
)
def test_annotations_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "genes.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_annotation(tmp_path / "genes.tsv")


def test_symbols_of_star_counts_files(tmp_path: Path) -> None:
    columns = "gene_id gene_name gene_type unstranded stranded_first stranded_second tpm_unstranded fpkm_unstranded"
    text = "# gene-model: GENCODE v36\n" + "\t".join([*columns.split(), "fpkm_uq_unstranded"]) + "\n"
    for gene_id, symbol in (("ENSG00000000003.15", "TSPAN6"), ("ENSG00000002586.20_PAR_Y", "CD99")):
        text += f"{gene_id}\t{symbol}\tprotein_coding\t1\t1\t1\t2.5\t1\t1\n"
    (tmp_path / "a.tsv").write_text(text)
    annotation = annotation_from_star(read_star_genes(tmp_path / "a.tsv"))
    assert annotation.resolve(["TSPAN6", "CD99"]).gene_ids == ("ENSG00000000003",)
    assert (annotation.release, annotation.length_of) == ("GENCODE v36", {})


@pytest.mark.parametrize(
    ("name", "n_genes", "n_lengths"),
    [
        ("gencode_v22_genes.tsv.gz", 60_433, 0),
        ("gencode_v36_genes.tsv.gz", 60_616, 0),
        ("gene_length.csv.gz", 78_932, 78_932),
    ],
)
def test_real_tables(shared: Path, name: str, n_genes: int, n_lengths: int) -> None:
    annotation = read_annotation(shared / "data" / "ref" / name)
    assert len(annotation) == n_genes
    assert len(annotation.length_of) == n_lengths
    if annotation.has_symbols:
        assert annotation.resolve(["TP53"]).gene_ids == ("ENSG00000141510",)


@pytest.mark.parametrize(
    ("exons", "n_bases"),
    [
        ([], 0),
        ([(11, 20)], 10),
        ([(11, 20), (16, 25)], 15),  # overlapping
        ([(11, 20), (12, 15)], 10),  # one inside the other
        ([(11, 20), (21, 30)], 20),  # side by side
        ([(101, 110), (11, 20), (105, 120)], 30),
        ([(1, 1)], 1),
    ],
)
def test_length_of_a_union(exons: list[tuple[int, int]], n_bases: int) -> None:
    assert union_length(exons) == n_bases


def line(feature: str, start: int, end: int, gene: str, symbol: str, chrom: str = "chr1", strand: str = "+") -> str:
    attributes = f'gene_id "{gene}"; gene_type "protein_coding"; gene_name "{symbol}"; level 2;'
    return f"{chrom}\tHAVANA\t{feature}\t{start}\t{end}\t.\t{strand}\t.\t{attributes}\n"


HEADER = (
    "##description: evidence-based annotation of the human genome (GRCh38), version 36 (Ensembl 102)\n"
    "##provider: GENCODE\n##format: gtf\n"
)
# Gene one has two transcripts: 11-20 and 31-40, 16-25 and 31-40. Union 11-25 (15) and 31-40 (10).
GTF = (
    HEADER
    + line("gene", 11, 40, "ENSG00000000001.3", "ONE")
    + line("transcript", 11, 40, "ENSG00000000001.3", "ONE")
    + line("exon", 11, 20, "ENSG00000000001.3", "ONE")
    + line("exon", 31, 40, "ENSG00000000001.3", "ONE")
    + line("transcript", 16, 40, "ENSG00000000001.3", "ONE")
    + line("exon", 16, 25, "ENSG00000000001.3", "ONE")
    + line("exon", 31, 40, "ENSG00000000001.3", "ONE")
    + line("CDS", 1, 900, "ENSG00000000001.3", "ONE")
    + line("exon", 101, 200, "ENSG00000000002.1", "TWO", "chrX", "-")
    + line("gene", 1, 10, "ENSG00000000002.1_PAR_Y", "TWO", "chrY")
    + line("exon", 1, 10, "ENSG00000000002.1_PAR_Y", "TWO", "chrY")
    + line("gene", 1, 10, "ENSMUSG00000000002.1", "Mouse")
)


@pytest.mark.parametrize("name", ["genes.gtf", "genes.gtf.gz"])
def test_a_gtf_becomes_a_table(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(GTF.encode()) if name.endswith(".gz") else GTF.encode())
    result = CliRunner().invoke(command, ["--gtf", str(tmp_path / name), "--out", str(tmp_path / "a.tsv")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.tsv").read_text() == (
        "# gene-model: GENCODE v36\n"
        "gene_id\tsymbol\tgene_type\tlength\tchrom\tstart\tend\tstrand\n"
        "ENSG00000000001\tONE\tprotein_coding\t25\tchr1\t11\t40\t+\n"
        "ENSG00000000002\tTWO\tprotein_coding\t100\tchrX\t101\t200\t-\n"
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "genes.gtf.gz").write_bytes(gzip.compress(GTF.encode()))
    handler = partial(QuietHandler, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_gtf_from_an_address(tmp_path: Path, server: str) -> None:
    out = tmp_path / "out" / "a.tsv"
    result = CliRunner().invoke(command, ["--gtf", f"{server}/genes.gtf.gz", "--out", str(out)])
    assert result.exit_code == 0, result.exception
    assert read_annotation(out).length_of == {"ENSG00000000001": 25.0, "ENSG00000000002": 100.0}
    assert [path.name for path in out.parent.iterdir()] == ["a.tsv"]


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("{server}/no.gtf.gz", TransferError, "no.gtf.gz"),
        ("{server}/", ConfigError, "an http\\(s\\) address that ends in a file name"),
        ("ftp://example.org/genes.gtf.gz", ConfigError, "an http\\(s\\) address"),
    ],
)
def test_a_gtf_that_cannot_be_had(
    tmp_path: Path, server: str, address: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message), fetched(address.format(server=server), tmp_path / "a.tsv"):
        pass


def test_ensembl_names_its_release_and_types_otherwise(tmp_path: Path) -> None:
    text = (
        "#!genome-version GRCh38\n"
        '1\thavana\tgene\t1\t9\t.\t+\t.\tgene_id "ENSG00000000001"; gene_version "3"; gene_biotype "lncRNA";\n'
    )
    (tmp_path / "e.gtf").write_text(text)
    annotation = annotation_from_gtf(tmp_path / "e.gtf")
    assert (annotation.release, annotation.gene_types) == ("Ensembl GRCh38", ("lncRNA",))
    assert annotation.length_of == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER, "no human Ensembl gene in this file"),
        (
            HEADER + line("gene", 1, 9, "ENSMUSG00000000002", "M"),
            r"no human Ensembl gene in this file \(1 other genes\)",
        ),
        (HEADER + "chr1\tx\n", "line 4 has 2 columns, a GTF has 9"),
        (HEADER + line("exon", 9, 3, "ENSG00000000001", "A"), "line 4: start '9' and end '3' of gene ENSG00000000001"),
        (HEADER + "chr1\tH\texon\t1\t2\t.\t+\t.\tlevel 2;\n", "line 4 names no gene"),
        (
            GTF + line("exon", 300, 310, "ENSG00000000001.3", "ONE"),
            "lines of gene ENSG00000000001 stand in two places",
        ),
    ],
)
def test_what_is_no_gtf(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.gtf").write_text(text)
    with pytest.raises(DataError, match=message):
        annotation_from_gtf(tmp_path / "x.gtf")
