"""Pretraining that goes on from a checkpoint: replay, leaks, and what the new checkpoint says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner

from bulkrnabert import keys
from bulkrnabert.cli.pretrain import command
from bulkrnabert.data.tokens import Tokens, write_tokens
from bulkrnabert.errors import BulkRNABertError, CheckpointError, ConfigError, DataError
from bulkrnabert.models.registry import read_safetensors
from bulkrnabert.provenance import hash_patients
from bulkrnabert.train.config import MaskedTrainConfig
from bulkrnabert.train.continuing import Start, replay_order

MODEL = {"embed_dim": 16, "init_gene_embed_dim": 8, "n_heads": 2, "ffn_embed_dim": 32, "n_layers": 1}


class World:
    """Folders of a small champion and of the tokens that a challenger learns from."""

    def __init__(self, folder: Path, tokens: Tokens, train: MaskedTrainConfig) -> None:
        self.folder = folder
        self.tokens = tokens
        write_tokens(folder / "old", tokens)
        (folder / "model.yaml").write_text(yaml.safe_dump(MODEL))
        (folder / "train.yaml").write_text(yaml.safe_dump(train.model_dump(mode="json")))
        self.champion = self.pretrain("old", "champion")

    def pretrain(self, tokens: str, out: str, *more: str) -> Path:
        target = self.folder / out
        arguments = ["--tokens", str(self.folder / tokens), "--model-config", str(self.folder / "model.yaml")]
        arguments += ["--train-config", str(self.folder / "train.yaml"), "--device", "cpu", "--out", str(target), *more]
        result = CliRunner().invoke(command, arguments, standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        return target

    def write_grown(self, name: str, **changes: object) -> None:
        """The old samples and eight of new patients; one old training patient has left."""
        old = self.tokens.samples
        more = old.iloc[-8:].assign(sample_id=lambda t: t.sample_id + "new", patient_id=lambda t: t.patient_id + "new")
        keep = old[keys.PATIENT_ID] != "P39"
        samples = pd.concat([old[keep], more], ignore_index=True)
        token_ids = np.concatenate([self.tokens.token_ids[keep], self.tokens.token_ids[-8:]])
        write_tokens(self.folder / name, replace(self.tokens, samples=samples, token_ids=token_ids, **changes))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    from tests.unit.train import conftest

    tokens = conftest.tokens.__wrapped__() if hasattr(conftest.tokens, "__wrapped__") else None
    assert tokens is not None
    return World(tmp_path_factory.mktemp("continuing"), tokens, conftest.train_config.__wrapped__())


def test_it_goes_on_and_says_so(world: World) -> None:
    world.write_grown("grown")
    out = world.pretrain("grown", "challenger", "--start-from", str(world.champion), "--new-share", "0.5")
    provenance = json.loads((out / keys.PROVENANCE_JSON).read_text())
    learnt = set(provenance["patient_hashes"])
    assert set(hash_patients(["P39", "P39new", "P8"])) <= learnt and not learnt & set(hash_patients(["P0"]))
    assert len(learnt) == 32 + 8
    start = provenance["parameters"]["start_from"]
    assert start["n_patients"] == 32 and provenance["parameters"]["new_share"] == 0.5
    assert "with 8 samples of other patients; 50% of each batch new" in (out / keys.MODEL_CARD).read_text()


def test_it_starts_from_the_weights(world: World, tmp_path: Path) -> None:
    """With next to no learning the weights stay those of the champion; drawn anew they would not."""
    still = {**yaml.safe_load((world.folder / "train.yaml").read_text()), "learning_rate": 1e-12, "weight_decay": 0.0}
    (tmp_path / "still.yaml").write_text(yaml.safe_dump(still))
    champion = read_safetensors(world.champion / keys.WEIGHTS)
    still_config = ("--train-config", str(tmp_path / "still.yaml"), "--seed", "7")
    continued = read_safetensors(
        world.pretrain("old", "continued", "--start-from", str(world.champion), *still_config) / keys.WEIGHTS
    )
    assert all(torch.allclose(continued[name], champion[name], atol=1e-6) for name in champion)
    anew = read_safetensors(world.pretrain("old", "anew", *still_config) / keys.WEIGHTS)
    assert not all(torch.allclose(anew[name], champion[name], atol=1e-2) for name in champion)


def test_shares_of_the_replay() -> None:
    samples = pd.DataFrame({keys.PATIENT_ID: [f"P{row}" for row in range(10)]})
    start = Start(Path("champion"), "", frozenset(hash_patients([f"P{row}" for row in range(8)])), {})
    assert start.is_replayed(samples).tolist() == [True] * 8 + [False] * 2
    order = replay_order(start, samples, np.arange(10), 0.25, 400, seed=0)
    rows = order.rows(np.arange(400))
    assert int((rows >= 8).sum()) == 100
    assert sorted(replay_order(start, samples, np.arange(8), 0.25, 8, seed=0).rows(np.arange(8))) == list(range(8))
    with pytest.raises(DataError, match="nothing to replay"):
        replay_order(start, samples, np.array([8, 9]), 0.25, 400, seed=0)


def test_what_is_refused(world: World, tmp_path: Path) -> None:
    swapped = world.tokens.samples.assign(
        part=[keys.HELD_OUT if row >= 32 else keys.TRAIN for row in range(len(world.tokens.samples))]
    )
    write_tokens(world.folder / "leak", replace(world.tokens, samples=swapped, split_id="r0f1"))
    genes = tuple(reversed(world.tokens.gene_ids))
    write_tokens(world.folder / "genes", replace(world.tokens, gene_ids=genes))
    (tmp_path / "bare").mkdir()
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump({**MODEL, "ffn_embed_dim": 64}))
    start = ("--start-from", str(world.champion))
    cases: list[tuple[type[BulkRNABertError], str, str, tuple[str, ...]]] = [
        (DataError, "was trained on 8 patients that split r0f1 holds out, as P32", "leak", start),
        (DataError, "tokenize --like", "genes", start),
        (
            ConfigError,
            r"of other sizes \(ffn_embed_dim\)",
            "old",
            (*start, "--model-config", str(tmp_path / "wide.yaml")),
        ),
        (ConfigError, "give that checkpoint", "old", ("--new-share", "0.5")),
        (CheckpointError, "expected a checkpoint folder", "old", ("--start-from", str(tmp_path / "bare"))),
    ]
    for error, message, tokens, more in cases:
        with pytest.raises(error, match=message):
            world.pretrain(tokens, "refused", *more)
