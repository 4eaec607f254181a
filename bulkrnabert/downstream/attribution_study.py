"""What `attribute` is asked for, what it explains, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.downstream.attribution_gradients import DEFAULT_STEPS, Baseline
from bulkrnabert.downstream.attribution_summary import FloatArray
from bulkrnabert.downstream.pretrained import PretrainedModel
from bulkrnabert.models.finetuned import FinetunedNetwork

Method = Literal["ig", "attention"]
Tokens = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class AttributeRequest:
    """What `attribute` is asked for.

    Attributes:
        model: Folder of a fine-tuned model; or None.
        checkpoint: Folder of a pretrained encoder, for attention; or None.
        table: Expression to explain; or None.
        unit: Its unit.
        file_format: Its format; None to go by the name.
        method: `ig`: integrated gradients of an output; `attention`: attention that each gene gets.
        task: Task of the model; None where it has only one.
        classes: Classes whose samples are explained; empty for all.
        baseline: For `ig`; None for the default.
        n_steps: For `ig`: points of the path.
        points_at_once: For `ig`: points that go through the network together; chosen when None.
        layers: For `attention`, from 1; empty for the layer that predictions are made from.
        genes: A `genes.tsv` with symbols; or None.
        gmt: Gene sets; or None.
        n_top: Genes of a class that count as first.
        n_samples: Samples to explain at most, spread evenly over the classes; None for all.
        keeps_samples: Write every sample's values as well.
        seed: Of the choice of samples.
        out: Folder to write.
        cohorts: Folder that `preprocess` wrote, in place of a table; or None.
    """

    model: Path | None
    checkpoint: Path | None
    table: Path | None
    unit: str | None
    out: Path
    file_format: str | None = None
    method: Method = "ig"
    task: str | None = None
    classes: tuple[str, ...] = ()
    baseline: Baseline | None = None
    n_steps: int = DEFAULT_STEPS
    points_at_once: int | None = None
    layers: tuple[int, ...] = ()
    genes: Path | None = None
    gmt: Path | None = None
    n_top: int = 50
    n_samples: int | None = 100
    keeps_samples: bool = False
    seed: int = 0
    cohorts: Path | None = None


@dataclass(frozen=True)
class StudiedMember:
    """One network with the genes that it reads and their tokens of the chosen samples; no `network` for an encoder."""

    name: str
    encoder: PretrainedModel
    network: FinetunedNetwork | None
    gene_ids: tuple[str, ...]
    token_ids: Tokens


@dataclass(frozen=True)
class Study:
    """What is explained: members, samples, and the group of each sample."""

    members: list[StudiedMember]
    task: str | None
    sample_ids: npt.NDArray[np.object_]
    groups: npt.NDArray[np.object_]
    class_idx: npt.NDArray[np.int64]
    genes: GeneVocabulary


@dataclass(frozen=True)
class Explained:
    """Values of one method: per layer (None for gradients) and member, and a row a sample of what is known of it."""

    values: dict[int | None, list[FloatArray]]
    samples: pd.DataFrame
    settings: dict[str, Any]
