"""Published weights as a checkpoint folder of ours."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bulkrnabert import keys
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokenizer_file import write_tokenizers
from bulkrnabert.data.tokens import read_gene_list
from bulkrnabert.errors import CheckpointError, ConfigError
from bulkrnabert.models.encoder import Encoder
from bulkrnabert.models.import_mojo import import_mojo
from bulkrnabert.models.import_reference import import_bulkrnabert
from bulkrnabert.models.registry import save_network
from bulkrnabert.provenance import atomic_path, describe_run, write_json

logger = logging.getLogger(__name__)

GENE_LISTS_BESIDE = (keys.GENES_TXT, "common_gene_id.txt", "mojo_gene_names.txt")
CHECKPOINT_FILES = frozenset(
    {keys.CONFIG_JSON, keys.WEIGHTS, keys.TOKENIZER_JSON, keys.GENES_TXT, keys.PROVENANCE_JSON, keys.MODEL_CARD}
)

MODEL_CARD_TEXT = """# BulkRNABert, published weights

Imported from `{params}` with `bulkrnabert import-weights`.

- Input: log10(1 + TPM) of {n_genes} genes in the order of `genes.txt`, divided by {factor} and put into 64 bins.
- As published: a value at or above that maximum gets token id 64, which is also `<pad>`; a missing gene counts as 0.
- The expression table has {n_rows} rows{clamped}.
- {n_parameters:,} parameters, {n_layers} layers, width {embed_dim}.
- Training data, split and licence: those of the published weights; see their source. Patients of TCGA may be among the
  training data, so that test numbers on TCGA may be too good.

Source: Gélard et al., BulkRNABert: Cancer prognosis from bulk RNA-seq based language models, PMLR 259:384-400 (2025).
"""


MOJO_CARD_TEXT = """# MOJO, published weights

Imported from `{params}` with `bulkrnabert import-weights`.

- Input: {omics}, {n_genes} genes in the order of `genes.txt`, padded to {n_padded}, in 64-bin token ids:
{tokenizers}
- As published: a value at the top of the scale gets token id 64, which is also `<pad>`; an omic that a sample does not
  have is `<mask>` (65) throughout. What the authors did with a single missing gene is not known: here it is `<mask>`.
- {n_parameters:,} parameters, {n_layers} layers, width {embed_dim}, {n_positions} positions.
- Training data, split and licence: those of the published weights; see their source. Patients of TCGA are among the
  training data as published, so that test numbers on TCGA may be too good.

Source: Gélard et al., bioRxiv 2025.06.25.661237.
"""


@dataclass(frozen=True)
class Published:
    """A published model in our form.

    Attributes:
        network: With its weights, in evaluation mode.
        tokenizers: By omic, as published.
        card: Text of the model card.
    """

    network: Encoder
    tokenizers: dict[str, BinnedTokenizer]
    card: str


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
    _refuse_other_folder(out)
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
    with atomic_path(out) as folder:
        save_network(folder, published.network)
        write_tokenizers(folder / keys.TOKENIZER_JSON, published.tokenizers)
        (folder / keys.GENES_TXT).write_text("".join(f"{gene}\n" for gene in gene_ids), encoding="utf-8")
        (folder / keys.MODEL_CARD).write_text(published.card, encoding="utf-8")
        write_json(folder / keys.PROVENANCE_JSON, {**provenance, **unknown_training})
    return published.network


def _refuse_other_folder(out: Path) -> None:
    if out.is_file():
        raise ConfigError(f"{out}: is a file; give a folder to write the checkpoint to")
    if out.is_dir():
        others = sorted(path.name for path in out.iterdir() if path.name not in CHECKPOINT_FILES)
        if others:
            raise ConfigError(f"{out}: holds {others[0]}, which is not of a checkpoint; give a new folder")


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
    card = MODEL_CARD_TEXT.format(
        params=params.name,
        n_genes=sizes.n_genes,
        factor=factor,
        n_rows=sizes.n_embedding_rows,
        clamped="; ids beyond it are clamped to the last row, as JAX does" if sizes.out_of_range == "clamp" else "",
        n_parameters=_count(imported.model),
        n_layers=sizes.n_layers,
        embed_dim=sizes.embed_dim,
    )
    return Published(imported.model, {keys.RNASEQ: tokenizer}, card)


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
            lines.append(f"  {omic}: log10(1 + TPM) divided by {factor}")
        else:
            tokenizers[omic] = BinnedTokenizer(n_bins=n_bins, unit="beta", edges_kind="linear", overflow="reference")
            lines.append(f"  {omic}: beta values as they are")
    card = MOJO_CARD_TEXT.format(
        params=params.name,
        omics=" and ".join(sizes.omics),
        n_genes=sizes.n_genes,
        n_padded=sizes.n_padded,
        tokenizers="\n".join(lines),
        n_parameters=_count(imported.model),
        n_layers=sizes.n_layers,
        embed_dim=sizes.embed_dim,
        n_positions=sizes.n_positions,
    )
    return Published(imported.model, tokenizers, card)


def _count(network: Encoder) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


READERS: dict[str, Callable[[Path, Path], Published]] = {keys.BULKRNABERT: _bulkrnabert, keys.MOJO: _mojo}
