"""Fine-tuning on gene panels that are chosen in the training part of each fold."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bulkrnabert import keys
from bulkrnabert.data.tokens import Tokens
from bulkrnabert.downstream.finetune import FinetunedFold, FinetuneSettings, StartEmbeddings, finish_fold, search_fold
from bulkrnabert.downstream.finetune_predict import predict_folds
from bulkrnabert.downstream.finetuned_folder import write_finetuned
from bulkrnabert.downstream.fold_encoders import FoldEncoder, PanelChooser, named_panel
from bulkrnabert.downstream.job import Fold, Job
from bulkrnabert.downstream.joint import JointJob, join_jobs
from bulkrnabert.downstream.panels import Chooser, choose_panel
from bulkrnabert.downstream.predictions import Predictions
from bulkrnabert.downstream.standardised_values import levels_of, standardised_values
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Panel:
    """How many genes are read, and how they are chosen.

    Attributes:
        chooser: The score that decides, or `list` for a user's list.
        size: Number of genes.
        path: The user's list.
    """

    chooser: Chooser
    size: int
    path: Path | None = None

    @property
    def name(self) -> str:
        """What a reader sees, as `64 genes (anova)`."""
        return f"{self.size} genes ({self.chooser.replace('_', ' ')})"

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"{self.chooser}.{self.size}"


@dataclass(frozen=True)
class PanelData:
    """A job with values of its rows, an encoder a fold.

    Attributes:
        job: Cancer types.
        encoders: By `split_id` of the fold.
        values: z of the job's rows, shape (rows, genes of the encoder), by `split_id`; NaN where missing.
    """

    job: Job
    encoders: Mapping[str, FoldEncoder]
    values: Mapping[str, npt.NDArray[np.float32]]

    @property
    def joint(self) -> JointJob:
        """The job as fine-tuning takes it."""
        return join_jobs([self.job])

    @property
    def n_genes(self) -> int:
        """Genes that every encoder has."""
        return min(len(encoder.model.gene_ids) for encoder in self.encoders.values())

    def levels(self, split_id: str, rows: IntArray) -> FloatArray:
        """Values of some rows before they were standardised, which differ in variance; shape (rows, genes)."""
        return levels_of(self.encoders[split_id].model.tokenizer, self.values[split_id][rows])


def values_of_rows(
    job: Job, encoders: Mapping[str, FoldEncoder], tokens: list[tuple[Path, Tokens]]
) -> dict[str, npt.NDArray[np.float32]]:
    """z of the job's rows for each fold's encoder.

    Raises:
        ConfigError: tokens without values.
        DataError: a sample of the job has no tokens.
    """
    by_split: dict[str, npt.NDArray[np.float32]] = {}
    for path, found in tokens:
        values = standardised_values(found, path)
        place = {name: at for at, name in enumerate(found.samples[keys.SAMPLE_ID])}
        absent = next((name for name in job.rows[keys.SAMPLE_ID] if name not in place), None)
        if absent is not None:
            raise DataError(f"{path}: sample {absent!r} of the splits has no tokens; tokenize again")
        by_split[found.split_id] = values[[place[name] for name in job.rows[keys.SAMPLE_ID]]]
    if len(by_split) == 1:
        only = next(iter(by_split.values()))
        return dict.fromkeys(encoders, only)
    return {split_id: by_split[encoder.split_id] for split_id, encoder in encoders.items()}


def panel_of_fold(data: PanelData, panel: Panel, fold: Fold) -> IntArray:
    """Genes of a fold's panel, ascending, as columns of its encoder; the test part is not looked at.

    Raises:
        DataError: a gene of the user's list is not among the encoder's.
    """
    encoder = data.encoders[fold.split_id]
    if panel.path is not None:
        return np.array(sorted(named_panel(panel.path)(encoder, fold.train)), dtype=np.int64)
    return choose_panel(
        panel.chooser, panel.size, data.levels(fold.split_id, fold.train), data.job.class_ids[fold.train]
    )


def finetune_panel(data: PanelData, panel: Panel, settings: FinetuneSettings) -> list[FinetunedFold]:
    """The fine-tuned network of every fold on its own panel."""
    joint = data.joint
    settings = replace(settings, panel_name=panel.name)
    starts = StartEmbeddings(settings)
    done = []
    for fold in joint.folds:
        encoder = data.encoders[fold.split_id]
        of_fold = replace(settings, panel_chooser=_chooser(data, panel, fold))
        search = search_fold(joint, fold, encoder, of_fold, starts)
        done.append(finish_fold(joint, fold, encoder, search, starts))
    return done


def _chooser(data: PanelData, panel: Panel, fold: Fold) -> PanelChooser:
    def choose(_encoder: FoldEncoder, rows: IntArray) -> list[int]:
        # One task: the rows of the joint job are those of the job.
        assert np.array_equal(rows, fold.train)
        return [int(gene) for gene in panel_of_fold(data, panel, fold)]

    return choose


def predict_panel(data: PanelData, done: list[FinetunedFold], settings: FinetuneSettings) -> Predictions:
    """Out-of-fold predictions of `finetune_panel`'s networks."""
    return predict_folds(data.joint, done, StartEmbeddings(settings))[keys.CANCER_TYPE]


def write_panel_model(
    folder: Path, data: PanelData, done: list[FinetunedFold], label_column: str, provenance: dict[str, object]
) -> None:
    """The folder that `predict` takes."""
    joint = data.joint
    write_finetuned(folder, joint, done, label_column, provenance)
