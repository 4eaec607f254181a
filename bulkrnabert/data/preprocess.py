"""From inputs to a cohorts folder: one gene list, one unit, one table a cohort, a reason for all that is left out."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys, provenance
from bulkrnabert.data.clinical import CONFLICTING_ROWS, NO_CLINICAL_ROW, PATIENT_COLUMNS
from bulkrnabert.data.cohort_source import CONTROLLED, LOCAL, OPEN, ROW, Rejected, Source
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.tables import CohortTableWriter, TableHeader, cohort_path
from bulkrnabert.errors import DataError, VocabularyError

logger = logging.getLogger(__name__)

PROTEIN_CODING = "protein_coding"
MIN_COVERAGE = 0.8
N_EXAMPLES = 5

NOT_PROTEIN_CODING = "not_protein_coding"
NOT_EVERYWHERE = "not_in_every_cohort"
NOT_IN_VOCABULARY = "not_in_vocabulary"
VOCABULARY_GENE_ABSENT = "vocabulary_gene_absent"
NOT_FINITE = "not_finite"
NO_EXPRESSION = "no_expression"
SEVERAL_COHORTS = "several_cohorts"


@dataclass(frozen=True)
class DroppedGenes:
    """Genes of one source that are left out by one rule."""

    rule: str
    source: str
    genes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As in `summary.json`."""
        return {
            "rule": self.rule,
            "source": self.source,
            "n": len(self.genes),
            "examples": list(self.genes[:N_EXAMPLES]),
        }


@dataclass(frozen=True)
class Plan:
    """What will be written, known before any value is converted.

    Attributes:
        sources: Inputs that have samples or rejected samples.
        genes: The one gene list of the folder.
        dropped: Genes left out, by source and rule.
        unit: The one unit of the folder, in canonical text.
        data_access: The strictest access class of the inputs.
        annotation: Where gene ids come from, as far as the files say.
    """

    sources: tuple[Source, ...]
    genes: GeneVocabulary
    dropped: tuple[DroppedGenes, ...]
    unit: str
    data_access: str
    annotation: str


def plan_cohorts(sources: Sequence[Source], vocabulary: Path | None = None) -> Plan:
    """Settle the gene list and the unit, and refuse inputs that do not go together.

    Without a vocabulary the list is the genes that every input has, protein-coding ones only where gene types are
    known, in the order of their ids. With one it is the genes of the vocabulary that every input has, in its order.

    Args:
        sources: From `collect_sources`.
        vocabulary: A list of genes, `.txt` (one a line), or `.tsv` or `.csv` (`gene_id, symbol, gene_type`).
    Raises:
        DataError: a source has no sample left, or units differ.
        VocabularyError: Ensembl ids in one source and symbols in another, no gene in common, or a source has less than
            80 % of the vocabulary.
    """
    for source in sources:
        if source.samples.empty:
            rules = Counter(item.rule for item in source.rejected)
            raise DataError(
                f"{source.where}: no sample left for any cohort; rejected:"
                f" {', '.join(f'{n} {rule}' for rule, n in sorted(rules.items())) or 'none'}. Check the cohort column"
                " of the clinical table and the cohort that was asked for"
            )
    _refuse_mixed("gene ids", {str(source.where): source.values.genes.kind for source in sources}, VocabularyError)
    units = {str(source.where): str(source.values.stored_unit) for source in sources}
    _refuse_mixed("units after conversion", units, DataError)
    dropped = [
        DroppedGenes(rule, source.label, tuple(names))
        for source in sources
        for rule, names in _by_rule(source.values.dropped).items()
    ]
    if vocabulary is None:
        genes = _common_genes(sources, dropped)
    else:
        genes = _genes_of_vocabulary(vocabulary, sources, dropped)
    access = {source.data_access for source in sources}
    logger.info("gene list: %d genes, sha256 %s…", len(genes), genes.sha256[:12])
    return Plan(
        tuple(sources),
        genes,
        tuple(dropped),
        next(iter(units.values())),
        next(name for name in (CONTROLLED, LOCAL, OPEN) if name in access),
        ", ".join(sorted({source.values.annotation for source in sources} - {""})),
    )


