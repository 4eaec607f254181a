"""Patient-grouped, stratified folds: which samples are judged, and who never meets whom in training."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.errors import ConfigError, DataError, join_problems
from bulkrnabert.provenance import atomic_path

logger = logging.getLogger(__name__)

Protocol = Literal["leak-free", "transductive", "paper"]

MIN_PATIENTS_PER_FOLD = 2
JUDGED_PREFERENCE = {keys.TUMOR: 0, keys.METASTATIC: 1, keys.UNKNOWN: 2}
NEVER_JUDGED = (keys.NORMAL, keys.CELL_LINE)
FIXED_COLUMNS = [keys.SAMPLE_ID, keys.PATIENT_ID, keys.COHORT, keys.JUDGED]
ALWAYS_TRAINING = -1


@dataclass(frozen=True)
class Splits:
    """The folds of one study.

    Attributes:
        frame: A row a sample: `sample_id, patient_id, cohort, judged` (0 or 1), `fold_r0`, … The fold is the patient's;
            -1 for patients who are in training in every fold of that repeat: because none of their samples is judged,
            or because the repeat is a hold-out, whose one fold is the test part.
        sha256: Of the bytes of `splits.tsv`.
    """

    frame: pd.DataFrame
    sha256: str

    @property
    def n_repeats(self) -> int:
        """Number of times that the folds were drawn."""
        return self.frame.shape[1] - len(FIXED_COLUMNS)

    @property
    def n_folds(self) -> int:
        """Number of folds of each repeat."""
        return int(self.frame[keys.fold_column(0)].max()) + 1

    @property
    def n_parts(self) -> int:
        """Number of folds that all judged patients would fill: 5 for five folds, and for a hold-out of a fifth."""
        is_tested = self.judged.drop_duplicates(keys.PATIENT_ID)[keys.fold_column(0)] >= 0
        return max(self.n_folds, round(self.n_folds * len(is_tested) / max(1, is_tested.sum())))

    def is_left_out(self, cohort: str) -> bool:
        """Whether the judged patients of this cohort, more than one, are tested together and never learnt from."""
        inside = self.judged[self.judged[keys.COHORT] == cohort]
        folds = inside[[keys.fold_column(repeat) for repeat in range(self.n_repeats)]]
        return inside[keys.PATIENT_ID].nunique() > 1 and bool(((folds == folds.iloc[0]) & (folds >= 0)).all(axis=None))

    @property
    def has_left_out_cohorts(self) -> bool:
        """Whether each patient who is tested is of a cohort that is left out of training."""
        tested = self.judged[self.judged[keys.fold_column(0)] >= 0]
        return all(self.is_left_out(cohort) for cohort in tested[keys.COHORT].unique())

    @property
    def judged(self) -> pd.DataFrame:
        """The rows of the judged samples: one a patient, or under the `paper` protocol all."""
        return self.frame[self.frame[keys.JUDGED] == 1]

    def share_tested(self, scope: str) -> float:
        """Size of a test part by the size of its training part, over all folds: 1/4 for five folds.

        Args:
            scope: `pan`, or a cohort, whose samples alone are then counted unless it is left out.
        """
        judged = self.judged
        if scope != keys.PAN and not self.is_left_out(scope):
            judged = judged[judged[keys.COHORT] == scope]
        folds = judged[[keys.fold_column(repeat) for repeat in range(self.n_repeats)]].to_numpy()
        n_test = sum(int((folds == fold).sum()) for fold in range(self.n_folds))
        return n_test / max(1, folds.size * self.n_folds - n_test)

    def split_ids(self, protocol: Protocol) -> list[str]:
        """The encoders to pretrain: one a fold (`leak-free`), or one on all samples (`transductive`, `paper`)."""
        if protocol != "leak-free":
            return [keys.ALL_SPLIT]
        return [keys.split_id(repeat, fold) for repeat in range(self.n_repeats) for fold in range(self.n_folds)]

    def training_samples(self, split_id: str) -> set[str]:
        """Samples that may be learnt from under this split; all of them for `all`."""
        return set(self.frame[keys.SAMPLE_ID]) - self.held_out_samples(split_id)

    def held_out_samples(self, split_id: str) -> set[str]:
        """Every sample, judged or not, of the patients of the fold that `split_id` leaves out; none for `all`.

        Raises:
            ConfigError: these splits have no such fold.
        """
        if split_id == keys.ALL_SPLIT:
            return set()
        known = self.split_ids("leak-free")
        if split_id not in known:
            raise ConfigError(f"no split named {split_id!r} in splits.tsv: choose one of {', '.join(known)} or `all`")
        repeat, fold = divmod(known.index(split_id), self.n_folds)
        return set(self.frame.loc[self.frame[keys.fold_column(repeat)] == fold, keys.SAMPLE_ID])


def read_clinical(path: Path) -> pd.DataFrame:
    """Read `clinical.tsv`.

    Returns:
        A row a patient, text columns; `time_days` and `event` float64, NaN where they are not usable.
    Raises:
        DataError: no table, a missing column, or a patient twice.
    """
    try:
        clinical = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a tab-separated table: {error}") from error
    missing = [
        name for name in (keys.PATIENT_ID, keys.COHORT, keys.TIME_DAYS, keys.EVENT) if name not in clinical.columns
    ]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; expected the clinical.tsv that `preprocess` writes")
    twice = clinical[keys.PATIENT_ID][clinical[keys.PATIENT_ID].duplicated()]
    if len(twice):
        raise DataError(f"{path}: patient {twice.iloc[0]!r} has more than one row; expected a row a patient")
    for name in (keys.TIME_DAYS, keys.EVENT):
        numbers = pd.to_numeric(clinical[name], errors="coerce")
        wrong = clinical[numbers.isna() & (clinical[name] != "")]
        if len(wrong):
            raise DataError(
                f"{path}: `{name}` of patient {wrong[keys.PATIENT_ID].iloc[0]!r} is {wrong[name].iloc[0]!r}; "
                "expected a number or nothing"
            )
        clinical[name] = numbers.astype(np.float64)
    return clinical


def judged_samples(samples: pd.DataFrame, preference: Mapping[str, int] = JUDGED_PREFERENCE) -> pd.DataFrame:
    """The one sample of each patient that is scored: primary tumour, else metastasis, else of unknown type.

    Among several of the same type the lowest `sample_id` is taken. Normal tissue and cell lines are never judged.

    Args:
        samples: `sample_id, patient_id, cohort, sample_type`, …, a row a sample. Not modified.
        preference: Rank of each sample type that may be taken, the lowest first.
    Returns:
        Rows of `samples`, sorted by patient.
    """
    candidates = samples[samples[keys.SAMPLE_TYPE].isin(preference)]
    ranked = candidates.assign(_preference=candidates[keys.SAMPLE_TYPE].map(preference))
    ranked = ranked.sort_values([keys.PATIENT_ID, "_preference", keys.SAMPLE_ID])
    return ranked.drop_duplicates(keys.PATIENT_ID).drop(columns="_preference").reset_index(drop=True)


def labels_of(judged: pd.DataFrame, clinical: pd.DataFrame, label_column: str, n_folds: int) -> pd.Series:
    """The class of each judged sample.

    Args:
        judged: Rows with `patient_id` and `cohort`.
        clinical: The clinical table.
        label_column: `cohort`, or a column of the clinical table.
        n_folds: `Splits.n_parts`; classes with fewer than twice as many patients cannot be judged, and are left empty.
    Returns:
        Text, indexed as `judged`; empty where there is no usable label.
    Raises:
        ConfigError: no such column.
    """
    if label_column == keys.COHORT:
        labels = judged[keys.COHORT].astype(str)
    elif label_column in clinical.columns:
        labels = judged[keys.PATIENT_ID].map(clinical.set_index(keys.PATIENT_ID)[label_column]).fillna("").astype(str)
    else:
        known = ", ".join(sorted(set(clinical.columns) - {keys.PATIENT_ID}))
        raise ConfigError(f"--label-column {label_column!r} is not in clinical.tsv: choose one of {known}")
    counts = judged[keys.PATIENT_ID].groupby(labels).nunique()
    too_small = counts.index[counts < MIN_PATIENTS_PER_FOLD * n_folds]
    return labels.where(~labels.isin(too_small), "")


def strata_of(judged: pd.DataFrame, clinical: pd.DataFrame) -> pd.Series:
    """Whose baseline hazard each judged sample shares: its project's within its cohort, where it has one.

    A merged cohort (GBMLGG) holds projects with hazards of their own. Compared across them, a model "predicts
    survival" by telling the projects apart.

    Args:
        judged: Rows with `patient_id` and `cohort`.
        clinical: The clinical table; its `project_id` may be absent, or empty for some.
    Returns:
        Text, indexed as `judged`: `GBMLGG/TCGA-GBM`, or the cohort alone where the project is not given or the same.
    """
    cohorts = judged[keys.COHORT].astype(str)
    if keys.PROJECT_ID not in clinical.columns:
        return cohorts
    by_patient = clinical.set_index(keys.PATIENT_ID)[keys.PROJECT_ID]
    projects = judged[keys.PATIENT_ID].map(by_patient).fillna("").astype(str)
    return cohorts.where(projects.isin([""]) | (projects == cohorts), cohorts + "/" + projects)


def survival_of(judged: pd.DataFrame, clinical: pd.DataFrame) -> pd.DataFrame:
    """`time_days` and `event` of each judged sample, NaN in both if the time is negative or the event not 0 or 1."""
    by_patient = clinical.set_index(keys.PATIENT_ID)[[keys.TIME_DAYS, keys.EVENT]]
    survival = by_patient.reindex(judged[keys.PATIENT_ID]).set_axis(judged.index, axis=0)
    usable = (survival[keys.TIME_DAYS] >= 0) & survival[keys.EVENT].isin([0, 1])
    return survival.where(usable)


def deal_folds(groups: pd.DataFrame, n_folds: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Deal rows out to folds so that each group is spread evenly.

    Args:
        groups: A row each; rows that are equal in all columns are a group, the first column the coarsest.
        n_folds: Number of folds.
        generator: Decides who goes where within a group.
    Returns:
        Fold of each row, shape (rows,). Within a group, and within all groups that share the first columns, the folds
        differ by at most one row.
    """
    shuffled = groups.reset_index(drop=True).assign(_random=generator.random(len(groups)))
    order = shuffled.sort_values(list(shuffled.columns)).index.to_numpy()
    folds = np.empty(len(order), dtype=np.int64)
    folds[order] = np.arange(len(order)) % n_folds
    return folds


