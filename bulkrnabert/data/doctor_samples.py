"""Samples of a table that are copies of each other, or look broken."""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter, defaultdict

import numpy as np
import numpy.typing as npt

from bulkrnabert.data.clinical import Clinical
from bulkrnabert.data.cohort_source import MIN_LISTED_SHARE
from bulkrnabert.data.doctor_findings import Broken, Check, Pair, Samples, some
from bulkrnabert.data.sources.files import ExpressionTable
from bulkrnabert.data.units import GENOME_WIDE_GENES, LINEAR_BASES, Unit, to_stored

logger = logging.getLogger(__name__)

NEAR_COPY = 0.9999
# The few most variable genes find the pairs worth comparing over all genes.
SIEVE_GENES = 2000
SIEVE_CORRELATION = 0.998
ROUNDING = 5e-5
BLOCK_ROWS = 1024
ROWS_AT_A_TIME = 128
MIN_GENES = 50
MAX_PAIRS = 1000
MAX_COMPARED = 100_000
FEW_GENES = 0.5
OUTLIER_MADS = 5.0
OUTLIER_AT_LEAST = math.log10(4.0)
MAD_TO_SD = 1.4826


def examine_samples(table: ExpressionTable, unit: Unit | None, clinical: Clinical | None) -> Samples:
    """Look at every sample, some at a time.

    Args:
        table: Values as given; missing and infinite cells are named, and count as nothing elsewhere. Not modified.
        unit: What the values are; None when nobody knows.
        clinical: The clinical table, to count the samples that it lists.
    """
    exact = _exact_copies(table)
    n_listed = None if clinical is None else sum(clinical.find(name).is_listed for name in table.sample_ids)
    broken, median_detected = _broken(table, unit)
    return Samples(
        len(table.sample_ids),
        median_detected,
        exact,
        _near_copies(table, unit, exact),
        broken,
        n_listed,
    )


def _exact_copies(table: ExpressionTable) -> tuple[Pair, ...]:
    first: dict[bytes, str] = {}
    pairs = []
    for sample_id, row in zip(table.sample_ids, table.values, strict=True):
        digest = hashlib.sha256(np.ascontiguousarray(row).tobytes()).digest()
        if digest in first:
            pairs.append(Pair(first[digest], sample_id, 1.0))
        first.setdefault(digest, sample_id)
    return tuple(pairs[:MAX_PAIRS])


def _comparable(values: npt.NDArray[np.float32], unit: Unit | None) -> npt.NDArray[np.float32]:
    """Values whose correlation is not that of a few very high genes; missing and infinite cells are zero."""
    finite = np.where(np.isfinite(values), values, np.float32(0))
    is_linear = unit.log_base is None and unit.base in LINEAR_BASES if unit else float(finite.max(initial=0.0)) > 50
    return np.log2(np.maximum(finite, 0) + np.float32(1)) if is_linear else finite


def _near_copies(table: ExpressionTable, unit: Unit | None, exact: tuple[Pair, ...]) -> tuple[Pair, ...]:
    n_samples, n_genes = table.values.shape
    if n_samples < 2 or n_genes < MIN_GENES:
        return ()
    genes = _most_variable(table.values, unit)
    sieve = _standardised(_comparable(table.values[:, genes], unit))
    sieved = SIEVE_CORRELATION if n_genes > SIEVE_GENES else NEAR_COPY - ROUNDING
    n_compared = 0
    known = {frozenset((pair.first, pair.second)) for pair in exact}
    pairs: list[Pair] = []
    for start in range(0, n_samples, BLOCK_ROWS):
        for other in range(start, n_samples, BLOCK_ROWS):
            correlations = sieve[start : start + BLOCK_ROWS] @ sieve[other : other + BLOCK_ROWS].T
            for row, column in np.argwhere(correlations > sieved):
                first, second = start + int(row), other + int(column)
                names = (table.sample_ids[first], table.sample_ids[second])
                if first >= second or frozenset(names) in known:
                    continue
                n_compared += 1
                both = _standardised(_comparable(table.values[[first, second]], unit)).astype(np.float64)
                correlation = float(both[0] @ both[1])
                if correlation > NEAR_COPY:
                    pairs.append(Pair(*names, min(correlation, 1.0)))
                if len(pairs) >= MAX_PAIRS or n_compared >= MAX_COMPARED:
                    logger.warning("so many samples are alike that the search stops after %d pairs", n_compared)
                    return tuple(pairs)
    return tuple(pairs)


