"""MOJO: one encoder for several omics of the same genes, whole when one of them is missing.

Shape letters: B batch, C columns of token ids (genes, omic after omic), G genes, P genes padded to a multiple of 2^n,
L positions after n halvings, E token width, S width at full length, D width of the transformer, H heads, V token ids,
M chosen columns of a sample, N chosen columns of a batch.

Source: Gélard et al., bioRxiv 2025.06.25.661237; the published reference (nucleotide_transformer/mojo).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from bulkrnabert.errors import ConfigError
from bulkrnabert.keys import MASK_ID, N_TOKEN_IDS, PAD_ID
from bulkrnabert.models.encoder import Encoder, EncoderConfig
from bulkrnabert.models.layers import LAYER_NORM_EPSILON
from bulkrnabert.models.mojo_layers import Convolution, DownBlock, RotaryBlock, UpBlock, tanh_gelu

N_SPECIAL_IDS = N_TOKEN_IDS - PAD_ID
TokenIds = Tensor | Mapping[str, Tensor]


class MojoConfig(EncoderConfig):
    """Sizes of a MOJO, beside those of every encoder.

    Attributes:
        omic_names: The omics that it reads and restores, in the order of their columns.
        n_token_ids: Rows of each omic's table and outputs of its head: bins, then `<pad>`, then `<mask>`. An omic that
            is left out has 66.
        token_embed_dim: Width E of the token and gene embeddings that are added up.
        conv_embed_dim: Width S of the stem; from there the widths go to D in equal steps.
        n_downsamples: Halvings n of the sequence.
        stem_kernel: Positions that the stem's convolution sees.
        init_gene_embed_dim: Width of the gene table before its projection to E.
        use_gene_embedding: Add an embedding that tells which gene a position is.
        project_gene_embedding: Project the gene table to E; without it `init_gene_embed_dim` must be E.
        use_skip_connection: Add what each halving started from to what the doubling of that length gives.
        n_heads: Attention heads.
        key_size: Width K of a head, even; D / heads when left out.
        ffn_embed_dim: Inner width of the feed-forward layers.
        norm_epsilon: Of the transformer's LayerNorms.
        n_head_layers: Hidden layers of an omic's head.
        absent_omic: What an omic is that a mapping of token ids does not name: every gene `<mask>`, as in training
            here; or left out of the sum of embeddings, as the published forward pass has it.
    """

    omic_names: tuple[str, ...] = Field(default=("rnaseq", "methylation"), min_length=1)
    n_token_ids: dict[str, int] = Field(default_factory=dict)
    token_embed_dim: int = Field(ge=1)
    conv_embed_dim: int = Field(ge=1)
    n_downsamples: int = Field(ge=1, le=16)
    stem_kernel: int = Field(default=15, ge=1)
    init_gene_embed_dim: int = Field(ge=1)
    use_gene_embedding: bool = True
    project_gene_embedding: bool = True
    use_skip_connection: bool = True
    n_heads: int = Field(ge=1)
    key_size: int | None = Field(default=None, ge=2)
    ffn_embed_dim: int = Field(ge=1)
    norm_epsilon: float = Field(default=LAYER_NORM_EPSILON, gt=0)
    n_head_layers: int = Field(default=0, ge=0)
    absent_omic: Literal["mask", "leave_out"] = "mask"

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if len(set(self.omic_names)) != len(self.omic_names):
            raise ValueError(f"omic_names {list(self.omic_names)} names an omic twice")
        wrong = [name for name in self.omic_names if not name.isidentifier()]
        if wrong:
            raise ValueError(f"omic name {wrong[0]!r} is not made of letters, digits and underscores")
        unknown = sorted(set(self.n_token_ids) - set(self.omic_names))
        if unknown:
            raise ValueError(f"n_token_ids names {unknown[0]}, which is not among omic_names")
        if any(n_ids < 4 for n_ids in self.n_token_ids.values()):
            raise ValueError("n_token_ids must be at least 4: two bins, <pad> and <mask>")
        if self.key_size is None and self.embed_dim % self.n_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is no multiple of n_heads {self.n_heads}: change one or give key_size"
            )
        if self.head_dim % 2:
            raise ValueError(f"a head is {self.head_dim} wide, but rotary positions need an even width")
        needs_equal = self.use_gene_embedding and not self.project_gene_embedding
        if needs_equal and self.init_gene_embed_dim != self.token_embed_dim:
            raise ValueError(
                f"without project_gene_embedding, init_gene_embed_dim ({self.init_gene_embed_dim}) must equal "
                f"token_embed_dim ({self.token_embed_dim})"
            )
        return self

    @property
    def omics(self) -> tuple[str, ...]:
        """The omics that the model reads, in the order of their columns."""
        return self.omic_names

    @property
    def head_dim(self) -> int:
        """Width K of one attention head."""
        return self.key_size if self.key_size is not None else self.embed_dim // self.n_heads

    @property
    def n_padded(self) -> int:
        """Positions P: genes and the `<pad>` behind them."""
        return math.ceil(self.n_genes / self.window) * self.window

    @property
    def window(self) -> int:
        """Genes that become one position of the transformer, 2^n."""
        return int(2**self.n_downsamples)

    @property
    def n_positions(self) -> int:
        """Positions L of the transformer."""
        return self.n_padded // self.window

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths before, between and after the halvings, from S to D."""
        steps = np.linspace(self.conv_embed_dim, self.embed_dim, self.n_downsamples + 1)
        return tuple(int(width) for width in steps)

    def n_ids_of(self, omic: str) -> int:
        """Token ids V that an omic has."""
        return self.n_token_ids.get(omic, N_TOKEN_IDS)


