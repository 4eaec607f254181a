"""Gene lists where sources meet: missing genes, symbols beside Ensembl ids, types, and an account of every loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bulkrnabert import keys
from bulkrnabert.cli import _run
from bulkrnabert.data.annotation import read_annotation
from bulkrnabert.data.cohort_source import InputOptions
from bulkrnabert.data.inputs import collect_sources
from bulkrnabert.data.preprocess import PlanOptions, plan_cohorts, write_cohorts
from bulkrnabert.data.samplesheet import make_row
from bulkrnabert.data.tables import cohort_path, read_cohorts, read_header
from bulkrnabert.data.units import Unit
from bulkrnabert.errors import DataError, VocabularyError

STAR = (
    "# gene-model: GENCODE v36\ngene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second"
    "\ttpm_unstranded\tfpkm_unstranded\tfpkm_uq_unstranded\n"
    "ENSG00000000001.1\tONE\tprotein_coding\t5\t3\t2\t10.5\t1\t1\n"
    "ENSG00000000002.1\tTWO\tprotein_coding\t5\t3\t2\t20.5\t1\t1\n"
    "ENSG00000000003.1\tTHREE\tlncRNA\t5\t3\t2\t30.5\t1\t1\n"
    "ENSG00000000004.1\tTWICE\tprotein_coding\t5\t3\t2\t40.5\t1\t1\n"
    "ENSG00000000005.1\tTWICE\tprotein_coding\t5\t3\t2\t50.5\t1\t1\n"
)


def table(path: Path, **samples: dict[str, float]) -> Path:
    pd.DataFrame(samples).rename_axis("gene_id").to_csv(path, sep="\t", na_rep="NA")
    return path


def star(folder: Path) -> Path:
    folder.mkdir()
    (folder / "S1.tsv").write_text(STAR)
    return folder


def preprocess(out: Path, *rows: tuple[str, Path, str], plan: PlanOptions | None = None, **options: object) -> dict:  # type: ignore[type-arg]
    made = [make_row(cohort, path, "", unit, None) for cohort, path, unit in rows]
    return write_cohorts(plan_cohorts(collect_sources([], made, InputOptions(**options)), plan), out)  # type: ignore[arg-type]


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "v.txt"
    path.write_text("G4\nG1\nG2\nG3\n")
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two tables of the genes of the vocabulary, of which the second lacks G4."""
    first = table(tmp_path / "a.tsv", A1={"G1": 1, "G2": 20, "G3": 300, "G4": 4000.5, "G9": 9})
    second = table(tmp_path / "b.tsv", B1={"G1": 1, "G2": 2, "G3": 970.5})
    return first, second


def test_missing_genes_of_a_vocabulary_stay_missing(tmp_path: Path, vocabulary: Path, pair: tuple[Path, Path]) -> None:
    plan = PlanOptions(vocabulary, min_coverage=0.75)
    summary = preprocess(tmp_path / "out", ("A", pair[0], "tpm"), ("B", pair[1], "tpm"), plan=plan)
    cohorts = read_cohorts(tmp_path / "out")
    assert cohorts.genes.gene_ids == ("G4", "G1", "G2", "G3")
    np.testing.assert_allclose(cohorts.values, [[4000.5, 1, 20, 300], [np.nan, 1, 2, 970.5]])
    assert summary["genes"]["sources"] == [
        {"source": "a.tsv", "n_genes": 5, "n_kept": 4, "n_missing": 0, "dropped": {"not_in_vocabulary": 1}},
        {"source": "b.tsv", "n_genes": 3, "n_kept": 3, "n_missing": 1, "dropped": {"vocabulary_gene_absent": 1}},
    ]
    assert (tmp_path / "out" / "genes_dropped.tsv").read_text().splitlines() == [
        "source\tmodality\trule\tgene",
        "a.tsv\trnaseq\tnot_in_vocabulary\tG9",
        "b.tsv\trnaseq\tvocabulary_gene_absent\tG4",
    ]


def test_missing_genes_leave_the_list_when_asked(tmp_path: Path, vocabulary: Path, pair: tuple[Path, Path]) -> None:
    plan = PlanOptions(vocabulary, missing_genes="drop", min_coverage=0.75)
    summary = preprocess(tmp_path / "out", ("A", pair[0], "tpm"), ("B", pair[1], "tpm"), plan=plan)
    assert read_cohorts(tmp_path / "out").genes.gene_ids == ("G1", "G2", "G3")
    assert summary["genes"]["sources"][0]["dropped"] == {"not_in_every_cohort": 1, "not_in_vocabulary": 1}
    with pytest.raises(VocabularyError, match=r"b\.tsv: has only 75\.0% of the 4 genes .* at least 80% are needed"):
        preprocess(tmp_path / "no", ("A", pair[0], "tpm"), ("B", pair[1], "tpm"), plan=PlanOptions(vocabulary))


