"""The state of an unfinished run: what is needed to go on exactly, and nothing half-written.

    FOLDER/pointer.json          names the last and the best step; replaced in one move, after the step is complete
    FOLDER/step_40/              weights.safetensors, moments.safetensors, state.json (with their sha256)
    FOLDER/records.jsonl         records so far; a state says how long the file was, the rest is cut off on resuming
    FOLDER/lock                  held by the process that trains

Nothing in it names a path, so that the folder may be copied or moved.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from torch import Tensor

from bulkrnabert import keys
from bulkrnabert.errors import CheckpointError, RunMeAgain
from bulkrnabert.models.registry import read_safetensors
from bulkrnabert.provenance import atomic_path, sha256_file, write_json

logger = logging.getLogger(__name__)

_POINTER: Final = "pointer.json"
_STATE: Final = "state.json"
_WEIGHTS: Final = "weights.safetensors"
_MOMENTS: Final = "moments.safetensors"
_LOCK_WAIT_S: Final = 30.0


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands.

    Attributes:
        step: Steps taken.
        weights: Parameters of the model by name.
        moments: Adam's running moments, as `Engine.moments`.
        validation_loss: Validation loss at this step, if it was measured.
        records_bytes: Length of `records.jsonl` at this step.
        engine: Engine and number of processes, as text.
    """

    step: int
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    validation_loss: float | None
    records_bytes: int
    engine: str


class StateFolder:
    """States of one run in one folder: the last one, and the best one if wanted.

    Args:
        folder: Made if absent.
        run: What decides the result (configuration, data, seed), JSON values; a state of another run is refused.
        keep_best: Keep the state with the lowest validation loss as well.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any], keep_best: bool) -> None:
        self.folder = folder
        self.records_path = folder / keys.RECORDS_JSONL
        self._run = dict(run)
        self._keep_best = keep_best

    @contextlib.contextmanager
    def locked(self) -> Iterator[Self]:
        """Hold the folder while training, so that two runs do not write to it at once.

        Raises:
            RunMeAgain: another process still holds it after half a minute, as on a node that the scheduler gave up.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as handle:
            deadline = time.monotonic() + _LOCK_WAIT_S
            while not _try_lock(handle.fileno()):
                if time.monotonic() > deadline:
                    raise RunMeAgain(f"{self.folder}: another run is training in this folder: wait for it, or stop it")
                time.sleep(0.2)
            yield self

    def check(self) -> int:
        """Steps of the last state, 0 where there is none; reads no tensors.

        Raises:
            CheckpointError: the state is of another run, or the folder is not whole.
        """
        pointer = self._pointer()
        if pointer is None:
            return 0
        return int(self._description(str(pointer["last"]))["step"])

    def load(self) -> TrainingState | None:
        """The last state, or None where the run starts.

        Raises:
            CheckpointError: the state is of another run, or a file is missing or was cut short.
        """
        pointer = self._pointer()
        if pointer is None:
            return None
        name = str(pointer["last"])
        description = self._description(name)
        for file, stated in description["sha256"].items():
            path = self.folder / name / file
            if not path.is_file() or sha256_file(path) != stated:
                raise CheckpointError(
                    f"{path}: missing, or not the file that {_STATE} describes (was the folder copied half?): copy it "
                    f"again, or remove {self.folder} to start over"
                )
        found_bytes = self.records_path.stat().st_size if self.records_path.is_file() else 0
        if found_bytes < description["records_bytes"]:
            raise CheckpointError(
                f"{self.records_path}: {found_bytes} bytes, expected at least {description['records_bytes']} at step "
                f"{description['step']}: copy the folder again, or remove {self.folder} to start over"
            )
        return TrainingState(
            step=description["step"],
            weights=read_safetensors(self.folder / name / _WEIGHTS),
            moments=read_safetensors(self.folder / name / _MOMENTS),
            validation_loss=description["validation_loss"],
            records_bytes=description["records_bytes"],
            engine=description["engine"],
        )

    def save(self, state: TrainingState) -> None:
        """Write a state aside, give it its name, then point to it and remove those no longer needed."""
        from safetensors.torch import save_file

        name = f"step_{state.step}"
        shutil.rmtree(self.folder / name, ignore_errors=True)  # complete, but never pointed to
        with atomic_path(self.folder / name) as partial:
            partial.mkdir()
            save_file(
                {key: tensor.detach().cpu().contiguous() for key, tensor in state.weights.items()}, partial / _WEIGHTS
            )
            save_file({key: tensor.contiguous() for key, tensor in state.moments.items()}, partial / _MOMENTS)
            description = {
                "step": state.step,
                "validation_loss": state.validation_loss,
                "records_bytes": state.records_bytes,
                "engine": state.engine,
                "run": self._run,
                "sha256": {file: sha256_file(partial / file) for file in (_WEIGHTS, _MOMENTS)},
            }
            (partial / _STATE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        write_json(self.folder / _POINTER, {"last": name, "best": self._best(name, state.validation_loss)})
        self._prune()
        logger.info("checkpoint at step %d in %s", state.step, self.folder)

    def _best(self, name: str, validation_loss: float | None) -> str | None:
        pointer = self._pointer()
        best = None if pointer is None else pointer["best"]
        if not self._keep_best or validation_loss is None:
            return best
        if best is not None and self._description(best)["validation_loss"] <= validation_loss:
            return str(best)
        return name

    def _prune(self) -> None:
        pointer = self._pointer()
        assert pointer is not None
        kept = {pointer["last"], pointer["best"]}
        leftovers = [
            *self.folder.glob("step_*"),
            *self.folder.glob(".step_*.part"),
            *self.folder.glob(f".{_POINTER}.*.part"),
        ]
        for path in leftovers:
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _pointer(self) -> dict[str, Any] | None:
        path = self.folder / _POINTER
        return _read_json(path, {"last", "best"}) if path.is_file() else None

    def _description(self, name: str) -> dict[str, Any]:
        path = self.folder / name / _STATE
        description = _read_json(path, {"step", "validation_loss", "records_bytes", "run", "sha256"})
        differences = _differences(description["run"], self._run)
        if differences:
            raise CheckpointError(
                f"{self.folder} holds the state of another run; it differs in {'; '.join(differences)}. Give another "
                "--checkpoint-dir, remove the folder, or repeat the command that it belongs to"
            )
        return description


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        logger.warning("the file system does not lock files (%s): do not start the same run twice", error)
    return True


def _read_json(path: Path, expected: set[str]) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error}): copy the folder again, or remove {path.parent} to start over"
        ) from error
    if not isinstance(value, dict) or not expected <= set(value):
        raise CheckpointError(f"{path}: expected the keys {', '.join(sorted(expected))}: not a state of `pretrain`")
    return value


def _differences(saved: object, current: object, where: str = "") -> list[str]:
    if isinstance(saved, dict) and isinstance(current, dict):
        return [
            difference
            for key in [*current, *(key for key in saved if key not in current)]
            for difference in _differences(saved.get(key), current.get(key), f"{where}.{key}" if where else key)
        ]
    return [] if saved == current else [f"{where} (saved {saved}, now {current})"]
