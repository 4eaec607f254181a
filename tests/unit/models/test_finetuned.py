"""Adapters start at the identity, are as small as published, and pooling and heads stand on them as they should."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from bulkrnabert.config import preset_path
from bulkrnabert.errors import CheckpointError, ConfigError
from bulkrnabert.models.adapters import AdapterConfig, AdapterKind, add_adapter
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.finetuned import FinetunedConfig, FinetunedNetwork, FinetunePooling, embedding_width
from bulkrnabert.models.heads import HeadConfig
from bulkrnabert.models.layers import TransformerBlock
from bulkrnabert.models.pooling import AttentionPooling


def n_trained(network: BulkRNABert) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def finetuned(encoder: BulkRNABert, kind: AdapterKind = "ia3", pooling: FinetunePooling = "mean") -> FinetunedNetwork:
    head = HeadConfig(n_inputs=embedding_width(encoder, pooling), n_outputs=3, hidden=())
    return FinetunedNetwork(
        encoder, FinetunedConfig(adapter=AdapterConfig(kind=kind), pooling=pooling, heads={"cancer_type": head})
    )


@pytest.mark.parametrize("kind", ["none", "ia3", "lora", "full"])
def test_an_adapter_starts_as_the_identity(kind: AdapterKind, small_model: BulkRNABert, small_tokens: Tensor) -> None:
    before = small_model.sample_embedding(small_tokens)
    add_adapter(small_model, AdapterConfig(kind=kind))
    torch.testing.assert_close(small_model.sample_embedding(small_tokens), before)


def test_ia3_has_4096_parameters_at_the_published_size() -> None:
    config = BulkRNABertConfig.from_yaml(preset_path("model", "paper")).with_genes(8)
    network = BulkRNABert(config)
    add_adapter(network, AdapterConfig(kind="ia3"))
    assert n_trained(network) == 4 * (256 + 256 + 512) == 4096


def test_what_is_trained(small_config: BulkRNABertConfig) -> None:
    counts = {}
    for kind in ("none", "ia3", "lora", "full"):
        network = BulkRNABert(small_config)
        n_all = sum(parameter.numel() for parameter in network.parameters())
        add_adapter(network, AdapterConfig(kind=kind, lora_rank=2))  # type: ignore[arg-type]
        counts[kind] = n_trained(network)
    # query and value 16 x 8, ffn 16 x 24 and 24 x 16, rank 2, three blocks
    assert counts == {"none": 0, "ia3": 3 * (8 + 8 + 24), "lora": 3 * 2 * (24 + 24 + 40 + 40), "full": n_all}


def oracle_block(block: TransformerBlock, x: Tensor, l_k: Tensor, l_v: Tensor, l_ff: Tensor) -> Tensor:
    """One block with IA3 written out: keys, values and the inner activations of the feed-forward layer are rescaled."""
    attention, B, G = block.attention, *x.shape[:2]
    normed = block.attention_norm(x)

    def heads(values: Tensor) -> Tensor:
        return values.view(B, G, attention.n_heads, attention.key_size).transpose(1, 2)

    query, key, value = attention.query(normed), attention.key(normed) * l_k, attention.value(normed) * l_v
    weights = (heads(query) @ heads(key).transpose(-1, -2) / math.sqrt(attention.key_size)).softmax(dim=-1)
    x = x + attention.output((weights @ heads(value)).transpose(1, 2).reshape(B, G, -1))
    return x + block.ffn_out(functional.gelu(block.ffn_in(block.ffn_norm(x))) * l_ff)


def test_ia3_agrees_with_the_formula(small_model: BulkRNABert, small_tokens: Tensor) -> None:
    plain = copy.deepcopy(small_model)
    add_adapter(small_model, AdapterConfig(kind="ia3"))
    generator = torch.Generator().manual_seed(1)
    scales: dict[str, Tensor] = {}
    for name, parameter in small_model.named_parameters():
        if parameter.requires_grad:
            parameter.data = torch.rand(parameter.shape, generator=generator) + 0.5
            scales[name] = parameter.data.flatten()
    assert plain.gene_embedding is not None and plain.gene_projection is not None
    x = plain.expression_embedding(small_tokens) + plain.gene_projection(plain.gene_embedding.weight)
    for number, block in enumerate(plain.blocks):
        found = [
            next(value for name, value in scales.items() if name.startswith(f"blocks.{number}.{module}."))
            for module in ("attention.key", "attention.value", "ffn_out")
        ]
        x = oracle_block(block, x, *found)  # type: ignore[arg-type]
    torch.testing.assert_close(small_model.encode(small_tokens), x)
    assert not torch.allclose(plain.encode(small_tokens), x, atol=1e-3)


def test_attention_pooling_starts_as_the_mean_and_learns_which_genes_count() -> None:
    pooling = AttentionPooling(4, n_heads=2)
    hidden = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pooling(hidden), hidden.mean(dim=1).repeat(1, 3))
    pooling.score.weight.data[0] = torch.tensor([1000.0, 0, 0, 0])
    chosen = hidden[torch.arange(3), hidden[:, :, 0].argmax(dim=1)]
    torch.testing.assert_close(pooling(hidden)[:, 4:8], chosen, rtol=1e-4, atol=1e-4)


def test_standardisation_and_a_constant_value(small_model: BulkRNABert, small_tokens: Tensor) -> None:
    network = finetuned(small_model)
    pooled = network.pooled(small_tokens)
    pooled[:, 2] = 7.0
    network.set_standardisation(pooled)
    ready = network.standardised(pooled)
    torch.testing.assert_close(ready.mean(dim=0), torch.zeros(16), atol=1e-5, rtol=0)
    expected = torch.ones(16)
    expected[2] = 0.0
    torch.testing.assert_close(ready.std(dim=0, correction=0), expected)


@pytest.mark.parametrize("kind", ["none", "ia3", "lora", "full"])
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_own_tensors_are_enough(
    kind: AdapterKind, pooling: FinetunePooling, small_config: BulkRNABertConfig, small_tokens: Tensor
) -> None:
    def new() -> FinetunedNetwork:
        return finetuned(BulkRNABert(small_config, torch.Generator().manual_seed(3)), kind, pooling).eval()

    trained, other = new(), new()
    for tensor in trained.own_tensors().values():
        tensor.data.add_(0.1)
    outputs = trained(small_tokens)["cancer_type"]
    assert not torch.allclose(other(small_tokens)["cancer_type"], outputs)
    other.load_own_tensors(trained.own_tensors(), "x")
    torch.testing.assert_close(other(small_tokens)["cancer_type"], outputs)


def test_tensors_that_do_not_fit_are_all_named(small_model: BulkRNABert) -> None:
    network = finetuned(small_model)
    tensors = dict(network.own_tensors())
    del tensors["embedding_mean"]
    tensors["extra"] = torch.zeros(1)
    tensors["embedding_scale"] = torch.zeros(3)
    tensors["heads.cancer_type.layers.0.bias"] = torch.full((3,), torch.nan)
    with pytest.raises(CheckpointError) as caught:
        network.load_own_tensors(tensors, "a.safetensors")
    message = str(caught.value)
    assert "a.safetensors does not fit" in message and "missing tensor embedding_mean" in message
    assert "unexpected tensor extra" in message and "shape (3,), expected (16,)" in message
    assert "bias holds values that are not finite" in message


def test_a_head_of_another_width_is_refused(small_model: BulkRNABert) -> None:
    head = HeadConfig(n_inputs=9, n_outputs=3, hidden=())
    with pytest.raises(ConfigError, match="n_inputs 9, but the pooled embedding has 16 values"):
        FinetunedNetwork(
            small_model, FinetunedConfig(adapter=AdapterConfig(), pooling="mean", heads={"cancer_type": head})
        )


def test_adapters_without_peft(small_model: BulkRNABert, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ConfigError, match=r"install `bulkrnabert\[finetune\]`, or use --adapter none or full"):
        add_adapter(small_model, AdapterConfig(kind="ia3"))