@dataclass(frozen=True)
class MojoOutput:
    """What a forward pass returns.

    Attributes:
        logits: By omic, absent ones too: scores of its token ids, shape (B, G, V); (B, P, V) where padded ids came in.
        hidden: Transformer layers by number from 1, shape (B, L, D).
        attention: Attention weights by layer number from 1, shape (B, H, L, L).
    """

    logits: dict[str, Tensor]
    hidden: dict[int, Tensor] = field(default_factory=dict)
    attention: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class MojoIntermediates:
    """Every stage of a forward pass, padded positions included.

    Attributes:
        omic_embeddings: Token embeddings of each omic given, shape (B, P, E).
        embeddings: Their sum, shape (B, P, E).
        with_gene_embedding: The same with the gene embedding, shape (B, P, E).
        stem: Shape (B, P, S).
        skips: What each halving starts from, (B, P, S), (B, P / 2, …), …
        conv_tower: What the transformer starts from, shape (B, L, D).
        transformer: What it ends with, shape (B, L, D).
        deconv_tower: What the heads start from, shape (B, P, S).
    """

    omic_embeddings: dict[str, Tensor]
    embeddings: Tensor
    with_gene_embedding: Tensor
    stem: Tensor
    skips: tuple[Tensor, ...]
    conv_tower: Tensor
    transformer: Tensor
    deconv_tower: Tensor


class OmicHead(nn.Module):
    """Scores of an omic's token ids, (…, S) to (…, V): GELU, hidden layers of width D, linear."""

    def __init__(self, n_inputs: int, width: int, n_layers: int, n_ids: int) -> None:
        super().__init__()
        widths = [n_inputs] + [width] * n_layers
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.output = nn.Linear(widths[-1], n_ids)

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        x = tanh_gelu(x)
        for layer in self.hidden:
            x = tanh_gelu(layer(x))
        return self.output(x)  # type: ignore[no-any-return]


