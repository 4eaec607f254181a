"""A checkpoint folder as a model that is ready to use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bulkrnabert import keys
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokens import read_gene_list
from bulkrnabert.errors import CheckpointError, DataError
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertOutput, Pooling
from bulkrnabert.models.registry import BULKRNABERT, load_network
from bulkrnabert.provenance import sha256_file


class PretrainedModel(nn.Module):
    """A network with what its inputs mean.

    Attributes:
        name: Kind of model, as `bulkrnabert`.
        network: The network itself.
        tokenizer: Values to token ids, as in training.
        gene_ids: Gene of each column of the token ids.
        provenance: The record of how the checkpoint came about; empty when there is none.
        weights_sha256: Hash of `model.safetensors`.
    """

    def __init__(
        self,
        network: BulkRNABert,
        tokenizer: BinnedTokenizer,
        gene_ids: tuple[str, ...],
        provenance: dict[str, Any],
        weights_sha256: str,
    ) -> None:
        super().__init__()
        self.name = BULKRNABERT
        self.network = network
        self.tokenizer = tokenizer
        self.gene_ids = gene_ids
        self.provenance = provenance
        self.weights_sha256 = weights_sha256

    def forward(
        self,
        token_ids: Tensor,
        *,
        gene_idx: Tensor | None = None,
        hidden_layers: Sequence[int] = (),
        attention_layers: Sequence[int] = (),
        key_mask: Tensor | None = None,
    ) -> BulkRNABertOutput:
        """As `BulkRNABert.forward`: logits, and the hidden layers and attention weights asked for."""
        output: BulkRNABertOutput = self.network(
            token_ids,
            gene_idx=gene_idx,
            hidden_layers=hidden_layers,
            attention_layers=attention_layers,
            key_mask=key_mask,
        )
        return output

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
    tokenizer = BinnedTokenizer.load(folder / keys.TOKENIZER_JSON)
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
    return PretrainedModel(network, tokenizer, gene_ids, provenance, sha256_file(folder / keys.WEIGHTS)).eval()


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
