"""Drift of embeddings when genes are missing: none without masks, and what a mask does is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bulkrnabert.cli import _run
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.downstream.drift import FRACTIONS, embedding_drift
from bulkrnabert.downstream.embed import embed_tokens
from bulkrnabert.downstream.pretrained import load
from bulkrnabert.errors import DataError
from bulkrnabert.keys import MASK_ID
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.registry import save_network

N_GENES = 40
GENE_IDS = [f"ENSG{number:011d}" for number in range(N_GENES)]
CONFIG = BulkRNABertConfig(
    n_genes=N_GENES, embed_dim=16, init_gene_embed_dim=4, n_heads=2, ffn_embed_dim=8, n_layers=1, n_embedding_rows=66
)
VALUES = np.random.default_rng(0).gamma(0.5, 200.0, size=(6, N_GENES))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    save_network(folder, BulkRNABert(CONFIG, torch.Generator().manual_seed(0)))
    BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=3.5).save(folder / "tokenizer.json")
    (folder / "genes.txt").write_text("".join(f"{gene}\n" for gene in GENE_IDS))
    return folder


def test_the_curve(checkpoint: Path) -> None:
    model = load(checkpoint)
    tokens = model.tokenizer.encode(VALUES)
    before = tokens.copy()
    points = embedding_drift(model, tokens, np.random.default_rng(0))
    assert [point.missing_fraction for point in points] == list(FRACTIONS)
    assert points[0].mean == pytest.approx(1.0) and points[0].low == pytest.approx(1.0)
    assert points[-1].mean < points[1].mean < 1.0
    assert all(point.low <= point.mean <= point.high for point in points)
    assert {point.n_samples for point in points} == {6}
    np.testing.assert_array_equal(tokens, before)
    again = embedding_drift(model, tokens, np.random.default_rng(0))
    assert again == points


def test_one_point_by_hand(checkpoint: Path) -> None:
    """With all genes masked, the draw does not matter: the cosine to a profile of masks alone."""
    model = load(checkpoint)
    tokens = model.tokenizer.encode(VALUES)
    (point,) = embedding_drift(model, tokens, np.random.default_rng(5), fractions=(1.0,))
    whole, masked = embed_tokens(model, tokens), embed_tokens(model, np.full_like(tokens, MASK_ID))
    cosine = [float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))) for a, b in zip(whole, masked, strict=True)]
    assert point.mean == pytest.approx(np.mean(cosine), abs=1e-5)


def test_no_sample(checkpoint: Path) -> None:
    with pytest.raises(DataError, match="no sample to measure"):
        embedding_drift(load(checkpoint), np.empty((0, N_GENES), np.uint8), np.random.default_rng(0))


def table(folder: Path, values: np.ndarray = VALUES) -> Path:
    frame = pd.DataFrame(values.T, index=pd.Index(GENE_IDS, name="gene_id"), columns=[f"S{n}" for n in range(6)])
    frame.to_csv(folder / "t.tsv", sep="\t")
    return folder / "t.tsv"


def test_the_doctor_draws_the_curve(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["doctor", "--table", str(table(tmp_path)), "--unit", "tpm", "--checkpoint", str(checkpoint), "--drift"]
    assert _run([*arguments, "--drift-samples", "3", "--out", str(tmp_path / "doctor.json")]) == 0
    text = capsys.readouterr().out
    assert "checkpoint was trained on tpm" in text
    assert "drift of the embedding when genes are missing (cosine to all genes, 3 samples)" in text
    assert "       0%   1.000  1.000  1.000" in text
    drift = json.loads((tmp_path / "doctor.json").read_text())["drift"]
    assert [point["missing_fraction"] for point in drift] == list(FRACTIONS)
    assert set(drift[0]) == {"missing_fraction", "mean", "low", "high", "n_samples"}


@pytest.mark.parametrize(
    ("unit", "values"), [("zscore", np.random.default_rng(1).normal(size=(6, N_GENES))), ("rsem", VALUES)]
)
def test_a_scale_that_the_checkpoint_cannot_take_is_no_go(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unit: str, values: np.ndarray
) -> None:
    path = table(tmp_path, values)
    assert _run(["doctor", "--table", str(path), "--unit", unit, "--checkpoint", str(checkpoint), "--drift"]) == 2
    text = " ".join(capsys.readouterr().out.split())
    assert f"the table is in {unit}, checkpoint was trained on tpm, and there is no way from one to the other" in text
    assert "drift of the embedding" not in text
    assert (
        _run(["embed", "--checkpoint", str(checkpoint), "--table", str(path), "--unit", unit, "--out", "e.h5ad"]) == 2
    )
    assert "this model was trained on tpm, and there is no way" in capsys.readouterr().err
