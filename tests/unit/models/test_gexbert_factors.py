"""The linear factors of GexBERT: closed form by hand, what they may not depend on, and how answers start from them."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from bulkrnabert.keys import MASK_ID, PAD_ID
from bulkrnabert.models.gexbert import GexBERT, GexBERTConfig
from bulkrnabert.models.gexbert_factors import LinearFactors

N_GENES, N_FACTORS = 12, 3
KNOWN = torch.tensor([3, 0, 7, 5])
TARGETS = torch.tensor([1, 2, 9])


def make_model(**changes: object) -> GexBERT:
    sizes = {"n_genes": N_GENES, "embed_dim": 16, "n_heads": 2, "ffn_embed_dim": 32, "n_layers": 1}
    sizes |= {"summary_dim": 24, "summary_ffn_dim": 32, "n_factors": N_FACTORS, "n_prototypes": 2}
    model = GexBERT(GexBERTConfig.model_validate({**sizes, **changes}), torch.Generator().manual_seed(0)).eval()
    generator = torch.Generator().manual_seed(1)
    assert model.factors is not None
    loading, noise = torch.randn(N_GENES, N_FACTORS, generator=generator), torch.rand(N_GENES, generator=generator)
    model.factors.set(
        0.5 * loading, 0.1 + 0.2 * noise, torch.randn(N_GENES, model.config.n_prototypes, generator=generator)
    )
    return model


def trained(model: GexBERT) -> GexBERT:
    """As if it had been trained: readouts that are not zero."""
    assert model.summary_readout is not None
    for table in (model.readout, model.summary_readout):
        torch.nn.init.normal_(table.weight, std=0.3, generator=torch.Generator().manual_seed(2))
    return model


@pytest.fixture
def ids() -> torch.Tensor:
    """Three samples, four known genes each."""
    return torch.randint(0, 64, (3, 4), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_one_factor_by_hand() -> None:
    """Loadings 1, 2 and 1, noise 1, 0.5 and 2; genes 0 and 1 known as 3 and 1."""
    factors = LinearFactors(3, 1)
    factors.set(torch.tensor([[1.0], [2.0], [1.0]]), torch.tensor([1.0, 0.5, 2.0]), torch.zeros(3, 0))
    scores = factors.scores(torch.tensor([[3.0, 1.0]]), torch.ones(1, 2, dtype=torch.bool), torch.tensor([0, 1]))
    # Precision 1 + 1/1 + 4/0.5 = 10; mean (1*3/1 + 2*1/0.5) / 10 = 0.7.
    assert_close(scores.root, torch.tensor([[[math.sqrt(10.0)]]]))
    assert_close(scores.mean, torch.tensor([[0.7]]))
    mean, variance = factors.predict(scores, torch.tensor([2, 1]))
    assert_close(mean, torch.tensor([[0.7, 1.4]]))
    assert_close(variance, torch.tensor([[2 + 1 / 10, 0.5 + 4 / 10]]))


@torch.no_grad()
def test_nearness_by_hand() -> None:
    """Prototypes (0, 2) and (1, 0), genes known as 1 and 1: squared distances 2 and 1; without gene 1, 1 and 0."""
    factors = LinearFactors(2, 1, 2)
    assert factors.log_sharpness is not None
    factors.log_sharpness.weight.zero_()
    factors.set(torch.zeros(2, 1), torch.ones(2), torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
    values, genes = torch.tensor([[1.0, 1.0]]), torch.tensor([0, 1])
    both = factors.scores(values, torch.tensor([[True, True]]), genes).nearness
    first = factors.scores(values, torch.tensor([[True, False]]), genes).nearness
    share = 1 / (1 + math.exp(-0.5))
    assert_close(both, torch.tensor([[1 - share, share]]))
    assert_close(first, torch.tensor([[1 - share, share]]))
    factors.log_sharpness.weight += math.log(2.0)
    share = 1 / (1 + math.exp(-1.0))
    assert_close(factors.scores(values, torch.tensor([[True, True]]), genes).nearness[0, 1], torch.tensor(share))
    none = factors.scores(values, torch.tensor([[False, False]]), genes)
    assert_close(none.nearness, torch.full((1, 2), 0.5))
    assert_close(none.features(), torch.tensor([[0.0, 5.0, 5.0]]))


@torch.no_grad()
def test_they_are_the_conditional_normal_distribution(ids: torch.Tensor) -> None:
    model = make_model()
    assert model.factors is not None
    loading, noise = model.factors.get_buffer("loading").double(), model.factors.get_buffer("noise").double()
    covariance = loading @ loading.T + noise.diag()
    weights = torch.linalg.solve(covariance[KNOWN][:, KNOWN], covariance[KNOWN][:, TARGETS])
    centres = (ids.double() + 0.5) * 10 / 64 - 5
    variance = covariance.diag()[TARGETS] - (covariance[KNOWN][:, TARGETS] * weights).sum(dim=0)
    restored = model.restore(ids, KNOWN, TARGETS)
    assert_close(restored.mean, (centres @ weights).float(), atol=1e-4, rtol=1e-4)
    assert_close(restored.deviation, variance.sqrt().float().expand(3, -1), atol=1e-4, rtol=1e-4)
    over_bins = make_model(head="bins").restore(ids, KNOWN, TARGETS)
    inside = restored.mean.abs() + 3 * restored.deviation < 5
    assert bool(inside.any())
    assert_close(over_bins.mean[inside], restored.mean[inside], atol=0.05, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("special", [MASK_ID, PAD_ID])
def test_what_is_not_known_says_nothing(ids: torch.Tensor, special: int) -> None:
    model = make_model()
    more = torch.cat([ids, torch.full((3, 2), special)], dim=1)
    expected = model.factor_scores(ids, KNOWN)
    assert expected is not None
    for genes in ([8, 10], [11, 4]):
        found = model.factor_scores(more, torch.cat([KNOWN, torch.tensor(genes)]))
        assert found is not None
        assert_close(found.mean, expected.mean)
        assert_close(found.root, expected.root)
        assert_close(found.nearness, expected.nearness)
    shown = torch.cat([ids, torch.full((3, 2), 40)], dim=1)
    known = model.factor_scores(shown, torch.cat([KNOWN, torch.tensor([8, 10])]))
    assert known is not None
    assert not torch.allclose(known.mean, expected.mean, atol=1e-3), "but a value does"


@torch.no_grad()
def test_order_other_targets_and_genes_of_each_sample(ids: torch.Tensor) -> None:
    model = trained(make_model())
    expected = model.restore(ids, KNOWN, TARGETS)
    order = torch.tensor([2, 0, 3, 1])
    assert_close(model.restore(ids[:, order], KNOWN[order], TARGETS).mean, expected.mean)
    assert_close(model.restore(ids, KNOWN, TARGETS[1:2]).mean, expected.mean[:, 1:2])
    apart = model.restore(ids, KNOWN.expand(3, -1), TARGETS.expand(3, -1))
    assert_close(apart.mean, expected.mean)
    assert_close(apart.deviation, expected.deviation)
    assert not torch.allclose(make_model().restore(ids, KNOWN, TARGETS).mean, expected.mean), "the rest says something"


@torch.no_grad()
def test_more_genes_may_be_known_than_are_read(ids: torch.Tensor) -> None:
    model = trained(make_model())
    all_known = model.factor_scores(ids, KNOWN)
    one = model.restore(ids[:, :2], KNOWN[:2], TARGETS)
    more = model.restore(ids[:, :2], KNOWN[:2], TARGETS, all_known)
    assert not torch.allclose(one.mean, more.mean, atol=1e-3)
    assert bool((more.deviation < one.deviation).any())
    untrained = make_model()
    factors = untrained.factor_scores(ids, KNOWN)
    assert_close(
        untrained.restore(ids[:, :2], KNOWN[:2], TARGETS, factors).mean, untrained.restore(ids, KNOWN, TARGETS).mean
    )
    assert make_model_without().factor_scores(ids, KNOWN) is None


def make_model_without() -> GexBERT:
    config = make_model().config.model_copy(update={"n_factors": 0, "n_prototypes": 0})
    return GexBERT(config, torch.Generator().manual_seed(0)).eval()


def test_gradients_reach_the_values_but_no_loading(ids: torch.Tensor) -> None:
    model = trained(make_model())
    expression = model.expression(ids, KNOWN).detach().requires_grad_()
    restored = model.restore_expression(expression, KNOWN, TARGETS, ids)
    assert_close(restored.mean, model.restore(ids, KNOWN, TARGETS).mean, atol=1e-4, rtol=1e-4)
    restored.mean[0, 0].backward()
    assert expression.grad is not None
    assert float(expression.grad[0].abs().min()) > 0
    trained_names = [name for name, _ in model.named_parameters() if name.startswith("factors")]
    assert trained_names == ["factors.log_sharpness.weight"], "nothing fitted beforehand is"


def test_the_rest_learns_from_the_first_step(ids: torch.Tensor) -> None:
    model = make_model().train()
    model.restore(ids, KNOWN, TARGETS).mean.sum().backward()
    assert model.summary_readout is not None
    for table in (model.readout, model.summary_readout):
        assert table.weight.grad is not None
        assert float(table.weight.grad[TARGETS].abs().max()) > 0


def test_values_must_be_readable_off_their_embedding() -> None:
    with pytest.raises(ValidationError, match="n_factors 3 needs value_embedding `linear`, not `bins`"):
        make_model(value_embedding="bins")
    with pytest.raises(ValidationError, match="n_prototypes 2 without n_factors"):
        make_model(n_factors=0)
