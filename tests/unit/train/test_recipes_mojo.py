"""MOJO's recipe: masks, targets and losses by omic; it learns, resumes exactly, and engines agree."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from bulkrnabert import keys
from bulkrnabert.config import preset_names, preset_path
from bulkrnabert.data.masking import IGNORED
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokens import Tokens, write_tokens
from bulkrnabert.errors import ConfigError, DataError, RunMeAgain
from bulkrnabert.models.mojo import MojoConfig
from bulkrnabert.models.registry import load_network
from bulkrnabert.train.batches import split_off_validation
from bulkrnabert.train.checkpoint import StateFolder
from bulkrnabert.train.engine import TorchEngine
from bulkrnabert.train.loop import Trainer, TrainingResult
from bulkrnabert.train.mixture import mix_cohorts
from bulkrnabert.train.recipes import RunData, recipe_class
from bulkrnabert.train.recipes_mojo import MojoRecipe, MojoTrainConfig
from bulkrnabert.train.records import RecordWriter
from bulkrnabert.train.stopping import StopWatch

G = 30
MASK = keys.MASK_ID
MODEL = MojoConfig(
    n_genes=G,
    token_embed_dim=8,
    conv_embed_dim=12,
    embed_dim=16,
    n_downsamples=2,
    stem_kernel=5,
    init_gene_embed_dim=6,
    n_heads=2,
    ffn_embed_dim=16,
    n_layers=1,
)


@pytest.fixture
def tokens(tokens: Tokens) -> Tokens:
    """The RNA-seq of the tokens of this folder with methylation that goes against it; every fifth sample lacks it."""
    rng = np.random.default_rng(1)
    methylation = np.clip(63 - tokens.token_ids.astype(int) + rng.integers(-1, 2, tokens.token_ids.shape), 0, 63)
    methylation[::5] = MASK
    rnaseq = tokens.token_ids.copy()
    rnaseq[1::10] = MASK
    beta = BinnedTokenizer(unit="beta", edges_kind="linear")
    return replace(
        tokens,
        token_ids=np.concatenate([rnaseq, methylation.astype(np.uint8)], axis=1),
        tokenizers={**tokens.tokenizers, keys.METHYLATION: beta},
        model=keys.MOJO,
    )


@pytest.fixture
def config() -> MojoTrainConfig:
    return MojoTrainConfig(
        steps=8,
        global_batch_size=4,
        micro_batch_size=2,
        learning_rate=1e-3,
        drop_omic_fraction=0.3,
        validate_every=4,
        checkpoint_every=4,
    )


def recipe_of(tokens: Tokens, config: MojoTrainConfig, model: MojoConfig = MODEL) -> MojoRecipe:
    parts = split_off_validation(tokens.samples, 0.05, 0)
    order = mix_cohorts(tokens.samples, parts.fit_idx, None, config.steps * config.global_batch_size, seed=0)
    return MojoRecipe(model, RunData(tokens, parts, order, config, seed=0))


def run(
    recipe: MojoRecipe, folder: Path, stop: StopWatch | None = None
) -> tuple[TrainingResult, dict[str, torch.Tensor]]:
    folder.mkdir(exist_ok=True)
    states = StateFolder(folder, {}, keep_best=True)
    state = states.load()
    network = recipe.build()
    if state is None:
        recipe.start_from_data(network)
    else:
        network.load_state_dict(dict(state.weights))
    engine = TorchEngine(recipe.objective(network, False), recipe.train, torch.device("cpu"))
    if state is not None:
        engine.load_moments(state.moments, state.step)
    with RecordWriter(states.records_path, state.records_bytes if state else 0) as records:
        trainer = Trainer(engine, recipe, states, records, stop or StopWatch(None, time.time()))
        result = trainer.run(state.step if state else 0)
    return result, {name: value.detach().clone() for name, value in network.named_parameters()}


def records(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


class StopAfter(StopWatch):
    def __init__(self, n_steps: int) -> None:
        super().__init__(None, time.time())
        self._left = n_steps

    def reason(self) -> str | None:
        self._left -= 1
        self.last_reason = "test" if self._left <= 0 else None
        return self.last_reason


def test_every_omic_is_masked_by_itself(tokens: Tokens, config: MojoTrainConfig) -> None:
    recipe = recipe_of(tokens, config.model_copy(update={"drop_omic_fraction": 0.0}))
    batch = recipe.micro_batch(step=3, start=0, size=4)
    rows = recipe.source.rows(3)
    n_masked = round(0.15 * G)
    assert batch.masked_idx.shape == batch.targets.shape == (4, 2 * n_masked)
    assert batch.inputs.shape == (4, 2 * G)
    for place, row in enumerate(rows):
        true = tokens.token_ids[row]
        for number in range(2):
            is_absent = bool((true[number * G : (number + 1) * G] == MASK).all())
            part = slice(number * n_masked, (number + 1) * n_masked)
            columns, targets = batch.masked_idx[place, part].numpy(), batch.targets[place, part].numpy()
            if is_absent:
                assert (targets == IGNORED).all(), "an absent omic has no targets"
                continue
            assert ((columns >= number * G) & (columns < (number + 1) * G)).all()
            assert (targets == true[columns]).all()
            untouched = np.setdiff1d(np.arange(number * G, (number + 1) * G), columns)
            assert (batch.inputs[place].numpy()[untouched] == true[untouched]).all()
    assert not np.array_equal(batch.masked_idx[0, :n_masked], batch.masked_idx[0, n_masked:] - G)


@pytest.mark.parametrize("restores", [True, False])
def test_omics_are_dropped_in_training(tokens: Tokens, config: MojoTrainConfig, restores: bool) -> None:
    changed = config.model_copy(
        update={"drop_omic_fraction": 0.5, "restore_dropped": restores, "steps": 200, "micro_batch_size": 4}
    )
    recipe = recipe_of(tokens, changed)
    n_masked = round(0.15 * G)
    dropped = np.zeros(2, dtype=int)
    n_paired = 0
    for step in range(200):
        batch = recipe.micro_batch(step, 0, 4)
        for place, row in enumerate(recipe.source.rows(step)):
            there = [(tokens.token_ids[row, number * G : (number + 1) * G] != MASK).any() for number in range(2)]
            if not all(there):
                continue
            n_paired += 1
            is_hidden = [bool((batch.inputs[place, number * G : (number + 1) * G] == MASK).all()) for number in (0, 1)]
            assert not all(is_hidden)
            for number in np.flatnonzero(is_hidden):
                dropped[number] += 1
                targets = batch.targets[place, number * n_masked : (number + 1) * n_masked]
                assert bool((targets != IGNORED).all()) == restores
    assert dropped.sum() / n_paired == pytest.approx(0.5, abs=0.07)
    assert dropped[0] / dropped.sum() == pytest.approx(0.5, abs=0.12)


def test_validation_drops_nothing_and_is_the_same_at_every_call(tokens: Tokens, config: MojoTrainConfig) -> None:
    recipe = recipe_of(tokens, config.model_copy(update={"drop_omic_fraction": 1.0}))
    first, second = (list(recipe.validation_batches(0, 1)) for _ in range(2))
    rows = recipe.data.parts.validation_idx
    assert all(torch.equal(a.batch.inputs, b.batch.inputs) for a, b in zip(first, second, strict=True))
    whole = torch.cat([item.batch.inputs for item in first]).numpy()
    assert ((whole[:, :G] == MASK).all(axis=1) == (tokens.token_ids[rows, :G] == MASK).all(axis=1)).all()


def test_loss_is_one_cross_entropy_an_omic(tokens: Tokens, config: MojoTrainConfig) -> None:
    recipe = recipe_of(tokens, config)
    network = recipe.build()
    objective = recipe.objective(network, use_bf16=False)
    batch = recipe.micro_batch(0, 0, 4)
    prediction = objective(*batch.arguments(torch.device("cpu")))
    logits = network(batch.inputs).logits
    n_masked = round(0.15 * G)
    expected = 0.0
    for number, omic in enumerate(logits):
        part = slice(number * n_masked, (number + 1) * n_masked)
        genes = batch.masked_idx[:, part] % G
        chosen = logits[omic].gather(1, genes.unsqueeze(-1).expand(-1, -1, 66)).flatten(0, 1)
        summed = functional.cross_entropy(
            chosen, batch.targets[:, part].flatten(), ignore_index=IGNORED, reduction="sum"
        )
        assert float(prediction.sums[f"loss_{omic}"]) == pytest.approx(float(summed.detach()), rel=1e-5)
        expected += float(summed.detach()) / (4 * n_masked)
    assert float(prediction.loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_records_have_every_omic(tokens: Tokens, config: MojoTrainConfig, tmp_path: Path) -> None:
    result, _ = run(recipe_of(tokens, config), tmp_path)
    found = records(tmp_path)
    validations = [record for record in found if record["kind"] == "validation"]
    assert [record["step"] for record in validations] == [0, 4, 8]
    for omic in ("rnaseq", "methylation"):
        assert validations[0][f"loss_{omic}"] == pytest.approx(math.log(66), abs=0.4)
        for record in validations:
            assert 0 <= record[f"masked_accuracy_{omic}"] <= 1
            assert 0 <= record[f"baseline_accuracy_{omic}"] <= 1
    last = validations[-1]
    assert last["loss"] == pytest.approx(last["loss_rnaseq"] + last["loss_methylation"])
    assert last["loss"] == result.validation.loss
    step = next(record for record in found if record["kind"] == "train")
    assert {"masked_accuracy", "loss_rnaseq", "masked_accuracy_methylation"} <= set(step)


def test_an_omic_without_targets_has_no_measures(tokens: Tokens, config: MojoTrainConfig) -> None:
    recipe = recipe_of(tokens, config)
    sums = {f"{name}_{omic}": 0.0 for name in ("loss", "n_correct", "n_targets") for omic in recipe.model.omics}
    sums |= {"loss_rnaseq": 6.0, "n_correct_rnaseq": 1.0, "n_targets_rnaseq": 3.0}
    assert recipe.step_measures(sums) == {
        "masked_accuracy": 1 / 3,
        "loss_rnaseq": 2.0,
        "masked_accuracy_rnaseq": 1 / 3,
        "loss_methylation": None,
        "masked_accuracy_methylation": None,
    }


@pytest.mark.slow
def test_it_restores_methylation_from_rna(tokens: Tokens, config: MojoTrainConfig, tmp_path: Path) -> None:
    """Two programmes move both omics; a model that saw dropped omics tells them from the other omic alone."""
    rng = np.random.default_rng(2)
    shift = (np.arange(40) % 2)[:, None] * rng.choice([-15, 15], 2 * G)
    ids = np.clip(rng.integers(20, 44, 2 * G) + shift + rng.integers(0, 3, (40, 2 * G)), 0, 63).astype(np.uint8)
    tokens = replace(tokens, token_ids=ids)
    longer = config.model_copy(
        update={"steps": 150, "global_batch_size": 16, "micro_batch_size": 16, "learning_rate": 1e-2}
    )
    recipe = recipe_of(tokens, longer.model_copy(update={"validate_every": 150, "checkpoint_every": 150}))
    _, weights = run(recipe, tmp_path)
    network = recipe.build()
    network.load_state_dict(weights)
    held_out, true = torch.from_numpy(ids[:8, :G]), torch.from_numpy(ids[:8, G:]).float()
    with torch.inference_mode():
        predicted = network.eval()({"rnaseq": held_out}).logits["methylation"].argmax(dim=-1)
    mean_of_gene = torch.from_numpy(ids[8:, G:]).float().mean(dim=0)
    assert (predicted - true).abs().mean() < 0.5 * (mean_of_gene - true).abs().mean(), "better than each gene's mean"


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_stopped_and_resumed_is_the_same_run(
    tokens: Tokens, config: MojoTrainConfig, tmp_path: Path, dropout: float
) -> None:
    recipe = recipe_of(tokens, config, MODEL.model_copy(update={"dropout": dropout}))
    _, undisturbed = run(recipe, tmp_path / "whole")
    with pytest.raises(RunMeAgain, match="stopped after step 3 of 8"):
        run(recipe, tmp_path / "parts", StopAfter(3))
    _, resumed = run(recipe, tmp_path / "parts")
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)
    losses = [[(record["step"], record["loss"]) for record in records(tmp_path / name)] for name in ("whole", "parts")]
    assert losses[0] == losses[1]
    other = recipe_of(tokens, config.model_copy(update={"drop_omic_fraction": 0.0}), recipe.model)
    _, different = run(other, tmp_path / "control")
    assert not torch.equal(undisturbed["stem.conv.weight"], different["stem.conv.weight"]), "the control"


def test_accumulation_does_not_change_the_result(tokens: Tokens, config: MojoTrainConfig, tmp_path: Path) -> None:
    _, whole = run(recipe_of(tokens, config.model_copy(update={"micro_batch_size": 4})), tmp_path / "whole")
    _, parts = run(recipe_of(tokens, config.model_copy(update={"micro_batch_size": 1})), tmp_path / "parts")
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["tiny", "small", "paper"])
def test_presets(name: str) -> None:
    assert set(preset_names("train", "mojo")) == {"tiny", "small", "paper"}
    MojoTrainConfig.from_yaml(preset_path("train", name, "mojo"))


def test_subsets_of_genes_are_refused(config: MojoTrainConfig) -> None:
    with pytest.raises(ConfigError, match="need every gene in its place"):
        MojoTrainConfig.from_mapping({**config.model_dump(), "genes_per_step": 20}, "a file")


def configure(tokens: Tokens, config: MojoTrainConfig, folder: Path, **changes: object) -> MojoConfig:
    import yaml

    path = folder / "model.yaml"
    sizes = MODEL.model_dump(mode="json", exclude={"omic_names", "n_genes"})
    path.write_text(yaml.safe_dump({**sizes, **changes}))
    return MojoRecipe.configure(path, tokens, config)


def test_sizes_come_from_the_tokens(tokens: Tokens, config: MojoTrainConfig, tmp_path: Path) -> None:
    assert recipe_class(keys.MOJO) is MojoRecipe
    model = configure(tokens, config, tmp_path)
    assert (model.n_genes, model.omics, model.n_columns) == (G, ("rnaseq", "methylation"), 2 * G)
    with pytest.raises(ConfigError, match="the tokens are of rnaseq, methylation"):
        configure(tokens, config, tmp_path, omic_names=["methylation", "rnaseq"])
    with pytest.raises(ConfigError, match="one position of 256 genes, and there are 30"):
        configure(tokens, config, tmp_path, n_downsamples=8)
    with pytest.raises(ConfigError, match="n_bins 32, the rnaseq tokenizer has 64"):
        configure(tokens, config, tmp_path, n_bins=32)


def test_tokens_that_cannot_be_learnt_from(tokens: Tokens, config: MojoTrainConfig, tmp_path: Path) -> None:
    ids = tokens.token_ids.copy()
    ids[:, G:] = np.where(ids[:, G:] == MASK, MASK, 5)
    with pytest.raises(DataError, match="every methylation value of the training part falls into bin 5"):
        configure(replace(tokens, token_ids=ids), config, tmp_path)
    ids[:, G:] = MASK
    with pytest.raises(DataError, match="no sample of the training part has methylation"):
        configure(replace(tokens, token_ids=ids), config, tmp_path)
    ids[10, 3] = keys.PAD_ID
    with pytest.raises(DataError, match="neither one of 64 bins nor 65"):
        configure(replace(tokens, token_ids=ids), config, tmp_path)


@pytest.mark.slow
def test_engines_agree(tokens: Tokens, tmp_path: Path, repository: Path) -> None:
    """`pretrain` by the plain engine, and by DeepSpeed with ZeRO 1 and 3 on two processes: one loss curve."""
    write_tokens(tmp_path / "tokens", tokens)
    (tmp_path / "model.yaml").write_text(
        "\n".join(f"{key}: {value}" for key, value in MODEL.model_dump(include=set(SIZES)).items())
    )
    (tmp_path / "train.yaml").write_text(TRAIN)
    curves = {}
    for name, options in (
        ("torch", ["--engine", "torch"]),
        ("zero1", ["--engine", "deepspeed", "--zero-stage", "1", "--processes", "2"]),
        ("zero3", ["--engine", "deepspeed", "--zero-stage", "3", "--processes", "2"]),
    ):
        command = [sys.executable, "-m", "bulkrnabert.cli", "pretrain", "--tokens", str(tmp_path / "tokens")]
        command += ["--out", str(tmp_path / name), "--model-config", str(tmp_path / "model.yaml")]
        command += ["--train-config", str(tmp_path / "train.yaml"), "--device", "cpu", *options]
        environment = dict(os.environ, PYTHONPATH=str(repository), DS_ACCELERATOR="cpu", OMP_NUM_THREADS="1")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        curves[name] = [record["loss"] for record in records(tmp_path / name) if record["kind"] != "summary"]
        assert load_network(tmp_path / name).config.omics == ("rnaseq", "methylation")
    for name in ("zero1", "zero3"):
        assert curves[name] == pytest.approx(curves["torch"], abs=1e-4)


SIZES = (
    "token_embed_dim",
    "conv_embed_dim",
    "embed_dim",
    "n_downsamples",
    "stem_kernel",
    "init_gene_embed_dim",
    "n_heads",
    "ffn_embed_dim",
    "n_layers",
)
TRAIN = """steps: 4
global_batch_size: 4
micro_batch_size: 2
learning_rate: 1.0e-3
drop_omic_fraction: 0.5
validate_every: 2
checkpoint_every: 2
"""
