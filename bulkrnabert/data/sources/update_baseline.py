"""What a model was made from: the plans of its downloads, the clinical records, and the patients of its checkpoints."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bulkrnabert.data.sources.gdc_plan import Json, Plan, read_plan_file
from bulkrnabert.data.sources.raw_plan import GDC
from bulkrnabert.errors import DataError
from bulkrnabert.keys import CASES_JSON, PLAN_JSON, PROVENANCE_JSON

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Baseline:
    """What is compared with the portal.

    Attributes:
        plans: Of the GDC; one a project and modality, or several projects together.
        cases: Clinical records by case id, where they lie beside a plan.
        learnt: Hashes of the patients that the checkpoints were trained on; None without a checkpoint.
        cohorts: Cohorts that the checkpoints name.
    """

    plans: tuple[Plan, ...] = ()
    cases: dict[str, Json] = field(default_factory=dict)
    learnt: frozenset[str] | None = None
    cohorts: tuple[str, ...] = ()


def read_baseline(raw: Sequence[Path], checkpoints: Sequence[Path]) -> Baseline:
    """Read plans and checkpoints.

    Args:
        raw: Raw folders, folders of them, `plan.json` files, or the `download` folder of a run (`<name>.plan.json`);
            clinical records are beside them (`cases.json`, `<name>.cases.json`) or not compared.
        checkpoints: Checkpoint folders, as those of all folds.
    Raises:
        DataError: a folder holds no plan, or a file is not what it should be.
    """
    plans: list[Plan] = []
    cases: dict[str, Json] = {}
    for path in dict.fromkeys(found for place in raw for found in _plan_files(place)):
        if _source(path) != GDC:
            logger.info("%s: a plan of %s, whose releases do not change; not compared", path, _source(path))
            continue
        plans.append(read_plan_file(path))
        records = path.with_name(path.name.removesuffix(PLAN_JSON) + CASES_JSON)
        if path.name.endswith(PLAN_JSON) and records.is_file():
            cases |= {str(case.get("case_id")): case for case in _read_json(records, list)}
    learnt: set[str] = set()
    cohorts: set[str] = set()
    for folder in checkpoints:
        provenance = _read_json(folder / PROVENANCE_JSON, dict)
        if provenance.get("patient_hashes") is None:
            raise DataError(
                f"{folder / PROVENANCE_JSON}: lists no training patients, so it cannot be told what is new to this"
                " checkpoint; give one that `pretrain` wrote"
            )
        learnt.update(provenance["patient_hashes"])
        cohorts.update(provenance.get("cohorts") or {})
    return Baseline(tuple(plans), cases, frozenset(learnt) if checkpoints else None, tuple(sorted(cohorts)))


def _plan_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    found = [place / PLAN_JSON] if (place / PLAN_JSON).is_file() else []
    found = found or sorted(place.glob(f"*.{PLAN_JSON}")) or sorted(place.glob(f"*/{PLAN_JSON}"))
    if not found:
        raise DataError(
            f"{place}: no {PLAN_JSON} here, nor <name>.{PLAN_JSON}; give what `bulkrnabert download` filled"
        )
    return found


def _source(path: Path) -> str:
    return str(_read_json(path, dict).get("source", GDC))


def _read_json(path: Path, kind: type) -> Any:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(values, kind):
        raise DataError(f"{path}: expected a JSON {kind.__name__}, found {type(values).__name__}")
    return values
