from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from bulkrnabert import keys
from bulkrnabert.cli.cross_modal import command
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokens import Tokens, write_tokens
from bulkrnabert.downstream.cross_modal import judge_cross_modal, pearson_per_gene, predict_omic, ridge_prediction
from bulkrnabert.downstream.pretrained import PretrainedModel, load
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.mojo import Mojo, MojoConfig
from bulkrnabert.models.registry import save_network

G, MASK = 10, keys.MASK_ID
TOKENIZERS = {
    "rnaseq": BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=5.0),
    "methylation": BinnedTokenizer(unit="beta", edges_kind="linear"),
}


@pytest.fixture
def tokens() -> Tokens:
    """60 samples, 20 held out, whose methylation is 60 minus their expression; gene 3 is constant, a value missing."""
    rng = np.random.default_rng(0)
    rnaseq = rng.integers(5, 55, (60, 1)) + rng.integers(-4, 5, (60, G))
    methylation = 60 - rnaseq
    methylation[:, 3] = 7
    methylation[2, 0] = MASK
    ids = np.concatenate([rnaseq, methylation], axis=1).astype(np.uint8)
    ids[5, G:] = MASK
    samples = pd.DataFrame(
        {
            keys.SAMPLE_ID: [f"S{row}" for row in range(60)],
            keys.PATIENT_ID: [f"P{row}" for row in range(60)],
            keys.COHORT: [f"C{row % 2}" for row in range(60)],
            keys.PART: [keys.HELD_OUT if row < 20 else keys.TRAIN for row in range(60)],
        }
    )
    gene_ids = tuple(f"ENSG{gene:011d}" for gene in range(G))
    return Tokens(samples, ids, gene_ids, TOKENIZERS, "r0f0", "ab" * 32, model=keys.MOJO)


@pytest.fixture
def network() -> Mojo:
    config = MojoConfig(
        n_genes=G,
        token_embed_dim=6,
        conv_embed_dim=8,
        embed_dim=12,
        n_downsamples=2,
        init_gene_embed_dim=4,
        n_heads=2,
        ffn_embed_dim=10,
        n_layers=1,
    )
    return Mojo(config, torch.Generator().manual_seed(0)).eval()


@pytest.fixture
def model(network: Mojo, tokens: Tokens) -> PretrainedModel:
    provenance = {"split_id": tokens.split_id, "split_sha256": tokens.split_sha256}
    return PretrainedModel(network, tokens.tokenizers, tokens.gene_ids, provenance, "cd" * 32).eval()


def test_correlation_by_hand() -> None:
    nan = np.nan
    truth = np.array(
        [[1.0, 1.0, 5.0, 1.0, 1.0], [2.0, 2.0, 5.0, nan, 2.0], [3.0, 4.0, 5.0, nan, nan], [4.0, nan, 5.0, 2, 4.0]]
    )
    predicted = np.array(
        [[2.0, 3.0, 1.0, 1.0, 0.1], [4.0, 3.0, 2.0, 2.0, 0.1], [6.0, 1.0, 3.0, 3.0, 0.1], [8.0, 9.0, 4.0, 4.0, 0.1]]
    )
    # Doubled; three known values, covariance -10/3 over the root of 14/3 x 8/3; constant; two values; a constant guess.
    expected = [1.0, -10 / np.sqrt(14 * 8), nan, nan, 0.0]
    np.testing.assert_allclose(pearson_per_gene(truth, predicted), expected)


def test_ridge_finds_a_linear_rule_and_bears_missing_values() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(80, 5))
    target = source @ rng.normal(size=(5, 3)) + 4.0
    holed = source.copy()
    holed[::9, 1] = np.nan
    missing = target.copy()
    missing[3, 2] = np.nan
    predicted = ridge_prediction(holed[:60], missing[:60], source[60:])
    assert np.all(pearson_per_gene(target[60:], predicted) > 0.9)


def test_both_directions(model: PretrainedModel, tokens: Tokens) -> None:
    before = tokens.token_ids.copy()
    results = judge_cross_modal(model, tokens)
    assert [(one.source, one.target) for one in results] == [("rnaseq", "methylation"), ("methylation", "rnaseq")]
    assert [(one.n_samples, one.n_training_samples) for one in results] == [(19, 40)] * 2, (
        "one sample has no methylation"
    )
    to_methylation = results[0]
    assert np.isnan(to_methylation.model.per_gene[3]) and np.isnan(to_methylation.ridge.per_gene[3])
    others = np.delete(to_methylation.ridge.per_gene, 3)
    assert (others > 0.95).all(), "ridge regression finds the rule"
    assert np.abs(np.delete(to_methylation.model.per_gene, 3)).max() < 0.99, "the control: an untrained model does not"
    assert np.array_equal(tokens.token_ids, before)


