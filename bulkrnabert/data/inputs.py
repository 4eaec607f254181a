"""What `preprocess` works on: raw folders and own tables, their samples and cohorts, and a way to the values."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.access import LOCAL
from bulkrnabert.data.annotation import GeneAnnotation, read_gene_lengths
from bulkrnabert.data.clinical import (
    TCGA_BARCODE,
    Clinical,
    SampleInfo,
    blank_missing,
    clinical_from_frame,
    empty_clinical,
    read_clinical_table,
)
from bulkrnabert.data.cohort_source import (
    MIN_LISTED_SHARE,
    ROW,
    ExpressionValues,
    InputOptions,
    Rejected,
    Source,
    StarValues,
    TableValues,
    drop_normals,
)
from bulkrnabert.data.encode_raw import read_encode_raw
from bulkrnabert.data.gdc_raw import read_gdc_raw
from bulkrnabert.data.genes import EXCEL_DATE_RULE
from bulkrnabert.data.gtex_raw import read_gtex_raw
from bulkrnabert.data.merging import merge_cohorts, parse_merges
from bulkrnabert.data.methylation import MissingRules, methylation_table
from bulkrnabert.data.methylation_raw import read_methylation_raw, read_probe_genes, share_arrays
from bulkrnabert.data.samplesheet import COHORT_NAME_RULE, SheetRow, is_cohort_name
from bulkrnabert.data.sources.files import ExpressionTable, parse_format, read_expression, star_sample_ids
from bulkrnabert.data.sources.gdc_plan import read_plan
from bulkrnabert.data.sources.raw_plan import ENCODE, GTEX, plan_source
from bulkrnabert.data.sources.star import list_star_files, read_star_genes
from bulkrnabert.data.survival_endpoints import NO_CLINICAL_ROW
from bulkrnabert.data.tables import SAMPLE_COLUMNS
from bulkrnabert.data.tcga_cdr import apply_cdr, read_cdr
from bulkrnabert.data.units import Unit, check_scale, stored_unit
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)

NO_COHORT = "no_cohort"
COHORT_NOT_ASKED = "cohort_not_asked"
EXACT_COPY = "exact_copy"
ONE_PROFILE = "one_profile_a_patient"
NO_LENGTH = "no_gene_length"


def collect_sources(raw_folders: Sequence[Path], rows: Sequence[SheetRow], options: InputOptions) -> list[Source]:
    """Read everything that can be known before values are converted and written.

    Args:
        raw_folders: Outputs of `bulkrnabert download`, of any portal and modality.
        rows: Own tables; the same table may stand there once for each of its cohorts.
        options: How to read them.
    Raises:
        DataError: a file, id, unit or clinical table is wrong, or a sample occurs twice in a modality.
        VocabularyError: gene ids are wrong.
    """
    merged = parse_merges(options.merge)
    readers = _Readers(options)
    sources = [readers.raw(folder) for folder in raw_folders]
    groups: defaultdict[tuple[str, Path, str, Unit, Path | None], list[SheetRow]] = defaultdict(list)
    for row in rows:
        groups[(row.modality, row.path, row.format, row.unit, row.clinical)].append(row)
    own = [readers.own(group) for group in groups.values()]
    _refuse_unused_cohort_column(own, options.cohort_column)
    sources += own
    if not sources:
        raise DataError("nothing to preprocess: give --raw, --table or --samplesheet")
    sources = share_arrays(sources, options.arrays)
    if options.cdr is not None:
        sources = _with_cdr(sources, options.cdr, options)
    sources = merge_cohorts(sources, merged)
    _refuse_repeated_samples(sources)
    _refuse_samples_that_differ(sources)
    return sorted(sources, key=lambda source: (source.label, str(source.where)))


class _Readers:
    """Reads sources; what they share (gene lengths, the probe-to-gene table) is read once."""

    def __init__(self, options: InputOptions) -> None:
        self._options = options
        self._lengths = read_gene_lengths(options.gene_lengths) if options.gene_lengths else None
        self._probe_map = read_probe_genes(options)
        self._rules = MissingRules(max_missing_sample=options.max_missing_probes)

    def raw(self, folder: Path) -> Source:
        """A raw folder, read by the portal and modality that its plan names."""
        options = self._options
        portal = plan_source(folder)
        if portal == GTEX:
            return read_gtex_raw(folder, options)
        if portal == ENCODE:
            return read_encode_raw(folder, options)
        if read_plan(folder).modality == keys.METHYLATION:
            return read_methylation_raw(
                folder, options, arrays=options.arrays, rules=self._rules, probe_map=self._probe_map
            )
        return read_gdc_raw(folder, options)

    def own(self, group: list[SheetRow]) -> Source:
        """A table of the user's, listed for one or more cohorts."""
        row, options = group[0], self._options
        clinical = empty_clinical()
        if row.clinical:
            clinical = read_clinical_table(row.clinical, options.endpoint, options.cohort_column, options.survival)
        rejected: list[Rejected] = []
        values: ExpressionValues
        if parse_format(row.format, row.path).name == "star_counts":
            files = list_star_files(row.path)
            values = StarValues(tuple(files), read_star_genes(files[0]))
            sample_ids = star_sample_ids(files, clinical.known_ids)
            rows_kept = _one_row_a_sample(row, sample_ids, None, clinical, rejected)
        else:
            table = read_expression(row.path, row.format, clinical.known_ids, missing="keep")
            if row.clinical is None and table.obs is not None:
                obs = blank_missing(table.obs).assign(**{keys.SAMPLE_ID: list(table.sample_ids)})
                clinical = clinical_from_frame(obs, row.path, options.endpoint, options.cohort_column, options.survival)
            _warn_of_dates(row.path, table)
            check_scale(table.values, row.unit, str(row.path))
            values = self._values_of(row, table)
            sample_ids = table.sample_ids
            rows_kept = _one_row_a_sample(row, sample_ids, table.values, clinical, rejected)
        found = [(position, sample_ids[position], clinical.find(sample_ids[position])) for position in rows_kept]
        _refuse_unknown_samples(row, found, clinical)
        samples = _sample_table(row, _assign_cohorts(group, found, clinical, rejected))
        samples = drop_normals(samples, rejected, options, lambda _: row.path.name)
        logger.info("%s: %d samples kept, %d rejected", row.path, len(samples), len(rejected))
        return Source(
            row.path.name, row.path, values, samples, tuple(rejected), clinical, row.unit, LOCAL, row.modality
        )

    def _values_of(self, row: SheetRow, table: ExpressionTable) -> ExpressionValues:
        n_missing = int(np.isnan(table.values).sum())
        if n_missing:
            logger.info("%s: %d of %d values are missing and stay so", row.path, n_missing, table.values.size)
        if row.modality == keys.METHYLATION:
            return methylation_table(
                table, row.unit, self._probe_map, self._rules, str(row.path), self._options.annotation
            )
        if n_missing and row.unit.needs_every_gene:
            raise DataError(
                f"{row.path}: {n_missing} values are missing, and `{row.unit}` becomes TPM by the sum over all genes of"
                " a sample; fill them, leave those genes out, or give TPM"
            )
        return _table_values(row, table, self._lengths, self._options.annotation)


