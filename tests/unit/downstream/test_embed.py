from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import scipy.sparse
import torch
from click.testing import CliRunner
from numpy.testing import assert_allclose, assert_array_equal

import bulkrnabert as brb
from bulkrnabert.cli.embed import command
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.tables import CohortTableWriter, TableHeader, cohort_path
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.downstream.embed import choose_batch_size, embed_tokens
from bulkrnabert.downstream.pretrained import PretrainedModel, load
from bulkrnabert.errors import BulkRNABertError, ConfigError, DataError, VocabularyError
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.registry import save_network

GENE_IDS = [f"ENSG{number:011d}" for number in range(1, 9)]
VALUES = np.random.default_rng(0).gamma(0.5, 200.0, size=(5, 8))
CONFIG = BulkRNABertConfig(
    n_genes=8, embed_dim=16, init_gene_embed_dim=4, n_heads=2, ffn_embed_dim=8, n_layers=2, n_embedding_rows=66
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    save_network(folder, BulkRNABert(CONFIG, torch.Generator().manual_seed(0)))
    BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=3.5).save(folder / "tokenizer.json")
    (folder / "genes.txt").write_text("".join(f"{gene}\n" for gene in GENE_IDS))
    (folder / "provenance.json").write_text(json.dumps({"split_id": "r0f3", "split_sha256": "e" * 64}))
    return folder


@pytest.fixture
def model(checkpoint: Path) -> PretrainedModel:
    return load(checkpoint)


def frame(values: np.ndarray = VALUES, genes: list[str] = GENE_IDS) -> pd.DataFrame:
    return pd.DataFrame(values.copy(), columns=genes, index=[f"S{number}" for number in range(len(values))])


def expected(model: PretrainedModel, values: np.ndarray = VALUES) -> np.ndarray:
    ids = torch.from_numpy(model.tokenizer.encode(values)).long()
    return model(ids, hidden_layers=(2,)).hidden[2].mean(dim=1).detach().numpy()


def test_embedding_is_the_mean_of_the_last_layer(model: PretrainedModel) -> None:
    embeddings = brb.embed(model, frame(), unit="tpm")
    assert (embeddings.dtype, embeddings.shape) == (np.float32, (5, 16))
    assert_allclose(embeddings, expected(model), rtol=1e-5, atol=1e-6)


def test_adata_dense_and_sparse_as_in_the_manual(model: PretrainedModel) -> None:
    for matrix in (VALUES, scipy.sparse.csr_matrix(VALUES)):
        adata = anndata.AnnData(matrix, var=pd.DataFrame(index=GENE_IDS))
        adata.obsm["X_bulkrnabert"] = brb.embed(model, adata, unit="tpm")
        assert_allclose(adata.obsm["X_bulkrnabert"], expected(model), rtol=1e-5, atol=1e-6)


def test_gene_order_versions_and_foreign_genes_do_not_matter(model: PretrainedModel) -> None:
    table = frame().iloc[:, ::-1].rename(columns=lambda gene: f"{gene}.3")
    table.insert(2, "ENSG00000099999.1", 7.0)
    before = table.copy()
    assert_allclose(brb.embed(model, table, unit="tpm"), expected(model), rtol=1e-5, atol=1e-6)
    pd.testing.assert_frame_equal(table, before)


def test_absent_genes_are_fed_as_the_tokenizer_says(model: PretrainedModel) -> None:
    values = VALUES.copy()
    values[:, 6:] = np.nan
    embeddings = brb.embed(model, frame(VALUES[:, :6], GENE_IDS[:6]), unit="tpm")
    assert_allclose(embeddings, expected(model, values), rtol=1e-5, atol=1e-6)
    assert not np.allclose(embeddings, expected(model), atol=1e-3)


def test_less_than_half_of_the_genes_is_refused(model: PretrainedModel) -> None:
    with pytest.raises(VocabularyError, match=r"3 of the model's 8 genes are in the table \(37\.5%\); at least 50%"):
        brb.embed(model, frame(VALUES[:, :3], GENE_IDS[:3]), unit="tpm")
    symbols = ["TP53", "EGFR", "MYC", "KRAS", "BRAF", "PTEN", "RB1", "ALK"]
    with pytest.raises(VocabularyError, match="the table has symbol ids, as 'TP53'; the model ensembl ids"):
        brb.embed(model, frame(genes=symbols), unit="tpm")