def test_tpm_rescaled_over_the_genes_that_are_kept(tmp_path: Path, vocabulary: Path, pair: tuple[Path, Path]) -> None:
    plan = PlanOptions(vocabulary, min_coverage=0.5, rescale_tpm=True)
    summary = preprocess(tmp_path / "out", ("A", pair[0], "tpm"), ("B", pair[1], "tpm"), plan=plan)
    values = read_cohorts(tmp_path / "out").values
    np.testing.assert_allclose(np.nansum(values, axis=1), [1e6, 1e6])
    np.testing.assert_allclose(values[1, 1:], np.array([1, 2, 970.5]) * 1e6 / 973.5, rtol=1e-6)
    assert np.isnan(values[1, 0])
    assert summary["modalities"]["rnaseq"]["rescaled_tpm"] is True
    assert "1e6" in read_header(cohort_path(tmp_path / "out", "A")).scaling
    with pytest.raises(DataError, match="--rescale-tpm: nothing in this run becomes TPM"):
        preprocess(tmp_path / "no", ("A", pair[0], "rsem"), plan=plan)


def test_symbols_join_ensembl_ids_through_the_star_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = table(tmp_path / "own.tsv", S2={"TWO": 5, "ONE": 700.5, "THREE": 3, "TWICE": 1, "ALIEN": 2})
    with caplog.at_level("INFO"):
        summary = preprocess(tmp_path / "out", ("GDC", star(tmp_path / "star"), ""), ("OWN", own, "tpm"))
    cohorts = read_cohorts(tmp_path / "out")
    assert cohorts.genes.gene_ids == ("ENSG00000000001", "ENSG00000000002")
    assert cohorts.genes.symbols == ("ONE", "TWO")
    np.testing.assert_allclose(cohorts.values, [[10.5, 20.5], [700.5, 5]])
    assert "own.tsv: 3 of 5 symbols have an Ensembl id in GENCODE v36, 2 are left out" in caplog.text
    accounts = {item["source"]: item for item in summary["genes"]["sources"]}
    assert accounts["own.tsv"]["dropped"] == {"ambiguous_symbol": 1, "unknown_symbol": 1, "not_protein_coding": 1}
    assert accounts["own.tsv"]["n_genes"] == 5 and accounts["own.tsv"]["n_kept"] == 2
    assert accounts["star"]["dropped"] == {"not_in_every_cohort": 2, "not_protein_coding": 1}


def test_symbols_through_an_annotation_after_conversion_over_all_genes(tmp_path: Path) -> None:
    path = tmp_path / "genes.tsv"
    path.write_text(
        "gene_id\tsymbol\tgene_type\tlength\nENSG00000000001\tONE\tprotein_coding\t1000\n"
        "ENSG00000000002\tTWO\tprotein_coding\t4000\nENSG00000000003\tTHREE\tlncRNA\t1000\n"
    )
    annotation = read_annotation(path)
    counts = table(tmp_path / "counts.tsv", S1={"ONE": 10, "TWO": 40, "THREE": 80})
    preprocess(
        tmp_path / "out", ("A", counts, "counts"), annotation=annotation, plan=PlanOptions(annotation=annotation)
    )
    cohorts = read_cohorts(tmp_path / "out")
    assert cohorts.genes.gene_ids == ("ENSG00000000001", "ENSG00000000002")
    # 10, 10 and 80 a kilobase: a tenth each, although the third is no protein.
    np.testing.assert_allclose(cohorts.values, [[100_000, 100_000]])


def test_without_a_way_between_the_kinds_of_ids(tmp_path: Path) -> None:
    own = table(tmp_path / "own.tsv", S2={"TWO": 5, "ONE": 700.5})
    ensembl = table(tmp_path / "e.tsv", S3={"ENSG00000000001": 5, "ENSG00000000002": 700.5})
    with pytest.raises(VocabularyError, match=r"separate runs, or give the Ensembl ids .* --annotation FILE"):
        preprocess(tmp_path / "out", ("A", own, "tpm"), ("B", ensembl, "tpm"))
    path = tmp_path / "genes.tsv"
    path.write_text("gene_id\tsymbol\nENSG00000000009\tNINE\n")
    plan = PlanOptions(annotation=read_annotation(path))
    with pytest.raises(VocabularyError, match=r"own\.tsv: none of its 2 gene names, as 'TWO', is a symbol of genes"):
        preprocess(tmp_path / "out", ("A", own, "tpm"), ("B", ensembl, "tpm"), plan=plan)


