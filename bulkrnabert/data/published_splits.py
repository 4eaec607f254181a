"""Published split files read into our own form, so that numbers can be laid beside published ones.

Every form ends as lists of ids a repeat, one list to learn from and one to be tested. A validation part counts as
training: what is chosen here is chosen by inner folds. Ids are matched by patient. Patients of ours whom a file does
not name are left out of the splits, and so neither learnt from nor judged.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.splits import Splits, judged_samples, splits_of
from bulkrnabert.errors import ConfigError, DataError, join_problems

logger = logging.getLogger(__name__)

Form = Literal["custom", "customics", "survboard", "multisurv"]

TCGA_PATIENT = re.compile(r"^TCGA-[0-9A-Z]{2}-[0-9A-Z]{4}(?=-|$)")
CUSTOMICS_FILE = re.compile(r"^split_(train|val|test)_(\d+)\.txt$")
SURVBOARD_FILE = re.compile(r"^(?P<name>.*?)_?(?P<part>train|test)_splits\.csv$")
LEARNT_FROM = ("train", "val", "valid", "validation")
TESTED = "test"
EMPTY = ("", "NA", "nan")
MAX_LISTED = 5
ONLY_PUBLISHED = "in the published split only"
ONLY_OURS = "in the cohorts only: neither learnt from nor judged"


@dataclass(frozen=True)
class PublishedRepeat:
    """One published split.

    Attributes:
        source: File (and column) that it was read from, for messages.
        learnt: Ids of the training and validation parts.
        tested: Ids of the test part.
    """

    source: str
    learnt: frozenset[str]
    tested: frozenset[str]


@dataclass(frozen=True)
class PublishedSplits:
    """Published splits as ours.

    Attributes:
        splits: Of the patients that both sides know.
        unmatched: `id, side, reason`, a row an id of the published file (`published`) or patient of ours (`ours`) that
            the other side lacks.
    """

    splits: Splits
    unmatched: pd.DataFrame


def patient_of(published_id: str) -> str:
    """The patient of a TCGA barcode of any length; another id as it is."""
    found = TCGA_PATIENT.match(published_id.upper())
    return found.group() if found else published_id


def read_published(path: Path, form: Form) -> list[PublishedRepeat]:
    """Read a published split.

    Args:
        path: `custom`: a TSV or CSV with `sample_id` or `patient_id` (or `id`) and either `part` (`train`, `val`,
            `test`) or fold columns (whole numbers: the fold in which the patient is tested; negative or empty for those
            who never are). `customics`: a folder with `split_{train,val,test}_{1..}.txt`, one id a line. `survboard`: a
            folder with one `*train_splits.csv` and one `*test_splits.csv`, a column of ids a split; where the columns
            hold row numbers, with the ids of the table beside them, `*ids.csv`, an id a row. `multisurv`: a TSV with
            `submitter_id` and `group` (`train`, `val`, `test`); may be gzipped.
        form: Which of them.
    Raises:
        DataError: a file is missing or not of its form, or a patient is on both sides of a split (named).
    """
    readers = {
        "custom": _read_custom,
        "customics": _read_customics,
        "survboard": _read_survboard,
        "multisurv": _read_multisurv,
    }
    repeats = readers[form](path)
    for repeat in repeats:
        learnt, tested = ({patient_of(name) for name in ids} for ids in (repeat.learnt, repeat.tested))
        if both := sorted(learnt & tested):
            raise DataError(
                f"{repeat.source}: {len(both)} patients are both learnt from and tested, first {both[0]!r}; a split "
                "must have each patient on one side"
            )
        if not learnt or not tested:
            raise DataError(
                f"{repeat.source}: {len(learnt)} patients to learn from and {len(tested)} to test; expected some of "
                "both"
            )
    return repeats


def match_published(samples: pd.DataFrame, repeats: list[PublishedRepeat]) -> PublishedSplits:
    """Published splits for our samples.

    Patients are matched by id, or by the patient part of a TCGA barcode; one sample a patient is judged, as always.
    Splits whose test parts share no patient and fill up all patients become the folds of one repeat (a published
    cross-validation); others a repeat each, with a single fold.

    Args:
        samples: `sample_id, patient_id, cohort, sample_type`, a row a sample. Not modified.
        repeats: As `read_published`.
    Raises:
        DataError: no patient to learn from or to test is left in some split.
    """
    patient_of_sample = dict(zip(samples[keys.SAMPLE_ID], samples[keys.PATIENT_ID], strict=True))
    known = {patient_of(name): name for name in samples[keys.PATIENT_ID]}
    known |= {patient_of(sample): patient for sample, patient in patient_of_sample.items()}

    def ours(ids: Iterable[str]) -> set[str]:
        return {known[name] for name in map(patient_of, ids) if name in known}

    named = ours(name for repeat in repeats for name in repeat.learnt | repeat.tested)
    of_ours = samples[samples[keys.PATIENT_ID].isin(named)]
    judged = judged_samples(of_ours)
    tested = [ours(repeat.tested) for repeat in repeats]
    learnt = [ours(repeat.learnt) for repeat in repeats]
    for repeat, test, train in zip(repeats, tested, learnt, strict=True):
        n_judged = len(test & set(judged[keys.PATIENT_ID]))
        if not n_judged or not train:
            raise DataError(
                f"{repeat.source}: {len(train)} of {len(repeat.learnt)} ids to learn from and {n_judged} of "
                f"{len(repeat.tested)} to test are in the cohorts, as {_first(repeat.tested)} should be among patients "
                f"as {_first(known)}: expected some of both; are these the cohorts of the split?"
            )
    everyone = [test | train for test, train in zip(tested, learnt, strict=True)]
    common = set.intersection(*everyone)
    if common != set.union(*everyone):
        # Whom one repeat names and another does not would be learnt from there, against the publication.
        logger.warning(
            "%d patients are not in all published splits, and are left out of all", len(set.union(*everyone) - common)
        )
        tested = [test & common for test in tested]
        of_ours = of_ours[of_ours[keys.PATIENT_ID].isin(common)]
        judged = judged[judged[keys.PATIENT_ID].isin(common)]
    folds = _pack(tested, common)
    splits = splits_of(of_ours, judged[keys.SAMPLE_ID], folds)
    unmatched = _unmatched(samples, set(splits.frame[keys.PATIENT_ID]), repeats, known)
    logger.info(
        "%d published splits as %d repeats of %d folds: %d patients of %d; %d published ids unmatched",
        len(repeats),
        splits.n_repeats,
        splits.n_folds,
        splits.frame[keys.PATIENT_ID].nunique(),
        samples[keys.PATIENT_ID].nunique(),
        (unmatched["side"] == "published").sum(),
    )
    return PublishedSplits(splits, unmatched)


def _first(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names)[:2]))


def _pack(tested: list[set[str]], everyone: set[str]) -> list[pd.Series]:
    """Test parts as fold columns: a cross-validation's folds together, hold-outs one each."""
    groups: list[list[set[str]]] = []
    for part in tested:
        if groups and all(part.isdisjoint(other) for other in groups[-1]):
            groups[-1].append(part)
        else:
            groups.append([part])
    sizes = {len(group) for group in groups}
    is_partition = len(sizes) == 1 and sizes != {1} and all(set.union(*group) == everyone for group in groups)
    if not is_partition:
        groups = [[part] for part in tested]
    return [
        pd.Series({patient: fold for fold, part in enumerate(group) for patient in sorted(part)}, dtype=np.int64)
        for group in groups
    ]


