"""Integrated gradients: exact on a linear network, complete on real ones, and a planted gene comes first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.stats import spearmanr

from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.downstream.attribution_gradients import (
    Baseline,
    baseline_tokens,
    choose_points,
    integrated_gradients,
    resolve_baseline,
)
from bulkrnabert.downstream.attribution_summary import gene_table, summarise_group
from bulkrnabert.errors import ConfigError
from bulkrnabert.models.adapters import AdapterConfig
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.finetuned import FinetunedConfig, FinetunedNetwork, FinetunePooling, embedding_width
from bulkrnabert.models.heads import HeadConfig

N_GENES = 12
TASK = "cancer_type"
CONFIG = BulkRNABertConfig(
    n_genes=N_GENES,
    embed_dim=16,
    init_gene_embed_dim=8,
    n_heads=2,
    ffn_embed_dim=32,
    n_layers=2,
    has_bin_statistics=True,
)


def make_network(
    pooling: FinetunePooling = "mean",
    n_outputs: int = 3,
    hidden: tuple[int, ...] = (8,),
    config: BulkRNABertConfig = CONFIG,
    seed: int = 0,
) -> FinetunedNetwork:
    generator = torch.Generator().manual_seed(seed)
    encoder = BulkRNABert(config, generator)
    if config.has_bin_statistics:
        encoder.set_bin_statistics(torch.rand(N_GENES, generator=generator) * 60, torch.ones(N_GENES))
    head = HeadConfig(n_inputs=embedding_width(encoder, pooling), n_outputs=n_outputs, hidden=hidden, dropout=0.3)
    network = FinetunedNetwork(
        encoder, FinetunedConfig(adapter=AdapterConfig(kind="full"), pooling=pooling, heads={TASK: head})
    )
    with torch.no_grad():
        for parameter in network.heads.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    return network


def tokens(n_samples: int = 4, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 64, (n_samples, N_GENES)).astype(np.uint8)


def test_a_linear_network_is_shared_out_exactly() -> None:
    # Blocks that add nothing, mean pooling, a linear head: output = w . mean over genes of (bin + gene embedding).
    network = make_network(hidden=(), n_outputs=1)
    encoder = network.encoder
    with torch.no_grad():
        for block in encoder.blocks:
            for layer in (block.attention.output, block.ffn_out):
                layer.weight.zero_()
                layer.bias.zero_()
    ids = tokens()
    found = integrated_gradients(network, ids, TASK, np.zeros(4, dtype=np.int64), "zero", n_steps=2)
    table = encoder.expression_embedding.weight.detach().numpy()
    w = network.linear_output(TASK).weight.detach().numpy()[0]
    assert_allclose(found.values, (table[ids] - table[0]) @ w / N_GENES, rtol=1e-4, atol=1e-6)
    assert_allclose(found.deltas, 0, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "max", "marker", "attention"])
@pytest.mark.parametrize("baseline", ["mean", "zero", "mask"])
def test_values_add_up_to_the_outputs_difference(pooling: FinetunePooling, baseline: Baseline) -> None:
    network, ids = make_network(pooling).eval(), tokens()
    class_idx = np.array([0, 1, 2, 1])
    found = integrated_gradients(network, ids, TASK, class_idx, baseline, n_steps=64)
    with torch.no_grad():
        logits = network(torch.from_numpy(ids))[TASK].double().numpy()
    # What is explained is the network's own output.
    assert_allclose(found.outputs, logits[np.arange(4), class_idx] - logits.mean(axis=1), rtol=1e-4, atol=1e-5)
    # A maximum has kinks, which need more points than smooth poolings.
    assert_allclose(found.deltas, 0, atol=0.03 if pooling == "max" else 0.01)
    assert np.abs(found.outputs - found.baseline_outputs).max() > 0.1


def test_one_point_is_not_enough() -> None:
    deltas = [
        np.abs(integrated_gradients(make_network(), tokens(), TASK, np.zeros(4, int), "zero", n).deltas).max()
        for n in (1, 64)
    ]
    assert deltas[0] > 20 * deltas[1]


def test_log_hazard_and_points_at_once() -> None:
    network = make_network("marker", n_outputs=1)
    class_idx = np.zeros(4, dtype=np.int64)
    whole = integrated_gradients(network, tokens(), TASK, class_idx, "mean", 8, points_at_once=8)
    pieces = integrated_gradients(network, tokens(), TASK, class_idx, "mean", 8, points_at_once=3)
    assert_allclose(pieces.values, whole.values, rtol=1e-4, atol=1e-6)
    again = integrated_gradients(network, tokens(), TASK, class_idx, "mean", 8, points_at_once=8)
    np.testing.assert_array_equal(again.values, whole.values)


def test_the_network_is_left_as_it_was() -> None:
    network = make_network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ids = tokens()
    integrated_gradients(network, ids, TASK, np.zeros(4, dtype=np.int64), "zero", 2)
    assert network.training and all(parameter.requires_grad for parameter in network.parameters())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    np.testing.assert_array_equal(ids, tokens())


def test_a_sample_at_the_baseline_has_nothing_to_explain() -> None:
    network = make_network()
    ids = baseline_tokens("mean", network).numpy().astype(np.uint8)
    found = integrated_gradients(network, ids, TASK, np.zeros(1, dtype=np.int64), "mean", 4)
    assert_allclose(found.values, 0, atol=1e-7)


def test_baselines() -> None:
    network = make_network()
    encoder = network.encoder
    encoder.set_bin_statistics(torch.full((N_GENES,), 7.6), torch.ones(N_GENES))
    assert baseline_tokens("mean", network).unique().tolist() == [8]
    assert baseline_tokens("zero", network).unique().tolist() == [0]
    assert baseline_tokens("mask", network).unique().tolist() == [65]
    assert resolve_baseline(None, encoder) == "mean"
    imported = BulkRNABert(CONFIG.model_copy(update={"has_bin_statistics": False}))
    assert resolve_baseline(None, imported) == "mask"
    with pytest.raises(ConfigError, match="needs an encoder that keeps each gene's mean bin"):
        resolve_baseline("mean", imported)


def test_memory_decides_how_many_points_go_together() -> None:
    encoder = make_network().encoder
    assert choose_points(encoder, 32) == 32
    with torch.device("meta"):
        large = BulkRNABert(CONFIG.model_copy(update={"n_genes": 19_062, "embed_dim": 256, "n_layers": 4}))
    assert choose_points(large, 32) == 1


def train(labels: np.ndarray, ids: np.ndarray) -> FinetunedNetwork:
    network = make_network(n_outputs=2, hidden=(), seed=3)
    network.encoder.set_bin_statistics(torch.full((N_GENES,), 30.0), torch.ones(N_GENES))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    inputs, targets = torch.from_numpy(ids), torch.from_numpy(labels)
    for _ in range(120):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs)[TASK], targets).backward()
        optimizer.step()
    return network


@pytest.mark.parametrize("is_shuffled", [False, True])
def test_a_planted_gene_comes_first_and_shuffled_labels_find_none(is_shuffled: bool) -> None:
    planted = 7
    rng = np.random.default_rng(5)
    ids = rng.choice(np.array([10, 50], dtype=np.uint8), (160, N_GENES))
    labels = (ids[:, planted] == 50).astype(np.int64)
    if is_shuffled:
        labels = rng.permutation(labels)
    network = train(labels, ids)
    test_ids = rng.choice(np.array([10, 50], dtype=np.uint8), (24, N_GENES))
    predicted = network.eval()(torch.from_numpy(test_ids))[TASK].argmax(dim=1).numpy()
    found = integrated_gradients(network, test_ids, TASK, predicted, "mean", 16)
    summary = summarise_group("all", [found.values], top=3)
    ratio = summary.mean_abs[planted] / np.delete(summary.mean_abs, planted).max()
    assert (summary.rank[planted] == 1 and ratio > 2) != is_shuffled


# Members, samples, genes: the first gene leads in both, the second and third change places.
FIRST = np.array([[3.0, -1.0, 0.5], [5.0, -1.0, 0.5]])
SECOND = np.array([[2.0, 0.5, 2.0], [2.0, 0.5, -1.0]])


def test_summary_by_hand() -> None:
    summary = summarise_group("A", [FIRST, SECOND], top=2)
    assert (summary.n_samples, summary.n_members) == (2, 2)
    assert_allclose(summary.mean, [3.0, -0.25, 0.5])
    assert_allclose(summary.mean_abs, [3.0, 0.75, 1.0])
    # Members' means are (2.5, 3.5), (-0.25, -0.25), (1.25, -0.25).
    assert_allclose(summary.deviation, [2**-0.5, 0.0, 1.5 * 2**-0.5])
    assert summary.rank.tolist() == [1, 3, 2]
    assert summary.stability is not None
    assert_allclose(summary.stability, [1.0, 0.5, 0.5])
    assert summary.top_overlap == pytest.approx(0.5)
    assert summary.rank_correlation == pytest.approx(spearmanr([4, 1, 0.5], [2, 0.5, 1.5]).statistic)
    assert summary.top(2).tolist() == [0, 2]


def test_what_cannot_be_estimated_is_empty() -> None:
    single = summarise_group("A", [FIRST[:1]], top=2)
    assert single.stability is None and single.rank_correlation is None and np.isnan(single.deviation).all()
    constant = summarise_group("A", [FIRST, np.ones_like(FIRST)], top=2)
    assert constant.rank_correlation is None and constant.top_overlap == pytest.approx(1.0)


def test_table_is_in_the_order_of_ranks() -> None:
    genes = GeneVocabulary(("ENSG01", "ENSG02", "ENSG03"), ("A1", "B2", ""), ("", "", ""))
    groups = [summarise_group("X", [FIRST, SECOND], 2), summarise_group("X", [FIRST], 2, layer=4)]
    table = gene_table(groups, genes)
    assert table["gene_id"].tolist() == ["ENSG01", "ENSG03", "ENSG02", "ENSG01", "ENSG02", "ENSG03"]
    assert table["symbol"].tolist()[:3] == ["A1", "", "B2"]
    assert table["layer"].tolist() == [""] * 3 + ["4"] * 3
    assert table["rank"].tolist() == [1, 2, 3] * 2
    assert table["stability"].isna().tolist() == [False] * 3 + [True] * 3