def write_cohorts(plan: Plan, out: Path) -> dict[str, Any]:
    """Write the cohorts folder; it takes its name when it is complete.

    Args:
        plan: From `plan_cohorts`.
        out: Folder to write. An older cohorts folder is replaced, any other folder with files in it is refused.
    Returns:
        What `summary.json` holds.
    Raises:
        DataError: a cohort has no sample with usable values, or the folder holds something else.
    """
    refuse_foreign_folder(out)
    rejected = [item for source in plan.sources for item in source.rejected]
    with provenance.atomic_path(out) as folder:
        folder.mkdir()
        cohorts = sorted({cohort for source in plan.sources for cohort in source.samples[keys.COHORT]})
        kept = pd.concat([_write_cohort(plan, cohort, folder, rejected) for cohort in cohorts], ignore_index=True)
        plan.genes.to_tsv(folder / keys.GENES_TSV)
        patients = _patients(plan, kept)
        _write_patients(patients, folder / keys.CLINICAL_TSV)
        rejected.sort(key=astuple)
        pd.DataFrame([astuple(item) for item in rejected], columns=[field.name for field in fields(Rejected)]).to_csv(
            folder / keys.REJECTED_TSV, sep="\t", index=False, lineterminator="\n"
        )
        summary = _summary(plan, kept, patients, rejected)
        provenance.write_json(folder / keys.SUMMARY_JSON, summary)
    return summary


def _refuse_mixed(what: str, found: dict[str, str], error: type[DataError]) -> None:
    if len(set(found.values())) > 1:
        listed = "; ".join(f"{where}: {value}" for where, value in found.items())
        raise error(f"the inputs of a run must agree in their {what}, found {listed}; preprocess them in separate runs")


