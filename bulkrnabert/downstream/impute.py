"""Missing values and unmeasured genes of a user's table restored; what was measured stays as it is."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bulkrnabert import keys
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.sources.files import ExpressionTable, read_expression
from bulkrnabert.data.units import Unit, check_scale, parse_unit, stored_unit
from bulkrnabert.downstream.model_restorers import model_restorer
from bulkrnabert.downstream.own_table import Filling, beside_frame, filled_frame, read_own_table, write_own
from bulkrnabert.downstream.predict import check_out
from bulkrnabert.downstream.pretrained import PretrainedModel, load
from bulkrnabert.downstream.restoration import ScaledRestorer
from bulkrnabert.errors import ConfigError, DataError, VocabularyError
from bulkrnabert.provenance import describe_run, write_json

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
STAGE = "impute"
FEW_GENES = 0.05
MAX_NAMED = 5
_LOGARITHMS = {"log2": np.log2, "log10": np.log10, "ln": np.log}


@dataclass(frozen=True)
class ImputedTable:
    """Restored cells of a table and of genes that it lacks.

    Attributes:
        filling: What to write into the table; NaN where a cell stays.
        deviation: Standard deviation that the model states, in its scale, shape (samples, genes of the table); NaN
            where nothing was restored.
        added_deviation: The same for added genes, shape (samples, added genes).
        scale: What deviations are measured in.
        n_measured: Measured cells of the model's genes.
        n_left: Missing cells that stay so, since the model does not know the gene or the sample has none of its genes.
        bare_samples: Samples without a value of any of the model's genes; nothing is restored for them.
        constant_genes: Genes with one value throughout the table; no obstacle, but worth a look.
    """

    filling: Filling
    deviation: FloatArray
    added_deviation: FloatArray
    scale: str
    n_measured: int
    n_left: int
    bare_samples: tuple[str, ...]
    constant_genes: tuple[str, ...]

    @property
    def n_filled(self) -> int:
        """Missing cells of the table that were restored."""
        return int((~np.isnan(self.filling.values)).sum())

    @property
    def n_added(self) -> int:
        """Cells of genes that the table lacked."""
        return int((~np.isnan(self.filling.added_values)).sum())


def impute_file(model_folder: Path, table: Path, unit: str, file_format: str, out: Path, device: str) -> ImputedTable:
    """Restore a table file and write it beside its flags, deviations and record (see `written_files`).

    Args:
        model_folder: Checkpoint of GexBERT or BulkRNABert.
        table: The table.
        unit: Its unit.
        file_format: As of `read_expression`; empty to go by the name.
        out: File to write, `.parquet`, `.tsv` or `.csv`.
        device: Where the model runs, as torch names it.
    Raises:
        ConfigError: `out` is the table, or has no known extension.
        DataError: the table has no value at all, nothing of it can be restored, or its unit cannot be written back.
        VocabularyError: none of the model's genes is in the table.
    """
    check_out(out)
    if table.resolve() in {path.resolve() for path in vars(written_files(out)).values()}:
        raise ConfigError(f"--out {out}: would be written over the table itself; give another name")
    model = load(model_folder).to(device)
    expression = read_expression(table, file_format, missing="keep")
    own = read_own_table(table, file_format, expression)
    found = impute(model, expression, unit)
    flags = (~np.isnan(found.filling.values)).astype(np.int8)
    added = (~np.isnan(found.filling.added_values)).astype(np.int8)
    inputs = {"weights": model_folder / keys.WEIGHTS, "table": table}
    record = {
        "model": model.name,
        "unit": unit,
        "scale_of_deviations": found.scale,
        "n_samples": len(expression.sample_ids),
        "n_measured": found.n_measured,
        "n_imputed_in_table": found.n_filled,
        "n_imputed_of_added_genes": found.n_added,
        "n_left_missing": found.n_left,
        "added_genes": list(found.filling.added_ids),
        "samples_left_out": list(found.bare_samples),
        "constant_genes": list(found.constant_genes),
        "provenance": describe_run(STAGE, {"unit": unit}, inputs),
    }
    title = keys.GENE_ID if own.genes_in_rows else keys.SAMPLE_ID
    files = written_files(out)
    added_ids = found.filling.added_ids
    write_own(filled_frame(own, found.filling), files.table, title, record)
    write_own(beside_frame(own, flags, added, added_ids), files.flags, title, record)
    write_own(beside_frame(own, found.deviation, found.added_deviation, added_ids), files.deviations, title, record)
    write_json(files.record, record)
    return found


@dataclass(frozen=True)
class WrittenFiles:
    """The table; which of its cells were imputed; deviations of those; the record."""

    table: Path
    flags: Path
    deviations: Path
    record: Path


def written_files(out: Path) -> WrittenFiles:
    """`x.tsv` with `x.imputed.tsv` (1 imputed, 0 not), `x.sd.tsv` and `x.impute.json` beside it."""
    return WrittenFiles(
        out,
        out.with_suffix(f".imputed{out.suffix}"),
        out.with_suffix(f".sd{out.suffix}"),
        out.with_suffix(".impute.json"),
    )


def impute(model: PretrainedModel, expression: ExpressionTable, unit: str) -> ImputedTable:
    """Restore what a table lacks of the model's genes, in the table's unit.

    The model restores on a log scale (or a centred one); what is written is its mean there, brought back, so of a
    linear unit rather the median than the mean.

    Args:
        model: From `load`, where it is to run.
        expression: Any genes in any order, NaN where missing. Not modified.
        unit: Unit of the values, and of what is restored.
    Raises:
        DataError, VocabularyError: as `impute_file`.
    """
    given = parse_unit(unit)
    _refuse_totals(given)
    check_scale(expression.values, given, "the table to impute")
    vocabulary = GeneVocabulary.from_ids(model.gene_ids)
    alignment = vocabulary.align(expression.gene_ids)
    is_there = alignment.source_idx >= 0
    if not is_there.any():
        raise VocabularyError(
            f"none of the model's {len(vocabulary)} genes (as {model.gene_ids[0]!r}) is among the table's "
            f"{len(expression.gene_ids)} (as {expression.gene_ids[0]!r}): give a table with genes of the model, under "
            f"{vocabulary.kind} ids"
        )
    aligned = alignment.apply(expression.values)
    is_known = ~np.isnan(aligned)
    has_value = np.asarray(is_known.any(axis=1))
    if not has_value.any():
        raise DataError("no sample of the table has a value of any of the model's genes: nothing to restore from")
    if is_there.mean() < FEW_GENES:
        logger.warning(
            "only %d of the model's %d genes are in the table: restored values will mostly be averages; see the stated "
            "deviations",
            is_there.sum(),
            len(vocabulary),
        )
    restorer = model_restorer(model)
    values, deviation = _restored(restorer, aligned[has_value], has_value, given)
    values[is_known], deviation[is_known] = np.nan, np.nan
    columns = alignment.source_idx[is_there]
    of_table, deviation_of_table = (np.full(expression.values.shape, np.nan) for _ in range(2))
    of_table[:, columns], deviation_of_table[:, columns] = values[:, is_there], deviation[:, is_there]
    present = np.where(is_known, aligned, np.nan)[:, is_there]
    filling = Filling(of_table, values[:, ~is_there], alignment.missing)
    found = ImputedTable(
        filling=filling,
        deviation=deviation_of_table,
        added_deviation=deviation[:, ~is_there],
        scale=restorer.scale,
        n_measured=int(is_known.sum()),
        n_left=int((np.isnan(expression.values) & np.isnan(of_table)).sum()),
        bare_samples=tuple(np.array(expression.sample_ids, dtype=object)[~has_value]),
        constant_genes=_constant(present, [model.gene_ids[at] for at in np.flatnonzero(is_there)]),
    )
    _log(found, len(vocabulary), int(is_there.sum()))
    return found


def _refuse_totals(unit: Unit) -> None:
    if stored_unit(unit).base != unit.base:
        raise DataError(
            f"values in {unit} become TPM by the sum over all genes of a sample, which a table with gaps does "
            "not have: give TPM"
        )


def _restored(
    restorer: ScaledRestorer, aligned: FloatArray, has_value: BoolArray, unit: Unit
) -> tuple[FloatArray, FloatArray]:
    """Restored values in the table's unit, and deviations in the model's scale; NaN for samples without a value."""
    restored = restorer.restore(restorer.scaled(aligned, str(unit)))
    assert restored.deviation is not None
    values, deviation = (np.full((len(has_value), aligned.shape[1]), np.nan) for _ in range(2))
    values[has_value] = in_unit(restorer.unscaled(restored.mean), unit)
    deviation[has_value] = restored.deviation
    return values, deviation


def in_unit(own: npt.NDArray[np.float64], unit: Unit) -> npt.NDArray[np.float64]:
    """Values without a logarithm or root in the unit that has one, as log2(x + 0.001).

    Args:
        own: Any shape, not below zero unless the scale is centred. Not modified.
        unit: Of the same quantity.
    """
    if unit.is_root:
        return np.sqrt(own)
    if unit.log_base is None:
        return own
    return np.asarray(_LOGARITHMS[unit.log_base](own + unit.pseudo_count))


def _constant(values: FloatArray, gene_ids: list[str]) -> tuple[str, ...]:
    is_measured = ~np.isnan(values)
    low = np.where(is_measured, values, np.inf).min(axis=0)
    high = np.where(is_measured, values, -np.inf).max(axis=0)
    return tuple(gene_ids[at] for at in np.flatnonzero((is_measured.sum(axis=0) > 1) & (low == high)))


def _log(found: ImputedTable, n_genes: int, n_there: int) -> None:
    logger.info(
        "%d of the model's %d genes are in the table; %d measured cells stay as they are, %d missing cells and %d "
        "cells of %d genes that the table lacks are restored",
        n_there,
        n_genes,
        found.n_measured,
        found.n_filled,
        found.n_added,
        len(found.filling.added_ids),
    )
    if found.bare_samples:
        logger.warning(
            "%d samples have no value of any of the model's genes and stay as they are: %s",
            len(found.bare_samples),
            ", ".join(found.bare_samples[:MAX_NAMED]),
        )
    if found.n_left:
        logger.warning("%d missing cells stay missing: of genes that the model lacks, or of such samples", found.n_left)
    if found.constant_genes:
        logger.warning(
            "%d genes have one value throughout the table, as %s: taken as measured; are they fillers?",
            len(found.constant_genes),
            ", ".join(found.constant_genes[:MAX_NAMED]),
        )
