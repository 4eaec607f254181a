"""From inputs to a cohorts folder: one gene list and one unit a modality, and a reason for all that is left out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys, provenance
from bulkrnabert.data.access import LOCAL, strictest
from bulkrnabert.data.annotation import GeneAnnotation, annotation_from_star
from bulkrnabert.data.cohort_source import (
    NORMAL_TISSUE,
    ROW,
    Rejected,
    Source,
    StarValues,
    TableValues,
    with_ensembl_ids,
)
from bulkrnabert.data.cohort_summary import (
    MODALITY,
    cohort_rows,
    pair_account,
    patient_table,
    rejected_rows,
    write_patients,
)
from bulkrnabert.data.gene_lists import (
    MIN_COVERAGE,
    GeneAccount,
    MissingGenes,
    genes_in_common,
    genes_of_vocabulary,
    vocabulary_kind,
)
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.methylation import MethylationValues
from bulkrnabert.data.probe_coverage import combined_coverage
from bulkrnabert.data.survival_endpoints import (
    DEFAULT_POLICY,
    SurvivalPolicy,
    survival_account,
    write_survival_account,
)
from bulkrnabert.data.tables import (
    MAX_MISSING_SHARE,
    MODALITIES,
    CohortTableWriter,
    TableHeader,
    cohort_path,
    genes_path,
)
from bulkrnabert.data.units import TRANSCRIPTS_PER_MILLION
from bulkrnabert.errors import DataError, VocabularyError
from bulkrnabert.logs import progress_bar

logger = logging.getLogger(__name__)

RESCALED = "tpm over the gene list sums to 1e6 in every sample"

NOT_FINITE = "not_finite"
NO_EXPRESSION = "no_expression"
TOO_MANY_MISSING_GENES = "too_many_genes_missing"


@dataclass(frozen=True)
class PlanOptions:
    """How gene lists and values are settled.

    Attributes:
        vocabulary: File of the genes of RNA-seq; without one, those that every source has.
        methylation_vocabulary: The same for methylation.
        missing_genes: Genes of a vocabulary that a source lacks stay as missing values (`keep`), or leave the list.
        min_coverage: Share of a vocabulary that each source must have, in [0, 1].
        annotation: Genes with their symbols and types.
        rescale_tpm: Whether each sample's TPM is made to sum to a million over the gene list.
        survival: What becomes of odd times.
    """

    vocabulary: Path | None = None
    methylation_vocabulary: Path | None = None
    missing_genes: MissingGenes = "keep"
    min_coverage: float = MIN_COVERAGE
    annotation: GeneAnnotation | None = None
    rescale_tpm: bool = False
    survival: SurvivalPolicy = DEFAULT_POLICY


@dataclass(frozen=True)
class ModalityPlan:
    """What will be written of one modality.

    Attributes:
        modality: `rnaseq` or `methylation`.
        sources: Inputs of this modality.
        genes: The one gene list of its tables.
        accounts: What becomes of the genes of each source.
        unit: The one unit of its tables, in canonical text.
        annotation: Where gene ids come from, as far as the files say.
        is_rescaled: Whether the TPM of each sample is made to sum to a million over the gene list.
    """

    modality: str
    sources: tuple[Source, ...]
    genes: GeneVocabulary
    accounts: tuple[GeneAccount, ...]
    unit: str
    annotation: str
    is_rescaled: bool


@dataclass(frozen=True)
class Plan:
    """What will be written, known before any value is converted.

    Attributes:
        parts: One a modality, RNA-seq first.
        data_access: The strictest access class of the inputs.
        survival: What becomes of odd times.
    """

    parts: tuple[ModalityPlan, ...]
    data_access: str
    survival: SurvivalPolicy

    @property
    def sources(self) -> tuple[Source, ...]:
        """Inputs of all modalities."""
        return tuple(source for part in self.parts for source in part.sources)


def plan_cohorts(sources: Sequence[Source], options: PlanOptions | None = None) -> Plan:
    """Settle the gene list and the unit of each modality, and refuse inputs that do not go together.

    Without a vocabulary the list is the genes that every input has, without those known to code for no protein, in the
    order of their ids. With one it is the genes of the vocabulary, in its order. Where Ensembl ids and symbols meet,
    the symbols are looked up: in the annotation, else in the STAR-Counts files of the run, which carry both.

    Args:
        sources: From `collect_sources`.
        options: How to settle them.
    Raises:
        DataError: a source has no sample left, or units differ.
        VocabularyError: Ensembl ids in one source and symbols in another with no way between them, no gene in common,
            or a source has too little of a vocabulary.
    """
    options = options or PlanOptions()
    for source in sources:
        if source.samples.empty:
            rules = Counter(item.rule for item in source.rejected)
            raise DataError(
                f"{source.where}: no sample left for any cohort; rejected:"
                f" {', '.join(f'{n} {rule}' for rule, n in sorted(rules.items())) or 'none'}. Check the cohort column"
                " of the clinical table and the cohort that was asked for"
            )
    parts = tuple(
        _plan_modality(modality, own, options)
        for modality in MODALITIES
        if (own := [source for source in sources if source.modality == modality])
    )
    if options.rescale_tpm and not any(part.is_rescaled for part in parts):
        raise DataError("--rescale-tpm: nothing in this run becomes TPM; leave it out")
    return Plan(parts, strictest(source.data_access for source in sources), options.survival)


def _plan_modality(modality: str, sources: list[Source], options: PlanOptions) -> ModalityPlan:
    vocabulary = options.vocabulary if modality == keys.RNASEQ else options.methylation_vocabulary
    sources = _with_one_kind(sources, options.annotation, vocabulary)
    _refuse_mixed("gene ids", {str(source.where): source.values.genes.kind for source in sources}, VocabularyError)
    units = {str(source.where): str(source.values.stored_unit) for source in sources}
    _refuse_mixed("units after conversion", units, DataError)
    if vocabulary is None:
        listed = genes_in_common(sources, _gene_types(options.annotation) if modality == keys.RNASEQ else {})
    else:
        listed = genes_of_vocabulary(vocabulary, sources, options.missing_genes, options.min_coverage)
    genes = options.annotation.fill(listed.genes) if options.annotation else listed.genes
    unit = next(iter(units.values()))
    return ModalityPlan(
        modality,
        tuple(sources),
        genes,
        listed.accounts,
        unit,
        ", ".join(sorted({source.values.annotation for source in sources} - {""})),
        options.rescale_tpm and unit == "tpm",
    )


def _gene_types(annotation: GeneAnnotation | None) -> dict[str, str]:
    if annotation is None:
        return {}
    pairs = zip(annotation.gene_ids, annotation.gene_types, strict=True)
    return {gene_id: gene_type for gene_id, gene_type in pairs if gene_type}


def _with_one_kind(sources: list[Source], annotation: GeneAnnotation | None, vocabulary: Path | None) -> list[Source]:
    """Look the symbols of own tables up where Ensembl ids are wanted: by a vocabulary, an annotation, or a source."""
    kinds = {source.values.genes.kind for source in sources}
    wanted = vocabulary_kind(vocabulary) if vocabulary else "ensembl"
    if wanted == "symbol" or "symbol" not in kinds:
        return sources
    known = annotation if annotation is not None and annotation.has_symbols else None
    if known is None and "ensembl" in kinds:
        star = next((source.values.first for source in sources if isinstance(source.values, StarValues)), None)
        known = annotation_from_star(star) if star else None
    if known is None:
        return sources
    return [
        replace(source, values=with_ensembl_ids(source.values, known, str(source.where)))
        if isinstance(source.values, TableValues) and source.values.genes.kind == "symbol"
        else source
        for source in sources
    ]


def _refuse_mixed(what: str, found: dict[str, str], error: type[DataError]) -> None:
    if len(set(found.values())) > 1:
        listed = "; ".join(f"{where}: {value}" for where, value in found.items())
        hint = ", or give the Ensembl ids of the symbols with --annotation FILE" if what == "gene ids" else ""
        raise error(
            f"the inputs of a run must agree in their {what}, found {listed}; preprocess them in separate runs{hint}"
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
    rejected = [replace(item, modality=source.modality) for source in plan.sources for item in source.rejected]
    with provenance.atomic_path(out) as folder:
        folder.mkdir()
        kept = pd.concat([_write_modality(plan, part, folder, rejected) for part in plan.parts], ignore_index=True)
        patients = patient_table(plan.sources, kept)
        write_patients(patients, folder / keys.CLINICAL_TSV)
        if (patients[keys.ENDPOINT] != "").any():
            write_survival_account(survival_account(patients, plan.survival), folder)
        rejected.sort(key=astuple)
        _write_tsv(
            pd.DataFrame([astuple(item) for item in rejected], columns=[field.name for field in fields(Rejected)]),
            folder / keys.REJECTED_TSV,
        )
        _write_dropped_genes(plan, folder / keys.GENES_DROPPED_TSV)
        summary = _summary(plan, kept, patients, rejected)
        _log_pairs(summary["pairs"])
        provenance.write_json(folder / keys.SUMMARY_JSON, summary)
    return summary


def told(plan: Plan, summary: dict[str, Any]) -> str:
    """One line on what `write_cohorts` wrote and what it left out.

    Args:
        plan: What was carried out.
        summary: What that returned.
    """
    genes = ", ".join(
        f"{entry['genes']['n_kept']} {modality} genes in {entry['unit']}"
        for modality, entry in summary["modalities"].items()
    )
    by_portals = sum(
        source.data_access != LOCAL and item.rule != NORMAL_TISSUE
        for source in plan.sources
        for item in source.rejected
    )
    n_rejected = sum(entry["n"] for entry in summary["rejected"])
    left_out = f"{n_rejected - by_portals} samples rejected here"
    if by_portals:
        left_out = f"{by_portals} files left out by the portals' rules, {left_out}"
    if n_rejected:
        left_out += f" (each with its reason in {keys.REJECTED_TSV})"
    n_samples = sum(entry["n_samples"] for entry in summary["modalities"].values())
    return f"{len(summary['cohorts'])} cohorts, {n_samples} profiles, {genes}; {left_out}"


def _log_pairs(pairs: list[dict[str, Any]]) -> None:
    if not pairs:
        return
    paired, rnaseq, methylation = (
        sum(cohort[name] for cohort in pairs) for name in ("n_paired_samples", "n_rnaseq_only", "n_methylation_only")
    )
    level = logging.INFO if paired else logging.WARNING
    logger.log(
        level,
        "%d samples have both modalities, %d RNA-seq only, %d methylation only%s",
        paired,
        rnaseq,
        methylation,
        "" if paired else ": they meet on sample_id; check that both tables name their samples alike",
    )


def _write_modality(plan: Plan, part: ModalityPlan, folder: Path, rejected: list[Rejected]) -> pd.DataFrame:
    """Tables, gene list and probe coverage of one modality; returns the samples that were written."""
    cohorts = sorted({cohort for source in part.sources for cohort in source.samples[keys.COHORT]})
    kept = pd.concat(
        [_write_cohort(part, cohort, plan.data_access, folder, rejected) for cohort in cohorts], ignore_index=True
    )
    part.genes.to_tsv(genes_path(folder, part.modality))
    measured = [source.values for source in part.sources if isinstance(source.values, MethylationValues)]
    coverage = combined_coverage([values for values in measured if values.is_aggregated], part.genes)
    if coverage is not None:
        _write_tsv(coverage, folder / keys.PROBE_COVERAGE_TSV)
    return kept.assign(**{MODALITY: part.modality})


def _write_cohort(
    part: ModalityPlan, cohort: str, data_access: str, folder: Path, rejected: list[Rejected]
) -> pd.DataFrame:
    scaling = RESCALED if part.is_rescaled else ""
    header = TableHeader(part.unit, part.modality, part.genes.sha256, part.annotation, data_access, scaling)
    kept: list[pd.DataFrame] = []
    n_missing = 0
    n_samples = sum(int((source.samples[keys.COHORT] == cohort).sum()) for source in part.sources)
    with (
        CohortTableWriter(cohort_path(folder, cohort, part.modality), header, len(part.genes)) as writer,
        progress_bar(n_samples, what=f"{cohort}, {part.modality}", unit="sample") as bar,
    ):
        for source in part.sources:
            samples = source.samples[source.samples[keys.COHORT] == cohort].sort_values(keys.SAMPLE_ID)
            start = 0
            for piece in _aligned_pieces(part, source, samples[ROW].tolist()):
                bar.update(len(piece))
                rows = samples.iloc[start : start + len(piece)]
                start += len(piece)
                usable = _usable(piece, rows, source, rejected)
                writer.write(rows[usable], piece[usable])
                n_missing += int(np.isnan(piece[usable]).sum())
                kept.append(rows[usable])
    table = pd.concat(kept, ignore_index=True)
    if table.empty:
        raise DataError(
            f"cohort {cohort}, {part.modality}: no sample has usable values, all are not finite, without expression, or"
            " mostly missing"
        )
    logger.info(
        "cohort %s, %s: %d samples, %d patients%s",
        cohort,
        part.modality,
        len(table),
        table[keys.PATIENT_ID].nunique(),
        f", {n_missing / (len(table) * len(part.genes)):.2%} of the values missing" if n_missing else "",
    )
    return table


def _aligned_pieces(part: ModalityPlan, source: Source, rows: Sequence[int]) -> Iterator[npt.NDArray[np.float32]]:
    """Values in the order of the gene list, NaN for genes that the source does not have."""
    own = set(source.values.genes.gene_ids)
    present = [position for position, gene_id in enumerate(part.genes.gene_ids) if gene_id in own]
    is_complete = len(present) == len(part.genes)
    known = part.genes if is_complete else part.genes.subset(present)
    for piece in source.values.pieces(rows, known):
        aligned = piece
        if not is_complete:
            aligned = np.full((len(piece), len(part.genes)), np.nan, dtype=np.float32)
            aligned[:, present] = piece
        if part.is_rescaled:
            totals = np.nansum(aligned, axis=1, keepdims=True, dtype=np.float64)
            aligned = (aligned * (TRANSCRIPTS_PER_MILLION / np.where(totals > 0, totals, 1.0))).astype(np.float32)
        yield aligned


def _usable(
    piece: npt.NDArray[np.float32], samples: pd.DataFrame, source: Source, rejected: list[Rejected]
) -> npt.NDArray[np.bool_]:
    """Which rows can be used; the others are added to `rejected`."""
    refused = source.values.refused if isinstance(source.values, MethylationValues) else {}
    usable = np.ones(len(piece), dtype=np.bool_)
    for position, (row, values) in enumerate(zip(samples[ROW], piece, strict=True)):
        problem = refused.get(row) or _problem(values)
        if problem is not None:
            usable[position] = False
            sample = samples.iloc[position]
            rule, reason = problem
            rejected.append(
                Rejected(
                    str(sample[keys.SAMPLE_ID]),
                    str(sample[keys.PATIENT_ID]),
                    str(sample[keys.COHORT]),
                    source.where.name,
                    rule,
                    reason,
                    source.modality,
                )
            )
    return usable


def _problem(values: npt.NDArray[np.float32]) -> tuple[str, str] | None:
    """Rule and reason why the values of a sample cannot be used."""
    if np.isinf(values).any():
        return NOT_FINITE, "a value is infinite"
    share = float(np.isnan(values).mean())
    if share > MAX_MISSING_SHARE:
        return (
            TOO_MANY_MISSING_GENES,
            f"{share:.1%} of {len(values)} genes have no value, more than {MAX_MISSING_SHARE:.0%}",
        )
    if not ((values > 0) | (values < 0)).any():
        return NO_EXPRESSION, "every value is zero"
    return None


def _write_tsv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, sep="\t", index=False, lineterminator="\n")


def _write_dropped_genes(plan: Plan, path: Path) -> None:
    """Every name that a source loses, once for each rule."""
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(f"source\t{MODALITY}\trule\tgene\n")
        written: set[tuple[str, str, str]] = set()
        for part in plan.parts:
            for account in part.accounts:
                for item in account.dropped:
                    for name in item.genes:
                        if (part.modality + account.source, item.rule, name) not in written:
                            written.add((part.modality + account.source, item.rule, name))
                            handle.write(f"{account.source}\t{part.modality}\t{item.rule}\t{name}\n")


def _summary(plan: Plan, kept: pd.DataFrame, patients: pd.DataFrame, rejected: list[Rejected]) -> dict[str, Any]:
    modalities = {
        part.modality: {
            "unit": part.unit,
            "n_samples": int((kept[MODALITY] == part.modality).sum()),
            "rescaled_tpm": part.is_rescaled,
            "genes": {
                "n_kept": len(part.genes),
                "dropped": [item.to_json() for account in part.accounts for item in account.dropped],
                "sources": [account.to_json() for account in part.accounts],
            },
        }
        for part in plan.parts
    }
    first = modalities[plan.parts[0].modality]
    return {
        "cohorts": cohort_rows(plan.sources, kept, patients),
        "rejected": rejected_rows(rejected),
        "genes": first["genes"],
        "unit": first["unit"],
        "data_access": plan.data_access,
        "modalities": modalities,
        "pairs": pair_account(kept),
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
