"""What scale the numbers of a table are on, told from the numbers alone, and whether that fits the unit claimed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bulkrnabert.data.doctor_findings import Check, Scale
from bulkrnabert.data.units import (
    ESTIMATED_COUNTS,
    GENOME_WIDE_GENES,
    LOG_CEILING,
    MAX_SHARE_BELOW_FLOOR,
    MAX_TPM_TOTAL,
    TRANSCRIPTS_PER_MILLION,
    LogBase,
    Unit,
    check_scale,
    parse_unit,
    to_stored,
)
from bulkrnabert.errors import DataError

ROWS_LOOKED_AT = 200
INTEGER_SHARE = 0.9999
FLOOR_SHARE = 0.01
FLOOR_TOLERANCE = 0.01
PSEUDO_COUNTS = (0.001, 0.01, 0.1, 0.5, 0.25, 0.0001, 0.00001)
TOTAL_TOLERANCE = 0.05
MOST_SAMPLES = 0.9
MIN_TPM_TOTAL = 0.5e6
UPPER_QUARTILE_SPREAD = 0.02
MEAN_OF_ZSCORES = 0.2
SPREAD_OF_ZSCORES = (0.8, 1.2)
LOG_BASES: tuple[LogBase, ...] = ("log2", "log10", "ln")
_LOG = {"log2": math.log2, "log10": math.log10, "ln": math.log}


@dataclass(frozen=True)
class Numbers:
    """Figures of a table that tell its scale.

    Attributes:
        part: The samples that were looked at, evenly spaced; float64, missing and infinite cells as NaN.
        low: Lowest finite value of the whole table.
        high: Highest.
        negative_share: Of the finite cells looked at.
        integer_share: Whole numbers among those that are not zero.
        floor_share: Share of cells that have exactly the lowest value looked at.
        is_genome_wide: Whether there are enough genes for sums to mean something.
    """

    part: npt.NDArray[np.float64]
    low: float
    high: float
    negative_share: float
    integer_share: float
    floor_share: float
    is_genome_wide: bool

    def totals(self, unit: Unit | None = None) -> npt.NDArray[np.float64]:
        """Sum of each sample looked at, logarithms inverted."""
        linear = self.part if unit is None or unit.log_base is None else _linear(self.part, unit)
        sums: npt.NDArray[np.float64] = np.nansum(linear, axis=1)
        return sums


def _linear(values: npt.NDArray[np.float64], unit: Unit) -> npt.NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        # `rsem` stands for any quantity here: only the logarithm is inverted.
        return to_stored(values, Unit("rsem", unit.log_base, unit.pseudo_count)).values.astype(np.float64)


def look_at(values: npt.NDArray[np.float32]) -> Numbers:
    """Figures of a table.

    Args:
        values: Shape (samples, genes), at least one finite. Not modified.
    """
    rows = np.unique(np.linspace(0, len(values) - 1, min(ROWS_LOOKED_AT, len(values))).astype(np.int64))
    part = values[rows].astype(np.float64)
    part[~np.isfinite(part)] = np.nan
    lows, highs = zip(*(_range(row) for row in values), strict=True)
    cells = part[~np.isnan(part)]
    expressed = cells[cells != 0]
    return Numbers(
        part=part,
        low=min(lows),
        high=max(highs),
        negative_share=float(np.mean(cells < 0)) if cells.size else 0.0,
        integer_share=float(np.mean(expressed == np.rint(expressed))) if expressed.size else 1.0,
        floor_share=float(np.mean(cells == cells.min())) if cells.size else 0.0,
        is_genome_wide=values.shape[1] >= GENOME_WIDE_GENES,
    )


def _range(row: npt.NDArray[np.float32]) -> tuple[float, float]:
    finite = row[np.isfinite(row)]
    return (float(finite.min()), float(finite.max())) if finite.size else (math.inf, -math.inf)


def candidate_units(numbers: Numbers) -> tuple[str, ...]:
    """Units that the numbers fit, the likeliest first."""
    if numbers.low >= 0 and numbers.high <= 1 and numbers.integer_share < 0.5:
        return ("beta", "sqrt(beta)")
    if numbers.negative_share > 0:
        return _below_zero(numbers)
    if numbers.integer_share >= INTEGER_SHARE:
        return ("counts",)
    if numbers.high < LOG_CEILING["log2"]:
        return _logarithms(numbers)
    return _linear_units(numbers)


def _below_zero(numbers: Numbers) -> tuple[str, ...]:
    if numbers.floor_share >= FLOOR_SHARE:
        fitting = [
            (base, pseudo_count)
            for base in LOG_BASES
            for pseudo_count in PSEUDO_COUNTS
            if abs(_LOG[base](pseudo_count) - numbers.low) < FLOOR_TOLERANCE
        ]
        if fitting:
            return _of_logarithms(numbers, fitting)
    if numbers.negative_share <= MAX_SHARE_BELOW_FLOOR and numbers.high < LOG_CEILING["log2"]:
        return ("log2(rsem+1)", "log2(tpm+1)")
    measured = numbers.part[:, ~np.isnan(numbers.part).any(axis=0)]
    is_standard = bool(
        measured.size
        and np.median(np.abs(measured.mean(axis=0))) < MEAN_OF_ZSCORES
        and SPREAD_OF_ZSCORES[0] < np.median(measured.std(axis=0)) < SPREAD_OF_ZSCORES[1]
    )
    return ("zscore", "log2_ratio") if is_standard else ("log2_ratio", "zscore")


def _quantities(numbers: Numbers, base: LogBase, pseudo_count: float) -> tuple[str, ...]:
    units = tuple(f"{base}({quantity}+{pseudo_count:g})" for quantity in ("tpm", "fpkm", "rsem"))
    fitting = tuple(unit for unit in units if _fits_total(numbers, parse_unit(unit)))
    if numbers.is_genome_wide and is_million(numbers.totals(parse_unit(units[0]))):
        return fitting[:1]
    return fitting or units


def _fits_total(numbers: Numbers, unit: Unit) -> bool:
    if unit.base != "tpm":
        return True
    median = float(np.median(numbers.totals(unit)))
    return median <= MAX_TPM_TOTAL and (not numbers.is_genome_wide or median >= MIN_TPM_TOTAL)


def _logarithms(numbers: Numbers) -> tuple[str, ...]:
    return _of_logarithms(numbers, [(base, 1.0) for base in LOG_BASES])


def _of_logarithms(numbers: Numbers, fitting: list[tuple[LogBase, float]]) -> tuple[str, ...]:
    """Units of these bases and pseudo-counts; only one where it makes every sample sum to a million."""
    found: list[str] = []
    for base, pseudo_count in fitting:
        if numbers.high > LOG_CEILING[base]:
            continue
        units = _quantities(numbers, base, pseudo_count)
        if len(units) == 1:
            return units
        found += units
    # More than 6 is more than a million TPM in tens; less than 6 is little in twos.
    first = "log10" if numbers.high <= 6.01 else "log2"
    return tuple(sorted(found, key=lambda unit: not unit.startswith(f"{first}(")))


def _linear_units(numbers: Numbers) -> tuple[str, ...]:
    totals = numbers.totals()
    if numbers.is_genome_wide and is_million(totals):
        return ("tpm",)
    if _has_one_upper_quartile(numbers):
        return ("rsem",)
    if float(np.median(totals)) > MAX_TPM_TOTAL:
        return ("rsem", ESTIMATED_COUNTS, "fpkm_uq")
    return ("fpkm", "rsem", "tpm") if numbers.is_genome_wide else ("tpm", "fpkm", "rsem")


def is_million(totals: npt.NDArray[np.float64]) -> bool:
    """Whether nearly every sample sums to a million, as TPM does."""
    near = np.abs(totals / TRANSCRIPTS_PER_MILLION - 1) < TOTAL_TOLERANCE
    return bool(np.mean(near) >= MOST_SAMPLES)


def _has_one_upper_quartile(numbers: Numbers) -> bool:
    """Whether all samples were scaled to one upper quartile, as Firehose's RSEM is."""
    if not numbers.is_genome_wide or len(numbers.part) < 3:
        return False
    quartiles = np.array([np.percentile(row[row > 0], 75) if (row > 0).any() else 0.0 for row in numbers.part])
    return bool(quartiles.mean() > 0 and quartiles.std() / quartiles.mean() < UPPER_QUARTILE_SPREAD)


