"""Recipes: found by the model's name, loaded late, with presets of their own; sums, and how processes share them."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bulkrnabert import config, keys
from bulkrnabert.config import preset_names, preset_path
from bulkrnabert.data.tokens import Tokens
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.models.bulkrnabert import BulkRNABertConfig
from bulkrnabert.train.batches import MicroBatch, split_off_validation, validation_shares
from bulkrnabert.train.checkpoint import StateFolder
from bulkrnabert.train.config import MaskedTrainConfig
from bulkrnabert.train.engine import TorchEngine
from bulkrnabert.train.loop import Trainer, describe_measures
from bulkrnabert.train.losses import MaskedPrediction
from bulkrnabert.train.mixture import mix_cohorts
from bulkrnabert.train.model_card import TrainingData, model_card
from bulkrnabert.train.recipes import RunData, Validation, check_token_ids, recipe_class
from bulkrnabert.train.recipes_bulkrnabert import BulkRNABertRecipe
from bulkrnabert.train.records import NoRecords
from bulkrnabert.train.stopping import StopWatch

MODEL = BulkRNABertConfig(n_genes=30, embed_dim=16, init_gene_embed_dim=8, n_heads=2, ffn_embed_dim=32, n_layers=1)


@pytest.fixture
def recipe(tokens: Tokens, train_config: MaskedTrainConfig) -> BulkRNABertRecipe:
    parts = split_off_validation(tokens.samples, 0.2, seed=0)
    assert len(parts.validation_idx) == 7  # one batch
    order = mix_cohorts(tokens.samples, parts.fit_idx, None, 32, seed=0)
    return BulkRNABertRecipe(MODEL, RunData(tokens, parts, order, train_config, seed=0))


def test_a_recipe_is_found_by_the_name_of_the_model() -> None:
    assert recipe_class("bulkrnabert") is BulkRNABertRecipe
    with pytest.raises(ConfigError, match="a model 'bert' that cannot be pretrained: choose one of bulkrnabert"):
        recipe_class("bert")


def test_recipes_load_no_model_that_is_not_asked_for() -> None:
    code = (
        "import sys; from bulkrnabert.train.recipes import recipe_class; "
        "sys.exit(any(name.startswith('bulkrnabert.train.recipes_') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_presets_of_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tiny.yaml", "paper.yaml", "other.tiny.yaml"):
        (tmp_path / name).touch()
    monkeypatch.setattr(config, "_preset_folders", lambda kind: [tmp_path])
    assert preset_names("model") == ["paper", "tiny"]
    assert preset_names("model", "other") == ["tiny"]
    assert preset_path("model", "tiny", "other") == tmp_path / "other.tiny.yaml"
    with pytest.raises(ConfigError, match="no other model preset named 'paper': choose one of tiny, or give a YAML"):
        preset_path("model", "paper", "other")
    with pytest.raises(ConfigError, match=r"no third model preset named 'tiny': choose one of \(there is none\)"):
        preset_path("model", "tiny", "third")
    with pytest.raises(ConfigError, match=r"no model preset named 'other\.tiny'"):
        preset_path("model", "other.tiny")


def test_tokens_that_are_no_bins_are_named(tokens: Tokens) -> None:
    token_ids = np.tile(tokens.token_ids, 2)  # two omics
    check_token_ids(replace(tokens, token_ids=token_ids), 64)
    token_ids[0, 0] = token_ids[9, 32] = keys.PAD_ID  # the first is held out
    with pytest.raises(DataError, match=r"1 tokens .* the first is 64 at sample S9, gene ENSG00000000002"):
        check_token_ids(replace(tokens, token_ids=token_ids), 64)


def test_shares_of_the_validation_by_hand() -> None:
    rows = np.arange(100, 120)  # batches of 8, 8 and 4
    second = list(validation_shares(rows, rank=1, world_size=2))
    assert [(share.number, len(share.rows), share.counts) for share in second] == [(1, 8, True), (2, 4, False)]
    assert list(second[1].rows) == [116, 117, 118, 119]


def test_validation_sums_by_hand(recipe: BulkRNABertRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gene 7 is most often in bin 3, gene 9 in bin 4; the second sample has one target only."""
    monkeypatch.setitem(recipe.__dict__, "_most_frequent_bins", np.where(np.arange(30) == 7, 3, 4))
    batch = MicroBatch(
        inputs=torch.zeros(2, 2, dtype=torch.long),
        masked_idx=torch.tensor([[0, 1], [1, 0]]),
        targets=torch.tensor([[3, 8], [4, -100]]),
        gene_idx=torch.tensor([7, 9]),
    )
    prediction = MaskedPrediction(
        loss=torch.tensor(0.75),
        sums={"n_correct": torch.tensor(1), "n_targets": torch.tensor(3)},
        predicted=torch.tensor([[3, 9], [5, 0]]),
    )
    sums = recipe.validation_sums(batch, prediction)
    assert sums == {
        "loss": 3.0,
        "n_correct": 1.0,
        "n_targets": 3.0,
        "n_baseline": 2.0,
        "correlation": pytest.approx(1.0),
        "n_correlated": 1.0,
        "n_samples": 2.0,
    }
    found = recipe.validation(sums)
    assert found.record() == {
        "loss": 1.0,
        "masked_accuracy": pytest.approx(1 / 3),
        "baseline_accuracy": pytest.approx(2 / 3),
        "spearman": pytest.approx(1.0),
        "n_samples": 2,
    }
    assert recipe.validation({**sums, "n_correlated": 0.0}).measures["spearman"] is None


