"""SeSAMe level 3 beta files, many and fast: `probe<TAB>beta` without a header, `NA` where the probe failed."""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from bulkrnabert.data.probes import CpgIds, average_replicates, find_cpgs
from bulkrnabert.data.sources.delimited import read_unpacked
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)

PROBE, BETA = "probe", "beta"
NOT_MEASURED = ("NA", "NaN", "nan")
MOST_BYTES = 256 << 20  # a real file has 13 MB, of EPIC v2 30 MB
KNOWN_ARRAYS = {27_578: "27k", 486_427: "450k", 930_659: "EPIC v2"}
# The same array gives files of nearly the same size (an `NA` is shorter than a number); the next larger one doubles it.
SAME_ARRAY_SIZE_RATIO = 1.5

Arrays = Literal["refuse", "intersect"]
Result = TypeVar("Result")


@dataclass(frozen=True)
class MethylationArray:
    """The rows of one kind of array, as one of its files has them.

    Attributes:
        path: That file.
        id_column: The probe ids as they were read, for comparison with other files.
        cpgs: The CpG sites among them.
    """

    path: Path
    id_column: pa.Array
    cpgs: CpgIds

    @property
    def name(self) -> str:
        """As `450k (486427 probes)`."""
        n_rows = len(self.id_column)
        return f"{KNOWN_ARRAYS.get(n_rows, 'array')} ({n_rows} probes)"


@dataclass(frozen=True)
class _Alignment:
    """Which rows of a file go into which of the wanted sites; `targets` is None when it is one row a site in order."""

    rows: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64] | None


@dataclass(frozen=True)
class ArraySet:
    """The arrays of some files and the CpG sites that are used.

    Attributes:
        arrays: One for each kind of array, the largest first.
        ids: CpG sites that all of them have, sorted.
    """

    arrays: tuple[MethylationArray, ...]
    ids: tuple[str, ...]

    @property
    def dropped(self) -> tuple[tuple[str, str], ...]:
        """Rows of the arrays that measure no CpG, as (rule, id), each once."""
        return tuple(dict.fromkeys(item for array in self.arrays for item in array.cpgs.dropped))

    @cached_property
    def _position(self) -> pd.Index:
        return pd.Index(self.ids)

    @cached_property
    def _alignments(self) -> tuple[_Alignment, ...]:
        return tuple(self._align(array.cpgs) for array in self.arrays)

    def _align(self, cpgs: CpgIds) -> _Alignment:
        targets = self._position.get_indexer(pd.Index(cpgs.ids))[cpgs.sites]
        wanted = targets >= 0
        rows, targets = cpgs.rows[wanted], targets[wanted].astype(np.int64)
        order = np.argsort(targets, kind="stable")
        rows, targets = rows[order], targets[order]
        return _Alignment(rows, None if len(rows) == len(self.ids) else targets)

    def read(self, path: Path) -> npt.NDArray[np.float64]:
        """Betas of one file, shape (n_sites,), NaN where not measured; replicates of a site are averaged.

        Rows are aligned once for each array: a file whose probe column is byte for byte that of an array uses its
        alignment, the same probes in another order are aligned anew, other probes are refused.

        Raises:
            DataError: no SeSAMe file, a value outside 0 to 1, or other probes than the arrays have.
        """
        table = _parse(path, check_utf8=False)
        id_column = table.column(PROBE).chunk(0)
        alignment = self._alignment_of(path, id_column)
        betas = np.asarray(table.column(BETA).to_numpy(), dtype=np.float64)
        outside = (betas < 0.0) | (betas > 1.0)
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            raise DataError(
                f"{path}: probe {id_column[row].as_py()!r} (row {row + 1}) has the value {betas[row]:g}; beta values"
                " lie between 0 and 1. M-values become betas with 2^M / (2^M + 1)"
            )
        measured = betas[alignment.rows]
        if alignment.targets is None:
            return measured
        return average_replicates(measured, alignment.targets, len(self.ids))

    def _alignment_of(self, path: Path, id_column: pa.Array) -> _Alignment:
        for array, alignment in zip(self.arrays, self._alignments, strict=True):
            if id_column.equals(array.id_column):
                return alignment
        other = read_array(path)
        for array in self.arrays:
            if _same_probes(other, array):
                logger.info("%s: probes in another order than %s, aligned anew", path, array.path.name)
                return self._align(other.cpgs)
        raise self._other_probes(other)

    def _other_probes(self, other: MethylationArray) -> DataError:
        nearest = min(self.arrays, key=lambda array: abs(len(array.id_column) - len(other.id_column)))
        expected, found = set(nearest.id_column.to_pylist()), set(other.id_column.to_pylist())
        detail = "; ".join(
            f"{len(probes)} {what}, as {min(probes)}"
            for probes, what in ((expected - found, "probes are missing"), (found - expected, "probes are new"))
            if probes
        )
        return DataError(
            f"{other.path}: {other.name}, other probes than the {nearest.name} of {nearest.path.name} ({detail})."
            " A truncated file, or another array: download it again, or preprocess arrays in separate runs"
        )

    def read_all(
        self,
        paths: Sequence[Path],
        digest: Callable[[npt.NDArray[np.float64]], Result],
        n_threads: int | None = None,
    ) -> Iterator[Result]:
        """What `digest` makes of the betas of each file, in the order of the paths; few files are held at a time.

        Args:
            paths: Files of these arrays.
            digest: Called in a thread with what `read` gives.
            n_threads: Files read at the same time; by default the number of cores, at most 8.
        """
        n_threads = n_threads or min(8, os.cpu_count() or 1)
        assert len(self._alignments) == len(self.arrays), "made here, before the threads ask for it"

        def work(path: Path) -> Result:
            return digest(self.read(path))

        with ThreadPoolExecutor(n_threads) as pool:
            todo = iter(paths)
            running: deque[Future[Result]] = deque(pool.submit(work, path) for path in islice(todo, 2 * n_threads))
            while running:
                result = running.popleft().result()
                path = next(todo, None)
                if path is not None:
                    running.append(pool.submit(work, path))
                yield result


