from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from bulkrnabert.config import preset_names, preset_path
from bulkrnabert.errors import ConfigError
from bulkrnabert.models.adapters import AdapterConfig, add_adapter
from bulkrnabert.models.mojo import Mojo, MojoConfig
from bulkrnabert.models.mojo_cost import flops_per_sample, transformer_layer
from bulkrnabert.models.mojo_layers import Convolution, Doubling, DownBlock, rotate
from bulkrnabert.models.registry import load_network, save_network

N_GENES = 21
PAD, MASK = 64, 65


@pytest.fixture
def config() -> MojoConfig:
    return MojoConfig(
        n_genes=N_GENES,
        token_embed_dim=6,
        conv_embed_dim=8,
        embed_dim=12,
        n_downsamples=2,
        stem_kernel=5,
        init_gene_embed_dim=4,
        n_heads=2,
        ffn_embed_dim=10,
        n_layers=3,
    )


@pytest.fixture
def model(config: MojoConfig) -> Mojo:
    return Mojo(config, torch.Generator().manual_seed(3)).eval()


@pytest.fixture
def ids() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return {omic: torch.randint(0, 64, (4, N_GENES), generator=generator) for omic in ("rnaseq", "methylation")}


def flat(ids: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([ids["rnaseq"], ids["methylation"]], dim=1)


def test_shapes_of_everything_returned(model: Mojo, ids: dict[str, torch.Tensor]) -> None:
    output = model(ids, hidden_layers=(1, 3), attention_layers=(2,))
    assert {omic: tuple(logits.shape) for omic, logits in output.logits.items()} == {
        "rnaseq": (4, 21, 66),
        "methylation": (4, 21, 66),
    }
    assert {layer: tuple(value.shape) for layer, value in output.hidden.items()} == {1: (4, 6, 12), 3: (4, 6, 12)}
    assert {layer: tuple(value.shape) for layer, value in output.attention.items()} == {2: (4, 2, 6, 6)}
    assert_close(output.attention[2].sum(dim=-1), torch.ones(4, 2, 6))
    assert model.sample_embedding(flat(ids)).shape == (4, 12)


def test_published_sizes_have_the_published_parameters() -> None:
    config = MojoConfig.from_yaml(preset_path("model", "paper", "mojo")).with_genes(17_116)
    assert (config.n_padded, config.n_positions) == (17_152, 67)
    with torch.device("meta"):
        counts = [
            sum(parameter.numel() for parameter in Mojo(config.model_copy(update={"n_head_layers": n})).parameters())
            for n in (0, 1)
        ]
    assert counts == [51_769_220, 52_294_532]


@pytest.mark.parametrize("name", ["tiny", "small", "paper"])
def test_presets(name: str) -> None:
    assert set(preset_names("model", "mojo")) == {"tiny", "small", "paper"}
    assert MojoConfig.from_yaml(preset_path("model", name, "mojo")).omics == ("rnaseq", "methylation")


def test_a_mapping_and_flat_ids_are_the_same(model: Mojo, ids: dict[str, torch.Tensor]) -> None:
    assert_close(model(ids).logits, model(flat(ids)).logits)
    assert_close(model(dict(reversed(ids.items()))).logits, model(ids).logits)
    as_bytes = flat(ids).to(torch.uint8)
    before = as_bytes.clone()
    assert_close(model.encode(as_bytes), model.encode(ids))
    assert torch.equal(as_bytes, before)


def test_an_absent_omic_is_masked_throughout(model: Mojo, ids: dict[str, torch.Tensor]) -> None:
    masked = {**ids, "methylation": torch.full((4, N_GENES), MASK)}
    output = model({"rnaseq": ids["rnaseq"]})
    assert_close(output.logits, model(masked).logits)
    assert set(output.logits) == {"rnaseq", "methylation"}, "the absent omic is restored"
    assert not torch.allclose(output.logits["rnaseq"], model(ids).logits["rnaseq"], atol=1e-3)


def test_an_absent_omic_is_left_out_in_published_models(config: MojoConfig, ids: dict[str, torch.Tensor]) -> None:
    model = Mojo(config.model_copy(update={"absent_omic": "leave_out"}), torch.Generator().manual_seed(3)).eval()
    stages = model.intermediates({"rnaseq": ids["rnaseq"]})
    assert list(stages.omic_embeddings) == ["rnaseq"]
    assert_close(stages.embeddings, stages.omic_embeddings["rnaseq"])


def test_padding_takes_part_as_published(model: Mojo, ids: dict[str, torch.Tensor]) -> None:
    """21 genes become 24 positions. The three `<pad>` are seen by the genes, and genes alone come out."""
    padded = {omic: functional.pad(values, (0, 3), value=PAD) for omic, values in ids.items()}
    output = model(padded)
    assert output.logits["rnaseq"].shape == (4, 24, 66)
    assert_close(output.logits["rnaseq"][:, :N_GENES], model(ids).logits["rnaseq"])
    other = {omic: functional.pad(values, (0, 3), value=7) for omic, values in ids.items()}
    assert not torch.allclose(model(other).logits["rnaseq"], output.logits["rnaseq"], atol=1e-3)


def test_each_mask_matters(model: Mojo, ids: dict[str, torch.Tensor]) -> None:
    for omic in ids:
        hidden = {**ids, omic: ids[omic].clone()}
        hidden[omic][:, 5] = MASK
        assert not torch.allclose(model.encode(hidden), model.encode(ids), atol=1e-4)


def test_omics_are_told_apart_and_genes_by_their_place(model: Mojo, ids: dict[str, torch.Tensor]) -> None:
    swapped = {"rnaseq": ids["methylation"], "methylation": ids["rnaseq"]}
    assert not torch.allclose(model.encode(swapped), model.encode(ids), atol=1e-3)
    order = torch.randperm(N_GENES, generator=torch.Generator().manual_seed(0))
    moved = {omic: values[:, order] for omic, values in ids.items()}
    assert not torch.allclose(model(moved).logits["rnaseq"], model(ids).logits["rnaseq"][:, order], atol=1e-3)


def test_chosen_columns_are_those_of_the_whole(model: Mojo, ids: dict[str, torch.Tensor]) -> None:
    chosen = torch.tensor([[0, 20, 3, 21, 41, 30]] * 4)
    hidden = model.encode_chosen(flat(ids), chosen)
    logits = model(ids).logits
    assert_close(model.lm_logits(hidden[:, :3], "rnaseq"), logits["rnaseq"][:, [0, 20, 3]])
    assert_close(model.lm_logits(hidden[:, 3:], "methylation"), logits["methylation"][:, [0, 20, 9]])


def test_encoding_from_embeddings(model: Mojo, ids: dict[str, torch.Tensor]) -> None:
    expression = model.expression(flat(ids))
    assert expression.shape == (4, 42, 6)
    for layer in (None, 1):
        assert_close(model.encode_expression(expression, layer=layer), model.encode(ids, layer=layer))
    assert_close(model.encode(ids, layer=1), model(ids, hidden_layers=(1,)).hidden[1])


def test_more_omics_by_configuration(config: MojoConfig) -> None:
    three = config.model_copy(
        update={"omic_names": ("rnaseq", "methylation", "protein"), "n_token_ids": {"protein": 34}}
    )
    model = Mojo(three, torch.Generator().manual_seed(0)).eval()
    tokens = torch.randint(0, 32, (2, 63), generator=torch.Generator().manual_seed(1))
    tokens[0, 50], tokens[0, 51] = MASK, PAD
    logits = model(tokens).logits
    assert [tuple(value.shape) for value in logits.values()] == [(2, 21, 66), (2, 21, 66), (2, 21, 34)]
    own = tokens.clone()
    own[0, 50], own[0, 51] = 33, 32
    assert_close(model(own).logits, logits, msg="<pad> and <mask> are the last two rows of a smaller table")


def test_overfits_one_batch(config: MojoConfig, ids: dict[str, torch.Tensor]) -> None:
    model = Mojo(config.model_copy(update={"embed_dim": 24}), torch.Generator().manual_seed(0)).train()
    hidden = {omic: values.clone() for omic, values in ids.items()}
    for values in hidden.values():
        values[:, ::3] = MASK
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(150):
        logits = model(hidden).logits
        parts = [
            functional.cross_entropy(logits[omic][:, ::3].flatten(0, 1), ids[omic][:, ::3].flatten()) for omic in ids
        ]
        optimizer.zero_grad()
        sum(parts).backward()
        optimizer.step()
        losses.append(sum(parts).item() / 2)
    assert losses[0] == pytest.approx(math.log(66), abs=0.1), "the first guess is uniform"
    assert losses[-1] < 0.1


def test_saved_and_loaded_is_the_same(model: Mojo, ids: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_network(tmp_path, model)
    loaded = load_network(tmp_path)
    assert loaded.config == model.config
    assert torch.equal(loaded(ids).logits["methylation"], model(ids).logits["methylation"])


def test_activation_checkpointing_gives_the_same_gradients(config: MojoConfig, ids: dict[str, torch.Tensor]) -> None:
    gradients = []
    for use in (False, True):
        checkpointing = config.model_copy(update={"use_activation_checkpointing": use})
        model = Mojo(checkpointing, torch.Generator().manual_seed(0)).train()
        sum(logits.square().sum() for logits in model(ids).logits.values()).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert_close(gradients[0], gradients[1])
    assert all(gradient.abs().sum() > 0 for name, gradient in gradients[0].items() if "key.bias" not in name)


def test_dropout_acts_in_training_only(config: MojoConfig, ids: dict[str, torch.Tensor]) -> None:
    model = Mojo(config.model_copy(update={"dropout": 0.5}))
    assert not torch.equal(model.train().encode(ids), model.encode(ids))
    assert torch.equal(model.eval().encode(ids), model.encode(ids))


def test_weights_come_from_the_generator(config: MojoConfig) -> None:
    states = [Mojo(config, torch.Generator().manual_seed(seed)).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["stem.conv.weight"], states[2]["stem.conv.weight"])


@pytest.mark.parametrize(("kind", "n_trained"), [("ia3", 3 * (12 + 12 + 10)), ("lora", None)])
def test_adapters_start_at_the_identity(
    model: Mojo, ids: dict[str, torch.Tensor], kind: str, n_trained: int | None
) -> None:
    before = model.encode(ids)
    add_adapter(model, AdapterConfig(kind=kind))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert_close(model.encode(ids), before)
    assert trained
    assert n_trained is None or sum(parameter.numel() for parameter in trained) == n_trained


def test_marker_weights_belong_to_positions(config: MojoConfig) -> None:
    model = Mojo(config.model_copy(update={"has_bin_statistics": True})).eval()
    model.set_bin_statistics(torch.full((42,), 10.0), torch.zeros(42))
    tokens = torch.full((1, 42), 10)
    tokens[0, 1], tokens[0, 21 + 2], tokens[0, 8] = 13, 11, 16  # 3 and 1 above in position 0, 6 in position 2
    weights = model.marker_weights(tokens)
    assert_close(weights, torch.tensor([[0.4, 0.0, 0.6, 0.0, 0.0, 0.0]]))
    assert model.sample_embedding(tokens, pooling="marker").shape == (1, 24)


def test_convolutions_by_hand() -> None:
    convolution = Convolution(1, 1, 3)
    doubling = Doubling(1, 1)
    with torch.no_grad():
        convolution.conv.weight.copy_(torch.tensor([[[1.0, 10.0, 100.0]]]))
        convolution.conv.bias.zero_()
        doubling.conv.weight.copy_(torch.tensor([[[1.0, 10.0, 100.0, 1000.0, 10000.0]]]))
        doubling.conv.bias.zero_()
    x = torch.tensor([[[1.0], [2.0], [3.0]]])
    assert_close(convolution(x).flatten(), torch.tensor([210.0, 321.0, 32.0]))
    # Each input puts its kernel at twice its place; of the nine positions the first and the last two are cut.
    assert_close(
        doubling(x).flatten(),
        torch.tensor([10.0, 102.0, 1020.0, 10203.0, 2030.0, 20300.0]),
        msg="1,2,3 with the kernel",
    )
    assert DownBlock(2, 3)(torch.zeros(1, 4, 2)).shape == (1, 2, 3)


def test_rotation_depends_on_distance_alone() -> None:
    query, key = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0)).expand(2, 1, 1, 5, 8)
    scores = (rotate(query) @ rotate(key).transpose(-1, -2))[0, 0]
    assert_close(scores[0, 2], scores[2, 4])
    assert_close(rotate(query)[0, 0, 0], query[0, 0, 0], msg="position 0 is not turned")
    assert not torch.allclose(scores[0, 1], scores[0, 2], atol=1e-3)


