"""Samples without one of their omics, the term that ties both together, and its gradient over a whole batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from pydantic import ValidationError

from bulkrnabert.errors import ConfigError
from bulkrnabert.keys import MASK_ID
from bulkrnabert.models.adapters import AdapterConfig, AdapterKind
from bulkrnabert.models.finetuned import FinetunedConfig, FinetunedNetwork
from bulkrnabert.models.heads import HeadConfig
from bulkrnabert.models.mojo import Mojo, MojoConfig
from bulkrnabert.train.dropped_omics import DroppableTokens, consistency_loss, n_rows
from bulkrnabert.train.finetune import FinetuneConfig, FinetuneData, Finetuner, pooled_embeddings
from bulkrnabert.train.targets import ClassTarget, CoxTarget, Target

N, G = 24, 6
CPU = torch.device("cpu")
ROWS = np.arange(N, dtype=np.int64)
RNG = np.random.default_rng(0)
CLASSES = np.arange(N) % 2
TOKENS = (RNG.integers(0, 30, (N, 2 * G)) + 33 * CLASSES[:, None]).astype(np.uint8)
TIMES = 1000.0 - 10.0 * TOKENS[:, 1] + RNG.random(N)
TOKENS[20:22, :G] = MASK_ID
TOKENS[22:, G:] = MASK_ID
CONFIG = MojoConfig(
    n_genes=G,
    token_embed_dim=6,
    conv_embed_dim=8,
    embed_dim=8,
    n_downsamples=1,
    stem_kernel=3,
    init_gene_embed_dim=4,
    n_heads=2,
    ffn_embed_dim=8,
    n_layers=1,
)


def test_rows_are_samples_whole_or_without_an_omic() -> None:
    small = np.array([[1, 2, 3, 4], [5, 6, 65, 65]], dtype=np.uint8)
    tokens = DroppableTokens(small, 2)
    assert (len(tokens), tokens.n_rows, tokens.n_columns) == (2, 6, 4)
    assert_array_equal(tokens.has_omic, [[True, True], [True, False]])
    found = tokens.take(torch.tensor([0, 2, 4, 5, 1])).numpy()
    assert_array_equal(found, [[1, 2, 3, 4], [65, 65, 3, 4], [1, 2, 65, 65], [5, 6, 65, 65], [5, 6, 65, 65]])
    assert_array_equal(small, [[1, 2, 3, 4], [5, 6, 65, 65]])
    assert tokens.without(torch.tensor([1]), 0).tolist() == [3]
    assert (n_rows(5, 1), n_rows(5, 2), n_rows(5, 3)) == (5, 15, 20)


def test_only_samples_with_several_omics_lose_one() -> None:
    tokens = DroppableTokens(TOKENS, 2)
    drawn = tokens.draw(ROWS, 1.0, np.random.default_rng(0))
    assert_array_equal(drawn % N, np.arange(20))
    assert set(drawn // N) == {1, 2}
    assert_array_equal(drawn, tokens.draw(ROWS, 1.0, np.random.default_rng(0)))
    many = np.concatenate([tokens.draw(ROWS, 0.3, np.random.default_rng(seed)) for seed in range(400)])
    assert len(many) / (400 * 20) == pytest.approx(0.3, abs=0.02)
    assert (many // N == 1).mean() == pytest.approx(0.5, abs=0.03)
    assert len(tokens.draw(ROWS, 0.0, np.random.default_rng(0))) == 0
    three = DroppableTokens(np.array([[1, 65, 3]], dtype=np.uint8), 3)
    drawn = np.concatenate([three.draw(np.array([0]), 1.0, np.random.default_rng(seed)) for seed in range(40)])
    assert set(drawn) == {1, 3}, "the second omic is not there to lose"


def test_the_consistency_term_by_hand() -> None:
    same = torch.eye(2)
    # Cosines 1 on the diagonal, 0 elsewhere: ln(1 + e^-1) at temperature 1.
    assert float(consistency_loss(same, 7 * same, 1.0)) == pytest.approx(math.log(1 + math.exp(-1)))
    assert float(consistency_loss(same, same, 0.01)) == pytest.approx(0.0, abs=1e-6)
    assert float(consistency_loss(same, same.flip(0), 1.0)) == pytest.approx(math.log(1 + math.e))
    assert float(consistency_loss(same, torch.ones(2, 2), 0.1)) == pytest.approx(math.log(2))
    assert float(consistency_loss(same[:1], same[:1], 0.1)) == 0.0


def targets(kind: str) -> list[Target]:
    if kind == "classes":
        return [ClassTarget("task", CLASSES.astype(np.int64), 2)]
    return [CoxTarget("task", TIMES, np.ones(N, dtype=np.int64), np.zeros(N, dtype=np.int64))]


def make(kind: str = "classes", adapter: AdapterKind = "full", **values: object) -> Finetuner:
    settings = {"batch_size": N, "max_epochs": 3, "modality_dropout": 0.7, "consistency_weight": 0.5, **values}
    config = FinetuneConfig.model_validate({"learning_rate": 0.01, "head_learning_rate": 0.01, **settings})
    wanted = targets(kind)
    head = HeadConfig(n_inputs=8, n_outputs=wanted[0].n_outputs, hidden=())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = FinetunedNetwork(
            Mojo(CONFIG, torch.Generator().manual_seed(1)),
            FinetunedConfig(adapter=AdapterConfig(kind=adapter), pooling="mean", heads={"task": head}),
        )
    every = DroppableTokens(TOKENS, 2)
    start = pooled_embeddings(network, every.take(torch.arange(every.n_rows)).numpy(), CPU)
    finetuner = Finetuner(network, FinetuneData(TOKENS, wanted, start, n_omics=2), config, 0, CPU)
    finetuner.standardise(ROWS)
    return finetuner


def trained(finetuner: Finetuner, n_epochs: int = 1) -> torch.Tensor:
    finetuner.fit(ROWS, n_epochs)
    return torch.cat([tensor.flatten() for tensor in finetuner.network.own_tensors().values()])


def gradients(finetuner: Finetuner, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Of the first step, before they are clipped."""
    found: list[torch.Tensor] = []

    def keep(parameters: object, _norm: float) -> None:
        found.append(torch.cat([p.grad.flatten().clone() for p in parameters if p.grad is not None]))  # type: ignore[attr-defined]

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", keep)
    finetuner.fit(ROWS, 1)
    monkeypatch.undo()
    return found[0]


