"""The one gene list of a modality, and an account of every gene that a source loses on the way to it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bulkrnabert.data.cohort_source import Source
from bulkrnabert.data.genes import GeneKind, GeneVocabulary
from bulkrnabert.errors import VocabularyError

logger = logging.getLogger(__name__)

MissingGenes = Literal["keep", "drop"]

PROTEIN_CODING = "protein_coding"
MIN_COVERAGE = 0.8
N_EXAMPLES = 5

NOT_PROTEIN_CODING = "not_protein_coding"
NOT_EVERYWHERE = "not_in_every_cohort"
NOT_IN_VOCABULARY = "not_in_vocabulary"
VOCABULARY_GENE_ABSENT = "vocabulary_gene_absent"


@dataclass(frozen=True)
class DroppedGenes:
    """Names of one source that one rule leaves out; with `vocabulary_gene_absent`, genes that it does not have."""

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
class GeneAccount:
    """What becomes of the genes of a source.

    Attributes:
        source: Its label; several raw folders with the same genes are one.
        n_genes: Names that its files list, of genes and of what is taken for one.
        n_kept: Those that are in the gene list.
        n_missing: Genes of the list that it has no values of; NaN in its samples.
        dropped: Names left out, a rule each: while reading, then for the list; with `n_kept` they make up `n_genes`.
            Genes of a vocabulary that the files do not list come on top, as `vocabulary_gene_absent`.
    """

    source: str
    n_genes: int
    n_kept: int
    n_missing: int
    dropped: tuple[DroppedGenes, ...]

    def to_json(self) -> dict[str, Any]:
        """As in `summary.json`."""
        return {
            "source": self.source,
            "n_genes": self.n_genes,
            "n_kept": self.n_kept,
            "n_missing": self.n_missing,
            "dropped": {item.rule: len(item.genes) for item in self.dropped},
        }


@dataclass(frozen=True)
class GeneList:
    """Genes of all tables of a modality, in their order, and how each source came to them."""

    genes: GeneVocabulary
    accounts: tuple[GeneAccount, ...]


def distinct_sources(sources: Sequence[Source]) -> list[Source]:
    """One source for each set of genes under a label: the folders of a portal's projects have the same."""
    found: dict[tuple[str, str, tuple[tuple[str, str], ...]], Source] = {}
    for source in sources:
        found.setdefault((source.label, source.values.genes.sha256, source.values.dropped), source)
    return list(found.values())


def genes_in_common(sources: Sequence[Source], known_types: Mapping[str, str]) -> GeneList:
    """Genes that every source has, in the order of their ids; those known to code for no protein are left out.

    Args:
        sources: Of one modality, with one kind of gene ids.
        known_types: Gene types by id, for genes of which no source says any.
    Raises:
        VocabularyError: no gene in common.
    """
    distinct = distinct_sources(sources)
    common = set.intersection(*(set(source.values.genes.gene_ids) for source in distinct))
    types, symbols = _said(distinct, common)
    types = {gene_id: known_types[gene_id] for gene_id in common if gene_id in known_types} | types
    coding = {gene_id for gene_id in common if types.get(gene_id, PROTEIN_CODING) == PROTEIN_CODING}
    if not coding:
        raise VocabularyError(
            f"no gene in common between {', '.join(str(source.where) for source in sources)}"
            + (" that is protein-coding" if common else "")
            + "; check that their gene ids are of one kind and one organism"
        )
    if types and len(types) < len(common):
        n_untyped = sum(gene_id not in types for gene_id in coding)
        logger.info("%d of %d genes have no known type and are kept", n_untyped, len(coding))
    ordered = sorted(coding)
    genes = GeneVocabulary(
        tuple(ordered),
        tuple(symbols.get(gene_id, "") for gene_id in ordered),
        tuple(types.get(gene_id, "") for gene_id in ordered),
    )

    def why(gene_id: str) -> str:
        return NOT_PROTEIN_CODING if gene_id in common else NOT_EVERYWHERE

    return _finished(genes, [_account(source, genes, why, ()) for source in distinct])