def _sample_table(row: SheetRow, taken: list[tuple[int, str, SampleInfo]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                keys.SAMPLE_ID: sample_id,
                keys.PATIENT_ID: info.patient_id,
                keys.COHORT: info.cohort,
                keys.PROJECT_ID: "",
                keys.SAMPLE_TYPE: info.sample_type,
                keys.SOURCE: row.path.name,
                ROW: position,
            }
            for position, sample_id, info in taken
        ],
        columns=[*SAMPLE_COLUMNS, ROW],
    )


def _with_cdr(sources: Sequence[Source], path: Path, options: InputOptions) -> list[Source]:
    """Take the endpoint of TCGA patients from the TCGA clinical data resource; other sources stay as they are."""
    cdr = read_cdr(path)
    result = []
    n_applied = 0
    for source in sources:
        is_tcga = source.samples[keys.PATIENT_ID].astype(str).str.match(TCGA_BARCODE)
        if source.label in (GTEX, ENCODE) or not is_tcga.any():
            result.append(source)
            continue
        n_applied += 1
        clinical = _with_every_patient(source, options.endpoint)
        result.append(replace(source, clinical=apply_cdr(clinical, cdr, options.endpoint, options.survival)))
    if not n_applied:
        raise DataError(f"{path}: no source has a TCGA patient (as TCGA-OR-A5J1); leave --cdr out")
    return result


def _with_every_patient(source: Source, endpoint: str) -> Clinical:
    """Clinical data with a row also for patients that only the samples name."""
    patients = source.clinical.patients
    known = set(patients[keys.PATIENT_ID])
    unlisted = [name for name in dict.fromkeys(source.samples[keys.PATIENT_ID]) if name not in known]
    if not unlisted:
        return source.clinical
    rows = pd.DataFrame({keys.PATIENT_ID: unlisted}).reindex(columns=patients.columns)
    rows[keys.TIME_DAYS] = rows[keys.EVENT] = np.nan
    rows[keys.ENDPOINT], rows[keys.FLAGS] = endpoint, NO_CLINICAL_ROW
    text = [name for name in rows.columns if name not in (keys.TIME_DAYS, keys.EVENT)]
    rows[text] = rows[text].fillna("")
    every = rows if patients.empty else pd.concat([patients, rows], ignore_index=True)
    return replace(source.clinical, patients=every, source=source.clinical.source or "nothing else")


