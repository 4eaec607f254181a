"""AnnData in and out: which matrix is read, and what stays of a file that results are added to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from click.testing import CliRunner
from numpy.testing import assert_allclose, assert_array_equal

import bulkrnabert as brb
from bulkrnabert.cli.embed import command as embed_command
from bulkrnabert.cli.predict import command as predict_command
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.sources.files import read_expression
from bulkrnabert.data.tables import CohortTableWriter, TableHeader, cohort_path
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.downstream.embeddings import read_embeddings
from bulkrnabert.errors import BulkRNABertError, ConfigError, DataError
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.registry import save_network
from tests.unit.downstream import finetuning

GENES = [f"ENSG{number:011d}" for number in range(1, 7)]
SAMPLES = ["S2", "S0", "S1", "S3"]
VALUES = np.random.default_rng(0).gamma(0.5, 200.0, (4, 6)).astype(np.float32)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    config = BulkRNABertConfig(
        n_genes=6, embed_dim=8, init_gene_embed_dim=4, n_heads=2, ffn_embed_dim=8, n_layers=1, n_embedding_rows=66
    )
    save_network(folder, BulkRNABert(config, torch.Generator().manual_seed(0)))
    BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=3.5).save(folder / "tokenizer.json")
    (folder / "genes.txt").write_text("".join(f"{gene}\n" for gene in GENES))
    return folder


def make_adata() -> anndata.AnnData:
    """Logs in X, TPM in a layer and in `raw`, symbols for names, a little of everything beside."""
    var = pd.DataFrame({"ensembl_id": GENES}, index=pd.Index([f"GENE{letter}" for letter in "ABCDEF"]))
    obs = pd.DataFrame({"site": pd.Categorical(["a", "b", "a", "b"]), "age": [1.5, np.nan, 3.0, 4.0]}, index=SAMPLES)
    whole = anndata.AnnData(VALUES, obs=obs, var=var)
    adata = anndata.AnnData(
        scipy.sparse.csr_matrix(np.log2(VALUES + 1)),
        obs=obs,
        var=var,
        layers={"tpm": scipy.sparse.csc_matrix(VALUES)},
        obsm={"X_pca": np.ones((4, 2))},
        uns={"provenance": "theirs", "colors": np.array(["red"])},
    )
    adata.raw = whole
    return adata


def run(command: Any, *arguments: object) -> BulkRNABertError | None:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, BulkRNABertError):
        raise result.exception
    return result.exception


@pytest.mark.parametrize("matrix", ["raw", "layers/tpm"])
def test_the_matrix_is_the_one_that_is_stated(checkpoint: Path, matrix: str) -> None:
    model, adata = brb.load(checkpoint), make_adata()
    expected = brb.embed(model, pd.DataFrame(VALUES, columns=GENES), unit="tpm")
    before = adata.copy()
    assert_allclose(brb.embed(model, adata, unit="tpm", matrix=matrix), expected, atol=1e-6)
    assert_allclose(brb.embed(model, adata, unit="log2(tpm+1)"), expected, atol=1e-3)
    assert_array_equal(adata.X.toarray(), before.X.toarray())
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert list(adata.obsm) == ["X_pca"] and adata.uns.keys() == before.uns.keys()
    with pytest.raises(DataError, match=r"no expression in `layers/fpkm`; found X, raw, layers/tpm: state which"):
        brb.embed(model, adata, unit="tpm", matrix="layers/fpkm")
    with pytest.raises(ConfigError, match="is of AnnData objects, this is a DataFrame"):
        brb.embed(model, pd.DataFrame(VALUES, columns=GENES), unit="tpm", matrix=matrix)


def test_a_matrix_of_a_file(tmp_path: Path, checkpoint: Path) -> None:
    path = tmp_path / "a.h5ad"
    make_adata().write_h5ad(path)
    for fmt in ("h5ad:raw", "h5ad:layers/tpm"):
        table = read_expression(path, fmt)
        assert_allclose(table.values, VALUES)
        assert (table.sample_ids, table.gene_ids) == (tuple(SAMPLES), tuple(GENES))
    with pytest.raises(DataError, match=r"expected h5ad:X, h5ad:raw or h5ad:layers/NAME"):
        read_expression(path, "h5ad:tpm")
    backed = anndata.read_h5ad(path, backed="r")
    model = brb.load(checkpoint)
    expected = brb.embed(model, make_adata(), unit="log2(tpm+1)")
    assert_allclose(brb.embed(model, backed, unit="log2(tpm+1)"), expected, atol=1e-6)
    backed.file.close()


def test_embedding_added_to_a_copy_of_the_table(checkpoint: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "a.h5ad", tmp_path / "b.h5ad"
    make_adata().write_h5ad(source)
    given = ["--checkpoint", checkpoint, "--unit", "tpm", "--format", "h5ad:layers/tpm", "--keep-table"]
    assert run(embed_command, *given, "--table", source, "--out", out) is None
    before, after = anndata.read_h5ad(source), anndata.read_h5ad(out)
    assert_array_equal(after.X.toarray(), before.X.toarray())
    assert_array_equal(after.layers["tpm"].toarray(), VALUES)
    assert_array_equal(after.raw.X, VALUES)
    assert_array_equal(after.obsm["X_pca"], np.ones((4, 2)))
    pd.testing.assert_frame_equal(after.obs[["site", "age"]], before.obs)
    pd.testing.assert_frame_equal(after.var, before.var)
    assert after.uns["provenance"] == "theirs" and list(after.uns["colors"]) == ["red"]
    record = json.loads(after.uns["bulkrnabert"]["X_bulkrnabert"])
    assert record["model"] == "bulkrnabert" and record["parameters"]["unit"] == {"rnaseq": "tpm"}
    assert list(after.obs["brb_missing_share"]) == [0.0] * 4
    expected = brb.embed(brb.load(checkpoint), before, unit="tpm", matrix="layers/tpm")
    assert_allclose(after.obsm["X_bulkrnabert"], expected, atol=1e-6)
    # What was written is a table again; another layer replaces what is ours.
    assert run(embed_command, *given, "--pooling", "max", "--table", out, "--out", out) is None
    again = anndata.read_h5ad(out)
    assert list(again.obs.columns) == ["site", "age", "brb_missing_share"]
    assert not np.allclose(again.obsm["X_bulkrnabert"], expected)


def test_what_is_not_ours_is_not_replaced(checkpoint: Path, tmp_path: Path) -> None:
    adata = make_adata()
    adata.obsm["X_bulkrnabert"] = np.zeros((4, 8))
    adata.write_h5ad(tmp_path / "a.h5ad")
    given = ["--checkpoint", checkpoint, "--unit", "log2(tpm+1)", "--keep-table"]
    message = str(run(embed_command, *given, "--table", tmp_path / "a.h5ad", "--out", tmp_path / "b.h5ad"))
    assert "obsm has 'X_bulkrnabert' already, and not from this program" in message
    assert not (tmp_path / "b.h5ad").exists()
    pd.DataFrame(VALUES, index=SAMPLES, columns=GENES).to_csv(tmp_path / "a.tsv", sep="\t")
    message = str(run(embed_command, *given, "--table", tmp_path / "a.tsv", "--out", tmp_path / "b.h5ad"))
    assert "give one table in .h5ad" in message


def test_embeddings_are_read_from_either_form(checkpoint: Path, tmp_path: Path) -> None:
    adata = make_adata()
    adata.obs["cohort"] = "A"
    adata.write_h5ad(tmp_path / "a.h5ad")
    given = ["--checkpoint", checkpoint, "--unit", "log2(tpm+1)", "--table", tmp_path / "a.h5ad"]
    assert run(embed_command, *given, "--out", tmp_path / "alone.h5ad") is None
    adata = anndata.read_h5ad(tmp_path / "a.h5ad")
    del adata.uns["provenance"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert run(embed_command, *given, "--keep-table", "--out", tmp_path / "kept.h5ad") is None
    alone, kept = (read_embeddings(tmp_path / name) for name in ("alone.h5ad", "kept.h5ad"))
    assert alone.sample_ids == kept.sample_ids == SAMPLES
    assert_allclose(alone.values, kept.values)


def test_an_embedding_alone_is_no_expression(checkpoint: Path, tmp_path: Path) -> None:
    make_adata().write_h5ad(tmp_path / "a.h5ad")
    given = ["--checkpoint", checkpoint, "--unit", "log2(tpm+1)"]
    assert run(embed_command, *given, "--table", tmp_path / "a.h5ad", "--out", tmp_path / "e.h5ad") is None
    message = str(run(embed_command, *given, "--table", tmp_path / "e.h5ad", "--out", tmp_path / "f.h5ad"))
    assert "no expression in `X`; found none, only embeddings in obsm: 'X_bulkrnabert'" in message


def test_predictions_beside_the_samples(both: Path, finetune_study: finetuning.Study, tmp_path: Path) -> None:
    adata = anndata.AnnData(finetune_study.values.astype(np.float32))
    adata.obs["predicted"] = "theirs"
    adata.write_h5ad(tmp_path / "a.h5ad")
    given = ["--model", both / "model", "--unit", "tpm", "--device", "cpu"]
    assert run(predict_command, *given, "--table", tmp_path / "a.h5ad", "--out", tmp_path / "p.h5ad") is None
    found = anndata.read_h5ad(tmp_path / "p.h5ad")
    frame = brb.predict(brb.load_finetuned(both / "model"), adata, unit="tpm")
    assert list(found.obs_names) == list(adata.obs_names) == list(frame["sample_id"])
    assert set(found.obs["predicted"]) == {"theirs"}
    assert list(found.obs["brb_predicted"]) == list(frame["predicted"])
    assert_allclose(found.obs["brb_risk"], frame["risk"], atol=1e-6)
    assert json.loads(found.uns["bulkrnabert"]["predictions"])["stage"] == "predict"
    assert run(predict_command, *given, "--table", finetune_study.table, "--out", tmp_path / "q.h5ad") is None
    alone = anndata.read_h5ad(tmp_path / "q.h5ad")
    assert alone.n_vars == 0 and list(alone.obs["brb_predicted"]) == list(frame["predicted"])
    with pytest.raises(ConfigError, match="say what the values are"):
        brb.predict(brb.load_finetuned(both / "model"), adata)


def test_cohorts_as_anndata(checkpoint: Path, tmp_path: Path) -> None:
    genes = GeneVocabulary.from_ids(GENES)
    genes.to_tsv(tmp_path / "genes.tsv")
    columns = ["sample_id", "patient_id", "cohort", "project_id", "sample_type", "source"]
    samples = pd.DataFrame({name: SAMPLES if name == "sample_id" else "A" for name in columns})
    header = TableHeader("tpm", "rnaseq", genes.sha256, "", "open")
    with CohortTableWriter(cohort_path(tmp_path, "A"), header, 6) as file:
        file.write(samples, VALUES)
    one, every = brb.read_cohort(cohort_path(tmp_path, "A")), brb.read_cohort(tmp_path)
    assert list(one.obs_names) == SAMPLES and list(every.obs_names) == sorted(SAMPLES)
    assert (one.uns["unit"], one.uns["data_access"], one.uns["gene_list_sha256"]) == ("tpm", "open", genes.sha256)
    assert_array_equal(one.X, VALUES)
    assert_array_equal(every[SAMPLES].X, VALUES)
    one.write_h5ad(tmp_path / "one.h5ad")
    table = read_expression(tmp_path / "one.h5ad")
    assert table.gene_ids == tuple(GENES)
    assert brb.embed(brb.load(checkpoint), one, unit=one.uns["unit"]).shape == (4, 8)