def check_samples(samples: pd.DataFrame) -> None:
    """Refuse a sample twice, and a cohort whose name means all cohorts."""
    twice = samples[keys.SAMPLE_ID][samples[keys.SAMPLE_ID].duplicated()]
    if len(twice):
        raise DataError(f"sample {twice.iloc[0]!r} is in the cohort tables more than once; expected each sample once")
    if keys.PAN in set(samples[keys.COHORT]):
        raise DataError(f"a cohort is named {keys.PAN!r}, which here means all cohorts together: rename it")


def check_cohort_sizes(samples: pd.DataFrame, judged: pd.DataFrame, n_folds: int) -> None:
    """Refuse cohorts with fewer than two judged patients a fold; those that never are judged need none."""
    never_judged = samples[keys.SAMPLE_TYPE].isin(NEVER_JUDGED)
    learnt_from = sorted(set(samples[keys.COHORT]) - set(samples[keys.COHORT][~never_judged]))
    if len(judged):
        samples = samples[~samples[keys.COHORT].isin(learnt_from)]
        for cohort in learnt_from:
            logger.info("cohort %s: normal tissue and cell lines only, always in training and never judged", cohort)
    needed = MIN_PATIENTS_PER_FOLD * n_folds
    n_patients = judged[keys.COHORT].value_counts()
    problems = [
        f"cohort {cohort!r} has {n_patients.get(cohort, 0)} patients that can be judged, too few for {n_folds} folds "
        f"(at least {needed}, {MIN_PATIENTS_PER_FOLD} a fold): use fewer `--folds`, or merge or drop the cohort"
        for cohort in sorted(samples[keys.COHORT].unique())
        if n_patients.get(cohort, 0) < needed
    ]
    if problems:
        raise DataError(join_problems("cannot split", problems))


