"""What every encoder of samples offers to training, fine-tuning and embedding, whatever is inside.

Shape letters: B batch, C columns of token ids (genes, omic after omic), G genes, P positions of the output, D model,
R eigengenes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from bulkrnabert.config import FrozenConfig
from bulkrnabert.errors import ConfigError

Pooling = Literal["mean", "max", "marker", "eigengene"]


class EncoderConfig(FrozenConfig):
    """Sizes that every encoder has.

    Attributes:
        n_genes: Length of the gene list; 0 in a preset, filled by `with_genes`.
        n_bins: Bins of a token id.
        embed_dim: Width D of the output.
        n_layers: Transformer blocks.
        dropout: On the output of attention and of the feed-forward layer, in training.
        use_activation_checkpointing: Recompute blocks in the backward pass: less memory, slower.
        has_bin_statistics: Keep each gene's mean and deviation of bins over the training samples, for `marker` pooling.
        n_eigengenes: Keep this many main directions of co-expression of the training samples, for `eigengene` pooling.
        sizes_of_data: Fields that follow from how many samples there are; a model that goes on with others keeps them.
    """

    sizes_of_data: ClassVar[frozenset[str]] = frozenset({"n_eigengenes"})
    n_genes: int = Field(default=0, ge=0)
    n_bins: int = Field(default=64, ge=2)
    embed_dim: int = Field(ge=1)
    n_layers: int = Field(ge=1)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    use_activation_checkpointing: bool = False
    has_bin_statistics: bool = False
    n_eigengenes: int = Field(default=0, ge=0)

    @property
    def omics(self) -> tuple[str, ...]:
        """The omics that the model reads, in the order of their columns."""
        return ("rnaseq",)

    @property
    def n_columns(self) -> int:
        """Columns C of its token ids: the genes of the first omic, then those of the next."""
        return len(self.omics) * self.n_genes

    def with_genes(self, n_genes: int) -> Self:
        """This configuration for a gene list of a known length.

        Raises:
            ConfigError: the configuration already names another number of genes.
        """
        if self.n_genes not in (0, n_genes):
            raise ConfigError(
                f"the model configuration says n_genes {self.n_genes}, the gene list has {n_genes}: "
                "leave n_genes out, or use the gene list that the model was made for"
            )
        return self.model_copy(update={"n_genes": n_genes})


class Encoder(nn.Module, ABC):
    """Token ids to a sequence of vectors, and from there to one vector a sample.

    Attributes:
        config: Its sizes.
        reads_subsets: Whether `gene_idx` may name a subset of the genes.
    """

    reads_subsets: ClassVar[bool] = True
    config: EncoderConfig

    @abstractmethod
    def encode(self, token_ids: Tensor, gene_idx: Tensor | None = None, *, layer: int | None = None) -> Tensor:
        """Output of one layer, shape (B, P, D): the last, or `layer` (from 1), after which nothing runs.

        Args:
            token_ids: Integer token ids, shape (B, C). Not modified.
            gene_idx: Which genes the columns are, shape (C,), where a subset is fed; None: all, in model order.
            layer: Layer from 1; None: the last.
        """

    def add_bin_statistics(self) -> None:
        """Make room for the bin statistics, where the configuration keeps them."""
        if self.config.has_bin_statistics:
            self.register_buffer("bin_mean", torch.zeros(self.config.n_columns))
            self.register_buffer("bin_deviation", torch.ones(self.config.n_columns))
        if self.config.n_eigengenes:
            self.register_buffer("eigengenes", torch.zeros(self.config.n_columns, self.config.n_eigengenes))

    def set_bin_statistics(self, mean_C: Tensor, deviation_C: Tensor) -> None:
        """Remember each column's mean bin and its deviation over the training samples, shape (C,) each."""
        self.get_buffer("bin_mean").copy_(mean_C)
        self.get_buffer("bin_deviation").copy_(deviation_C)

    def set_eigengenes(self, loadings_CR: Tensor) -> None:
        """Remember the columns' loadings on the main directions of co-expression, shape (C, R)."""
        self.get_buffer("eigengenes").copy_(loadings_CR)

    def sample_embedding(
        self,
        token_ids: Tensor,
        layer: int | None = None,
        pooling: Pooling = "mean",
        gene_idx: Tensor | None = None,
    ) -> Tensor:
        """One vector a sample: a layer's output pooled, shape (B, `embedding_width(pooling)`), float32.

        Args:
            token_ids: Integer token ids, shape (B, C).
            layer: Layer from 1; None: the last, as in the papers.
            pooling: `mean`, as in the papers; `max`; `marker`, the mean beside a mean weighted by how far each gene is
                above its usual bin (docs/decisions/0009-pooling.md); or `eigengene`, that with the sample's scores on
                the main directions of co-expression (docs/decisions/0026-eigengene-pooling.md).
            gene_idx: As in `encode`.
        Raises:
            ConfigError: `marker` or `eigengene` for a model that keeps no such statistics, as imported ones.
        """
        weights_BP = self.marker_weights(token_ids, gene_idx) if pooling in ("marker", "eigengene") else None
        scores_BR = self.eigengene_scores(token_ids, gene_idx) if pooling == "eigengene" else None
        return self.pool(self.encode(token_ids, gene_idx, layer=layer), pooling, weights_BP, scores_BR)

    def pool(
        self, hidden_BPD: Tensor, pooling: Pooling, weights_BP: Tensor | None, scores_BR: Tensor | None = None
    ) -> Tensor:
        """A layer's output pooled over positions, float32.

        `marker` and `eigengene` need `weights_BP`, from `marker_weights`; the latter `scores_BR`, from
        `eigengene_scores`, too.
        """
        hidden_BPD = hidden_BPD.float()
        if pooling == "max":
            return hidden_BPD.amax(dim=1)
        mean_BD = hidden_BPD.mean(dim=1)
        if pooling == "mean":
            return mean_BD
        assert weights_BP is not None
        centred_BPD = hidden_BPD - mean_BD[:, None, :]
        parts = [mean_BD, torch.einsum("bp,bpd->bd", weights_BP, centred_BPD)]
        if pooling == "eigengene":
            assert scores_BR is not None
            parts.append(scores_BR)
        return torch.cat(parts, dim=1)

    def embedding_width(self, pooling: Pooling) -> int:
        """Length of a sample's embedding: D, 2 D for `marker`, and with the eigengenes 2 D + R."""
        if pooling == "eigengene":
            return 2 * self.config.embed_dim + self.config.n_eigengenes
        return self.config.embed_dim * (2 if pooling == "marker" else 1)

    def marker_weights(self, token_ids: Tensor, gene_idx: Tensor | None = None) -> Tensor:
        """Weights that sum to 1 over genes, shape (B, C): deviations above each gene's mean bin, 0 below it.

        Raises:
            ConfigError: the model keeps no bin statistics, as imported ones.
        """
        if not self.config.has_bin_statistics:
            raise ConfigError("this model keeps no bin statistics, which `marker` pooling needs: use --pooling mean")
        mean_C, deviation_C = self.get_buffer("bin_mean"), self.get_buffer("bin_deviation")
        if gene_idx is not None:
            mean_C, deviation_C = mean_C[gene_idx.long()], deviation_C[gene_idx.long()]
        excess_BC = ((token_ids - mean_C) / (deviation_C + 1.0)).clamp(min=0.0)
        excess_BC = excess_BC.masked_fill(token_ids >= self.config.n_bins, 0.0)
        return excess_BC / excess_BC.sum(dim=1, keepdim=True).clamp(min=1e-6)

    def standardised_bins(self, token_ids: Tensor, gene_idx: Tensor | None = None) -> Tensor:
        """Bins by the training samples' mean and deviation; 0 where missing or constant, shape (B, C), float32.

        Raises:
            ConfigError: the model keeps no eigengenes, as imported ones.
        """
        if not self.config.n_eigengenes:
            raise ConfigError("this model keeps no eigengenes, which `eigengene` pooling needs: use --pooling mean")
        mean_C, deviation_C = self.get_buffer("bin_mean"), self.get_buffer("bin_deviation")
        if gene_idx is not None:
            mean_C, deviation_C = mean_C[gene_idx.long()], deviation_C[gene_idx.long()]
        is_unknown_BC = (token_ids >= self.config.n_bins) | (deviation_C == 0)
        return ((token_ids - mean_C) / torch.where(deviation_C > 0, deviation_C, 1.0)).masked_fill(is_unknown_BC, 0.0)

    def eigengene_scores(self, token_ids: Tensor, gene_idx: Tensor | None = None) -> Tensor:
        """Scores on the main directions of co-expression, shape (B, R); a subset's are scaled up to all columns."""
        return self.scores_of(self.standardised_bins(token_ids, gene_idx), gene_idx)

    def scores_of(self, standardised_BC: Tensor, gene_idx: Tensor | None = None) -> Tensor:
        """As `eigengene_scores`, from what `standardised_bins` gives, or from points between."""
        loadings_CR = self.get_buffer("eigengenes")
        if gene_idx is not None:
            loadings_CR = loadings_CR[gene_idx.long()] * (len(loadings_CR) / len(gene_idx))
        return standardised_BC @ loadings_CR

    def _check_tokens(self, token_ids: Tensor, gene_idx: Tensor | None) -> None:
        if gene_idx is not None and not self.reads_subsets:
            raise ValueError(f"{type(self).__name__} reads all of its genes at once: leave gene_idx out")
        n_columns = self.config.n_columns if gene_idx is None else len(gene_idx)
        if token_ids.ndim != 2 or token_ids.shape[1] != n_columns:
            raise ValueError(
                f"token_ids has shape {tuple(token_ids.shape)}, expected (samples, {n_columns}): "
                "one column a gene of the model's gene list, or name a subset with gene_idx"
            )
        if token_ids.is_floating_point():
            raise ValueError(f"token_ids are {token_ids.dtype}, expected integers: encode values with the tokenizer")

    def _check_layers(self, layers: Sequence[int] | set[int]) -> None:
        unknown = sorted(layer for layer in layers if not 1 <= layer <= self.config.n_layers)
        if unknown:
            raise ValueError(f"there is no layer {unknown[0]}: layers are numbered 1 to {self.config.n_layers}")
