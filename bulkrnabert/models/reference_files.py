"""Published weight files as plain arrays, with nothing in them executed.

A haiku `params.joblib` is a pickle with the bytes of each array behind its description. It is hostile until checked:
this reader resolves no name of the file to anything but the stand-ins below, so that a pickle can build dicts, strings,
numbers and arrays, and nothing else. joblib itself is not needed.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bulkrnabert.errors import CheckpointError
from bulkrnabert.models.registry import read_safetensors

SEPARATOR = "|"
LARGEST_FILE_BYTES = 4 * 2**30
FLOAT_CODES = frozenset({"f2", "f4", "f8"})
BYTE_ORDERS = frozenset({"<", ">", "=", "|"})

Arrays = dict[str, NDArray[np.floating]]


def read_reference_arrays(path: Path) -> Arrays:
    """Arrays of a published weight file.

    Args:
        path: `params.joblib` or `params.npz` (keys `module|param`), or `model.safetensors` (keys as in the file).
    Raises:
        CheckpointError: the file cannot be read, is too large, holds anything else than arrays of floats, or, for a
            pickle, asks for code (names it).
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.stat().st_size > LARGEST_FILE_BYTES:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes; published weights are below {LARGEST_FILE_BYTES}")
    readers = {".safetensors": _read_safetensors, ".npz": _read_npz, ".joblib": _read_joblib}
    if path.suffix not in readers:
        raise CheckpointError(f"{path}: expected a file that ends in {', '.join(sorted(readers))}")
    return readers[path.suffix](path)


def _read_safetensors(path: Path) -> Arrays:
    return {name: tensor.float().numpy() for name, tensor in read_safetensors(path).items()}


def _read_npz(path: Path) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > LARGEST_FILE_BYTES:
            raise CheckpointError(f"{path}: unpacks to {unpacked} bytes, which no published model does")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: cannot be read as an .npz file of plain arrays: {error}") from error
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise CheckpointError(f"{path}: {name} is {array.dtype}, expected floats")
    return arrays


def _read_joblib(path: Path) -> Arrays:
    content = path.read_bytes()
    if content[:1] != b"\x80":
        raise CheckpointError(
            f"{path}: not an uncompressed joblib file; if it was made with `compress=`, save it again without"
        )
    try:
        tree = _ArraysOnlyUnpickler(content, path).load()
    except CheckpointError:
        raise
    except (
        pickle.UnpicklingError,
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise CheckpointError(f"{path}: broken joblib file: {type(error).__name__}: {error}") from error
    return _flatten(tree, path)


def _flatten(tree: object, path: Path) -> Arrays:
    expected = "expected {module: {parameter: array}}, as haiku parameters are"
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: holds a {type(tree).__name__}; {expected}")
    arrays: Arrays = {}
    for module, parameters in tree.items():
        if not isinstance(module, str) or not isinstance(parameters, dict):
            raise CheckpointError(f"{path}: entry {module!r} is a {type(parameters).__name__}; {expected}")
        for name, holder in parameters.items():
            if not isinstance(holder, _ArrayHolder) or holder.array is None:
                raise CheckpointError(f"{path}: {module}{SEPARATOR}{name} is no whole array; {expected}")
            arrays[f"{module}{SEPARATOR}{name}"] = holder.array
    return arrays


class _Ndarray:
    """Stands for the class numpy.ndarray, which files name but never get."""


class _Dtype:
    """Stands for numpy.dtype: a float code, then a byte order."""

    def __init__(self, code: object, *_flags: object) -> None:
        if code not in FLOAT_CODES:
            raise ValueError(f"array of type {code!r}, expected floats")
        self.code = str(code)
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in BYTE_ORDERS:
            raise ValueError(f"byte order {state[1]!r}")
        self.order = state[1]

    def as_numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _ArrayHolder:
    """Holds an array read from the file."""

    array: NDArray[np.floating] | None = None

    def fill(self, content: bytes, shape: object, dtype: object, is_fortran: bool) -> None:
        if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
            raise ValueError("array without a shape or a type")
        flat = np.frombuffer(content, dtype=dtype.as_numpy())
        with np.errstate(over="ignore"):  # what overflows is refused later, as not finite
            self.array = flat.reshape(shape, order="F" if is_fortran else "C").astype(np.float32)


class _PickledArray(_ArrayHolder):
    """Stands for an array whose bytes are inside the pickle."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, is_fortran, content = state
        self.fill(content, shape, dtype, bool(is_fortran))


def _reconstruct(*_arguments: object) -> _PickledArray:
    """Stands for numpy's function of that name."""
    return _PickledArray()


def _reconstruct_jax(_function: object, _arguments: object, state: tuple[Any, ...], *_rest: object) -> _PickledArray:
    """Stands for jax's `_reconstruct_array`."""
    holder = _PickledArray()
    holder.__setstate__(state)
    return holder


def _joblib_wrapper(stream: io.BytesIO) -> type[_ArrayHolder]:
    """Stands for joblib's NumpyArrayWrapper: the bytes of its array follow it in the stream."""

    class JoblibArray(_ArrayHolder):
        def __setstate__(self, state: dict[str, Any]) -> None:
            dtype, shape = state["dtype"], state["shape"]
            if state["subclass"] is not _Ndarray or not isinstance(dtype, _Dtype):
                raise ValueError("array of a class or type of its own")
            if state.get("numpy_array_alignment_bytes") is not None:
                stream.read(stream.read(1)[0])
            n_bytes = math.prod(shape) * dtype.as_numpy().itemsize
            content = stream.read(n_bytes) if n_bytes >= 0 else b""
            if len(content) != n_bytes:
                raise ValueError(f"the file ends inside an array of shape {shape}")
            self.fill(content, shape, dtype, state["order"] == "F")

    return JoblibArray


class _ArraysOnlyUnpickler(pickle.Unpickler):
    def __init__(self, content: bytes, path: Path) -> None:
        # BytesIO has no `peek`, so the unpickler never reads past its own part of the stream.
        stream = io.BytesIO(content)
        super().__init__(stream)
        self._path = path
        self._stand_ins: dict[tuple[str, str], Any] = {
            ("joblib.numpy_pickle", "NumpyArrayWrapper"): _joblib_wrapper(stream),
            ("numpy", "ndarray"): _Ndarray,
            ("numpy", "dtype"): _Dtype,
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
            ("jax._src.array", "_reconstruct_array"): _reconstruct_jax,
            ("collections", "OrderedDict"): OrderedDict,
        }

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """A stand-in, or a refusal; nothing is ever imported."""
        if (module_name, global_name) not in self._stand_ins:
            raise CheckpointError(
                f"{self._path}: refused, nothing was run: the pickle asks for {module_name}.{global_name}, and a file "
                "of weights needs only numpy arrays and dicts. Do not open this file with joblib or pickle."
            )
        return self._stand_ins[module_name, global_name]
