"""Embeddings of every model in two dimensions, with what is known of the samples: the file behind the explorer."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bulkrnabert import keys
from bulkrnabert.downstream.embeddings import Embeddings
from bulkrnabert.errors import DataError, join_problems
from bulkrnabert.evaluate.projection import Planes
from bulkrnabert.provenance import atomic_path

logger = logging.getLogger(__name__)

VERSION = 1
MAX_LEVELS = 30
# Of the clinical table: keys, and columns of text that differ from patient to patient.
NOT_SHOWN = (keys.PATIENT_ID, keys.COHORT, keys.ENDPOINT, keys.ENDPOINT_SOURCE, keys.FLAGS)
# Below this share of numbers among the values of a column it is text.
MIN_SHARE_OF_NUMBERS = 0.95


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Category(_Part):
    """A column of few different texts; a code is the place of the sample's level, -1 where it has none."""

    kind: Literal["category"] = "category"
    name: str
    levels: list[str]
    codes: list[int]


class Quantity(_Part):
    """A column of numbers, None where there is none."""

    kind: Literal["number"] = "number"
    name: str
    values: list[float | None]


class View(_Part):
    """One model's embeddings in the plane; `rows` are places in the list of samples."""

    model: str
    split_id: str
    method: str
    rows: list[int]
    x: list[float]
    y: list[float]


class EmbeddingMaps(_Part):
    """`embedding_maps.json`: samples, what is known of each, and the views."""

    version: int = VERSION
    sample_ids: list[str] = []
    patient_ids: list[str] = []
    columns: list[Category | Quantity] = Field(default_factory=list)
    views: list[View] = []

    @model_validator(mode="after")
    def _fits(self) -> Self:
        n_samples = len(self.sample_ids)
        lengths = {len(self.patient_ids), *(len(_cells(column)) for column in self.columns)}
        if lengths - {n_samples}:
            raise ValueError(f"{n_samples} samples, but columns of {sorted(lengths)}")
        for view in self.views:
            if len({len(view.rows), len(view.x), len(view.y)}) != 1 or not all(0 <= n < n_samples for n in view.rows):
                raise ValueError(f"view {view.model} {view.split_id} {view.method} does not fit {n_samples} samples")
        return self


def _cells(column: Category | Quantity) -> Sequence[object]:
    return column.codes if isinstance(column, Category) else column.values


def build_maps(
    projected: Sequence[tuple[Embeddings, Planes]], samples: pd.DataFrame, clinical: pd.DataFrame
) -> EmbeddingMaps:
    """What the explorer shows.

    Args:
        projected: Embeddings with their planes.
        samples: A row a sample: `sample_id, patient_id, cohort, sample_type`.
        clinical: A row a patient, by `patient_id`; columns of too many texts are left out, and counted in the log.
    """
    ids = list(dict.fromkeys(name for embeddings, _ in projected for name in embeddings.sample_ids))
    known = samples.drop_duplicates(keys.SAMPLE_ID).set_index(keys.SAMPLE_ID).reindex(ids)
    known = known.astype(object).where(known.notna(), "")
    of_patients = clinical.reindex(known[keys.PATIENT_ID])
    tables = {keys.COHORT: list(known[keys.COHORT]), keys.SAMPLE_TYPE: list(known[keys.SAMPLE_TYPE])}
    tables |= {name: list(of_patients[name]) for name in of_patients.columns if name not in NOT_SHOWN}
    columns = [column for name, cells in tables.items() if (column := _column(name, cells)) is not None]
    columns = [column for column in columns if column.name == keys.COHORT or not _says_the_cohort(column, columns[0])]
    left_out = sorted(set(tables) - {column.name for column in columns})
    if left_out:
        logger.info("%d columns do not colour the embedding (one value, or too many): %s", len(left_out), left_out)
    places = {name: number for number, name in enumerate(ids)}
    views = [
        View(
            model=embeddings.model,
            split_id=embeddings.split_id,
            method=method,
            rows=[places[name] for name in embeddings.sample_ids],
            x=[round(float(value), 4) for value in plane[:, 0]],
            y=[round(float(value), 4) for value in plane[:, 1]],
        )
        for embeddings, planes in projected
        for method, plane in planes.items()
    ]
    return EmbeddingMaps(sample_ids=ids, patient_ids=list(known[keys.PATIENT_ID]), columns=columns, views=views)


def _column(name: str, cells: Iterable[Any]) -> Category | Quantity | None:
    """A column in the form that suits it; None where it cannot tell samples apart, or has too many levels."""
    texts = ["" if pd.isna(cell) else str(cell).strip() for cell in cells]
    known = [text for text in texts if text]
    levels = sorted(set(known))
    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce")
    if len(levels) > 10 and numbers.notna().sum() >= MIN_SHARE_OF_NUMBERS * len(known):
        return Quantity(name=name, values=[None if pd.isna(value) else round(float(value), 4) for value in numbers])
    if name != keys.COHORT and not 2 <= len(levels) <= MAX_LEVELS:
        return None
    if numbers.notna().sum() == len(known):
        levels = sorted(levels, key=float)
    shown = [f"{float(level):g}" if numbers.notna().sum() == len(known) else level for level in levels]
    places = {level: number for number, level in enumerate(levels)}
    return Category(name=name, levels=shown, codes=[places.get(text, -1) for text in texts])


def _says_the_cohort(column: Category | Quantity, cohort: Category | Quantity) -> bool:
    """Whether a column only repeats the cohort, as the project does where nothing was merged."""
    if isinstance(column, Quantity) or isinstance(cohort, Quantity):
        return False
    pairs = zip(column.codes, cohort.codes, strict=True)
    return all(code < 0 or column.levels[code] == cohort.levels[place] for code, place in pairs)


def write_maps(path: Path, maps: EmbeddingMaps) -> None:
    """Write `embedding_maps.json`, on one line: it holds several numbers a sample."""
    with atomic_path(path) as partial:
        partial.write_text(maps.model_dump_json() + "\n", encoding="utf-8")


def read_maps(path: Path | None) -> EmbeddingMaps:
    """Read `embedding_maps.json`; nothing without a file.

    Raises:
        DataError: not what `evaluate` wrote; all problems are named.
    """
    if path is None:
        return EmbeddingMaps()
    try:
        return EmbeddingMaps.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    except ValidationError as error:
        problems = [f"`{'.'.join(map(str, item['loc']))}`: {item['msg']}" for item in error.errors()[:10]]
        raise DataError(join_problems(f"{path}: not what `bulkrnabert evaluate` writes", problems)) from error
