"""Integrated gradients of a fine-tuned network's output with respect to each gene's expression.

Shape letters: B batch, G genes, D model, E pooled embedding, O outputs.

Source: Sundararajan et al., ICML 2017 (integrated gradients), through `captum`. The path goes from the embedding of a
baseline bin to the embedding of the sample's bin, gene by gene; gene embeddings stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bulkrnabert import keys
from bulkrnabert.errors import ConfigError
from bulkrnabert.logs import progress
from bulkrnabert.models.bulkrnabert import BulkRNABert
from bulkrnabert.models.encoder import Encoder
from bulkrnabert.models.finetuned import FinetunedNetwork

logger = logging.getLogger(__name__)

Baseline = Literal["mean", "zero", "mask"]
DEFAULT_STEPS = 32
CPU_POINT_BYTES = 2**29
GPU_POINT_BYTES = 2**34
FLOATS_PER_POSITION_AND_LAYER = 12
BYTES_PER_FLOAT = 4


@dataclass(frozen=True)
class Attributions:
    """What each gene adds to an output, above the output at the baseline.

    Attributes:
        values: Shape (samples, genes), float32; above 0 speaks for the class (or for a higher hazard).
        outputs: What is explained, shape (samples,), float64.
        baseline_outputs: The same at the baseline, shape (samples,), float64.
        deltas: Sum of a sample's values less (output - baseline output): what the finite number of steps misses,
            shape (samples,), float64. Zero for an exact integral.
    """

    values: npt.NDArray[np.float32]
    outputs: npt.NDArray[np.float64]
    baseline_outputs: npt.NDArray[np.float64]
    deltas: npt.NDArray[np.float64]


def require_bulkrnabert(encoder: Encoder) -> BulkRNABert:
    """The encoder, if it is one whose genes can be followed from their embedding to the output.

    Raises:
        ConfigError: another kind of model.
    """
    if not isinstance(encoder, BulkRNABert):
        raise ConfigError(
            f"attribution is for BulkRNABert, found {type(encoder).__name__}: fine-tune a BulkRNABert on the same data "
            "to see which genes count"
        )
    return encoder


def resolve_baseline(wanted: Baseline | None, encoder: Encoder) -> Baseline:
    """The baseline that was asked for; left out, `mean` where the encoder keeps bin statistics, else `mask`.

    Raises:
        ConfigError: `mean`, for an encoder that keeps no bin statistics.
    """
    has_statistics = encoder.config.has_bin_statistics
    if wanted == "mean" and not has_statistics:
        raise ConfigError(
            "--baseline mean needs an encoder that keeps each gene's mean bin, which imported ones do not: use mask or "
            "zero"
        )
    return wanted or ("mean" if has_statistics else "mask")


def baseline_tokens(baseline: Baseline, network: FinetunedNetwork) -> Tensor:
    """Token ids of the baseline, shape (1, G): each gene's training mean bin (rounded), bin 0, or `<mask>`."""
    encoder, genes = network.encoder, network.encoder_genes()
    if baseline == "mean":
        mean_G = encoder.get_buffer("bin_mean").round().long()
        return (mean_G if genes is None else mean_G[genes]).clamp(0, encoder.config.n_bins - 1)[None]
    n_genes = encoder.config.n_genes if genes is None else len(genes)
    return torch.full((1, n_genes), 0 if baseline == "zero" else keys.MASK_ID, device=_device_of(encoder))


