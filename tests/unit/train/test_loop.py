"""The loop on the torch engine: it learns, resumes exactly, stops, and refuses a loss that is not finite."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bulkrnabert.data.tokens import Tokens
from bulkrnabert.errors import RunMeAgain, TrainingError
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.train.batches import split_off_validation
from bulkrnabert.train.checkpoint import StateFolder
from bulkrnabert.train.config import MaskedTrainConfig
from bulkrnabert.train.engine import TorchEngine, build_optimizer
from bulkrnabert.train.loop import Trainer, TrainingResult
from bulkrnabert.train.losses import MaskedLanguageModel, MaskedPrediction
from bulkrnabert.train.mixture import mix_cohorts
from bulkrnabert.train.recipes import RunData
from bulkrnabert.train.recipes_bulkrnabert import BulkRNABertRecipe, flops_per_sample
from bulkrnabert.train.records import RecordWriter
from bulkrnabert.train.stopping import StopWatch

MODEL = BulkRNABertConfig(n_genes=30, embed_dim=16, init_gene_embed_dim=8, n_heads=2, ffn_embed_dim=32, n_layers=1)


class StopAfter(StopWatch):
    """Wants to stop when it has been asked a number of times."""

    def __init__(self, n_steps: int) -> None:
        super().__init__(None, time.time())
        self._left = n_steps

    def reason(self) -> str | None:
        self._left -= 1
        self.last_reason = "test" if self._left <= 0 else None
        return self.last_reason


Run = Callable[..., tuple[TrainingResult, dict[str, torch.Tensor]]]


@pytest.fixture
def run(tokens: Tokens, train_config: MaskedTrainConfig, tmp_path: Path) -> Run:
    def start(
        config: MaskedTrainConfig = train_config, model: BulkRNABertConfig = MODEL, stop: StopWatch | None = None
    ) -> tuple[TrainingResult, dict[str, torch.Tensor]]:
        states = StateFolder(tmp_path, {}, keep_best=True)
        state = states.load()
        parts = split_off_validation(tokens.samples, 0.05, 0)
        order = mix_cohorts(tokens.samples, parts.fit_idx, None, config.steps * config.global_batch_size, seed=0)
        recipe = BulkRNABertRecipe(model, RunData(tokens, parts, order, config, seed=0))
        network = recipe.build()
        if state is not None:
            network.load_state_dict(dict(state.weights))
        engine = TorchEngine(recipe.objective(network, use_bf16=False), config, torch.device("cpu"))
        if state is not None:
            engine.load_moments(state.moments, state.step)
        with RecordWriter(states.records_path, state.records_bytes if state else 0) as records:
            trainer = Trainer(engine, recipe, states, records, stop or StopWatch(None, time.time()))
            result = trainer.run(state.step if state else 0)
        return result, {name: value.detach().clone() for name, value in network.named_parameters()}

    return start


def records(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_records_of_a_run(run: Run, tmp_path: Path) -> None:
    result, _ = run()
    found = records(tmp_path)
    assert [(record["kind"], record["step"]) for record in found if record["kind"] == "validation"] == [
        ("validation", 0),
        ("validation", 4),
        ("validation", 8),
    ]
    assert [record["step"] for record in found if record["kind"] == "train"] == list(range(1, 9))
    assert found[0]["loss"] == pytest.approx(math.log(64), abs=0.3)
    assert found[-1]["loss"] == result.validation.loss
    assert list(found[0]) == ["kind", "step", "loss", "masked_accuracy", "baseline_accuracy", "spearman", "n_samples"]
    assert list(found[1]) == ["kind", "step", "loss", "masked_accuracy", "lr", "grad_norm", "tokens_per_s"]
    assert 0 <= found[0]["baseline_accuracy"] <= 1
    assert result.speed.n_steps == 8
    assert result.speed.peak_memory_bytes > 1e6


def test_it_learns_more_than_the_most_frequent_bin_knows(run: Run, train_config: MaskedTrainConfig) -> None:
    config = train_config.model_copy(
        update={"steps": 400, "learning_rate": 1e-2, "global_batch_size": 16, "micro_batch_size": 16}
    )
    result, _ = run(config.model_copy(update={"validate_every": 400, "checkpoint_every": 400}))
    accuracy, baseline, correlation = (
        result.validation.measures[name] or 0.0 for name in ("masked_accuracy", "baseline_accuracy", "spearman")
    )
    assert accuracy > baseline + 0.03
    assert correlation > 0.9


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_stopped_and_resumed_is_the_same_run(
    run: Run, tmp_path: Path, dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MODEL.model_copy(update={"dropout": dropout})
    _, undisturbed = run(model=model)
    whole = [(record["kind"], record["step"], record["loss"]) for record in records(tmp_path)]
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(RunMeAgain, match=r"stopped after step 3 of 8 \(test\)"):
        run(model=model, stop=StopAfter(3))
    with (tmp_path / "records.jsonl").open("a") as handle:
        handle.write('{"kind": "train", "step": 4, "lo')  # what a kill leaves behind
    _, resumed = run(model=model)
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)
    assert [(record["kind"], record["step"], record["loss"]) for record in records(tmp_path)] == whole


def test_a_changed_seed_would_be_noticed(run: Run, tmp_path: Path, train_config: MaskedTrainConfig) -> None:
    """The control of the test above: other masks give other weights."""
    _, first = run()
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    _, second = run(train_config.model_copy(update={"mask_fraction": 0.2}))
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_accumulation_changes_rounding_only(run: Run, tmp_path: Path, train_config: MaskedTrainConfig) -> None:
    run(train_config.model_copy(update={"micro_batch_size": 4}))
    whole = [record["loss"] for record in records(tmp_path)]
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    run(train_config.model_copy(update={"micro_batch_size": 1}))
    assert [record["loss"] for record in records(tmp_path)] == pytest.approx(whole, abs=2e-6)


def test_no_stop_at_the_last_step(run: Run) -> None:
    run(stop=StopAfter(8))


def test_a_loss_that_is_not_finite_stops_training(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = MaskedLanguageModel.forward
    calls = iter(range(1000))

    def broken(self: MaskedLanguageModel, *batch: torch.Tensor) -> MaskedPrediction:
        prediction = forward(self, *batch)
        if torch.is_grad_enabled() and next(calls) >= 10:  # two micro-batches a step: the sixth step
            return replace(prediction, loss=prediction.loss * math.nan)
        return prediction

    monkeypatch.setattr(MaskedLanguageModel, "forward", broken)
    with pytest.raises(TrainingError, match="the loss is nan at step 6 of 8"):
        run()
    found = StateFolder(tmp_path, {}, keep_best=True).load()
    assert found is not None
    assert found.step == 4
    assert all(bool(torch.isfinite(value).all()) for value in found.weights.values())


def test_no_weight_decay_on_norms_biases_and_tables(train_config: MaskedTrainConfig) -> None:
    objective = MaskedLanguageModel(BulkRNABert(MODEL))
    decayed, others = build_optimizer(objective, train_config).param_groups
    assert decayed["weight_decay"] == train_config.weight_decay
    assert others["weight_decay"] == 0
    names = {id(parameter): name for name, parameter in objective.named_parameters()}
    assert all("embedding" not in names[id(parameter)] for parameter in decayed["params"])
    assert any("expression_embedding" in names[id(parameter)] for parameter in others["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(names)


def test_flops_by_hand() -> None:
    # One layer, width 16, 2 heads of 8, feed-forward 32, 10 genes, 2 masked, 64 bins. Keys and values of every gene:
    # 2 x 2 x 256 = 1024. Of the masked ones: query, output and feed-forward 2 x (2 x 256 + 2 x 512) = 3072, attention
    # 4 x 10 x 16 = 640. Head 2 x 2 x 16 x 64 = 4096.
    assert flops_per_sample(MODEL, n_genes=10, n_masked=2) == 3 * (10 * 1024 + 2 * (3072 + 640) + 4096)
    # A second layer comes before, with all of it for every gene.
    two_layers = MODEL.model_copy(update={"n_layers": 2})
    assert flops_per_sample(two_layers, 10, 2) == 3 * (10 * (1024 + 3712) + 10 * 1024 + 2 * 3712 + 4096)
