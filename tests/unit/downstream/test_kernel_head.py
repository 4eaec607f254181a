"""The kernel head: features near a Gaussian kernel, the ridge solution, and a head that starts as it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.kernel_ridge import KernelRidge as ExactRidge
from torch.testing import assert_close

from bulkrnabert.downstream.kernel_head import RIDGE_STRENGTHS, SCALES, fit_kernel_ridge
from bulkrnabert.errors import ConfigError
from bulkrnabert.keys import MASK_ID
from bulkrnabert.models.adapters import AdapterConfig
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.finetuned import FinetunedConfig, FinetunedNetwork, embedding_width
from bulkrnabert.models.gexbert import GexBERT, GexBERTConfig
from bulkrnabert.models.heads import FourierFeatures, HeadConfig, MLPHead
from bulkrnabert.train.finetune import FinetuneConfig

PANEL = (5, 1, 4)


def gexbert() -> GexBERT:
    config = GexBERTConfig(n_genes=8, embed_dim=8, n_heads=2, ffn_embed_dim=8, n_layers=1, summary_ffn_dim=8)
    return GexBERT(config, torch.Generator().manual_seed(0)).eval()


def on_panel(encoder: GexBERT) -> FinetunedNetwork:
    width = embedding_width(encoder, "values", PANEL)
    head = HeadConfig(n_inputs=width, n_outputs=2, hidden=(), kernel_features=6)
    config = FinetunedConfig(
        adapter=AdapterConfig(kind="none"), pooling="values", gene_idx=PANEL, heads={"cancer_type": head}
    )
    return FinetunedNetwork(encoder, config).eval()


def test_products_are_near_the_kernel() -> None:
    torch.manual_seed(0)
    features = FourierFeatures(4, 4000)
    x, y = torch.randn(5, 4), torch.randn(3, 4)
    expected = torch.exp(-torch.cdist(x, y).square() / 4)
    assert_close(features(x) @ features(y).T, expected, atol=0.03, rtol=0)
    assert_close((features(x) ** 2).sum(dim=1), torch.ones(5), msg="of a point and itself: 1")
    assert not list(features.parameters())


def test_an_odd_number_of_features_is_rounded_up() -> None:
    assert FourierFeatures(3, 5)(torch.zeros(2, 3)).shape == (2, 6)


@pytest.mark.parametrize("n_features", [6, 60])
def test_ridge_is_that_of_scikit_learn(n_features: int) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, n_features))
    classes = (features[:, 0] > 0).astype(np.int64) + (features[:, 1] > 0)
    before = features.copy()
    found = fit_kernel_ridge(features, classes, 4, seed=0)
    assert found.strength in RIDGE_STRENGTHS
    assert found.scale in SCALES
    exact = ExactRidge(alpha=found.strength).fit(features, np.eye(4)[classes])
    np.testing.assert_allclose(features @ found.weight.T, found.scale * exact.predict(features), atol=1e-9)
    assert not found.weight[3].any(), "a class without samples"
    assert (features == before).all()


def test_a_circle_is_told_from_its_middle() -> None:
    """What no linear head can do."""
    torch.manual_seed(0)
    points = torch.randn(300, 2)
    classes = (points.norm(dim=1) > 1).long().numpy()
    head = MLPHead(HeadConfig(n_inputs=2, n_outputs=2, hidden=(), kernel_features=200))
    fitted = fit_kernel_ridge(head.layers[:-1](points).numpy(), classes, 2, seed=0)
    with torch.no_grad():
        output = head.layers[-1]
        assert isinstance(output, torch.nn.Linear)
        output.weight.copy_(torch.from_numpy(fitted.weight))
        assert (head(points).argmax(dim=1).numpy() == classes).mean() > 0.95


@torch.no_grad()
def test_the_panel_is_read_as_it_is_and_restored_where_it_is_missing() -> None:
    encoder = gexbert()
    network = on_panel(encoder)
    ids = torch.tensor([[0, 31, 63], [10, MASK_ID, 20]])
    found = network.pooled(ids)
    width = 10 / 64
    assert_close(found[0], torch.tensor([0.5, 31.5, 63.5]) * width - 5)
    assert_close(found[1, [0, 2]], torch.tensor([10.5, 20.5]) * width - 5)
    restored = encoder.restore(ids[1:], torch.tensor(PANEL), torch.tensor([PANEL[1]])).mean
    assert_close(found[1, 1], restored[0, 0])
    assert_close(network.pooled(ids[1:, [0, 2]], torch.tensor([0, 2])), found[1:], msg="a gene that is not fed")
    assert network(ids)["cancer_type"].shape == (2, 2)


def test_frequencies_travel_with_the_head() -> None:
    one, other = on_panel(gexbert()), on_panel(gexbert())
    ids = torch.tensor([[3, 50, 9]])
    torch.nn.init.normal_(one.linear_output("cancer_type").weight)
    other.load_own_tensors(one.own_tensors(), "x")
    assert_close(other(ids), one(ids))


def test_refusals() -> None:
    with pytest.raises(ValidationError, match="in place of hidden layers"):
        HeadConfig(n_inputs=2, n_outputs=2, hidden=(4,), kernel_features=4)
    with pytest.raises(ValidationError, match="set adapter to none"):
        FinetuneConfig(pooling="values")
    with pytest.raises(ValidationError, match="set head_hidden to"):
        FinetuneConfig(head_kernel=8, head_hidden=(4,))
    encoder = BulkRNABert(
        BulkRNABertConfig(n_genes=4, embed_dim=8, init_gene_embed_dim=4, n_heads=2, ffn_embed_dim=8, n_layers=1)
    )
    head = HeadConfig(n_inputs=4, n_outputs=2, hidden=())
    with pytest.raises(ConfigError, match="values is for gexbert, which restores genes, not BulkRNABert"):
        FinetunedNetwork(
            encoder, FinetunedConfig(adapter=AdapterConfig(kind="none"), pooling="values", heads={"cancer_type": head})
        )
