"""What goes through the model at each step, as a function of the seed and the step alone.

Letters: B samples, G genes, M masked positions of a sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bulkrnabert import keys
from bulkrnabert.data.masking import Purpose, mask_tokens, n_masked, seeded_generator
from bulkrnabert.errors import DataError
from bulkrnabert.train.config import MaskedTrainConfig
from bulkrnabert.train.mixture import SampleOrder

MIN_VALIDATION_SAMPLES = 8
MAX_VALIDATION_SHARE = 0.2
VALIDATION_BATCH_SIZE = 8
# Without a limit a validation would need more memory than the training step at a micro-batch of one long sample.
VALIDATION_POSITIONS = 2**15


@dataclass(frozen=True)
class Parts:
    """Rows of the training part: those trained on, and those set aside for the validation curve.

    Attributes:
        fit_idx: Rows trained on, ascending.
        validation_idx: Rows of other patients, ascending.
    """

    fit_idx: NDArray[np.int64]
    validation_idx: NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Tensors of one pass through a model, on the CPU: its fields, in the order in which the objective takes them."""

    def arguments(self, device: torch.device) -> list[Tensor | None]:
        """The tensors on a device."""
        values: list[Tensor | None] = [getattr(self, field.name) for field in fields(self)]
        return [None if value is None else value.to(device) for value in values]


@dataclass(frozen=True)
class MicroBatch(Batch):
    """Masked samples: inputs (B, G), masked_idx and targets (B, M), gene_idx (G,) or None for all genes."""

    inputs: Tensor
    masked_idx: Tensor
    targets: Tensor
    gene_idx: Tensor | None


@dataclass(frozen=True)
class ValidationBatch:
    """A pass of the validation, and whether it counts."""

    batch: Batch
    counts: bool


@dataclass(frozen=True)
class ValidationShare:
    """Rows of one pass of the validation.

    Attributes:
        number: Which batch of the validation it is, from 0.
        rows: Its rows.
        counts: False where a process only repeats a batch to keep step with the others.
    """

    number: int
    rows: NDArray[np.int64]
    counts: bool


def validation_shares(validation_idx: NDArray[np.int64], rank: int, world_size: int) -> Iterator[ValidationShare]:
    """One process's batches of the validation part.

    Every process gets equally many, because under ZeRO 3 all run a pass together; the last ones may repeat a batch,
    which does not count.
    """
    n_batches = math.ceil(len(validation_idx) / VALIDATION_BATCH_SIZE)
    for turn in range(math.ceil(n_batches / world_size)):
        number = turn * world_size + rank
        counts = number < n_batches
        number = min(number, n_batches - 1)
        rows = validation_idx[number * VALIDATION_BATCH_SIZE : (number + 1) * VALIDATION_BATCH_SIZE]
        yield ValidationShare(number, rows, counts)


