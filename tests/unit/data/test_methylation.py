"""Mean beta of genes: hand-computed means, missing probes, coverage, own tables and mixed arrays."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from bulkrnabert import keys
from bulkrnabert.data.annotation import read_annotation
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.methylation import (
    FileSites,
    MethylationValues,
    MissingRules,
    methylation_table,
    methylation_values,
    share_probes,
)
from bulkrnabert.data.probes import ProbeMap, read_probe_map
from bulkrnabert.data.sources.files import ExpressionTable
from bulkrnabert.data.sources.sesame import find_arrays
from bulkrnabert.data.units import Unit, parse_unit
from bulkrnabert.errors import DataError

BETA = Unit("beta")
LENIENT = MissingRules(max_missing_sample=1.0)
MAP = "probe_id\tsymbol\ncg1\tA\ncg2\tA\ncg2\tB\ncg3\tB\ncg4\tB\ncg8\tC\ncg9\tA\n"
SAMPLES = [
    {"cg1": "0.1", "cg2": "0.3", "cg3": "0.6", "cg4": "0.9", "cg5": "0.5", "rs1": "0.5"},
    {"cg1": "NA", "cg2": "0.4", "cg3": "NA", "cg4": "NA", "cg5": "0.5", "rs1": "NA"},
    {"cg1": "NA", "cg2": "NA", "cg3": "0.2", "cg4": "NA", "cg5": "0.5", "rs1": "NA"},
]
# A: cg1, cg2 (cg9 is not on the array); B: cg2, cg3, cg4; C: none on the array
MEANS = np.array([[0.2, 0.6], [0.4, 0.4], [np.nan, 0.2]], dtype=np.float32)


@pytest.fixture
def probe_map(tmp_path: Path) -> ProbeMap:
    path = tmp_path / "map.tsv"
    path.write_text(MAP)
    return read_probe_map(path)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    paths = tuple(tmp_path / f"{number}.txt" for number in range(len(SAMPLES)))
    for path, sample in zip(paths, SAMPLES, strict=True):
        path.write_text("".join(f"{probe}\t{beta}\n" for probe, beta in sample.items()))
    return paths


def from_files(files: tuple[Path, ...], probe_map: ProbeMap, rules: MissingRules = LENIENT) -> MethylationValues:
    return methylation_values(FileSites(files, find_arrays(files)), probe_map, rules, "raw")


def all_values(values: MethylationValues, n: int = 3, genes: GeneVocabulary | None = None) -> np.ndarray:
    return np.concatenate(list(values.pieces(range(n), genes or values.genes)))


def table_of(ids: tuple[str, ...], rows: list[list[float]]) -> ExpressionTable:
    samples = tuple(f"S{number}" for number in range(len(rows)))
    return ExpressionTable(samples, GeneVocabulary.from_ids(ids), np.array(rows, dtype=np.float32), None, ())


def test_means_over_measured_probes(files: tuple[Path, ...], probe_map: ProbeMap) -> None:
    values = from_files(files, probe_map)
    assert values.genes.gene_ids == ("A", "B")
    assert ("no_probe_on_array", "C") in values.dropped
    assert ("snp_probe", "rs1") in values.dropped
    assert (str(values.stored_unit), values.annotation) == ("beta", "map.tsv")
    found = all_values(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, MEANS, rtol=1e-7)


def test_order_of_vocabulary_and_rows(files: tuple[Path, ...], probe_map: ProbeMap) -> None:
    values = from_files(files, probe_map)
    wanted = GeneVocabulary.from_ids(["C", "B", "A"])
    found = np.concatenate(list(values.pieces([2, 0], wanted)))
    np.testing.assert_allclose(found, [[np.nan, 0.2, np.nan], [np.nan, 0.6, 0.2]], rtol=1e-6)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (MissingRules(min_probes=2, max_missing_sample=1.0), [[0.2, 0.6], [np.nan, np.nan], [np.nan, np.nan]]),
        (MissingRules(max_missing_gene=0.5, max_missing_sample=1.0), [[0.2, 0.6], [0.4, np.nan], [np.nan, np.nan]]),
        (MissingRules(max_missing_gene=0.0, max_missing_sample=1.0), [[0.2, 0.6], [np.nan] * 2, [np.nan] * 2]),
    ],
)
def test_genes_with_too_few_probes(
    files: tuple[Path, ...], probe_map: ProbeMap, rules: MissingRules, expected: list[list[float]]
) -> None:
    np.testing.assert_allclose(all_values(from_files(files, probe_map, rules)), expected, rtol=1e-6)


def test_samples_with_too_many_missing_probes(files: tuple[Path, ...], probe_map: ProbeMap) -> None:
    values = from_files(files, probe_map, MissingRules(max_missing_sample=0.5))
    found = all_values(values)
    assert np.isnan(found[1:]).all()
    assert np.isfinite(found[0]).all()
    assert values.refused == {
        1: ("too_many_probes_missing", "60.0% of 5 probes have no value, more than 50%"),
        2: ("too_many_probes_missing", "60.0% of 5 probes have no value, more than 50%"),
    }
    assert from_files(files, probe_map, MissingRules(max_missing_sample=0.6)).refused == {}


def test_coverage(files: tuple[Path, ...], probe_map: ProbeMap) -> None:
    values = from_files(files, probe_map)
    list(values.pieces([1, 2], values.genes))
    assert values.n_samples == 2
    assert values.never_measured == ("cg1", "cg4")
    table = values.coverage(GeneVocabulary.from_ids(["A", "B", "C"]))
    assert list(table) == [
        keys.GENE_ID,
        keys.SYMBOL,
        keys.N_PROBES,
        keys.N_ON_ARRAY,
        keys.SHARE_MISSING,
        keys.NEVER_MEASURED,
    ]
    assert table[keys.N_PROBES].tolist() == [3, 3, 1]
    assert table[keys.N_ON_ARRAY].tolist() == [2, 3, 0]
    np.testing.assert_allclose(table[keys.SHARE_MISSING], [3 / 4, 4 / 6, np.nan])
    assert table[keys.NEVER_MEASURED].tolist() == ["cg1", "cg4", ""]
    assert from_files(files, probe_map).never_measured == ()


def test_a_map_of_another_array(files: tuple[Path, ...], tmp_path: Path) -> None:
    path = tmp_path / "other.tsv"
    path.write_text("probe\tgene\ncg77\tA\n")
    with pytest.raises(DataError, match=r"raw: none of its 5 CpG probes, as cg1, is in other\.tsv"):
        from_files(files, read_probe_map(path))


def test_rules_have_a_range() -> None:
    with pytest.raises(DataError, match="at least 1 is needed"):
        MissingRules(min_probes=0)
    with pytest.raises(DataError, match="of a sample: 30; give a number from 0 to 1"):
        MissingRules(max_missing_sample=30)


def test_an_own_table_of_probes_gives_the_same_means(probe_map: ProbeMap) -> None:
    ids = ("cg5", "rs1", "cg3", "cg1_TC11", "cg4", "cg2", "cg1_BC11")
    rows = []
    for sample in SAMPLES:
        rows.append([float(sample[name.split("_")[0]].replace("NA", "nan")) for name in ids])
    table = table_of(ids, rows)
    before = table.values.copy()
    for unit, values in ((BETA, table.values), (parse_unit("sqrt(beta)"), np.sqrt(table.values))):
        given = ExpressionTable(table.sample_ids, table.genes, values, None, ())
        found = methylation_table(given, unit, probe_map, LENIENT)
        np.testing.assert_allclose(all_values(found), MEANS, rtol=1e-5)
        assert str(found.stored_unit) == "beta"
        assert ("snp_probe", "rs1") in found.dropped
    np.testing.assert_array_equal(table.values, before)


def test_an_own_table_of_genes_passes_as_it_is(probe_map: ProbeMap) -> None:
    table = table_of(("MYC", "TP53"), [[0.1, np.nan], [0.7, 1.0]])
    values = methylation_table(table, BETA, probe_map, LENIENT)
    assert not values.is_aggregated
    np.testing.assert_array_equal(all_values(values, 2), table.values)
    assert methylation_table(table, BETA, None).genes.gene_ids == ("MYC", "TP53")
    list((strict := methylation_table(table, BETA, None)).pieces([0, 1], table.genes))
    assert list(strict.refused) == [0]


def test_symbols_of_an_own_table_become_ensembl_ids(tmp_path: Path) -> None:
    path = tmp_path / "g.tsv"
    path.write_text("gene_id\tsymbol\nENSG00000000002\tMYC\nENSG00000000001\tTP53\n")
    table = table_of(("MYC", "OTHER", "TP53"), [[0.1, 0.2, 0.3]])
    values = methylation_table(table, BETA, None, LENIENT, annotation=read_annotation(path))
    assert values.genes.gene_ids == ("ENSG00000000001", "ENSG00000000002")
    assert ("unknown_symbol", "OTHER") in values.dropped
    np.testing.assert_array_equal(all_values(values, 1), np.array([[0.3, 0.1]], dtype=np.float32))


def test_probes_are_features_without_a_map(caplog: pytest.LogCaptureFixture) -> None:
    table = table_of(("cg1", "cg2", "ch.1.5F"), [[0.1, 0.2, 0.3]])
    with caplog.at_level(logging.INFO):
        values = methylation_table(table, BETA, None, where="own.tsv")
    assert "own.tsv: 3 probes are used as features" in caplog.text
    assert values.genes.gene_ids == ("cg1", "cg2", "ch.1.5F")
    np.testing.assert_array_equal(all_values(values, 1), table.values)


def test_own_tables_that_are_wrong(probe_map: ProbeMap) -> None:
    table = table_of(("cg1", "cg2"), [[0.1, 0.2]])
    with pytest.raises(DataError, match=r"own\.tsv: methylation in `tpm`; known are beta"):
        methylation_table(table, Unit("tpm"), None, where="own.tsv")
    with pytest.raises(DataError, match="probes in `zscore` have no mean beta"):
        methylation_table(table, Unit("zscore"), probe_map)
    with pytest.raises(DataError, match="none of its 2 probes is a CpG"):
        methylation_table(table_of(("rs1", "rs2"), [[0.1, 0.2]]), BETA, probe_map)


def test_sources_of_different_arrays(
    files: tuple[Path, ...], probe_map: ProbeMap, caplog: pytest.LogCaptureFixture
) -> None:
    raw = from_files(files, probe_map)
    table = methylation_table(table_of(("cg2", "cg3", "cg7"), [[0.5, 0.7, 0.1]]), BETA, probe_map, LENIENT)
    features = methylation_table(table_of(("A", "B"), [[0.5, 0.7]]), BETA, probe_map)
    with pytest.raises(DataError, match="raw: 5 CpG probes, own: 3 CpG probes, not the same ones"):
        share_probes([raw, features, table], ["raw", "genes", "own"], "refuse")
    with caplog.at_level(logging.INFO):
        shared = share_probes([raw, features, table], ["raw", "genes", "own"], "intersect")
    assert "2 CpG probes remain" in caplog.text
    assert [one.sites.ids for one in shared] == [("cg2", "cg3"), ("A", "B"), ("cg2", "cg3")]
    np.testing.assert_allclose(all_values(shared[0]), [[0.3, 0.45], [0.4, 0.4], [np.nan, 0.2]], rtol=1e-6)
    np.testing.assert_allclose(all_values(shared[2], 1), [[0.5, 0.6]], rtol=1e-6)
    assert share_probes([raw, features], ["raw", "genes"], "refuse") == [raw, features]
    other = methylation_table(table_of(("cg9",), [[0.5]]), BETA, probe_map)
    with pytest.raises(DataError, match="no CpG probe in common"):
        share_probes([raw, other], ["raw", "own"], "intersect")


def test_real_tables_of_cpgs(shared: Path) -> None:
    from bulkrnabert.data.sources.files import read_expression

    tables = sorted((shared / "data/pancan660").glob("*meth*.parquet"))
    if not tables:
        pytest.skip("no methylation table in pancan660")
    table = read_expression(tables[0])
    values = methylation_table(table, BETA, None)
    np.testing.assert_array_equal(all_values(values, len(table.sample_ids)), table.values)