def _refuse_unused_cohort_column(own: Sequence[Source], cohort_column: str) -> None:
    """A column that somebody named must be somewhere; the default may be missing."""
    if own and cohort_column not in ("", keys.COHORT) and not any(source.clinical.has_cohorts for source in own):
        tables = sorted({source.clinical.source for source in own} - {""})
        raise DataError(f"--cohort-column {cohort_column!r} is in none of the clinical tables ({', '.join(tables)})")


def _refuse_unknown_samples(row: SheetRow, found: list[tuple[int, str, SampleInfo]], clinical: Clinical) -> None:
    """A clinical table that lists none of the samples is the wrong one, or names them in another way."""
    unknown = [name for _, name, info in found if not info.is_listed]
    if row.clinical is None or not unknown:
        return
    if len(unknown) == len(found):
        raise DataError(
            f"{row.clinical}: lists none of the {len(found)} samples of {row.path}: samples are named as"
            f" {unknown[0]!r}, rows of the clinical table as {min(clinical.known_ids)!r}; give it the same ids, or"
            " leave the clinical table out"
        )
    n_listed = len(found) - len(unknown)
    if n_listed < MIN_LISTED_SHARE * len(found):
        listed = next(name for _, name, info in found if info.is_listed)
        raise DataError(
            f"{row.clinical}: lists only {n_listed} of the {len(found)} samples of {row.path}: {listed!r} among them,"
            f" but not {unknown[0]!r}; give the clinical table that belongs to it, or, if there really is nothing"
            " more, one that lists the other samples too, with empty cells (or leave them out of the table)"
        )
    logger.warning(
        "%s: does not list %d of %d samples of %s, as %s; they are %s",
        row.clinical,
        len(unknown),
        len(found),
        row.path,
        unknown[0],
        f"rejected ({NO_COHORT})" if clinical.has_cohorts and clinical.cohorts else "kept without survival",
    )


def _warn_of_dates(path: Path, table: ExpressionTable) -> None:
    dates = [name for rule, name in table.dropped if rule == EXCEL_DATE_RULE]
    if dates:
        logger.warning(
            "%s: %d gene names have become dates, as %s, and are left out (%s in genes_dropped.tsv): a spreadsheet"
            " turns MARCH1 into 1-Mar; export the table again without one",
            path,
            len(dates),
            dates[0],
            EXCEL_DATE_RULE,
        )


def _table_values(
    row: SheetRow, table: ExpressionTable, lengths: dict[str, float] | None, annotation: GeneAnnotation | None
) -> TableValues:
    if row.unit.base != "counts":
        lengths = None
    elif lengths is None and annotation is not None and annotation.length_of:
        lengths = _lengths_of_annotation(table, annotation)
    if lengths is None:
        try:
            stored_unit(row.unit)
        except DataError as error:
            raise DataError(f"{row.path}: {error}") from error
        return TableValues(table, row.unit, None, table.dropped)
    known = [column for column, gene_id in enumerate(table.gene_ids) if gene_id in lengths]
    if not known:
        raise DataError(f"{row.path}: the file of gene lengths has none of its genes, as {table.gene_ids[0]!r}")
    dropped = [(NO_LENGTH, gene_id) for gene_id in table.gene_ids if gene_id not in lengths]
    logger.info("%s: %d of %d genes have no length and are left out", row.path, len(dropped), len(table.genes))
    genes = table.genes.subset(known)
    kept = ExpressionTable(table.sample_ids, genes, table.values[:, known], table.obs, table.dropped)
    return TableValues(
        kept, row.unit, np.array([lengths[gene_id] for gene_id in genes.gene_ids]), (*table.dropped, *dropped)
    )


def _lengths_of_annotation(table: ExpressionTable, annotation: GeneAnnotation) -> dict[str, float]:
    """Length of each gene of a table, under the name that it has there."""
    if table.kind == "ensembl":
        return annotation.length_of
    resolved = annotation.resolve(table.gene_ids)
    names = [table.gene_ids[position] for position in resolved.keep_idx]
    of_id = annotation.length_of
    return {name: of_id[gene_id] for name, gene_id in zip(names, resolved.gene_ids, strict=True) if gene_id in of_id}


