"""An encoder with its adapter, a pooling, and one head a task.

Shape letters: B batch, G genes, D model, E embedding, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bulkrnabert.config import FrozenConfig
from bulkrnabert.errors import ConfigError
from bulkrnabert.keys import MASK_ID
from bulkrnabert.models.adapters import AdapterConfig, add_adapter
from bulkrnabert.models.encoder import Encoder
from bulkrnabert.models.gexbert import GexBERT
from bulkrnabert.models.heads import HeadConfig, MLPHead
from bulkrnabert.models.pooling import AttentionPooling
from bulkrnabert.models.registry import refuse_misfits

FinetunePooling = Literal["mean", "max", "marker", "eigengene", "attention", "values"]


class FinetunedConfig(FrozenConfig):
    """What stands on an encoder.

    Attributes:
        adapter: What of the encoder is trained.
        pooling: Over genes: `mean` (published), `max`, `marker`, `eigengene` (docs/decisions/0009, 0026), or
            `attention`, learned; or `values`, for GexBERT: the value of every gene that is read, restored where it is
            missing, and nothing of the encoder's layers (docs/decisions/0027-panel-heads.md).
        layer: Layer whose output is pooled, from 1; None: the last.
        gene_idx: The genes that are read, where it is a panel, as numbers of the encoder's list; None: all of them.
        heads: Sizes of each task's head, by the task's name.
    """

    adapter: AdapterConfig
    pooling: FinetunePooling
    layer: int | None = Field(default=None, ge=1)
    gene_idx: tuple[int, ...] | None = Field(default=None, min_length=1)
    heads: dict[str, HeadConfig] = Field(min_length=1)


class FinetunedNetwork(nn.Module):
    """Token ids to one output a task.

    The pooled embedding is centred and scaled by what the training samples gave before fine-tuning, so that heads see
    features of one size.

    Args:
        encoder: Its weights are kept; the adapter is put in place. Modified.
        config: What stands on it; the heads' `n_inputs` must be `embedding_width(encoder, pooling, gene_idx)`.
    """

    def __init__(self, encoder: Encoder, config: FinetunedConfig) -> None:
        super().__init__()
        width = embedding_width(encoder, config.pooling, config.gene_idx)
        for name, head in config.heads.items():
            if head.n_inputs != width:
                raise ConfigError(f"head {name}: n_inputs {head.n_inputs}, but the pooled embedding has {width} values")
        check_panel(encoder, config.gene_idx)
        if config.pooling == "values" and not isinstance(encoder, GexBERT):
            raise ConfigError(f"pooling: values is for gexbert, which restores genes, not {type(encoder).__name__}")
        self.config = config
        self.encoder = encoder
        panel = None if config.gene_idx is None else torch.tensor(config.gene_idx)
        self.register_buffer("panel", panel, persistent=False)
        add_adapter(encoder, config.adapter)
        self.attention_pooling = AttentionPooling(encoder.config.embed_dim) if config.pooling == "attention" else None
        self.heads = nn.ModuleDict({name: MLPHead(head) for name, head in config.heads.items()})
        self.register_buffer("embedding_mean", torch.zeros(width))
        self.register_buffer("embedding_scale", torch.ones(width))

    def pooled(self, token_ids: Tensor, gene_idx: Tensor | None = None) -> Tensor:
        """Pooled embedding as it comes, shape (B, E), float32.

        Args:
            token_ids: Shape (B, C): a column a gene of the panel where there is one, else of the encoder.
            gene_idx: Which of these genes the columns are, where a subset is fed; None: all.
        """
        places, gene_idx = gene_idx, self.encoder_genes(gene_idx)
        if self.attention_pooling is not None:
            hidden_BGD = self.encoder.encode(token_ids, gene_idx, layer=self.config.layer).float()
            return self.attention_pooling(hidden_BGD)  # type: ignore[no-any-return]
        assert self.config.pooling != "attention"
        if self.config.pooling != "values":
            return self.encoder.sample_embedding(token_ids, self.config.layer, self.config.pooling, gene_idx)
        assert isinstance(self.encoder, GexBERT)
        if places is not None:  # genes that are not fed are missing
            fed, gene_idx = token_ids, self.encoder_genes()
            token_ids = fed.new_full((len(fed), _n_read(self.encoder, self.config.gene_idx)), MASK_ID)
            token_ids[:, places.long()] = fed
        return self.encoder.filled_values(token_ids, gene_idx)

    def encoder_genes(self, gene_idx: Tensor | None = None) -> Tensor | None:
        """Genes of the network's input (those of the panel, or some of them) as numbers of the encoder's list."""
        if self.config.gene_idx is None:
            return gene_idx
        panel = self.get_buffer("panel")
        return panel if gene_idx is None else panel[gene_idx.long()]

    @property
    def n_constant(self) -> int:
        """Values at the end of a pooled embedding that nothing trained reaches: scores of the tokens themselves."""
        return self.encoder.config.n_eigengenes if self.config.pooling == "eigengene" else 0

    def standardised(self, pooled_BE: Tensor) -> Tensor:
        """Centred and scaled embedding, shape (B, E)."""
        return (pooled_BE - self.get_buffer("embedding_mean")) / self.get_buffer("embedding_scale")

    def set_standardisation(self, pooled_BE: Tensor) -> None:
        """Take mean and deviation from the training samples' pooled embeddings; a constant value becomes 0."""
        deviation_E = pooled_BE.std(dim=0, correction=0)
        self.get_buffer("embedding_mean").copy_(pooled_BE.mean(dim=0))
        self.get_buffer("embedding_scale").copy_(
            torch.where(deviation_E > 0, deviation_E, torch.ones_like(deviation_E))
        )

    def outputs(self, pooled_BE: Tensor) -> dict[str, Tensor]:
        """Each task's output from pooled embeddings, shape (B, O) each: logits of classes, or a log hazard."""
        ready_BE = self.standardised(pooled_BE)
        return {name: head(ready_BE) for name, head in self.heads.items()}

    def forward(self, token_ids: Tensor, gene_idx: Tensor | None = None) -> dict[str, Tensor]:
        """Each task's output, shape (B, O) each."""
        return self.outputs(self.pooled(token_ids, gene_idx))

    def linear_output(self, task: str) -> nn.Linear:
        """The only trained layer of a task's head without hidden layers."""
        head = self.heads[task]
        assert isinstance(head, MLPHead)
        output = head.layers[-1]
        assert isinstance(output, nn.Linear) and not head.config.hidden
        return output

    def head_features(self, task: str, ready_BE: Tensor) -> Tensor:
        """What the last layer of a task's head reads, from standardised embeddings, shape (B, F)."""
        head = self.heads[task]
        assert isinstance(head, MLPHead)
        features: Tensor = head.layers[:-1](ready_BE)
        return features

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters before the pooled embedding that are trained."""
        parameters = list(self.encoder.parameters())
        if self.attention_pooling is not None:
            parameters += list(self.attention_pooling.parameters())
        return [parameter for parameter in parameters if parameter.requires_grad]

    def own_tensors(self) -> Mapping[str, Tensor]:
        """All tensors that fine-tuning made: adapter, pooling, standardisation, heads; by name."""
        frozen = {
            f"encoder.{name}" for name, parameter in self.encoder.named_parameters() if not parameter.requires_grad
        }
        frozen |= {f"encoder.{name}" for name, _ in self.encoder.named_buffers()}
        return {name: tensor for name, tensor in self.state_dict().items() if name not in frozen}

    def load_own_tensors(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Put saved tensors in place of `own_tensors`.

        Args:
            tensors: By name.
            source: Where they came from, for the message.
        Raises:
            CheckpointError: lists every tensor that is missing, unexpected, of another shape, or not finite.
        """
        refuse_misfits(tensors, self.own_tensors(), f"{source} does not fit its encoder")
        self.load_state_dict(dict(tensors), strict=False)