def test_cells_without_a_value(tmp_path: Path) -> None:
    nan = float("nan")
    genes = [f"G{number}" for number in range(4)]
    columns = {"S1": [1, 2, nan, 700.5], "S2": [nan, nan, 3, 4], "S3": [nan, nan, nan, 4], "S4": [0, 0, nan, 0]}
    samples = {name: dict(zip(genes, values, strict=True)) for name, values in columns.items()}
    path = table(tmp_path / "a.tsv", **samples)
    preprocess(tmp_path / "out", ("A", path, "tpm"))
    cohorts = read_cohorts(tmp_path / "out")
    np.testing.assert_allclose(cohorts.values, [[1, 2, nan, 700.5], [nan, nan, 3, 4]])
    rejected = pd.read_csv(tmp_path / "out" / keys.REJECTED_TSV, sep="\t").set_index("sample_id")
    assert rejected.loc["S3", ["rule", "reason"]].tolist() == [
        "too_many_genes_missing",
        "75.0% of 4 genes have no value, more than 50%",
    ]
    assert rejected.loc["S4", "rule"] == "no_expression"
    with pytest.raises(DataError, match=r"7 values are missing, and `fpkm` becomes TPM by the sum over all genes"):
        preprocess(tmp_path / "no", ("A", path, "fpkm"))


def test_centred_scales_run_as_they_are_when_all_share_them(tmp_path: Path) -> None:
    first = table(tmp_path / "a.tsv", A1={"G1": -1.5, "G2": 2.5})
    second = table(tmp_path / "b.tsv", B1={"G1": 0.5, "G2": -2.5})
    summary = preprocess(tmp_path / "out", ("A", first, "zscore"), ("B", second, "zscore"))
    assert summary["unit"] == str(Unit("zscore"))
    np.testing.assert_allclose(read_cohorts(tmp_path / "out").values, [[-1.5, 2.5], [0.5, -2.5]])
    with pytest.raises(DataError, match="must agree in their units"):
        preprocess(tmp_path / "no", ("A", first, "zscore"), ("B", second, "log2_ratio"))


def test_real_counts_of_gbm(shared: Path, tmp_path: Path) -> None:
    data = shared / "data"
    lengths, ids = data / "ref" / "gene_length.csv.gz", shared / "vocab" / "bulkrnabert_gene_ids.txt"
    arguments = ["preprocess", "--table", str(data / "gbm_htseq" / "counts.parquet"), "--unit", "counts"]
    arguments += ["--cohort", "GBM", "--gene-lengths", str(lengths), "--vocabulary", str(ids)]
    assert _run([*arguments, "--out", str(tmp_path / "out")]) == 0
    cohorts = read_cohorts(tmp_path / "out")
    assert cohorts.values.shape == (174, 19_062)
    assert cohorts.genes.gene_ids == tuple(ids.read_text().split())
    dropped = pd.read_csv(tmp_path / "out" / keys.GENES_DROPPED_TSV, sep="\t")
    counts = dropped["rule"].value_counts().to_dict()
    # 18,981 of the 19,062 genes are in the file; 47 of those have no length, so no TPM.
    assert 19_062 - counts["vocabulary_gene_absent"] == 18_981
    is_missing = np.isnan(cohorts.values)
    assert is_missing[0].sum() == 81 + 47 and (is_missing == is_missing[0]).all()
    assert 18_934 + counts["par_y"] + counts["no_gene_length"] + counts["not_in_vocabulary"] == 60_483

    table = pd.read_parquet(data / "gbm_htseq" / "counts.parquet")
    bases = pd.read_csv(lengths).set_index("ensg_id")["length"]
    table = table[~table.index.str.startswith("ENSGR")]
    table.index = table.index.str.split(".").str[0]
    sample = cohorts.samples["sample_id"][0]
    rate = (table[sample] / bases.reindex(table.index)).dropna()
    expected = (rate * 1e6 / rate.sum()).reindex(list(cohorts.genes.gene_ids))
    np.testing.assert_allclose(cohorts.values[0], expected.to_numpy(), rtol=1e-5)
    # Over all genes before alignment: the kept part of a million, not a million.
    assert 0.5e6 < np.nansum(cohorts.values[0], dtype=np.float64) < 0.999e6
