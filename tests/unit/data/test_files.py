"""Readers of own tables: formats, orientation, and a message for each thing that can be wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import anndata
import h5py  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from bulkrnabert.data.sources import delimited
from bulkrnabert.data.sources.files import parse_format, read_expression
from bulkrnabert.errors import DataError, VocabularyError

GENES = ["ENSG00000000003.15", "ENSG00000000005.6", "ENSG00000002586.20_PAR_Y"]
SAMPLES = ["S1", "S2"]
VALUES = np.array([[1.5, 0.0, 3.0], [4.0, 5.0, 6.0]])
EXPECTED = np.array([[1.5, 0.0], [4.0, 5.0]], dtype=np.float32)


def frame(genes_in_rows: bool, genes: list[str] = GENES, samples: list[str] = SAMPLES) -> pd.DataFrame:
    table = pd.DataFrame(VALUES, index=samples, columns=genes)
    return table.T if genes_in_rows else table


@pytest.mark.parametrize("genes_in_rows", [True, False])
@pytest.mark.parametrize("name", ["t.tsv", "t.csv", "t.tsv.gz", "t.parquet", "t.txt"])
def test_formats_and_orientations(tmp_path: Path, name: str, genes_in_rows: bool) -> None:
    path = tmp_path / name
    if name.endswith(".parquet"):
        frame(genes_in_rows).to_parquet(path)
    else:
        frame(genes_in_rows).to_csv(path, sep="," if ".csv" in name else "\t")
    table = read_expression(path)
    assert table.sample_ids == ("S1", "S2")
    assert table.gene_ids == ("ENSG00000000003", "ENSG00000000005")
    assert table.kind == "ensembl"
    np.testing.assert_array_equal(table.values, EXPECTED)
    assert table.values.dtype == np.float32
    assert table.dropped == (("par_y", "ENSG00000002586.20_PAR_Y"),)
    assert table.obs is None


def test_parquet_with_ids_in_a_column(tmp_path: Path) -> None:
    frame(True).rename_axis("gene_id").reset_index().to_parquet(tmp_path / "t.parquet")
    np.testing.assert_array_equal(read_expression(tmp_path / "t.parquet").values, EXPECTED)


def test_rows_that_end_in_a_separator_are_no_r_table(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("gene_id\tS1\tS2\nENSG00000000003\t1\t2\t\nENSG00000000005\t3\t4\t\n")
    with pytest.raises(DataError, match="end in a separator that the header lacks; remove it"):
        read_expression(path)


def test_r_tables_have_one_title_fewer(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("S1\tS2\nENSG00000000003\t1.5\t4\nENSG00000000005\t0\t5\n")
    table = read_expression(tmp_path / "t.tsv")
    assert table.sample_ids == ("S1", "S2")
    np.testing.assert_array_equal(table.values, EXPECTED)


CUT = [
    ("gene_id\tS1\tS2\nTP53\t1.5\t4\nEGFR\t0", "row 3 has 2 cells, the header 3: was the file cut off"),
    ("gene_id\tS1\tS2\nTP53\t1.5\t4\nEGFR\t0\n\n", "row 3 has 2 cells"),
    ("# made\ngene_id\tS1\tS2\nTP53\t1.5\t4\nEGFR\nA2M\t1\t2\n", "row 4 has 1 cells"),
    ("S1\tS2\nTP53\t1.5\t4\nEGFR\t0\n", "row 3 has 2 cells, the first row 3"),
    ('gene_id\tS1\tS2\n"TP\t53"\t1.5\t4\n"EG\tFR"\t0\n', "row 3 has 2 cells"),
]


@pytest.mark.parametrize(("text", "message"), CUT)
def test_rows_that_were_cut_off(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_expression(tmp_path / "t.tsv", "tsv:genes-in-rows", missing="keep")


def test_a_row_cut_off_in_a_later_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "ROWS_PER_PIECE", 2)
    rows = "".join(f"G{number}\t1.5\t4\n" for number in range(99))
    (tmp_path / "t.tsv").write_text("gene_id\tS1\tS2\n" + rows + "LAST\t7")
    with pytest.raises(DataError, match="row 101 has 2 cells"):
        read_expression(tmp_path / "t.tsv", missing="keep")


@pytest.mark.parametrize(
    "text",
    [
        "gene_id\tS1\tS2\nTP53\t1.5\t4\nEGFR\t0\t",
        "gene_id\tS1\tS2\r\n\r\nTP53\t1.5\t4\r\n\r\nEGFR\t0\t\r\n \r\n",
    ],
)
def test_empty_cells_are_missing_values(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.tsv").write_bytes(text.encode())
    values = read_expression(tmp_path / "t.tsv", "tsv:genes-in-rows", missing="keep").values
    np.testing.assert_array_equal(values[:2], [[1.5, 0.0], [4.0, np.nan]])


def test_a_separator_at_the_end_may_be_missing_where_the_header_has_one(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("sample\tTP53\tEGFR\t\nS1\t1.5\t4\t\nS2\t0\t5\n")
    table = read_expression(tmp_path / "t.tsv", "tsv:genes-in-columns", missing="keep")
    np.testing.assert_array_equal(table.values, [[1.5, 4.0], [0.0, 5.0]])
    (tmp_path / "t.tsv").write_text("sample\tTP53\tEGFR\t\nS1\t1.5\t4\t\nS2\t0\n")
    with pytest.raises(DataError, match="row 3 has 2 cells, the header 4"):
        read_expression(tmp_path / "t.tsv", "tsv:genes-in-columns", missing="keep")


def test_genes_that_are_named_as_samples(tmp_path: Path) -> None:
    text = "id\tTCGA-OR-A5J1-01\tTCGA-OR-A5J2-01\nTP53\t1.5\t4\nEGFR\t0\t5\n"
    (tmp_path / "t.tsv").write_text(text)
    with pytest.raises(DataError, match="genes are named as samples: 2 of 2, as 'TCGA-OR-A5J1-01'"):
        read_expression(tmp_path / "t.tsv", "tsv:genes-in-columns")
    assert read_expression(tmp_path / "t.tsv", "tsv:genes-in-rows").gene_ids == ("TP53", "EGFR")


def test_comments_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    text = "\ufeff# made by hand\r\ngene_id,S1,S2\r\nENSG00000000003,1.5,4\r\nENSG00000000005,0,5\r\n"
    (tmp_path / "t.csv").write_bytes(text.encode("utf-8"))
    np.testing.assert_array_equal(read_expression(tmp_path / "t.csv").values, EXPECTED)


def test_columns_beside_the_ids_are_left_out_and_listed(tmp_path: Path) -> None:
    table = frame(True)
    table.insert(0, "gene_name", ["TSPAN6", "TNMD", "CD99"])
    table.insert(1, "length", [2000, 1000, 500])
    table.insert(2, "comment", ["x", "y", "z"])
    table.to_csv(tmp_path / "t.tsv", sep="\t")
    read = read_expression(tmp_path / "t.tsv")
    assert read.sample_ids == ("S1", "S2")
    assert [name for rule, name in read.dropped if rule == "not_expression"] == ["gene_name", "length", "comment"]


def test_symbols_with_known_samples(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    frame(True, ["TP53", "EGFR", "A2M"]).rename_axis("").to_csv(path, sep="\t")
    with pytest.raises(DataError, match=r"cannot tell genes from samples.*tsv:genes-in-rows"):
        read_expression(path)
    for table in (read_expression(path, "", ["S1", "S2"]), read_expression(path, "tsv:genes-in-rows")):
        assert table.gene_ids == ("TP53", "EGFR", "A2M")
        assert table.sample_ids == ("S1", "S2")
    flipped = read_expression(path, "tsv:genes-in-columns")
    assert flipped.gene_ids == ("S1", "S2")


@pytest.mark.parametrize(("title", "rows_are_genes"), [("gene", True), ("sample_id", False)])
def test_the_title_of_the_ids_tells(tmp_path: Path, title: str, rows_are_genes: bool) -> None:
    table = frame(rows_are_genes, ["TP53", "EGFR", "A2M"]).rename_axis(title)
    table.to_csv(tmp_path / "t.csv")
    assert read_expression(tmp_path / "t.csv").sample_ids == ("S1", "S2")


def test_barcodes_tell(tmp_path: Path) -> None:
    barcodes = ["TCGA-OR-A5J1-01A-11R-A29S-07", "TCGA-OR-A5J2"]
    frame(True, ["A1BG|1", "A2M|2", "?|3"], barcodes).to_csv(tmp_path / "t.tsv", sep="\t")
    table = read_expression(tmp_path / "t.tsv")
    assert table.sample_ids == tuple(barcodes)
    assert table.gene_ids == ("A1BG", "A2M")


def test_a_repeated_sample_is_not_renamed(tmp_path: Path) -> None:
    frame(True, samples=["S1", "S1"]).to_csv(tmp_path / "t.tsv", sep="\t")
    assert read_expression(tmp_path / "t.tsv").sample_ids == ("S1", "S1")


def test_h5ad(tmp_path: Path) -> None:
    obs = pd.DataFrame({"cohort": ["A", None], "age": [50, 60]}, index=SAMPLES)
    var = pd.DataFrame(index=GENES)
    adata = anndata.AnnData(X=scipy.sparse.csr_matrix(VALUES.astype(np.float32)), obs=obs, var=var)
    adata.write_h5ad(tmp_path / "t.h5ad")
    table = read_expression(tmp_path / "t.h5ad")
    np.testing.assert_array_equal(table.values, EXPECTED)
    assert table.obs is not None
    assert table.obs["cohort"].tolist() == ["A", ""]
    assert table.obs["age"].tolist() == ["50", "60"]
    (tmp_path / "bad.h5ad").write_text("<html>")
    with pytest.raises(DataError, match=r"cannot be read as \.h5ad"):
        read_expression(tmp_path / "bad.h5ad")


GCT = "#1.2\n2\t2\nName\tDescription\tS1\tS2\nENSG00000000003.15\tTSPAN6\t1.5\t4\nENSG00000000005.6\tTNMD\t0\t5\n"


def test_gct(tmp_path: Path) -> None:
    path = tmp_path / "t.gct.gz"
    path.write_bytes(gzip.compress(GCT.encode(), mtime=0))
    table = read_expression(path)
    assert table.sample_ids == ("S1", "S2")
    np.testing.assert_array_equal(table.values, EXPECTED)


def test_a_gct_with_row_numbers_before_the_names(tmp_path: Path) -> None:
    """GTEx writes the tables of single tissues so."""
    lines = GCT.replace("Name", "id\tName").replace("ENSG00000000003", "0\tENSG00000000003")
    (tmp_path / "t.gct").write_text(lines.replace("ENSG00000000005", "1\tENSG00000000005"))
    table = read_expression(tmp_path / "t.gct")
    assert (table.sample_ids, table.genes.symbols) == (("S1", "S2"), ("TSPAN6", "TNMD"))
    np.testing.assert_array_equal(table.values, EXPECTED)


@pytest.mark.parametrize("genes_in_rows", [True, False])
def test_probes_tell_the_orientation(tmp_path: Path, genes_in_rows: bool) -> None:
    frame(genes_in_rows, ["cg00000029", "cg00000108", "rs1040870"]).to_csv(tmp_path / "t.tsv", sep="\t")
    table = read_expression(tmp_path / "t.tsv")
    assert (table.sample_ids, table.gene_ids[0]) == (("S1", "S2"), "cg00000029")


def test_h5ad_with_another_shape_than_it_says(tmp_path: Path) -> None:
    anndata.AnnData(np.ones((2, 3), dtype=np.float32)).write_h5ad(tmp_path / "t.h5ad")
    with h5py.File(tmp_path / "t.h5ad", "r+") as handle:
        attributes = dict(handle["X"].attrs)
        del handle["X"]
        handle.create_dataset("X", shape=(100_000, 100_000), dtype="f4", chunks=(100, 100)).attrs.update(attributes)
    with pytest.raises(DataError, match=r"`X` has 100000 x 100000 cells for 2 samples x 3 genes"):
        read_expression(tmp_path / "t.h5ad")


@pytest.mark.parametrize("name", ["t.parquet", "t.h5ad"])
def test_a_small_file_that_claims_a_huge_matrix_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    zeros = pd.DataFrame(np.zeros((40, 5000), dtype=np.float32), index=[f"S{row}" for row in range(40)])
    zeros.columns = pd.Index([f"ENSG{column:011}" for column in range(5000)])
    if name == "t.h5ad":
        anndata.AnnData(scipy.sparse.csr_matrix(zeros.to_numpy()), zeros[[]], zeros.T[[]]).write_h5ad(tmp_path / name)
    else:
        zeros.T.to_parquet(tmp_path / name)
    assert read_expression(tmp_path / name).values.shape == (40, 5000)
    monkeypatch.setattr(delimited, "UNPACKED_ALWAYS_BYTES", 0)
    monkeypatch.setattr(delimited, "UNPACKED_TIMES", 0.1)
    with pytest.raises(DataError, match=r"says .* rows x .* columns, 0\.0 GB as a matrix, in a file of"):
        read_expression(tmp_path / name)
    monkeypatch.undo()
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    with pytest.raises(DataError, match=r"this machine has 0\.0 GB of memory"):
        read_expression(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GCT.replace("#1.2", "#1.3"), "expected a GCT file"),
        (GCT.replace("2\t2\n", "3\t2\n", 1), "says 3 genes in line 2 but holds 2 rows"),
        (GCT.replace("Name", "Id"), "line 3 of a GCT file starts with Name"),
    ],
)
def test_gct_that_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.gct").write_text(text)
    with pytest.raises(DataError, match=message):
        read_expression(tmp_path / "t.gct")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file"),
        ("<!DOCTYPE html><html></html>", "an HTML page, not a table"),
        ("gene_id\nENSG00000000003\n", "only one column"),
        ("gene_id\tS1\tS2\n", "a header without rows"),
        ("gene_id\tS1\tS2\nG1\t1\t2\nG2\t1\t2\t3\n", "line 3, saw 4"),
        ("gene_id;S1;S2\nG1;1;2\n", "commas, not semicolons"),
        ("gene_id,S1" + ",x" * 70_000 + "\nG1,1\n", "only one column"),
        ("\x00\x01\t2\n", "not a text file"),
        ("#\n\n#\n", "no header"),
        ("gene_id\tS1\tS2\nENSG00000000003\t1\t2\t3\t4\n", "3 titles in the header but 5 columns"),
        (
            "gene_id\tS1\tS2\nENSG00000000003\t1\t2\nENSG00000000005\t3\thigh\nENSG00000000419\t1\t1\n",
            "'high' is no number, in row 'ENSG00000000005', column 'S2'",
        ),
        (
            "gene_id\tS1\tS2\nENSG00000000003\t1\t2\nENSG00000000005\tNA\t1\n",
            "1 missing values, the first in row 'ENSG00000000005', column 'S1'",
        ),
        ("gene_id\tS1\t \nENSG00000000003\t1\t2\n", "sample 2 has no id"),
        ("gene_id\tnote\nENSG00000000003\tgood\n", "no column of numbers"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_expression(path)
    assert str(path) in str(caught.value)


def test_mixed_gene_ids(tmp_path: Path) -> None:
    frame(True, ["ENSG00000000003", "ENSG00000000005", "TP53"]).to_csv(tmp_path / "t.tsv", sep="\t")
    with pytest.raises(VocabularyError, match="mixed with 1 other names"):
        read_expression(tmp_path / "t.tsv")


def test_what_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("a\tb\n")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_expression(tmp_path / "t.parquet")
    pd.DataFrame({"a": [1.0]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="no ids"):
        read_expression(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("xlsx", "t.tsv", "unknown format 'xlsx'; one of tsv, csv"),
        ("", "t.xlsx", "does not tell the format"),
        ("tsv:sideways", "t.tsv", "unknown orientation 'sideways'"),
        ("gct:genes-in-rows", "t.gct", "for tsv, csv and parquet only"),
    ],
)
def test_formats_that_are_wrong(text: str, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_format(text, Path(name))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_expression(tmp_path / "t.tsv")


def test_star_folder_named_by_the_samples_that_are_known(tmp_path: Path) -> None:
    header = "gene_id gene_name gene_type unstranded stranded_first stranded_second tpm_unstranded fpkm_unstranded"
    text = (
        "\t".join([*header.split(), "fpkm_uq_unstranded"])
        + "\nENSG00000000003.15\tT\tprotein_coding\t1\t1\t1\t2.5\t1\t1\n"
    )
    for sample in ("S2", "S1"):
        (tmp_path / sample).mkdir()
        (tmp_path / sample / f"{sample}-file.tsv").write_text(text)
    assert read_expression(tmp_path).sample_ids == ("S1-file", "S2-file")
    table = read_expression(tmp_path, "star_counts", ["S1", "S2"])
    assert table.sample_ids == ("S1", "S2")
    np.testing.assert_array_equal(table.values, np.full((2, 1), 2.5, dtype=np.float32))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("survpath_toil4/expression_log2tpm.parquet", (882, 1577)),
        ("rtcga_rnaseq6/expression_rsem_norm.parquet", (350, 20_500)),
        ("gbm_htseq/counts.parquet", (174, 60_433)),
        ("cognoma_panel90/expression_log2.parquet", (5023, 90)),
    ],
)
def test_real_tables(shared: Path, name: str, shape: tuple[int, int]) -> None:
    assert read_expression(shared / "data" / name).values.shape == shape


@pytest.mark.parametrize("name", ["t.h5ad", "t.tsv", "t.gct"])
def test_genes_and_samples_the_wrong_way_round(tmp_path: Path, name: str) -> None:
    genes, path = ["ENSG00000000003", "ENSG00000000005", "ENSG00000000419"], tmp_path / name
    frame = pd.DataFrame([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], index=genes, columns=["S1", "S2"])
    fmt = ""
    if name == "t.h5ad":
        anndata.AnnData(frame).write_h5ad(path)
    elif name == "t.tsv":
        frame.to_csv(path, sep="\t", index_label="id")
        fmt = "tsv:genes-in-columns"
    else:
        body = frame.T.assign(Description="").reset_index(names="Name")[["Name", "Description", *genes]]
        path.write_text("#1.2\n2\t3\n" + body.to_csv(sep="\t", index=False))
    with pytest.raises(DataError, match=r"3 of 3 samples have gene ids for names, as 'ENSG00000000003'"):
        read_expression(path, fmt)


def text_table(n_genes: int = 6) -> str:
    rows = [f"ENSG{number:011d}\t{number}.5\t{number * 2}.25" for number in range(1, n_genes + 1)]
    return "\n".join(["gene_id\tS1\tS2", *rows, ""])


def test_missing_values_are_kept_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("gene_id\tS1\tS2\nENSG00000000003\t1\tNA\nENSG00000000005\t\t4\n")
    table = read_expression(path, missing="keep")
    np.testing.assert_array_equal(table.values, [[1, np.nan], [np.nan, 4]])
    with pytest.raises(DataError, match="2 missing values"):
        read_expression(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, line_end: str) -> None:
    (tmp_path / "t.tsv").write_bytes(text_table().replace("\n", line_end).encode(encoding))
    table = read_expression(tmp_path / "t.tsv")
    assert table.sample_ids == ("S1", "S2")
    np.testing.assert_array_equal(table.values[:, 0], [1.5, 2.25])


def test_ids_as_they_stood_in_the_file_are_kept(tmp_path: Path) -> None:
    frame(True).to_csv(tmp_path / "t.tsv", sep="\t")
    assert read_expression(tmp_path / "t.tsv").raw_gene_ids == tuple(GENES)


@pytest.mark.parametrize("name", ["salmon.merged.gene_tpm.tsv", "t.gct", "t.parquet", "t.h5ad"])
def test_symbols_beside_the_ids_are_kept(tmp_path: Path, name: str) -> None:
    """nf-core tables have gene_id, gene_name, samples; GCT has a Description; .h5ad has columns of var."""
    path, genes = tmp_path / name, GENES[:2]
    table = pd.DataFrame({"gene_id": genes, "gene_name": ["TSPAN6", "TNMD"], "S1": [1.5, 0.0], "S2": [4.0, 5.0]})
    if name == "t.gct":
        path.write_text(GCT)
    elif name == "t.parquet":
        table.to_parquet(path)
    elif name == "t.h5ad":
        var = pd.DataFrame({"gene_name": ["TSPAN6", "TNMD"]}, index=genes)
        anndata.AnnData(EXPECTED, obs=pd.DataFrame(index=SAMPLES), var=var).write_h5ad(path)
    else:
        table.to_csv(path, sep="\t", index=False)
    read = read_expression(path)
    assert read.gene_ids == ("ENSG00000000003", "ENSG00000000005")
    assert read.genes.symbols == ("TSPAN6", "TNMD")
    np.testing.assert_array_equal(read.values, EXPECTED)


def test_h5ad_with_ensembl_ids_in_a_column(tmp_path: Path) -> None:
    var = pd.DataFrame({"gene_ids": GENES[:2]}, index=["TSPAN6", "TNMD"])
    anndata.AnnData(EXPECTED, obs=pd.DataFrame(index=SAMPLES), var=var).write_h5ad(tmp_path / "t.h5ad")
    read = read_expression(tmp_path / "t.h5ad")
    assert (read.gene_ids, read.genes.symbols) == (("ENSG00000000003", "ENSG00000000005"), ("TSPAN6", "TNMD"))


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_matrix, np.asarray])
def test_h5ad_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    values = np.arange(35, dtype=np.float32).reshape(7, 5)
    adata = anndata.AnnData(kind(values), var=pd.DataFrame(index=[f"ENSG{number:011d}" for number in range(5)]))
    adata.write_h5ad(tmp_path / "t.h5ad")
    monkeypatch.setattr("bulkrnabert.data.sources.adata.PIECE_BYTES", 8 * 5 * 3)  # three rows
    np.testing.assert_array_equal(read_expression(tmp_path / "t.h5ad").values, values)


def test_h5ad_without_x_names_its_layers(tmp_path: Path) -> None:
    adata = anndata.AnnData(obs=pd.DataFrame(index=SAMPLES), var=pd.DataFrame(index=GENES), layers={"tpm": VALUES})
    adata.write_h5ad(tmp_path / "t.h5ad")
    with pytest.raises(DataError, match=r"no expression in `X`.*found layers/tpm: state which one is meant"):
        read_expression(tmp_path / "t.h5ad")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(text_table().encode(), mtime=0)[:-20], "the archive ends too early: a truncated download"),
        (gzip.compress(b"<html>busy</html>", mtime=0), "an HTML page, not a table"),
        (gzip.compress(b"", mtime=0), "empty file"),
        (b"PAR1" + bytes(20), "a binary table; name its format, parquet"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "a binary table; name its format, h5ad"),
        (b"PK\x03\x04" + bytes(20), "an Excel workbook; save the table as TSV or CSV"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not a text file"),
        (text_table().encode("utf-16-le"), "not a text file"),
        (text_table(5000).encode() + bytes(9), "it holds NUL bytes"),
        (text_table().replace(".", ",").encode(), "numbers with commas, as '1,5' in column 'S1'"),
        (text_table().replace("3.5", "3,5").encode(), "'3,5' is no number.*a decimal point and no thousands"),
        (text_table().replace("ENSG00000000004", "G" * 10_000).encode(), r"mixed with 1 other names \('G{80}…'\)"),
        (text_table().replace("3.5", "z" * 10_000).encode(), r"'z{80}…' is no number"),
        (text_table().replace("ENSG00000000004", '"ENSG00000000004').encode(), "no regular table"),
    ],
)
def test_hostile_files_have_one_clear_message(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_expression(path)
    assert len(str(caught.value)) < 600


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.tsv.gz"
    rows = "".join(f"ENSG{number:011d}\t0\t0\n" for number in range(20_000))
    path.write_bytes(gzip.compress(f"gene_id\tS1\tS2\n{rows}".encode(), mtime=0))
    assert read_expression(path).values.shape == (2, 20_000)
    monkeypatch.setattr("bulkrnabert.data.sources.delimited.UNPACKED_ALWAYS_BYTES", 100_000)
    monkeypatch.setattr("bulkrnabert.data.sources.delimited.UNPACKED_TIMES", 2)
    with pytest.raises(DataError, match=r"unpacks to more than .* GB from an archive.*unpack it yourself \(gzip -d\)"):
        read_expression(path)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkrnabert.data.sources.delimited.LONGEST_LINE_BYTES", 1 << 21)
    (tmp_path / "t.tsv.gz").write_bytes(gzip.compress(b"0" * (1 << 23), mtime=0))
    with pytest.raises(DataError, match="a line of more than 2 MB"):
        read_expression(tmp_path / "t.tsv.gz")
