"""Probes to genes by coordinates: window, body, strand, counting from 0 or 1, checked against a plain loop."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from bulkrnabert import keys
from bulkrnabert.data.annotation import GeneAnnotation, read_annotation
from bulkrnabert.data.probe_positions import (
    ProbePositions,
    find_genes_of_probes,
    read_probe_positions,
)
from bulkrnabert.errors import DataError

GENES = """gene_id\tsymbol\tchrom\tstart\tend\tstrand
ENSG00000000001.4\tPLUS\tchr1\t10000\t20000\t+
ENSG00000000002.1\tMINUS\tchr1\t10000\t20000\t-
ENSG00000000003.1\tSHORT\tchrX\t5000\t5100\t+
ENSG00000000003.1_PAR_Y\tSHORT\tchrY\t5000\t5100\t+
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def found(folder: Path, position: int, chrom: str = "chr1", zero_based: bool = False) -> dict[str, tuple[str, int]]:
    probes = write(folder / "p.tsv", f"probe_id\tchrom\tposition\ncg01\t{chrom}\t{position}\ncg02\tchr1\t15000\n")
    result = find_genes_of_probes(
        read_probe_positions(probes, zero_based), read_annotation(write(folder / "g.tsv", GENES))
    )
    table = result.table[result.table[keys.PROBE] == "cg01"]
    return {
        symbol: (region, distance)
        for symbol, region, distance in zip(table[keys.SYMBOL], table[keys.REGION], table[keys.DISTANCE], strict=True)
    }


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (8499, {}),
        (8500, {"PLUS": ("tss", -1500)}),
        (9999, {"PLUS": ("tss", -1)}),
        (10000, {"PLUS": ("tss", 0), "MINUS": ("body", 10000)}),
        (11500, {"PLUS": ("tss", 1500), "MINUS": ("body", 8500)}),
        (11501, {"PLUS": ("body", 1501), "MINUS": ("body", 8499)}),
        (18500, {"PLUS": ("body", 8500), "MINUS": ("tss", 1500)}),
        (20000, {"PLUS": ("body", 10000), "MINUS": ("tss", 0)}),
        (20001, {"MINUS": ("tss", -1)}),
        (21500, {"MINUS": ("tss", -1500)}),
        (21501, {}),
    ],
)
def test_borders(tmp_path: Path, position: int, expected: dict[str, tuple[str, int]]) -> None:
    assert found(tmp_path, position) == expected
    assert found(tmp_path, position - 1, zero_based=True) == expected


def test_chromosomes_are_known_with_and_without_chr(tmp_path: Path) -> None:
    assert found(tmp_path, 6501, "X") == {}
    assert found(tmp_path, 6500, "X") == {"SHORT": ("tss", 1500)}
    assert found(tmp_path, 6500, "chrY") == {}


def test_what_fell_nowhere_is_listed(tmp_path: Path) -> None:
    rows = (
        "cg01\tchr1\t15000\ncg02\tchr1\t900000\ncg03\t*\t-1\ncg04\tchr7\t5\nrs1\tchr1\t15000\ncg05_TC1\tchr1\t15000\n"
    )
    probes = read_probe_positions(write(tmp_path / "p.tsv", f"#id\tchrom\tchromStart\n{rows}cg05_BC1\tchr1\t15000\n"))
    result = find_genes_of_probes(probes, read_annotation(write(tmp_path / "g.tsv", GENES)))
    assert sorted(result.dropped) == [
        ("chromosome_without_genes", "cg04"),
        ("no_gene_near", "cg02"),
        ("no_position", "cg03"),
        ("snp_probe", "rs1"),
    ]
    assert result.table[keys.PROBE].tolist() == ["cg01", "cg01", "cg05", "cg05"]


def test_the_join_equals_a_plain_loop() -> None:
    generator = np.random.default_rng(0)
    n_probes, n_genes, window = 300, 60, 40
    positions = generator.integers(1, 3000, n_probes)
    starts = generator.integers(1, 2500, n_genes)
    probes = ProbePositions(
        tuple(f"cg{n}" for n in range(n_probes)), tuple(generator.choice(["1", "2", "X"], n_probes)), positions, ()
    )
    genes = GeneAnnotation(
        tuple(f"G{n}" for n in range(n_genes)),
        ("",) * n_genes,
        ("",) * n_genes,
        np.full(n_genes, np.nan),
        tuple(generator.choice(["chr1", "chr2", "chr3"], n_genes)),
        starts.astype(float),
        (starts + generator.integers(0, 300, n_genes)).astype(float),
        tuple(generator.choice(["+", "-"], n_genes)),
    )
    expected = {
        (probes.probe_ids[p], genes.gene_ids[g])
        for p in range(n_probes)
        for g in range(n_genes)
        if f"chr{probes.chroms[p]}" == genes.chroms[g]
        and (
            genes.starts[g] <= positions[p] <= genes.ends[g]
            or abs(positions[p] - (genes.ends[g] if genes.strands[g] == "-" else genes.starts[g])) <= window
        )
    }
    table = find_genes_of_probes(probes, genes, window).table
    assert set(zip(table[keys.PROBE], table[keys.GENE_ID], strict=True)) == expected
    assert len(table) == len(expected) > 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("probe\tchrom\ncg01\tchr1\n", "no column of positions"),
        ("probe\tchrom\tposition\ncg01\t*\t-1\n", "no CpG probe with a chromosome and a position in 1 rows"),
        ("probe\tchrom\tposition\ncg01\tchr1\t5\ncg01\tchr1\t6\n", "'cg01' has two positions"),
    ],
)
def test_positions_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_probe_positions(write(tmp_path / "p.tsv", text))


def test_genes_without_a_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    probes = read_probe_positions(write(tmp_path / "p.tsv", "probe\tchrom\tposition\ncg01\tchr1\t15000\n"))
    rows = "ENSG00000000007\tNOWHERE\t\t\t\t\nENSG00000000008\tNO_STRAND\tchr1\t10000\t20000\t.\n"
    with caplog.at_level(logging.INFO):
        table = find_genes_of_probes(probes, read_annotation(write(tmp_path / "g.tsv", GENES + rows))).table
    assert table[keys.SYMBOL].tolist() == ["PLUS", "MINUS"]
    assert "g.tsv: 2 genes without a place or a strand are left out" in caplog.text
    with pytest.raises(DataError, match=r"g\.tsv: none of its 1 genes has a place"):
        find_genes_of_probes(probes, read_annotation(write(tmp_path / "g.tsv", "gene_id\nENSG00000000001\n")))
    turned = GENES.replace("10000\t20000\t-", "20000\t10000\t-")
    with pytest.raises(DataError, match="ENSG00000000002 ends at 10000, before its start 20000"):
        find_genes_of_probes(probes, read_annotation(write(tmp_path / "g.tsv", turned)))


def test_nothing_in_common(tmp_path: Path) -> None:
    genes = read_annotation(write(tmp_path / "g.tsv", GENES))
    probes = read_probe_positions(write(tmp_path / "p.tsv", "probe\tchrom\tposition\ncg01\tscaffold_9\t5\n"))
    with pytest.raises(DataError, match=r"no chromosome in common: probes on scaffold_9, genes of g\.tsv on 1, X"):
        find_genes_of_probes(probes, genes)
    far = read_probe_positions(write(tmp_path / "p.tsv", "probe\tchrom\tposition\ncg01\tchr1\t5000000\n"))
    with pytest.raises(DataError, match="same genome build"):
        find_genes_of_probes(far, genes)
