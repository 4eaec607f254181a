"""The tokenizer of binned expression: what was fitted on the training part, and how values become token ids.

Ids: 0 to n_bins - 1 are bins, then `<pad>` (64) and `<mask>` (65).

Scales with a true zero (`tpm`, `rsem`) go through log10(1 + x), are divided by the training maximum and fall into
linear bins. Scales that are already centred (`zscore`, `log2_ratio`) fall between quantiles of the training part.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from bulkrnabert.config import FrozenConfig
from bulkrnabert.data.binning import linear_bins, log10_plus_one, quantile_edges
from bulkrnabert.data.units import Unit, parse_unit, stored_unit, to_stored
from bulkrnabert.errors import CheckpointError, ConfigError, DataError
from bulkrnabert.keys import MASK_ID, PAD_ID
from bulkrnabert.provenance import write_json

logger = logging.getLogger(__name__)

N_BINS = 64
LINEAR_UNITS = frozenset({"tpm", "rsem"})
CENTRED_UNITS = frozenset({"zscore", "log2_ratio"})
ROWS_AT_A_TIME = 64

FloatArray = NDArray[np.floating]
MissingAs = Literal["mask", "zero"]


@dataclass(frozen=True)
class Selection:
    """Some rows and columns of a table, looked at piece by piece.

    Attributes:
        values: Shape (samples, genes).
        rows: Which samples; all when None.
        columns: Which genes, in this order; all when None.
    """

    values: FloatArray
    rows: NDArray[np.int64] | None = None
    columns: NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of what is selected."""
        n_rows = len(self.values) if self.rows is None else len(self.rows)
        return n_rows, self.values.shape[1] if self.columns is None else len(self.columns)

    def pieces(self) -> Iterator[FloatArray]:
        """The selected values, some rows at a time."""
        for start in range(0, self.shape[0], ROWS_AT_A_TIME):
            part = slice(start, start + ROWS_AT_A_TIME)
            piece = self.values[part if self.rows is None else self.rows[part]]
            yield piece if self.columns is None else piece[:, self.columns]