def validation_rows_at_once(n_genes: int) -> int:
    """Samples that go through a BulkRNABert at once in a validation: 8, fewer where a sample has over 4,096 genes."""
    return min(VALIDATION_BATCH_SIZE, max(1, VALIDATION_POSITIONS // n_genes))


def split_off_validation(samples: pd.DataFrame, fraction: float, seed: int) -> Parts:
    """Set whole patients of the training part aside; held-out samples are in neither part.

    Args:
        samples: A row a sample, with `patient_id` and `part`.
        fraction: Share of the training patients to set aside. More are taken until there are 8 samples, but never
            more than a fifth of the patients unless one patient is more than that.
        seed: Seed of the run.
    Raises:
        DataError: fewer than two patients to train on, or a patient is in both parts.
    """
    is_training = np.asarray(samples[keys.PART] == keys.TRAIN)
    patients = samples[keys.PATIENT_ID].astype(str).to_numpy()
    torn = sorted(set(patients[is_training]) & set(patients[~is_training]))
    if torn:
        raise DataError(
            f"patient {torn[0]} (and {len(torn) - 1} more) has samples both in part {keys.TRAIN} and {keys.HELD_OUT}: "
            "pretraining would see the patients it is judged on; run `bulkrnabert split` and `tokenize` again"
        )
    names, n_samples_of = np.unique(patients[is_training], return_counts=True)
    if len(names) < 2:
        raise DataError(
            f"{len(names)} patients in part {keys.TRAIN}, of {len(samples)} samples: pretraining needs at least "
            "two, one of them for validation"
        )
    order = seeded_generator(seed, "validation_part").permutation(len(names))
    n_wanted = math.ceil(fraction * len(names))
    n_enough = int(np.searchsorted(np.cumsum(n_samples_of[order]), MIN_VALIDATION_SAMPLES)) + 1
    n_most = max(n_wanted, math.floor(MAX_VALIDATION_SHARE * len(names)))
    n_patients = min(max(n_wanted, n_enough), n_most, len(names) - 1)
    is_validation = is_training & np.isin(patients, names[order[:n_patients]])
    return Parts(np.flatnonzero(is_training & ~is_validation), np.flatnonzero(is_validation))


class BatchSource:
    """Batches of a run.

    Args:
        token_ids: Shape (samples, genes), uint8; only the rows of `parts` are read. Not modified.
        parts: Rows to train and to validate on.
        order: Which row stands at each place of the run.
        config: Settings of the run.
        n_bins: Bins the model predicts.
        seed: Seed of the run.
    """

    def __init__(
        self,
        token_ids: NDArray[np.uint8],
        parts: Parts,
        order: SampleOrder,
        config: MaskedTrainConfig,
        n_bins: int,
        seed: int,
    ) -> None:
        self.parts = parts
        self._order = order
        self._token_ids = token_ids
        self._config = config
        self._n_bins = n_bins
        self._seed = seed
        self.n_genes = token_ids.shape[1]
        self._subset = min(config.genes_per_step or self.n_genes, self.n_genes)

    def n_genes_at(self, step: int) -> int:
        """Genes that a step sees."""
        is_full = step >= self._config.steps - self._config.full_length_steps
        return int(self.n_genes if is_full else self._subset)

    def n_masked_at(self, step: int) -> int:
        """Masked positions of a sample in a step."""
        return n_masked(self.n_genes_at(step), self._config.mask_fraction)

    def rows(self, step: int) -> NDArray[np.int64]:
        """Rows of the global batch of a step."""
        size = self._config.global_batch_size
        return self._order.rows(step * size + np.arange(size))

    def micro_batch(self, step: int, start: int, size: int) -> MicroBatch:
        """Samples `start` to `start + size` of the global batch of a step; all of a step see the same genes."""
        genes = self._genes("genes", step, self.n_genes_at(step))
        places = range(start, start + size)
        return self.mask(self.rows(step)[start : start + size], genes, "mask", [(step, row) for row in places])

    def validation_batches(self, rank: int, world_size: int) -> Iterator[ValidationBatch]:
        """This process's share of the validation part: the same masks at every call.

        Each batch has a gene subset of its own, so that together they cover more of the genes.
        """
        size = validation_rows_at_once(self._subset)
        n_most = min(VALIDATION_BATCH_SIZE, len(self.parts.validation_idx))
        for share in validation_shares(self.parts.validation_idx, rank, world_size):
            genes = self._genes("validation_genes", share.number, self._subset)
            for start in range(0, n_most, size):
                rows = share.rows[start : start + size]
                if len(rows) == 0 and world_size == 1:
                    continue
                counts = share.counts and len(rows) > 0
                rows = rows if len(rows) else share.rows[:1]  # only keeps step with the other processes
                positions: list[tuple[int, ...]] = [(int(row),) for row in rows]
                yield ValidationBatch(self.mask(rows, genes, "validation_mask", positions), counts)

    def most_frequent_bins(self) -> NDArray[np.int64]:
        """The bin that each gene has most often in the rows trained on, shape (genes,): the baseline to beat."""
        n_ids = max(self._n_bins, keys.N_TOKEN_IDS)
        counts = np.zeros(self.n_genes * n_ids, dtype=np.int64)
        offsets = np.arange(self.n_genes) * n_ids
        for start in range(0, len(self.parts.fit_idx), 256):
            tokens = self._token_ids[self.parts.fit_idx[start : start + 256]]
            counts += np.bincount((tokens + offsets).ravel(), minlength=len(counts))
        return np.asarray(counts.reshape(self.n_genes, n_ids)[:, : self._n_bins].argmax(axis=1), dtype=np.int64)

    def _genes(self, purpose: Purpose, position: int, n_wanted: int) -> NDArray[np.int64]:
        if n_wanted == self.n_genes:
            return np.arange(self.n_genes)
        generator = seeded_generator(self._seed, purpose, position)
        return np.sort(generator.choice(self.n_genes, size=n_wanted, replace=False, shuffle=False))

    def mask(
        self,
        rows: NDArray[np.int64],
        gene_idx: NDArray[np.int64],
        mask_purpose: Purpose,
        mask_positions: list[tuple[int, ...]],
    ) -> MicroBatch:
        """These rows and genes as a batch, each row masked by the draw of its own position."""
        masked = mask_tokens(
            self._token_ids[np.ix_(rows, gene_idx)],
            [seeded_generator(self._seed, mask_purpose, *position) for position in mask_positions],
            mask_fraction=self._config.mask_fraction,
            n_bins=self._n_bins,
        )
        return MicroBatch(
            inputs=torch.from_numpy(masked.inputs).long(),
            masked_idx=torch.from_numpy(masked.masked_idx),
            targets=torch.from_numpy(masked.targets),
            gene_idx=None if len(gene_idx) == self.n_genes else torch.from_numpy(gene_idx),
        )
