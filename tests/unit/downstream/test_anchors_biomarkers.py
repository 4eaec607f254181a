"""Prognostic anchors and biomarkers, by hand and against other implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind

from bulkrnabert.downstream.anchors import choose_anchors, cox_score_statistics
from bulkrnabert.downstream.biomarkers import (
    attention_by_class,
    attention_to_genes,
    differential_expression,
    sample_rows,
    spearman,
    top_overlap,
)
from bulkrnabert.downstream.survival import SurvivalLabels
from bulkrnabert.models.gexbert import GexBERT, GexBERTConfig
from bulkrnabert.train.losses_survival import build_risk_sets, cox_loss

NAN = np.nan


def labels_of(time: list[float], event: list[int], strata: list[int] | None = None) -> SurvivalLabels:
    return SurvivalLabels(np.array(time, float), np.array(event), np.array(strata or [0] * len(time)))


def test_score_of_three_patients() -> None:
    # First event: mean of (1, 0, 2) is 1, variance 2/3; second: mean of (0, 2) is 1, variance 1. Slope (1-1) + (0-1).
    found = cox_score_statistics(np.array([[1.0], [0.0], [2.0]]), labels_of([1, 2, 3], [1, 1, 0]))
    assert found == pytest.approx([-1 / np.sqrt(2 / 3 + 1)])


def test_score_is_the_slope_of_the_partial_likelihood() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 6))
    labels = SurvivalLabels(rng.permutation(40) + 1.0, rng.integers(0, 2, 40), rng.integers(0, 3, 40))
    risk_sets = build_risk_sets(labels.time_days, labels.event, labels.strata)
    found = cox_score_statistics(values, labels)
    for gene in range(6):
        slope = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        loss = cox_loss(torch.from_numpy(values[:, gene]) * slope, risk_sets) * risk_sets.n_events
        (gradient,) = torch.autograd.grad(loss, slope, create_graph=True)
        (curvature,) = torch.autograd.grad(gradient, slope)
        assert found[gene] == pytest.approx(-gradient.item() / np.sqrt(curvature.item()))


def test_strata_are_not_compared_and_constants_say_nothing() -> None:
    # The gene is the stratum: within each nothing varies.
    strata = [0, 0, 0, 1, 1, 1]
    values = np.array([[0.0, 3.0]] * 3 + [[9.0, 3.0]] * 3)
    labels = labels_of([1, 2, 3, 10, 20, 30], [1] * 6, strata)
    assert cox_score_statistics(values, labels).tolist() == [0.0, 0.0]
    together = labels_of([1, 2, 3, 10, 20, 30], [1] * 6)
    assert cox_score_statistics(values, together)[0] < -1


def test_tied_events_share_a_risk_set() -> None:
    # Two events at the same time: both against the mean of all three.
    found = cox_score_statistics(np.array([[1.0], [2.0], [6.0]]), labels_of([5, 5, 9], [1, 1, 0]))
    variance = 2 * ((1 - 3) ** 2 + (2 - 3) ** 2 + (6 - 3) ** 2) / 3
    assert found == pytest.approx([((1 - 3) + (2 - 3)) / np.sqrt(variance)])


def test_anchors_are_outside_the_panel() -> None:
    statistics = np.array([5.0, -4.0, 3.0, 0.5])
    assert choose_anchors(statistics, np.array([0]), 2).tolist() == [1, 2]
    assert choose_anchors(statistics, np.array([0]), 9).tolist() == [1, 2, 3]
    assert statistics.tolist() == [5.0, -4.0, 3.0, 0.5]


def test_excess_rank_and_stability_by_hand() -> None:
    # Class a looks at gene 0, class b at gene 1 in both members; gene 2 and 3 swap places in class a.
    labels = np.array(["a", "b"])
    one = np.array([[3.0, 1.0, 0.5, 0.1], [1.0, 2.0, 0.0, 0.0]])
    two = np.array([[3.0, 1.0, 0.1, 0.5], [1.0, 2.0, 0.0, 0.0]])
    found = attention_by_class([one, two], [labels, labels], 2)
    assert found.classes == ("a", "b")
    assert found.attention[0] == pytest.approx([3.0, 1.0, 0.3, 0.3])
    assert found.excess[0] == pytest.approx([2.0, -1.0, 0.3, 0.3])
    assert found.rank[0].tolist() == [1, 4, 2, 3]
    assert found.stability is not None
    assert found.stability[0].tolist() == [1.0, 0.0, 0.5, 0.5]
    assert found.top_overlap is not None
    assert found.top_overlap[0] == 0.5
    assert found.rank_correlation is not None
    assert found.rank_correlation[0] == pytest.approx(spearman(one[0] - one[1], two[0] - two[1]))
    alone = attention_by_class([one], [labels], 2)
    assert alone.stability is None
    assert alone.rank_correlation is None


def test_unknown_genes_are_left_out_of_a_class_mean() -> None:
    values = np.array([[3.0, NAN], [1.0, NAN], [1.0, 1.0]])
    found = attention_by_class([values], [np.array(["a", "a", "b"])], 1)
    assert found.attention.tolist() == [[2.0, 1.0], [1.0, 1.0]]


def test_overlap() -> None:
    assert top_overlap(np.array([3.0, 2, 1, 0]), np.array([3.0, 0, 2, 1]), 2) == 0.5
    assert np.isnan(spearman(np.ones(3), np.arange(3.0)))


def test_welch() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 4))
    values[:10, 1] += 2
    values[:, 3] = 1.0
    values[4, 0] = NAN
    is_class = np.arange(30) < 10
    found = differential_expression(values, is_class)
    expected = ttest_ind(values[:10, :3], values[10:, :3], equal_var=False, nan_policy="omit")
    assert found.t[:3] == pytest.approx(np.asarray(expected.statistic))
    assert found.t[3] == 0.0
    assert found.q[1] < 0.01 < found.q[2]
    assert found.difference[1] == pytest.approx(values[:10, 1].mean() - values[10:, 1].mean())


def test_rows_of_each_class() -> None:
    labels = np.array(["a"] * 10 + ["b"] * 2)
    rows = sample_rows(labels, 3, np.random.default_rng(0))
    assert (labels[rows] == "a").sum() == 3
    assert rows[-2:].tolist() == [10, 11]


@pytest.mark.parametrize("n_inputs", [8, 3])
def test_attention_is_a_share_of_the_genes_that_are_read(n_inputs: int) -> None:
    config = GexBERTConfig(n_genes=8, embed_dim=8, n_heads=2, ffn_embed_dim=8, n_layers=1, summary_ffn_dim=8)
    network = GexBERT(config, torch.Generator().manual_seed(0))
    values = np.random.default_rng(0).normal(size=(2, 8))
    values[1, 5] = NAN
    targets = np.arange(8)
    found = attention_to_genes(network, values, targets, n_inputs, np.random.default_rng(1))
    assert np.isnan(found[1, 5])
    assert np.isnan(found).sum() == 1
    # The genes of one input have shares whose mean is 1 where every target is outside it.
    outside = attention_to_genes(network, values, np.array([5]), n_inputs, np.random.default_rng(1))
    assert np.nanmean(outside[1]) == pytest.approx(1.0)
    if n_inputs == 8:
        ids = network.bins_of(torch.from_numpy(values[:1]))
        weights = network.attention_to_inputs(ids, None, torch.arange(8))[0].detach().double().numpy()
        np.fill_diagonal(weights, 0.0)
        expected = (weights / weights.sum(axis=1, keepdims=True)).sum(axis=0) / 7 * 8
        assert found[0] == pytest.approx(expected, abs=1e-5)