def _by_rule(dropped: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: defaultdict[str, list[str]] = defaultdict(list)
    for rule, name in dropped:
        grouped[rule].append(name)
    return grouped


def _common_genes(sources: Sequence[Source], dropped: list[DroppedGenes]) -> GeneVocabulary:
    common = set.intersection(*(set(source.values.genes.gene_ids) for source in sources))
    types: dict[str, str] = {}
    symbols: dict[str, str] = {}
    for source in sources:
        genes = source.values.genes
        for gene_id, symbol, gene_type in zip(genes.gene_ids, genes.symbols, genes.gene_types, strict=True):
            if gene_type:
                types.setdefault(gene_id, gene_type)
            if symbol:
                symbols.setdefault(gene_id, symbol)
    coding = {gene_id for gene_id in common if types[gene_id] == PROTEIN_CODING} if types.keys() >= common else common
    for source in sources:
        own = source.values.genes.gene_ids
        for rule, names in (
            (NOT_EVERYWHERE, [gene_id for gene_id in own if gene_id not in common]),
            (NOT_PROTEIN_CODING, [gene_id for gene_id in own if gene_id in common and gene_id not in coding]),
        ):
            if names:
                dropped.append(DroppedGenes(rule, source.label, tuple(names)))
                logger.info("%s: %d genes left out: %s", source.where, len(names), rule)
    if not coding:
        raise VocabularyError(
            f"no gene in common between {', '.join(str(source.where) for source in sources)}"
            + (" that is protein-coding" if common else "")
            + "; check that their gene ids are of one kind and one organism"
        )
    ordered = sorted(coding)
    return GeneVocabulary(
        tuple(ordered),
        tuple(symbols.get(gene_id, "") for gene_id in ordered),
        tuple(types.get(gene_id, "") for gene_id in ordered),
    )


def _genes_of_vocabulary(path: Path, sources: Sequence[Source], dropped: list[DroppedGenes]) -> GeneVocabulary:
    is_table = path.suffix.lower() in (".tsv", ".csv")
    listed = GeneVocabulary.from_tsv(path) if is_table else GeneVocabulary.from_txt(path)
    absent: set[str] = set()
    for source in sources:
        own = source.values.genes
        if own.kind != listed.kind:
            raise VocabularyError(
                f"{path} lists {listed.kind} ids (as {listed.gene_ids[0]!r}) but {source.where} has {own.kind} ids (as"
                f" {own.gene_ids[0]!r}); genes are never matched by symbol to an Ensembl id: give a vocabulary of the"
                " same kind"
            )
        alignment = listed.align(own.gene_ids)
        logger.info("%s: has %.1f%% of the %d genes of %s", source.where, 100 * alignment.coverage, len(listed), path)
        if alignment.coverage < MIN_COVERAGE:
            raise VocabularyError(
                f"{source.where}: has only {alignment.coverage:.1%} of the {len(listed)} genes of {path}, at least"
                f" {MIN_COVERAGE:.0%} are needed; missing {', '.join(alignment.missing[:N_EXAMPLES])}, …. Another gene"
                " annotation, or a panel: leave out --vocabulary to use the genes that are there"
            )
        if alignment.missing:
            dropped.append(DroppedGenes(VOCABULARY_GENE_ABSENT, source.label, alignment.missing))
            absent.update(alignment.missing)
        in_list = set(listed.gene_ids)
        unknown = tuple(gene_id for gene_id in own.gene_ids if gene_id not in in_list)
        if unknown:
            dropped.append(DroppedGenes(NOT_IN_VOCABULARY, source.label, unknown))
    return listed.subset([position for position, gene_id in enumerate(listed.gene_ids) if gene_id not in absent])


def _write_cohort(plan: Plan, cohort: str, folder: Path, rejected: list[Rejected]) -> pd.DataFrame:
    header = TableHeader(plan.unit, keys.RNASEQ, plan.genes.sha256, plan.annotation, plan.data_access)
    kept: list[pd.DataFrame] = []
    with CohortTableWriter(cohort_path(folder, cohort), header, len(plan.genes)) as writer:
        for source in plan.sources:
            samples = source.samples[source.samples[keys.COHORT] == cohort].sort_values(keys.SAMPLE_ID)
            start = 0
            for piece in source.values.pieces(samples[ROW].tolist(), plan.genes):
                part = samples.iloc[start : start + len(piece)]
                start += len(piece)
                usable = _usable(piece, part, source, rejected)
                writer.write(part[usable], piece[usable])
                kept.append(part[usable])
    table = pd.concat(kept, ignore_index=True)
    if table.empty:
        raise DataError(f"cohort {cohort}: no sample has usable values, all are not finite or without expression")
    logger.info("cohort %s: %d samples, %d patients", cohort, len(table), table[keys.PATIENT_ID].nunique())
    return table


def _usable(
    piece: npt.NDArray[np.float32], samples: pd.DataFrame, source: Source, rejected: list[Rejected]
) -> npt.NDArray[np.bool_]:
    """Which rows have finite values that are not all zero; the others are added to `rejected`."""
    finite = np.array([np.isfinite(row).all() for row in piece], dtype=np.bool_)
    usable: npt.NDArray[np.bool_] = finite & np.array([row.any() for row in piece], dtype=np.bool_)
    for position in np.flatnonzero(~usable):
        rule, reason = (
            (NO_EXPRESSION, "every value is zero") if finite[position] else (NOT_FINITE, "a value is infinite")
        )
        sample = samples.iloc[position]
        rejected.append(
            Rejected(
                sample[keys.SAMPLE_ID],
                sample[keys.PATIENT_ID],
                sample[keys.COHORT],
                source.where.name,
                rule,
                reason,
            )
        )
    return usable


def _patients(plan: Plan, kept: pd.DataFrame) -> pd.DataFrame:
    """One row for each patient with a sample, sorted; those without a clinical row get a flag."""
    tables = [source.clinical.patients for source in plan.sources if not source.clinical.patients.empty]
    known = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(PATIENT_COLUMNS))
    labels = [name for name in known.columns if name not in PATIENT_COLUMNS]
    of_patient = dict(iter(known.groupby(keys.PATIENT_ID)))
    records = []
    for patient_id, samples in kept.groupby(keys.PATIENT_ID, sort=True):
        rows = of_patient.get(patient_id)
        record: dict[Any, Any] = {keys.TIME_DAYS: np.nan, keys.EVENT: np.nan, keys.FLAGS: NO_CLINICAL_ROW}
        if rows is not None:
            record = rows.iloc[0].to_dict()
        flags = [flag for flag in str(record[keys.FLAGS]).split(";") if flag]
        if rows is not None and len(rows[[keys.TIME_DAYS, keys.EVENT]].drop_duplicates()) > 1:
            record |= {keys.TIME_DAYS: np.nan, keys.EVENT: np.nan}
            flags.append(CONFLICTING_ROWS)
        cohorts = sorted(set(samples[keys.COHORT]))
        if len(cohorts) > 1:
            flags.append(SEVERAL_COHORTS)
        record |= {keys.PATIENT_ID: patient_id, keys.COHORT: cohorts[0], keys.FLAGS: ";".join(flags)}
        records.append(record)
    table = pd.DataFrame(records, columns=[*PATIENT_COLUMNS, *labels])
    text = [name for name in table.columns if name not in (keys.TIME_DAYS, keys.EVENT)]
    table[text] = table[text].fillna("")
    return table