def test_differences_between_cohorts_are_not_within_them(model: PretrainedModel, tokens: Tokens) -> None:
    """RNA-seq tells the cohort alone, and methylation is the cohort and noise."""
    rng = np.random.default_rng(1)
    cohort = np.arange(60) % 2
    ids = np.concatenate(
        [
            10 + 30 * cohort[:, None] + rng.integers(0, 2, (60, G)),
            10 + 30 * cohort[:, None] + rng.integers(0, 9, (60, G)),
        ],
        axis=1,
    )
    ridge = judge_cross_modal(model, replace(tokens, token_ids=ids.astype(np.uint8)))[0].ridge.summary()
    assert ridge["median_pearson"] > 0.9
    assert abs(ridge["within_cohort_median_pearson"]) < 0.4


def test_expected_bin_of_the_absent_omic(model: PretrainedModel, network: Mojo, tokens: Tokens) -> None:
    ids = tokens.token_ids[:4, :G]
    logits = network({"rnaseq": torch.from_numpy(ids)}).logits["methylation"][..., :64]
    expected = (logits.softmax(dim=-1) * torch.arange(64.0)).sum(dim=-1).detach().numpy()
    np.testing.assert_allclose(predict_omic(model, ids, "rnaseq", "methylation"), expected, rtol=1e-5)


def test_command_writes_the_numbers(network: Mojo, tokens: Tokens, tmp_path: Path) -> None:
    save_network(tmp_path / "checkpoint", network)
    write_tokens(tmp_path / "tokens", tokens)
    for name in ("genes.txt", "tokenizer.json"):
        (tmp_path / "checkpoint" / name).write_bytes((tmp_path / "tokens" / name).read_bytes())
    arguments = ["--checkpoint", str(tmp_path / "checkpoint"), "--tokens", str(tmp_path / "tokens"), "--device", "cpu"]
    out = tmp_path / "cross_modal.json"
    assert CliRunner().invoke(command, [*arguments, "--out", str(out)], catch_exceptions=False).exit_code == 0
    found = json.loads(out.read_text())
    assert found["split_id"] == "r0f0"
    assert found["checkpoint_sha256"] == load(tmp_path / "checkpoint").weights_sha256
    first = found["directions"][0]
    assert (first["from"], first["to"], first["n_genes"], first["n_samples"]) == ("rnaseq", "methylation", 9, 19)
    assert first["not_judged"] == ["ENSG00000000003"]
    assert len(first["per_gene"]) == 9 and set(first["per_gene"][0]) == {"gene_id", "model", "ridge"}
    assert first["ridge"]["quartiles"][0] <= first["ridge"]["median_pearson"] <= first["ridge"]["quartiles"][1]


def test_what_does_not_go_together(model: PretrainedModel, tokens: Tokens) -> None:
    with pytest.raises(ConfigError, match="other genes, omics or bins"):
        judge_cross_modal(model, replace(tokens, gene_ids=tuple(reversed(tokens.gene_ids))))
    with pytest.raises(ConfigError, match="trained on split r0f0 of other splits than the tokens' r0f1"):
        judge_cross_modal(model, replace(tokens, split_id="r0f1"))
    nobody = tokens.samples.assign(**{keys.PART: keys.TRAIN})
    with pytest.raises(DataError, match="0 held-out samples of split r0f0 have both rnaseq and methylation"):
        judge_cross_modal(model, replace(tokens, samples=nobody))
    sizes = BulkRNABertConfig(n_genes=G, embed_dim=8, init_gene_embed_dim=4, n_heads=2, ffn_embed_dim=8, n_layers=1)
    one = PretrainedModel(BulkRNABert(sizes), {"rnaseq": TOKENIZERS["rnaseq"]}, tokens.gene_ids, {}, "")
    with pytest.raises(ConfigError, match="a bulkrnabert model reads rnaseq alone"):
        judge_cross_modal(one, tokens)
