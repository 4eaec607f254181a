"""A checkpoint folder as a model that is ready to use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from bulkrnabert import keys
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokenizer_file import read_tokenizers
from bulkrnabert.data.tokens import read_gene_list
from bulkrnabert.errors import CheckpointError, DataError
from bulkrnabert.models.encoder import Encoder, Pooling
from bulkrnabert.models.registry import load_network, model_name
from bulkrnabert.provenance import sha256_file


class ReadsOmics(Protocol):
    """What decides how values become a model's token ids: `PretrainedModel`, or `ModelInputs`."""

    @property
    def name(self) -> str:
        """Kind of model."""

    @property
    def gene_ids(self) -> tuple[str, ...]:
        """Gene of each column of an omic's block."""

    @property
    def tokenizers(self) -> Mapping[str, BinnedTokenizer]:
        """Values to token ids, by omic in the order of the blocks."""


@dataclass(frozen=True)
class ModelInputs:
    """The inputs of a model without its network.

    Attributes:
        name: Kind of model.
        gene_ids: Gene of each column of an omic's block.
        tokenizers: Values to token ids, by omic in the order of the blocks.
    """

    name: str
    gene_ids: tuple[str, ...]
    tokenizers: Mapping[str, BinnedTokenizer]

    @classmethod
    def of(cls, model: ReadsOmics, gene_idx: Sequence[int] | None = None) -> ModelInputs:
        """Of a model, with all of its genes or with some of them, in this order."""
        if gene_idx is None:
            return cls(model.name, model.gene_ids, model.tokenizers)
        genes = tuple(model.gene_ids[gene] for gene in gene_idx)
        return cls(model.name, genes, {omic: one.of_genes(gene_idx) for omic, one in model.tokenizers.items()})


class PretrainedModel(nn.Module):
    """A network with what its inputs mean.

    Attributes:
        name: Kind of model, as `bulkrnabert`.
        network: The network itself.
        tokenizers: Values to token ids, as in training, by omic in the order of the columns.
        gene_ids: The genes; token ids have a column a gene, omic after omic.
        provenance: The record of how the checkpoint came about; empty when there is none.
        weights_sha256: Hash of `model.safetensors`.
    """

    def __init__(
        self,
        network: Encoder,
        tokenizers: Mapping[str, BinnedTokenizer],
        gene_ids: tuple[str, ...],
        provenance: dict[str, Any],
        weights_sha256: str,
    ) -> None:
        super().__init__()
        self.name = model_name(network)
        self.network = network
        self.tokenizers = tokenizers
        self.gene_ids = gene_ids
        self.provenance = provenance
        self.weights_sha256 = weights_sha256

    @property
    def omics(self) -> tuple[str, ...]:
        """The omics that the model reads, in the order of their columns."""
        return tuple(self.tokenizers)

    @property
    def tokenizer(self) -> BinnedTokenizer:
        """The tokenizer of the first omic."""
        return self.tokenizers[self.omics[0]]

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """As the network's own `forward`, whose arguments and typed output differ between kinds of model."""
        return self.network(*inputs, **options)

    def sample_embedding(self, token_ids: Tensor, layer: int | None = None, pooling: Pooling = "mean") -> Tensor:
        """One vector a sample, shape (samples, D), float32; `layer` from 1, the last when left out."""
        return self.network.sample_embedding(token_ids, layer, pooling)


def load(path: str | Path) -> PretrainedModel:
    """Load a checkpoint folder, on the CPU, in evaluation mode. Reads safetensors only, runs no code from the folder.

    Args:
        path: Folder that `pretrain` or `import-weights` wrote.
    Raises:
        CheckpointError: no such folder, a file is missing or broken, or the files do not belong together.
    """
    folder = Path(path)
    if not folder.is_dir():
        what = "is a file, not a checkpoint folder" if folder.is_file() else "no such checkpoint folder"
        raise CheckpointError(
            f"{path}: {what}; expected a folder with {keys.CONFIG_JSON} and {keys.WEIGHTS}, as `pretrain` and "
            "`import-weights` write. Hub ids are not supported yet: download the files and run "
            "`bulkrnabert import-weights`"
        )
    network = load_network(folder)
    tokenizers = _read_tokenizers(folder / keys.TOKENIZER_JSON, network.config.omics, network.config.n_genes)
    try:
        gene_ids = read_gene_list(folder / keys.GENES_TXT)
    except DataError as error:
        raise CheckpointError(str(error)) from error
    if len(gene_ids) != network.config.n_genes:
        raise CheckpointError(
            f"{folder / keys.GENES_TXT}: {len(gene_ids)} genes, but the model in {keys.CONFIG_JSON} has "
            f"{network.config.n_genes}: the files are of different checkpoints"
        )
    provenance = _read_provenance(folder / keys.PROVENANCE_JSON)
    return PretrainedModel(network, tokenizers, gene_ids, provenance, sha256_file(folder / keys.WEIGHTS)).eval()


def _read_tokenizers(path: Path, omics: tuple[str, ...], n_genes: int) -> dict[str, BinnedTokenizer]:
    """The tokenizer of each of the model's omics, in its order."""
    found = read_tokenizers(path)
    if set(found) != set(omics):
        raise CheckpointError(
            f"{path}: tokenizers of {', '.join(found)}, but the model in {keys.CONFIG_JSON} reads {', '.join(omics)}: "
            "the files are of different checkpoints"
        )
    for tokenizer in found.values():
        if tokenizer.gene_means is not None and len(tokenizer.gene_means) != n_genes:
            raise CheckpointError(
                f"{path}: statistics of {len(tokenizer.gene_means)} genes, but the model in {keys.CONFIG_JSON} has "
                f"{n_genes}: the files are of different checkpoints"
            )
    return {omic: found[omic] for omic in omics}


def _read_provenance(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(record, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(record).__name__}")
    return record
