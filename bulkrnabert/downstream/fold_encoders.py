"""The encoder of each fold, with the tokens of the job's rows, and the gene panel that it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.access import strictest_stated
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.tokens import Tokens
from bulkrnabert.downstream.joint import JointJob
from bulkrnabert.downstream.pretrained import PretrainedModel
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.train.dropped_omics import DroppableTokens

IntArray = npt.NDArray[np.int64]
N_NAMED = 5


@dataclass(frozen=True)
class FoldEncoder:
    """One pretrained encoder with the tokens that it reads.

    Attributes:
        path: Checkpoint folder.
        model: What is in it.
        token_ids: Of the job's rows, shape (rows, columns of the model).
        tokens_access: Access class of the tables that the tokens were made from; empty where it was not stated.
    """

    path: Path
    model: PretrainedModel
    token_ids: npt.NDArray[np.uint8]
    tokens_access: str = ""

    @property
    def data_access(self) -> str | None:
        """The strictest class of encoder and tokens; None where one does not state its own."""
        return strictest_stated([self.tokens_access, self.model.provenance.get("data_access")])

    @property
    def split_id(self) -> str:
        """The split that it was pretrained under; `all` for one that may have seen every sample."""
        return str(self.model.provenance.get("split_id") or keys.ALL_SPLIT)

    @property
    def n_omics(self) -> int:
        """Omics that the model reads."""
        return len(self.model.omics)

    def tokens_of(self, panel: Sequence[int] | None) -> npt.NDArray[np.uint8]:
        """Token ids of the genes that are read, shape (rows, columns)."""
        return self.token_ids if panel is None else self.token_ids[:, list(panel)]

    def droppable(self, panel: Sequence[int] | None) -> DroppableTokens:
        """As `tokens_of`, by row number, also without one of the omics."""
        return DroppableTokens(self.tokens_of(panel), self.n_omics)


PanelChooser = Callable[[FoldEncoder, IntArray], Sequence[int]]
"""Genes that a fold's network reads, as numbers of its encoder's list; sees the rows of the training part alone."""


def named_panel(path: Path) -> PanelChooser:
    """The panel that a file names, one gene id a line, whatever the training part.

    Args:
        path: The file.
    Raises:
        DataError, VocabularyError: the file is missing, empty or no gene list. When called for an encoder: a gene of
            the panel is not in the encoder's list.
    """
    gene_ids = GeneVocabulary.from_txt(path).gene_ids

    def choose(encoder: FoldEncoder, _rows: IntArray) -> Sequence[int]:
        places = pd.Index(encoder.model.gene_ids).get_indexer(pd.Index(gene_ids))
        unknown = [gene for gene, place in zip(gene_ids, places, strict=True) if place < 0]
        if unknown:
            more = ", …" if len(unknown) > N_NAMED else ""
            raise DataError(
                f"{path}: {len(unknown)} of {len(gene_ids)} genes are not among the {len(encoder.model.gene_ids)} of "
                f"the checkpoint {encoder.path}: {', '.join(unknown[:N_NAMED])}{more}; leave them out, or pretrain "
                "with them"
            )
        return [int(place) for place in places]

    return choose


def chosen_panel(chooser: PanelChooser, encoder: FoldEncoder, rows: IntArray) -> tuple[int, ...]:
    """A panel, checked.

    Raises:
        ConfigError: the encoder reads all of its genes at once, or the panel has no gene or more than the encoder.
    """
    if not encoder.model.network.reads_subsets:
        raise ConfigError(
            f"a {encoder.model.name} model reads all of its genes at once: leave the gene panel out, or fine-tune a "
            "model that reads subsets"
        )
    panel = tuple(int(gene) for gene in chooser(encoder, rows))
    n_genes = len(encoder.model.gene_ids)
    if not 1 <= len(panel) <= n_genes:
        raise ConfigError(f"a panel of {len(panel)} genes, but the checkpoint {encoder.path} has {n_genes}")
    return panel


def pair_encoders(
    job: JointJob, models: Sequence[tuple[Path, PretrainedModel]], tokens: Sequence[tuple[Path, Tokens]]
) -> Mapping[str, FoldEncoder]:
    """The encoder of each fold with its tokens of the job's rows.

    Args:
        job: The job.
        models: Checkpoints: one a fold, or a single one trained on all samples (or on others).
        tokens: Tokens folders: one a checkpoint, matched by `split_id`; or a single one for a single checkpoint.
    Returns:
        `split_id` of each fold to its encoder; `all` as well, where a single encoder serves every fold.
    Raises:
        DataError: an encoder or its tokens are missing, are given twice, or do not belong together.
    """
    by_split = {tokens_.split_id: (path, tokens_) for path, tokens_ in tokens}
    if len(by_split) < len(tokens):
        raise DataError(f"tokens of one split are given twice ({', '.join(item.split_id for _, item in tokens)})")
    encoders: dict[str, FoldEncoder] = {}
    for path, model in models:
        split_id = str(model.provenance.get("split_id") or keys.ALL_SPLIT)
        if split_id in encoders:
            raise DataError(f"{path}: second checkpoint of split {split_id}; give one a fold")
        folder, found = by_split.get(split_id, tokens[0] if len(tokens) == 1 == len(models) else (None, None))
        if found is None or folder is None:
            raise DataError(
                f"{path}: no tokens of its split {split_id} among {', '.join(map(str, (item for item, _ in tokens)))}; "
                "give the tokens folder that the checkpoint was pretrained on"
            )
        _check_tokens(job, path, model, folder, found)
        positions = pd.Index(found.samples[keys.SAMPLE_ID]).get_indexer(pd.Index(job.rows[keys.SAMPLE_ID]))
        if (positions < 0).any():
            absent = job.rows.loc[positions < 0, keys.SAMPLE_ID].iloc[0]
            raise DataError(
                f"{folder}: sample {absent!r} of the splits has no tokens of {' or '.join(model.omics)}: tokenize "
                "again, or split the samples that the model can read (`split --modality`)"
            )
        encoders[split_id] = FoldEncoder(path, model, found.token_ids[positions], found.data_access)
    if set(encoders) == {keys.ALL_SPLIT}:
        return {**{fold.split_id: encoders[keys.ALL_SPLIT] for fold in job.folds}, **encoders}
    missing = sorted({fold.split_id for fold in job.folds} - set(encoders))
    if missing:
        raise DataError(
            f"no checkpoint of split {', '.join(missing)} (given: {', '.join(sorted(encoders))}); give one "
            "--checkpoint and one --tokens for every fold, or one of an encoder trained on all samples"
        )
    return encoders


def _check_tokens(job: JointJob, path: Path, model: PretrainedModel, folder: Path, tokens: Tokens) -> None:
    if tokens.gene_ids != model.gene_ids:
        raise DataError(f"{folder}: other genes than the checkpoint {path} has; give the tokens of that checkpoint")
    if tokens.model != model.name:
        raise DataError(f"{folder}: tokens for a {tokens.model} model, but the checkpoint {path} is of {model.name}")
    if list(tokens.tokenizers.items()) != list(model.tokenizers.items()):
        raise DataError(f"{folder}: another tokenizer than the checkpoint {path} has; tokenize with the checkpoint's")
    for what, sha256 in ((folder, tokens.split_sha256), (path, str(model.provenance.get("split_sha256") or ""))):
        if sha256 not in ("", job.split_sha256):
            raise DataError(
                f"{what}: made under other splits (sha256 {sha256[:12]}…) than these ({job.split_sha256[:12]}…), so it "
                "may have seen test patients: tokenize and pretrain again, or use its splits"
            )