class BinnedTokenizer(FrozenConfig):
    """Values to token ids.

    Attributes:
        n_bins: Number of bins.
        unit: Unit of the values it was fitted on, as stored in a cohort table.
        edges_kind: `log_linear` (log10(1 + x), training maximum, linear bins) or `quantile`.
        normalization_factor: Maximum of log10(1 + x) over the training part, for `log_linear`.
        edges: The n_bins - 1 inner edges, for `quantile`.
        overflow: A value at or above the training maximum goes to the top bin (`clip`, ours), or gets the id of
            `<pad>` as in the published tokenizer (`reference`).
        missing: A missing value (NaN) becomes `<mask>`, or counts as 0 as in the published data preparation.
        pad_id: Id of `<pad>`.
        mask_id: Id of `<mask>`.
    """

    version: Literal[1] = 1
    n_bins: int = Field(default=N_BINS, ge=2, le=N_BINS)
    unit: str
    edges_kind: Literal["log_linear", "quantile"]
    normalization_factor: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    edges: tuple[float, ...] | None = None
    overflow: Literal["clip", "reference"] = "clip"
    missing: MissingAs = "mask"
    pad_id: Literal[64] = PAD_ID
    mask_id: Literal[65] = MASK_ID

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.edges_kind == "log_linear" and (self.normalization_factor is None or self.edges is not None):
            raise ValueError("edges_kind log_linear needs normalization_factor and takes no edges")
        if self.edges_kind == "quantile":
            if self.edges is None or self.normalization_factor is not None:
                raise ValueError("edges_kind quantile needs edges and takes no normalization_factor")
            if len(self.edges) != self.n_bins - 1 or list(self.edges) != sorted(self.edges):
                raise ValueError(f"edges must be {self.n_bins - 1} ascending numbers, found {len(self.edges)}")
        return self

    @classmethod
    def fit(cls, values: FloatArray, unit: str, n_bins: int = N_BINS, missing: MissingAs = "mask") -> Self:
        """Fit on the training part; missing values are left out.

        Args:
            values: Expression, shape (samples, genes). Not modified.
            unit: Unit of `values`.
            n_bins: Number of bins.
            missing: What a missing value becomes.
        Raises:
            ConfigError: the unit has no binning.
            DataError: nothing but zeros or missing values.
        """
        return cls.fit_selection(Selection(values), unit, n_bins, missing)

    @classmethod
    def fit_selection(cls, selection: Selection, unit: str, n_bins: int = N_BINS, missing: MissingAs = "mask") -> Self:
        """As `fit`, on some rows and columns of a table of which no copy is made where the scale needs none."""
        given = parse_unit(unit)
        if str(given) in CENTRED_UNITS:
            edges = tuple(float(edge) for edge in quantile_edges(np.concatenate(list(selection.pieces())), n_bins))
            return cls(n_bins=n_bins, unit=str(given), edges_kind="quantile", edges=edges, missing=missing)
        name = str(stored_unit(given))
        if name not in LINEAR_UNITS:
            known = ", ".join(sorted(LINEAR_UNITS | CENTRED_UNITS))
            raise ConfigError(f"no binning is known for unit {name!r}: use one of {known}")
        maximum = 0.0
        for piece in selection.pieces():
            own_values, _unit = _to_stored_unit(piece, given)
            maximum = max(maximum, float(np.max(own_values, initial=0.0, where=np.isfinite(own_values))))
        if maximum <= 0.0:
            raise DataError(f"the training part has no value above 0 {name}: check the table and its unit")
        factor = float(log10_plus_one(np.asarray(maximum, dtype=np.float64)))
        return cls(n_bins=n_bins, unit=name, edges_kind="log_linear", normalization_factor=factor, missing=missing)

    def encode(self, values: FloatArray, unit: str = "tpm") -> NDArray[np.uint8]:
        """Token ids of a table of values.

        Args:
            values: Expression, shape (samples, genes), NaN where missing. Not modified.
            unit: Unit of `values`; converted to the tokenizer's own. `log10(<own unit>+1)` is used as it is, with no
                way there and back that could move a value over a bin edge.
        Returns:
            Ids, shape (samples, genes), uint8.
        Raises:
            DataError: the unit cannot be converted to the tokenizer's, or a value is negative or infinite where the
                scale has no such values (names the first row and column, from 0).
        """
        values = np.asarray(values)
        if values.ndim != 2:
            raise DataError(f"values have shape {values.shape}, expected two dimensions: (samples, genes)")
        return self.encode_selection(Selection(values), unit)

    def encode_selection(self, selection: Selection, unit: str) -> NDArray[np.uint8]:
        """As `encode`, of some rows and columns of a table of which no copy is made."""
        ids = np.empty(selection.shape, dtype=np.uint8)
        n_missing = start = 0
        for rows in selection.pieces():
            ids[start : start + len(rows)] = self.encode_rows(rows, unit, start)
            n_missing += int(np.isnan(rows).sum())
            start += len(rows)
        if n_missing:
            logger.info("%d of %d values are missing and become %s", n_missing, ids.size, self._missing_name())
        return ids

    def encode_rows(self, rows: FloatArray, unit: str, first_row: int) -> NDArray[np.uint8]:
        """As `encode`, of a piece of a table whose first row is number `first_row`; says nothing of missing values."""
        own = self._to_own_scale(rows, unit)
        is_missing = np.isnan(rows)
        self._refuse_impossible(own, is_missing, first_row, unit)
        return np.where(is_missing, self._missing_id(), self._bin(own)).astype(np.uint8)

    def save(self, path: Path) -> None:
        """Write `tokenizer.json`."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read `tokenizer.json`.

        Raises:
            CheckpointError: the file is missing or no tokenizer.
        """
        try:
            return cls.from_mapping(json.loads(path.read_text(encoding="utf-8")), str(path))
        except (OSError, ValueError, ConfigError) as error:
            raise CheckpointError(f"{path}: cannot be read as a tokenizer: {error}") from error

    def _to_own_scale(self, rows: FloatArray, unit: str) -> NDArray[np.float64]:
        """Values that are binned: log10(1 + x) for `log_linear`, the values themselves for `quantile`."""
        given = parse_unit(unit)
        if self.edges_kind == "log_linear" and given == Unit(parse_unit(self.unit).base, "log10", 1.0):
            return np.asarray(rows, dtype=np.float64)
        stored, own_unit = _to_stored_unit(np.asarray(rows, dtype=np.float64), given)
        if str(own_unit) != self.unit:
            raise DataError(
                f"values are in {unit}, this model was trained on {self.unit}, and there is no way from one to the "
                f"other: give values in {self.unit}, or a log of it"
            )
        own: NDArray[np.float64] = np.asarray(stored, dtype=np.float64)
        if self.edges_kind == "quantile":
            return own
        # What is below zero stays so, and is refused; the rest has 0 added to it.
        return log10_plus_one(np.maximum(own, 0.0)) + np.minimum(own, 0.0)

    def _refuse_impossible(
        self, own: NDArray[np.float64], is_missing: NDArray[np.bool_], first_row: int, unit: str
    ) -> None:
        wrong = np.isinf(own)
        if self.edges_kind == "log_linear":
            wrong |= own < 0
        wrong |= np.isnan(own) & ~is_missing
        if wrong.any():
            row, column = (int(index) for index in np.argwhere(wrong)[0])
            raise DataError(
                f"{int(wrong.sum())} values cannot be {unit}; the first, in sample row {first_row + row}, gene column "
                f"{column}, is negative or infinite: check the unit (`bulkrnabert doctor`)"
            )

    def _bin(self, own: NDArray[np.float64]) -> NDArray[np.int64]:
        if self.edges_kind == "quantile":
            return np.asarray(np.digitize(own, np.asarray(self.edges)))
        assert self.normalization_factor is not None
        ids = linear_bins(own / self.normalization_factor, self.n_bins)
        return np.minimum(ids, self.n_bins - 1) if self.overflow == "clip" else ids

    def _missing_id(self) -> int:
        if self.missing == "mask":
            return self.mask_id
        zero = np.zeros((1, 1))
        return int(self._bin(zero)[0, 0])

    def _missing_name(self) -> str:
        return "<mask>" if self.missing == "mask" else "0"


def _to_stored_unit(values: FloatArray, unit: Unit) -> tuple[FloatArray, Unit]:
    """Values in the unit that cohort tables hold; untouched, in full precision, when they are in it already."""
    if str(unit) in LINEAR_UNITS | CENTRED_UNITS:
        return values, unit
    stored = to_stored(values, unit)
    return stored.values, stored.unit