def test_full_size_costs_a_fiftieth_of_a_transformer_over_both_sequences() -> None:
    config = MojoConfig.from_yaml(preset_path("model", "paper", "mojo")).with_genes(17_116)
    plain = 2 * config.n_layers * transformer_layer(2 * 17_116, 512, 512, 1024)
    assert plain / flops_per_sample(config, 17_116) > 50


def test_wrong_requests(model: Mojo, ids: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="never trained on proteomics: it reads rnaseq, methylation"):
        model({"proteomics": ids["rnaseq"]})
    with pytest.raises(ValueError, match="no omic was given"):
        model({})
    with pytest.raises(ValueError, match=r"shape \(4, 41\), expected \(samples, 42\)"):
        model(flat(ids)[:, :41])
    with pytest.raises(ValueError, match=r"expected \(samples, 21\) for every omic"):
        model({**ids, "rnaseq": ids["rnaseq"][:, :20]})
    with pytest.raises(ValueError, match="expected integers"):
        model({"rnaseq": ids["rnaseq"].float()})
    with pytest.raises(ValueError, match="token id 66 is beyond the 66 rows of the methylation table"):
        model({**ids, "methylation": ids["methylation"] * 0 + 66})
    with pytest.raises(ValueError, match="there is no layer 4"):
        model(ids, hidden_layers=(4,))
    with pytest.raises(ValueError, match="leave gene_idx out"):
        model.encode(flat(ids), torch.arange(5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"omic_names": ["rnaseq", "rnaseq"]}, "names an omic twice"),
        ({"omic_names": ["rna-seq"]}, "not made of letters"),
        ({"n_token_ids": {"protein": 66}}, "not among omic_names"),
        ({"n_token_ids": {"rnaseq": 3}}, "at least 4"),
        ({"n_heads": 5}, "no multiple of n_heads 5"),
        ({"key_size": 3}, "even width"),
        ({"project_gene_embedding": False}, "must equal"),
    ],
)
def test_sizes_that_do_not_fit(config: MojoConfig, change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MojoConfig.from_mapping({**config.model_dump(), **change}, "a file")
    with pytest.raises(ConfigError, match="n_genes is 0"):
        Mojo(config.model_copy(update={"n_genes": 0}))


def test_gene_embedding_takes_a_given_start(model: Mojo) -> None:
    table = torch.randn(N_GENES, 4)
    model.start_gene_embedding(table)
    assert model.gene_embedding is not None and torch.equal(model.gene_embedding.weight[:N_GENES], table)


def test_neighbouring_bins_start_alike(config: MojoConfig) -> None:
    wide = Mojo(config.model_copy(update={"token_embed_dim": 200}), torch.Generator().manual_seed(0))
    table = wide.omic_embeddings["rnaseq"].weight.detach()
    assert table.square().mean() == pytest.approx(1.0, abs=0.2)
    likeness = functional.cosine_similarity(table[:1], table)
    assert likeness[1] > 0.99 and likeness[:40].diff().max() < 0
    assert likeness[[PAD, MASK]].abs().max() < 0.3
