from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from bulkrnabert.config import preset_names, preset_path
from bulkrnabert.errors import ConfigError
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig


def test_shapes_of_everything_returned(small_model: BulkRNABert, small_tokens: torch.Tensor) -> None:
    output = small_model(small_tokens, hidden_layers=(1, 3), attention_layers=(2,))
    assert output.logits.shape == (4, 11, 64)
    assert {layer: tuple(value.shape) for layer, value in output.hidden.items()} == {1: (4, 11, 16), 3: (4, 11, 16)}
    assert {layer: tuple(value.shape) for layer, value in output.attention.items()} == {2: (4, 2, 11, 11)}


def test_encode_and_head_give_the_logits(small_model: BulkRNABert, small_tokens: torch.Tensor) -> None:
    output = small_model(small_tokens, hidden_layers=(2, 3))
    hidden = small_model.encode(small_tokens)
    assert_close(hidden, output.hidden[3])
    assert_close(small_model.encode(small_tokens, layer=2), output.hidden[2])
    is_masked = small_tokens == 65
    is_masked[0, 0] = True
    assert_close(small_model.lm_logits(hidden[is_masked]), output.logits[is_masked])


@pytest.mark.parametrize("layer", [None, 1])
def test_sample_embedding_pools_over_genes(
    small_model: BulkRNABert, small_tokens: torch.Tensor, layer: int | None
) -> None:
    hidden = small_model(small_tokens, hidden_layers=(layer or 3,)).hidden[layer or 3]
    assert_close(small_model.sample_embedding(small_tokens, layer), hidden.mean(dim=1))
    assert_close(small_model.sample_embedding(small_tokens, layer, "max"), hidden.max(dim=1).values)


def test_genes_are_told_apart_by_index_not_by_place(small_model: BulkRNABert, small_tokens: torch.Tensor) -> None:
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    straight = small_model(small_tokens).logits
    permuted = small_model(small_tokens[:, order], gene_idx=order).logits
    assert_close(permuted, straight[:, order])
    assert not torch.allclose(small_model(small_tokens[:, order]).logits, straight[:, order], atol=1e-3)


def test_a_subset_of_genes_equals_masking_the_others(small_model: BulkRNABert, small_tokens: torch.Tensor) -> None:
    kept = torch.tensor([0, 3, 4, 9])
    mask = torch.zeros(4, 11, dtype=torch.bool)
    mask[:, kept] = True
    subset = small_model(small_tokens[:, kept], gene_idx=kept).logits
    assert_close(subset, small_model(small_tokens, key_mask=mask).logits[:, kept])


def test_overfits_one_batch(small_config: BulkRNABertConfig) -> None:
    model = BulkRNABert(small_config, torch.Generator().manual_seed(0)).train()
    targets = torch.randint(0, 64, (4, 11), generator=torch.Generator().manual_seed(1))
    tokens = targets.clone()
    tokens[:, ::3] = 65
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        loss = functional.cross_entropy(model(tokens).logits[:, ::3].reshape(-1, 64), targets[:, ::3].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(64), abs=0.1), "the first guess is uniform"
    assert losses[-1] < 0.1


def test_activation_checkpointing_gives_the_same_gradients(small_config: BulkRNABertConfig) -> None:
    tokens = torch.randint(0, 66, (2, 11), generator=torch.Generator().manual_seed(1))
    gradients = []
    for use in (False, True):
        config = small_config.model_copy(update={"use_activation_checkpointing": use})
        model = BulkRNABert(config, torch.Generator().manual_seed(0)).train()
        model(tokens).logits.square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert_close(gradients[0], gradients[1])
    assert gradients[0]["gene_embedding.weight"].abs().sum() > 0


def test_dropout_acts_in_training_only(small_config: BulkRNABertConfig, small_tokens: torch.Tensor) -> None:
    model = BulkRNABert(small_config.model_copy(update={"dropout": 0.5}))
    assert not torch.equal(model.train()(small_tokens).logits, model(small_tokens).logits)
    assert torch.equal(model.eval()(small_tokens).logits, model(small_tokens).logits)


def test_weights_come_from_the_generator(small_config: BulkRNABertConfig) -> None:
    states = [BulkRNABert(small_config, torch.Generator().manual_seed(seed)).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["lm_head.weight"], states[2]["lm_head.weight"])


def test_input_is_unchanged_and_may_be_uint8(small_model: BulkRNABert, small_tokens: torch.Tensor) -> None:
    as_bytes = small_tokens.to(torch.uint8)
    before = as_bytes.clone()
    assert_close(small_model(as_bytes).logits, small_model(small_tokens).logits)
    assert torch.equal(as_bytes, before)


def test_id_beyond_the_table(small_config: BulkRNABertConfig) -> None:
    tokens = torch.full((1, 11), 65)
    config = small_config.model_copy(update={"n_embedding_rows": 64})
    with pytest.raises(ValueError, match="token id 65 is beyond the 64 rows"):
        BulkRNABert(config)(tokens)
    clamping = BulkRNABert(config.model_copy(update={"out_of_range": "clamp"}))
    assert_close(clamping(tokens).logits, clamping(torch.full((1, 11), 63)).logits)


def test_wrong_requests(small_model: BulkRNABert, small_tokens: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"shape \(4, 10\), expected \(samples, 11\)"):
        small_model(small_tokens[:, :10])
    with pytest.raises(ValueError, match="expected integers"):
        small_model(small_tokens.float())
    with pytest.raises(ValueError, match="no layer 4: layers are numbered 1 to 3"):
        small_model(small_tokens, hidden_layers=(4,))
    with pytest.raises(ValueError, match="no layer 0"):
        small_model.encode(small_tokens, layer=0)