def describe_scale(numbers: Numbers, claimed: Unit | None) -> Scale:
    """What the numbers look like, and why."""
    units = candidate_units(numbers)
    totals = numbers.totals()
    evidence = [
        ("lowest value", f"{numbers.low:.4g}"),
        ("highest value", f"{numbers.high:.4g}"),
        ("negative values", f"{numbers.negative_share:.1%}"),
        ("whole numbers among those not zero", f"{numbers.integer_share:.1%}"),
        ("cells with the lowest value", f"{numbers.floor_share:.1%}"),
        ("sum of a sample (median)", f"{float(np.median(totals)):.4g}"),
        ("samples looked at", str(len(numbers.part))),
    ]
    likeliest = parse_unit(units[0])
    if likeliest.log_base is not None:
        total = float(np.median(numbers.totals(likeliest)))
        evidence.append((f"sum of a sample without {likeliest.log_base} (median)", f"{total:.4g}"))
    detected = units[0] if len(units) == 1 else None
    return Scale(str(claimed) if claimed else None, detected, units, tuple(evidence))


def check_unit(values: npt.NDArray[np.float32], numbers: Numbers, scale: Scale, unit: Unit) -> Check:
    """Compare the unit that was claimed with the numbers."""
    found = f"claimed {unit}; the numbers look like {' or '.join(scale.candidates)}"
    try:
        check_scale(values, unit, "the table")
    except DataError as error:
        problem = str(error).removeprefix("the table: ")
        return Check("unit", "fail", f"claimed {unit}, but {problem}", str(unit), _unit_cure(scale))
    contradiction = _contradiction(numbers, scale, unit)
    if contradiction is not None:
        return Check("unit", "fail", f"claimed {unit}, but {contradiction}", str(unit), _unit_cure(scale))
    doubt = _doubt(numbers, scale, unit)
    if doubt is not None:
        return Check("unit", "warn", f"claimed {unit}, but {doubt}", str(unit), _unit_cure(scale))
    return Check("unit", "ok", found, str(unit))