def _unmatched(
    samples: pd.DataFrame, used: set[str], repeats: list[PublishedRepeat], known: dict[str, str]
) -> pd.DataFrame:
    published = sorted({name for repeat in repeats for name in repeat.learnt | repeat.tested})
    rows = [(name, "published", ONLY_PUBLISHED) for name in published if patient_of(name) not in known]
    rows += [(name, "ours", ONLY_OURS) for name in sorted(set(samples[keys.PATIENT_ID]) - used)]
    return pd.DataFrame(rows, columns=["id", "side", keys.REASON])


def _read_table(path: Path, separator: str | None) -> pd.DataFrame:
    try:
        if separator is None:
            separator = "," if path.name.removesuffix(".gz").endswith(".csv") else "\t"
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a table: {error}") from error


def _by_part(table: pd.DataFrame, ids: str, part: str, source: str) -> PublishedRepeat:
    parts = table[part].str.strip().str.lower()
    wrong = table[~parts.isin([*LEARNT_FROM, TESTED, ""])]
    if len(wrong):
        raise DataError(
            f"{source}: `{part}` of {wrong[ids].iloc[0]!r} is {wrong[part].iloc[0]!r}; expected train, val, test, or "
            "nothing for who is in neither"
        )
    return PublishedRepeat(
        source, frozenset(table.loc[parts.isin(LEARNT_FROM), ids]), frozenset(table.loc[parts == TESTED, ids])
    )


def _read_multisurv(path: Path) -> list[PublishedRepeat]:
    table = _read_table(path, "\t")
    missing = [name for name in ("submitter_id", "group") if name not in table]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; expected MultiSurv's labels (submitter_id, group)")
    return [_by_part(table, "submitter_id", "group", str(path))]


