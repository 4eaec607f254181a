"""GexBERT: restoring some genes from others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from bulkrnabert.errors import ConfigError
from bulkrnabert.keys import MASK_ID, PAD_ID
from bulkrnabert.models.adapters import AdapterConfig, add_adapter
from bulkrnabert.models.gexbert import GexBERT, GexBERTConfig
from bulkrnabert.models.gexbert_outputs import Restored
from bulkrnabert.models.registry import load_network, save_network

N_GENES = 12
KNOWN = torch.tensor([3, 0, 7, 5])
TARGETS = torch.tensor([1, 2, 9])


def small_config(**changes: object) -> GexBERTConfig:
    sizes = {"n_genes": N_GENES, "embed_dim": 16, "n_heads": 2, "ffn_embed_dim": 32, "n_layers": 2}
    return GexBERTConfig.model_validate({**sizes, "decoder_layers": 2, "summary_ffn_dim": 32, **changes})


def make_model(**changes: object) -> GexBERT:
    return GexBERT(small_config(**changes), torch.Generator().manual_seed(0)).eval()


@pytest.fixture(params=["bins", "linear", "both"])
def model(request: pytest.FixtureRequest) -> GexBERT:
    return make_model(value_embedding=request.param)


@pytest.fixture
def ids() -> torch.Tensor:
    """Three samples, four known genes each."""
    return torch.randint(0, 64, (3, 4), generator=torch.Generator().manual_seed(1))


def assert_same(found: Restored, expected: Restored) -> None:
    assert_close(found.mean, expected.mean)
    assert_close(found.deviation, expected.deviation)


def differs(one: Restored, other: Restored) -> bool:
    return not torch.allclose(one.mean, other.mean, atol=1e-4)


@torch.no_grad()
def test_shapes(model: GexBERT, ids: torch.Tensor) -> None:
    assert model.encode(ids, KNOWN).shape == (3, 4, 16)
    assert model.sample_embedding(ids, gene_idx=KNOWN).shape == (3, 16)
    out = model(ids, gene_idx=KNOWN, target_idx=TARGETS, hidden_layers=(1,), attention_layers=(1, 2))
    assert out.restored.mean.shape == out.restored.deviation.shape == (3, 3)
    assert out.restored.mean.dtype == torch.float32
    assert bool((out.restored.deviation > 0).all())
    assert out.hidden[1].shape == (3, 4, 16)
    assert out.attention[2].shape == (3, 3, 4)
    assert_close(out.attention[1].sum(dim=-1), torch.ones(3, 3))
    assert model(ids, gene_idx=KNOWN).restored.mean.shape == (3, N_GENES), "all genes, where none is named"
    received = model.attention_received(ids, [1, 2], KNOWN)
    assert_close(received[2].sum(dim=1), torch.ones(3))


@torch.no_grad()
def test_genes_of_each_sample_are_as_those_of_all(model: GexBERT, ids: torch.Tensor) -> None:
    shared = model.restore(ids, KNOWN, TARGETS)
    assert_same(model.restore(ids, KNOWN.expand(3, -1), TARGETS.expand(3, -1)), shared)
    other = torch.stack([KNOWN, KNOWN + 1, KNOWN + 2])
    own = model.restore(ids, other, TARGETS)
    assert_close(own.mean[0], shared.mean[0])
    assert_close(own.mean[1], model.restore(ids[1:2], KNOWN + 1, TARGETS).mean[0])
    assert differs(own, shared)


@torch.no_grad()
def test_the_order_of_input_genes_does_not_matter(model: GexBERT, ids: torch.Tensor) -> None:
    order = torch.tensor([2, 0, 3, 1])
    expected = model.restore(ids, KNOWN, TARGETS)
    assert_same(model.restore(ids[:, order], KNOWN[order], TARGETS), expected)
    assert_close(
        model.sample_embedding(ids[:, order], gene_idx=KNOWN[order]), model.sample_embedding(ids, gene_idx=KNOWN)
    )
    assert differs(model.restore(ids[:, order], KNOWN, TARGETS), expected), "but which value is whose does"


@torch.no_grad()
def test_a_target_does_not_depend_on_the_other_targets(model: GexBERT, ids: torch.Tensor) -> None:
    together = model.restore(ids, KNOWN, TARGETS)
    alone = model.restore(ids, KNOWN, TARGETS[1:2])
    assert_close(together.mean[:, 1:2], alone.mean)
    assert_close(together.deviation[:, 1:2], alone.deviation)
    assert not torch.allclose(together.mean[:, 0], together.mean[:, 1]), "and different genes get different answers"


@torch.no_grad()
@pytest.mark.parametrize("summary_layers", [0, 2])
def test_a_missing_value_has_an_embedding_of_its_own(ids: torch.Tensor, summary_layers: int) -> None:
    model = make_model(value_embedding="both", summary_layers=summary_layers)
    hidden = ids.clone()
    hidden[:, 1] = MASK_ID
    known = model.restore(ids, KNOWN, TARGETS)
    missing = model.restore(hidden, KNOWN, TARGETS)
    assert differs(known, missing)
    assert differs(missing, model.restore(ids[:, [0, 2, 3]], KNOWN[[0, 2, 3]], TARGETS)), "listed is not absent"
    assert_close(model.expression(hidden, KNOWN)[:, 1], model.bin_embedding.weight[MASK_ID].expand(3, -1))
    model.bin_embedding.weight[MASK_ID] *= -1.0
    assert differs(model.restore(hidden, KNOWN, TARGETS), missing)
    assert_same(model.restore(ids, KNOWN, TARGETS), known)


@torch.no_grad()
@pytest.mark.parametrize("summary_layers", [0, 2])
def test_padding_is_as_if_it_were_not_there(ids: torch.Tensor, summary_layers: int) -> None:
    model = make_model(summary_layers=summary_layers)
    padded = torch.cat([ids, torch.full((3, 2), PAD_ID)], dim=1)
    genes = torch.cat([KNOWN, torch.tensor([8, 10])])
    assert_same(model.restore(padded, genes, TARGETS), model.restore(ids, KNOWN, TARGETS))
    for pooling in ("mean", "max"):
        expected = model.sample_embedding(ids, pooling=pooling, gene_idx=KNOWN)
        assert_close(model.sample_embedding(padded, pooling=pooling, gene_idx=genes), expected)
    attention = model.attention_to_inputs(padded, genes, TARGETS)
    assert_close(attention[..., :4], model.attention_to_inputs(ids, KNOWN, TARGETS))
    assert_close(attention[..., 4:], torch.zeros(3, 3, 2))
    masked = padded.masked_fill(padded == PAD_ID, MASK_ID)
    assert differs(model.restore(masked, genes, TARGETS), model.restore(ids, KNOWN, TARGETS)), "a missing value is"


@torch.no_grad()
def test_linear_values_lie_on_a_line_of_the_gene() -> None:
    model = make_model(value_embedding="linear")
    ids = torch.tensor([[0, 63], [1, 32]])
    expression = model.expression(ids, torch.tensor([4, 6]))
    assert model.direction is not None
    assert_close(expression[0, 0], -4.921875 * model.direction.weight[4])  # the middle of [-5, -4.84375]
    assert_close(expression[0, 1], 4.921875 * model.direction.weight[6])
    assert_close(expression[1, 1], 0.078125 * model.direction.weight[6])


@torch.no_grad()
def test_bins_and_their_middles() -> None:
    model = make_model(head="bins")
    assert model.bins_of(torch.tensor([-9.0, -5.0, -4.85, -4.84, 0.0, 4.99, 7.0])).tolist() == [0, 0, 0, 1, 32, 63, 63]
    sure = torch.full((1, 2, 64), -40.0)
    sure[0, 0, 32] = 40.0
    sure[0, 1, [31, 32]] = 40.0
    restored = model.restored(sure)
    assert_close(restored.mean, torch.tensor([[0.078125, 0.0]]))
    width = 0.15625
    assert_close(restored.deviation, torch.tensor([[width / 12**0.5, (0.078125**2 + width**2 / 12) ** 0.5]]))


@pytest.mark.parametrize("head", ["gaussian", "bins"])
def test_one_batch_can_be_learnt_by_heart(head: str, ids: torch.Tensor) -> None:
    model = make_model(head=head).train()
    truth = torch.randn(3, 3, generator=torch.Generator().manual_seed(2))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        stated = model.stated(ids, KNOWN, TARGETS)
        if head == "gaussian":
            loss = (model.restored(stated).mean - truth).square().mean()
        else:
            loss = torch.nn.functional.cross_entropy(stated.flatten(0, 1), model.bins_of(truth).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float((model.restore(ids, KNOWN, TARGETS).mean - truth).detach().abs().max()) < 0.15


@torch.no_grad()
def test_saved_and_loaded_model_is_the_same(tmp_path: Path, ids: torch.Tensor) -> None:
    model = make_model(has_bin_statistics=True, max_known=8)
    save_network(tmp_path, model)
    loaded = load_network(tmp_path)
    assert isinstance(loaded, GexBERT)
    assert loaded.config == model.config
    assert torch.equal(loaded.restore(ids, KNOWN, TARGETS).mean, model.restore(ids, KNOWN, TARGETS).mean)


def test_checkpointing_changes_no_gradient(ids: torch.Tensor) -> None:
    gradients = []
    for is_checkpointing in (False, True):
        model = make_model(use_activation_checkpointing=is_checkpointing).train()
        model.restore(ids, KNOWN, TARGETS).mean.sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert_close(gradients[0], gradients[1])


def test_adapters_sit_in_the_encoder_alone(ids: torch.Tensor) -> None:
    model = make_model()
    before = model.sample_embedding(ids, gene_idx=KNOWN)
    add_adapter(model, AdapterConfig(kind="ia3"))
    assert_close(model.sample_embedding(ids, gene_idx=KNOWN), before)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(trained) == 2 * 3, "keys, values and feed-forward of two blocks"
    assert all(name.startswith("blocks.") for name in trained)


def test_gradients_reach_the_embedded_values(ids: torch.Tensor) -> None:
    model = make_model()
    expression = model.expression(ids, KNOWN).detach().requires_grad_()
    restored = model.restore_expression(expression, KNOWN, TARGETS, ids)
    assert_same(restored, model.restore(ids, KNOWN, TARGETS))
    restored.mean[0, 0].backward()
    assert expression.grad is not None
    assert float(expression.grad[0].abs().min()) > 0
    assert float(expression.grad[1:].abs().max()) == 0, "samples do not see each other"


@pytest.mark.parametrize(
    ("ids", "genes", "targets", "message"),
    [
        (torch.zeros(2, 3, dtype=torch.long), KNOWN, TARGETS, r"shape \(2, 3\), expected \(samples, 4\)"),
        (torch.zeros(2, 3, dtype=torch.long), KNOWN.expand(2, -1), TARGETS, r"gene_idx has shape \(2, 4\)"),
        (torch.zeros(2, 4), KNOWN, TARGETS, "expected integers"),
        (torch.full((2, 4), 66), KNOWN, TARGETS, "token id 66 is beyond the 66"),
        (torch.full((2, 4), PAD_ID), KNOWN, TARGETS, "a row of token_ids is all <pad>"),
        (torch.zeros(2, 0, dtype=torch.long), KNOWN[:0], TARGETS, "no columns"),
        (torch.zeros(2, 4, dtype=torch.long), KNOWN + N_GENES, TARGETS, "gene index 12 to 19"),
        (torch.zeros(2, 4, dtype=torch.long), KNOWN, TARGETS - 5, "gene index -4 to 4"),
        (torch.zeros(2, 4, dtype=torch.long), KNOWN, TARGETS.expand(3, -1), r"target_idx has shape \(3, 3\)"),
    ],
)
def test_input_that_does_not_fit(ids: torch.Tensor, genes: torch.Tensor, targets: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_model().restore(ids, genes, targets)


def test_layers_that_are_not_there(ids: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="there is no layer 3"):
        make_model().encode(ids, KNOWN, layer=3)
    with pytest.raises(ValueError, match="there is no decoder layer 3"):
        make_model().attention_to_inputs(ids, KNOWN, TARGETS, layer=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"n_heads": 3}, "no multiple of n_heads 3"), ({"n_bins": 65}, "n_bins 65 is more than 64")],
)
def test_sizes_that_do_not_fit(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        small_config(**changes)


def test_a_model_needs_its_genes() -> None:
    with pytest.raises(ConfigError, match="n_genes is 0"):
        GexBERT(small_config(n_genes=0))
