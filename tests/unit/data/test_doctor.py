"""The doctor: each thing that can be wrong with a table is found, named, and has a cure; what is right passes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bulkrnabert.cli import _run
from bulkrnabert.data.doctor import DoctorRequest, examine, table_for_model
from bulkrnabert.data.doctor_findings import Check, Diagnosis
from bulkrnabert.data.doctor_samples import check_samples, examine_samples
from bulkrnabert.data.doctor_scale import candidate_units, look_at
from bulkrnabert.data.doctor_text import render
from bulkrnabert.data.genes import EXCEL_DATE, GeneVocabulary
from bulkrnabert.data.sources.files import ExpressionTable
from bulkrnabert.data.units import parse_unit

N_SAMPLES, N_GENES = 12, 12_000
IDS = [f"ENSG{number:011d}" for number in range(N_GENES)]
rng = np.random.default_rng(0)
RAW = rng.gamma(0.3, 50.0, size=N_GENES) * rng.lognormal(0.0, 0.5, size=(N_SAMPLES, N_GENES))
RAW[rng.random(RAW.shape) < 0.2] = 0.0
TPM = RAW / RAW.sum(axis=1, keepdims=True) * 1e6
COUNTS = rng.poisson(RAW).astype(float)
UPPER_QUARTILES = np.array([np.percentile(row[row > 0], 75) for row in RAW])
RSEM = RAW / UPPER_QUARTILES[:, None] * 1000
LIBRARIES = np.linspace(2e5, 6e5, N_SAMPLES)
FPKM = TPM / 1e6 * LIBRARIES[:, None]
SCORES = rng.normal(size=(N_SAMPLES, N_GENES))


def expression(values: np.ndarray, genes: list[str] = IDS) -> ExpressionTable:
    samples = tuple(f"S{number}" for number in range(len(values)))
    return ExpressionTable(samples, GeneVocabulary.from_ids(genes), values.astype(np.float32), None, ())


def write(folder: Path, values: np.ndarray, genes: list[str] = IDS) -> Path:
    index = pd.Index(genes[: values.shape[1]], name="gene_id")
    pd.DataFrame(values.T, index=index, columns=[f"S{row}" for row in range(len(values))]).to_parquet(
        folder / "mine.parquet"
    )
    return folder / "mine.parquet"


def check(diagnosis: Diagnosis, name: str) -> Check:
    (found,) = [check for check in diagnosis.checks if check.name == name]
    return found


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (TPM, "tpm"),
        (COUNTS, "counts"),
        (RSEM, "rsem"),
        (FPKM, "fpkm"),
        (np.log2(TPM + 1), "log2(tpm+1)"),
        (np.log10(TPM + 1), "log10(tpm+1)"),
        (np.log(TPM + 1), "ln(tpm+1)"),
        (np.log2(TPM + 0.001), "log2(tpm+0.001)"),
        (np.log2(TPM + 0.5), "log2(tpm+0.5)"),
        (SCORES, "zscore"),
        (SCORES * 0.3, "log2_ratio"),
        (rng.beta(0.5, 0.5, size=(5, 100)), "beta"),
        (np.log2(TPM[:, :90] + 1), "log2(tpm+1)"),
    ],
)
def test_the_scale_is_told_from_the_numbers(values: np.ndarray, first: str) -> None:
    assert candidate_units(look_at(values.astype(np.float32)))[0] == first


@pytest.mark.parametrize(
    ("values", "unit", "status", "found"),
    [
        (TPM, "tpm", "ok", "look like tpm"),
        (np.log2(TPM + 1), "log2(tpm+1)", "ok", "look like"),
        (SCORES, "zscore", "ok", "look like"),
        (FPKM, "fpkm", "ok", "look like"),
        (COUNTS, "tpm", "fail", "all values are whole numbers, as counts are"),
        (RSEM, "tpm", "fail", "TPM to a million at most"),
        (np.log2(TPM + 1), "tpm", "fail", "this looks like logarithms"),
        (TPM, "log2(tpm+1)", "fail", "too high for a logarithm"),
        (np.log(TPM + 1), "log2(tpm+1)", "fail", "without ln every sample sums to a million"),
        (np.log10(TPM + 1), "log2(tpm+1)", "fail", "without log10 every sample sums to a million"),
        (np.log2(TPM + 0.001), "log2(tpm+1)", "fail", "a zero would be 0"),
        (np.log2(TPM + 0.001), "zscore", "fail", "have the lowest value: a zero before a logarithm"),
        (np.log2(TPM + 1), "zscore", "fail", "no value is negative"),
        (TPM, "counts", "fail", "counts are whole numbers"),
        (TPM, "beta", "fail", "between 0 and 1"),
        (FPKM, "tpm", "warn", "where TPM sums to a million"),
        (TPM, "fpkm", "warn", "every sample sums to a million, as TPM does"),
        (COUNTS, "rsem", "fail", "all values are whole numbers"),
        (RSEM, "fpkm", "warn", "the numbers look like rsem"),
        (np.log2(TPM[:, :90] + 1), "log2(tpm+0.001)", "warn", r"the numbers look like log2\(tpm\+1\)"),
        (SCORES * 0.3, "zscore", "warn", "looks like log2_ratio"),
        (TPM, "tpms", "fail", "unknown unit 'tpms'"),
        (TPM, "", "fail", "no unit stated; the numbers look like tpm"),
    ],
)
def test_the_unit_is_compared_with_the_numbers(
    tmp_path: Path, values: np.ndarray, unit: str, status: str, found: str
) -> None:
    diagnosis = examine(DoctorRequest(write(tmp_path, values), unit)).diagnosis
    unit_check = check(diagnosis, "unit")
    assert unit_check.status == status
    assert pd.Series([unit_check.found]).str.contains(found).all(), unit_check.found
    assert diagnosis.verdict == ("no-go" if status == "fail" else "go")
    assert (unit_check.cure == "") == (status == "ok")


def test_a_unit_left_out_is_proposed(tmp_path: Path) -> None:
    diagnosis = examine(DoctorRequest(write(tmp_path, np.log2(TPM + 1)))).diagnosis
    assert check(diagnosis, "unit").cure == "if that is right, say so: --unit 'log2(tpm+1)'"
    assert diagnosis.scale is not None
    assert (diagnosis.scale.claimed, diagnosis.scale.detected) == (None, "log2(tpm+1)")
    assert ("sum of a sample without log2 (median)", "1e+06") in diagnosis.scale.evidence


@pytest.mark.parametrize(
    ("n_found", "status", "verdict"),
    [(10_000, "ok", "go"), (9_500, "ok", "go"), (9_499, "warn", "go"), (8_000, "warn", "go"), (7_999, "fail", "no-go")],
)
def test_coverage(tmp_path: Path, n_found: int, status: str, verdict: str) -> None:
    wanted = [*IDS[:n_found], *(f"ENSG9{number:010d}" for number in range(10_000 - n_found))]
    (tmp_path / "genes.txt").write_text("\n".join(wanted))
    request = DoctorRequest(write(tmp_path, TPM), "tpm", vocabulary=tmp_path / "genes.txt")
    diagnosis = examine(request).diagnosis
    assert (check(diagnosis, "coverage").status, diagnosis.verdict) == (status, verdict)
    coverage = diagnosis.coverage
    assert coverage is not None
    assert (coverage.n_found, coverage.n_vocabulary, len(coverage.missing)) == (n_found, 10_000, 10_000 - n_found)
    assert coverage.n_outside == N_GENES - n_found
    stored = TPM.astype(np.float32).astype(np.float64)
    assert coverage.expression_share == pytest.approx(stored[:, :n_found].sum() / stored.sum(), rel=1e-5)


def test_symbols_against_an_ensembl_vocabulary_need_an_annotation(tmp_path: Path) -> None:
    symbols = [f"GENE{number}" for number in range(100)]
    table = write(tmp_path, TPM[:, :100], [*symbols[:98], "1-Mar", "2-Sep"])
    (tmp_path / "genes.txt").write_text("\n".join(IDS[:100]))
    request = DoctorRequest(table, "tpm", vocabulary=tmp_path / "genes.txt")
    diagnosis = examine(request).diagnosis
    assert check(diagnosis, "coverage").status == "fail"
    assert "give --annotation FILE" in check(diagnosis, "coverage").cure
    assert check(diagnosis, "excel_dates").found == "2 gene names have become dates and are left out: 1-Mar, 2-Sep"
    rows = [f"{gene_id}\t{symbol}" for gene_id, symbol in zip(IDS[:100], [*symbols[:99], symbols[0]], strict=True)]
    (tmp_path / "annotation.tsv").write_text("\n".join(["gene_id\tsymbol", *rows]))
    helped = examine(
        DoctorRequest(table, "tpm", vocabulary=tmp_path / "genes.txt", annotation=tmp_path / "annotation.tsv")
    )
    found = check(helped.diagnosis, "annotation")
    assert found.status == "warn"
    assert "97 of 98 symbols have one Ensembl id" in found.found
    assert "1 name several genes (GENE0)" in found.found
    assert helped.diagnosis.coverage is not None and helped.diagnosis.coverage.n_found == 97
    assert helped.diagnosis.coverage.missing_symbols[0] == "GENE0"
    assert helped.diagnosis.verdict == "go"
    assert helped.table is not None and helped.table.gene_ids[0] == IDS[1]


@pytest.mark.parametrize("name", ["1-Mar", "01-Mar", "2-Sep", "Mar-01", "1-Dec", "7-Sept", "2001-03-01", "3/1/2001"])
def test_names_that_a_spreadsheet_made(name: str) -> None:
    assert EXCEL_DATE.match(name)


@pytest.mark.parametrize("name", ["MARCH1", "SEPTIN2", "DEC1", "RP11-34P13.7", "HLA-A", "NKX2-1", "1-8D", "MT-ND1"])
def test_names_that_look_a_little_like_dates(name: str) -> None:
    assert not EXCEL_DATE.match(name)


def test_gene_ids_are_accounted_for(tmp_path: Path) -> None:
    genes = [f"{gene_id}.3" for gene_id in IDS[:60]]
    path = write(tmp_path, TPM[:, :63], [*genes, "ENSG00000000001.3_PAR_Y", "N_unmapped", "ERCC-00002"])
    found = check(examine(DoctorRequest(path, "tpm")).diagnosis, "gene_ids").found
    assert found.split("; ") == [
        "60 genes, Ensembl ids as ENSG00000000000.3",
        "61 with a version, which is stripped",
        "1 copies on chromosome Y left out, as ENSG00000000001.3_PAR_Y",
        "1 rows that count reads, not genes left out, as N_unmapped",
        "1 spike-ins left out, as ERCC-00002",
    ]


def test_an_ensembl_id_twice_is_a_failed_check(tmp_path: Path) -> None:
    path = write(tmp_path, TPM[:, :3], ["ENSG00000000001.1", "ENSG00000000001.2", "ENSG00000000002"])
    diagnosis = examine(DoctorRequest(path, "tpm")).diagnosis
    assert "more than once when versions are removed" in check(diagnosis, "readable").found


def test_symbols_twice_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, TPM[:, :3], ["A1|1", "A1|2", "B2|3"])
    request = DoctorRequest(path, "tpm")
    assert (
        "1 symbols stand there more than once, 2 rows are left out: A1|1, A1|2"
        in check(examine(request).diagnosis, "duplicated_genes").found
    )


def test_copies_of_samples_are_found() -> None:
    values = TPM.copy()
    values[3] = values[1]
    values[7] = values[5] * np.where(np.arange(N_GENES) % 2, 1.001, 0.999)
    samples = examine_samples(expression(values), parse_unit("tpm"), None)
    assert [(pair.first, pair.second) for pair in samples.exact_copies] == [("S1", "S3")]
    assert [(pair.first, pair.second) for pair in samples.near_copies] == [("S5", "S7")]
    assert samples.near_copies[0].correlation > 0.9999
    found = next(check for check in check_samples(expression(values), samples, None) if check.name == "copies")
    assert found.status == "warn"
    assert found.found.startswith("1 exact copies, 1 pairs that correlate above 0.9999: S1 and S3 (r 1.00000), S5 and")


def test_copies_far_apart_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkrnabert.data.doctor_samples.BLOCK_ROWS", 5)
    values = TPM.copy()
    values[11] = values[0] * 1.001
    samples = examine_samples(expression(values), parse_unit("tpm"), None)
    assert [(pair.first, pair.second) for pair in samples.near_copies] == [("S0", "S11")]


def test_samples_that_are_like_no_other_are_no_copies() -> None:
    samples = examine_samples(expression(TPM), parse_unit("tpm"), None)
    assert (samples.exact_copies, samples.near_copies, samples.broken) == ((), (), ())
    assert samples.median_detected == pytest.approx(np.median((TPM > 0).sum(axis=1)))


def test_broken_samples_are_found() -> None:
    values = RAW.copy()
    values[0] = 0.0
    values[1, 1000:] = 0.0
    values[2] *= 100
    values[3, 4] = np.nan
    values[4, 4] = np.inf
    values[5] = 7.0
    reasons = {
        one.sample_id: "; ".join(one.reasons)
        for one in examine_samples(expression(values), parse_unit("rsem"), None).broken
    }
    assert reasons["S0"] == "no gene above zero"
    assert "genes above zero, the median sample has" in reasons["S1"]
    assert "times above the median" in reasons["S2"]
    assert reasons["S3"] == "1 missing values"
    assert reasons["S4"] == "1 infinite values"
    assert reasons["S5"] == "every value is 7"
    assert set(reasons) == {"S0", "S1", "S2", "S3", "S4", "S5"}


def test_an_empty_sample_is_no_go_and_cells_without_a_number_too(tmp_path: Path) -> None:
    values = TPM.copy()
    values[2] = 0.0
    diagnosis = examine(DoctorRequest(write(tmp_path, values), "tpm")).diagnosis
    assert (check(diagnosis, "broken_samples").status, diagnosis.verdict) == ("fail", "no-go")
    values = TPM.copy()
    values[2, 7], values[3, 1] = np.nan, np.inf
    found = check(examine(DoctorRequest(write(tmp_path, values), "tpm")).diagnosis, "numbers")
    assert found.found == "1 missing and 1 infinite values, the first in sample 'S2', gene 'ENSG00000000007'"


def test_some_missing_values_are_fine_where_no_sum_is_needed(tmp_path: Path) -> None:
    values = TPM.copy()
    values[2, :600] = np.nan
    path = write(tmp_path, values)
    some = examine(DoctorRequest(path, "tpm")).diagnosis
    assert check(some, "numbers").status == "warn" and some.verdict == "go"
    assert check(some, "numbers").cure == "missing values stay missing, they do not become 0"
    assert check(examine(DoctorRequest(path, "fpkm")).diagnosis, "numbers").status == "fail"
    values[2, :7000] = np.nan
    most = check(examine(DoctorRequest(write(tmp_path, values), "tpm")).diagnosis, "numbers")
    assert most.status == "fail" and "up to 50% of a sample may be missing" in most.expected


def test_lengths_of_symbols(tmp_path: Path) -> None:
    symbols = [f"GENE{number}" for number in range(N_GENES)]
    (tmp_path / "lengths.csv").write_text("symbol,length\n" + "".join(f"{name},1000\n" for name in symbols))
    given = examine(DoctorRequest(write(tmp_path, COUNTS, symbols), "counts", gene_lengths=tmp_path / "lengths.csv"))
    assert given.diagnosis.verdict == "go"
    (tmp_path / "lengths.csv").write_text("symbol,length\nGENE0,-1\n")
    wrong = examine(DoctorRequest(write(tmp_path, COUNTS, symbols), "counts", gene_lengths=tmp_path / "lengths.csv"))
    assert "length -1 of GENE0" in check(wrong.diagnosis, "gene_lengths").found


def test_counts_need_lengths(tmp_path: Path) -> None:
    path = write(tmp_path, COUNTS)
    alone = examine(DoctorRequest(path, "counts")).diagnosis
    assert check(alone, "conversion").status == "fail" and "--gene-lengths" in check(alone, "conversion").cure
    lengths = tmp_path / "lengths.csv"
    lengths.write_text("gene_id,length\n" + "".join(f"{gene_id},1000\n" for gene_id in IDS[:11_990]))
    given = examine(DoctorRequest(path, "counts", gene_lengths=lengths))
    assert given.diagnosis.verdict == "go"
    assert "11990 of 12000 genes have a length; 10 without one" in check(given.diagnosis, "gene_lengths").found
    some = table_for_model(given, 3)
    assert some.sample_ids == ("S0", "S5", "S11")
    np.testing.assert_allclose(some.values.sum(axis=1), 1e6, rtol=1e-4)


def test_clinical_table(tmp_path: Path) -> None:
    path, clinical = write(tmp_path, TPM), tmp_path / "clinical.tsv"
    for ids, status, found in (
        ([f"S{number}" for number in range(12)], "ok", "lists 12 of 12"),
        ([f"S{number}" for number in range(6)], "warn", "lists 6 of 12"),
        (["S0", "S1"], "warn", "lists 2 of 12"),
        (["S0"], "fail", "lists 1 of 12"),
        (["P0"], "fail", "lists 0 of 12"),
    ):
        clinical.write_text("sample_id\tstage\n" + "".join(f"{name}\tI\n" for name in ids))
        diagnosis = examine(DoctorRequest(path, "tpm", clinical=clinical)).diagnosis
        assert check(diagnosis, "clinical").status == status
        assert found in check(diagnosis, "clinical").found
    clinical.write_text("")
    assert check(examine(DoctorRequest(path, "tpm", clinical=clinical)).diagnosis, "clinical").status == "fail"


def test_a_sample_twice(tmp_path: Path) -> None:
    rows = "".join(f"{gene_id}\t{number}.5\t{number}.25\n" for number, gene_id in enumerate(IDS[:60], start=30))
    (tmp_path / "t.tsv").write_text("gene_id\tS1\tS1\n" + rows)
    found = check(examine(DoctorRequest(tmp_path / "t.tsv", "tpm")).diagnosis, "sample_ids")
    assert (found.status, found.found) == ("fail", "1 ids stand there more than once: S1")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.tsv", b""),
        ("t.tsv", b"<!DOCTYPE html>"),
        ("t.xyz", b"abc"),
        ("t.tsv.gz", gzip.compress(b"gene_id\tS1\n" * 50, mtime=0)[:-9]),
        ("t.h5ad", b"\x89HDF\r\n\x1a\n"),
        ("t.parquet", b"PAR1"),
        ("t.gct", b"#1.2\n1\t1\n"),
    ],
)
def test_what_cannot_be_read_is_the_first_failed_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    assert _run(["doctor", "--table", str(tmp_path / name), "--unit", "tpm"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"NO-GO  {name}: 1 fail"
    assert lines[1].startswith("FAIL  readable")


def test_json_and_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = write(tmp_path, TPM), tmp_path / "out" / "doctor.json"
    assert _run(["doctor", "--table", str(path), "--unit", "tpm", "--json", "--out", str(out)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text())
    assert list(printed) == ["version", "table", "verdict", "checks", "coverage", "samples", "scale", "drift"]
    assert (printed["version"], printed["table"], printed["verdict"]) == (1, "mine.parquet", "go")
    assert (printed["coverage"], printed["drift"]) == ({}, [])
    assert printed["samples"]["n_samples"] == N_SAMPLES
    assert _run(["doctor", "--table", str(path), "--unit", "counts"]) == 2
    text = capsys.readouterr().out
    assert text.startswith("NO-GO  mine.parquet: ")
    assert "to do: state what the numbers are: --unit 'tpm'" in text
    assert max(len(line) for line in text.splitlines()) <= 110


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--drift",), "--drift needs --checkpoint"),
        (("--vocabulary", "genes.txt", "--checkpoint", "."), "either --vocabulary or --checkpoint"),
    ],
)
def test_options_that_do_not_fit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "genes.txt").write_text("ENSG00000000003\n")
    assert _run(["doctor", "--table", "t.tsv", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_long_names_do_not_break_the_text() -> None:
    long = Check("readable", "fail", "x" * 500, "y", "z")
    assert max(len(line) for line in render(Diagnosis("t" * 10, "no-go", (long,))).splitlines()) <= 110


def test_real_counts_are_go(shared: Path) -> None:
    """Raw HTSeq counts as the GDC served them: versioned ids of GENCODE v22."""
    examination = examine(
        DoctorRequest(
            shared / "data" / "gbm_htseq" / "counts.parquet",
            "counts",
            vocabulary=shared / "vocab" / "bulkrnabert_gene_ids.txt",
            gene_lengths=shared / "data" / "ref" / "gene_length.csv.gz",
            annotation=shared / "data" / "ref" / "gencode_v22_genes.tsv.gz",
        )
    )
    diagnosis = examination.diagnosis
    assert diagnosis.verdict == "go"
    assert diagnosis.coverage is not None
    assert (diagnosis.coverage.n_found, diagnosis.coverage.n_vocabulary) == (18_981, 19_062)
    assert diagnosis.coverage.share == pytest.approx(0.99575, abs=1e-5)
    assert diagnosis.scale is not None and diagnosis.scale.detected == "counts"
    assert "60433 with a version" in check(diagnosis, "gene_ids").found
    assert "50 copies on chromosome Y" in check(diagnosis, "gene_ids").found
    assert "100.0% of the Ensembl ids" in check(diagnosis, "annotation").found
    np.testing.assert_allclose(table_for_model(examination, 3).values.sum(axis=1), 1e6, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "unit", "status"),
    [
        ("gbm_htseq/counts", "tpm", "fail"),
        ("rtcga_rnaseq6/expression_rsem_norm", "rsem", "ok"),
        ("rtcga_rnaseq6/expression_rsem_norm", "tpm", "fail"),
        ("rtcga_rnaseq6/expression_rsem_norm", "log2(rsem+1)", "fail"),
        ("rtcga_rnaseq6/expression_rsem_norm", "fpkm", "warn"),
        ("cognoma_panel90/expression_log2", "log2(rsem+1)", "ok"),
        ("cognoma_panel90/expression_log2", "rsem", "fail"),
        ("cognoma_panel90/expression_log2", "zscore", "fail"),
        ("cognoma_panel90/expression_log2", "log2(rsem+0.001)", "warn"),
        ("survpath_toil4/expression_log2tpm", "log2(tpm+0.001)", "ok"),
        ("survpath_toil4/expression_log2tpm", "log2(tpm+1)", "fail"),
        ("survpath_toil4/expression_log2tpm", "zscore", "fail"),
    ],
)
def test_real_tables_with_right_and_wrong_units(shared: Path, name: str, unit: str, status: str) -> None:
    diagnosis = examine(DoctorRequest(shared / "data" / f"{name}.parquet", unit)).diagnosis
    assert check(diagnosis, "unit").status == status, check(diagnosis, "unit").found
