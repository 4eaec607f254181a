"""Pretraining of GexBERT: what a step sees, what is measured, and the whole loop."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from bulkrnabert import keys
from bulkrnabert.config import preset_names, preset_path
from bulkrnabert.data.tokenizer import BinnedTokenizer, Selection
from bulkrnabert.data.tokens import Tokens, write_tokens
from bulkrnabert.errors import ConfigError, DataError, RunMeAgain
from bulkrnabert.models.gexbert import GexBERT, GexBERTConfig
from bulkrnabert.models.registry import load_network
from bulkrnabert.train.batches import split_off_validation
from bulkrnabert.train.checkpoint import StateFolder
from bulkrnabert.train.engine import TorchEngine
from bulkrnabert.train.loop import Trainer, TrainingResult
from bulkrnabert.train.losses_gexbert import Restoration
from bulkrnabert.train.mixture import mix_cohorts
from bulkrnabert.train.recipes import RunData, recipe_class
from bulkrnabert.train.recipes_gexbert import GexBERTRecipe, RestorationConfig, flops_per_sample
from bulkrnabert.train.records import RecordWriter
from bulkrnabert.train.stopping import StopWatch

N_GENES = 20
SIZES = {"embed_dim": 16, "n_heads": 2, "ffn_embed_dim": 32, "n_layers": 1, "summary_ffn_dim": 32}
FACTORS = "n_factors: 6\nn_prototypes: 3\nsummary_dim: 24\n"


@pytest.fixture
def gene_tokens() -> Tokens:
    """60 samples (8 held out) of 20 genes that follow two programmes; the first ten of them lack genes 0 to 4."""
    rng = np.random.default_rng(0)
    programmes = rng.normal(size=(60, 2))
    values = programmes @ rng.normal(size=(2, N_GENES)) + 0.3 * rng.normal(size=(60, N_GENES))
    expression = np.exp(values).astype(np.float32)
    expression[:10, :5] = np.nan
    tokenizer = BinnedTokenizer.fit_standardised(Selection(expression, rows=np.arange(8, 60)), "tpm")
    samples = pd.DataFrame(
        {
            keys.SAMPLE_ID: [f"S{row}" for row in range(60)],
            keys.PATIENT_ID: [f"P{row}" for row in range(60)],
            keys.COHORT: "C",
            keys.PART: [keys.HELD_OUT if row < 8 else keys.TRAIN for row in range(60)],
        }
    )
    return Tokens(
        samples=samples,
        token_ids=tokenizer.encode(expression, "tpm"),
        gene_ids=tuple(f"ENSG{gene:011d}" for gene in range(N_GENES)),
        tokenizers={keys.RNASEQ: tokenizer},
        split_id="r0f0",
        split_sha256="ab" * 32,
        model=keys.GEXBERT,
        values=tokenizer.standardise(expression, "tpm"),
    )


@pytest.fixture
def settings() -> RestorationConfig:
    return RestorationConfig(
        steps=8,
        global_batch_size=4,
        micro_batch_size=2,
        min_known=3,
        max_known=10,
        targets_per_step=6,
        learning_rate=3e-3,
        validate_every=4,
        checkpoint_every=4,
    )


@pytest.fixture
def model_yaml(tmp_path: Path) -> Path:
    path = tmp_path / "model.yaml"
    path.write_text("".join(f"{name}: {value}\n" for name, value in SIZES.items()))
    return path


MakeRecipe = Callable[..., GexBERTRecipe]


@pytest.fixture
def make_recipe(gene_tokens: Tokens, settings: RestorationConfig, model_yaml: Path) -> MakeRecipe:
    def make(train: RestorationConfig = settings, **changes: object) -> GexBERTRecipe:
        model = GexBERTRecipe.configure(model_yaml, gene_tokens, train).model_copy(update=changes)
        parts = split_off_validation(gene_tokens.samples, 0.05, 0)
        order = mix_cohorts(gene_tokens.samples, parts.fit_idx, None, train.steps * train.global_batch_size, seed=0)
        recipe = GexBERTRecipe(model, RunData(gene_tokens, parts, order, train, seed=0))
        assert recipe_class(keys.GEXBERT) is type(recipe)
        return recipe

    return make


def test_a_step_reads_some_genes_and_restores_others(make_recipe: MakeRecipe, gene_tokens: Tokens) -> None:
    recipe = make_recipe()
    values = gene_tokens.values
    assert values is not None
    sizes = set()
    for step in range(8):
        batch = recipe.micro_batch(step, 0, 4)
        rows = recipe.data.order.rows(step * 4 + np.arange(4))
        sizes.add(batch.known_ids.shape[1])
        assert batch.known_ids.shape == batch.known_idx.shape == (4, recipe.n_known_at(step))
        assert batch.target_idx.shape == batch.targets.shape == (4, 6)
        assert recipe.n_tokens_at(step) == recipe.n_known_at(step) + 6
        for row, ids, known, targets, truth in zip(
            rows, batch.known_ids, batch.known_idx, batch.target_idx, batch.targets, strict=True
        ):
            is_there = ids != keys.PAD_ID
            has_truth = ~truth.isnan()
            read, restored = known[is_there].tolist(), targets[has_truth].tolist()
            assert len({*read, *restored}) == len(read) + len(restored), "no gene twice, no target among the input"
            assert not np.isnan(values[row, [*read, *restored]]).any(), "only genes with a value"
            np.testing.assert_allclose(truth[has_truth], np.clip(values[row, restored], -5, 5))
            shown = ids[is_there]
            same = shown == torch.from_numpy(gene_tokens.token_ids[row, read].astype(np.int64))
            assert bool((same | (shown == keys.MASK_ID)).all())
    assert min(sizes) >= 3
    assert max(sizes) <= 10
    assert len(sizes) > 3


def test_a_sample_with_few_values_is_padded(make_recipe: MakeRecipe, gene_tokens: Tokens) -> None:
    few = gene_tokens.token_ids.copy()
    values = np.array(gene_tokens.values)
    few[20, 4:], values[20, 4:] = keys.MASK_ID, np.nan
    few[21], values[21] = keys.MASK_ID, np.nan
    recipe = make_recipe()
    data = replace(recipe.data, tokens=replace(gene_tokens, token_ids=few, values=values))
    recipe = GexBERTRecipe(recipe.model, data)
    batch = recipe._draw(np.array([20, 21]), 3, 0.0, [np.random.default_rng(0), np.random.default_rng(1)])
    assert (batch.known_ids == keys.PAD_ID).sum(dim=1).tolist() == [0, 2]
    assert batch.known_ids[1, 0] == keys.MASK_ID, "a sample without any value is one missing value"
    assert (~batch.targets.isnan()).sum(dim=1).tolist() == [1, 0]
    prediction = recipe.objective(recipe.build(), use_bf16=False)(*batch.arguments(torch.device("cpu")))
    assert bool(torch.isfinite(prediction.loss))
    assert int(prediction.sums["n_targets"]) == 1


def test_hidden_inputs_are_as_many_as_asked_for(make_recipe: MakeRecipe, settings: RestorationConfig) -> None:
    def hidden_share(fraction: float) -> float:
        recipe = make_recipe(settings.model_copy(update={"hidden_fraction": fraction, "steps": 200}))
        ids = torch.cat([recipe.micro_batch(step, 0, 4).known_ids.flatten() for step in range(200)])
        return float((ids == keys.MASK_ID).float().mean())

    assert hidden_share(0.0) == 0
    assert hidden_share(0.3) == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize("head", ["gaussian", "bins"])
def test_the_loss_by_hand(head: str) -> None:
    model = GexBERTConfig.model_validate({**SIZES, "n_genes": 6, "head": head})
    network = GexBERT(model, torch.Generator().manual_seed(0)).eval()
    ids, known, target = torch.tensor([[3, 40]]), torch.tensor([[0, 4]]), torch.tensor([[1, 2]])
    truth = torch.tensor([[0.5, math.nan]])
    prediction = Restoration(network, deviation_weight=0.2)(ids, known, target, truth)
    restored = network.restore(ids, known, target)
    error, deviation = 0.5 - restored.mean[0, 0], restored.deviation[0, 0]
    if head == "gaussian":
        expected = 0.5 * error**2 + 0.2 * (deviation.log() + 0.5 * (error / deviation) ** 2)
    else:  # 0.5 is in the bin [0.46875, 0.625]: the fourth above the middle
        expected = -network.stated(ids, known, target)[0, 0].log_softmax(dim=0)[35]
    assert_close(prediction.loss, expected / 2)  # over both places, whether they have a value or not
    assert_close(prediction.sums["squared_error"], (error**2).detach())
    assert int(prediction.sums["n_targets"]) == 1


def test_measures_by_hand(make_recipe: MakeRecipe) -> None:
    true, restored = np.array([1.0, -1.0, 3.0, 1.0]), np.array([0.0, -2.0, 2.0, 1.0])
    sums = {
        "loss": 8.0,
        "n_targets": 4.0,
        "squared_error": float(((true - restored) ** 2).sum()),
        "true": float(true.sum()),
        "restored": float(restored.sum()),
        "true_true": float((true**2).sum()),
        "restored_restored": float((restored**2).sum()),
        "true_restored": float((true * restored).sum()),
        "n_samples": 2.0,
    }
    validation = make_recipe().validation(sums)
    assert validation.loss == 2.0
    assert validation.measures["rmse"] == pytest.approx(math.sqrt(3 / 4))
    assert validation.measures["baseline_rmse"] == pytest.approx(math.sqrt(3))
    assert validation.measures["pearson"] == pytest.approx(np.corrcoef(true, restored)[0, 1])
    constant = {**sums, "restored": 0.0, "restored_restored": 0.0, "true_restored": 0.0}
    assert make_recipe().validation(constant).measures["pearson"] is None


Run = Callable[..., tuple[TrainingResult, dict[str, torch.Tensor]]]


@pytest.fixture
def run(make_recipe: MakeRecipe, settings: RestorationConfig, tmp_path: Path) -> Run:
    def start(
        name: str, train: RestorationConfig = settings, stop: StopWatch | None = None, **changes: object
    ) -> tuple[TrainingResult, dict[str, torch.Tensor]]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        states = StateFolder(folder, {}, keep_best=True)
        state = states.load()
        recipe = make_recipe(train, **changes)
        network = recipe.build()
        if state is not None:
            network.load_state_dict(dict(state.weights))
        else:
            recipe.start_from_data(network)
        engine = TorchEngine(recipe.objective(network, use_bf16=False), train, torch.device("cpu"))
        if state is not None:
            engine.load_moments(state.moments, state.step)
        with RecordWriter(states.records_path, state.records_bytes if state else 0) as records:
            result = Trainer(engine, recipe, states, records, stop or StopWatch(None, time.time())).run(
                state.step if state else 0
            )
        return result, {key: value.detach().clone() for key, value in network.named_parameters()}

    return start


class StopAfter(StopWatch):
    """Wants to stop when it has been asked a number of times."""

    def __init__(self, n_steps: int) -> None:
        super().__init__(None, time.time())
        self._left = n_steps

    def reason(self) -> str | None:
        self._left -= 1
        self.last_reason = "test" if self._left <= 0 else None
        return self.last_reason


def losses(folder: Path) -> list[float]:
    lines = (folder / keys.RECORDS_JSONL).read_text().splitlines()
    return [record["loss"] for record in map(json.loads, lines) if record["kind"] != "summary"]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_stopped_and_resumed_is_the_same_run(run: Run, tmp_path: Path, model_yaml: Path, dropout: float) -> None:
    model_yaml.write_text(model_yaml.read_text() + FACTORS)
    _, undisturbed = run("whole", dropout=dropout)
    with pytest.raises(RunMeAgain):
        run("parts", stop=StopAfter(3), dropout=dropout)
    _, resumed = run("parts", dropout=dropout)
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_accumulation_changes_rounding_only(run: Run, tmp_path: Path, settings: RestorationConfig) -> None:
    run("whole", settings.model_copy(update={"micro_batch_size": 4}))
    run("parts", settings.model_copy(update={"micro_batch_size": 1}))
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)


def test_it_restores_better_than_the_mean(run: Run, settings: RestorationConfig) -> None:
    longer = {"steps": 250, "global_batch_size": 16, "micro_batch_size": 16, "learning_rate": 1e-2}
    result, _ = run("learns", settings.model_copy(update={**longer, "validate_every": 250, "checkpoint_every": 250}))
    rmse, baseline, pearson = (result.validation.measures[name] or 0.0 for name in ("rmse", "baseline_rmse", "pearson"))
    assert rmse < 0.85 * baseline
    assert pearson > 0.6
    assert result.validation.n_samples == 8


@pytest.mark.slow
def test_engines_agree(
    repository: Path, tmp_path: Path, gene_tokens: Tokens, settings: RestorationConfig, model_yaml: Path
) -> None:
    write_tokens(tmp_path / "tokens", gene_tokens)
    model_yaml.write_text(model_yaml.read_text() + FACTORS)
    train = tmp_path / "train.yaml"
    train.write_text(settings.model_dump_json(exclude_none=True))
    curves = {}
    for name, options in (
        ("torch", ["--engine", "torch"]),
        ("zero1", ["--engine", "deepspeed", "--zero-stage", "1", "--processes", "2"]),
        ("zero3", ["--engine", "deepspeed", "--zero-stage", "3", "--processes", "2"]),
    ):
        command = [sys.executable, "-m", "bulkrnabert.cli", "pretrain", "--tokens", str(tmp_path / "tokens")]
        command += ["--out", str(tmp_path / name), "--model-config", str(model_yaml), "--train-config", str(train)]
        environment = dict(os.environ, PYTHONPATH=str(repository), DS_ACCELERATOR="cpu", OMP_NUM_THREADS="1")
        done = subprocess.run(
            [*command, "--device", "cpu", *options], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        curves[name] = losses(tmp_path / name)
        network = load_network(tmp_path / name)
        assert isinstance(network, GexBERT)
        assert network.config.max_known == 10
    assert curves["zero1"] == pytest.approx(curves["torch"], abs=1e-4)
    assert curves["zero3"] == pytest.approx(curves["torch"], abs=1e-4)


@pytest.mark.parametrize("start", ["random", "coexpression"])
def test_tables_start_from_the_training_samples(
    make_recipe: MakeRecipe, settings: RestorationConfig, start: str
) -> None:
    recipe = make_recipe(settings.model_copy(update={"tables_start": start}))
    network, untouched = recipe.build(), recipe.build()
    recipe.start_from_data(network)
    assert isinstance(network, GexBERT)
    assert isinstance(untouched, GexBERT)
    assert network.direction is not None
    assert torch.equal(network.gene_embedding.weight, untouched.gene_embedding.weight)
    assert torch.equal(network.readout.weight, untouched.readout.weight) == (start == "random")
    assert torch.equal(network.readout.weight, network.direction.weight) == (start == "coexpression")
    assert float(network.get_buffer("bin_deviation").min()) > 0


def test_answers_start_from_the_factors_of_the_training_samples(
    gene_tokens: Tokens, settings: RestorationConfig, model_yaml: Path, make_recipe: MakeRecipe
) -> None:
    model_yaml.write_text(model_yaml.read_text() + "n_factors: 30\nn_prototypes: 50\n")
    recipe = make_recipe(settings)
    assert recipe.model.n_factors == 19, "no more than genes, less one"
    assert recipe.model.n_prototypes == 5, "ten of the 52 training samples each"
    network, untouched = recipe.build(), recipe.build()
    recipe.start_from_data(network)
    errors = []
    for start in (network, untouched):
        assert isinstance(start, GexBERT)
        batch = recipe.micro_batch(0, 0, 4)
        restored = start.eval().restore(batch.known_ids, batch.known_idx, batch.target_idx)
        errors.append(float((restored.mean - batch.targets).square().nanmean().detach()))
        assert float(start.readout.weight.detach().abs().max()) == 0
    assert errors[0] < 0.5 * errors[1], "two programmes are all there is, and the mean is what stands without them"


def test_tokens_of_another_model(gene_tokens: Tokens, settings: RestorationConfig, model_yaml: Path) -> None:
    with pytest.raises(DataError, match=r"no column `values`.*tokenize --model gexbert"):
        GexBERTRecipe.configure(model_yaml, replace(gene_tokens, values=None), settings)


@pytest.mark.parametrize(
    ("line", "message"),
    [("n_bins: 32", "32 bins up to 5, the tokenizer has 64"), ("value_limit: 4.0", "64 bins up to 4, the tokenizer")],
)
def test_a_model_for_other_bins(
    gene_tokens: Tokens, settings: RestorationConfig, model_yaml: Path, line: str, message: str
) -> None:
    model_yaml.write_text(model_yaml.read_text() + line + "\n")
    with pytest.raises(ConfigError, match=message):
        GexBERTRecipe.configure(model_yaml, gene_tokens, settings)


def test_fewer_genes_than_a_step_needs(gene_tokens: Tokens, settings: RestorationConfig, model_yaml: Path) -> None:
    wanting = settings.model_copy(update={"min_known": 20, "max_known": 64})
    with pytest.raises(ConfigError, match="min_known 20, but there are 20 genes"):
        GexBERTRecipe.configure(model_yaml, gene_tokens, wanting)
    fitting = settings.model_copy(update={"max_known": 64})
    assert GexBERTRecipe.configure(model_yaml, gene_tokens, fitting).max_known == 19, "one is left to restore"


def test_settings_that_do_not_fit(settings: RestorationConfig) -> None:
    with pytest.raises(ValidationError, match="min_known 12 is more than max_known 10"):
        RestorationConfig.model_validate({**settings.model_dump(), "min_known": 12})


@pytest.mark.parametrize("name", preset_names("train", keys.GEXBERT))
def test_every_preset_loads_and_has_a_model_of_its_name(name: str) -> None:
    train = RestorationConfig.from_yaml(preset_path("train", name, keys.GEXBERT))
    model = GexBERTConfig.from_yaml(preset_path("model", name, keys.GEXBERT))
    assert train.accumulation(1) >= 1
    assert model.embed_dim % model.n_heads == 0


def test_the_presets_are_there() -> None:
    assert {"tiny", "small", "paper"} <= set(preset_names("model", keys.GEXBERT))


def test_flops_by_hand() -> None:
    # Width 16, feed-forward 32, one layer each, 3 genes read, 2 restored.
    # Encoder, a gene: query, key, value, output 4 x 2 x 256; feed-forward 2 x 2 x 16 x 32; attention 4 x 3 x 16.
    model = GexBERTConfig.model_validate({**SIZES, "n_genes": N_GENES, "summary_layers": 0})
    encoder = 3 * (2048 + 2048 + 192)
    # Decoder, a target: query and output 2 x 2 x 256, feed-forward, attention; an input: key and value 2 x 2 x 256.
    decoder = 2 * (1024 + 2048 + 192) + 3 * 1024
    head = 2 * 2 * 16 * (16 + 2)  # the query's projection and the head
    assert flops_per_sample(model, 3, 2) == 3 * (encoder + decoder + head)
    # The summary: projection of 32 to 16, then twice 16 to 32 and back.
    with_summary = model.model_copy(update={"summary_layers": 2})
    assert flops_per_sample(with_summary, 3, 2) == 3 * (encoder + decoder + head + 2 * 32 * 16 + 2 * 2 * 2 * 16 * 32)
    # Three factors, two prototypes: the summary reads 5 numbers at width 8, and has a vector of each target; forward
    # only, 18 + 6 + 8 for a known gene, 9 for the solve, 9 + 6 for a target.
    wide = with_summary.model_copy(update={"n_factors": 3, "n_prototypes": 2, "summary_dim": 8})
    summary = 2 * 5 * 8 + 2 * 4 * 8 * 32 + 2 * 8 * 16 + 2 * 2 * 8
    assert flops_per_sample(wide, 3, 2) == 3 * (encoder + decoder + head + summary) + 3 * 32 + 9 + 2 * 15
