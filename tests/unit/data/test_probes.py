"""Probe-to-gene tables: usual titles, several genes a cell, Ensembl ids or symbols, and what is left out."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from bulkrnabert.data.annotation import read_annotation
from bulkrnabert.data.probes import ProbeMap, average_replicates, find_cpgs, read_probe_map, with_ensembl_ids
from bulkrnabert.errors import DataError, VocabularyError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def links(probe_map: ProbeMap) -> set[tuple[str, str]]:
    return {
        (probe_map.probe_ids[probe], probe_map.genes.gene_ids[gene])
        for probe, gene in zip(probe_map.probe_idx, probe_map.gene_idx, strict=True)
    }


def test_several_genes_in_a_cell(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", 'ILMNID,GENESYMBOL\ncg02,MYC;TP53\ncg01,"TP53,MYC"\ncg03,TP53;TP53\n')
    found = read_probe_map(path)
    assert found.genes.gene_ids == ("MYC", "TP53")
    assert found.probe_ids == ("cg01", "cg02", "cg03")
    assert links(found) == {(probe, gene) for probe in ("cg01", "cg02") for gene in ("MYC", "TP53")} | {
        ("cg03", "TP53")
    }
    assert found.n_probes.tolist() == [2, 3]
    assert found.genes.kind == "symbol"


def test_ensembl_ids_are_taken_where_the_table_has_them(tmp_path: Path) -> None:
    rows = "cg01\tENSG00000000002.5;ENSG00000000001\tB;A\ncg02\tENSG00000000001.9\tA\ncg02\tENSG00000000003\tX;Y\n"
    found = read_probe_map(write(tmp_path / "m.tsv", "probe_id\tgene_id\tsymbol\n" + rows))
    assert found.genes.gene_ids == ("ENSG00000000001", "ENSG00000000002", "ENSG00000000003")
    assert found.genes.symbols == ("A", "B", "")
    assert ("cg01", "ENSG00000000002") in links(found)
    assert len(found.probe_idx) == 4


@pytest.mark.parametrize(
    "header", ["#id\tgene", "probe\tsymbol", "Probe_ID\tgene_name", "IlmnID\tUCSC_RefGene_Name", "cg\tGENESYMBOL"]
)
def test_usual_titles(tmp_path: Path, header: str) -> None:
    path = tmp_path / "m.tsv.gz"
    path.write_bytes(gzip.compress(f"{header}\ncg01\tMYC\n".encode()))
    assert links(read_probe_map(path)) == {("cg01", "MYC")}


def test_what_is_left_out_is_listed(tmp_path: Path) -> None:
    rows = "rs1\tA\nch.1.1F\tA\nctl_1\tA\ncg01\t.\ncg02\tNA\ncg03\tA;.\ncg04_TC21\tENSG1\n".replace("ENSG1", "B")
    found = read_probe_map(write(tmp_path / "m.tsv", "probe\tgene\n" + rows))
    assert links(found) == {("cg03", "A"), ("cg04", "B")}
    assert sorted(found.dropped) == [
        ("non_cpg_probe", "ch.1.1F"),
        ("other_probe", "ctl_1"),
        ("probe_without_gene", "cg01"),
        ("probe_without_gene", "cg02"),
        ("snp_probe", "rs1"),
    ]
    copies = read_probe_map(
        write(tmp_path / "y.tsv", "probe\tgene_id\ncg01\tENSG00000000001.2_PAR_Y\ncg01\tENSG00000000001.2\n")
    )
    assert links(copies) == {("cg01", "ENSG00000000001")}
    assert copies.dropped == (("par_y", "ENSG00000000001.2_PAR_Y"),)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("sample\tgene\ncg01\tA\n", DataError, "no column of probe ids: expected one of probe_id.*found 'sample'"),
        ("probe\tbeta\ncg01\t0.5\n", DataError, "no column of genes"),
        ("probe\tgene\n", DataError, "a header without rows"),
        ("", DataError, "empty file"),
        ("<html></html>", DataError, "an HTML page"),
        ("probe\tgene\ncg01\t.\n", DataError, "no CpG probe with a gene in 1 rows"),
        ("probe\tgene\ncg01\tA\ncg02\tENSG00000000001\n", VocabularyError, "Ensembl ids .* are mixed"),
        ("probe\tgene\ncg01\tA\ncg02\tB\tC\tD\n", DataError, "no regular table"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str, error: type[DataError], message: str) -> None:
    path = write(tmp_path / "m.tsv", text)
    with pytest.raises(error, match=message) as caught:
        read_probe_map(path)
    assert str(caught.value).startswith(str(path))


def test_symbols_become_ensembl_ids_or_are_left_out(tmp_path: Path) -> None:
    rows = "ENSG00000000009\tA\nENSG00000000001\tB\nENSG00000000002\tTWICE\nENSG00000000003\tTWICE\n"
    annotation = read_annotation(write(tmp_path / "g.tsv", "gene_id\tsymbol\n" + rows))
    symbols = read_probe_map(write(tmp_path / "m.tsv", "probe\tgene\ncg01\tA;B\ncg02\tTWICE\ncg03\tOTHER;A\n"))
    found = with_ensembl_ids(symbols, annotation)
    assert found.genes.gene_ids == ("ENSG00000000001", "ENSG00000000009")
    assert found.genes.symbols == ("B", "A")
    assert found.probe_ids == ("cg01", "cg03")
    assert links(found) == {
        ("cg01", "ENSG00000000001"),
        ("cg01", "ENSG00000000009"),
        ("cg03", "ENSG00000000009"),
    }
    assert found.dropped == (("unknown_symbol", "OTHER"), ("ambiguous_symbol", "TWICE"))
    again = with_ensembl_ids(found, annotation)
    assert links(again) == links(found)
    with pytest.raises(VocabularyError, match=r"n\.tsv: none of its 1 genes, as 'OTHER'"):
        with_ensembl_ids(read_probe_map(write(tmp_path / "n.tsv", "probe\tgene\ncg03\tOTHER\n")), annotation)


def test_replicates_share_a_site() -> None:
    found = find_cpgs(["cg2_TC21", "rs3", "cg1", "cg2_BO11"])
    assert found.ids == ("cg2", "cg1")
    assert found.rows.tolist() == [0, 2, 3]
    assert found.sites.tolist() == [0, 1, 0]
    measured = np.array([0.2, np.nan, 0.6])
    np.testing.assert_allclose(average_replicates(measured, found.sites, 2), [0.4, np.nan])
    assert np.isnan(measured[1])


def test_real_tables(shared: Path) -> None:
    small = read_probe_map(shared / "data/ref/hm27_probe_gene_hg38.tsv.gz")
    assert {("cg00000292", "ATP2A1"), ("cg00005847", "HOXD3"), ("cg00005847", "AC009336.19")} <= links(small)
    assert sum(rule == "probe_without_gene" for rule, _ in small.dropped) == 576
    large = read_probe_map(shared / "data/ref/hm450_probe_gene_methylmix.csv.gz")
    assert (len(large.probe_ids), len(large.genes)) == (364_643, len(set(large.genes.gene_ids)))
    assert sum(rule == "non_cpg_probe" for rule, _ in large.dropped) == 1_217
