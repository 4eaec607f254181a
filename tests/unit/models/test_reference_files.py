"""Hostile and broken weight files; every refusal must come before anything runs."""

from __future__ import annotations

import os
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bulkrnabert.errors import CheckpointError
from bulkrnabert.models import reference_files
from bulkrnabert.models.reference_files import read_reference_arrays

joblib = pytest.importorskip("joblib")

TREE = {
    "bert/~/a": {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.asfortranarray(np.eye(3))},
    "bert/~/b": {"scale": np.array([1.5], dtype=np.float16), "scalar": np.array(2.0, dtype=np.float32)},
}


class Attack:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def flat(tree: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {f"{module}|{name}": array for module, inner in tree.items() for name, array in inner.items()}


@pytest.mark.parametrize("tree", [TREE, OrderedDict(TREE)], ids=["dict", "ordered"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_reads_what_joblib_writes(tmp_path: Path, tree: Any, protocol: int) -> None:
    path = tmp_path / "params.joblib"
    joblib.dump(tree, path, protocol=protocol)
    arrays = read_reference_arrays(path)
    assert set(arrays) == set(flat(TREE))
    for name, expected in flat(TREE).items():
        assert_array_equal(arrays[name], expected)
        assert arrays[name].dtype == np.float32


def test_reads_arrays_that_were_pickled_whole(tmp_path: Path) -> None:
    path = tmp_path / "params.joblib"
    path.write_bytes(pickle.dumps(TREE, protocol=4))
    assert_array_equal(read_reference_arrays(path)["bert/~/a|w"], TREE["bert/~/a"]["w"])


def test_reads_jax_arrays_without_jax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def _reconstruct_array(*arguments: Any) -> Any:
        raise AssertionError("must not be called")

    module = types.ModuleType("jax._src.array")
    _reconstruct_array.__module__, _reconstruct_array.__qualname__ = module.__name__, "_reconstruct_array"
    module._reconstruct_array = _reconstruct_array  # type: ignore[attr-defined]
    for name in ("jax", "jax._src"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)

    class JaxArray:
        def __reduce__(self) -> Any:
            function, arguments, state = np.arange(4, dtype=np.float32).__reduce__()
            return _reconstruct_array, (function, arguments, state, {"weak_type": False})

    path = tmp_path / "params.joblib"
    path.write_bytes(pickle.dumps({"bert/~/a": {"w": JaxArray()}}, protocol=4))
    assert_array_equal(read_reference_arrays(path)["bert/~/a|w"], [0, 1, 2, 3])


@pytest.mark.parametrize("where", ["root", "value", "beside"])
@pytest.mark.parametrize("writer", ["joblib", "pickle"])
def test_a_pickle_that_runs_a_command_is_refused_and_not_run(tmp_path: Path, where: str, writer: str) -> None:
    victim = tmp_path / "victim"
    attack = Attack(os.system, f"touch {victim}")
    tree: Any = {"root": attack, "value": {"bert/~/a": {"w": attack}}, "beside": {**TREE, "x": attack}}[where]
    path = tmp_path / "params.joblib"
    if writer == "joblib":
        joblib.dump(tree, path)
    else:
        path.write_bytes(pickle.dumps(tree, protocol=4))
    with pytest.raises(CheckpointError, match=r"refused, nothing was run: the pickle asks for posix\.system"):
        read_reference_arrays(path)
    assert not victim.exists()
    if writer == "pickle":
        pickle.loads(path.read_bytes())
        assert victim.exists(), "control: the attack works on an ordinary unpickler"


@pytest.mark.parametrize(
    "attack",
    [
        Attack(eval, "1"),
        Attack(getattr, "os", "system"),
        Attack(np.load, "x.npy"),
        Attack(np.zeros, 10),
        Attack(joblib.load, "x"),
        np.memmap,
        os.system,
    ],
    ids=["eval", "getattr", "np.load", "np.zeros", "joblib.load", "memmap", "os.system"],
)
def test_every_other_name_is_refused(tmp_path: Path, attack: Any) -> None:
    path = tmp_path / "params.joblib"
    path.write_bytes(pickle.dumps({"bert/~/a": {"w": attack}}, protocol=4))
    with pytest.raises(CheckpointError, match="refused, nothing was run"):
        read_reference_arrays(path)


def test_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.joblib"
    joblib.dump({"bert/~/a": {"w": np.array([{}], dtype=object)}}, path)
    with pytest.raises(CheckpointError, match="array of type 'O8', expected floats"):
        read_reference_arrays(path)


@pytest.mark.parametrize("kept", [0, 1, 40, 200, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "params.joblib"
    joblib.dump(TREE, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError):
        read_reference_arrays(path)


def test_random_damage_is_refused_or_read_but_never_crashes(tmp_path: Path) -> None:
    path = tmp_path / "params.joblib"
    joblib.dump(TREE, path)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    n_refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[int(generator.integers(1, len(whole)))] = int(generator.integers(256))
        path.write_bytes(bytes(damaged))
        try:
            read_reference_arrays(path)
        except CheckpointError:
            n_refused += 1
    assert n_refused > 100


def test_a_compressed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.joblib"
    joblib.dump(TREE, path, compress=3)
    with pytest.raises(CheckpointError, match="not an uncompressed joblib file"):
        read_reference_arrays(path)


@pytest.mark.parametrize("tree", [[1.0], {"a": 1.0}, {"a": {"w": 1.0}}, {1: {}}, {"a": {"w": {}}}])
def test_another_shape_of_tree_is_refused(tmp_path: Path, tree: Any) -> None:
    path = tmp_path / "params.joblib"
    joblib.dump(tree, path)
    with pytest.raises(CheckpointError, match=r"expected \{module: \{parameter: array\}\}"):
        read_reference_arrays(path)


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "params.npz"
    np.savez(path, **flat(TREE))
    assert_array_equal(read_reference_arrays(path)["bert/~/a|b"], np.eye(3))
    np.savez(path, x=np.array([1, 2]))
    with pytest.raises(CheckpointError, match="x is int64, expected floats"):
        read_reference_arrays(path)
    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(CheckpointError, match="plain arrays"):
        read_reference_arrays(path)
    path.write_bytes(b"no zip")
    with pytest.raises(CheckpointError, match="plain arrays"):
        read_reference_arrays(path)


def test_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_reference_arrays(tmp_path / "params.joblib")
    path = tmp_path / "weights.bin"
    path.write_bytes(b"12345")
    with pytest.raises(CheckpointError, match=r"ends in \.joblib, \.npz, \.safetensors"):
        read_reference_arrays(path)
    monkeypatch.setattr(reference_files, "LARGEST_FILE_BYTES", 4)
    with pytest.raises(CheckpointError, match="5 bytes"):
        read_reference_arrays(path)
    archive = tmp_path / "params.npz"
    np.savez_compressed(archive, x=np.zeros(1000))
    monkeypatch.setattr(reference_files, "LARGEST_FILE_BYTES", archive.stat().st_size)
    with pytest.raises(CheckpointError, match="unpacks to"):
        read_reference_arrays(archive)
