"""A checkpoint folder as a model that is ready to use."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from torch import Tensor, nn

from bulkrnabert import keys
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokenizer_file import read_tokenizers, write_tokenizers
from bulkrnabert.data.tokens import read_gene_list
from bulkrnabert.downstream.hub import PublishedModel, locate, publish
from bulkrnabert.downstream.published_form import FINETUNED, StatedAccess, hub_config, read_card, refuse_other_folder
from bulkrnabert.errors import CheckpointError, DataError
from bulkrnabert.models.encoder import Encoder, Pooling
from bulkrnabert.models.registry import load_network, model_name, save_network
from bulkrnabert.provenance import atomic_path, sha256_file, write_json


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
        weights_sha256: Hash of `model.safetensors`, as loaded.
        card: Text of the model card; empty when there is none.
        folder: The folder that it was loaded from; None for one that was made in memory.
        source: Where it was loaded from, as given: a folder, or `owner/name@<commit>` on the hub.
    """

    def __init__(
        self,
        network: Encoder,
        tokenizers: Mapping[str, BinnedTokenizer],
        gene_ids: tuple[str, ...],
        provenance: dict[str, Any],
        weights_sha256: str,
        card: str = "",
        folder: Path | None = None,
        source: str = "",
    ) -> None:
        super().__init__()
        self.name = model_name(network)
        self.network = network
        self.tokenizers = tokenizers
        self.gene_ids = gene_ids
        self.provenance = provenance
        self.weights_sha256 = weights_sha256
        self.card = card
        self.folder = folder
        self.source = source

    @classmethod
    def from_pretrained(cls, path_or_id: str | Path, *, revision: str | None = None) -> Self:
        """As `load`."""
        model = load(path_or_id, revision=revision)
        assert isinstance(model, cls)
        return model

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model as a checkpoint folder, whole or not at all; `load` reads it, and so do all commands.

        Weights are those that it has now; where they changed since it was loaded, `provenance.json` says so.

        Args:
            folder: Made if absent; an older checkpoint there is replaced.
        Raises:
            ConfigError: the folder holds something else.
        """
        out = Path(folder)
        refuse_other_folder(out)
        with atomic_path(out) as partial:
            save_network(partial, self.network)
            described = json.loads((partial / keys.CONFIG_JSON).read_text(encoding="utf-8"))
            write_json(partial / keys.CONFIG_JSON, hub_config(described))
            write_tokenizers(partial / keys.TOKENIZER_JSON, self.tokenizers)
            (partial / keys.GENES_TXT).write_text("".join(f"{gene}\n" for gene in self.gene_ids), encoding="utf-8")
            record = self.provenance
            if sha256_file(partial / keys.WEIGHTS) != self.weights_sha256:
                record = {**record, "changed_from_weights_sha256": self.weights_sha256}
            write_json(partial / keys.PROVENANCE_JSON, record)
            (partial / keys.MODEL_CARD).write_text(self.card or read_card(partial).text(), encoding="utf-8")

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        licence: str | None = None,
        data_access: StatedAccess | None = None,
        branch: str | None = None,
    ) -> PublishedModel:
        """Publish the model on the hub: safetensors and text files, with its model card; never training state.

        Args:
            repo_id: `owner/name`; made if absent.
            private: Whether only its owner sees it.
            licence: The hub's name of the licence of the weights, as `cc-by-4.0`; None: as the model card says.
            data_access: `open` or `local`, where the records do not state the class of the training data.
            branch: Where to; None: the main branch.
        Raises:
            CheckpointError: made from data of access class `controlled`.
            ConfigError: the access class is not stated, or the hub refuses.
            PortalError: the hub does not answer.
        """
        with tempfile.TemporaryDirectory() as aside:
            folder = Path(aside) / "model"
            self.save_pretrained(folder)
            return publish(folder, repo_id, private=private, licence=licence, data_access=data_access, branch=branch)

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


def load(path: str | Path, *, revision: str | None = None) -> PretrainedModel:
    """Load a checkpoint, on the CPU, in evaluation mode. Reads safetensors only, runs no code from the folder.

    Args:
        path: Folder that `pretrain`, `import-weights` or `save_pretrained` wrote; or `owner/name` on the hub, where no
            folder has that name.
        revision: Commit, tag or branch on the hub; a commit gives the same files always.
    Raises:
        CheckpointError: no such folder or model, a file is missing or broken, or the files do not belong together.
        ConfigError: a hub id, and huggingface_hub is not installed.
        PortalError: the hub does not answer, and the model is not in its cache.
    """
    located = locate(path, revision)
    folder = located.folder
    if is_finetuned(folder):
        raise CheckpointError(
            f"{path}: a fine-tuned model, not an encoder: load it with `load_finetuned`, or use it with `bulkrnabert "
            "predict`"
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
    card = folder / keys.MODEL_CARD
    return PretrainedModel(
        network,
        tokenizers,
        gene_ids,
        provenance,
        sha256_file(folder / keys.WEIGHTS),
        card=card.read_text(encoding="utf-8") if card.is_file() else "",
        folder=folder,
        source=located.source,
    ).eval()


def is_finetuned(folder: Path) -> bool:
    """Whether a folder says that it is of a fine-tuned model."""
    try:
        described = json.loads((folder / keys.CONFIG_JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(described, dict) and described.get("kind") == FINETUNED


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
