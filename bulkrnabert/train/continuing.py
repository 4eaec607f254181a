"""Pretraining that goes on from an earlier checkpoint, with new samples mixed into a replay of the old ones."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bulkrnabert import keys
from bulkrnabert.data.tokens import Tokens, read_gene_list
from bulkrnabert.errors import CheckpointError, ConfigError, DataError
from bulkrnabert.models.encoder import Encoder, EncoderConfig
from bulkrnabert.models.registry import load_strictly, read_safetensors
from bulkrnabert.provenance import hash_patients, sha256_file
from bulkrnabert.train.mixture import SampleOrder

logger = logging.getLogger(__name__)

ConfigType = TypeVar("ConfigType", bound=EncoderConfig)


@dataclass(frozen=True)
class Start:
    """The checkpoint that a run goes on from.

    Attributes:
        folder: Its folder.
        weights_sha256: Of its weights.
        patient_hashes: Patients that it was trained on, by it and by those it went on from.
        provenance: Its `provenance.json`.
    """

    folder: Path
    weights_sha256: str
    patient_hashes: frozenset[str]
    provenance: dict[str, Any]

    def load_into(self, network: Encoder) -> None:
        """Put its weights in place of random ones; the genes' usual bins stay those that it was trained with."""
        load_strictly(network, read_safetensors(self.folder / keys.WEIGHTS), str(self.folder / keys.WEIGHTS))

    def is_replayed(self, samples: pd.DataFrame) -> NDArray[np.bool_]:
        """Whether it was trained on the patient of each sample, shape (samples,)."""
        patients = samples[keys.PATIENT_ID].astype(str)
        known = {name for name in patients.unique() if self.patient_hashes.intersection(hash_patients([name]))}
        return np.asarray(patients.isin(known))

    def described(self) -> dict[str, Any]:
        """What the new checkpoint says about it."""
        return {
            "weights_sha256": self.weights_sha256,
            "split_id": self.provenance.get("split_id"),
            "created": self.provenance.get("created"),
            "n_patients": len(self.patient_hashes),
        }

    def card_text(self, n_new: int, new_share: float | None) -> str:
        """Text of its section of the model card."""
        share = "every sample counting the same" if new_share is None else f"{new_share:.0%} of each batch new"
        return (
            f"Went on from a checkpoint of {len(self.patient_hashes)} patients (weights sha256"
            f" {self.weights_sha256[:16]}…), with {n_new} samples of other patients; {share}, the rest a replay of the"
            " old ones. What the earlier checkpoint learnt from patients who have left the study since is still in the"
            " weights."
        )


def with_sizes_of(folder: Path, config: ConfigType) -> ConfigType:
    """These sizes, but for those that follow from the number of samples: the checkpoint's, which goes on with its own.

    Args:
        folder: Checkpoint folder; its configuration is judged by `read_start`.
        config: Sizes of the run's model.
    """
    theirs = _read_object(folder / keys.CONFIG_JSON).get("config") or {}
    kept = {name: theirs[name] for name in config.sizes_of_data if isinstance(theirs.get(name), int)}
    return config.model_copy(update=kept)


def read_start(folder: Path, model: str, config: EncoderConfig, tokens: Tokens) -> Start:
    """Read a checkpoint and check that a run on these tokens can go on from it.

    Args:
        folder: Checkpoint folder.
        model: Kind of model of the run.
        config: Sizes of the run's model.
        tokens: What the run learns from.
    Raises:
        CheckpointError: it is no checkpoint folder, or does not list the patients it was trained on.
        ConfigError: its model has another kind or other sizes.
        DataError: its genes or tokenizer are others than those of the tokens, or it was trained on patients that the
            tokens hold out.
    """
    described, provenance = (_read_object(folder / name) for name in (keys.CONFIG_JSON, keys.PROVENANCE_JSON))
    hashes = provenance.get("patient_hashes")
    if hashes is None:
        raise CheckpointError(
            f"{folder}: lists no training patients, so nobody knows whom a split must not hold out: pretrain anew"
        )
    own = {"model": model, "config": config.model_dump(mode="json")}
    if {name: described.get(name) for name in own} != own:
        theirs = described.get("config") or {}
        differs = [name for name, value in own["config"].items() if theirs.get(name) != value]  # type: ignore[attr-defined]
        raise ConfigError(
            f"--start-from {folder}: a {described.get('model')} of other sizes ({', '.join(differs) or 'another kind'})"
            f" than this run's {model}: give the --preset or --model-config that it was trained with"
        )
    tokenizer_sha256 = provenance.get("inputs", {}).get("tokenizer", {}).get("sha256")
    if read_gene_list(folder / keys.GENES_TXT) != tokens.gene_ids or not _has_tokenizer(folder, tokens):
        raise DataError(
            f"--start-from {folder}: its genes or its tokenizer (sha256 {str(tokenizer_sha256)[:12]}) are not those of"
            " the tokens; make them with `bulkrnabert tokenize --like` this checkpoint"
        )
    start = Start(folder, sha256_file(folder / keys.WEIGHTS), frozenset(hashes), provenance)
    held_out = tokens.samples[~tokens.is_training]
    leaked = held_out[start.is_replayed(held_out)][keys.PATIENT_ID].unique()
    if len(leaked):
        raise DataError(
            f"--start-from {folder}: was trained on {len(leaked)} patients that split {tokens.split_id} holds out, as"
            f" {min(leaked)}: go on from the encoder of the same fold, and make the splits with --frozen"
        )
    return start


def replay_order(
    start: Start, samples: pd.DataFrame, fit_idx: NDArray[np.int64], new_share: float, n_places: int, seed: int
) -> SampleOrder:
    """The order of a run in which new patients' samples have a stated share of the places.

    Args:
        start: What the run goes on from.
        samples: A row a sample, with `patient_id`.
        fit_idx: Rows trained on.
        new_share: Share of the places for samples of patients that it was not trained on, above 0 and below 1.
        n_places: Places of the whole run.
        seed: Seed of the run.
    Raises:
        DataError: all samples are of new patients, so that there is nothing to replay.
    """
    is_old = start.is_replayed(samples.iloc[fit_idx])
    old, new = fit_idx[is_old], fit_idx[~is_old]
    if not len(new):
        logger.warning("--new-share %g: no sample is of a patient that %s was not trained on", new_share, start.folder)
        return SampleOrder([fit_idx], np.ones(1), n_places, seed)
    if not len(old):
        raise DataError(
            f"--new-share {new_share}: none of the {len(fit_idx)} samples to train on is of a patient that"
            f" {start.folder} was trained on, so there is nothing to replay: leave --new-share out"
        )
    return SampleOrder([old, new], np.array([1.0 - new_share, new_share]), n_places, seed)


def _has_tokenizer(folder: Path, tokens: Tokens) -> bool:
    from bulkrnabert.data.tokenizer_file import read_tokenizers

    return read_tokenizers(folder / keys.TOKENIZER_JSON) == dict(tokens.tokenizers)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}: expected a checkpoint folder") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values
