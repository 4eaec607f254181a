"""A small study that fine-tuning can run on: splits, tokens and encoders of two folds and of all samples."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bulkrnabert import keys
from bulkrnabert.cli.finetune import command as finetune_command
from bulkrnabert.data.splits import Splits, make_splits
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokens import Tokens, write_tokens
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.registry import save_network
from tests.unit.downstream import finetuning

N_SAMPLES, N_GENES = 60, 20
GENES = tuple(f"ENSG{number:011d}" for number in range(1, N_GENES + 1))
SPLIT_IDS = ("r0f0", "r0f1", keys.ALL_SPLIT)


@dataclass(frozen=True)
class FinetuneStudy:
    """Folders and tables; tokens and checkpoints by `split_id`."""

    folder: Path
    splits: Splits
    clinical: pd.DataFrame
    values: pd.DataFrame

    @property
    def table(self) -> Path:
        return self.folder / "expression.tsv"

    def tokens(self, split_id: str) -> Path:
        return self.folder / f"tokens_{split_id}"

    def checkpoint(self, split_id: str) -> Path:
        return self.folder / f"checkpoint_{split_id}"

    def arguments(self, *split_ids: str) -> list[str]:
        found = ["--cohorts", str(self.folder), "--splits", str(self.folder / "splits.tsv"), "--device", "cpu"]
        for split_id in split_ids:
            found += ["--checkpoint", str(self.checkpoint(split_id)), "--tokens", str(self.tokens(split_id))]
        return found


@pytest.fixture(scope="session")
def finetune_study(tmp_path_factory: pytest.TempPathFactory) -> FinetuneStudy:
    """Two cohorts that differ in ten genes; patients live shorter the higher the first gene is."""
    folder = tmp_path_factory.mktemp("finetune")
    rng = np.random.default_rng(0)
    is_b = np.arange(N_SAMPLES) % 2 == 1
    values = rng.gamma(2.0, 20.0, (N_SAMPLES, N_GENES))
    values[:, 10:] *= np.where(is_b, 3.0, 0.4)[:, None]
    values[:, 0] = rng.uniform(1, 900, N_SAMPLES)
    names = [f"S{number:02d}" for number in range(N_SAMPLES)]
    samples = pd.DataFrame(
        {
            keys.SAMPLE_ID: names,
            keys.PATIENT_ID: [f"P{name[1:]}" for name in names],
            keys.COHORT: np.where(is_b, "B", "A"),
            keys.SAMPLE_TYPE: keys.TUMOR,
        }
    )
    times = (1200 - values[:, 0] + rng.uniform(0, 300, N_SAMPLES)).round()
    clinical = pd.DataFrame(
        {
            keys.PATIENT_ID: samples[keys.PATIENT_ID],
            keys.COHORT: samples[keys.COHORT],
            keys.TIME_DAYS: times,
            keys.EVENT: (rng.random(N_SAMPLES) < 0.7).astype(float),
            "grade": np.where(np.arange(N_SAMPLES) % 3 == 0, "high", "low"),
        }
    )
    clinical.loc[:3, [keys.TIME_DAYS, keys.EVENT]] = np.nan
    splits = make_splits(samples, clinical, n_folds=2, n_repeats=1, seed=0)
    clinical.to_csv(folder / keys.CLINICAL_TSV, sep="\t", index=False)
    splits.frame.to_csv(folder / keys.SPLITS_TSV, sep="\t", index=False, lineterminator="\n")
    table = pd.DataFrame(values, index=pd.Index(names, name="sample"), columns=list(GENES))
    table.to_csv(folder / "expression.tsv", sep="\t")
    study = FinetuneStudy(folder, splits, clinical, table)
    tokenizer = BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=3.5)
    for number, split_id in enumerate(SPLIT_IDS):
        _write_encoder(study, split_id, number, tokenizer, samples)
    return study


def _write_encoder(
    study: FinetuneStudy, split_id: str, seed: int, tokenizer: BinnedTokenizer, samples: pd.DataFrame
) -> None:
    training = study.splits.training_samples(split_id)
    described = samples[[keys.SAMPLE_ID, keys.PATIENT_ID, keys.COHORT]].assign(
        part=[keys.TRAIN if name in training else keys.HELD_OUT for name in samples[keys.SAMPLE_ID]]
    )
    token_ids = tokenizer.encode(study.values.to_numpy(), "tpm")
    tokens = Tokens(described, token_ids, GENES, {keys.RNASEQ: tokenizer}, split_id, study.splits.sha256)
    write_tokens(study.tokens(split_id), tokens)
    config = BulkRNABertConfig(
        n_genes=N_GENES,
        n_embedding_rows=66,
        embed_dim=16,
        init_gene_embed_dim=8,
        n_heads=2,
        ffn_embed_dim=16,
        n_layers=2,
        has_bin_statistics=True,
    )
    network = BulkRNABert(config, torch.Generator().manual_seed(10 + seed))
    network.set_bin_statistics(torch.from_numpy(token_ids.mean(axis=0)), torch.from_numpy(token_ids.std(axis=0)))
    folder = study.checkpoint(split_id)
    save_network(folder, network)
    tokenizer.save(folder / keys.TOKENIZER_JSON)
    (folder / keys.GENES_TXT).write_text("".join(f"{gene}\n" for gene in GENES))
    record = {"split_id": split_id, "split_sha256": study.splits.sha256}
    (folder / keys.PROVENANCE_JSON).write_text(json.dumps(record))


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "task.yaml"
    path.write_text(f"cancer_type: {finetuning.QUICK}\nsurvival: {finetuning.QUICK}\njoint: {finetuning.QUICK}\n")
    return path


@pytest.fixture(scope="session")
def classifier(finetune_study: FinetuneStudy, config_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("classifier") / "out"
    arguments = [*finetune_study.arguments("r0f0", "r0f1"), "--task", "cancer_type", "--task-config", config_file]
    assert finetuning.run(finetune_command, *arguments, "--out", out).exception is None
    return out


@pytest.fixture(scope="session")
def both(finetune_study: FinetuneStudy, config_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("both") / "out"
    arguments = [*finetune_study.arguments("all"), "--task", "cancer_type", "--task", "survival", "--final"]
    assert finetuning.run(finetune_command, *arguments, "--task-config", config_file, "--out", out).exception is None
    return out
