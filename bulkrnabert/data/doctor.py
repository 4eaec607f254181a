"""Checks of a user's table before it meets a model: can it be read, are the genes right, is the scale what it says."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bulkrnabert import keys
from bulkrnabert.data.annotation import GeneAnnotation, read_annotation, read_gene_lengths
from bulkrnabert.data.clinical import Clinical, read_clinical_table
from bulkrnabert.data.doctor_findings import Check, Coverage, Diagnosis, Samples, Scale, verdict_of
from bulkrnabert.data.doctor_genes import (
    check_constant,
    check_coverage,
    check_gene_ids,
    check_kinds,
    cover,
    lengths_check,
    resolve_genes,
)
from bulkrnabert.data.doctor_samples import check_samples, examine_samples
from bulkrnabert.data.doctor_scale import check_unit, describe_scale, look_at
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.sources.files import ExpressionTable, parse_format, read_expression
from bulkrnabert.data.tables import MAX_MISSING_SHARE
from bulkrnabert.data.tokenizer_file import read_tokenizers
from bulkrnabert.data.units import Unit, parse_unit, stored_unit, to_stored
from bulkrnabert.errors import BulkRNABertError, DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DoctorRequest:
    """What to look at.

    Attributes:
        table: File or folder of STAR-Counts files.
        unit: What its numbers are said to be; empty when left out.
        fmt: Its format; empty to go by the extension.
        vocabulary: Genes that are wanted.
        checkpoint: Folder of a model whose genes and unit are wanted.
        annotation: Table of genes, for symbols and lengths.
        gene_lengths: Table of lengths, for counts.
        clinical: Clinical table.
    """

    table: Path
    unit: str = ""
    fmt: str = ""
    vocabulary: Path | None = None
    checkpoint: Path | None = None
    annotation: Path | None = None
    gene_lengths: Path | None = None
    clinical: Path | None = None


@dataclass(frozen=True)
class Examination:
    """A diagnosis, and the table that it is about.

    Attributes:
        diagnosis: What was found.
        table: With Ensembl ids where there was a way to them; None when it could not be read.
        unit: What its values are; None when nobody knows.
        lengths: Bases of the genes, by id; empty when unknown.
    """

    diagnosis: Diagnosis
    table: ExpressionTable | None
    unit: Unit | None
    lengths: dict[str, float]


class _Doctor:
    """Collects findings in the order in which a reader wants them."""

    def __init__(self, request: DoctorRequest) -> None:
        self.request = request
        self.checks: list[Check] = []
        self.coverage: Coverage | None = None
        self.samples: Samples | None = None
        self.scale: Scale | None = None
        self.unit: Unit | None = None
        self.lengths: dict[str, float] = {}

    def diagnosis(self) -> Diagnosis:
        return Diagnosis(
            self.request.table.name,
            verdict_of(self.checks),
            tuple(self.checks),
            self.coverage,
            self.samples,
            self.scale,
        )

    def failed(self, name: str, error: Exception, expected: str, cure: str) -> None:
        self.checks.append(Check(name, "fail", str(error), expected, cure))

    def clinical(self) -> Clinical | None:
        path = self.request.clinical
        if path is None:
            return None
        try:
            return read_clinical_table(path, "OS", keys.COHORT)
        except BulkRNABertError as error:
            self.failed("clinical", error, "a clinical table: TSV or CSV, a row a sample or patient", "mend that table")
            return None

    def annotation(self) -> GeneAnnotation | None:
        path = self.request.annotation
        if path is None:
            return None
        try:
            return read_annotation(path)
        except DataError as error:
            self.failed("annotation", error, "a table of genes", "give a table as `bulkrnabert annotate` writes")
            return None

    def gene_lengths(self, annotation: GeneAnnotation | None) -> dict[str, float]:
        path = self.request.gene_lengths
        if path is None:
            return {} if annotation is None else annotation.length_of
        try:
            return read_gene_lengths(path)
        except DataError as error:
            self.failed("gene_lengths", error, "a length for every gene", "give a table with gene_id and length")
            return {}

    def vocabulary(self) -> tuple[GeneVocabulary, str] | None:
        path = self.request.vocabulary
        if self.request.checkpoint is not None:
            path = self.request.checkpoint / keys.GENES_TXT
        if path is None:
            return None
        try:
            read = GeneVocabulary.from_txt if path.suffix.lower() == ".txt" else GeneVocabulary.from_tsv
            return read(path), path.name if self.request.checkpoint is None else self.request.checkpoint.name
        except DataError as error:
            self.failed("coverage", error, "a list of genes", "give .txt with one id a line, or .tsv with gene_id")
            return None


def examine(request: DoctorRequest) -> Examination:
    """Look at a table. What is wrong with it becomes a failed check, never an error.

    Args:
        request: The table, what it is said to be, and what it is wanted for.
    """
    doctor = _Doctor(request)
    clinical = doctor.clinical()
    try:
        choice = parse_format(request.fmt, request.table)
        table = read_expression(request.table, request.fmt, clinical.known_ids if clinical else (), missing="keep")
    except (BulkRNABertError, OSError, MemoryError) as error:
        message = error if str(error) else f"{request.table}: does not fit into memory"
        doctor.checks.insert(
            0,
            Check(
                "readable",
                "fail",
                str(message),
                "a table of genes and samples: tsv, csv, parquet, h5ad, gct, or a folder of STAR-Counts files",
                "mend the file as said, or name its format with --format",
            ),
        )
        return Examination(doctor.diagnosis(), None, None, {})
    shape = f"{len(table.sample_ids)} samples x {len(table.gene_ids)} genes, {choice.name}"
    doctor.checks.insert(0, Check("readable", "ok", shape))
    doctor.checks += check_gene_ids(table)
    annotation = doctor.annotation()
    if annotation is not None:
        resolved = resolve_genes(table, annotation)
        table = resolved.table
        doctor.checks.append(resolved.check)
    _examine_scale(doctor, table, annotation)
    doctor.checks.insert(1, _check_numbers(table, doctor.unit))
    _examine_coverage(doctor, table, annotation)
    doctor.checks.append(check_constant(table))
    doctor.samples = examine_samples(table, doctor.unit, clinical)
    doctor.checks += check_samples(table, doctor.samples, clinical)
    return Examination(doctor.diagnosis(), table, doctor.unit, doctor.lengths)


def _check_numbers(table: ExpressionTable, unit: Unit | None) -> Check:
    """Cells without a number: some are fine, they stay missing; not where a sum over all genes is needed."""
    is_nan, is_infinite = np.isnan(table.values), np.isinf(table.values)
    n_missing, n_infinite = int(is_nan.sum()), int(is_infinite.sum())
    if not n_missing and not n_infinite:
        return Check("numbers", "ok", "every cell is a number")
    row, column = (int(at) for at in np.argwhere(is_nan | is_infinite)[0])
    is_fine = not n_infinite and is_nan.mean(axis=1).max() <= MAX_MISSING_SHARE and not (unit and unit.needs_every_gene)
    return Check(
        "numbers",
        "warn" if is_fine else "fail",
        f"{n_missing} missing and {n_infinite} infinite values, the first in sample {table.sample_ids[row]!r}, gene"
        f" {table.gene_ids[column]!r}",
        f"a number in every cell; up to {MAX_MISSING_SHARE:.0%} of a sample may be missing, except in counts and fpkm",
        "missing values stay missing, they do not become 0" if is_fine else "leave those genes or samples out",
    )


def _examine_scale(doctor: _Doctor, table: ExpressionTable, annotation: GeneAnnotation | None) -> None:
    if not np.isfinite(table.values).any():
        doctor.checks.append(Check("unit", "fail", "no number in the table", "expression", "give another table"))
        return
    numbers = look_at(table.values)
    try:
        doctor.unit = parse_unit(doctor.request.unit) if doctor.request.unit else None
    except DataError as error:
        doctor.failed("unit", error, "a known unit", "write one of these")
    doctor.scale = describe_scale(numbers, doctor.unit)
    if doctor.unit is not None:
        check = check_unit(table.values, numbers, doctor.scale, doctor.unit)
        doctor.checks.append(check)
        if check.status == "fail":
            doctor.unit = None
        else:
            _examine_conversion(doctor, table, annotation)
    elif not doctor.request.unit:
        units = doctor.scale.candidates
        doctor.checks.append(
            Check(
                "unit",
                "fail",
                f"no unit stated; the numbers look like {' or '.join(units)}",
                "the unit stated, never guessed",
                "if that is right, say so: " + " or ".join(f"--unit '{unit}'" for unit in units),
            )
        )


def _examine_conversion(doctor: _Doctor, table: ExpressionTable, annotation: GeneAnnotation | None) -> None:
    """Whether there is a way from the unit to what tables hold, and to what the checkpoint was trained on."""
    assert doctor.unit is not None
    unit, request = doctor.unit, doctor.request
    has_lengths = False
    if unit.base == "counts":
        doctor.lengths = doctor.gene_lengths(annotation)
        has_lengths = bool(doctor.lengths)
        found = doctor.vocabulary() if has_lengths else None
        if has_lengths:
            doctor.checks.append(lengths_check(table, doctor.lengths, found[0].gene_ids if found else ()))
    try:
        target = stored_unit(unit, has_lengths)
    except DataError as error:
        cure = "give --gene-lengths FILE or --annotation FILE with lengths, or a table in TPM"
        doctor.failed("conversion", error, "a way to TPM", cure)
        return
    doctor.checks.append(
        Check("conversion", "ok", f"{unit} is used as it is" if target == unit else f"{unit} becomes {target}")
    )
    if request.checkpoint is None:
        return
    try:
        trained_on = read_tokenizers(request.checkpoint / keys.TOKENIZER_JSON)[keys.RNASEQ].unit
    except BulkRNABertError as error:
        doctor.failed("checkpoint", error, "a checkpoint folder", "name a folder that `pretrain` wrote")
        return
    if trained_on == str(target):
        doctor.checks.append(Check("checkpoint", "ok", f"{request.checkpoint.name} was trained on {trained_on}"))
    else:
        doctor.checks.append(
            Check(
                "checkpoint",
                "fail",
                f"the table is in {unit}, {request.checkpoint.name} was trained on {trained_on}, and there is no way"
                " from one to the other",
                f"values in {trained_on}, or a log of it",
                f"give the table in {trained_on}, or pretrain on tables in {target}",
            )
        )


def _examine_coverage(doctor: _Doctor, table: ExpressionTable, annotation: GeneAnnotation | None) -> None:
    found = doctor.vocabulary()
    if found is None:
        return
    vocabulary, name = found
    problem = check_kinds(table, vocabulary, name)
    if problem is not None:
        doctor.checks.append(problem)
        return
    if annotation is not None:
        vocabulary = annotation.fill(vocabulary)
    doctor.coverage = cover(table, doctor.unit, vocabulary, name)
    doctor.checks.append(check_coverage(doctor.coverage))


def table_for_model(examination: Examination, n_samples: int) -> ExpressionTable:
    """Some samples, evenly spaced, in what tables of a run hold (TPM where there is a way).

    Args:
        examination: Of a table that was read, with a unit.
        n_samples: At most so many.
    Raises:
        DataError: there is no way from the unit, or the table has cells without a number.
    """
    assert examination.table is not None and examination.unit is not None
    table, unit = examination.table, examination.unit
    rows = np.unique(np.linspace(0, len(table.sample_ids) - 1, min(n_samples, len(table.sample_ids))).astype(np.int64))
    values, genes, lengths = table.values[rows], table.genes, None
    if not np.isfinite(values).all():
        raise DataError("the table has missing or infinite values; see the check `numbers`")
    if unit.base == "counts":
        known = [column for column, gene_id in enumerate(genes.gene_ids) if gene_id in examination.lengths]
        values, genes = values[:, known], genes.subset(known)
        lengths = np.array([examination.lengths[gene_id] for gene_id in genes.gene_ids])
    stored = to_stored(values, unit, lengths if len(genes) and unit.base == "counts" else None)
    return replace(
        table,
        sample_ids=tuple(table.sample_ids[row] for row in rows),
        genes=genes,
        values=stored.values,
        obs=None,
    )