def _most_variable(values: npt.NDArray[np.float32], unit: Unit | None) -> npt.NDArray[np.int64]:
    total = np.zeros(values.shape[1])
    squares = np.zeros(values.shape[1])
    for start in range(0, len(values), ROWS_AT_A_TIME):
        part = _comparable(values[start : start + ROWS_AT_A_TIME], unit)
        total += part.sum(axis=0, dtype=np.float64)
        squares += np.einsum("ij,ij->j", part, part, dtype=np.float64)
    variance = squares / len(values) - np.square(total / len(values))
    return np.sort(np.argsort(-variance, kind="stable")[:SIEVE_GENES]).astype(np.int64)


def _standardised(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows of mean 0 and length 1, so that their product is a correlation; a constant row is all zero."""
    centred = values - values.mean(axis=1, keepdims=True, dtype=np.float64)
    norms = np.sqrt(np.square(centred).sum(axis=1, keepdims=True))
    scaled: npt.NDArray[np.float32] = (centred / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    return scaled


def _broken(table: ExpressionTable, unit: Unit | None) -> tuple[tuple[Broken, ...], float | None]:
    reasons: defaultdict[int, list[str]] = defaultdict(list)
    n_samples, n_genes = table.values.shape
    has_zero = unit is None or unit.base in LINEAR_BASES
    floor = _floor(unit)
    detected, totals = np.zeros(n_samples), np.zeros(n_samples)
    for position, row in enumerate(table.values):
        finite = row[np.isfinite(row)]
        n_missing, n_infinite = int(np.isnan(row).sum()), int(np.isinf(row).sum())
        if n_missing:
            reasons[position].append(f"{n_missing} missing values")
        if n_infinite:
            reasons[position].append(f"{n_infinite} infinite values")
        if not finite.size:
            continue
        detected[position] = np.count_nonzero(finite > floor)
        totals[position] = _total(finite, unit)
        if has_zero and not detected[position]:
            reasons[position].append("no gene above zero")
        elif finite.min() == finite.max() and n_genes > 1:
            reasons[position].append(f"every value is {finite.min():g}")
    if has_zero:
        _few_genes(detected, reasons)
        if n_genes >= GENOME_WIDE_GENES:  # a panel has no sum that means something
            _odd_totals(totals, reasons)
    found = tuple(Broken(table.sample_ids[position], tuple(why)) for position, why in sorted(reasons.items()))
    return found, float(np.median(detected)) if has_zero else None


def _floor(unit: Unit | None) -> float:
    """What a zero is on this scale."""
    if unit is None or unit.log_base is None:
        return 0.0
    log = {"log2": math.log2, "log10": math.log10, "ln": math.log}[unit.log_base]
    return log(unit.pseudo_count) + 1e-3


def _total(finite: npt.NDArray[np.float32], unit: Unit | None) -> float:
    if unit is None or unit.log_base is None:
        return float(np.sum(finite, dtype=np.float64))
    # Only the logarithm is inverted: `rsem` stands for any quantity.
    stored = to_stored(finite[np.newaxis], Unit("rsem", unit.log_base, unit.pseudo_count))
    return float(np.sum(stored.values, dtype=np.float64))


def _few_genes(detected: npt.NDArray[np.float64], reasons: defaultdict[int, list[str]]) -> None:
    median = float(np.median(detected))
    for position in np.flatnonzero((detected > 0) & (detected < FEW_GENES * median)):
        reasons[int(position)].append(f"{int(detected[position])} genes above zero, the median sample has {median:.0f}")


def _odd_totals(totals: npt.NDArray[np.float64], reasons: defaultdict[int, list[str]]) -> None:
    positive = totals > 0
    if positive.sum() < 3:
        return
    logs = np.log10(totals[positive])
    middle = float(np.median(logs))
    spread = MAD_TO_SD * float(np.median(np.abs(logs - middle)))
    limit = max(OUTLIER_MADS * spread, OUTLIER_AT_LEAST)
    for position in np.flatnonzero(positive):
        distance = math.log10(totals[position]) - middle
        if abs(distance) > limit:
            times = 10 ** abs(distance)
            reasons[int(position)].append(
                f"sum {totals[position]:.4g}, {times:.1f} times {'above' if distance > 0 else 'below'} the median"
            )


def check_samples(table: ExpressionTable, samples: Samples, clinical: Clinical | None) -> list[Check]:
    """The findings as checks."""
    checks = [_check_ids(table, clinical)]
    fatal = [one for one in samples.broken if any(why.startswith(("no gene", "every value")) for why in one.reasons)]
    if samples.broken:
        shown = some([f"{one.sample_id} ({'; '.join(one.reasons)})" for one in samples.broken], 3)
        checks.append(
            Check(
                "broken_samples",
                "fail" if fatal else "warn",
                f"{len(samples.broken)} of {samples.n_samples} samples look broken: {shown}",
                "samples with expression, and sums and numbers of genes like the others'",
                "leave these samples out, or quantify them again",
            )
        )
    else:
        checks.append(Check("broken_samples", "ok", "no sample stands out"))
    # An id that stands there twice is named above.
    exact = [pair for pair in samples.exact_copies if pair.first != pair.second]
    near = [pair for pair in samples.near_copies if pair.first != pair.second]
    copies = [*exact, *near]
    if copies:
        shown = some([f"{pair.first} and {pair.second} (r {pair.correlation:.5f})" for pair in copies], 3)
        checks.append(
            Check(
                "copies",
                "warn",
                f"{len(exact)} exact copies, {len(near)} pairs that correlate above {NEAR_COPY}: {shown}",
                "each sample once",
                "keep one of each, or give both the same patient_id, so that they never part in a split",
            )
        )
    else:
        checks.append(Check("copies", "ok", "no two samples with different ids are alike"))
    if samples.n_in_clinical is not None and clinical is not None:
        checks.append(_check_clinical(table, samples.n_samples, samples.n_in_clinical, clinical))
    return checks


def _check_ids(table: ExpressionTable, clinical: Clinical | None) -> Check:
    twice = sorted(name for name, count in Counter(table.sample_ids).items() if count > 1)
    repeated = frozenset() if clinical is None else clinical.repeated_patients
    if not twice:
        return Check("sample_ids", "ok", f"{len(table.sample_ids)} different ids, as {table.sample_ids[0]}")
    is_known = all(name in repeated for name in twice)
    return Check(
        "sample_ids",
        "warn" if is_known else "fail",
        f"{len(twice)} ids stand there more than once: {some(twice)}",
        "one profile an id",
        "preprocess keeps the first profile of each"
        if is_known
        else "keep one profile of each, or give a --clinical table that lists these patients as often",
    )


def _check_clinical(table: ExpressionTable, n_samples: int, n_listed: int, clinical: Clinical) -> Check:
    found = f"{clinical.source} lists {n_listed} of {n_samples} samples"
    if n_listed == n_samples:
        return Check("clinical", "ok", found)
    is_enough = n_listed >= MIN_LISTED_SHARE * n_samples
    has_cohorts = clinical.has_cohorts and bool(clinical.cohorts)
    unlisted = [name for name in table.sample_ids if not clinical.find(name).is_listed]
    return Check(
        "clinical",
        "warn" if is_enough else "fail",
        f"{found}; not {some(unlisted, 3)}",
        f"the same ids in both, as {min(clinical.known_ids, default='')}",
        f"check their ids; preprocess {'rejects them, no cohort' if has_cohorts else 'keeps them without survival'}"
        if is_enough
        else f"preprocess refuses less than {MIN_LISTED_SHARE:.0%}; name samples and patients alike in both tables, or"
        " give the clinical table that belongs to this one",
    )
