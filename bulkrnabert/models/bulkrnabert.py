"""BulkRNABert: a BERT-style encoder over binned gene expression.

Shape letters: B batch, G genes, M chosen genes of a sample, D model, H heads, K head dim, V bins, N masked positions.

Source: Gélard et al., PMLR 259:384-400 (2025), section 3; the published reference's parameter tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bulkrnabert.errors import ConfigError
from bulkrnabert.models.encoder import Encoder, EncoderConfig
from bulkrnabert.models.layers import TransformerBlock, initialise_linear


class BulkRNABertConfig(EncoderConfig):
    """Sizes of a BulkRNABert, beside those of every encoder.

    Attributes:
        n_embedding_rows: Rows of the expression table: bins, then `<pad>` and `<mask>`. Published checkpoints have 64.
        init_gene_embed_dim: Width of the gene table before its projection to D.
        use_gene_embedding: Add an embedding that tells which gene a token belongs to.
        project_gene_embedding: Project the gene table to D; without it `init_gene_embed_dim` must be D.
        n_heads: Attention heads.
        key_size: Width K of a head; D / heads when left out.
        ffn_embed_dim: Width of the feed-forward layer.
        out_of_range: A token id beyond the table is an error, or is clamped to the last row as JAX does.
    """

    n_embedding_rows: int = Field(default=66, ge=2)
    init_gene_embed_dim: int = Field(ge=1)
    use_gene_embedding: bool = True
    project_gene_embedding: bool = True
    n_heads: int = Field(ge=1)
    key_size: int | None = Field(default=None, ge=1)
    ffn_embed_dim: int = Field(ge=1)
    out_of_range: Literal["error", "clamp"] = "error"

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.key_size is None and self.embed_dim % self.n_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is no multiple of n_heads {self.n_heads}: change one or give key_size"
            )
        if self.use_gene_embedding and not self.project_gene_embedding and self.init_gene_embed_dim != self.embed_dim:
            raise ValueError(
                f"without project_gene_embedding, init_gene_embed_dim ({self.init_gene_embed_dim}) must equal "
                f"embed_dim ({self.embed_dim})"
            )
        if self.n_embedding_rows < self.n_bins:
            raise ValueError(f"n_embedding_rows {self.n_embedding_rows} is below n_bins {self.n_bins}")
        return self

    @property
    def head_dim(self) -> int:
        """Width K of one attention head."""
        return self.key_size if self.key_size is not None else self.embed_dim // self.n_heads


@dataclass(frozen=True)
class BulkRNABertOutput:
    """What a forward pass returns.

    Attributes:
        logits: Scores of the bins, shape (B, G, V).
        hidden: Output of the layers asked for, by layer number from 1, each (B, G, D).
        attention: Attention weights of the layers asked for, by layer number from 1, each (B, H, G, G).
    """

    logits: Tensor
    hidden: dict[int, Tensor] = field(default_factory=dict)
    attention: dict[int, Tensor] = field(default_factory=dict)


class BulkRNABert(Encoder):
    """Expression-bin embedding + gene embedding, pre-LayerNorm blocks, a linear head over the bins.

    No positional encoding and no final LayerNorm, as published. Genes are told apart by their embedding alone, so
    their order carries no meaning.

    Initialisation (ours; the paper does not state one): linear weights truncated normal with deviation 1/sqrt(fan in),
    the two layers of a block that write to the residual stream divided by sqrt(2 x layers), the head at a tenth of that
    so that the first loss is near ln(bins); embeddings normal with deviation 1; biases 0.
    """

    config: BulkRNABertConfig

    def __init__(self, config: BulkRNABertConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if config.n_genes < 1:
            raise ConfigError("n_genes is 0: fill it from the gene list with `config.with_genes(n)`")
        self.config = config
        D = config.embed_dim
        self.expression_embedding = nn.Embedding(config.n_embedding_rows, D)
        self.gene_embedding = (
            nn.Embedding(config.n_genes, config.init_gene_embed_dim) if config.use_gene_embedding else None
        )
        self.gene_projection = (
            nn.Linear(config.init_gene_embed_dim, D)
            if config.use_gene_embedding and config.project_gene_embedding
            else None
        )
        self.blocks = nn.ModuleList(
            TransformerBlock(D, config.n_heads, config.head_dim, config.ffn_embed_dim, config.dropout)
            for _ in range(config.n_layers)
        )
        self.lm_head = nn.Linear(D, config.n_bins)
        self.add_bin_statistics()
        self._initialise(generator)

    def start_gene_embedding(self, table: Tensor) -> None:
        """Put a table of shape (G, init_gene_embed_dim) in place of the random start of the gene embedding."""
        if self.gene_embedding is None:
            raise ConfigError("use_gene_embedding is off: there is no gene embedding to start")
        with torch.no_grad():
            self.gene_embedding.weight.copy_(table)

    def _initialise(self, generator: torch.Generator | None) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                initialise_linear(module, generator)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, generator=generator)
        residual_scale = (2 * self.config.n_layers) ** -0.5
        for block in self.blocks:
            assert isinstance(block, TransformerBlock)
            initialise_linear(block.attention.output, generator, residual_scale)
            initialise_linear(block.ffn_out, generator, residual_scale)
        initialise_linear(self.lm_head, generator, 0.1)

    def forward(
        self,
        token_ids: Tensor,
        *,
        gene_idx: Tensor | None = None,
        hidden_layers: Sequence[int] = (),
        attention_layers: Sequence[int] = (),
        key_mask: Tensor | None = None,
    ) -> BulkRNABertOutput:
        """Logits of every position, with the layers asked for.

        Args:
            token_ids: Integer token ids, shape (B, G). Not modified.
            gene_idx: Which genes the columns are, shape (G,), where a subset is fed; None: all, in model order.
            hidden_layers: Layers (from 1) whose output is returned.
            attention_layers: Layers (from 1) whose attention weights are returned; memory B x H x G x G floats each.
            key_mask: True where a gene may be attended, shape (B, G).
        Raises:
            ValueError: a shape, layer number or token id does not fit the model.
        """
        wanted = set(hidden_layers) | set(attention_layers)
        self._check_layers(wanted)
        hidden: dict[int, Tensor] = {}
        attention: dict[int, Tensor] = {}
        x_BGD = self._add_genes(self.expression(token_ids, gene_idx), gene_idx)
        for number, block in enumerate(self.blocks, start=1):
            assert isinstance(block, TransformerBlock)
            if number in attention_layers:
                attention[number] = block.attention_map(x_BGD, key_mask)
            x_BGD = self._run_block(block, x_BGD, key_mask)
            if number in hidden_layers:
                hidden[number] = x_BGD
        return BulkRNABertOutput(self.lm_head(x_BGD), hidden, attention)

    def encode(
        self,
        token_ids: Tensor,
        gene_idx: Tensor | None = None,
        *,
        key_mask: Tensor | None = None,
        layer: int | None = None,
    ) -> Tensor:
        """Output of one layer, shape (B, G, D): the last, or `layer` (from 1), after which nothing runs."""
        return self.encode_expression(self.expression(token_ids, gene_idx), gene_idx, key_mask, layer)

    def encode_expression(
        self,
        expression_BGD: Tensor,
        gene_idx: Tensor | None = None,
        key_mask: Tensor | None = None,
        layer: int | None = None,
    ) -> Tensor:
        """As `encode`, from the embeddings of expression that `expression` gives, or from points between them."""
        last = self.config.n_layers if layer is None else layer
        self._check_layers({last})
        x_BGD = self._add_genes(expression_BGD, gene_idx)
        for block in self.blocks[:last]:
            x_BGD = self._run_block(block, x_BGD, key_mask)
        return x_BGD

    def encode_chosen(self, token_ids: Tensor, chosen_idx_BM: Tensor, gene_idx: Tensor | None = None) -> Tensor:
        """Output of the last layer at chosen columns of each sample, shape (B, M, D).

        The same numbers as `encode` gives there, within rounding, without the others: the last block asks for the
        chosen genes only.
        """
        x_BGD = self._add_genes(self.expression(token_ids, gene_idx), gene_idx)
        for block in self.blocks[:-1]:
            x_BGD = self._run_block(block, x_BGD, None)
        return self._run_block(self.blocks[-1], x_BGD, None, chosen_idx_BM)

    def attention_received(
        self, token_ids: Tensor, layers: Sequence[int], gene_idx: Tensor | None = None
    ) -> dict[int, Tensor]:
        """Share of each layer's attention that every gene gets, mean over heads and queries; shape (B, G) each.

        Args:
            token_ids: Integer token ids, shape (B, G).
            layers: Layers from 1. Nothing runs after the last of them.
            gene_idx: As in `forward`.
        """
        self._check_layers(set(layers))
        received: dict[int, Tensor] = {}
        x_BGD = self._add_genes(self.expression(token_ids, gene_idx), gene_idx)
        for number, block in enumerate(self.blocks[: max(layers, default=0)], start=1):
            assert isinstance(block, TransformerBlock)
            if number in layers:
                received[number] = block.attention_received(x_BGD)
            if number < max(layers):
                x_BGD = self._run_block(block, x_BGD, None)
        return received

    def lm_logits(self, hidden_ND: Tensor) -> Tensor:
        """Scores of the bins for chosen positions, shape (N, D) to (N, V): run the loss on masked positions only."""
        return self.lm_head(hidden_ND)  # type: ignore[no-any-return]

    def expression(self, token_ids: Tensor, gene_idx: Tensor | None = None) -> Tensor:
        """Embedding of each gene's expression, before its gene's own embedding is added, shape (B, G, D)."""
        self._check_tokens(token_ids, gene_idx)
        last_row = self.config.n_embedding_rows - 1
        ids_BG = token_ids.long()
        if self.config.out_of_range == "clamp":
            ids_BG = ids_BG.clamp(max=last_row)
        elif int(ids_BG.max()) > last_row:
            raise ValueError(f"token id {int(ids_BG.max())} is beyond the {last_row + 1} rows of the expression table")
        return self.expression_embedding(ids_BG)  # type: ignore[no-any-return]

    def _add_genes(self, expression_BGD: Tensor, gene_idx: Tensor | None) -> Tensor:
        if self.gene_embedding is None:
            return expression_BGD
        if gene_idx is None:
            # Looked up, not taken as it stands: under ZeRO 3 the table itself is gone again before the backward pass.
            gene_idx = torch.arange(self.config.n_genes, device=expression_BGD.device)
        genes_GD: Tensor = self.gene_embedding(gene_idx.long())
        if self.gene_projection is not None:
            genes_GD = self.gene_projection(genes_GD)
        return expression_BGD + genes_GD

    def _run_block(
        self, block: nn.Module, x_BGD: Tensor, key_mask: Tensor | None, query_idx: Tensor | None = None
    ) -> Tensor:
        if self.config.use_activation_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, x_BGD, key_mask, query_idx, use_reentrant=False)  # type: ignore[no-any-return]
        return block(x_BGD, key_mask, query_idx)  # type: ignore[no-any-return]
