"""Missing values restored by a checkpoint: GexBERT, or BulkRNABert with missing genes as `<mask>`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Never

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from bulkrnabert import keys
from bulkrnabert.data.binning import Z_LIMIT, equal_bins
from bulkrnabert.data.tokenizer import CENTRED_UNITS, BinnedTokenizer
from bulkrnabert.data.units import parse_unit, to_stored
from bulkrnabert.downstream.embed import choose_batch_size
from bulkrnabert.downstream.pretrained import PretrainedModel
from bulkrnabert.downstream.restoration import (
    FloatArray,
    IntArray,
    RestoredValues,
    ScaledRestorer,
    deal_out,
    known_batches,
)
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.logs import progress, progress_bar
from bulkrnabert.models.bulkrnabert import BulkRNABert
from bulkrnabert.models.gexbert import GexBERT

ACTIVATION_BYTES = {"cpu": 2**28, "cuda": 2**32}
FLOATS_PER_POSITION = 8
BYTES_PER_FLOAT = 4


def model_restorer(model: PretrainedModel) -> ScaledRestorer:
    """What restores values with a checkpoint.

    Raises:
        ConfigError: a kind of model that restores no expression.
    """
    if isinstance(model.network, GexBERT):
        return GexBERTRestorer(model.network, model.tokenizer)
    if isinstance(model.network, BulkRNABert):
        return BinRestorer(model)
    raise ConfigError(f"a checkpoint of {model.name} restores no expression: give one of gexbert or bulkrnabert")


class GexBERTRestorer:
    """GexBERT: the genes that a sample has go in, every gene comes out, in deviations of the training part.

    Args:
        network: The network, where it is to run.
        tokenizer: Its tokenizer, which standardises each gene.
    """

    def __init__(self, network: GexBERT, tokenizer: BinnedTokenizer) -> None:
        self._network = network
        self._tokenizer = tokenizer

    @property
    def scale(self) -> str:
        """As `ScaledRestorer.scale`."""
        return "standard deviations of the gene in the model's training part"

    def scaled(self, values: FloatArray, unit: str) -> npt.NDArray[np.float32]:
        """As `ScaledRestorer.scaled`."""
        return self._tokenizer.standardise(values, unit)

    def unscaled(self, scaled: FloatArray) -> npt.NDArray[np.float64]:
        """As `ScaledRestorer.unscaled`."""
        return self._tokenizer.unstandardise(scaled)

    def restore(self, values: FloatArray) -> RestoredValues:
        """As `Restorer.restore`; z in, z out."""
        return self.restore_targets(values, np.arange(values.shape[1], dtype=np.int64))

    def restore_targets(self, values: FloatArray, target_idx: IntArray) -> RestoredValues:
        """As `restore`, of some genes only.

        A sample that knows far more genes than the model read in pretraining (`max_known`) is restored from about as
        many at a time, each gene read once; the answers are averaged by their stated precision. Linear factors, where
        the model has them, are of all known genes in every answer. The stated deviation is that of a single answer, so
        rather too wide.

        Args:
            values: z, shape (samples, genes), NaN where missing. Not modified.
            target_idx: Genes to restore, shape (targets,).
        Returns:
            Arrays of shape (samples, targets).
        """
        part_of = deal_out(~np.isnan(values), self._network.config.max_known)
        n_parts = part_of.max(axis=1, initial=0) + 1
        bins = equal_bins(np.asarray(values, dtype=np.float64), Z_LIMIT, self._tokenizer.n_bins)
        weighted, precision, variance = (np.zeros((len(values), len(target_idx))) for _ in range(3))
        self._network.eval()
        with progress_bar(int(n_parts.sum()), what="restore", unit="sample") as bar:
            for part in range(int(n_parts.max(initial=1))):
                rows = np.flatnonzero(n_parts > part)
                found = self._restore(bins[rows], part_of[rows], part, target_idx, bar)
                assert found.deviation is not None
                own_variance = found.deviation.astype(np.float64) ** 2
                weighted[rows] += found.mean / own_variance
                precision[rows] += 1 / own_variance
                variance[rows] += own_variance
        deviation = np.sqrt(variance / n_parts[:, None])
        return RestoredValues((weighted / precision).astype(np.float32), deviation.astype(np.float32))

    def _restore(
        self, bins: IntArray, part_of: IntArray, part: int, target_idx: IntArray, bar: tqdm[Never]
    ) -> RestoredValues:
        device = next(self._network.parameters()).device
        targets = torch.from_numpy(target_idx).to(device)
        mean = np.empty((len(bins), len(target_idx)), dtype=np.float32)
        deviation = np.empty_like(mean)
        with torch.inference_mode():
            for batch in known_batches(
                part_of == part, lambda n_known: self._rows_at_once(max(bins.shape[1], n_known + len(target_idx)))
            ):
                own = np.take_along_axis(bins[batch.rows], batch.gene_idx, axis=1)
                ids = np.where(batch.is_there, own, keys.PAD_ID)
                token_ids, gene_idx = (torch.from_numpy(item).to(device) for item in (ids, batch.gene_idx))
                all_known = torch.from_numpy(np.where(part_of[batch.rows] < 0, keys.PAD_ID, bins[batch.rows]))
                with _autocast(device):
                    factors = self._network.factor_scores(all_known.to(device), None)
                    found = self._network.restore(token_ids, gene_idx, targets, factors)
                mean[batch.rows] = found.mean.float().cpu().numpy()
                deviation[batch.rows] = found.deviation.float().cpu().numpy()
                bar.update(len(batch.rows))
        return RestoredValues(mean, deviation)

    def _rows_at_once(self, n_positions: int) -> int:
        config, device = self._network.config, next(self._network.parameters()).device
        width = max(config.embed_dim * FLOATS_PER_POSITION, config.ffn_embed_dim, 3 * config.n_factors)
        return max(1, ACTIVATION_BYTES[device.type] // (n_positions * width * BYTES_PER_FLOAT))


class BinRestorer:
    """BulkRNABert: missing genes are `<mask>`, and the expected centre of their bins is what they are.

    Args:
        model: A checkpoint of BulkRNABert.
    """

    def __init__(self, model: PretrainedModel) -> None:
        self._model = model
        self._centres = bin_centres(model.tokenizer)

    @property
    def scale(self) -> str:
        """As `ScaledRestorer.scale`."""
        unit = self._model.tokenizer.unit
        return unit if unit in CENTRED_UNITS else f"log10({unit}+1)"

    def scaled(self, values: FloatArray, unit: str) -> npt.NDArray[np.float32]:
        """As `ScaledRestorer.scaled`; refuses what the tokenizer refuses."""
        tokenizer = self._model.tokenizer
        tokenizer.encode_rows(values, unit, 0)
        given = parse_unit(unit)
        if tokenizer.unit not in CENTRED_UNITS and str(given) != f"log10({tokenizer.unit}+1)":
            return np.asarray(np.log10(1.0 + to_stored(values, given).values), dtype=np.float32)
        return np.asarray(values, dtype=np.float32)

    def unscaled(self, scaled: FloatArray) -> npt.NDArray[np.float64]:
        """As `ScaledRestorer.unscaled`."""
        own = np.asarray(scaled, dtype=np.float64)
        return own if self._model.tokenizer.unit in CENTRED_UNITS else np.maximum(np.power(10.0, own) - 1.0, 0.0)

    def restore(self, values: FloatArray) -> RestoredValues:
        """As `Restorer.restore`; the deviation is that of the bins' distribution."""
        model, tokenizer = self._model, self._model.tokenizer
        unit = tokenizer.unit if tokenizer.unit in CENTRED_UNITS else f"log10({tokenizer.unit}+1)"
        ids = np.where(np.isnan(values), keys.MASK_ID, tokenizer.encode_rows(values, unit, 0))
        device = next(model.parameters()).device
        centres = torch.from_numpy(self._centres).float().to(device)
        mean, deviation = np.empty(values.shape, np.float32), np.empty(values.shape, np.float32)
        size = choose_batch_size(model, device)
        model.eval()
        starts = progress(range(0, len(ids), size), what="restore", unit="batch")
        with torch.inference_mode():
            for start in starts:
                batch = torch.from_numpy(ids[start : start + size].astype(np.int64)).to(device)
                with _autocast(device):
                    logits = model(batch).logits
                shares = logits[..., : tokenizer.n_bins].float().softmax(dim=-1)
                expected = shares @ centres
                spread = (shares @ centres**2 - expected**2).clamp(min=0).sqrt()
                mean[start : start + size] = expected.cpu().numpy()
                deviation[start : start + size] = spread.cpu().numpy()
        return RestoredValues(mean, deviation)


def bin_centres(tokenizer: BinnedTokenizer) -> npt.NDArray[np.float64]:
    """Value that each bin stands for, shape (bins,): log10(1 + x), or the value of a centred scale.

    The middle of the bin; bin 0 of a linear scale holds exact zeros. Outer quantile bins have no middle and stand for
    their edge.

    Raises:
        DataError: a tokenizer of another kind.
    """
    if tokenizer.edges_kind == "quantile":
        assert tokenizer.edges is not None
        edges = np.array([tokenizer.edges[0], *tokenizer.edges, tokenizer.edges[-1]])
        return np.asarray((edges[1:] + edges[:-1]) / 2)
    if tokenizer.edges_kind != "log_linear" or tokenizer.normalization_factor is None:
        raise DataError(f"bins of kind {tokenizer.edges_kind} have no centre in a unit of expression")
    edges = np.linspace(0.0, 1.0, tokenizer.n_bins) * tokenizer.normalization_factor
    return np.concatenate([[0.0], (edges[1:] + edges[:-1]) / 2])


def _autocast(device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()
