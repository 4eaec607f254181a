"""GexBERT: an encoder that reads some genes, and a decoder that restores the values of others.

Shape letters: B batch, K input genes, T target genes, G genes, D model, R factors, H heads, V bins.

Source: Jiang & Hassanpour, Sci Rep 15:37581 (2025): encoder and decoder, gene embedding from a random start, binned
value with a learned embedding for a missing one, random gene subsets, restoration. Neither sizes nor code are public;
what is ours is in docs/decisions/0020 to 0022 and 0025.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bulkrnabert.errors import ConfigError
from bulkrnabert.keys import MASK_ID, N_TOKEN_IDS, PAD_ID
from bulkrnabert.models.encoder import Encoder, EncoderConfig
from bulkrnabert.models.gexbert_decoder import DecoderBlock, FeedForward, SampleSummary
from bulkrnabert.models.gexbert_factors import FactorScores, LinearFactors
from bulkrnabert.models.gexbert_inputs import Encoded, Inputs, key_mask
from bulkrnabert.models.gexbert_outputs import GexBERTOutput, Restored
from bulkrnabert.models.layers import LAYER_NORM_EPSILON, TransformerBlock, initialise_linear

# What a stated deviation can be at all, in standardised units: a bin is 0.16 wide, all bins together 10.
LOG_DEVIATION_LIMITS = (-4.0, 2.3)


class GexBERTConfig(EncoderConfig):
    """Sizes of a GexBERT, beside those of every encoder.

    Attributes:
        n_heads: Attention heads, of encoder and decoder.
        ffn_embed_dim: Width of the feed-forward layer of a block.
        decoder_layers: Blocks of cross-attention.
        value_embedding: How a value enters a token: `bins`, one learned vector a bin, shared by all genes (published);
            `linear`, the bin's centre times a direction of the gene's own; `both`, their sum
            (docs/decisions/0020-gexbert-values.md).
        head: What the decoder states: mean and deviation (`gaussian`), or a distribution over the bins (`bins`).
        summary_layers: Feed-forward layers of the summary of a sample that every token and every query starts with;
            0: no summary, as published (docs/decisions/0021-gexbert-summary.md).
        summary_dim: Width of the summary before it is brought to D; None: D.
        summary_ffn_dim: Width inside these layers.
        n_factors: Linear factors from which every answer starts, and which the summary reads; 0: none, as published
            (docs/decisions/0025-gexbert-linear-start.md).
        n_prototypes: Typical samples to which the summary reads how near a sample is, beside the factors.
        value_limit: Standardised value at the outer edges of the bins, as the tokenizer's.
        max_known: Largest number of input genes that the model was trained on; it runs on more, unproven.
    """

    sizes_of_data: ClassVar[frozenset[str]] = frozenset({"n_eigengenes", "n_prototypes"})
    n_heads: int = Field(ge=1)
    ffn_embed_dim: int = Field(ge=1)
    decoder_layers: int = Field(default=1, ge=1)
    value_embedding: Literal["bins", "linear", "both"] = "linear"
    head: Literal["gaussian", "bins"] = "gaussian"
    summary_layers: int = Field(default=2, ge=0)
    summary_dim: int | None = Field(default=None, ge=1)
    summary_ffn_dim: int = Field(default=512, ge=1)
    n_factors: int = Field(default=0, ge=0)
    n_prototypes: int = Field(default=0, ge=0)
    value_limit: float = Field(default=5.0, gt=0)
    max_known: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.embed_dim % self.n_heads:
            raise ValueError(f"embed_dim {self.embed_dim} is no multiple of n_heads {self.n_heads}: change one")
        if self.n_bins > PAD_ID:
            raise ValueError(f"n_bins {self.n_bins} is more than {PAD_ID}, the first id that is no bin")
        if self.n_factors and self.value_embedding != "linear":
            raise ValueError(
                f"n_factors {self.n_factors} needs value_embedding `linear`, not `{self.value_embedding}`: only there "
                "is a value read off its embedding; set n_factors to 0, or the other to linear"
            )
        if self.n_prototypes and not self.n_factors:
            raise ValueError(f"n_prototypes {self.n_prototypes} without n_factors: set both, or n_prototypes to 0")
        return self


class GexBERT(Encoder):
    """Gene embedding + value embedding (+ summary), pre-LayerNorm blocks; gene queries, cross-attention, a head.

    There is no positional encoding: genes are told apart by their embedding alone. Token ids are bins of standardised
    values; `<mask>` is a listed gene whose value is missing, with a learned embedding of its own, which is attended to;
    `<pad>` is a column that is not there, so that samples with different numbers of known genes fit one batch.

    Initialisation as BulkRNABert's; the readout of each gene is normal with deviation 1. With linear factors, what the
    head says is added to what they say, and the readouts start at zero.
    """

    config: GexBERTConfig

    def __init__(self, config: GexBERTConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if config.n_genes < 1:
            raise ConfigError("n_genes is 0: fill it from the gene list with `config.with_genes(n)`")
        self.config = config
        D, dropout = config.embed_dim, config.dropout
        self.gene_embedding = nn.Embedding(config.n_genes, D)
        self.bin_embedding = nn.Embedding(N_TOKEN_IDS, D)
        self.direction = nn.Embedding(config.n_genes, D) if config.value_embedding != "bins" else None
        has_factors, width = config.n_factors > 0, config.summary_dim or D
        self.factors = LinearFactors(config.n_genes, config.n_factors, config.n_prototypes) if has_factors else None
        n_read, n_layers = config.n_factors + config.n_prototypes, config.summary_layers
        self.summary = (
            SampleSummary(D, n_read, config.summary_dim, n_layers, config.summary_ffn_dim, dropout)
            if n_layers
            else None
        )
        # The summary says something of each gene directly where answers start from factors.
        self.summary_readout = nn.Embedding(config.n_genes, width) if has_factors and n_layers else None
        self.summary_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPSILON) if has_factors and n_layers else None
        self.blocks = nn.ModuleList(
            TransformerBlock(D, config.n_heads, D // config.n_heads, config.ffn_embed_dim, dropout)
            for _ in range(config.n_layers)
        )
        self.inputs_norm = nn.LayerNorm(D, eps=LAYER_NORM_EPSILON)
        self.gene_query = nn.Linear(D, D)
        self.decoder = nn.ModuleList(
            DecoderBlock(D, config.n_heads, config.ffn_embed_dim, dropout) for _ in range(config.decoder_layers)
        )
        self.head_norm = nn.LayerNorm(D, eps=LAYER_NORM_EPSILON)
        self.readout = nn.Embedding(config.n_genes, D)
        self.head = nn.Linear(D, 2 if config.head == "gaussian" else config.n_bins)
        self.add_bin_statistics()
        self._initialise(generator)

    def _initialise(self, generator: torch.Generator | None) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                initialise_linear(module, generator)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, generator=generator)
        for block in self.blocks:
            assert isinstance(block, TransformerBlock)
            initialise_linear(block.attention.output, generator, (2 * self.config.n_layers) ** -0.5)
            initialise_linear(block.ffn_out, generator, (2 * self.config.n_layers) ** -0.5)
        for module in self.decoder.modules():
            if isinstance(module, DecoderBlock):
                initialise_linear(module.cross.output, generator, (2 * self.config.decoder_layers) ** -0.5)
            elif isinstance(module, FeedForward):
                initialise_linear(module.mlp_out, generator, (2 * self.config.decoder_layers) ** -0.5)
        if self.factors is None:
            initialise_linear(self.head, generator, 0.1)
        else:  # each gene's own readout is what starts at zero: zeros in the head would hold up all genes at once
            initialise_linear(self.head, generator, self.config.embed_dim**0.5)
            nn.init.zeros_(self.readout.weight)
            if self.factors.log_sharpness is not None:
                nn.init.zeros_(self.factors.log_sharpness.weight)
            if self.summary_readout is not None:
                nn.init.zeros_(self.summary_readout.weight)

    def start_tables(self, table: Tensor) -> None:
        """Put a table of shape (G, D) in place of the random start of each gene's direction and readout.

        With linear factors the readouts stay at zero.
        """
        with torch.no_grad():
            if self.direction is not None:
                self.direction.weight.copy_(table)
            if self.factors is None:
                self.readout.weight.copy_(table)

    def forward(
        self,
        token_ids: Tensor,
        *,
        gene_idx: Tensor | None = None,
        target_idx: Tensor | None = None,
        hidden_layers: Sequence[int] = (),
        attention_layers: Sequence[int] = (),
    ) -> GexBERTOutput:
        """Values of the target genes, with the layers asked for.

        Args:
            token_ids: Integer token ids, shape (B, K). Not modified.
            gene_idx: As in `encode`.
            target_idx: As in `restore`; None: all genes, in model order.
            hidden_layers: Layers of the encoder (from 1) whose output is returned.
            attention_layers: Layers of the decoder (from 1) whose attention is returned.
        Raises:
            ValueError: a shape, gene, layer number or token id does not fit the model.
        """
        if target_idx is None:
            target_idx = torch.arange(self.config.n_genes, device=token_ids.device)
        return GexBERTOutput(
            self.restore(token_ids, gene_idx, target_idx),
            {layer: self.encode(token_ids, gene_idx, layer=layer) for layer in hidden_layers},
            {layer: self.attention_to_inputs(token_ids, gene_idx, target_idx, layer) for layer in attention_layers},
        )

    def encode(self, token_ids: Tensor, gene_idx: Tensor | None = None, *, layer: int | None = None) -> Tensor:
        """Output of one layer of the encoder, shape (B, K, D): the last, or `layer` (from 1).

        Args:
            token_ids: Integer token ids, shape (B, K). Not modified.
            gene_idx: Which genes the columns are: shape (K,) for all samples, or (B, K) for each; None: all genes, in
                model order.
            layer: Layer from 1, after which nothing runs; None: the last.
        Returns:
            The output; at `<pad>` the mean over the sample's other columns, so that pooling does not see it.
        """
        self._check_layers(set() if layer is None else {layer})
        return self._encode(self._inputs(token_ids, gene_idx), layer).columns

    def expression(self, token_ids: Tensor, gene_idx: Tensor | None = None) -> Tensor:
        """Embedding of each gene's value, before its gene's own embedding is added, shape (B, K, D)."""
        self._check_tokens(token_ids, gene_idx)
        ids_BK = token_ids.long()
        if self.direction is None:
            return self.bin_embedding(ids_BK)  # type: ignore[no-any-return]
        is_bin_BK1 = (ids_BK < self.config.n_bins).unsqueeze(-1)
        directions_KD: Tensor = self.direction(self._all_genes(gene_idx, ids_BK.device))
        linear_BKD = self._centres(ids_BK).unsqueeze(-1) * directions_KD
        # Looked up at a single row where bins have no vector of their own, so that the rest of the table is not used.
        bins_BKD: Tensor = self.bin_embedding(
            ids_BK if self.config.value_embedding == "both" else ids_BK.clamp(min=MASK_ID, max=MASK_ID)
        )
        if self.config.value_embedding == "both":
            return torch.where(is_bin_BK1, bins_BKD + linear_BKD, bins_BKD)
        return torch.where(is_bin_BK1, linear_BKD, bins_BKD)

    def encode_expression(
        self,
        expression_BKD: Tensor,
        gene_idx: Tensor | None = None,
        *,
        layer: int | None = None,
        token_ids: Tensor | None = None,
    ) -> Tensor:
        """As `encode`, from the embeddings of values that `expression` gives, or from points between them.

        Args:
            expression_BKD: Embeddings of values.
            gene_idx: As in `encode`.
            layer: As in `encode`.
            token_ids: What they come from, which says which values are missing or padding; None: none is.
        """
        self._check_layers(set() if layer is None else {layer})
        return self._encode(self._embedded_inputs(expression_BKD, gene_idx, token_ids), layer).columns

    def restore(
        self,
        token_ids: Tensor,
        gene_idx: Tensor | None,
        target_idx: Tensor,
        factors: FactorScores | None = None,
    ) -> Restored:
        """Values of the target genes from those of the input genes.

        A target's answer depends neither on the other targets nor on the order of the inputs. A target that is among
        the inputs is answered all the same.

        Args:
            token_ids: Integer token ids, shape (B, K). Not modified.
            gene_idx: As in `encode`.
            target_idx: Genes to restore: shape (T,) for all samples, or (B, T) for each.
            factors: From `factor_scores`, where more genes are known than the columns; None: from the columns.
        Raises:
            ValueError: a shape, gene or token id does not fit the model, or a row is all `<pad>`.
        """
        return self.restored(self._stated(self._inputs(token_ids, gene_idx, factors), target_idx))

    def filled_values(self, token_ids: Tensor, gene_idx: Tensor | None = None) -> Tensor:
        """Standardised values of the columns: the middle of the bin, or restored where missing; (B, K), float32.

        Args:
            token_ids: Integer token ids, shape (B, K). Not modified.
            gene_idx: As in `encode`, shape (K,).
        """
        is_missing_BK = token_ids >= self.config.n_bins
        values_BK = self._centres(token_ids)
        lacking = is_missing_BK.any(dim=1)
        if bool(lacking.any()):
            genes = self._all_genes(gene_idx, token_ids.device)
            restored_BK = torch.zeros_like(values_BK)
            restored_BK[lacking] = self.restore(token_ids[lacking], gene_idx, genes).mean
            values_BK = torch.where(is_missing_BK, restored_BK, values_BK)
        return values_BK

    def factor_scores(self, token_ids: Tensor, gene_idx: Tensor | None) -> FactorScores | None:
        """Linear factors of samples from any number of known genes; None for a model without factors.

        Args:
            token_ids: Integer token ids, shape (B, K); `<mask>` and `<pad>` say nothing. Not modified.
            gene_idx: As in `encode`.
        """
        self._check_tokens(token_ids, gene_idx)
        if self.factors is None:
            return None
        genes = self._all_genes(gene_idx, token_ids.device)
        return self.factors.scores(self._centres(token_ids), token_ids < self.config.n_bins, genes)

    def restore_expression(
        self,
        expression_BKD: Tensor,
        gene_idx: Tensor | None,
        target_idx: Tensor,
        token_ids: Tensor | None = None,
    ) -> Restored:
        """As `restore`, from the embeddings of values that `expression` gives, or from points between them."""
        return self.restored(self._stated(self._embedded_inputs(expression_BKD, gene_idx, token_ids), target_idx))

    def stated(self, token_ids: Tensor, gene_idx: Tensor | None, target_idx: Tensor) -> Tensor:
        """What the head says, which the loss needs and `restored` turns into values.

        Args:
            token_ids: Integer token ids, shape (B, K). Not modified.
            gene_idx: As in `encode`.
            target_idx: As in `restore`.
        Returns:
            Mean and log of the deviation, shape (B, T, 2); or scores of the bins, shape (B, T, V).
        """
        return self._stated(self._inputs(token_ids, gene_idx), target_idx)

    def restored(self, stated: Tensor) -> Restored:
        """Values from what the head says."""
        stated = stated.float()
        if self.config.head == "gaussian":
            mean_BT, log_deviation_BT = stated.unbind(dim=-1)
            return Restored(mean_BT, log_deviation_BT.clamp(*LOG_DEVIATION_LIMITS).exp())
        probability_BTV = stated.softmax(dim=-1)
        centre_V = self._centres(torch.arange(self.config.n_bins, device=stated.device))
        mean_BT = probability_BTV @ centre_V
        distance_BTV = centre_V - mean_BT.unsqueeze(-1)
        variance_BT = (probability_BTV * distance_BTV.square()).sum(dim=-1) + self._bin_width**2 / 12
        return Restored(mean_BT, variance_BT.sqrt())

    def bins_of(self, values: Tensor) -> Tensor:
        """Bins of standardised values, as the tokenizer gives, any shape; values beyond the limits go to the ends."""
        places = (values + self.config.value_limit) / self._bin_width
        return places.floor().long().clamp(0, self.config.n_bins - 1)

    def attention_to_inputs(
        self, token_ids: Tensor, gene_idx: Tensor | None, target_idx: Tensor, layer: int | None = None
    ) -> Tensor:
        """Attention of the targets to the input genes, mean over heads, shape (B, T, K), float32; rows sum to 1.

        Args:
            token_ids: Integer token ids, shape (B, K). Not modified.
            gene_idx: As in `encode`.
            target_idx: As in `restore`.
            layer: Layer of the decoder, from 1; None: the last.
        """
        last = self.config.decoder_layers if layer is None else layer
        if not 1 <= last <= self.config.decoder_layers:
            raise ValueError(f"there is no decoder layer {last}: they are numbered 1 to {self.config.decoder_layers}")
        encoded = self._encode(self._inputs(token_ids, gene_idx))
        inputs_BKD, targets_BTD = self.inputs_norm(encoded.columns), self._queries(encoded, target_idx)
        for block in self.decoder[: last - 1]:
            targets_BTD = block(targets_BTD, inputs_BKD, encoded.key_mask)
        block = self.decoder[last - 1]
        assert isinstance(block, DecoderBlock)
        return block.attention_map(targets_BTD, inputs_BKD, encoded.key_mask).float().mean(dim=1)

    def attention_received(
        self, token_ids: Tensor, layers: Sequence[int], gene_idx: Tensor | None = None
    ) -> dict[int, Tensor]:
        """Share of each encoder layer's attention that every gene gets, mean over heads and queries; (B, K) each."""
        self._check_layers(set(layers))
        received: dict[int, Tensor] = {}
        start = self._start(self._inputs(token_ids, gene_idx))
        x_BKD = start.columns
        for number, block in enumerate(self.blocks[: max(layers, default=0)], start=1):
            assert isinstance(block, TransformerBlock)
            if number in layers:
                received[number] = block.attention_received(x_BKD, start.key_mask)
            x_BKD = self._run(block, x_BKD, start.key_mask)
        return received

    def _inputs(self, token_ids: Tensor, gene_idx: Tensor | None, factors: FactorScores | None = None) -> Inputs:
        return Inputs(
            self.expression(token_ids, gene_idx), gene_idx, token_ids, self._centres(token_ids.long()), factors
        )

    def _embedded_inputs(self, expression_BKD: Tensor, gene_idx: Tensor | None, token_ids: Tensor | None) -> Inputs:
        """From embeddings of values: where factors need the values, they are read off along each gene's direction."""
        values_BK = expression_BKD[..., 0]
        if self.direction is not None:
            directions_KD: Tensor = self.direction(self._all_genes(gene_idx, expression_BKD.device))
            values_BK = (expression_BKD * directions_KD).sum(dim=-1) / directions_KD.square().sum(dim=-1)
        return Inputs(expression_BKD, gene_idx, token_ids, values_BK)

    def _start(self, inputs: Inputs) -> Encoded:
        """Input of the first block."""
        B, K, _ = inputs.expression.shape
        device, token_ids, factors = inputs.expression.device, inputs.token_ids, inputs.factors
        genes = self._all_genes(inputs.gene_idx, device)
        genes_BKD: Tensor = self.gene_embedding(genes).expand(B, -1, -1)
        hidden_BKD, summary_BS, summary_BD = inputs.expression + genes_BKD, None, None
        is_known_BK = (
            torch.ones(B, K, dtype=torch.bool, device=device) if token_ids is None else token_ids < self.config.n_bins
        )
        if self.factors is not None and factors is None:
            factors = self.factors.scores(inputs.values, is_known_BK, genes)
        if self.summary is not None:
            read = (
                self.summary.sums(inputs.expression, genes_BKD, is_known_BK) if factors is None else factors.features()
            )
            summary_BS = self.summary(read)
            summary_BD = self.summary.narrow(summary_BS)
            hidden_BKD = hidden_BKD + summary_BD[:, None, :]
        return Encoded(hidden_BKD, summary_BS, summary_BD, factors, None if token_ids is None else key_mask(token_ids))

    def _encode(self, inputs: Inputs, last: int | None = None) -> Encoded:
        start = self._start(inputs)
        x_BKD, mask_BK = start.columns, start.key_mask
        for block in self.blocks[:last]:
            x_BKD = self._run(block, x_BKD, mask_BK)
        if mask_BK is not None:
            kept_BK1 = mask_BK.unsqueeze(-1).to(x_BKD.dtype)
            mean_B1D = (x_BKD * kept_BK1).sum(dim=1, keepdim=True) / kept_BK1.sum(dim=1, keepdim=True)
            x_BKD = torch.where(mask_BK.unsqueeze(-1), x_BKD, mean_B1D)
        return replace(start, columns=x_BKD)

    def _queries(self, encoded: Encoded, target_idx: Tensor) -> Tensor:
        B = len(encoded.columns)
        if target_idx.ndim not in (1, 2) or (target_idx.ndim == 2 and len(target_idx) != B):
            raise ValueError(f"target_idx has shape {tuple(target_idx.shape)}, expected (targets,) or ({B}, targets)")
        self._check_genes(target_idx)
        queries_BTD: Tensor = self.gene_query(self.gene_embedding(target_idx.long())).expand(B, -1, -1)
        return queries_BTD if encoded.summary is None else queries_BTD + encoded.summary[:, None, :]

    def _stated(self, inputs: Inputs, target_idx: Tensor) -> Tensor:
        """What the head says of each target, through the gene's own readout: (B, T, 2) or, over bins, (B, T, V)."""
        encoded = self._encode(inputs)
        inputs_BKD, targets_BTD = self.inputs_norm(encoded.columns), self._queries(encoded, target_idx)
        for block in self.decoder:
            targets_BTD = self._run(block, targets_BTD, inputs_BKD, encoded.key_mask)
        stated: Tensor = self.head(self.head_norm(targets_BTD) * self.readout(target_idx.long()))
        if self.factors is None or encoded.factors is None:
            return stated
        mean_BT, variance_BT = self.factors.predict(encoded.factors, target_idx.long())
        if self.summary_readout is not None and self.summary_norm is not None:
            readout_BTS = self.summary_readout(target_idx.long()).expand(len(mean_BT), -1, -1)
            mean_BT = mean_BT + (readout_BTS @ self.summary_norm(encoded.wide_summary).unsqueeze(-1)).squeeze(-1)
        if self.config.head == "gaussian":
            return stated.float() + torch.stack([mean_BT, variance_BT.log() / 2], dim=-1)
        centre_V = self._centres(torch.arange(self.config.n_bins, device=mean_BT.device))
        distance_BTV = centre_V - mean_BT.unsqueeze(-1)
        return stated.float() - distance_BTV.square() / (2 * variance_BT.unsqueeze(-1))

    @property
    def _bin_width(self) -> float:
        return 2 * self.config.value_limit / self.config.n_bins

    def _centres(self, ids: Tensor) -> Tensor:
        """Standardised value at the middle of each bin; above the top bin for `<pad>` and `<mask>`, to be left out."""
        return (ids.float() + 0.5) * self._bin_width - self.config.value_limit

    def _all_genes(self, gene_idx: Tensor | None, device: torch.device) -> Tensor:
        # Looked up, not taken as it stands: under ZeRO 3 the table itself is gone again before the backward pass.
        return torch.arange(self.config.n_genes, device=device) if gene_idx is None else gene_idx.long()

    def _run(self, block: nn.Module, *inputs: Tensor | None) -> Tensor:
        if self.config.use_activation_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)  # type: ignore[no-any-return]
        return block(*inputs)  # type: ignore[no-any-return]

    def _check_tokens(self, token_ids: Tensor, gene_idx: Tensor | None) -> None:
        if gene_idx is not None and gene_idx.ndim == 2:
            if gene_idx.shape != token_ids.shape:
                raise ValueError(
                    f"gene_idx has shape {tuple(gene_idx.shape)}, token_ids {tuple(token_ids.shape)}: one gene a "
                    "token, or one row of genes for all samples"
                )
            super()._check_tokens(token_ids, gene_idx[0])
        else:
            super()._check_tokens(token_ids, gene_idx)
        if token_ids.shape[1] == 0:
            raise ValueError("token_ids has no columns: give at least one gene, `<mask>` where nothing is known")
        if int(token_ids.max()) >= N_TOKEN_IDS:
            raise ValueError(f"token id {int(token_ids.max())} is beyond the {N_TOKEN_IDS} that there are")
        if gene_idx is not None:
            self._check_genes(gene_idx)

    def _check_genes(self, gene_idx: Tensor) -> None:
        if gene_idx.numel() == 0:
            return
        low, high = int(gene_idx.min()), int(gene_idx.max())
        if low < 0 or high >= self.config.n_genes:
            raise ValueError(f"gene index {low} to {high}: the model has genes 0 to {self.config.n_genes - 1}")
