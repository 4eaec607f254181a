"""Predictions of a fine-tuned model for new tables."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bulkrnabert import keys
from bulkrnabert.data.sources.files import ExpressionTable, parse_format
from bulkrnabert.downstream.embed_files import TableFile
from bulkrnabert.downstream.encode import OmicTable, encode_omics, sample_ids_of
from bulkrnabert.downstream.finetuned_folder import FinetunedModel, Member, TaskRecord
from bulkrnabert.downstream.h5ad_files import OBS_PREFIX, Additions, add_to_h5ad
from bulkrnabert.downstream.survival import HORIZON_DAYS, pooled_risk, survival_probabilities
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.provenance import PACKAGE, atomic_path
from bulkrnabert.train.finetune import pooled_embeddings

logger = logging.getLogger(__name__)

OUT_SUFFIXES = (".parquet", ".tsv", ".csv", ".h5ad")
RECORD_NAME = "predictions"
FloatArray = npt.NDArray[np.float64]


def predict(
    model: FinetunedModel,
    data: OmicTable | Mapping[str, tuple[OmicTable, str]],
    unit: str | None = None,
    cohort: str | None = None,
) -> pd.DataFrame:
    """What a fine-tuned model says of every sample, for notebooks; runs on a GPU where there is one.

    Args:
        model: From `load_finetuned`.
        data: As for `embed`: AnnData, a data frame or an ExpressionTable, samples x genes; or a table and its unit for
            each omic that there is. Not modified.
        unit: Unit of the values, as `tpm`; stands with the tables where they are given by omic.
        cohort: Whose baseline hazard the samples share; None: that of all training samples together. Survival only.
    Returns:
        A row a sample, in the order of the table, with the columns of `predict_tables`.
    Raises:
        ConfigError, VocabularyError, DataError: as `predict_tables`; ConfigError without a unit, or with two.
    """
    if isinstance(data, Mapping):
        if unit is not None:
            raise ConfigError("unit stands with each table where tables are given by omic: leave `unit` out")
        tables = data
    elif unit is None:
        raise ConfigError('say what the values are: unit="tpm", for example')
    else:
        tables = {next(iter(model.members[0].inputs.tokenizers)): (data, unit)}
    return predict_tables(model, tables, cohort, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def predict_table(
    model: FinetunedModel, table: ExpressionTable, unit: str, cohort: str | None, device: torch.device
) -> pd.DataFrame:
    """As `predict_tables`, of expression alone."""
    return predict_tables(model, {keys.RNASEQ: (table, unit)}, cohort, device)


def predict_tables(
    model: FinetunedModel, tables: Mapping[str, tuple[OmicTable, str]], cohort: str | None, device: torch.device
) -> pd.DataFrame:
    """What the members say of every sample, averaged.

    Args:
        model: From `load_finetuned`.
        tables: Table and unit, by omic; genes in any order. Samples are paired by id; what a sample does not have is
            `<mask>`. Not modified.
        cohort: Whose baseline hazard the samples share; None: that of all training samples together. Survival only.
        device: Where to run.
    Returns:
        A row a sample: `sample_id`; for classes `predicted`, `confidence` (its probability), `probability_<class>` and
        `confidence_spread`; for survival `risk` (log cumulative hazard, higher is worse), `risk_spread` and
        `survival_1y` (3y, 5y; probability of no event by then); `missing_share` of the genes that the model (or its
        panel) reads. Spreads are standard deviations over members, NaN where there is only one.
    Raises:
        ConfigError: `cohort` is not known to the model, or it does not predict survival; or a table of an omic that the
            model never saw.
        VocabularyError: less than half of the genes that the model reads are in a table.
        DataError: a unit is not the model's and cannot be converted, a sample is twice in a table, or no sample is in
            all tables.
    """
    if any(not len(sample_ids_of(table)) for table, _unit in tables.values()):
        raise DataError("a table has no samples")
    _check_cohort(model, cohort)
    outputs: dict[str, list[FloatArray]] = {task.name: [] for task in model.record.tasks}
    ids: tuple[str, ...] = ()
    missing_share = np.zeros(0, dtype=np.float32)
    for number, member in enumerate(model.members):
        named = encode_omics(member.inputs, tables)
        ids, share = named.sample_ids, named.encoded.missing_share
        missing_share = share if number == 0 else np.maximum(missing_share, share)
        pooled = pooled_embeddings(member.network, named.token_ids, device)
        with torch.no_grad():
            for name, output in member.network.outputs(pooled).items():
                outputs[name].append(output.double().cpu().numpy())
        member.network.cpu()
        logger.info("member %s: %d samples", member.split_id, len(ids))
    columns: dict[str, Any] = {keys.SAMPLE_ID: [str(name) for name in ids]}
    for task in model.record.tasks:
        if task.name == keys.CANCER_TYPE:
            columns |= _class_columns(task, outputs[task.name])
        else:
            columns |= _survival_columns(model.members, outputs[task.name], cohort)
    return pd.DataFrame({**columns, keys.MISSING_SHARE: missing_share})


def _check_cohort(model: FinetunedModel, cohort: str | None) -> None:
    if cohort is None:
        return
    if model.task(keys.SURVIVAL) is None:
        raise ConfigError("--cohort chooses a baseline hazard, and this model does not predict survival: leave it out")
    known = set.intersection(*(set(member.strata) for member in model.members))
    if cohort not in known:
        raise ConfigError(
            f"--cohort {cohort!r} is not known to the model: choose one of {', '.join(sorted(known))}, or leave it out "
            "for the baseline hazard of all training samples together"
        )


def _class_columns(task: TaskRecord, logits: list[FloatArray]) -> dict[str, Any]:
    exponentials = [np.exp(values - values.max(axis=1, keepdims=True)) for values in logits]
    by_member = np.stack([values / values.sum(axis=1, keepdims=True) for values in exponentials])
    mean = by_member.mean(axis=0)
    best = mean.argmax(axis=1)
    rows = np.arange(len(mean))
    return {
        "predicted": np.array(task.classes)[best],
        "confidence": mean[rows, best],
        "confidence_spread": _spread(by_member[:, rows, best]),
        **{f"probability_{name}": mean[:, number] for number, name in enumerate(task.classes)},
    }


def _survival_columns(members: tuple[Member, ...], outputs: list[FloatArray], cohort: str | None) -> dict[str, Any]:
    risks, curves = [], []
    last = np.inf
    for member, output in zip(members, outputs, strict=True):
        baseline = member.baseline
        assert baseline is not None
        number = -1 if cohort is None else member.strata.index(cohort)
        strata = np.full(len(output), number, dtype=np.int64)
        days = np.array(list(HORIZON_DAYS.values()))
        risks.append(pooled_risk(output[:, 0], strata, baseline))
        curves.append(survival_probabilities(output[:, 0], strata, baseline, days))
        last = min(last, float(baseline.pooled_hazard.at_days[-1]))
    by_member, curve = np.stack(risks), np.stack(curves).mean(axis=0)
    reached = [(number, name) for number, (name, days) in enumerate(HORIZON_DAYS.items()) if days <= last]
    return {
        "risk": by_member.mean(axis=0),
        "risk_spread": _spread(by_member),
        **{f"survival_{name}": curve[:, number] for number, name in reached},
    }


def _spread(by_member: FloatArray) -> FloatArray:
    return np.full(by_member.shape[1], np.nan) if len(by_member) == 1 else by_member.std(axis=0, ddof=1)


def check_out(path: Path) -> None:
    """Refuse a name that says no known format."""
    if path.suffix not in OUT_SUFFIXES:
        raise ConfigError(f"--out {path}: expected a name that ends in {', '.join(OUT_SUFFIXES)}")


def h5ad_of(files: Mapping[str, TableFile]) -> Path | None:
    """The `.h5ad` file that all samples are from; None where there is none, or more than one table."""
    first = next(iter(files.values()))
    is_h5ad = parse_format(first.file_format or "", first.path).name == "h5ad"
    return first.path if is_h5ad and len(files) == 1 else None


def write_table(frame: pd.DataFrame, path: Path, provenance: dict[str, Any], table: Path | None = None) -> None:
    """Write predictions as `.parquet` (with their provenance), `.tsv`, `.csv` or `.h5ad`.

    Args:
        frame: From `predict_tables`.
        path: File to write.
        provenance: Of the run.
        table: The `.h5ad` file that the samples are from, if they are: an `.h5ad` is then a copy of it with the
            predictions added to `obs`, named with `brb_`.
    Raises:
        DataError: the samples of `table` are others.
    """
    if path.suffix == ".h5ad":
        _write_h5ad(frame, path, provenance, table)
        return
    with atomic_path(path) as partial:
        if path.suffix == ".parquet":
            rows = pa.Table.from_pandas(frame, preserve_index=False)
            pq.write_table(rows.replace_schema_metadata({keys.META_PROVENANCE: json.dumps(provenance)}), partial)
        else:
            frame.to_csv(partial, sep="\t" if path.suffix == ".tsv" else ",", index=False, lineterminator="\n")


def _write_h5ad(frame: pd.DataFrame, path: Path, provenance: dict[str, Any], table: Path | None) -> None:
    obs = frame.drop(columns=keys.SAMPLE_ID).add_prefix(OBS_PREFIX)
    if table is not None:
        names = tuple(str(name) for name in frame[keys.SAMPLE_ID])
        add_to_h5ad(table, path, Additions(names, RECORD_NAME, provenance, obs))
        return
    import anndata

    obs = obs.set_axis(pd.Index(frame[keys.SAMPLE_ID].astype(str), name=keys.SAMPLE_ID), axis=0)
    adata = anndata.AnnData(obs=obs, uns={PACKAGE: {RECORD_NAME: json.dumps(provenance, indent=2)}})
    with atomic_path(path) as partial:
        adata.write_h5ad(partial)
