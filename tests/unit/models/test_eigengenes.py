"""Eigengene pooling: the scores are those of a principal component analysis, and of the right genes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bulkrnabert.data.coexpression import bin_statistics, eigengenes
from bulkrnabert.errors import ConfigError
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.train.data_statistics import start_statistics

N_GENES = 6


def make_tokens(n: int = 40) -> np.ndarray:
    """Genes 0 and 1 go together, gene 2 against them, gene 3 never changes, the others are noise."""
    rng = np.random.default_rng(0)
    factor = rng.normal(size=n)
    columns = [30 + 8 * factor, 20 + 6 * factor, 40 - 7 * factor, np.full(n, 9.0), *(10 + rng.normal(size=(2, n)))]
    return np.clip(np.rint(np.stack(columns, axis=1)), 0, 63).astype(np.uint8)


def make_network(n_eigengenes: int = 3) -> BulkRNABert:
    sizes = {
        "n_genes": N_GENES,
        "embed_dim": 8,
        "init_gene_embed_dim": 4,
        "n_heads": 2,
        "ffn_embed_dim": 8,
        "n_layers": 1,
    }
    config = BulkRNABertConfig.model_validate({**sizes, "has_bin_statistics": True, "n_eigengenes": n_eigengenes})
    return BulkRNABert(config, torch.Generator().manual_seed(0)).eval()


def test_loadings_are_principal_axes() -> None:
    tokens = make_tokens()
    statistics = bin_statistics(tokens, 64)
    found = eigengenes(tokens, statistics, 64, 3, np.random.default_rng(0))
    scaled = (tokens - statistics.mean) / np.where(statistics.deviation > 0, statistics.deviation, 1)
    _, _, axes = np.linalg.svd(scaled, full_matrices=False)
    np.testing.assert_allclose(np.abs(found.T @ axes[:3].T), np.eye(3), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), 1.0, atol=1e-5)
    assert np.sign(found[0, 0]) == np.sign(found[1, 0]) == -np.sign(found[2, 0])
    assert (found[3] == 0).all()
    assert found.shape == (N_GENES, 3) and found.dtype == np.float32


def test_directions_that_the_samples_do_not_span_are_zero() -> None:
    tokens = make_tokens(3)
    found = eigengenes(tokens, bin_statistics(tokens, 64), 64, 5, np.random.default_rng(0))
    assert (found[:, 2:] == 0).all() and (found[:, :2] != 0).any(axis=0).all()


def test_scores_stand_at_the_end_of_the_embedding() -> None:
    tokens, network = make_tokens(), make_network()
    statistics = start_statistics(network, tokens, 0)
    ids = torch.from_numpy(tokens[:4].astype(np.int64))
    pooled = network.sample_embedding(ids, pooling="eigengene")
    assert pooled.shape == (4, network.embedding_width("eigengene")) == (4, 2 * 8 + 3)
    np.testing.assert_array_equal(pooled[:, :16].detach(), network.sample_embedding(ids, pooling="marker").detach())
    scaled = (tokens[:4] - statistics.mean) / np.where(statistics.deviation > 0, statistics.deviation, 1)
    expected = scaled @ network.get_buffer("eigengenes").numpy()
    np.testing.assert_allclose(pooled[:, 16:].detach(), expected, atol=1e-4)


def test_a_missing_gene_counts_as_its_usual_bin_and_a_subset_is_scaled_up() -> None:
    network = make_network()
    start_statistics(network, make_tokens(), 0)
    ids = torch.from_numpy(make_tokens()[:2].astype(np.int64))
    missing = ids.clone()
    missing[:, 1] = 65
    z = network.standardised_bins(missing)
    assert (z[:, 1] == 0).all() and (z[:, 3] == 0).all() and (z[:, 0] != 0).all()
    genes = torch.tensor([4, 0])
    loadings = network.get_buffer("eigengenes")[genes] * 3
    expected = network.standardised_bins(ids)[:, genes] @ loadings
    torch.testing.assert_close(network.eigengene_scores(ids[:, genes], genes), expected)


def test_a_model_without_eigengenes_says_so() -> None:
    network = make_network(0)
    with pytest.raises(ConfigError, match="keeps no eigengenes"):
        network.sample_embedding(torch.zeros(1, N_GENES, dtype=torch.long), pooling="eigengene")