def read_array(path: Path) -> MethylationArray:
    """Read the probe ids of one file.

    Raises:
        DataError: no SeSAMe file, a probe twice, or no CpG probe at all.
    """
    id_column = _parse(path).column(PROBE).chunk(0)
    if pc.count_distinct(id_column).as_py() < len(id_column):
        names = id_column.to_pandas()
        twice = names[names.duplicated()].iloc[0]
        raise DataError(f"{path}: probe {twice!r} stands there more than once; download the file again")
    cpgs = find_cpgs(id_column)
    if not cpgs.ids:
        raise DataError(
            f"{path}: none of its {len(id_column)} probes is a CpG (`cg` and digits), the first is"
            f" {id_column[0].as_py()!r}; expected a SeSAMe level 3 beta file"
        )
    return MethylationArray(path, id_column, cpgs)


def find_arrays(paths: Sequence[Path], arrays: Arrays = "refuse") -> ArraySet:
    """Which arrays the files are of, told from one file of each size; each file is checked when it is read.

    Args:
        paths: At least one file.
        arrays: What to do with more than one array: `refuse`, or `intersect` to use the CpG sites that all have.
    Raises:
        DataError: several arrays that are not to be intersected, or no CpG site in common.
    """
    by_size = sorted(paths, key=lambda path: (-_n_bytes(path), str(path)))
    groups: list[list[Path]] = []
    for path in by_size:
        if groups and _n_bytes(groups[-1][0]) <= SAME_ARRAY_SIZE_RATIO * _n_bytes(path):
            groups[-1].append(path)
        else:
            groups.append([path])
    found: list[tuple[MethylationArray, int]] = []
    for group in groups:
        array = read_array(group[0])
        same = next((at for at, (other, _) in enumerate(found) if _same_probes(array, other)), None)
        if same is None:
            found.append((array, len(group)))
        else:
            found[same] = (found[same][0], found[same][1] + len(group))
    for at, (array, _) in enumerate(found):
        _refuse_truncated(array, [larger for larger, _ in found[:at]])
    if len(found) > 1 and arrays == "refuse":
        raise DataError(
            f"methylation arrays are mixed: {_listed(found)}; a mean over other probes is another quantity. Preprocess"
            " one array at a time, or use only the probes that all have with --arrays intersect"
        )
    common = set.intersection(*(set(array.cpgs.ids) for array, _ in found))
    if not common:
        raise DataError(f"{_listed(found)} have no CpG probe in common; preprocess them in separate runs")
    result = ArraySet(tuple(array for array, _ in found), tuple(sorted(common)))
    if len(found) > 1:
        logger.info("arrays intersected: %s; %d CpG probes remain", _listed(found), len(common))
    for rule, n in sorted(Counter(rule for rule, _ in result.dropped).items()):
        logger.info("%s: %d probes left out: %s", result.arrays[0].name, n, rule)
    for array in result.arrays:
        if array.cpgs.n_replicates:
            logger.info("%s: %d replicates are averaged with their site", array.name, array.cpgs.n_replicates)
    return result


def _n_bytes(path: Path) -> int:
    return path.stat().st_size


def _same_probes(one: MethylationArray, other: MethylationArray) -> bool:
    return len(one.id_column) == len(other.id_column) and set(one.id_column.to_pylist()) == set(
        other.id_column.to_pylist()
    )


def _listed(found: Sequence[tuple[MethylationArray, int]]) -> str:
    return ", ".join(f"{array.name} in {n} files, as {array.path.name}" for array, n in found)


def _refuse_truncated(array: MethylationArray, larger: Sequence[MethylationArray]) -> None:
    for other in larger:
        if array.id_column.equals(other.id_column.slice(0, len(array.id_column))):
            raise DataError(
                f"{array.path}: ends after {len(array.id_column)} of the {len(other.id_column)} probes of"
                f" {other.path.name}, in the same order: a truncated file? Download it again"
            )


def _parse(path: Path, check_utf8: bool = True) -> pa.Table:
    content = read_unpacked(path, MOST_BYTES)
    start = content[:200].lstrip()
    if not start:
        raise DataError(f"{path}: empty file, expected a SeSAMe level 3 beta file; download it again")
    if start.startswith(b"<"):
        raise DataError(f"{path}: an HTML page, not a SeSAMe level 3 beta file; download it again")
    # One thread a file (files are read side by side), and a block that holds a whole file: one chunk a column.
    read = pa_csv.ReadOptions(use_threads=False, block_size=max(1 << 20, len(content)), column_names=[PROBE, BETA])
    parse = pa_csv.ParseOptions(delimiter="\t", quote_char=False)
    convert = pa_csv.ConvertOptions(
        column_types={PROBE: pa.string(), BETA: pa.float64()},
        null_values=list(NOT_MEASURED),
        strings_can_be_null=False,
        check_utf8=check_utf8,
    )
    try:
        return pa_csv.read_csv(pa.BufferReader(content), read, parse, convert)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path}: no SeSAMe level 3 beta file, or a damaged one: expected a probe id, a tab and a number or NA in"
            f" every row, without a header ({error}); download it again"
        ) from error