def integrated_gradients(
    network: FinetunedNetwork,
    token_ids: npt.NDArray[np.uint8],
    task: str,
    class_idx: npt.NDArray[np.int64],
    baseline: Baseline,
    n_steps: int = DEFAULT_STEPS,
    points_at_once: int | None = None,
) -> Attributions:
    """Attribute one output a sample to its genes; runs where the network is, in float32.

    What is explained is a class's logit above the mean of all classes' logits (the part that the softmax sees), or the
    log hazard. Under `marker` and `eigengene` pooling the weights of the genes and their standardised bins are moved
    along the path as well, so that what a gene does through them is counted to it.

    Args:
        network: Its parameters are left as they were; its encoder is a BulkRNABert.
        token_ids: Shape (samples, genes), the genes that the network reads in their order. Not modified.
        task: Name of the head.
        class_idx: Class to explain for each sample, shape (samples,); 0 for a log hazard.
        baseline: What "no information" is.
        n_steps: Points of the path (Gauss-Legendre).
        points_at_once: Points that go through the network together, which bounds the memory; chosen from the number of
            genes when None.
    """
    path = _import_captum().IntegratedGradients(lambda *parts: explained_output(network, task, *parts))
    size = points_at_once if points_at_once is not None else choose_points(network.encoder, n_steps)
    device = _device_of(network.encoder)
    values = np.zeros(token_ids.shape, dtype=np.float32)
    outputs, baseline_outputs, deltas = np.zeros((3, len(token_ids)))
    with _only_inputs_need_gradients(network):
        start = _path_inputs(network, baseline_tokens(baseline, network))
        rows = progress(range(len(token_ids)), what="attribute", unit="sample")
        for row in rows:
            ids_1G = torch.from_numpy(np.ascontiguousarray(token_ids[row : row + 1])).to(device)
            end = _path_inputs(network, ids_1G)
            target = torch.tensor([class_idx[row]], device=device)
            parts = path.attribute(
                end, baselines=start, additional_forward_args=(target,), n_steps=n_steps, internal_batch_size=size
            )
            # In double: the sum over genes is compared with the output's difference.
            per_gene_G = parts[0][0].detach().double().sum(dim=-1)
            for part in parts[1:]:
                per_gene_G = per_gene_G + part[0].detach().double()
            with torch.no_grad():
                outputs[row] = float(explained_output(network, task, *end, target))
                baseline_outputs[row] = float(explained_output(network, task, *start, target))
            deltas[row] = float(per_gene_G.sum()) - (outputs[row] - baseline_outputs[row])
            values[row] = per_gene_G.cpu().numpy()
    return Attributions(values, outputs, baseline_outputs, deltas)


def explained_output(network: FinetunedNetwork, task: str, expression_BGD: Tensor, *others: Tensor) -> Tensor:
    """What is explained, shape (B,), at points between embeddings of expression.

    Args:
        network: The network.
        task: Name of the head.
        expression_BGD: Embedded expression.
        others: Marker weights, shape (B, G), under `marker` and `eigengene` pooling; standardised bins, shape (B, G),
            under the latter; then the class to explain, shape (B,).
    """
    *weights, class_idx_B = others
    encoder, pooling = require_bulkrnabert(network.encoder), network.config.pooling
    hidden_BGD = encoder.encode_expression(expression_BGD, network.encoder_genes(), layer=network.config.layer)
    if pooling == "attention":
        assert network.attention_pooling is not None
        pooled_BE = network.attention_pooling(hidden_BGD.float())
    else:
        assert pooling != "values"  # of a GexBERT alone
        scores_BR = encoder.scores_of(weights[1], network.encoder_genes()) if pooling == "eigengene" else None
        pooled_BE = encoder.pool(hidden_BGD, pooling, weights[0] if weights else None, scores_BR)
    output_BO = network.outputs(pooled_BE)[task]
    if output_BO.shape[1] == 1:
        return output_BO[:, 0]
    chosen_B = output_BO.gather(1, class_idx_B.expand(len(output_BO))[:, None])[:, 0]
    return chosen_B - output_BO.mean(dim=1)


def choose_points(encoder: Encoder, n_steps: int) -> int:
    """Points of the path whose activations fit a fixed budget: 0.5 GiB on a CPU, 16 GiB on a GPU; at least 1."""
    config = encoder.config
    floats = config.n_genes * config.embed_dim * FLOATS_PER_POSITION_AND_LAYER * config.n_layers
    budget = GPU_POINT_BYTES if _device_of(encoder).type == "cuda" else CPU_POINT_BYTES
    return min(n_steps, max(1, budget // (floats * BYTES_PER_FLOAT)))


def _path_inputs(network: FinetunedNetwork, ids_1G: Tensor) -> tuple[Tensor, ...]:
    """An end of the path: embedded expression, (1, G, D); marker weights and standardised bins, (1, G), if pooled."""
    encoder, genes = require_bulkrnabert(network.encoder), network.encoder_genes()
    with torch.no_grad():
        expression = encoder.expression(ids_1G, genes)
        if network.config.pooling not in ("marker", "eigengene"):
            return (expression,)
        weights = encoder.marker_weights(ids_1G, genes)
        if network.config.pooling == "marker":
            return expression, weights
        return expression, weights, encoder.standardised_bins(ids_1G, genes)


@contextmanager
def _only_inputs_need_gradients(network: FinetunedNetwork) -> Iterator[None]:
    was_training = network.training
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        network.train(was_training)


def _device_of(encoder: Encoder) -> torch.device:
    return next(encoder.parameters()).device


def _import_captum() -> Any:
    try:
        import captum.attr
    except ImportError as error:
        raise ConfigError(
            "integrated gradients need captum, which is not installed: install `bulkrnabert[finetune]`, or use "
            "--method attention"
        ) from error
    return captum.attr
