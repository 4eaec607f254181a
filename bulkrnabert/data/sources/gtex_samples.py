"""Samples of GTEx: which are used, and why every other one is not. No network here."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from bulkrnabert.config import FrozenConfig
from bulkrnabert.data.sources.delimited import open_text
from bulkrnabert.data.sources.raw_plan import RawFile
from bulkrnabert.errors import ConfigError, DataError, join_problems

SAMPLE, TISSUE, TISSUE_GROUP, RIN, ISCHEMIC_TIME, FREEZE = "SAMPID", "SMTSD", "SMTS", "SMRIN", "SMTSISCH", "SMAFRZE"
SUBJECT = "SUBJID"
TPM_FILE, ATTRIBUTES_FILE, SUBJECTS_FILE = "gene_tpm", "sample_attributes", "subject_phenotypes"
FREEZE_RNASEQ = "RNASEQ"
N_NEAREST = 3

GtexCohorts = Literal["one", "tissue"]


class GtexSample(FrozenConfig):
    """One sample.

    Attributes:
        sample_id: `SAMPID`, as `GTEX-1117F-0226-SM-5GZZ7`.
        patient_id: The donor, as `GTEX-1117F`.
        tissue: `SMTSD`, as `Brain - Amygdala`.
        tissue_group: `SMTS`, as `Brain`.
        rin: RNA integrity number, as published; empty where there is none.
        ischemic_minutes: `SMTSISCH`, time from death to preservation, as published.
    """

    sample_id: str
    patient_id: str
    tissue: str
    tissue_group: str
    rin: str
    ischemic_minutes: str


class RejectedGtexSample(GtexSample):
    """A sample that the release lists and the plan leaves out."""

    rule: str
    reason: str


class GtexPlan(FrozenConfig):
    """Content of `plan.json` of a GTEx folder.

    Attributes:
        release: `v8` or `v10`.
        annotation: Gene annotation of the release, as `GENCODE v26`.
        cohorts: `one` cohort, or one a `tissue`.
        tissues: Tissues that were asked for; empty for all.
        min_rin: Lowest RNA integrity number, if one was asked for.
        files: The expression table, the sample attributes and the subject phenotypes, by `file_id`.
        samples: Samples to use, in the order of their ids.
        rejected: All others, each with rule and reason.
    """

    source: Literal["gtex"] = "gtex"
    release: str
    annotation: str
    cohorts: GtexCohorts
    tissues: tuple[str, ...]
    min_rin: float | None
    files: tuple[RawFile, ...]
    samples: tuple[GtexSample, ...]
    rejected: tuple[RejectedGtexSample, ...]


def donor_of(sample_id: str) -> str:
    """The donor of a sample: the first two fields of its id between dashes."""
    return "-".join(sample_id.split("-")[:2])


def read_attributes(path: Path) -> pd.DataFrame:
    """Read the sample attributes of a release.

    Returns:
        Text, a row a sample: `SAMPID, SMTSD`, and `SMTS, SMRIN, SMTSISCH, SMAFRZE` where the file has them.
    Raises:
        DataError: no such table, or a sample twice.
    """
    return _read_columns(path, SAMPLE, (TISSUE,), (TISSUE_GROUP, RIN, ISCHEMIC_TIME, FREEZE))


def read_subjects(path: Path) -> pd.DataFrame:
    """Read the subject phenotypes of a release.

    Returns:
        Text, a row a donor: `SUBJID`, and `SEX` (1 male, 2 female), `AGE` (in tens of years), `DTHHRDY` (Hardy scale of
        the death) where the file has them.
    Raises:
        DataError: no such table, or a donor twice.
    """
    return _read_columns(path, SUBJECT, (), ("SEX", "AGE", "DTHHRDY"))


def _read_columns(path: Path, key: str, needed: Sequence[str], wanted: Sequence[str]) -> pd.DataFrame:
    with open_text(path) as handle:
        try:
            # Free text of pathologists has lone quotation marks.
            table = pd.read_csv(
                handle,
                sep="\t",
                dtype=str,
                keep_default_na=False,
                quoting=3,
                usecols=lambda name: name in (key, *needed, *wanted),
            )
        except pd.errors.ParserError as error:
            raise DataError(f"{path}: no table separated by tabs: {str(error).strip()}") from error
    missing = [name for name in (key, *needed) if name not in table]
    if missing:
        found = ", ".join(table.columns) or "none of them"
        raise DataError(f"{path}: expected a GTEx table with the columns {key}, {', '.join(needed)}; found {found}")
    for name in table:
        table[name] = table[name].str.strip()
    if table.empty:
        raise DataError(f"{path}: a header without rows")
    twice = table[key][table[key].duplicated()]
    if len(twice):
        raise DataError(f"{path}: {key} {twice.iloc[0]!r} stands there twice; expected one row each")
    return table


def resolve_tissues(attributes: pd.DataFrame, asked: Sequence[str]) -> tuple[str, ...]:
    """The tissues (`SMTSD`) that names stand for: a tissue, or a group of them (`SMTS`), in any case.

    Args:
        attributes: From `read_attributes`.
        asked: Names; none for all tissues.
    Raises:
        ConfigError: unknown names, each with the nearest that exist.
    """
    tissues = sorted(set(attributes[TISSUE]) - {""})
    groups = sorted(set(attributes[TISSUE_GROUP]) - {""}) if TISSUE_GROUP in attributes else []
    by_name = {name.casefold(): {name} for name in tissues}
    for group in groups:
        members = set(attributes[TISSUE][attributes[TISSUE_GROUP] == group]) - {""}
        by_name.setdefault(group.casefold(), set()).update(members)
    names = {name.casefold(): name for name in [*tissues, *groups]}
    found: set[str] = set()
    problems = []
    for name in asked:
        members = by_name.get(name.casefold(), set())
        if not members:
            folded = name.casefold()
            nearest = difflib.get_close_matches(folded, names, n=N_NEAREST, cutoff=0.3)
            nearest += [key for key in names if folded in key and key not in nearest][:N_NEAREST]
            shown = ", ".join(names[key] for key in nearest) or ", ".join(tissues[:5])
            problems.append(f"no tissue {name!r} in this release; the nearest are {shown}")
        found |= members
    if problems:
        raise ConfigError(join_problems("--tissues", problems))
    return tuple(sorted(found))


def select_samples(
    attributes: pd.DataFrame, in_table: Collection[str], tissues: Collection[str], min_rin: float | None
) -> tuple[list[GtexSample], list[RejectedGtexSample]]:
    """Choose samples: of the RNA-seq freeze, in the expression table, of the tissues, and of enough integrity.

    Args:
        attributes: From `read_attributes`. Not modified.
        in_table: Samples of the expression table.
        tissues: `SMTSD` of the tissues wanted; none for all.
        min_rin: Lowest `SMRIN`; None for any.
    Returns:
        Chosen and rejected samples, each sorted by id; the rejected ones include samples of the table that the
        attributes do not list.
    Raises:
        ConfigError: integrity was asked for, and the attributes do not have it.
    """
    if min_rin is not None and RIN not in attributes:
        raise ConfigError(f"--min-rin: the sample attributes have no column {RIN}; leave the option out")
    known = set(in_table)
    chosen: list[GtexSample] = []
    rejected: list[RejectedGtexSample] = []
    for row in attributes.to_dict("records"):
        sample = GtexSample(
            sample_id=row[SAMPLE],
            patient_id=donor_of(row[SAMPLE]),
            tissue=row[TISSUE],
            tissue_group=row.get(TISSUE_GROUP, ""),
            rin=row.get(RIN, ""),
            ischemic_minutes=row.get(ISCHEMIC_TIME, ""),
        )
        fault = _fault(sample, row.get(FREEZE), known, tissues, min_rin)
        if fault is None:
            chosen.append(sample)
        else:
            rejected.append(RejectedGtexSample(**sample.model_dump(), rule=fault[0], reason=fault[1]))
    for sample_id in sorted(known - set(attributes[SAMPLE])):
        rejected.append(
            RejectedGtexSample(
                sample_id=sample_id,
                patient_id=donor_of(sample_id),
                tissue="",
                tissue_group="",
                rin="",
                ischemic_minutes="",
                rule="no_attributes",
                reason="in the expression table, but not in the sample attributes",
            )
        )
    return sorted(chosen, key=lambda one: one.sample_id), sorted(rejected, key=lambda one: one.sample_id)


def _fault(
    sample: GtexSample, freeze: str | None, in_table: set[str], tissues: Collection[str], min_rin: float | None
) -> tuple[str, str] | None:
    if freeze is not None and freeze != FREEZE_RNASEQ:
        return "rnaseq_freeze", f"{FREEZE} is {freeze!r}, not {FREEZE_RNASEQ!r}"
    if sample.sample_id not in in_table:
        return "not_in_table", "not in the expression table"
    if not sample.tissue:
        return "no_tissue", f"no {TISSUE}"
    if tissues and sample.tissue not in tissues:
        return "tissue", f"{sample.tissue} is not asked for"
    if min_rin is not None:
        try:
            rin = float(sample.rin)
        except ValueError:
            return "min_rin", f"{RIN} is {sample.rin!r}; at least {min_rin:g} is asked for"
        if not rin >= min_rin:
            return "min_rin", f"{RIN} {rin:g}; at least {min_rin:g} is asked for"
    return None
