"""Batches: who is in them, and that they depend on seed and step alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from bulkrnabert import keys
from bulkrnabert.data.tokens import Tokens
from bulkrnabert.errors import DataError
from bulkrnabert.train import batches
from bulkrnabert.train.batches import BatchSource, Parts, split_off_validation
from bulkrnabert.train.config import MaskedTrainConfig
from bulkrnabert.train.mixture import mix_cohorts


def frame(patients: list[str], parts: list[str]) -> pd.DataFrame:
    return pd.DataFrame({keys.PATIENT_ID: patients, keys.PART: parts})


def batch_source(token_ids: np.ndarray, samples: pd.DataFrame, parts: Parts, config: MaskedTrainConfig) -> BatchSource:
    order = mix_cohorts(samples, parts.fit_idx, config.cohort_weights, config.steps * config.global_batch_size * 20, 0)
    return BatchSource(token_ids, parts, order, config, n_bins=64, seed=0)


@pytest.fixture
def source(tokens: Tokens, train_config: MaskedTrainConfig) -> BatchSource:
    parts = split_off_validation(tokens.samples, train_config.validation_fraction, seed=0)
    return batch_source(tokens.token_ids, tokens.samples, parts, train_config)


def test_validation_patients_are_set_aside_whole() -> None:
    patients = [f"P{row // 2}" for row in range(100)]
    parts = split_off_validation(frame(patients, [keys.TRAIN] * 100), 0.05, seed=1)
    fit = {patients[row] for row in parts.fit_idx}
    validation = {patients[row] for row in parts.validation_idx}
    assert not fit & validation
    assert len(parts.validation_idx) == 8  # a twentieth is 3 patients; 4 give the 8 samples
    assert len(parts.fit_idx) + len(parts.validation_idx) == 100


def test_a_small_part_keeps_at_least_four_fifths_of_the_patients() -> None:
    parts = split_off_validation(frame([f"P{row}" for row in range(10)], [keys.TRAIN] * 10), 0.05, seed=1)
    assert len(parts.validation_idx) == 2


def test_held_out_samples_are_in_neither_part(source: BatchSource) -> None:
    assert min(source.parts.fit_idx.min(), source.parts.validation_idx.min()) >= 8


def test_a_patient_on_both_sides_is_refused() -> None:
    with pytest.raises(DataError, match=r"patient B \(and 0 more\) has samples both in part"):
        split_off_validation(frame(["A", "B", "B"], [keys.TRAIN, keys.TRAIN, keys.HELD_OUT]), 0.05, seed=0)


def test_one_patient_is_too_few() -> None:
    with pytest.raises(DataError, match="at least two"):
        split_off_validation(frame(["A", "B"], [keys.TRAIN, keys.HELD_OUT]), 0.05, seed=0)


def test_every_training_row_is_seen_once_an_epoch(source: BatchSource) -> None:
    n = len(source.parts.fit_idx)
    stream = np.concatenate([source.rows(step) for step in range(3 * n)])
    for epoch in range(3):
        assert sorted(stream[epoch * n : (epoch + 1) * n]) == sorted(source.parts.fit_idx)
    assert (stream[:n] != stream[n : 2 * n]).any()


def test_micro_batches_are_the_parts_of_the_global_batch(source: BatchSource) -> None:
    whole = source.micro_batch(step=3, start=0, size=4)
    halves = [source.micro_batch(step=3, start=start, size=2) for start in (0, 2)]
    assert torch.equal(whole.inputs, torch.cat([half.inputs for half in halves]))
    assert torch.equal(whole.targets, torch.cat([half.targets for half in halves]))
    assert whole.gene_idx is not None
    assert halves[1].gene_idx is not None
    assert torch.equal(whole.gene_idx, halves[1].gene_idx)


def test_genes_are_a_new_ascending_subset_at_each_step(source: BatchSource) -> None:
    first, second = (source.micro_batch(step, 0, 2).gene_idx for step in (0, 1))
    assert first is not None
    assert second is not None
    assert len(first) == 20
    assert (torch.diff(first) > 0).all()
    assert not torch.equal(first, second)


def test_columns_are_the_genes_they_say(source: BatchSource, tokens: Tokens) -> None:
    batch = source.micro_batch(step=2, start=0, size=4)
    assert batch.gene_idx is not None
    rows = source.rows(2)
    expected = tokens.token_ids[np.ix_(rows, batch.gene_idx.numpy())]
    assert (np.take_along_axis(expected, batch.masked_idx.numpy(), axis=1) == batch.targets.numpy()).all()


def test_all_genes_when_the_subset_is_larger(tokens: Tokens, train_config: MaskedTrainConfig) -> None:
    parts = split_off_validation(tokens.samples, 0.05, seed=0)
    config = train_config.model_copy(update={"genes_per_step": 500})
    source = batch_source(tokens.token_ids, tokens.samples, parts, config)
    batch = source.micro_batch(0, 0, 2)
    assert batch.gene_idx is None
    assert batch.inputs.shape == (2, 30)


def test_validation_is_the_same_however_it_is_shared_out(source: BatchSource) -> None:
    alone = [item.batch.inputs for item in source.validation_batches(0, 1)]
    again = [item.batch.inputs for item in source.validation_batches(0, 1)]
    passes = [list(source.validation_batches(rank, 4)) for rank in range(4)]
    assert len({len(of_process) for of_process in passes}) == 1  # ZeRO 3 runs them together
    shared = [item.batch.inputs for of_process in passes for item in of_process if item.counts]
    assert all(torch.equal(one, other) for one, other in zip(alone, again, strict=True))
    assert sum(len(part) for part in shared) == sum(len(part) for part in alone) == len(source.parts.validation_idx)


def test_long_samples_are_validated_a_few_at_a_time(source: BatchSource, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(source.validation_batches(0, 1))
    monkeypatch.setattr(batches, "VALIDATION_POSITIONS", 45)  # two samples of the subset's 20 genes
    pieces = list(source.validation_batches(0, 1))
    assert max(len(item.batch.inputs) for item in pieces) == 2 < max(len(item.batch.inputs) for item in whole)
    for name in ("inputs", "masked_idx", "targets"):
        cut, uncut = (torch.cat([getattr(item.batch, name) for item in items]) for items in (pieces, whole))
        assert torch.equal(cut, uncut)
    passes = [list(source.validation_batches(rank, 3)) for rank in range(3)]
    assert len({len(of_process) for of_process in passes}) == 1
    counted = [item for of_process in passes for item in of_process if item.counts]
    assert sum(len(item.batch.inputs) for item in counted) == len(source.parts.validation_idx)


def test_most_frequent_bins_by_hand(train_config: MaskedTrainConfig) -> None:
    token_ids = np.array([[1, 65], [1, 65], [2, 3], [2, 0], [2, 0], [9, 9]], dtype=np.uint8)
    samples = frame([f"P{row}" for row in range(6)], [keys.TRAIN] * 6)
    parts = Parts(fit_idx=np.arange(5), validation_idx=np.array([5]))
    source = batch_source(token_ids, samples, parts, train_config)
    assert list(source.most_frequent_bins()) == [2, 0]  # a missing value (65) is no bin


def test_the_last_steps_see_all_genes(tokens: Tokens, train_config: MaskedTrainConfig) -> None:
    parts = split_off_validation(tokens.samples, 0.05, seed=0)
    config = train_config.model_copy(update={"full_length_steps": 2})
    source = batch_source(tokens.token_ids, tokens.samples, parts, config)
    assert [source.micro_batch(step, 0, 2).inputs.shape[1] for step in range(8)] == [20] * 6 + [30] * 2
    assert source.micro_batch(6, 0, 2).masked_idx.shape[1] == source.n_masked_at(6) > source.n_masked_at(5)
