"""Genes of a table: what its ids are, what is lost of them, and how much of a vocabulary they cover."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bulkrnabert.data.annotation import AMBIGUOUS_SYMBOL, UNKNOWN_SYMBOL, GeneAnnotation, to_ensembl
from bulkrnabert.data.doctor_findings import Check, Coverage, some
from bulkrnabert.data.genes import EXCEL_DATE, SYMBOL_ENTREZ_ID, VERSIONED_ID, GeneVocabulary
from bulkrnabert.data.sources.delimited import ANNOTATION_COLUMNS, LABEL_COLUMNS
from bulkrnabert.data.sources.files import ExpressionTable
from bulkrnabert.data.units import LINEAR_BASES, Unit, to_stored
from bulkrnabert.errors import VocabularyError

GO_COVERAGE = 0.80
FULL_COVERAGE = 0.95
KNOWN_SHARE = 0.80
ROWS_AT_A_TIME = 64
RULES = {
    "par_y": "copies on chromosome Y",
    "summary_row": "rows that count reads, not genes",
    "spike_in": "spike-ins",
    "empty_id": "rows without an id",
    "no_symbol": "rows without a symbol",
    "duplicated_symbol": "symbols that stand there more than once",
}


@dataclass(frozen=True)
class Resolved:
    """A table with Ensembl ids, if there was a way to them, and the check that tells of it."""

    table: ExpressionTable
    check: Check


def check_gene_ids(table: ExpressionTable) -> list[Check]:
    """What the ids are, and what was left out of them while reading."""
    raw = table.raw_gene_ids or table.gene_ids
    kind = "Ensembl ids" if table.kind == "ensembl" else "symbols"
    notes = [f"{len(table.gene_ids)} genes, {kind} as {raw[0]}"]
    n_versioned = sum(bool(VERSIONED_ID.match(gene_id)) for gene_id in raw)
    n_entrez = sum(bool(SYMBOL_ENTREZ_ID.match(gene_id)) for gene_id in raw)
    if n_versioned:
        notes.append(f"{n_versioned} with a version, which is stripped")
    if n_entrez:
        notes.append(f"{n_entrez} as SYMBOL|ENTREZ, of which the symbol is used")
    by_rule: defaultdict[str, list[str]] = defaultdict(list)
    for rule, name in table.dropped:
        by_rule[rule].append(name)
    notes += [
        f"{len(by_rule[rule])} {what} left out, as {by_rule[rule][0] or 'an empty cell'}"
        for rule, what in RULES.items()
        if rule in by_rule and rule != "duplicated_symbol"
    ]
    checks = [Check("gene_ids", "ok", "; ".join(notes))]
    twice = by_rule["duplicated_symbol"]
    if twice:
        n_symbols = len(Counter(_symbol(name) for name in twice))
        checks.append(
            Check(
                "duplicated_genes",
                "warn",
                f"{n_symbols} symbols stand there more than once, {len(twice)} rows are left out: {some(twice)}",
                "each gene once",
                "keep one row of each, or give Ensembl ids",
            )
        )
    dates = [gene_id for gene_id in raw if EXCEL_DATE.match(gene_id)]
    if dates:
        checks.append(
            Check(
                "excel_dates",
                "warn",
                f"{len(dates)} gene names have become dates and are left out: {some(dates)}",
                "gene symbols, as MARCHF1 or SEPTIN2",
                "export the table again without a spreadsheet, which turns MARCH1 into 1-Mar",
            )
        )
    strange = [
        name
        for name in by_rule["not_expression"]
        if name.lower() not in ANNOTATION_COLUMNS and name.lower() not in LABEL_COLUMNS
    ]
    if strange:
        checks.append(
            Check(
                "columns",
                "warn",
                f"{len(strange)} columns hold no numbers and are left out: {some(strange)}",
                "a column a sample",
                "look whether these are samples; if so, mend their cells",
            )
        )
    return checks


def _symbol(name: str) -> str:
    match = SYMBOL_ENTREZ_ID.match(name)
    return match.group(1) if match else name


def resolve_genes(table: ExpressionTable, annotation: GeneAnnotation) -> Resolved:
    """Bring symbols to Ensembl ids, or look how many of the Ensembl ids the annotation knows."""
    name = annotation.release or annotation.source
    if table.kind == "ensembl":
        known = set(annotation.gene_ids)
        unknown = [gene_id for gene_id in table.gene_ids if gene_id not in known]
        share = 1 - len(unknown) / len(table.gene_ids)
        found = f"{name} knows {share:.1%} of the Ensembl ids" + (f"; not {some(unknown, 3)}" if unknown else "")
        filled = to_ensembl(table, annotation)
        if share >= FULL_COVERAGE:
            return Resolved(filled, Check("annotation", "ok", found))
        cure = "give the annotation of the release that the table was made with"
        return Resolved(filled, Check("annotation", "warn", found, "ids of one release", cure))
    try:
        resolved = to_ensembl(table, annotation)
    except VocabularyError as error:
        return Resolved(table, Check("annotation", "fail", str(error), "human gene symbols", "check the gene names"))
    rules: defaultdict[str, list[str]] = defaultdict(list)
    for rule, symbol in resolved.dropped[len(table.dropped) :]:
        rules[rule].append(symbol)
    n_found, n_symbols = len(resolved.gene_ids), len(table.gene_ids)
    notes = [f"{n_found} of {n_symbols} symbols have one Ensembl id in {name}"]
    if rules[UNKNOWN_SYMBOL]:
        notes.append(f"{len(rules[UNKNOWN_SYMBOL])} are unknown there ({some(rules[UNKNOWN_SYMBOL], 3)})")
    if rules[AMBIGUOUS_SYMBOL]:
        notes.append(f"{len(rules[AMBIGUOUS_SYMBOL])} name several genes ({some(rules[AMBIGUOUS_SYMBOL], 3)})")
    is_good = n_found >= KNOWN_SHARE * n_symbols
    return Resolved(
        resolved,
        Check(
            "annotation",
            "ok" if n_found == n_symbols else "warn",
            "; ".join(notes),
            "a symbol a gene, as the annotation spells it",
            ""
            if is_good
            else "symbols change between releases: give an annotation of the table's time, or Ensembl ids",
        ),
    )


def cover(table: ExpressionTable, unit: Unit | None, vocabulary: GeneVocabulary, name: str) -> Coverage:
    """How much of a vocabulary the table has. Raises no error for what is missing.

    Args:
        table: Of the same kind of ids as the vocabulary. Not modified.
        unit: What its values are, for the share of expression.
        vocabulary: The genes that a model or a run wants.
        name: What the vocabulary is called.
    """
    alignment = vocabulary.align(table.gene_ids)
    symbol_of = dict(zip(vocabulary.gene_ids, vocabulary.symbols, strict=True))
    n_found = len(vocabulary) - len(alignment.missing)
    inside = np.zeros(len(table.gene_ids), dtype=np.bool_)
    inside[alignment.source_idx[alignment.source_idx >= 0]] = True
    return Coverage(
        name,
        len(vocabulary),
        n_found,
        alignment.coverage,
        alignment.n_unknown,
        alignment.missing,
        tuple(symbol_of[gene_id] for gene_id in alignment.missing),
        _expression_share(table, unit, inside),
    )


def _expression_share(table: ExpressionTable, unit: Unit | None, inside: np.ndarray) -> float | None:
    if unit is None or unit.base not in LINEAR_BASES:
        return None
    # Only logarithms are inverted: `rsem` stands for any quantity.
    own = Unit("rsem", unit.log_base, unit.pseudo_count)
    within, total = 0.0, 0.0
    for start in range(0, len(table.values), ROWS_AT_A_TIME):
        part = table.values[start : start + ROWS_AT_A_TIME]
        linear = to_stored(np.where(np.isfinite(part), part, np.float32(0)), own).values
        within += float(linear[:, inside].sum(dtype=np.float64))
        total += float(linear.sum(dtype=np.float64))
    return within / total if total > 0 else None


def check_coverage(coverage: Coverage) -> Check:
    """The coverage against the shares that are needed (80 %) and wanted (95 %)."""
    named = [
        f"{gene_id} ({symbol})" if symbol and symbol != gene_id else gene_id
        for gene_id, symbol in zip(coverage.missing, coverage.missing_symbols, strict=True)
    ]
    found = f"{coverage.n_found} of {coverage.n_vocabulary} genes of {coverage.vocabulary} ({coverage.share:.2%})"
    if coverage.expression_share is not None:
        found += f", {coverage.expression_share:.1%} of the table's expression"
    if named:
        found += f"; missing {some(named, 3)}"
    expected = f"{GO_COVERAGE:.0%} of the vocabulary, better {FULL_COVERAGE:.0%}"
    if coverage.share >= FULL_COVERAGE:
        return Check("coverage", "ok", found, expected)
    cure = "take the table before genes were filtered out; --drift tells what the missing ones do to embeddings"
    return Check("coverage", "warn" if coverage.share >= GO_COVERAGE else "fail", found, expected, cure)


def check_kinds(table: ExpressionTable, vocabulary: GeneVocabulary, name: str) -> Check | None:
    """A failed check where table and vocabulary have different kinds of ids, else None."""
    if table.kind == vocabulary.kind:
        return None
    if table.kind == "symbol":
        cure = "give --annotation FILE (`bulkrnabert annotate` makes one from a GENCODE GTF), or Ensembl ids"
    else:
        cure = "give the table with gene symbols in place of Ensembl ids"
    return Check(
        "coverage",
        "fail",
        f"the table has {table.kind} ids, as {table.gene_ids[0]}; {name} has {vocabulary.kind} ids, as"
        f" {vocabulary.gene_ids[0]}",
        "ids of one kind",
        cure,
    )


def check_constant(table: ExpressionTable) -> Check:
    """Genes that have the same value in every sample."""
    if len(table.values) < 2:
        return Check("constant_genes", "ok", "one sample only")
    is_constant = np.fmin.reduce(table.values, axis=0) == np.fmax.reduce(table.values, axis=0)
    n_constant, n_genes = int(is_constant.sum()), len(table.gene_ids)
    found = f"{n_constant} of {n_genes} genes have the same value in all {len(table.values)} samples"
    if n_constant < 0.5 * n_genes:
        return Check("constant_genes", "ok", found)
    return Check(
        "constant_genes",
        "warn",
        found,
        "most genes differ between samples",
        "check that the table holds different samples, and values of genes",
    )


def lengths_check(table: ExpressionTable, lengths: dict[str, float], wanted: Sequence[str]) -> Check:
    """How many genes have a length, which counts need to become TPM."""
    without = [gene_id for gene_id in table.gene_ids if gene_id not in lengths]
    wanted_without = sorted(set(wanted) & set(without))
    found = f"{len(table.gene_ids) - len(without)} of {len(table.gene_ids)} genes have a length"
    if without:
        found += f"; {len(without)} without one are left out, as {some(without, 3)}"
    if wanted_without:
        found += f"; {len(wanted_without)} of them are in the vocabulary"
    if len(without) == len(table.gene_ids):
        cure = "give lengths with the ids of the table"
        return Check("gene_lengths", "fail", "no gene of the table has a length", "a length for every gene", cure)
    is_fine = len(without) < (1 - FULL_COVERAGE) * len(table.gene_ids) and not wanted_without
    cure = "" if is_fine else "give lengths of the annotation that the counts were made with (`bulkrnabert annotate`)"
    return Check("gene_lengths", "ok" if is_fine else "warn", found, "a length for every gene", cure)
