"""Attributions as a folder of tables, with a summary and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bulkrnabert import keys
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.downstream.attribution_study import AttributeRequest, Explained, Study
from bulkrnabert.downstream.attribution_summary import GroupSummary, gene_table
from bulkrnabert.downstream.enrichment import GeneSets, describe_sets, enrich
from bulkrnabert.provenance import atomic_path, describe_run, sha256_lines, write_json

STAGE = "attribute"
MAX_ENRICHED = 5


def write_attributions(
    request: AttributeRequest,
    study: Study,
    explained: Explained,
    groups: Sequence[GroupSummary],
    sets: GeneSets | None,
) -> None:
    """Write the folder `request.out`, whole or not at all; `sets` are gene sets to test, if any."""
    with atomic_path(request.out) as folder:
        folder.mkdir()
        _write_tsv(folder / keys.ATTRIBUTIONS_TSV, gene_table(groups, study.genes))
        _write_tsv(folder / keys.ATTRIBUTED_SAMPLES_TSV, explained.samples)
        enriched = None
        if sets is not None:
            tables = [_enriched(group, request.n_top, sets, study.genes) for group in groups]
            enriched = pd.concat(tables, ignore_index=True)
            _write_tsv(folder / keys.ENRICHMENT_TSV, enriched)
        if request.keeps_samples:
            _write_samples(folder, study, explained)
        write_json(folder / keys.ATTRIBUTION_JSON, _summary(request, study, explained, groups, sets, enriched))
        write_json(folder / keys.PROVENANCE_JSON, _provenance(request))


def _write_tsv(path: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(path, sep="\t", index=False, float_format="%.6g", lineterminator="\n")


def _enriched(group: GroupSummary, n_top: int, sets: GeneSets, genes: GeneVocabulary) -> pd.DataFrame:
    frame = enrich(group.mean_abs, n_top, sets, genes)
    frame.insert(0, keys.LAYER, "" if group.layer is None else str(group.layer))
    frame.insert(0, keys.CLASS, group.name)
    return frame


def _write_samples(folder: Path, study: Study, explained: Explained) -> None:
    """A row a sample (and layer): the mean over members, in the order of `genes.txt`."""
    (folder / keys.GENES_TXT).write_text("".join(f"{gene_id}\n" for gene_id in study.genes.gene_ids), encoding="utf-8")
    n_genes = len(study.genes)
    schema = pa.schema(
        [
            (keys.SAMPLE_ID, pa.string()),
            (keys.CLASS, pa.string()),
            (keys.LAYER, pa.int32()),
            (keys.VALUES, pa.list_(pa.float32(), n_genes)),
        ],
        metadata={keys.META_GENES_SHA256: sha256_lines(study.genes.gene_ids)},
    )
    with pq.ParquetWriter(folder / keys.ATTRIBUTIONS_PARQUET, schema) as writer:
        for layer, members in explained.values.items():
            mean = np.mean(members, axis=0).astype(np.float32)
            arrays = [
                pa.array(study.sample_ids.tolist(), pa.string()),
                pa.array([str(name) for name in study.groups], pa.string()),
                pa.array([layer] * len(mean), pa.int32()),
                pa.FixedSizeListArray.from_arrays(pa.array(mean.ravel()), n_genes),
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _summary(
    request: AttributeRequest,
    study: Study,
    explained: Explained,
    groups: Sequence[GroupSummary],
    sets: GeneSets | None,
    enriched: pd.DataFrame | None,
) -> dict[str, Any]:
    return {
        "kind": "attribution",
        "version": 1,
        "method": request.method,
        "task": study.task,
        "members": [member.name for member in study.members],
        "n_genes": len(study.genes),
        "n_top": request.n_top,
        **explained.settings,
        "gene_sets": None if sets is None else describe_sets(sets),
        "groups": [_group_record(group, study.genes, request.n_top) for group in groups],
        "enrichment": [] if enriched is None else _first_sets(enriched),
    }


def _first_sets(enriched: pd.DataFrame) -> list[dict[str, Any]]:
    """The first sets of each group, as the report shows them."""
    columns = [keys.CLASS, keys.LAYER, "set", "n_in_top", "n_expected", "q_overlap"]
    shown = enriched.groupby([keys.CLASS, keys.LAYER], sort=False).head(MAX_ENRICHED)[columns]
    records: list[dict[str, Any]] = json.loads(shown.to_json(orient="records", double_precision=15))
    return records


def _group_record(group: GroupSummary, genes: GeneVocabulary, n_top: int) -> Mapping[str, Any]:
    return {
        keys.CLASS: group.name,
        keys.LAYER: group.layer,
        "n_samples": group.n_samples,
        "n_members": group.n_members,
        "rank_correlation": group.rank_correlation,
        "top_overlap": group.top_overlap,
        "top": [genes.symbols[column] or genes.gene_ids[column] for column in group.top(n_top)],
    }


def _provenance(request: AttributeRequest) -> dict[str, Any]:
    model = request.model or request.checkpoint
    assert model is not None
    inputs = {"model": model / keys.CONFIG_JSON}
    inputs |= {
        role: path
        for role, path in (
            ("table", request.table or (request.cohorts and request.cohorts / keys.SUMMARY_JSON)),
            ("genes", request.genes),
            ("gmt", request.gmt),
        )
        if path is not None and path.is_file()
    }
    parameters = {
        "unit": request.unit,
        "method": request.method,
        "task": request.task,
        "classes": list(request.classes),
        "baseline": request.baseline,
        "n_steps": request.n_steps,
        "layers": list(request.layers),
        "n_top": request.n_top,
        "n_samples": request.n_samples,
        "seed": request.seed,
    }
    return describe_run(STAGE, parameters, inputs)