def _one_row_a_sample(
    row: SheetRow,
    sample_ids: Sequence[str],
    values: npt.NDArray[np.float32] | None,
    clinical: Clinical,
    rejected: list[Rejected],
) -> list[int]:
    """Rows to keep when ids repeat: only patients that the clinical table repeats too may do so."""
    earlier: defaultdict[str, list[int]] = defaultdict(list)
    kept = []
    for position, sample_id in enumerate(sample_ids):
        before = earlier[sample_id]
        before.append(position)
        if len(before) == 1:
            kept.append(position)
            continue
        if values is None or sample_id not in clinical.repeated_patients:
            raise DataError(
                f"{row.path}: sample {sample_id!r} stands there twice (samples {before[0] + 1} and {position + 1});"
                " keep one profile, or give the two different ids"
            )
        info = clinical.find(sample_id)
        original = next((other for other in before[:-1] if np.array_equal(values[other], values[position])), None)
        rule, reason = (
            (ONE_PROFILE, f"another profile of this patient is sample {before[0] + 1} of the table")
            if original is None
            else (EXACT_COPY, f"the same values as sample {original + 1} of the table")
        )
        rejected.append(Rejected(sample_id, info.patient_id, info.cohort, row.path.name, rule, reason))
    return kept


def _assign_cohorts(
    group: list[SheetRow],
    found: list[tuple[int, str, SampleInfo]],
    clinical: Clinical,
    rejected: list[Rejected],
) -> list[tuple[int, str, SampleInfo]]:
    """Which cohort each sample belongs to, by the rows that list the table and by its clinical table."""
    if not clinical.has_cohorts or not clinical.cohorts:
        if len(group) > 1:
            raise DataError(
                f"{group[0].path}: listed for {len(group)} cohorts ({', '.join(row.cohort for row in group)}) but no"
                " cohort column tells its samples apart; give a clinical table with one, or list the table once"
            )
        cohort = group[0].cohort
        return [
            (position, name, SampleInfo(info.patient_id, cohort, info.sample_type, info.is_listed))
            for position, name, info in found
        ]
    asked = {row.cohort for row in group}
    studies = asked - clinical.cohorts
    if studies:
        if len(asked) > 1:
            raise DataError(
                f"{group[0].path}: cohort {sorted(studies)[0]!r} ({group[0].where}) is not among those of"
                f" {clinical.source} ({', '.join(sorted(clinical.cohorts)[:12])}), while other rows name some of them;"
                " list the table once under the name of the study, or once for each cohort"
            )
        logger.info(
            "%s: samples of %s take their cohort from %s (%d cohorts)",
            group[0].path,
            group[0].cohort,
            clinical.source,
            len(clinical.cohorts),
        )
        asked = set(clinical.cohorts)
    wrong = sorted(cohort for cohort in asked if not is_cohort_name(cohort))
    if wrong:
        raise DataError(f"{clinical.source}: cohort {wrong[0]!r}; a cohort is named with {COHORT_NAME_RULE}")
    taken = []
    for position, name, info in found:
        if info.cohort in asked:
            taken.append((position, name, info))
        elif info.cohort:
            reason = f"its cohort {info.cohort} is not asked for"
            rejected.append(Rejected(name, info.patient_id, info.cohort, group[0].path.name, COHORT_NOT_ASKED, reason))
        else:
            reason = f"no cohort in {clinical.source}"
            rejected.append(Rejected(name, info.patient_id, "", group[0].path.name, NO_COHORT, reason))
    return taken


def _refuse_repeated_samples(sources: Sequence[Source]) -> None:
    first: dict[tuple[str, str], str] = {}
    for source in sources:
        for sample_id, cohort in zip(source.samples[keys.SAMPLE_ID], source.samples[keys.COHORT], strict=True):
            here = f"{source.where} (cohort {cohort})"
            earlier = first.setdefault((source.modality, sample_id), here)
            if earlier is not here:
                raise DataError(f"sample {sample_id!r} is in {earlier} and in {here}; keep it in one of them")


def _refuse_samples_that_differ(sources: Sequence[Source]) -> None:
    """A sample that has both modalities is of one patient and cohort in both, or one of them is not what it says."""
    first: dict[str, tuple[tuple[str, str], Path]] = {}
    for source in sources:
        whose = source.samples[[keys.PATIENT_ID, keys.COHORT]].itertuples(index=False, name=None)
        for sample_id, (patient_id, cohort) in zip(source.samples[keys.SAMPLE_ID], whose, strict=True):
            other, where = first.setdefault(sample_id, ((patient_id, cohort), source.where))
            if other != (patient_id, cohort):
                raise DataError(
                    f"sample {sample_id!r} is of patient {other[0]!r}, cohort {other[1]!r} in {where}, but of patient"
                    f" {patient_id!r}, cohort {cohort!r} in {source.where}; give both tables the same clinical table"
                    " and cohort"
                )