def make_splits(
    samples: pd.DataFrame,
    clinical: pd.DataFrame,
    n_folds: int,
    n_repeats: int,
    seed: int,
    label_column: str = keys.COHORT,
) -> Splits:
    """Draw folds over patients, balanced in cohort, project, label and event.

    Cohort is the coarsest group, then its project, then label, then event (see `deal_folds`, `strata_of`).

    Args:
        samples: `sample_id, patient_id, cohort, sample_type`, a row a sample. Not modified.
        clinical: As `read_clinical` returns it. Not modified.
        n_folds: At least 2.
        n_repeats: How often the folds are drawn anew.
        seed: Same seed and same patients, same folds, whatever the order of the rows.
        label_column: What the cancer-type job will predict.
    Raises:
        DataError: a sample twice, or a cohort with fewer than two judged patients a fold (names each).
        ConfigError: `n_folds`, `n_repeats` or `label_column` is no good.
    """
    if n_folds < 2 or n_repeats < 1:
        raise ConfigError(f"--folds is {n_folds} and --repeats {n_repeats}: expected at least 2 folds and 1 repeat")
    check_samples(samples)
    judged = judged_samples(samples)
    check_cohort_sizes(samples, judged, n_folds)
    groups = balanced_groups(judged, clinical, label_column, n_folds)
    folds_of_patient = [
        pd.Series(deal_folds(groups, n_folds, np.random.default_rng([seed, repeat])), index=judged[keys.PATIENT_ID])
        for repeat in range(n_repeats)
    ]
    return splits_of(samples, judged[keys.SAMPLE_ID], folds_of_patient)