def _unit_cure(scale: Scale) -> str:
    return "state what the numbers are: " + " or ".join(f"--unit '{unit}'" for unit in scale.candidates)


def _contradiction(numbers: Numbers, scale: Scale, unit: Unit) -> str | None:
    if unit.base in ("zscore", "log2_ratio"):
        if scale.candidates[0].startswith(LOG_BASES) and "(" in scale.candidates[0]:
            if numbers.floor_share >= FLOOR_SHARE:
                return f"{numbers.floor_share:.0%} of the cells have the lowest value: a zero before a logarithm"
            return f"{numbers.negative_share:.1%} of the values are below zero, and of a centred scale about half"
        return None
    if unit.base == "beta" or unit.base == "counts":
        return None
    if unit.log_base is None and scale.candidates == ("counts",) and numbers.high > 0:
        return "all values are whole numbers, as counts are"
    if scale.detected is not None and parse_unit(scale.detected).log_base not in (None, unit.log_base):
        return f"without {parse_unit(scale.detected).log_base} every sample sums to a million, as TPM does"
    if unit.base == "tpm":
        median = float(np.median(numbers.totals(unit)))
        if median > MAX_TPM_TOTAL:
            return f"the values of the median sample sum to {median:.4g}, and TPM to a million at most"
    return None


def _doubt(numbers: Numbers, scale: Scale, unit: Unit) -> str | None:
    totals = numbers.totals(unit)
    if unit.base == "tpm" and numbers.is_genome_wide and float(np.median(totals)) < MIN_TPM_TOTAL:
        return (
            f"the values of the median sample sum to {float(np.median(totals)):.4g} where TPM sums to a million: FPKM,"
            " or a table without many expressed genes"
        )
    if unit.base in ("fpkm", "fpkm_uq", "rsem") and numbers.is_genome_wide and is_million(totals):
        return "every sample sums to a million, as TPM does"
    if unit.base == "rsem" and scale.candidates == ("counts",):
        return "all values are whole numbers, as counts are"
    if unit.base in ("zscore", "log2_ratio") and scale.candidates[0] != str(unit):
        return f"the spread of the genes looks like {scale.candidates[0]}"
    if not any(_is_like(unit, parse_unit(candidate)) for candidate in scale.candidates):
        return f"the numbers look like {' or '.join(scale.candidates)}"
    return None


def _is_like(unit: Unit, candidate: Unit) -> bool:
    """Whether numbers that fit one of the two fit the other: of logarithms, the numbers tell base and pseudo-count."""
    if unit.log_base is not None:
        return (unit.log_base, unit.pseudo_count) == (candidate.log_base, candidate.pseudo_count)
    return candidate.log_base is None and unit.base == candidate.base