def test_a_repeated_batch_adds_nothing(recipe: BulkRNABertRecipe, tmp_path: Path) -> None:
    """Of three processes that share one batch, the others only keep step."""

    class OneOfThree(TorchEngine):
        def __init__(self, rank: int) -> None:
            super().__init__(recipe.objective(recipe.build(), False), recipe.data.train, torch.device("cpu"))
            self.rank, self.world_size = rank, 3  # type: ignore[misc]
            self.own: list[float] = []

        def sum_over_processes(self, values: list[float]) -> list[float]:
            self.own = values
            return [1.0] * len(values)

    found = []
    for rank in range(3):
        engine = OneOfThree(rank)
        states = StateFolder(tmp_path, {}, keep_best=False)
        Trainer(engine, recipe, states, NoRecords(), StopWatch(None, time.time())).validate()
        found.append(engine.own)
    assert found[0][-1] == 7 and found[0][0] > 0
    assert found[1] == found[2] == [0.0] * len(found[0])


def test_measures_as_text() -> None:
    assert describe_measures(1.25, {"masked_accuracy": 0.5, "spearman": None}) == "loss 1.250, masked accuracy 0.500"


def test_the_card_has_the_lines_of_the_recipe(recipe: BulkRNABertRecipe, train_config: MaskedTrainConfig) -> None:
    validation = Validation(2.0, {"masked_accuracy": 0.25, "baseline_accuracy": 0.125, "spearman": None}, 8)
    data = TrainingData(
        {"C0": 16, "C1": 16}, 32, 24, 8, 8, "r0f0", "ab" * 32, 6, "cd" * 32, "open", {"rnaseq": "log2(tpm+1)"}
    )
    summary = {"n_parameters": 1234, "train_s": 7200.0, "n_processes": 2, "device": "cuda"}
    card = model_card("bulkrnabert", recipe.card(validation), train_config, data, summary, seed=0, version="1")
    text = card.text()
    for line in (
        "# BulkRNABert encoder, pretrained by masked language modelling",
        "Unit before binning: tpm.",
        "1,234 parameters; 30 genes, 64 bins, 1 layers of width 16,\n2 heads, feed-forward 32.",
        "8 steps of 4 samples x 20 genes a step, 15% of the genes masked;",
        "| loss (nats) | 2.0000 |\n| masked accuracy | 0.2500 |",
        "| Spearman of true and predicted bins | not estimable |",
    ):
        assert line in text
