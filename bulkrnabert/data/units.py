"""Units of expression: stated by the user, checked against the numbers, converted where a way exists."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)

Base = Literal["counts", "tpm", "fpkm", "fpkm_uq", "rsem", "beta", "zscore", "log2_ratio"]
LogBase = Literal["log2", "log10", "ln"]
LINEAR_BASES: tuple[Base, ...] = ("counts", "tpm", "fpkm", "fpkm_uq", "rsem")
KNOWN_UNITS = (
    "counts, tpm, fpkm, fpkm_uq, rsem, beta, sqrt(beta), zscore, log2_ratio, or a log of one of the first five with"
    " its pseudo-count, as log2(tpm+1), log10(fpkm+1), ln(counts+1), log2(tpm+0.001); counts that are no whole numbers"
    " (RSEM, salmon, tximport) are estimated_counts"
)
ESTIMATED_COUNTS = "estimated_counts"
LOG_UNIT = re.compile(r"^(log2|log10|ln)\(([a-z_]+)(?:\+([0-9.eE+-]+))?\)$")

# What a scale can hold; beyond, the numbers are something else.
LOG_CEILING: dict[LogBase, float] = {"log2": 30.0, "log10": 10.0, "ln": 21.0}
LINEAR_LOOKS_LOGGED_BELOW = 25.0
NON_INTEGER_SHARE = 0.5
# Batch correction leaves a few values just under the logarithm of the pseudo-count: Pan-Cancer Atlas RSEM has them.
MAX_SHARE_BELOW_FLOOR = 0.01
MAX_DEPTH_BELOW_FLOOR_LOG2 = 1.0
GENOME_WIDE_GENES = 10_000
SAMPLES_SUMMED = 50
MAX_TPM_TOTAL = 1.1e6  # a table without some genes sums to less than a million, never to more
TRANSCRIPTS_PER_MILLION = 1_000_000.0

_EXP: dict[LogBase, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
    "log2": np.exp2,
    "log10": lambda values: np.power(10.0, values),
    "ln": np.exp,
}
_LOG: dict[LogBase, Callable[[float], float]] = {"log2": math.log2, "log10": math.log10, "ln": math.log}


@dataclass(frozen=True)
class Unit:
    """What the numbers of a table mean.

    Attributes:
        base: The quantity.
        log_base: Its logarithm, or None for the quantity itself.
        pseudo_count: What was added before the logarithm; 0 without one.
        is_root: Whether it is the square root of the quantity; of beta only, whose variance it steadies.
        is_estimate: Whether counts are estimates, so no whole numbers: RSEM's expected counts, those of salmon and
            kallisto, scaled by length or not (nf-core's `gene_counts` and `gene_counts_length_scaled`). Divided by gene
            lengths they become TPM as others do. Counts that were scaled to TPM (`gene_counts_scaled`) are not among
            them: their lengths are divided out already.
    """

    base: Base
    log_base: LogBase | None = None
    pseudo_count: float = 0.0
    is_root: bool = False
    is_estimate: bool = False

    def __str__(self) -> str:
        if self.is_estimate:
            return ESTIMATED_COUNTS
        if self.is_root:
            return f"sqrt({self.base})"
        if self.log_base is None:
            return self.base
        return f"{self.log_base}({self.base}+{self.pseudo_count:g})"

    @property
    def needs_every_gene(self) -> bool:
        """Whether it becomes TPM by the sum over all genes of a sample, so that none may be missing."""
        return self.base in ("counts", "fpkm", "fpkm_uq")

    @property
    def linear(self) -> Unit:
        """The same quantity without its logarithm or root."""
        return replace(self, log_base=None, pseudo_count=0.0, is_root=False)


@dataclass(frozen=True)
class StoredValues:
    """Values in the unit that cohort tables hold.

    Attributes:
        values: Shape (samples, genes), float32; a copy.
        unit: `tpm`, `rsem`, `zscore`, `log2_ratio` or `beta`.
        n_clipped: Cells that came out just below zero when a logarithm was inverted, and were set to zero.
    """

    values: npt.NDArray[np.float32]
    unit: Unit
    n_clipped: int


def parse_unit(text: str) -> Unit:
    """Read a unit as a user writes it; case, blanks and `fpkm-uq` for `fpkm_uq` are forgiven.

    Raises:
        DataError: not a known unit; lists those that are.
    """
    compact = re.sub(r"\s+", "", text).lower().replace("fpkm-uq", "fpkm_uq")
    if compact in get_args(Base):
        return Unit(cast(Base, compact))
    if compact == ESTIMATED_COUNTS:
        return Unit("counts", is_estimate=True)
    if compact == "sqrt(beta)":
        return Unit("beta", is_root=True)
    match = LOG_UNIT.match(compact)
    if match is None or match.group(2) not in LINEAR_BASES:
        raise DataError(f"unknown unit {text!r}; known units: {KNOWN_UNITS}")
    try:
        pseudo_count = float(match.group(3)) if match.group(3) else 0.0
    except ValueError:
        pseudo_count = 0.0
    if not (pseudo_count > 0.0 and math.isfinite(pseudo_count)):
        raise DataError(
            f"unit {text!r} needs the positive pseudo-count that was added before the logarithm,"
            f" as {match.group(1)}({match.group(2)}+1)"
        )
    return Unit(cast(Base, match.group(2)), cast(LogBase, match.group(1)), pseudo_count)


def stored_unit(unit: Unit, has_gene_lengths: bool = False) -> Unit:
    """The unit that `to_stored` ends in.

    Raises:
        DataError: counts without gene lengths cannot be compared between genes.
    """
    if unit.base == "counts" and not has_gene_lengths:
        raise DataError(
            f"values in `{unit}` become TPM only with the length of every gene: give --gene-lengths FILE"
            " (columns gene_id, length in bases) to `preprocess`, or a table in TPM"
        )
    return Unit("tpm") if unit.base in ("counts", "tpm", "fpkm", "fpkm_uq") else unit.linear


def to_stored(
    values: npt.NDArray[np.floating | np.integer],
    unit: Unit,
    gene_lengths: npt.NDArray[np.floating | np.integer] | None = None,
) -> StoredValues:
    """Convert to what cohort tables hold: TPM where a way exists, RSEM, or the scale as it is.

    Logarithms and roots are inverted. FPKM and FPKM-UQ become TPM by scaling each sample to a million, which is exact
    only over the whole genome. Counts become TPM through gene lengths. A sample without any expression stays all zero.

    Args:
        values: Shape (samples, genes), in `unit`, finite. Not modified.
        unit: What they are.
        gene_lengths: Bases of each gene, shape (genes,); needed for counts, otherwise unused.
    Raises:
        DataError: counts without lengths, or a length that is not positive.
    """
    target = stored_unit(unit, has_gene_lengths=gene_lengths is not None)
    linear = values.astype(np.float64)
    n_clipped = 0
    if unit.log_base is not None:
        linear = _EXP[unit.log_base](linear) - unit.pseudo_count
    if unit.is_root:
        linear = np.square(linear)
    if unit.base in LINEAR_BASES:
        # A zero stored as log2(0.001) in a few digits comes back as about 1e-7: a rounding error, not expression.
        noise = 1e-3 * unit.pseudo_count
        below = linear < 0.0
        n_clipped = int(np.count_nonzero(linear < -noise))
        linear[below | (np.abs(linear) <= noise)] = 0.0
    if unit.base == "counts":
        assert gene_lengths is not None
        if not np.all(np.asarray(gene_lengths) > 0):
            raise DataError("gene lengths must be positive numbers of bases for every gene of the table")
        linear /= np.asarray(gene_lengths, dtype=np.float64)
    if unit.needs_every_gene:
        linear = _scale_to_million(linear, unit)
    return StoredValues(linear.astype(np.float32), target, n_clipped)


def _scale_to_million(linear: npt.NDArray[np.float64], unit: Unit) -> npt.NDArray[np.float64]:
    if linear.shape[1] < GENOME_WIDE_GENES:
        logger.warning(
            "%s to TPM over %d genes only: the sum over a part of the genome stands for the whole, so values are"
            " comparable within this table but too high as TPM",
            unit,
            linear.shape[1],
        )
    totals = linear.sum(axis=1, keepdims=True)
    scaled: npt.NDArray[np.float64] = linear * (TRANSCRIPTS_PER_MILLION / np.where(totals > 0.0, totals, 1.0))
    return scaled


def check_scale(values: npt.NDArray[np.floating | np.integer], unit: Unit, where: str) -> None:
    """Compare the numbers with the unit that was claimed.

    Args:
        values: Shape (samples, genes); missing cells are ignored. Not modified.
        unit: What they are said to be.
        where: Name of the table, for the message.
    Raises:
        DataError: the numbers cannot be that; says what they look like and what to do.
    """
    finite = np.asarray(values)[np.isfinite(values)]
    if finite.size == 0:
        raise DataError(f"{where}: no number in the table at all, expected values in `{unit}`")
    low, high = float(finite.min()), float(finite.max())
    problem = _scale_problem(finite, low, high, unit) or _total_problem(np.asarray(values), unit, where)
    if problem is not None:
        raise DataError(f"{where}: values from {low:.4g} to {high:.4g} are no `{unit}`: {problem}")


def _total_problem(values: npt.NDArray[np.floating | np.integer], unit: Unit, where: str) -> str | None:
    """TPM of a sample sum to a million over all genes, so never to more: the sums tell counts and RSEM that are not."""
    if unit.base != "tpm":
        return None
    rows = np.unique(np.linspace(0, len(values) - 1, min(SAMPLES_SUMMED, len(values))).astype(np.int64))
    part = values[rows].astype(np.float64)
    part[~np.isfinite(part)] = np.nan
    median = float(np.median(np.nansum(to_stored(part, unit).values, axis=1, dtype=np.float64)))
    if median <= MAX_TPM_TOTAL:
        return None
    is_whole = unit.log_base is None and not np.any(np.nan_to_num(part) % 1)
    found = f"those of the median sample sum to {median:.4g}, and TPM sum to a million at most"
    if is_whole:
        return f"{found}; this looks like counts, all values are whole numbers"
    # Made-up and merged profiles exceed it too, so this is for a human to judge (and `doctor` says it again).
    logger.warning("%s: %s; is this rsem, estimated_counts or fpkm_uq?", where, found)
    return None


def _scale_problem(finite: npt.NDArray[np.floating | np.integer], low: float, high: float, unit: Unit) -> str | None:
    if unit.base == "beta":
        if low < 0.0 or high > 1.0:
            return "beta values lie between 0 and 1; check the unit, or convert M-values with 2^M / (2^M + 1)"
        return None
    if unit.base in ("zscore", "log2_ratio"):
        return _centred_problem(low, high)
    if unit.log_base is not None:
        return _log_problem(finite, low, high, unit)
    return _linear_problem(finite, low, high, unit)


def _centred_problem(low: float, high: float) -> str | None:
    """A centred scale has about half of its values below zero."""
    if low < 0.0:
        return None
    if high > LOG_CEILING["log2"]:
        return "no value is negative, so this looks like a linear scale; say which (tpm, rsem, counts, …)"
    fitting = "beta or sqrt(beta)" if high <= 1.0 else "log2(tpm+1), log2(rsem+1), or another logarithm"
    return f"no value is negative, and of a centred scale about half are; the numbers fit {fitting}: say which"


def _log_problem(finite: npt.NDArray[np.floating | np.integer], low: float, high: float, unit: Unit) -> str | None:
    assert unit.log_base is not None
    if high > LOG_CEILING[unit.log_base]:
        return f"too high for a logarithm, this looks like a linear scale; say so with the unit `{unit.base}`"
    log = _LOG[unit.log_base]
    floor = log(unit.pseudo_count)
    share_below = float(np.mean(finite < floor - 1e-3))
    if low < floor - MAX_DEPTH_BELOW_FLOOR_LOG2 * log(2.0) or share_below > MAX_SHARE_BELOW_FLOOR:
        return (
            f"a zero would be {floor:.4g}, yet {share_below:.1%} of the values lie below; this looks like another"
            " pseudo-count, as log2(tpm+0.001), or like a centred scale (zscore, log2_ratio)"
        )
    return None


def _linear_problem(finite: npt.NDArray[np.floating | np.integer], low: float, high: float, unit: Unit) -> str | None:
    if low < 0.0:
        return (
            "a linear scale has no negative value; this looks like a logarithm, as log2(tpm+0.001), or a centred"
            " scale (zscore, log2_ratio)"
        )
    expressed = finite[finite != 0]
    non_integer_share = float(np.mean(expressed != np.rint(expressed))) if expressed.size else 0.0
    if high < LINEAR_LOOKS_LOGGED_BELOW and non_integer_share > NON_INTEGER_SHARE:
        return f"too low for a linear scale, this looks like logarithms; say so with the unit `log2({unit.base}+1)`"
    if unit.base == "counts" and not unit.is_estimate and non_integer_share > 0.0:
        return (
            f"counts are whole numbers, yet {non_integer_share:.1%} of the values above zero are not; this looks"
            " like rsem, tpm or fpkm; if they are estimates of counts (RSEM, salmon, tximport), say"
            f" `{ESTIMATED_COUNTS}`"
        )
    return None