@pytest.mark.parametrize("unit", ["log2(tpm+1)", "log10(tpm+1)", "log2(tpm+0.001)"])
def test_logs_are_inverted(model: PretrainedModel, unit: str) -> None:
    log = np.log10 if unit.startswith("log10") else np.log2
    values = log(VALUES + (0.001 if "0.001" in unit else 1.0))
    assert_allclose(brb.embed(model, frame(values), unit=unit), expected(model), rtol=1e-3, atol=1e-3)


def test_fpkm_is_scaled_over_all_genes_of_the_table(model: PretrainedModel) -> None:
    table = frame()
    table["ENSG00000099999"] = 1e6 - table.sum(axis=1)
    assert_allclose(brb.embed(model, table / 7, unit="fpkm"), expected(model), rtol=1e-3, atol=1e-3)
    table.iloc[0, 0] = np.nan
    with pytest.raises(DataError, match="missing cells cannot become TPM"):
        brb.embed(model, table, unit="fpkm")


@pytest.mark.parametrize("unit", ["zscore", "log2_ratio"])
def test_centred_scales_are_refused(model: PretrainedModel, unit: str) -> None:
    with pytest.raises(DataError, match="was trained on tpm, and there is no way"):
        brb.embed(model, frame(VALUES - 50), unit=unit)


def test_a_scale_that_is_not_the_one_claimed_is_refused(model: PretrainedModel) -> None:
    with pytest.raises(DataError, match="looks like logarithms"):
        brb.embed(model, frame(np.log2(VALUES + 1)), unit="tpm")


def test_layer_pooling_and_batch_size(model: PretrainedModel) -> None:
    whole = brb.embed(model, frame(), "tpm", layer=1, pooling="max", batch_size=5)
    ids = torch.from_numpy(model.tokenizer.encode(VALUES)).long()
    hidden = model(ids, hidden_layers=(1,)).hidden[1].detach().numpy()
    assert_allclose(whole, hidden.max(axis=1), rtol=1e-5, atol=1e-6)
    assert_allclose(brb.embed(model, frame(), "tpm", layer=1, pooling="max", batch_size=2), whole, atol=1e-6)
    with pytest.raises(ConfigError, match="no layer 3: this model's layers are numbered 1 to 2"):
        brb.embed(model, frame(), "tpm", layer=3)
    with pytest.raises(ConfigError, match="batch size 0"):
        brb.embed(model, frame(), "tpm", batch_size=0)


def test_mode_is_put_back_and_dropout_is_off(model: PretrainedModel) -> None:
    for block in model.network.blocks:
        block.dropout.p = 0.5
    model.train()
    ids = model.tokenizer.encode(VALUES)
    assert_array_equal(embed_tokens(model, ids), embed_tokens(model, ids))
    assert model.training


def test_batch_size_falls_with_the_number_of_genes(model: PretrainedModel) -> None:
    cpu = torch.device("cpu")
    many = choose_batch_size(model, cpu)
    model.network.config = CONFIG.model_copy(update={"n_genes": 19_062, "embed_dim": 256, "ffn_embed_dim": 512})
    assert choose_batch_size(model, cpu) == 1
    assert many > 1000


def test_no_numbers(model: PretrainedModel) -> None:
    with pytest.raises(DataError, match="something else than numbers"):
        brb.embed(model, frame().astype(object).assign(**{GENE_IDS[0]: "high"}), "tpm")
    with pytest.raises(DataError, match=r"no expression in `X`; found none"):
        brb.embed(model, anndata.AnnData(obs=pd.DataFrame(index=["S1"])), "tpm")


def run(checkpoint: Path, out: Path, *arguments: Any) -> BulkRNABertError | None:
    result = CliRunner().invoke(
        command, ["--checkpoint", str(checkpoint), "--out", str(out), *(str(argument) for argument in arguments)]
    )
    if result.exception is not None and not isinstance(result.exception, BulkRNABertError):
        raise result.exception
    return result.exception


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "expression.tsv"
    frame().rename_axis("sample").to_csv(path, sep="\t")
    return path


def test_command_on_a_table(checkpoint: Path, table: Path, model: PretrainedModel, tmp_path: Path) -> None:
    assert run(checkpoint, tmp_path / "e.h5ad", "--table", table, "--unit", "tpm") is None
    adata = anndata.read_h5ad(tmp_path / "e.h5ad")
    assert list(adata.obs_names) == ["S0", "S1", "S2", "S3", "S4"]
    assert_allclose(adata.obsm["X_bulkrnabert"], expected(model), rtol=1e-4, atol=1e-5)
    record = json.loads(adata.uns["provenance"])
    assert (record["split_id"], record["layer"], record["pooling"]) == ("r0f3", 2, "mean")
    assert record["checkpoint_sha256"] == model.weights_sha256


