"""Published weights as a checkpoint folder of ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bulkrnabert import keys
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokenizer_file import write_tokenizers
from bulkrnabert.data.tokens import read_gene_list
from bulkrnabert.downstream.published_form import refuse_other_folder
from bulkrnabert.errors import CheckpointError
from bulkrnabert.models.encoder import Encoder
from bulkrnabert.models.import_mojo import import_mojo
from bulkrnabert.models.import_reference import import_bulkrnabert
from bulkrnabert.models.registry import save_network
from bulkrnabert.provenance import atomic_path, describe_run, package_version, sha256_lines, write_json
from bulkrnabert.train import card as parts
from bulkrnabert.train.card import Card

logger = logging.getLogger(__name__)

GENE_LISTS_BESIDE = (keys.GENES_TXT, "common_gene_id.txt", "mojo_gene_names.txt")


@dataclass(frozen=True)
class Published:
    """A published model in our form.

    Attributes:
        network: With its weights, in evaluation mode.
        tokenizers: By omic, as published.
        input_text: What the model card says of the input, beside genes and units.
        limits: What it says of limits.
    """

    network: Encoder
    tokenizers: dict[str, BinnedTokenizer]
    input_text: str
    limits: str


def import_checkpoint(
    params: Path, config: Path, genes: Path | None, out: Path, model: str = keys.BULKRNABERT
) -> Encoder:
    """Read published weights and write them as a checkpoint folder, whole or not at all.

    Args:
        params: `params.joblib`, `params.npz` (haiku) or `model.safetensors`.
        config: The published `config.json`.
        genes: Gene names in model order, one a line; None: a published list beside `params`.
        out: Folder to write; an older checkpoint there is replaced.
        model: Which model the weights are of, one of `READERS`.
    Raises:
        CheckpointError: the weights are hostile, broken or do not fit the configuration or the gene list.
        ConfigError: `out` is in the way.
    """
    refuse_other_folder(out)
    published = READERS[model](params, config)
    n_genes = published.network.config.n_genes
    genes = genes if genes is not None else _gene_list_beside(params)
    gene_ids = read_gene_list(genes)
    if len(gene_ids) != n_genes:
        raise CheckpointError(
            f"{genes}: {len(gene_ids)} genes, but {config} is of a model of {n_genes}: "
            "give the list that the model was trained with, in its order"
        )
    provenance = describe_run("import-weights", {"model": model}, {"params": params, "config": config, "genes": genes})
    unknown_training = {"split_id": None, "split_sha256": None, "patient_hashes": None}
    card = _card(model, published, params.name, gene_ids)
    with atomic_path(out) as folder:
        save_network(folder, published.network)
        write_tokenizers(folder / keys.TOKENIZER_JSON, published.tokenizers)
        (folder / keys.GENES_TXT).write_text("".join(f"{gene}\n" for gene in gene_ids), encoding="utf-8")
        (folder / keys.MODEL_CARD).write_text(card.text(), encoding="utf-8")
        write_json(folder / keys.PROVENANCE_JSON, {**provenance, **unknown_training})
    return published.network


def _gene_list_beside(params: Path) -> Path:
    for name in GENE_LISTS_BESIDE:
        path = params.parent / name
        if path.is_file():
            logger.info("gene list: %s, found beside the weights", path)
            return path
    raise CheckpointError(
        f"no gene list beside {params} ({' or '.join(GENE_LISTS_BESIDE)}): give the published list with --genes; "
        "without it, no table can be put into the model's order"
    )


def _bulkrnabert(params: Path, config: Path) -> Published:
    imported = import_bulkrnabert(params, config)
    sizes, factor = imported.model.config, imported.reference.tokenizer_factor
    tokenizer = BinnedTokenizer(
        unit="tpm", edges_kind="log_linear", normalization_factor=factor, overflow="reference", missing="zero"
    )
    clamped = "; ids beyond it are clamped to the last row, as JAX does" if sizes.out_of_range == "clamp" else ""
    return Published(
        imported.model,
        {keys.RNASEQ: tokenizer},
        input_text=f"log10(1 + TPM), divided by {factor} and put into {sizes.n_bins} bins.",
        limits="- As published: a value at or above that maximum gets token id 64, which is also `<pad>`; a missing "
        f"gene counts as 0.\n- The expression table has {sizes.n_embedding_rows} rows{clamped}.",
    )


def _mojo(params: Path, config: Path) -> Published:
    imported = import_mojo(params, config)
    sizes, reference = imported.model.config, imported.reference
    tokenizers, lines = {}, []
    for omic in sizes.omics:
        n_bins = reference.n_expressions_bins[omic]
        if reference.use_log_normalization[omic]:
            factor = reference.tokenizer_factor(omic)
            tokenizers[omic] = BinnedTokenizer(
                n_bins=n_bins, unit="tpm", edges_kind="log_linear", normalization_factor=factor, overflow="reference"
            )
            lines.append(f"- {omic}: log10(1 + TPM) divided by {factor}")
        else:
            tokenizers[omic] = BinnedTokenizer(n_bins=n_bins, unit="beta", edges_kind="linear", overflow="reference")
            lines.append(f"- {omic}: beta values as they are")
    return Published(
        imported.model,
        tokenizers,
        input_text=f"{' and '.join(sizes.omics)}, padded to {sizes.n_padded} genes ({sizes.n_positions} positions), in "
        "64-bin token ids:\n" + "\n".join(lines),
        limits="- As published: a value at the top of the scale gets token id 64, which is also `<pad>`; an omic that "
        "a sample does not\n  have is `<mask>` (65) throughout. What the authors did with a single missing gene is not "
        "known: here it is `<mask>`.",
    )


def _card(model: str, published: Published, params: str, gene_ids: Sequence[str]) -> Card:
    sizes = published.network.config
    units = {omic: tokenizer.unit for omic, tokenizer in published.tokenizers.items()}
    sections = {
        parts.INTENDED_USE: parts.ENCODER_USE,
        parts.DATA: "Not stated in the published files; see their source. Patients of TCGA may be among the training "
        "data, so that test numbers\non TCGA may be too good.",
        parts.PREPROCESSING: f"{published.input_text}\n\n{len(gene_ids)} genes in the order of `genes.txt`, sha256 "
        f"`{sha256_lines(gene_ids)}`.",
        parts.MODEL: f"{_count(published.network):,} parameters, {sizes.n_layers} layers, width {sizes.embed_dim}.",
        parts.TRAINING: "By the authors of the weights; see their source.",
        parts.RESULTS: parts.NO_RESULTS,
        parts.LIMITS: published.limits,
        parts.COST: "Not stated in the published files.",
        parts.HOW_TO_USE: parts.encoder_usage(units),
        parts.HOW_TO_CITE: parts.cite_text(model),
        parts.LICENCE: "That of the published weights; see their source. It is not stated in the published files.",
    }
    intro = f"Imported from `{params}` with `bulkrnabert import-weights` {package_version()}."
    front = parts.front_matter(model, "feature-extraction")
    return Card(f"{keys.MODEL_TITLES[model]}, published weights", front, intro, sections)


def _count(network: Encoder) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


READERS: dict[str, Callable[[Path, Path], Published]] = {keys.BULKRNABERT: _bulkrnabert, keys.MOJO: _mojo}
