"""The objective by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bulkrnabert.data.masking import IGNORED
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.train.losses import MaskedLanguageModel, average_ranks, spearman

CONFIG = BulkRNABertConfig(n_genes=6, embed_dim=8, init_gene_embed_dim=4, n_heads=2, ffn_embed_dim=8, n_layers=1)


@pytest.fixture
def objective() -> MaskedLanguageModel:
    return MaskedLanguageModel(BulkRNABert(CONFIG, torch.Generator().manual_seed(0)))


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    inputs = torch.randint(0, 64, (2, 6), generator=torch.Generator().manual_seed(1))
    return inputs, torch.tensor([[0, 3], [1, 5]]), torch.tensor([[4, 9], [0, 63]])


def test_loss_is_the_cross_entropy_of_the_masked_positions(objective: MaskedLanguageModel) -> None:
    inputs, masked_idx, targets = batch()
    logits = objective.network(inputs).logits.detach().log_softmax(dim=-1)
    expected = -sum(
        logits[row, int(masked_idx[row, column]), int(targets[row, column])] for row in (0, 1) for column in (0, 1)
    )
    found = objective(inputs, masked_idx, targets, None)
    assert float(found.loss.detach()) == pytest.approx(float(expected) / 4, rel=1e-5)
    assert int(found.sums["n_targets"]) == 4


def test_a_fresh_model_is_near_chance(objective: MaskedLanguageModel) -> None:
    assert float(objective(*batch(), None).loss.detach()) == pytest.approx(math.log(64), abs=0.3)


def test_ignored_targets_add_nothing_and_the_divisor_stays(objective: MaskedLanguageModel) -> None:
    inputs, masked_idx, targets = batch()
    losses = []
    for column in (0, 1):
        one = torch.full_like(targets, IGNORED)
        one[:, column] = targets[:, column]
        losses.append(objective(inputs, masked_idx, one, None))
    whole = objective(inputs, masked_idx, targets, None)
    assert float((losses[0].loss + losses[1].loss).detach()) == pytest.approx(float(whole.loss.detach()), rel=1e-5)
    assert int(losses[0].sums["n_targets"]) == 2


def test_average_ranks_share_ties() -> None:
    assert list(average_ranks(np.array([5, 0, 5, 2]), 64)) == [3.5, 1.0, 3.5, 2.0]


def test_spearman_by_hand() -> None:
    up = np.array([0, 1, 2, 3])
    assert spearman(up, up * 2, 64) == pytest.approx(1.0)
    assert spearman(up, 3 - up, 64) == pytest.approx(-1.0)
    assert spearman(up, np.array([0, 2, 1, 3]), 64) == pytest.approx(0.8)  # 1 - 6 x 2 / (4 x 15)


def test_spearman_of_a_constant_is_not_estimable() -> None:
    assert spearman(np.array([1, 2]), np.array([3, 3]), 64) is None