def genes_of_vocabulary(
    path: Path, sources: Sequence[Source], missing_genes: MissingGenes, min_coverage: float
) -> GeneList:
    """Genes of a vocabulary, in its order.

    Args:
        path: A list of genes, `.txt` (one a line), or `.tsv` or `.csv` (`gene_id, symbol, gene_type`).
        sources: Of one modality.
        missing_genes: Genes that a source lacks stay in the list (`keep`), or are left out of it (`drop`).
        min_coverage: Share of the vocabulary that each source must have, in [0, 1].
    Raises:
        VocabularyError: another kind of ids, or a source that has too few of the genes.
    """
    listed = _read_vocabulary(path)
    distinct = distinct_sources(sources)
    absent: dict[int, tuple[str, ...]] = {}
    for number, source in enumerate(distinct):
        own = source.values.genes
        if own.kind != listed.kind:
            raise VocabularyError(
                f"{path} lists {listed.kind} ids (as {listed.gene_ids[0]!r}) but {source.where} has {own.kind} ids (as"
                f" {own.gene_ids[0]!r}); give a vocabulary of the same kind"
                + (", or the Ensembl ids of the symbols with --annotation" if own.kind == "symbol" else "")
            )
        alignment = listed.align(own.gene_ids)
        if alignment.coverage < min_coverage:
            raise VocabularyError(
                f"{source.where}: has only {alignment.coverage:.1%} of the {len(listed)} genes of {path}, at least"
                f" {min_coverage:.0%} are needed; missing {', '.join(alignment.missing[:N_EXAMPLES])}, …. Another gene"
                " annotation, or a panel: leave out --vocabulary to use the genes that are there"
            )
        absent[number] = alignment.missing
    gone = {gene_id for missing in absent.values() for gene_id in missing} if missing_genes == "drop" else set()
    _log_missing(path, listed, distinct, absent, missing_genes)
    if len(gone) == len(listed):
        raise VocabularyError(f"no gene of {path} is in every source; keep missing genes with --missing-genes keep")
    types, symbols = _said(distinct, set(listed.gene_ids))
    kept = listed.subset([position for position, gene_id in enumerate(listed.gene_ids) if gene_id not in gone])
    genes = GeneVocabulary(
        kept.gene_ids,
        tuple(own or symbols.get(gene_id, "") for gene_id, own in zip(kept.gene_ids, kept.symbols, strict=True)),
        tuple(own or types.get(gene_id, "") for gene_id, own in zip(kept.gene_ids, kept.gene_types, strict=True)),
    )

    def why(gene_id: str) -> str:
        return NOT_EVERYWHERE if gene_id in gone else NOT_IN_VOCABULARY

    return _finished(genes, [_account(source, genes, why, absent[number]) for number, source in enumerate(distinct)])


def vocabulary_kind(path: Path) -> GeneKind:
    """Whether a vocabulary lists Ensembl ids or symbols."""
    return _read_vocabulary(path).kind


def _read_vocabulary(path: Path) -> GeneVocabulary:
    is_table = path.suffix.lower() in (".tsv", ".csv")
    return GeneVocabulary.from_tsv(path) if is_table else GeneVocabulary.from_txt(path)


def _said(sources: Iterable[Source], wanted: set[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Types and symbols of genes, as the first source says that knows them."""
    types: dict[str, str] = {}
    symbols: dict[str, str] = {}
    for source in sources:
        genes = source.values.genes
        for gene_id, symbol, gene_type in zip(genes.gene_ids, genes.symbols, genes.gene_types, strict=True):
            if gene_id in wanted:
                if gene_type:
                    types.setdefault(gene_id, gene_type)
                if symbol:
                    symbols.setdefault(gene_id, symbol)
    return types, symbols


def _log_missing(
    path: Path,
    listed: GeneVocabulary,
    sources: Sequence[Source],
    absent: Mapping[int, tuple[str, ...]],
    missing_genes: MissingGenes,
) -> None:
    for number, source in enumerate(sources):
        logger.info(
            "%s: has values of %d of the %d genes of %s%s",
            source.where,
            len(listed) - len(absent[number]),
            len(listed),
            path.name,
            f"; {len(absent[number])} are {'missing values there' if missing_genes == 'keep' else 'left out'}"
            if absent[number]
            else "",
        )
    if missing_genes == "keep" and absent:
        nowhere = set.intersection(*(set(missing) for missing in absent.values()))
        if nowhere:
            logger.info("%d genes of %s are in no source, as %s", len(nowhere), path.name, min(nowhere))


def _account(source: Source, genes: GeneVocabulary, why: Callable[[str], str], absent: tuple[str, ...]) -> GeneAccount:
    """Every gene of a source is kept, or has a rule that says why not."""
    own = source.values.genes.gene_ids
    kept = set(genes.gene_ids)
    by_rule: dict[str, list[str]] = {}
    for rule, name in source.values.dropped:
        by_rule.setdefault(rule, []).append(name)
    for gene_id in own:
        if gene_id not in kept:
            by_rule.setdefault(why(gene_id), []).append(gene_id)
    n_names = len(own) + len(source.values.dropped)
    left_out_before = {name for _, name in source.values.dropped}
    unlisted = [gene_id for gene_id in absent if gene_id not in left_out_before]
    if unlisted:
        by_rule[VOCABULARY_GENE_ABSENT] = unlisted
    n_kept = sum(gene_id in kept for gene_id in own)
    return GeneAccount(
        source.label,
        n_names,
        n_kept,
        len(genes) - n_kept,
        tuple(DroppedGenes(rule, source.label, tuple(names)) for rule, names in by_rule.items()),
    )


def _finished(genes: GeneVocabulary, accounts: list[GeneAccount]) -> GeneList:
    for account in accounts:
        rules = ", ".join(f"{len(item.genes)} {item.rule}" for item in account.dropped) or "none left out"
        logger.info("%s: %d of %d names kept as genes (%s)", account.source, account.n_kept, account.n_genes, rules)
    twice = [name for name, n in Counter(account.source for account in accounts).items() if n > 1]
    if twice:
        logger.info("sources of one name with different genes: %s; each is listed", ", ".join(sorted(twice)))
    logger.info("gene list: %d genes, sha256 %s…", len(genes), genes.sha256[:12])
    return GeneList(genes, tuple(accounts))