class Mojo(Encoder):
    """Summed omic embeddings, a convolution tower down, a transformer, a tower up with skips, a head an omic.

    Genes are told apart by an embedding and by their place, so their order is part of the model. Genes are padded with
    `<pad>` to a multiple of 2^n, as published: padded positions have token and gene embeddings of their own, go through
    the convolutions and are attended to; nothing is masked out. They are the same for every sample, so a trained model
    has learnt them as a constant edge; no target and no output of ours lies there.

    Initialisation (ours; the paper states none): weights truncated normal with deviation 1/sqrt(fan in), the two layers
    of a block that write to the residual stream divided by sqrt(2 x layers), the heads' last layer at a tenth so that
    the first loss is near ln(V); embeddings normal with deviation 1, but for the bins of an omic, which start on smooth
    waves of mean square 1, so that neighbouring bins are alike (docs/decisions/0024-ordered-bins.md); biases 0.
    """

    reads_subsets: ClassVar[bool] = False
    config: MojoConfig

    def __init__(self, config: MojoConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if config.n_genes < 1:
            raise ConfigError("n_genes is 0: fill it from the gene list with `config.with_genes(n)`")
        self.config = config
        E, D, widths = config.token_embed_dim, config.embed_dim, config.widths
        self.omic_embeddings = nn.ModuleDict({omic: nn.Embedding(config.n_ids_of(omic), E) for omic in config.omics})
        uses_genes, projects = config.use_gene_embedding, config.project_gene_embedding
        self.gene_embedding = nn.Embedding(config.n_padded, config.init_gene_embed_dim) if uses_genes else None
        self.gene_projection = nn.Linear(config.init_gene_embed_dim, E) if uses_genes and projects else None
        self.stem = Convolution(E, widths[0], config.stem_kernel)
        self.down = nn.ModuleList(DownBlock(*pair) for pair in pairwise(widths))
        self.blocks = nn.ModuleList(
            RotaryBlock(D, config.n_heads, config.head_dim, config.ffn_embed_dim, config.dropout, config.norm_epsilon)
            for _ in range(config.n_layers)
        )
        self.up = nn.ModuleList(UpBlock(*pair) for pair in pairwise(widths[::-1]))
        self.heads = nn.ModuleDict(
            {omic: OmicHead(widths[0], D, config.n_head_layers, config.n_ids_of(omic)) for omic in config.omics}
        )
        self.add_bin_statistics()
        self._initialise(generator)

    def start_gene_embedding(self, table: Tensor) -> None:
        """Put a table of shape (G, init_gene_embed_dim) in place of the random start of the genes' embedding."""
        if self.gene_embedding is None:
            raise ConfigError("use_gene_embedding is off: there is no gene embedding to start")
        with torch.no_grad():
            self.gene_embedding.weight[: self.config.n_genes].copy_(table)

    def _initialise(self, generator: torch.Generator | None) -> None:
        residual_scale = (2 * self.config.n_layers) ** -0.5
        for name, module in self.named_modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, generator=generator)
            elif isinstance(module, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
                is_residual = name.startswith("blocks.") and name.endswith((".output", ".ffn_out"))
                is_last = name.startswith("heads.") and name.endswith(".output")
                scale = residual_scale if is_residual else 0.1 if is_last else 1.0
                deviation = scale / math.sqrt(_fan_in(module))
                nn.init.trunc_normal_(
                    module.weight, std=deviation, a=-2 * deviation, b=2 * deviation, generator=generator
                )
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for embedding in self.omic_embeddings.values():
            assert isinstance(embedding, nn.Embedding)
            start_ordered(embedding.weight[: len(embedding.weight) - N_SPECIAL_IDS], generator)

    def forward(
        self, token_ids: TokenIds, *, hidden_layers: Sequence[int] = (), attention_layers: Sequence[int] = ()
    ) -> MojoOutput:
        """Logits of every gene and omic, with the layers asked for.

        Args:
            token_ids: By omic, integer ids of shape (B, G) each, or (B, P) with `<pad>` at the end already; an omic
                that is not named is absent (`config.absent_omic`). Or flat, shape (B, C). Not modified.
            hidden_layers: Transformer layers (from 1) whose output is returned.
            attention_layers: Transformer layers (from 1) whose attention weights are returned.
        Raises:
            ValueError: an omic that the model does not read; or a shape, layer number or token id does not fit.
        """
        self._check_layers(set(hidden_layers) | set(attention_layers))
        hidden: dict[int, Tensor] = {}
        attention: dict[int, Tensor] = {}
        x_BLD, skips = self._down(self._add_genes(sum_of(self._embed(token_ids))))
        for number, block in enumerate(self.blocks, start=1):
            assert isinstance(block, RotaryBlock)
            if number in attention_layers:
                attention[number] = block.attention_map(x_BLD)
            x_BLD = self._run(block, x_BLD)
            if number in hidden_layers:
                hidden[number] = x_BLD
        x_BPS = self._up(x_BLD, skips)[:, : self._n_given(token_ids)]
        return MojoOutput({omic: head(x_BPS) for omic, head in self.heads.items()}, hidden, attention)

    def intermediates(self, token_ids: TokenIds) -> MojoIntermediates:
        """Every stage of the forward pass, to compare with another implementation; arguments as in `forward`."""
        omic_embeddings = self._embed(token_ids)
        embeddings_BPE = sum_of(omic_embeddings)
        with_genes_BPE = self._add_genes(embeddings_BPE)
        conv_tower_BLD, skips = self._down(with_genes_BPE)
        transformer_BLD = self._transform(conv_tower_BLD, self.config.n_layers)
        return MojoIntermediates(
            omic_embeddings=omic_embeddings,
            embeddings=embeddings_BPE,
            with_gene_embedding=with_genes_BPE,
            stem=skips[0],
            skips=skips,
            conv_tower=conv_tower_BLD,
            transformer=transformer_BLD,
            deconv_tower=self._up(transformer_BLD, skips),
        )

    def encode(self, token_ids: TokenIds, gene_idx: Tensor | None = None, *, layer: int | None = None) -> Tensor:
        """Output of one transformer layer, shape (B, L, D): the last, or `layer` (from 1).

        Args:
            token_ids: As in `forward`.
            gene_idx: None: the convolutions need all genes in their order.
            layer: Layer from 1; None: the last, whose mean over positions is the published embedding.
        """
        if gene_idx is not None:
            raise ValueError(f"{type(self).__name__} reads all of its genes at once: leave gene_idx out")
        return self._encode(self._add_genes(sum_of(self._embed(token_ids))), layer)

    def expression(self, token_ids: Tensor) -> Tensor:
        """Token embedding of each column, before omics are added up, shape (B, C) to (B, C, E)."""
        return torch.cat([self._embed_omic(omic, ids_BG) for omic, ids_BG in self.split(token_ids).items()], dim=1)

    def encode_expression(self, expression_BCE: Tensor, *, layer: int | None = None) -> Tensor:
        """As `encode`, from the embeddings that `expression` gives, or from points between them."""
        omics, G = self.config.omics, self.config.n_genes
        x_BGE = torch.stack(expression_BCE.tensor_split(len(omics), dim=1)).sum(dim=0)
        n_pad = self.config.n_padded - G
        if n_pad:
            pad_ids = torch.full((1, n_pad), PAD_ID, device=x_BGE.device)
            pad_1PE = torch.stack([self._embed_omic(omic, pad_ids) for omic in omics]).sum(dim=0)
            x_BGE = torch.cat([x_BGE, pad_1PE.expand(len(x_BGE), -1, -1)], dim=1)
        return self._encode(self._add_genes(x_BGE), layer)

    def encode_chosen(self, token_ids: Tensor, chosen_idx_BM: Tensor) -> Tensor:
        """What the heads start from at chosen columns of each sample, shape (B, M, S), from flat ids (B, C)."""
        x_BLD, skips = self._down(self._add_genes(sum_of(self._embed(token_ids))))
        x_BPS = self._up(self._transform(x_BLD, self.config.n_layers), skips)
        genes_BM = chosen_idx_BM % self.config.n_genes
        return x_BPS.gather(1, genes_BM.unsqueeze(-1).expand(-1, -1, x_BPS.shape[-1]))

    def lm_logits(self, chosen_NS: Tensor, omic: str) -> Tensor:
        """Scores of an omic's token ids at chosen columns, shape (N, S) to (N, V)."""
        return self.heads[omic](chosen_NS)  # type: ignore[no-any-return]

    def split(self, token_ids: Tensor) -> dict[str, Tensor]:
        """Flat ids, shape (B, C), as ids by omic, shape (B, G) each."""
        self._check_tokens(token_ids, None)
        return dict(zip(self.config.omics, token_ids.tensor_split(len(self.config.omics), dim=1), strict=True))

    def marker_weights(self, token_ids: Tensor, gene_idx: Tensor | None = None) -> Tensor:
        """As `Encoder.marker_weights`, summed over the omics and genes of each position, shape (B, L)."""
        weights_BC = super().marker_weights(token_ids, gene_idx)
        weights_BG = torch.stack(weights_BC.tensor_split(len(self.config.omics), dim=1)).sum(dim=0)
        padded_BP = functional.pad(weights_BG, (0, self.config.n_padded - self.config.n_genes))
        return padded_BP.view(len(padded_BP), self.config.n_positions, -1).sum(dim=2)

    def _embed(self, token_ids: TokenIds) -> dict[str, Tensor]:
        """Token embeddings of each omic that takes part, shape (B, P, E)."""
        given = self.split(token_ids) if isinstance(token_ids, Tensor) else self._check_mapping(token_ids)
        width = next(iter(given.values())).shape[1]
        if self.config.absent_omic == "mask":
            like = next(iter(given.values()))
            absent = {omic: torch.full_like(like, MASK_ID) for omic in self.config.omics if omic not in given}
            if width > self.config.n_genes:
                for ids_BP in absent.values():
                    ids_BP[:, self.config.n_genes :] = PAD_ID
            given = {omic: given.get(omic, absent.get(omic, like)) for omic in self.config.omics}
        n_pad = self.config.n_padded - width
        return {
            omic: self._embed_omic(omic, functional.pad(ids, (0, n_pad), value=PAD_ID)) for omic, ids in given.items()
        }

    def _embed_omic(self, omic: str, ids: Tensor) -> Tensor:
        """Rows of an omic's table, ids of any shape."""
        n_rows = self.config.n_ids_of(omic)
        ids = ids.long()
        if n_rows < N_TOKEN_IDS:
            # <pad> and <mask> are 64 and 65 in all token files; in a table of fewer bins they are the last two rows.
            ids = torch.where(ids >= PAD_ID, ids - N_TOKEN_IDS + n_rows, ids)
        if int(ids.max()) >= n_rows or int(ids.min()) < 0:
            worst = int(ids.max()) if int(ids.max()) >= n_rows else int(ids.min())
            raise ValueError(f"token id {worst} is beyond the {n_rows} rows of the {omic} table")
        return self.omic_embeddings[omic](ids)  # type: ignore[no-any-return]

    def _check_mapping(self, token_ids: Mapping[str, Tensor]) -> dict[str, Tensor]:
        known = ", ".join(self.config.omics)
        unknown = sorted(set(token_ids) - set(self.config.omics))
        if unknown:
            raise ValueError(f"this model was never trained on {unknown[0]}: it reads {known}")
        if not token_ids:
            raise ValueError(f"no omic was given: name at least one of {known}")
        shapes = {tuple(ids.shape) for ids in token_ids.values()}
        widths = (self.config.n_genes, self.config.n_padded)
        if len(shapes) > 1 or any(len(shape) != 2 or shape[1] not in widths for shape in shapes):
            raise ValueError(
                f"token ids have shapes {sorted(shapes)}, expected (samples, {widths[0]}) for every omic: one column a "
                f"gene of the model's gene list (or {widths[1]} columns, already padded)"
            )
        for omic, ids in token_ids.items():
            if ids.is_floating_point():
                raise ValueError(f"{omic} ids are {ids.dtype}, expected integers: encode values with the tokenizer")
        return {omic: token_ids[omic] for omic in self.config.omics if omic in token_ids}

    def _n_given(self, token_ids: TokenIds) -> int:
        return self.config.n_genes if isinstance(token_ids, Tensor) else next(iter(token_ids.values())).shape[1]

    def _add_genes(self, x_BPE: Tensor) -> Tensor:
        if self.gene_embedding is None:
            return x_BPE
        # Looked up, not taken as it stands: under ZeRO 3 the table itself is gone again before the backward pass.
        genes_PE: Tensor = self.gene_embedding(torch.arange(self.config.n_padded, device=x_BPE.device))
        if self.gene_projection is not None:
            genes_PE = self.gene_projection(genes_PE)
        return x_BPE + genes_PE

    def _down(self, x_BPE: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Through stem and halvings: (B, L, D), and what each halving started from."""
        x = tanh_gelu(self.stem(x_BPE))
        skips = []
        for block in self.down:
            skips.append(x)
            x = self._run(block, x)
        return x, tuple(skips)

    def _transform(self, x_BLD: Tensor, n_layers: int) -> Tensor:
        for block in self.blocks[:n_layers]:
            x_BLD = self._run(block, x_BLD)
        return x_BLD

    def _up(self, x_BLD: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Through the doublings, (B, L, D) to (B, P, S)."""
        x = x_BLD
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = self._run(block, x)
            if self.config.use_skip_connection:
                x = x + skip
        return x

    def _encode(self, x_BPE: Tensor, layer: int | None) -> Tensor:
        last = self.config.n_layers if layer is None else layer
        self._check_layers({last})
        return self._transform(self._down(x_BPE)[0], last)

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.config.use_activation_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, x, use_reentrant=False)  # type: ignore[no-any-return]
        return block(x)  # type: ignore[no-any-return]


def start_ordered(bins_VE: Tensor, generator: torch.Generator | None) -> None:
    """Put each column of a table of bins, shape (V, E), on a cosine of at most one period over the bins. Modified."""
    V, E = bins_VE.shape
    device = bins_VE.device
    frequency_E, phase_E = torch.rand(2, E, generator=generator, device=device) * 2 * math.pi
    with torch.no_grad():
        place_V1 = torch.linspace(0.0, 1.0, V, device=device)[:, None]
        bins_VE.copy_(math.sqrt(2.0) * torch.cos(frequency_E * place_V1 + phase_E))


def sum_of(embeddings: Mapping[str, Tensor]) -> Tensor:
    """Sum over omics, shape as each of them."""
    return torch.stack(list(embeddings.values())).sum(dim=0)


def _fan_in(module: nn.Linear | nn.Conv1d | nn.ConvTranspose1d) -> float:
    """Inputs that an output value adds up; of a transposed convolution, on average over positions."""
    if isinstance(module, nn.Linear):
        return module.in_features
    return module.in_channels * module.kernel_size[0] / module.stride[0]
