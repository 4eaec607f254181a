"""The tokenizer of binned values: what was fitted on the training part, and how values become token ids.

Ids: 0 to n_bins - 1 are bins, then `<pad>` (64) and `<mask>` (65).

Scales with a true zero (`tpm`, `rsem`) go through log10(1 + x), are divided by the training maximum and fall into
linear bins. Scales that are already centred (`zscore`, `log2_ratio`) fall between quantiles of the training part. Beta
values fall into linear bins over [0, 1] as they are. For GexBERT each gene is standardised over the training part, and
its z fall into equal bins over [-5, 5].
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from bulkrnabert.config import FrozenConfig
from bulkrnabert.data.binning import Z_LIMIT, equal_bins, gene_statistics, linear_bins, log10_plus_one, quantile_edges
from bulkrnabert.data.units import Unit, parse_unit, stored_unit, to_stored
from bulkrnabert.errors import CheckpointError, ConfigError, DataError
from bulkrnabert.keys import MASK_ID, PAD_ID
from bulkrnabert.logs import progress_bar
from bulkrnabert.provenance import write_json

logger = logging.getLogger(__name__)

N_BINS = 64
LINEAR_UNITS = frozenset({"tpm", "rsem"})
CENTRED_UNITS = frozenset({"zscore", "log2_ratio"})
BETA = "beta"
ROWS_AT_A_TIME = 64

FloatArray = NDArray[np.floating]
MissingAs = Literal["mask", "zero"]
EdgesKind = Literal["log_linear", "quantile", "linear", "gene_standardised"]


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
        edges_kind: `log_linear` (log10(1 + x), training maximum, linear bins), `quantile`, `linear` (beta values,
            linear bins over [0, 1]) or `gene_standardised` (z of each gene, equal bins over [-5, 5]).
        normalization_factor: Maximum of log10(1 + x) over the training part, for `log_linear`.
        edges: The n_bins - 1 inner edges, for `quantile`.
        gene_means: For `gene_standardised`: each gene's mean over the training part, of log10(1 + x) where the scale
            has a true zero, else of the values; 0 where the gene has no value.
        gene_deviations: For `gene_standardised`: the deviation that goes with it; 1 where the gene does not vary.
        overflow: A value at or above the training maximum (a beta of 1) goes to the top bin (`clip`, ours), or gets the
            id of `<pad>` as in the published tokenizer (`reference`).
        missing: A missing value (NaN) becomes `<mask>`, or counts as 0 as in the published data preparation.
        pad_id: Id of `<pad>`.
        mask_id: Id of `<mask>`.
    """

    version: Literal[1] = 1
    n_bins: int = Field(default=N_BINS, ge=2, le=N_BINS)
    unit: str
    edges_kind: EdgesKind
    normalization_factor: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    edges: tuple[float, ...] | None = None
    gene_means: tuple[float, ...] | None = None
    gene_deviations: tuple[float, ...] | None = None
    overflow: Literal["clip", "reference"] = "clip"
    missing: MissingAs = "mask"
    pad_id: Literal[64] = PAD_ID
    mask_id: Literal[65] = MASK_ID

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        parts = {
            "log_linear": ("normalization_factor",),
            "quantile": ("edges",),
            "linear": (),
            "gene_standardised": ("gene_means", "gene_deviations"),
        }
        needed = parts[self.edges_kind]
        given = [name for names in parts.values() for name in names if getattr(self, name) is not None]
        if absent := [name for name in needed if name not in given]:
            raise ValueError(f"edges_kind {self.edges_kind} needs {' and '.join(absent)}")
        if foreign := [name for name in given if name not in needed]:
            raise ValueError(f"edges_kind {self.edges_kind} takes no {' or '.join(foreign)}")
        if self.edges is not None and (len(self.edges) != self.n_bins - 1 or list(self.edges) != sorted(self.edges)):
            raise ValueError(f"edges must be {self.n_bins - 1} ascending numbers, found {len(self.edges)}")
        if self.gene_means is not None and self.gene_deviations is not None:
            if len(self.gene_means) != len(self.gene_deviations):
                raise ValueError(f"{len(self.gene_means)} gene_means, {len(self.gene_deviations)} gene_deviations")
            if not np.isfinite(self.gene_means).all() or not all(0 < one < np.inf for one in self.gene_deviations):
                raise ValueError("gene_means must be finite, gene_deviations finite and above 0")
        if (self.edges_kind == "linear") != (self.unit == BETA):
            raise ValueError(f"edges_kind linear is for beta values and nothing else is, found unit {self.unit}")
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
        if name == BETA:
            if not any(np.isfinite(piece).any() for piece in selection.pieces()):
                raise DataError("every beta value of the training part is missing: check the table")
            return cls(n_bins=n_bins, unit=name, edges_kind="linear", missing=missing)
        assert name in LINEAR_UNITS, name
        maximum = 0.0
        for piece in selection.pieces():
            own_values, _unit = _to_stored_unit(piece, given)
            maximum = max(maximum, float(np.max(own_values, initial=0.0, where=np.isfinite(own_values))))
        if maximum <= 0.0:
            raise DataError(f"the training part has no value above 0 {name}: check the table and its unit")
        factor = float(log10_plus_one(np.asarray(maximum, dtype=np.float64)))
        return cls(n_bins=n_bins, unit=name, edges_kind="log_linear", normalization_factor=factor, missing=missing)

    @classmethod
    def fit_standardised(
        cls, selection: Selection, unit: str, n_bins: int = N_BINS, missing: MissingAs = "mask"
    ) -> Self:
        """Fit each gene's mean and deviation on the training part, of log10(1 + x) where the scale has a true zero.

        Args:
            selection: The training part; missing values are left out. Not modified.
            unit: Its unit.
            n_bins: Number of bins.
            missing: What a missing value becomes.
        Raises:
            ConfigError: beta values, which are not standardised.
            DataError: a value is negative or infinite where the scale has no such values.
        """
        given = parse_unit(unit)
        name = str(given) if str(given) in CENTRED_UNITS else str(stored_unit(given))
        if name == BETA:
            raise ConfigError("beta values are not standardised gene by gene: give expression, or use another model")
        n_genes = selection.shape[1]
        unfitted = cls(
            n_bins=n_bins,
            unit=name,
            edges_kind="gene_standardised",
            gene_means=(0.0,) * n_genes,
            gene_deviations=(1.0,) * n_genes,
            missing="mask",
        )
        statistics = gene_statistics(lambda: unfitted._own_pieces(selection, unit), n_genes)
        means, deviations = tuple(statistics.means.tolist()), tuple(statistics.deviations.tolist())
        changed = {"gene_means": means, "gene_deviations": deviations, "missing": missing}
        return cls.model_validate({**unfitted.model_dump(), **changed})

    def of_genes(self, columns: NDArray[np.int64] | Sequence[int]) -> Self:
        """The tokenizer of some of the genes, in this order; those that treat all genes alike stay as they are."""
        if self.gene_means is None or self.gene_deviations is None:
            return self
        chosen = [int(column) for column in columns]
        changed = {
            "gene_means": tuple(self.gene_means[column] for column in chosen),
            "gene_deviations": tuple(self.gene_deviations[column] for column in chosen),
        }
        return self.model_copy(update=changed)

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
                scale has no such values, or a beta value above 1 (names the first row and column, from 0); or there is
                another number of genes than the tokenizer was fitted on, where it treats each gene by itself.
        """
        return self.encode_selection(Selection(_as_table(values)), unit)

    def encode_selection(self, selection: Selection, unit: str) -> NDArray[np.uint8]:
        """As `encode`, of some rows and columns of a table of which no copy is made."""
        ids = np.empty(selection.shape, dtype=np.uint8)
        n_missing = start = 0
        with progress_bar(len(ids), what="encode", unit="sample") as bar:
            for rows in selection.pieces():
                ids[start : start + len(rows)] = self.encode_rows(rows, unit, start)
                n_missing += int(np.isnan(rows).sum())
                start += len(rows)
                bar.update(len(rows))
        if n_missing:
            logger.info("%d of %d values are missing and become %s", n_missing, ids.size, self._missing_name())
        return ids

    def encode_rows(self, rows: FloatArray, unit: str, first_row: int) -> NDArray[np.uint8]:
        """As `encode`, of a piece of a table whose first row is number `first_row`; says nothing of missing values."""
        ids = self._bin(self._own_or_zero(rows, unit, first_row))
        if self.missing == "mask":
            ids = np.where(np.isnan(rows), self.mask_id, ids)
        return ids.astype(np.uint8)

    def standardise(self, values: FloatArray, unit: str = "tpm") -> NDArray[np.float32]:
        """Each gene's deviations above its training mean, for a `gene_standardised` tokenizer.

        Args:
            values: Shape (samples, genes), NaN where missing. Not modified.
            unit: Unit of `values`.
        Returns:
            z, shape (samples, genes), float32, not clipped; NaN where missing (under `missing: zero` that of 0).
        Raises:
            DataError: as `encode`.
        """
        return self.standardise_selection(Selection(_as_table(values)), unit)

    def standardise_selection(self, selection: Selection, unit: str) -> NDArray[np.float32]:
        """As `standardise`, of some rows and columns of a table of which no copy is made."""
        z = np.empty(selection.shape, dtype=np.float32)
        start = 0
        for rows in selection.pieces():
            z[start : start + len(rows)] = self._z(self._own_or_zero(rows, unit, start))
            start += len(rows)
        return z

    def unstandardise(self, z: FloatArray) -> NDArray[np.float64]:
        """Values in the tokenizer's own unit (linear TPM or RSEM, or the centred value); undoes `standardise`.

        Args:
            z: Shape (samples, genes); NaN stays NaN. Not modified.
        Returns:
            Values, shape (samples, genes), float64; where the scale has a true zero, none is below it.
        """
        means, deviations = self._statistics(z.shape[1])
        own = np.asarray(z, dtype=np.float64) * deviations + means
        if self.unit in CENTRED_UNITS:
            return own
        return np.maximum(np.power(10.0, own) - 1.0, 0.0)

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

    def _own_pieces(self, selection: Selection, unit: str) -> Iterator[NDArray[np.float64]]:
        """Values that are binned, some rows at a time, checked."""
        start = 0
        for rows in selection.pieces():
            yield self._own_or_zero(rows, unit, start)
            start += len(rows)

    def _own_or_zero(self, rows: FloatArray, unit: str, first_row: int) -> NDArray[np.float64]:
        """Values that are binned, checked; a missing one is NaN, or 0 where that is what it counts as."""
        own = self._to_own_scale(rows, unit)
        is_missing = np.isnan(rows)
        self._refuse_impossible(own, is_missing, first_row, unit)
        return np.where(is_missing, 0.0, own) if self.missing == "zero" else own

    @property
    def _takes_logarithm(self) -> bool:
        """Whether log10(1 + x) is what is binned."""
        return self.unit in LINEAR_UNITS

    def _to_own_scale(self, rows: FloatArray, unit: str) -> NDArray[np.float64]:
        """Values that are binned: log10(1 + x) for scales with a true zero, the values themselves for others."""
        given = parse_unit(unit)
        if self._takes_logarithm and given == Unit(parse_unit(self.unit).base, "log10", 1.0):
            return np.asarray(rows, dtype=np.float64)
        stored, own_unit = _to_stored_unit(np.asarray(rows, dtype=np.float64), given)
        if str(own_unit) != self.unit:
            raise DataError(
                f"values are in {unit}, this model was trained on {self.unit}, and there is no way from one to the "
                f"other: give values in {self.unit}, or a log of it"
            )
        own: NDArray[np.float64] = np.asarray(stored, dtype=np.float64)
        if not self._takes_logarithm:
            return own
        # What is below zero stays so, and is refused; the rest has 0 added to it.
        return log10_plus_one(np.maximum(own, 0.0)) + np.minimum(own, 0.0)

    def _refuse_impossible(
        self, own: NDArray[np.float64], is_missing: NDArray[np.bool_], first_row: int, unit: str
    ) -> None:
        wrong = np.isinf(own)
        if self.unit not in CENTRED_UNITS:
            wrong |= own < 0
        if self.unit == BETA:
            wrong |= own > 1
        wrong |= np.isnan(own) & ~is_missing
        if wrong.any():
            row, column = (int(index) for index in np.argwhere(wrong)[0])
            beyond = "negative, above 1 or infinite" if self.unit == BETA else "negative or infinite"
            raise DataError(
                f"{int(wrong.sum())} values cannot be {unit}; the first, in sample row {first_row + row}, gene column "
                f"{column}, is {beyond}: check the unit (`bulkrnabert doctor`)"
            )

    def _bin(self, own: NDArray[np.float64]) -> NDArray[np.int64]:
        if self.edges_kind == "quantile":
            return np.asarray(np.digitize(own, np.asarray(self.edges)))
        if self.edges_kind == "gene_standardised":
            return equal_bins(self._z(own), Z_LIMIT, self.n_bins)
        scale = 1.0 if self.edges_kind == "linear" else self.normalization_factor
        assert scale is not None
        ids = linear_bins(own / scale, self.n_bins)
        return np.minimum(ids, self.n_bins - 1) if self.overflow == "clip" else ids

    def _z(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        means, deviations = self._statistics(own.shape[1])
        return np.asarray((own - means) / deviations)

    def _statistics(self, n_genes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and deviation of each gene; as many as there are columns."""
        if self.gene_means is None or self.gene_deviations is None:
            raise ConfigError(
                f"this tokenizer has edges of kind {self.edges_kind} and does not standardise genes: tokenize with "
                "--model gexbert"
            )
        if len(self.gene_means) != n_genes:
            raise DataError(
                f"{n_genes} genes, but the tokenizer was fitted on {len(self.gene_means)}: give all of its genes in "
                "their order, or restrict it first (`of_genes`)"
            )
        return np.asarray(self.gene_means), np.asarray(self.gene_deviations)

    def _missing_name(self) -> str:
        return "<mask>" if self.missing == "mask" else "0"


def _as_table(values: FloatArray) -> FloatArray:
    values = np.asarray(values)
    if values.ndim != 2:
        raise DataError(f"values have shape {values.shape}, expected two dimensions: (samples, genes)")
    return values


def _to_stored_unit(values: FloatArray, unit: Unit) -> tuple[FloatArray, Unit]:
    """Values in the unit that cohort tables hold; untouched, in full precision, when they are in it already."""
    if str(unit) in LINEAR_UNITS | CENTRED_UNITS | {BETA}:
        return values, unit
    stored = to_stored(values, unit)
    return stored.values, stored.unit