def check_panel(encoder: Encoder, gene_idx: Sequence[int] | None) -> None:
    """Refuse a panel that an encoder cannot read.

    Raises:
        ConfigError: the encoder reads all of its genes at once, or a gene is named twice or is not in its list.
    """
    if gene_idx is None:
        return
    if not encoder.reads_subsets:
        raise ConfigError(f"{type(encoder).__name__} reads all of its genes at once: leave the gene panel out")
    n_genes = encoder.config.n_genes
    if len(set(gene_idx)) != len(gene_idx) or not all(0 <= gene < n_genes for gene in gene_idx):
        raise ConfigError(f"a gene panel names each gene once, as a number below {n_genes}, the genes of the encoder")


def embedding_width(encoder: Encoder, pooling: FinetunePooling, gene_idx: Sequence[int] | None = None) -> int:
    """Length E of a pooled embedding.

    Args:
        encoder: Whose output is pooled.
        pooling: How.
        gene_idx: The panel, as in `FinetunedConfig`.
    """
    if pooling == "values":
        return _n_read(encoder, gene_idx)
    if pooling == "attention":
        return AttentionPooling(encoder.config.embed_dim).width
    return encoder.embedding_width(pooling)


def _n_read(encoder: Encoder, gene_idx: Sequence[int] | None) -> int:
    return encoder.config.n_columns if gene_idx is None else len(gene_idx)
