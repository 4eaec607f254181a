"""Biomarkers from checkpoints and tokens to tables."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from bulkrnabert import keys
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.splits import read_clinical, write_tsv
from bulkrnabert.data.tokens import Tokens, read_tokens
from bulkrnabert.downstream.biomarkers import (
    ClassAttention,
    DifferentialExpression,
    attention_by_class,
    attention_to_genes,
    differential_expression,
    sample_rows,
    spearman,
    top_overlap,
)
from bulkrnabert.downstream.enrichment import GeneSets, describe_sets, enrich, match_sets, read_gmt
from bulkrnabert.downstream.fold_encoders import FoldEncoder, named_panel
from bulkrnabert.downstream.pretrained import PretrainedModel, load
from bulkrnabert.downstream.standardised_values import check_own_tokens, gexbert_network, standardised_values
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.models.gexbert import GexBERT
from bulkrnabert.provenance import describe_run, write_json

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
STAGE = "biomarkers"
BIOMARKERS_TSV = "biomarkers.tsv"
BIOMARKERS_JSON = "biomarkers.json"
BIOMARKERS_VERSION = 1
DIFFERENTIAL, GRADIENTS = "differential expression", "integrated gradients"
HEATMAP_GENES_A_CLASS = 3
MAX_ENRICHED = 10
MIN_SAMPLES_A_CLASS = 5


@dataclass(frozen=True)
class BiomarkerRequest:
    """What the command line says.

    Attributes:
        checkpoints: Checkpoints of GexBERT: of several seeds or folds, to see what is stable.
        tokens: Their tokens folders, matched by split; checkpoints of one split share one.
        clinical: Clinical table with the classes; None: the cohort is the class.
        label_column: Class; `cohort` needs no clinical table.
        attributions: `attributions.tsv` of `attribute`, with integrated gradients by class; or None.
        genes: A `genes.tsv` with symbols; or None.
        gmt: Gene sets; or None.
        target_genes: Genes to restore, one a line; None: all, at most `n_targets`.
        n_targets: Targets at most, drawn at random.
        n_inputs: Genes read together at most; None: as in pretraining.
        n_samples: Samples of a class at most.
        n_top: Genes of a class that count as first.
        seed: Of what is drawn.
        device: Where to run.
        out: Folder to write.
    """

    checkpoints: tuple[Path, ...]
    tokens: tuple[Path, ...]
    clinical: Path | None
    label_column: str
    attributions: Path | None
    genes: Path | None
    gmt: Path | None
    target_genes: Path | None
    n_targets: int
    n_inputs: int | None
    n_samples: int
    n_top: int
    seed: int
    device: torch.device
    out: Path


@dataclass(frozen=True)
class _Member:
    model: PretrainedModel
    network: GexBERT
    values: npt.NDArray[np.float32]
    labels: npt.NDArray[np.str_]


def run_biomarkers(request: BiomarkerRequest) -> None:
    """Attention by class, its stability, and what else names genes of a class, to tables.

    Raises:
        ConfigError: a model other than GexBERT, tokens without values, options that do not fit.
        DataError: fewer than two classes with enough samples, no gene in common, files that do not belong together.
    """
    sets = None if request.gmt is None else read_gmt(request.gmt)
    members = _members(request)
    genes = _named_genes(members, request.genes)
    matched = None if sets is None else match_sets(sets, genes, str(request.gmt))
    gradients = _gradients(request, genes)
    classes = _classes(members)
    attention = [_attention(request, member, genes, classes, number) for number, member in enumerate(members)]
    found = attention_by_class([item.values for item in attention], [item.labels for item in attention], request.n_top)
    first = members[0]
    columns = _columns(first.model, genes)
    inside = np.isin(first.labels, classes)
    expression = {
        name: differential_expression(first.values[inside][:, columns], first.labels[inside] == name)
        for name in found.classes
    }
    table = _table(found, expression, gradients, genes)
    request.out.mkdir(parents=True, exist_ok=True)
    write_tsv(table, request.out / BIOMARKERS_TSV)
    enriched = _enrichment(found, matched, genes, request.n_top)
    if enriched is not None:
        write_tsv(enriched, request.out / keys.ENRICHMENT_TSV)
    agreement = _agreement(found, expression, gradients, request.n_top)
    record = {
        "kind": "biomarkers",
        "version": BIOMARKERS_VERSION,
        "classes": list(found.classes),
        "n_members": len(members),
        "n_top": request.n_top,
        "n_genes": len(genes),
        "stability": _stability(found),
        "agreement": agreement,
        "heatmap": _heatmap(found, genes),
        "enrichment": _first_sets(enriched),
        "gene_sets": None if matched is None else describe_sets(matched),
        "provenance": _provenance(request),
    }
    write_json(request.out / BIOMARKERS_JSON, record)
    for item in agreement:
        shown = item["class"], item["with"], 100 * item["top_overlap"], request.n_top
        logger.info("%s: attention and %s share %.0f%% of their first %d genes", *shown)


def _members(request: BiomarkerRequest) -> list[_Member]:
    if (request.label_column != keys.COHORT) and request.clinical is None:
        raise ConfigError(f"--label-column {request.label_column}: give --clinical, the table that has it")
    clinical = None if request.clinical is None else read_clinical(request.clinical)
    by_split = {
        found.split_id: (folder, found) for folder, found in ((item, read_tokens(item)) for item in request.tokens)
    }
    members = []
    for path in request.checkpoints:
        model = load(path)
        split_id = str(model.provenance.get("split_id") or keys.ALL_SPLIT)
        if split_id not in by_split:
            raise DataError(
                f"{path}: no tokens of its split {split_id} (given: {', '.join(sorted(by_split))}); give the tokens "
                "folder that it was pretrained on"
            )
        folder, tokens = by_split[split_id]
        network, values = gexbert_network(model, path), standardised_values(tokens, folder)
        check_own_tokens(model, path, tokens, folder)
        members.append(_Member(model, network.to(request.device), values, _labels(tokens, clinical, request)))
    return members


def _labels(tokens: Tokens, clinical: pd.DataFrame | None, request: BiomarkerRequest) -> npt.NDArray[np.str_]:
    """Class of each sample; empty where it is not known."""
    if clinical is None or request.label_column == keys.COHORT:
        return tokens.samples[keys.COHORT].to_numpy(dtype=str)
    if request.label_column not in clinical.columns:
        known = ", ".join(clinical.columns[:10])
        raise ConfigError(f"--label-column {request.label_column!r}: {request.clinical} has {known}, …")
    of_patient = clinical.set_index(keys.PATIENT_ID)[request.label_column].fillna("").astype(str)
    return of_patient.reindex(tokens.samples[keys.PATIENT_ID]).fillna("").to_numpy(dtype=str)


def _classes(members: list[_Member]) -> list[str]:
    """Classes with enough samples in every member."""
    counts = [pd.Series(member.labels[member.labels != ""]).value_counts() for member in members]
    names = set.intersection(*(set(item.index[item >= MIN_SAMPLES_A_CLASS]) for item in counts))
    if len(names) < 2:
        raise DataError(
            f"{len(names)} classes with at least {MIN_SAMPLES_A_CLASS} samples; biomarkers of a class need another one "
            "to stand out from"
        )
    return sorted(names)


def _named_genes(members: list[_Member], path: Path | None) -> GeneVocabulary:
    common = set.intersection(*(set(member.model.gene_ids) for member in members))
    gene_ids = [name for name in members[0].model.gene_ids if name in common]
    if not gene_ids:
        raise DataError("the checkpoints have no gene in common, so nothing can be averaged over them")
    bare = GeneVocabulary.from_ids(gene_ids)
    if path is None or bare.kind == "symbol":
        return bare
    named = GeneVocabulary.from_tsv(path)
    symbols = dict(zip(named.gene_ids, named.symbols, strict=True))
    return GeneVocabulary(bare.gene_ids, tuple(symbols.get(name, "") for name in gene_ids), bare.gene_types)


def _columns(model: PretrainedModel, genes: GeneVocabulary) -> IntArray:
    return pd.Index(model.gene_ids).get_indexer(pd.Index(genes.gene_ids)).astype(np.int64)


@dataclass(frozen=True)
class _Attention:
    values: FloatArray
    labels: npt.NDArray[np.str_]


def _attention(
    request: BiomarkerRequest, member: _Member, genes: GeneVocabulary, classes: list[str], number: int
) -> _Attention:
    # Samples and targets are the same for every member, so that only the member differs.
    rng = np.random.default_rng(request.seed)
    usable = np.flatnonzero(np.isin(member.labels, classes))
    rows = usable[sample_rows(member.labels[usable], request.n_samples, rng)]
    if request.target_genes is not None:
        choose = named_panel(request.target_genes)
        encoder = FoldEncoder(request.checkpoints[number], member.model, np.empty((0, 0), dtype=np.uint8))
        targets = np.array(choose(encoder, rows), dtype=np.int64)
    else:
        columns = _columns(member.model, genes)
        targets = np.sort(columns[rng.permutation(len(columns))[: request.n_targets]])
    n_inputs = request.n_inputs or member.network.config.max_known or member.network.config.n_genes
    logger.info(
        "member %d of %d: attention of %d restored genes in %d samples, %d genes read at a time at most",
        number + 1,
        len(request.checkpoints),
        len(targets),
        len(rows),
        n_inputs,
    )
    found = attention_to_genes(member.network, member.values[rows], targets, n_inputs, rng)
    return _Attention(found[:, _columns(member.model, genes)], member.labels[rows])


def _gradients(request: BiomarkerRequest, genes: GeneVocabulary) -> dict[str, FloatArray]:
    """Mean attribution of each gene by class, from `attributions.tsv`; genes that it lacks get 0."""
    if request.attributions is None:
        return {}
    try:
        table = pd.read_csv(request.attributions, sep="\t", dtype={keys.CLASS: str, keys.GENE_ID: str})
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{request.attributions}: cannot be read as a tab-separated table: {error}") from error
    missing = [name for name in (keys.CLASS, keys.GENE_ID, "mean") if name not in table.columns]
    if missing:
        raise DataError(
            f"{request.attributions}: no column {', '.join(missing)}; expected the attributions.tsv of `attribute`"
        )
    found = {}
    for name, of_class in table.groupby(keys.CLASS):
        means = of_class.drop_duplicates(keys.GENE_ID).set_index(keys.GENE_ID)["mean"]
        found[str(name)] = means.reindex(list(genes.gene_ids)).fillna(0.0).to_numpy(np.float64)
    return found


def _table(
    found: ClassAttention,
    expression: dict[str, DifferentialExpression],
    gradients: dict[str, FloatArray],
    genes: GeneVocabulary,
) -> pd.DataFrame:
    frames = []
    for number, name in enumerate(found.classes):
        order = np.argsort(found.rank[number], kind="stable")
        of_class = expression[name]
        columns: dict[str, Any] = {
            keys.CLASS: name,
            keys.GENE_ID: np.asarray(genes.gene_ids, dtype=object)[order],
            keys.SYMBOL: np.asarray(genes.symbols, dtype=object)[order],
            "rank": found.rank[number][order],
            "attention": found.attention[number][order],
            "excess": found.excess[number][order],
            "stability": np.nan if found.stability is None else found.stability[number][order],
            "difference": of_class.difference[order],
            "t": of_class.t[order],
            "q": of_class.q[order],
            "integrated_gradient": gradients[name][order] if name in gradients else np.nan,
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def _stability(found: ClassAttention) -> list[dict[str, Any]]:
    if found.rank_correlation is None or found.top_overlap is None:
        return []
    return [
        {"class": name, "rank_correlation": _known(correlation), "top_overlap": float(overlap)}
        for name, correlation, overlap in zip(found.classes, found.rank_correlation, found.top_overlap, strict=True)
    ]


def _agreement(
    found: ClassAttention,
    expression: dict[str, DifferentialExpression],
    gradients: dict[str, FloatArray],
    n_top: int,
) -> list[dict[str, Any]]:
    """Attention against the size of each other score, whichever its sign."""
    rows = []
    for number, name in enumerate(found.classes):
        others = {DIFFERENTIAL: np.abs(expression[name].t)}
        if name in gradients:
            others[GRADIENTS] = np.abs(gradients[name])
        for method, scores in others.items():
            rows.append(
                {
                    "class": name,
                    "with": method,
                    "rank_correlation": _known(spearman(found.excess[number], scores)),
                    "top_overlap": top_overlap(found.excess[number], scores, n_top),
                    "expected_overlap": min(n_top, len(scores)) / len(scores),
                }
            )
    return rows


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _heatmap(found: ClassAttention, genes: GeneVocabulary) -> dict[str, Any]:
    """Excess of the first genes of every class."""
    chosen: list[int] = []
    for ranks in found.rank:
        chosen += [int(gene) for gene in np.argsort(ranks)[:HEATMAP_GENES_A_CLASS] if gene not in chosen]
    names = [genes.symbols[gene] or genes.gene_ids[gene] for gene in chosen]
    return {"genes": names, "classes": list(found.classes), "values": found.excess[:, chosen].tolist()}


def _enrichment(found: ClassAttention, sets: GeneSets | None, genes: GeneVocabulary, n_top: int) -> pd.DataFrame | None:
    if sets is None:
        return None
    frames = [
        enrich(found.excess[number], n_top, sets, genes).assign(**{keys.CLASS: name})
        for number, name in enumerate(found.classes)
    ]
    table = pd.concat(frames, ignore_index=True)
    return table[[keys.CLASS, *(name for name in table.columns if name != keys.CLASS)]]


def _first_sets(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    if table is None:
        return []
    columns = [keys.CLASS, "set", "n_in_model", "n_in_top", "n_expected", "q_overlap", "auc", "q_rank", "genes"]
    shown = table.groupby(keys.CLASS, sort=False).head(MAX_ENRICHED)[columns]
    return [{str(name): _plain(value) for name, value in row.items()} for row in shown.to_dict("records")]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _provenance(request: BiomarkerRequest) -> dict[str, Any]:
    parameters = {
        "label_column": request.label_column,
        "n_targets": request.n_targets,
        "n_inputs": request.n_inputs,
        "n_samples": request.n_samples,
        "n_top": request.n_top,
        "seed": request.seed,
    }
    inputs = {f"weights {number}": path / keys.WEIGHTS for number, path in enumerate(request.checkpoints)}
    inputs |= {f"tokens {number}": path / keys.TOKENS_PARQUET for number, path in enumerate(request.tokens)}
    named = {
        "clinical": request.clinical,
        "attributions": request.attributions,
        "genes": request.genes,
        "gmt": request.gmt,
        "target_genes": request.target_genes,
    }
    return describe_run(STAGE, parameters, inputs | {name: path for name, path in named.items() if path is not None})