def test_without_gene_embedding_all_genes_are_alike(small_config: BulkRNABertConfig) -> None:
    model = BulkRNABert(small_config.model_copy(update={"use_gene_embedding": False})).eval()
    logits = model(torch.full((1, 11), 7)).logits
    assert_close(logits, logits[:, :1].expand_as(logits))


def test_without_projection_the_gene_table_has_the_width_of_the_model(small_config: BulkRNABertConfig) -> None:
    values = small_config.model_dump() | {"project_gene_embedding": False}
    with pytest.raises(ConfigError, match=r"init_gene_embed_dim \(6\) must equal embed_dim \(16\)"):
        BulkRNABertConfig.from_mapping(values, "a.yaml")
    model = BulkRNABert(BulkRNABertConfig.from_mapping(values | {"init_gene_embed_dim": 16}, "a.yaml"))
    assert model(torch.zeros(1, 11, dtype=torch.long)).logits.shape == (1, 11, 64)


def test_config_refuses_sizes_that_do_not_fit() -> None:
    sizes = {"embed_dim": 10, "init_gene_embed_dim": 4, "n_heads": 3, "ffn_embed_dim": 8, "n_layers": 1}
    with pytest.raises(ConfigError, match="embed_dim 10 is no multiple of n_heads 3"):
        BulkRNABertConfig.from_mapping(sizes, "a.yaml")
    with pytest.raises(ConfigError, match="n_embedding_rows 60 is below n_bins 64"):
        BulkRNABertConfig.from_mapping(sizes | {"n_heads": 2, "n_embedding_rows": 60}, "a.yaml")
    with pytest.raises(ConfigError, match="n_genes is 0"):
        BulkRNABert(BulkRNABertConfig.from_mapping(sizes | {"n_heads": 2}, "a.yaml"))


def test_with_genes(small_config: BulkRNABertConfig) -> None:
    assert small_config.with_genes(11) == small_config
    with pytest.raises(ConfigError, match="says n_genes 11, the gene list has 12"):
        small_config.with_genes(12)


def test_every_shipped_preset_builds() -> None:
    assert {"tiny", "small", "paper"} <= set(preset_names("model"))
    for name in preset_names("model"):
        config = BulkRNABertConfig.from_yaml(preset_path("model", name)).with_genes(20)
        with torch.device("meta"):
            model = BulkRNABert(config)
        assert len(model.blocks) == config.n_layers


def test_paper_preset_has_the_published_number_of_parameters() -> None:
    preset = BulkRNABertConfig.from_yaml(preset_path("model", "paper")).with_genes(19_062)
    with torch.device("meta"):
        published = BulkRNABert(preset.model_copy(update={"n_embedding_rows": 64}))
        ours = BulkRNABert(preset)
    assert sum(parameter.numel() for parameter in published.parameters()) == 6_005_104
    assert sum(parameter.numel() for parameter in ours.parameters()) == 6_005_104 + 2 * 256


def test_marker_pooling_weighs_genes_above_their_usual_bin(small_config: BulkRNABertConfig) -> None:
    config = small_config.model_copy(update={"has_bin_statistics": True})
    model = BulkRNABert(config, torch.Generator().manual_seed(0)).eval()
    G = config.n_genes
    model.set_bin_statistics(torch.full((G,), 10.0), torch.full((G,), 3.0))
    token_ids = torch.full((1, G), 5)
    token_ids[0, 1], token_ids[0, 2], token_ids[0, 3] = 14, 12, 65
    hidden_GD = model.encode(token_ids)[0]
    mean_D = hidden_GD.mean(dim=0)
    # Genes 1 and 2 are 4 and 2 bins above the usual; the others are below it, and gene 3 is missing.
    expected = (2 / 3) * (hidden_GD[1] - mean_D) + (1 / 3) * (hidden_GD[2] - mean_D)
    pooled = model.sample_embedding(token_ids, pooling="marker")
    assert pooled.shape == (1, 2 * config.embed_dim)
    torch.testing.assert_close(pooled[0], torch.cat([mean_D, expected]), rtol=1e-4, atol=1e-5)


def test_marker_pooling_needs_statistics(small_model: BulkRNABert, small_tokens: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match="no bin statistics"):
        small_model.sample_embedding(small_tokens, pooling="marker")


def test_gene_embedding_takes_a_given_start(small_config: BulkRNABertConfig) -> None:
    model = BulkRNABert(small_config)
    table = torch.randn(small_config.n_genes, small_config.init_gene_embed_dim)
    model.start_gene_embedding(table)
    assert model.gene_embedding is not None and torch.equal(model.gene_embedding.weight, table)


def test_chosen_genes_are_those_of_the_whole(small_model: BulkRNABert, small_tokens: torch.Tensor) -> None:
    chosen = torch.tensor([[0, 10, 3]] * 4)
    genes = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    for gene_idx in (None, genes):
        whole = small_model.encode(small_tokens, gene_idx)
        torch.testing.assert_close(small_model.encode_chosen(small_tokens, chosen, gene_idx), whole[:, [0, 10, 3]])


def test_attention_received_is_the_mean_of_the_attention_weights(
    small_model: BulkRNABert, small_tokens: torch.Tensor
) -> None:
    received = small_model.attention_received(small_tokens, (1, 3))
    attention = small_model(small_tokens, attention_layers=(1, 3)).attention
    assert sorted(received) == [1, 3]
    for layer, share in received.items():
        torch.testing.assert_close(share, attention[layer].mean(dim=(1, 2)))
    with pytest.raises(ValueError, match="there is no layer 4"):
        small_model.attention_received(small_tokens, (4,))
