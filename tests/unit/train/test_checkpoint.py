"""States: whole or not at all, pruned, moved, refused."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path

import pytest
import torch

from bulkrnabert.errors import CheckpointError, RunMeAgain
from bulkrnabert.train import checkpoint
from bulkrnabert.train.checkpoint import StateFolder, TrainingState

RUN = {"model": {"n_layers": 2}, "seed": 0}


def state(step: int, loss: float | None = None) -> TrainingState:
    weights = {"w": torch.full((2,), float(step))}
    return TrainingState(step, weights, {"exp_avg/w": weights["w"] / 2}, loss, records_bytes=0, engine="torch, 1 x cpu")


def steps_kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*step_*"))


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state", RUN, keep_best=True)


def test_empty_folder_starts_anew(folder: StateFolder) -> None:
    assert folder.load() is None
    assert folder.check() == 0


def test_what_was_saved_comes_back(folder: StateFolder) -> None:
    folder.save(state(4, 1.5))
    found = folder.load()
    assert found is not None
    assert (found.step, found.validation_loss, folder.check()) == (4, 1.5, 4)
    assert torch.equal(found.weights["w"], torch.full((2,), 4.0))
    assert torch.equal(found.moments["exp_avg/w"], torch.full((2,), 2.0))


def test_last_and_best_are_kept(folder: StateFolder) -> None:
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, None), (5, 2.5)):
        folder.save(state(step, loss))
    assert steps_kept(folder.folder) == ["step_2", "step_5"]
    assert json.loads((folder.folder / "pointer.json").read_text()) == {"last": "step_5", "best": "step_2"}


def test_only_the_last_where_the_best_is_not_wanted(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, RUN, keep_best=False)
    folder.save(state(1, 1.0))
    folder.save(state(2, 2.0))
    assert steps_kept(tmp_path) == ["step_2"]


def test_leftovers_of_a_killed_save_do_no_harm(folder: StateFolder) -> None:
    folder.save(state(1))
    (folder.folder / ".step_2.abc.part").mkdir()
    (folder.folder / "step_2").mkdir()  # named, but not yet pointed to
    (folder.folder / "step_2" / "junk").touch()
    found = folder.load()
    assert found is not None
    assert found.step == 1
    folder.save(state(2))
    found = folder.load()
    assert found is not None
    assert found.step == 2
    assert steps_kept(folder.folder) == ["step_2"]


def test_a_copied_folder_works(folder: StateFolder, tmp_path: Path) -> None:
    folder.save(state(3))
    shutil.copytree(folder.folder, tmp_path / "copy")
    found = StateFolder(tmp_path / "copy", RUN, keep_best=True).load()
    assert found is not None
    assert found.step == 3


def test_another_run_is_refused_with_what_differs(folder: StateFolder) -> None:
    folder.save(state(3))
    other = StateFolder(folder.folder, {"model": {"n_layers": 4}, "seed": 1}, keep_best=True)
    for call in (other.check, other.load):
        with pytest.raises(CheckpointError, match=r"model.n_layers \(saved 2, now 4\); seed \(saved 0, now 1\)"):
            call()


def test_a_file_cut_short_is_refused(folder: StateFolder) -> None:
    folder.save(state(3))
    path = folder.folder / "step_3" / "moments.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"moments.safetensors: missing, or not the file"):
        folder.load()


@pytest.mark.parametrize("name", ["pointer.json", "step_3/state.json"])
def test_a_broken_description_is_refused(folder: StateFolder, name: str) -> None:
    folder.save(state(3))
    (folder.folder / name).write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        folder.load()
    (folder.folder / name).write_text("{}")
    with pytest.raises(CheckpointError, match="expected the keys"):
        folder.load()


def test_lost_records_are_noticed(folder: StateFolder) -> None:
    folder.save(TrainingState(1, {"w": torch.zeros(1)}, {}, None, records_bytes=10, engine=""))
    with pytest.raises(CheckpointError, match="0 bytes, expected at least 10"):
        folder.load()


def _hold(folder: Path, ready: multiprocessing.Event, done: multiprocessing.Event) -> None:  # type: ignore[valid-type]
    with StateFolder(folder, RUN, keep_best=True).locked():
        ready.set()
        done.wait(30)


def test_two_runs_do_not_share_a_folder(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_LOCK_WAIT_S", 0.0)
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(folder.folder, ready, done))
    other.start()
    try:
        assert ready.wait(30)
        with pytest.raises(RunMeAgain, match="another run is training in this folder"), folder.locked():
            pass
    finally:
        done.set()
        other.join()
    with folder.locked():
        pass