def _read_custom(path: Path) -> list[PublishedRepeat]:
    table = _read_table(path, None)
    ids = next((name for name in (keys.SAMPLE_ID, keys.PATIENT_ID, "id") if name in table), None)
    if ids is None:
        raise DataError(
            f"{path}: columns are {', '.join(table.columns)}; expected {keys.SAMPLE_ID} or {keys.PATIENT_ID}, and "
            f"{keys.PART} or fold columns"
        )
    if keys.PART in table:
        return [_by_part(table, ids, keys.PART, str(path))]
    folds = [name for name in table.columns if name.lower().startswith(("fold", "repeat", "split"))]
    if not folds:
        raise DataError(f"{path}: no column `{keys.PART}`, and none that begins with fold, repeat or split")
    repeats = []
    for name in folds:
        numbers = pd.to_numeric(table[name].replace("", "-1"), errors="coerce")
        if numbers.isna().any() or (numbers % 1 != 0).any():
            wrong = table[numbers.isna() | (numbers % 1 != 0)].iloc[0]
            raise DataError(
                f"{path}: `{name}` of {wrong[ids]!r} is {wrong[name]!r}; expected a whole number or nothing"
            )
        for fold in sorted(set(numbers[numbers >= 0])):
            learnt, tested = table.loc[numbers != fold, ids], table.loc[numbers == fold, ids]
            repeats.append(PublishedRepeat(f"{path} {name} fold {int(fold)}", frozenset(learnt), frozenset(tested)))
    if not repeats:
        raise DataError(f"{path}: no row is in a fold (all numbers are negative or empty)")
    return repeats


def _read_ids(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list of ids: {error}") from error
    if not lines:
        raise DataError(f"{path}: holds no id; expected one a line")
    return frozenset(lines)


def _read_customics(path: Path) -> list[PublishedRepeat]:
    files: dict[int, dict[str, Path]] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else []:
        if found := CUSTOMICS_FILE.match(file.name):
            files.setdefault(int(found.group(2)), {})[found.group(1)] = file
    if not files:
        raise DataError(f"{path}: expected a folder with split_train_1.txt, split_val_1.txt, split_test_1.txt, …")
    lacking = [
        f"{path}: split {number} has no split_{part}_{number}.txt"
        for number, parts in sorted(files.items())
        for part in ("train", "test")
        if part not in parts
    ]
    if lacking:
        raise DataError(join_problems("incomplete published splits", lacking))
    return [
        PublishedRepeat(
            str(parts["test"]),
            frozenset().union(*(_read_ids(parts[part]) for part in ("train", "val") if part in parts)),
            _read_ids(parts["test"]),
        )
        for _, parts in sorted(files.items())
    ]


def _read_survboard(path: Path) -> list[PublishedRepeat]:
    files = sorted(path.iterdir()) if path.is_dir() else []
    found: dict[str, list[Path]] = {}
    for file in files:
        if match := SURVBOARD_FILE.match(file.name):
            found.setdefault(match["part"], []).append(file)
    if {part: len(items) for part, items in found.items()} != {"train": 1, "test": 1}:
        raise DataError(
            f"{path}: expected a folder with one *train_splits.csv and one *test_splits.csv (of one cohort); found "
            f"{', '.join(file.name for file in files[:MAX_LISTED]) or 'no file'}"
        )
    train, test = (_read_table(found[part][0], ",") for part in ("train", "test"))
    train, test = (
        table.drop(columns=[name for name in table if str(name).startswith("Unnamed")]) for table in (train, test)
    )
    if list(train.columns) != list(test.columns):
        raise DataError(f"{path}: {train.shape[1]} training and {test.shape[1]} test splits; expected the same columns")
    names = _survboard_ids(path, files, pd.concat([train, test]))
    repeats = []
    for column in train.columns:
        learnt, tested = (_cells(table[column], names, f"{path} column {column}") for table in (train, test))
        repeats.append(PublishedRepeat(f"{path} column {column}", learnt, tested))
    return repeats


def _survboard_ids(path: Path, files: list[Path], cells: pd.DataFrame) -> list[str] | None:
    """Ids by row number, where the splits hold row numbers."""
    values = [str(value) for value in cells.to_numpy().ravel() if value not in EMPTY]
    if not all(re.fullmatch(r"\d+(\.0)?", value) for value in values):
        return None
    tables = [file for file in files if file.name.endswith("ids.csv")]
    if len(tables) != 1:
        raise ConfigError(
            f"{path}: the splits hold row numbers, which say nothing without the rows: put the ids of SurvBoard's "
            "table beside them as ids.csv (a header, then an id a row, in its order)"
        )
    return [str(name) for name in _read_table(tables[0], ",").iloc[:, 0]]


def _cells(column: pd.Series, names: list[str] | None, source: str) -> frozenset[str]:
    filled = [str(value) for value in column if value not in EMPTY]
    if names is None:
        return frozenset(filled)
    numbers = [int(float(value)) for value in filled]
    if numbers and max(numbers) >= len(names):
        raise DataError(f"{source}: row {max(numbers)} of a table with {len(names)} ids (rows are counted from 0)")
    return frozenset(names[number] for number in numbers)
