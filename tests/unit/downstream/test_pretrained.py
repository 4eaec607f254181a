from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import bulkrnabert as brb
from bulkrnabert.cli.import_weights import command
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.errors import CheckpointError, ConfigError
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.registry import save_network

CONFIG = BulkRNABertConfig(
    n_genes=3, embed_dim=8, init_gene_embed_dim=4, n_heads=2, ffn_embed_dim=8, n_layers=1, n_embedding_rows=66
)
REFERENCE_CONFIG = {
    "n_genes": 3,
    "n_expressions_bins": 64,
    "embed_dim": 8,
    "init_gene_embed_dim": 4,
    "num_attention_heads": 2,
    "ffn_embed_dim": 8,
    "num_layers": 1,
    "normalization_factor": 5.0,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    save_network(folder, BulkRNABert(CONFIG, torch.Generator().manual_seed(0)))
    BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=3.0).save(folder / "tokenizer.json")
    (folder / "genes.txt").write_text("ENSG1\nENSG2\nENSG3\n")
    (folder / "provenance.json").write_text(json.dumps({"split_id": "r0f0"}))
    return folder


def test_the_lines_of_the_manual(folder: Path) -> None:
    model = brb.load(str(folder))
    token_ids = torch.from_numpy(model.tokenizer.encode(np.array([[0.0, 5.0, 900.0]]), unit="tpm"))
    out = model(token_ids, hidden_layers=(1,), attention_layers=(1,))
    assert out.logits.shape == (1, 3, 64)
    assert out.hidden[1].shape == (1, 3, 8)
    assert out.attention[1].shape == (1, 2, 3, 3)
    assert model.gene_ids == ("ENSG1", "ENSG2", "ENSG3")
    assert model.provenance["split_id"] == "r0f0"
    assert not model.training
    assert not model.network.training


def test_a_checkpoint_without_provenance_loads(folder: Path) -> None:
    (folder / "provenance.json").unlink()
    assert brb.load(folder).provenance == {}


def test_an_absent_folder_or_a_file_is_no_folder(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such checkpoint folder; expected a folder with config\.json"):
        brb.load(folder / "absent")
    with pytest.raises(CheckpointError, match="is a file, not a checkpoint folder"):
        brb.load(folder / "config.json")


def test_files_of_different_checkpoints(folder: Path) -> None:
    (folder / "genes.txt").write_text("ENSG1\nENSG2\n")
    with pytest.raises(CheckpointError, match=r"genes\.txt: 2 genes, but the model in config\.json has 3"):
        brb.load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "genes.txt"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        brb.load(folder)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_broken_provenance(folder: Path, content: str) -> None:
    (folder / "provenance.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"provenance\.json"):
        brb.load(folder)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Published-looking haiku weights: 64 rows in the expression table."""
    folder = tmp_path / "published"
    folder.mkdir()
    generator = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "~/expression_embedding|embeddings": (64, 8),
        "~/gene_embedding|embeddings": (3, 4),
        "~/linear|w": (4, 8),
        "~/linear|b": (8,),
        "~/simple_lm_head/~/lm_final_fc|w": (8, 64),
        "~/simple_lm_head/~/lm_final_fc|b": (64,),
    }
    for layer in ("query", "key", "value", "mha_output"):
        shapes |= {f"self_attention_block_0/~/self_attention/{layer}|w": (8, 8)}
        shapes |= {f"self_attention_block_0/~/self_attention/{layer}|b": (8,)}
    for layer in ("fc1", "fc2"):
        shapes |= {f"self_attention_block_0/~/{layer}|w": (8, 8), f"self_attention_block_0/~/{layer}|b": (8,)}
    for layer in ("self_attention_layer_norm", "final_layer_norm"):
        shapes |= {f"self_attention_block_0/~/{layer}|{name}": (8,) for name in ("scale", "offset")}
    arrays = {f"bulk_bert/{name}": generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    np.savez(folder / "params.npz", **arrays)
    (folder / "config.json").write_text(json.dumps(REFERENCE_CONFIG))
    (folder / "common_gene_id.txt").write_text("ENSG1\nENSG2\nENSG3\n")
    return folder


def run_import(published: Path, out: Path, *extra: str) -> Any:
    arguments = ["--params", str(published / "params.npz"), "--config", str(published / "config.json")]
    return CliRunner().invoke(command, [*arguments, "--out", str(out), *extra])


def test_import_writes_a_whole_checkpoint_twice(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        assert run_import(published, out).exit_code == 0
    assert {path.name for path in out.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "genes.txt",
        "provenance.json",
        "README.md",
    }
    model = brb.load(out)
    tokenizer = model.tokenizer
    assert (tokenizer.overflow, tokenizer.missing, tokenizer.normalization_factor) == ("reference", "zero", 5.0)
    assert model.network.config.out_of_range == "clamp"
    assert model.provenance["patient_hashes"] is None
    assert model.provenance["inputs"]["params"]["file"] == "params.npz"
    card = (out / "README.md").read_text()
    assert "64 rows; ids beyond it are clamped" in card
    assert "divided by 5.0" in card


def test_import_with_the_wrong_genes(published: Path, tmp_path: Path) -> None:
    genes = tmp_path / "genes.txt"
    genes.write_text("ENSG1\n")
    result = run_import(published, tmp_path / "out", "--genes", str(genes))
    assert isinstance(result.exception, CheckpointError)
    assert "1 genes, but" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_import_without_a_gene_list(published: Path, tmp_path: Path) -> None:
    (published / "common_gene_id.txt").unlink()
    result = run_import(published, tmp_path / "out")
    assert isinstance(result.exception, CheckpointError)
    assert "give the published list with --genes" in str(result.exception)


def test_import_never_replaces_a_folder_of_something_else(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.docx").write_text("precious")
    result = run_import(published, out)
    assert isinstance(result.exception, ConfigError)
    assert "holds thesis.docx" in str(result.exception)
    assert (out / "thesis.docx").read_text() == "precious"
    result = run_import(published, out / "thesis.docx")
    assert "is a file" in str(result.exception)


def test_import_of_a_hostile_pickle_leaves_nothing(published: Path, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'victim'}",)

    params = published / "params.joblib"
    params.write_bytes(pickle.dumps({"bulk_bert/~/linear": {"w": Attack()}}))
    arguments = ["--params", str(params), "--config", str(published / "config.json"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, CheckpointError)
    assert "posix.system" in str(result.exception)
    assert not (tmp_path / "victim").exists()
    assert not (tmp_path / "out").exists()
