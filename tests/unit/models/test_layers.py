from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from bulkrnabert.models import layers
from bulkrnabert.models.layers import (
    SelfAttention,
    TransformerBlock,
    attention_received,
    attention_weights,
    initialise_linear,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_attention_weights_by_hand() -> None:
    query = torch.tensor([[[[1.0, 0.0]]]])
    key = torch.tensor([[[[math.sqrt(2) * math.log(3.0), 5.0], [0.0, -7.0]]]])
    assert_close(attention_weights(query, key), torch.tensor([[[[0.75, 0.25]]]]))


@pytest.mark.parametrize("chunk", [1, 3, 10, 64])
def test_chunked_weights_equal_direct(chunk: int) -> None:
    query, key = random(2, 3, 10, 4), random(2, 3, 10, 4, seed=1)
    direct = (query @ key.transpose(-1, -2) / 2.0).softmax(dim=-1)
    assert_close(attention_weights(query, key, chunk=chunk), direct)


def test_masked_keys_get_no_weight() -> None:
    mask = torch.tensor([[True, False, True, True]])
    weights = attention_weights(random(1, 2, 4, 3), random(1, 2, 4, 3, seed=1), mask, chunk=3)
    assert (weights[..., 1] == 0).all()
    assert_close(weights.sum(-1), torch.ones(1, 2, 4))


@pytest.mark.parametrize("mask", [None, torch.tensor([[True, True, False, True, True]])])
def test_weights_times_values_is_what_attention_returns(mask: torch.Tensor | None) -> None:
    attention = SelfAttention(embed_dim=6, n_heads=3, key_size=4)
    x = random(1, 5, 6)
    value = attention.value(x).view(1, 5, 3, 4).transpose(1, 2)
    mixed = (attention.weights(x, mask) @ value).transpose(1, 2).reshape(1, 5, 12)
    assert_close(attention(x, mask), attention.output(mixed))


@pytest.mark.parametrize("scores_at_once", [1, 90, 2**24])
@pytest.mark.parametrize("mask", [None, torch.tensor([[True] * 7 + [False] * 3, [True] * 10])])
def test_attention_received_is_the_mean_of_the_weights(
    monkeypatch: pytest.MonkeyPatch, scores_at_once: int, mask: torch.Tensor | None
) -> None:
    monkeypatch.setattr(layers, "SCORES_AT_ONCE", scores_at_once)
    query, key = random(2, 3, 10, 4), random(2, 3, 10, 4, seed=1)
    received = attention_received(query, key, mask)
    assert_close(received, attention_weights(query, key, mask).mean(dim=(1, 2)))
    assert_close(received.sum(dim=1), torch.ones(2))


def test_a_block_asked_for_few_genes_gives_them_as_the_whole_does() -> None:
    block = TransformerBlock(embed_dim=6, n_heads=3, key_size=4, ffn_embed_dim=8, dropout=0.0)
    x, chosen = random(2, 5, 6), torch.tensor([[4, 0], [2, 2]])
    whole = block(x)
    assert_close(block(x, None, chosen), torch.stack([whole[0, [4, 0]], whole[1, [2, 2]]]))


def test_piecewise_feed_forward_changes_neither_output_nor_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    block = TransformerBlock(embed_dim=6, n_heads=3, key_size=4, ffn_embed_dim=8, dropout=0.0)
    found = []
    for threshold in (100, 10):
        monkeypatch.setattr(layers, "PIECEWISE_FROM_GENES", threshold)
        monkeypatch.setattr(layers, "GENES_A_PIECE", 4)
        x = random(2, 10, 6).requires_grad_()
        block.zero_grad()
        output = block(x)
        output.square().sum().backward()
        assert_close(block.eval()(x.detach()), output)
        found.append([output, x.grad, *(parameter.grad.clone() for parameter in block.parameters())])
    for whole, pieces in zip(*found, strict=True):
        assert_close(pieces, whole)


def test_initialise_linear_has_the_documented_deviation() -> None:
    layer = nn.Linear(400, 300)
    initialise_linear(layer, torch.Generator().manual_seed(0), scale=0.5)
    # A normal cut at two deviations keeps 0.88 of its deviation.
    assert layer.weight.std().item() == pytest.approx(0.88 * 0.5 / 20, rel=0.02)
    assert (layer.bias == 0).all()
