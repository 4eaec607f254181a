"""Published weights as a checkpoint folder of ours."""

from __future__ import annotations

import logging
from pathlib import Path

from bulkrnabert import keys
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokens import read_gene_list
from bulkrnabert.errors import CheckpointError, ConfigError
from bulkrnabert.models.import_reference import ImportedModel, import_bulkrnabert
from bulkrnabert.models.registry import save_network
from bulkrnabert.provenance import atomic_path, describe_run, write_json

logger = logging.getLogger(__name__)

GENE_LISTS_BESIDE = (keys.GENES_TXT, "common_gene_id.txt")
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


def import_checkpoint(params: Path, config: Path, genes: Path | None, out: Path) -> ImportedModel:
    """Read published weights and write them as a checkpoint folder, whole or not at all.

    Args:
        params: `params.joblib`, `params.npz` (haiku) or `model.safetensors` (PyTorch).
        config: The published `config.json`.
        genes: Gene ids in model order, one a line; None: `genes.txt` or `common_gene_id.txt` beside `params`.
        out: Folder to write; an older checkpoint there is replaced.
    Raises:
        CheckpointError: the weights are hostile, broken or do not fit the configuration or the gene list.
        ConfigError: `out` is in the way.
    """
    _refuse_other_folder(out)
    imported = import_bulkrnabert(params, config)
    genes = genes if genes is not None else _gene_list_beside(params)
    gene_ids = read_gene_list(genes)
    if len(gene_ids) != imported.reference.n_genes:
        raise CheckpointError(
            f"{genes}: {len(gene_ids)} genes, but {config} says n_genes {imported.reference.n_genes}: "
            "give the list that the model was trained with, in its order"
        )
    tokenizer = BinnedTokenizer(
        unit="tpm",
        edges_kind="log_linear",
        normalization_factor=imported.reference.tokenizer_factor,
        overflow="reference",
        missing="zero",
    )
    provenance = describe_run(
        "import-weights", {"model": "bulkrnabert"}, {"params": params, "config": config, "genes": genes}
    )
    unknown_training = {"split_id": None, "split_sha256": None, "patient_hashes": None}
    with atomic_path(out) as folder:
        save_network(folder, imported.model)
        tokenizer.save(folder / keys.TOKENIZER_JSON)
        (folder / keys.GENES_TXT).write_text("".join(f"{gene}\n" for gene in gene_ids), encoding="utf-8")
        (folder / keys.MODEL_CARD).write_text(_model_card(imported, params), encoding="utf-8")
        write_json(folder / keys.PROVENANCE_JSON, {**provenance, **unknown_training})
    return imported


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


def _model_card(imported: ImportedModel, params: Path) -> str:
    config = imported.model.config
    clamps = config.out_of_range == "clamp"
    return MODEL_CARD_TEXT.format(
        params=params.name,
        n_genes=config.n_genes,
        factor=imported.reference.tokenizer_factor,
        n_rows=config.n_embedding_rows,
        clamped="; ids beyond it are clamped to the last row, as JAX does" if clamps else "",
        n_parameters=sum(parameter.numel() for parameter in imported.model.parameters()),
        n_layers=config.n_layers,
        embed_dim=config.embed_dim,
    )