def balanced_groups(patients: pd.DataFrame, clinical: pd.DataFrame, label_column: str, n_folds: int) -> pd.DataFrame:
    """What `deal_folds` spreads evenly: cohort, then project, then label, then event.

    Args:
        patients: `patient_id, cohort`, a row a patient.
        clinical: As `read_clinical` returns it.
        label_column: What the cancer-type job will predict.
        n_folds: Number of folds.
    """
    return pd.DataFrame(
        {
            keys.COHORT: patients[keys.COHORT],
            keys.STRATUM: strata_of(patients, clinical),
            "label": labels_of(patients, clinical, label_column, n_folds),
            keys.EVENT: survival_of(patients, clinical)[keys.EVENT].fillna(-1),
        }
    )


def splits_of(samples: pd.DataFrame, judged: pd.Series, folds_of_patient: Sequence[pd.Series]) -> Splits:
    """Splits in the order of the file, with their hash.

    Args:
        samples: `sample_id, patient_id, cohort`, a row a sample. Not modified.
        judged: Ids of the samples that are scored.
        folds_of_patient: For each repeat the fold of the patients that are tested, by patient.
    """
    table = samples[[keys.SAMPLE_ID, keys.PATIENT_ID, keys.COHORT]].copy()
    table[keys.JUDGED] = table[keys.SAMPLE_ID].isin(judged).astype(np.int64)
    for repeat, folds in enumerate(folds_of_patient):
        table[keys.fold_column(repeat)] = table[keys.PATIENT_ID].map(folds).fillna(ALWAYS_TRAINING).astype(np.int64)
    table = table.sort_values([keys.COHORT, keys.SAMPLE_ID]).reset_index(drop=True)
    return Splits(table, hashlib.sha256(_as_tsv(table)).hexdigest())


def _as_tsv(table: pd.DataFrame) -> bytes:
    return table.to_csv(sep="\t", index=False, lineterminator="\n").encode()


def write_tsv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as TSV, atomically."""
    with atomic_path(path) as partial:
        partial.write_bytes(_as_tsv(table))


def splits_file(path: Path) -> Path:
    """The file itself, where a folder that `split` wrote is given.

    Raises:
        DataError: the folder has no `splits.tsv`.
    """
    if not path.is_dir():
        return path
    if not (path / keys.SPLITS_TSV).is_file():
        raise DataError(f"{path}: is a folder without {keys.SPLITS_TSV}; give the {keys.SPLITS_TSV} that `split` wrote")
    return path / keys.SPLITS_TSV


def read_splits(path: Path) -> Splits:
    """Read `splits.tsv`, or that of the folder that `split` wrote.

    Raises:
        DataError: no table, a missing column, a sample twice, a patient in two folds, or a repeat that tests no one.
    """
    path = splits_file(path)
    try:
        raw = path.read_bytes()
        table = pd.read_csv(
            io.BytesIO(raw), sep="\t", dtype=dict.fromkeys(FIXED_COLUMNS[:3], str), keep_default_na=False
        )
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a tab-separated table: {error}") from error
    folds = [name for name in table.columns if name.startswith(keys.FOLD_PREFIX)]
    expected = [*FIXED_COLUMNS, *(keys.fold_column(repeat) for repeat in range(max(1, len(folds))))]
    if list(table.columns) != expected:
        raise DataError(
            f"{path}: columns are {', '.join(table.columns)}; expected {', '.join(expected)}, in this order"
        )
    wrong = [name for name in expected[3:] if not pd.api.types.is_integer_dtype(table[name])]
    if wrong:
        raise DataError(f"{path}: column {wrong[0]} holds something other than whole numbers")
    if table[keys.SAMPLE_ID].duplicated().any():
        first = table.loc[table[keys.SAMPLE_ID].duplicated(), keys.SAMPLE_ID].iloc[0]
        raise DataError(f"{path}: sample {first!r} has more than one row")
    by_patient = table.groupby(keys.PATIENT_ID)
    for name in folds:
        in_two = by_patient[name].nunique()
        if (in_two > 1).any():
            raise DataError(f"{path}: patient {in_two.index[in_two > 1][0]!r} is in more than one fold of {name}")
        folds_found = sorted(set(table.loc[table[keys.JUDGED] == 1, name]) - {ALWAYS_TRAINING})
        if folds_found != list(range(len(folds_found))) or not folds_found:
            raise DataError(
                f"{path}: judged samples are in folds {', '.join(map(str, folds_found)) or 'none'} of {name}; expected "
                f"0, 1, … without a gap, and {ALWAYS_TRAINING} for patients who are always in training"
            )
        if len(folds_found) != len(set(table.loc[table[keys.JUDGED] == 1, folds[0]]) - {ALWAYS_TRAINING}):
            raise DataError(f"{path}: {name} has {len(folds_found)} folds, {folds[0]} another number")
    return Splits(table, hashlib.sha256(raw).hexdigest())
