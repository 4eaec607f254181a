"""A small tokens folder and small settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bulkrnabert import keys
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokens import Tokens
from bulkrnabert.train.config import MaskedTrainConfig


@pytest.fixture
def tokens() -> Tokens:
    """40 samples of 40 patients (8 held out), 30 genes that differ in level and follow two programmes."""
    rng = np.random.default_rng(0)
    programme = np.arange(40) % 2
    level = rng.integers(5, 55, 30) + programme[:, None] * rng.integers(-5, 6, 30)
    samples = pd.DataFrame(
        {
            keys.SAMPLE_ID: [f"S{row}" for row in range(40)],
            keys.PATIENT_ID: [f"P{row}" for row in range(40)],
            keys.COHORT: [f"C{value}" for value in programme],
            keys.PART: [keys.HELD_OUT if row < 8 else keys.TRAIN for row in range(40)],
        }
    )
    return Tokens(
        samples=samples,
        token_ids=(level + rng.integers(0, 3, level.shape)).astype(np.uint8),
        gene_ids=tuple(f"ENSG{gene:011d}" for gene in range(30)),
        tokenizers={"rnaseq": BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=5.0)},
        split_id="r0f0",
        split_sha256="ab" * 32,
    )


@pytest.fixture
def train_config() -> MaskedTrainConfig:
    return MaskedTrainConfig(
        steps=8,
        global_batch_size=4,
        micro_batch_size=2,
        genes_per_step=20,
        learning_rate=1e-3,
        validate_every=4,
        checkpoint_every=4,
    )


@pytest.fixture
def tokens_folder(tokens: Tokens, tmp_path: Path) -> Path:
    from bulkrnabert.data.tokens import write_tokens

    write_tokens(tmp_path / "tokens", tokens)
    return tmp_path / "tokens"