@pytest.mark.parametrize("kind", ["classes", "survival"])
def test_the_gradient_does_not_depend_on_the_micro_batch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gradients(make(kind, micro_batch_size=200), monkeypatch)
    for size in (1, 7, 31):
        part = gradients(make(kind, micro_batch_size=size), monkeypatch)
        torch.testing.assert_close(part, whole, atol=1e-5, rtol=1e-5)
    without = gradients(make(kind, micro_batch_size=200, consistency_weight=0.0), monkeypatch)
    alone = gradients(make(kind, micro_batch_size=200, consistency_weight=0.0, modality_dropout=0.0), monkeypatch)
    assert (whole - without).abs().max() > 1e-3 and (without - alone).abs().max() > 1e-3, "control: both terms count"


def test_the_step_is_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    from bulkrnabert.data.masking import seeded_generator

    finetuner, tokens = make(max_epochs=1), DroppableTokens(TOKENS, 2)
    order = ROWS[seeded_generator(0, "order", 0).permutation(N)]
    copies = tokens.draw(order, 0.7, seeded_generator(0, "dropped_omic", 0, 0))
    network = finetuner.network.eval()
    inputs = tokens.take(torch.from_numpy(np.concatenate([order, copies])))
    with torch.no_grad():
        pooled = network.pooled(inputs)
        whole, dropped = pooled[:N], pooled[N:]
        target = targets("classes")[0]
        samples = torch.from_numpy(copies % N)
        loss = target.loss(network.outputs(whole)["task"], torch.from_numpy(order))
        loss = loss + len(copies) / N * target.loss(network.outputs(dropped)["task"], samples)
        place = torch.tensor([list(order).index(int(sample)) for sample in samples])
        ready = network.standardised(whole[place]), network.standardised(dropped)
        loss = loss + 0.5 * consistency_loss(*ready, 0.1)
    still = {"step": lambda _self: None, "zero_grad": lambda _self, **_more: None}
    monkeypatch.setattr(finetuner, "_optimizer", type("Still", (), still)())
    assert finetuner._epoch(ROWS, 0) == pytest.approx(float(loss), abs=1e-5)


def test_epochs_are_chosen_with_and_without_each_omic() -> None:
    finetuner, target = make(max_epochs=0), targets("classes")[0]

    def loss(rows: np.ndarray, without: int | None) -> float:
        return float(target.loss(finetuner.outputs(rows, without)["task"], torch.from_numpy(rows)))

    # 20 of the 24 samples have both omics; a copy without either counts 0.7 / 2.
    expected = loss(ROWS, None) + 0.7 * 20 / 24 / 2 * (loss(ROWS[:20], 0) + loss(ROWS[:20], 1))
    assert finetuner.search(ROWS, ROWS).losses[0] == pytest.approx(expected, abs=1e-6)
    alone = make(max_epochs=0, modality_dropout=0.0, consistency_weight=0.0)
    assert alone.search(ROWS, ROWS).losses[0] == pytest.approx(loss(ROWS, None), abs=1e-6)


def test_it_repeats_itself_and_learns_to_do_without() -> None:
    torch.testing.assert_close(trained(make()), trained(make()))
    finetuner = make(batch_size=8)
    finetuner.fit(ROWS, 30)
    paired = ROWS[:20]
    for without in (None, 0, 1):
        found = finetuner.outputs(paired, without)["task"].argmax(dim=1).numpy()
        assert (found == CLASSES[:20]).mean() > 0.9


def test_a_frozen_encoder_takes_the_embeddings_that_it_has() -> None:
    finetuner = make(adapter="none", max_epochs=2)
    before = finetuner.outputs(ROWS, 1)["task"]
    finetuner.fit(ROWS, 2)
    assert not torch.allclose(finetuner.outputs(ROWS, 1)["task"], before)
    expected = finetuner.network.eval()(DroppableTokens(TOKENS, 2).take(torch.from_numpy(ROWS + 2 * N)))["task"]
    torch.testing.assert_close(finetuner.outputs(ROWS, 1)["task"], expected)


def test_genes_are_not_drawn_for_a_model_that_reads_all() -> None:
    torch.testing.assert_close(trained(make(genes_per_step=3, inner_genes=2)), trained(make()))


def test_refusals() -> None:
    with pytest.raises(ValidationError, match="set modality_dropout above 0"):
        FinetuneConfig(consistency_weight=1.0)
    with pytest.raises(ConfigError, match="modality_dropout is for models that read several omics"):
        network = make().network
        Finetuner(
            network,
            FinetuneData(TOKENS, targets("classes"), torch.zeros(N, 8)),
            FinetuneConfig(modality_dropout=0.5),
            0,
            CPU,
        )