def test_command_to_parquet(checkpoint: Path, table: Path, model: PretrainedModel, tmp_path: Path) -> None:
    out = tmp_path / "e.parquet"
    assert run(checkpoint, out, "--table", table, "--unit", "tpm", "--layer", 1, "--pooling", "max") is None
    written = pq.read_table(out)
    assert written.column("sample_id").to_pylist() == ["S0", "S1", "S2", "S3", "S4"]
    values = np.array(written.column("values").to_pylist(), dtype=np.float32)
    assert_allclose(values, brb.embed(model, frame(), "tpm", layer=1, pooling="max"), rtol=1e-4, atol=1e-5)
    record = json.loads(written.schema.metadata[b"brb.provenance"])
    assert (record["layer"], record["pooling"]) == (1, "max")


def test_command_on_cohorts(checkpoint: Path, model: PretrainedModel, tmp_path: Path) -> None:
    folder = tmp_path / "cohorts"
    folder.mkdir()
    genes = GeneVocabulary.from_ids(GENE_IDS)
    genes.to_tsv(folder / "genes.tsv")
    samples = pd.DataFrame(
        {
            "sample_id": [f"S{number}" for number in range(5)],
            "patient_id": [f"P{number}" for number in range(5)],
            "cohort": "A",
            "project_id": "A",
            "sample_type": "tumor",
            "source": "gdc",
        }
    )
    with CohortTableWriter(cohort_path(folder, "A"), TableHeader("tpm", "rnaseq", genes.sha256, "", "open"), 8) as file:
        file.write(samples, VALUES.astype(np.float32))
    assert run(checkpoint, tmp_path / "e.h5ad", "--cohorts", folder) is None
    adata = anndata.read_h5ad(tmp_path / "e.h5ad")
    assert list(adata.obs.columns) == ["patient_id", "cohort", "sample_type", "missing_share"]
    assert list(adata.obs["missing_share"]) == [0.0] * 5
    assert list(adata.obs["patient_id"]) == ["P0", "P1", "P2", "P3", "P4"]
    assert_allclose(adata.obsm["X_bulkrnabert"], expected(model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --cohorts or --table"),
        (["--cohorts", "A", "--table", "B"], "either --cohorts or --table"),
        (["--table", "B"], "--unit belongs to --table"),
        (["--cohorts", "A", "--unit", "tpm"], "--unit belongs to --table"),
        (["--cohorts", "A", "--format", "tsv"], "--format belongs to --table"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in str(run(tmp_path, tmp_path / "e.h5ad", *arguments))


def test_other_refusals_of_the_command(checkpoint: Path, table: Path, tmp_path: Path) -> None:
    assert ".h5ad or .parquet" in str(run(checkpoint, tmp_path / "e.csv", "--table", table, "--unit", "tpm"))
    pd.concat([frame(), frame()]).rename_axis("sample").to_csv(table, sep="\t")
    message = str(run(checkpoint, tmp_path / "e.h5ad", "--table", table, "--unit", "tpm"))
    assert "sample 'S0' is in the rnaseq table more than once" in message
    assert not (tmp_path / "e.h5ad").exists()


FULL_LENGTH = """
import resource, torch
from bulkrnabert.config import preset_path
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
config = BulkRNABertConfig.from_yaml(preset_path("model", "paper")).with_genes(19_062)
model = BulkRNABert(config).eval()
with torch.inference_mode():
    embedding = model.sample_embedding(torch.randint(0, 64, (1, 19_062)))
assert torch.isfinite(embedding).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_full_length_fits_in_4_gib() -> None:
    done = subprocess.run([sys.executable, "-c", FULL_LENGTH], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 4 * 2**20, "kilobytes"


def test_the_missing_share_goes_with_every_embedding(
    checkpoint: Path, table: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lacking = frame().drop(columns=GENE_IDS[0])
    lacking.iloc[2, 1] = float("nan")
    lacking.rename_axis("sample").to_csv(table, sep="\t", na_rep="NA")
    with caplog.at_level("INFO"):
        assert run(checkpoint, tmp_path / "e.h5ad", "--table", table, "--unit", "tpm") is None
    share = anndata.read_h5ad(tmp_path / "e.h5ad").obs["missing_share"]
    assert_allclose(share, [0.125, 0.125, 0.25, 0.125, 0.125])
    assert "of the model's genes a sample lacks 15.0% on average and 25.0% at most" in caplog.text
    assert run(checkpoint, tmp_path / "e.parquet", "--table", table, "--unit", "tpm") is None
    assert_allclose(pq.read_table(tmp_path / "e.parquet").column("missing_share"), share)