def _write_patients(patients: pd.DataFrame, path: Path) -> None:
    table = patients.copy()
    for name in (keys.TIME_DAYS, keys.EVENT):
        table[name] = [f"{value:.10g}" if np.isfinite(value) else "" for value in table[name].astype(float)]
    table.to_csv(path, sep="\t", index=False, lineterminator="\n")


def _summary(plan: Plan, kept: pd.DataFrame, patients: pd.DataFrame, rejected: list[Rejected]) -> dict[str, Any]:
    units: defaultdict[str, set[str]] = defaultdict(set)
    for source in plan.sources:
        units[source.label].add(str(source.unit))
    cohorts = []
    for cohort, samples in kept.groupby(keys.COHORT, sort=True):
        own = patients[patients[keys.PATIENT_ID].isin(samples[keys.PATIENT_ID])]
        types = Counter(samples[keys.SAMPLE_TYPE])
        labels = sorted(set(samples[keys.SOURCE]))
        cohorts.append(
            {
                "cohort": cohort,
                "source": ", ".join(labels),
                "unit": ", ".join(sorted(set.union(*(units[label] for label in labels)))),
                "n_samples": len(samples),
                "n_patients": len(own),
                "n_tumor": types[keys.TUMOR],
                "n_normal": types[keys.NORMAL],
                "n_with_survival": int(own[keys.TIME_DAYS].notna().sum()),
                "n_events": int(own[keys.EVENT].sum()),
                "endpoint": ", ".join(sorted(set(own[keys.ENDPOINT]) - {""})),
            }
        )
    counts = Counter((item.cohort, item.rule) for item in rejected)
    return {
        "cohorts": cohorts,
        "rejected": [{"cohort": cohort, "rule": rule, "n": n} for (cohort, rule), n in sorted(counts.items())],
        "genes": {"n_kept": len(plan.genes), "dropped": [item.to_json() for item in plan.dropped]},
        "unit": plan.unit,
        "data_access": plan.data_access,
    }


def refuse_foreign_folder(out: Path) -> None:
    """Stop before a folder is replaced that `preprocess` did not write.

    Raises:
        DataError: a file, or a folder of something else.
    """
    if out.is_file():
        raise DataError(f"{out}: is a file; give a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / keys.SUMMARY_JSON).is_file():
        raise DataError(f"{out}: a folder with other files in it; give a new one, it is replaced as a whole")
