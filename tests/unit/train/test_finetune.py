"""Fine-tuning learns, repeats itself, and does not depend on how the batch is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bulkrnabert.config import preset_names, preset_path
from bulkrnabert.errors import ConfigError, TrainingError
from bulkrnabert.keys import MASK_ID
from bulkrnabert.models.adapters import AdapterConfig
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.finetuned import FinetunedConfig, FinetunedNetwork, embedding_width
from bulkrnabert.models.heads import HeadConfig
from bulkrnabert.train.finetune import (
    Curve,
    FinetuneConfig,
    FinetuneData,
    Finetuner,
    TaskConfig,
    pooled_embeddings,
)
from bulkrnabert.train.targets import ClassTarget, CoxTarget, Target

N, G = 30, 12
CPU = torch.device("cpu")
ROWS = np.arange(N, dtype=np.int64)
RNG = np.random.default_rng(0)
CLASSES = np.arange(N) % 3
TOKENS = (RNG.integers(0, 20, (N, G)) + 12 * CLASSES[:, None] * (np.arange(G) % 2)).astype(np.uint8)
TIMES = 1000.0 - 12.0 * TOKENS[:, 1] + RNG.random(N)


def class_target() -> Target:
    return ClassTarget("cancer_type", CLASSES.astype(np.int64), 3)


def cox_target() -> Target:
    return CoxTarget("survival", TIMES, np.ones(N, dtype=np.int64), np.zeros(N, dtype=np.int64))


def make(targets: list[Target], tokens: np.ndarray = TOKENS, **settings: object) -> Finetuner:
    values = {"learning_rate": 0.02, "head_learning_rate": 0.02, "batch_size": 10, "max_epochs": 20, **settings}
    config = FinetuneConfig.model_validate(values)
    encoder = BulkRNABert(
        BulkRNABertConfig(
            n_genes=G, embed_dim=16, init_gene_embed_dim=8, n_heads=2, ffn_embed_dim=16, n_layers=2, dropout=0.3
        ),
        torch.Generator().manual_seed(1),
    )
    pooling = "mean" if config.pooling == "auto" else config.pooling
    heads = {
        target.name: HeadConfig(
            n_inputs=embedding_width(encoder, pooling), n_outputs=target.n_outputs, hidden=config.head_hidden
        )
        for target in targets
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = FinetunedNetwork(
            encoder, FinetunedConfig(adapter=config.adapter, pooling=pooling, layer=config.layer, heads=heads)
        )
    start = pooled_embeddings(network, tokens, CPU)
    finetuner = Finetuner(network, FinetuneData(tokens, targets, start), config, 0, CPU)
    finetuner.standardise(ROWS)
    return finetuner


def weights(finetuner: Finetuner) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in finetuner.network.own_tensors().values()])


@pytest.mark.parametrize("kind", ["ia3", "lora", "full"])
def test_it_overfits_one_batch_of_classes(kind: str) -> None:
    finetuner = make([class_target()], adapter={"kind": kind}, batch_size=N, head_hidden=[16], head_dropout=0.0)
    finetuner.fit(ROWS, 80)
    outputs = finetuner.outputs(ROWS)["cancer_type"]
    assert (outputs.argmax(dim=1).numpy() == CLASSES).all()
    assert float(class_target().loss(outputs, torch.from_numpy(ROWS))) < 0.3


def test_it_learns_an_order_of_survival() -> None:
    finetuner = make([cox_target()])
    before = finetuner.outputs(ROWS)["survival"][:, 0].numpy()
    assert (before == 0).all()
    finetuner.fit(ROWS, 60)
    risk = finetuner.outputs(ROWS)["survival"][:, 0].numpy()
    concordant = np.mean((risk[:, None] > risk[None, :])[TIMES[:, None] < TIMES[None, :]])
    assert concordant > 0.85


@pytest.mark.parametrize("targets", [[class_target()], [cox_target()], [class_target(), cox_target()]])
@pytest.mark.parametrize("genes", [None, 7])
def test_the_micro_batch_changes_nothing(targets: list[Target], genes: int | None) -> None:
    settings = {"genes_per_step": genes, "head_hidden": [8], "learning_rate": 1e-3, "head_learning_rate": 1e-3}
    whole = make(targets, micro_batch_size=N, **settings)
    cut = make(targets, micro_batch_size=4, **settings)
    for finetuner in (whole, cut):
        finetuner.fit(ROWS, 3)
    torch.testing.assert_close(weights(cut), weights(whole), atol=1e-5, rtol=1e-4)


def test_same_seed_same_result_and_the_global_seed_does_not_matter() -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        finetuner = make([class_target()], head_hidden=[8], head_dropout=0.5, genes_per_step=6)
        curve = finetuner.search(ROWS[:24], ROWS[24:])
        found.append((curve.losses, weights(finetuner)))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1], found[1][1], atol=0, rtol=0)


def test_a_search_ends_in_its_best_epoch() -> None:
    finetuner = make([class_target()], learning_rate=0.3, head_learning_rate=0.3, patience=2)
    curve = finetuner.search(ROWS[:24], ROWS[24:])
    assert curve.best_epoch < len(curve.losses) - 1 <= curve.best_epoch + 2
    assert len(curve.train_losses) == len(curve.seconds) == len(curve.losses) - 1
    outputs = finetuner.outputs(ROWS[24:])["cancer_type"]
    assert float(class_target().loss(outputs, torch.from_numpy(ROWS[24:]))) == pytest.approx(
        min(curve.losses), abs=1e-6
    )


def test_no_epochs_leave_the_heads_as_they_start() -> None:
    finetuner = make([class_target()], max_epochs=0)
    before = weights(finetuner)
    assert finetuner.search(ROWS[:24], ROWS[24:]).best_epoch == 0
    torch.testing.assert_close(weights(finetuner), before)


def test_a_frozen_encoder_is_read_from_the_start_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    finetuner = make([class_target()], adapter={"kind": "none"})
    monkeypatch.setattr(FinetunedNetwork, "pooled", None)
    finetuner.fit(ROWS, 5)
    assert finetuner.outputs(ROWS)["cancer_type"].shape == (N, 3)


def test_a_learned_pooling_on_a_frozen_encoder_is_trained() -> None:
    finetuner = make([class_target()], adapter={"kind": "none"}, pooling="attention")
    pooling = finetuner.network.attention_pooling
    assert pooling is not None and (pooling.score.weight == 0).all()
    finetuner.fit(ROWS, 2)
    assert (pooling.score.weight != 0).any()


def test_missing_genes_matter() -> None:
    finetuner = make([class_target()], adapter={"kind": "none"})
    hidden = TOKENS.copy()
    hidden[:, 0] = MASK_ID
    changed = pooled_embeddings(finetuner.network, hidden, CPU)
    assert not torch.allclose(changed, pooled_embeddings(finetuner.network, TOKENS, CPU), atol=1e-3)


def test_inner_genes_are_drawn_once() -> None:
    finetuner = make([class_target()], inner_genes=5, learning_rate=1e-12, head_learning_rate=1e-12, patience=4)
    losses = finetuner.search(ROWS[:20], ROWS[20:]).losses
    assert losses == pytest.approx([losses[0]] * len(losses), abs=1e-6)


def test_a_loss_that_is_not_finite_stops() -> None:
    finetuner = make([class_target()])
    finetuner.network.heads["cancer_type"].layers[0].weight.data[:] = torch.inf  # type: ignore[union-attr, index]
    with pytest.raises(TrainingError, match="loss is nan in epoch 1: lower learning_rate"):
        finetuner.fit(ROWS, 1)


def test_the_curve_names_its_best_epoch() -> None:
    assert Curve((0.5, 0.4, 0.3, 0.6)).best_epoch == 2
    assert Curve((0.1, 0.4)).best_epoch == 0


def test_presets_and_own_files(tmp_path: Path) -> None:
    assert preset_names("task") == ["default", "panel", "paper"]
    for name in preset_names("task"):
        TaskConfig.from_yaml(preset_path("task", name))
    paper = TaskConfig.from_yaml(preset_path("task", "paper"))
    assert paper.of_tasks(["cancer_type"]).head_hidden == (256, 128)
    assert paper.of_tasks(["survival"]).head_hidden == (512, 256)
    assert paper.of_tasks(["survival"]).adapter == AdapterConfig(kind="none")
    assert paper.of_tasks(["cancer_type", "survival"]) == paper.joint
    path = tmp_path / "own.yaml"
    path.write_text("survival: {max_epoch: 3}\n")
    with pytest.raises(ConfigError, match=r"own\.yaml: `survival\.max_epoch`"):
        TaskConfig.from_yaml(path)
