"""Which genes a prediction rests on: from a model and a table to files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from bulkrnabert import keys
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.sources.files import ExpressionTable
from bulkrnabert.downstream.attribution_files import write_attributions
from bulkrnabert.downstream.attribution_gradients import (
    Attributions,
    Baseline,
    integrated_gradients,
    require_bulkrnabert,
    resolve_baseline,
)
from bulkrnabert.downstream.attribution_study import AttributeRequest, Explained, StudiedMember, Study, Tokens
from bulkrnabert.downstream.attribution_summary import FloatArray, GroupSummary, summarise_group
from bulkrnabert.downstream.attribution_table import choose_samples, read_explained
from bulkrnabert.downstream.embed import choose_batch_size
from bulkrnabert.downstream.encode import encode_expression
from bulkrnabert.downstream.enrichment import match_sets, read_gmt
from bulkrnabert.downstream.finetuned_folder import FinetunedModel, load_finetuned
from bulkrnabert.downstream.pretrained import load
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.logs import progress

logger = logging.getLogger(__name__)

ALL_SAMPLES = "all"
LARGE_DELTA = 0.05


def attribute_table(request: AttributeRequest) -> list[GroupSummary]:
    """Explain a table and write the folder `request.out`; returns what was found for each class (and layer).

    Raises:
        ConfigError: options that do not fit each other or the model.
        DataError: the table, the gene sets or the list of genes is wrong, or no sample is of a wanted class.
        CheckpointError: the model's folder is wrong.
    """
    _refuse_other_folder(request.out)
    sets = None if request.gmt is None else read_gmt(request.gmt)
    study = _prepare(request)
    matched = None if sets is None else match_sets(sets, study.genes, str(request.gmt))
    explained = _explain_gradients(request, study) if request.method == "ig" else _explain_attention(request, study)
    groups = [
        summarise_group(str(name), [values[study.groups == name] for values in members], request.n_top, layer)
        for layer, members in explained.values.items()
        for name in sorted(set(study.groups))
    ]
    write_attributions(request, study, explained, groups, matched)
    return groups


def _refuse_other_folder(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / keys.ATTRIBUTION_JSON).is_file():
        raise ConfigError(f"{out}: holds something else than attributions, and would be replaced; give a new folder")


def _prepare(request: AttributeRequest) -> Study:
    if (request.model is None) == (request.checkpoint is None):
        raise ConfigError("give either --model, of `finetune`, or --checkpoint, of an encoder")
    if request.model is None and request.method == "ig":
        raise ConfigError("a pretrained encoder predicts nothing to attribute: give --model, or use --method attention")
    explained = read_explained(request)
    table, unit = explained.expression, explained.unit
    sample_ids = pd.Index(table.sample_ids)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if request.model is None:
        assert request.checkpoint is not None
        if request.task is not None or request.classes:
            raise ConfigError("--task and --class belong to --model: an encoder has no classes")
        encoder = load(request.checkpoint).to(device)
        require_bulkrnabert(encoder.network)
        token_ids = encode_expression(encoder, table, unit).token_ids
        members = [StudiedMember("encoder", encoder, None, encoder.gene_ids, token_ids)]
        groups = _cohorts(table)
        return _chosen(request, members, None, sample_ids, groups, np.zeros(len(groups), dtype=np.int64), table)
    model = load_finetuned(request.model)
    task = _choose_task(model, request)
    members = _members(model, table, unit, device)
    if task != keys.CANCER_TYPE:
        groups = _cohorts(table)
        return _chosen(request, members, task, sample_ids, groups, np.zeros(len(groups), dtype=np.int64), table)
    record = model.task(task)
    assert record is not None
    class_idx = _class_probabilities(members, task).argmax(axis=1)
    return _chosen(request, members, task, sample_ids, np.array(record.classes, object)[class_idx], class_idx, table)


def _choose_task(model: FinetunedModel, request: AttributeRequest) -> str:
    names = [task.name for task in model.record.tasks]
    if request.task is None and len(names) > 1:
        raise ConfigError(f"{request.model} has the tasks {', '.join(names)}: choose one with --task")
    task = request.task or names[0]
    record = model.task(task)
    if record is None:
        raise ConfigError(f"{request.model} has no task {task!r}, only {', '.join(names)}")
    unknown = [name for name in request.classes if name not in record.classes]
    if unknown:
        known = f"its classes are {', '.join(record.classes)}" if record.classes else f"{task} has no classes"
        raise ConfigError(f"{request.model} has no class {unknown[0]!r}: {known}")
    return task


def _members(model: FinetunedModel, table: ExpressionTable, unit: str, device: torch.device) -> list[StudiedMember]:
    encoded: dict[tuple[str, tuple[str, ...]], Tokens] = {}
    members = []
    for member in model.members:
        require_bulkrnabert(member.network.encoder)
        inputs = member.inputs
        key = member.encoder.weights_sha256, inputs.gene_ids
        if key not in encoded:
            encoded[key] = encode_expression(inputs, table, unit).token_ids
        network = member.network.to(device)
        members.append(StudiedMember(member.split_id, member.encoder, network, inputs.gene_ids, encoded[key]))
    return members


def _cohorts(table: ExpressionTable) -> npt.NDArray[np.object_]:
    if table.obs is None or keys.COHORT not in table.obs.columns:
        return np.full(len(table.sample_ids), ALL_SAMPLES, dtype=object)
    return table.obs[keys.COHORT].to_numpy(dtype=object)


def _class_probabilities(members: Sequence[StudiedMember], task: str) -> npt.NDArray[np.float64]:
    """Mean of the members' probabilities, shape (samples, classes)."""
    every = []
    for member in members:
        assert member.network is not None
        device = next(member.network.parameters()).device
        size = choose_batch_size(member.encoder, device)
        starts = progress(range(0, len(member.token_ids), size), what=f"predict {member.name}", unit="batch")
        with torch.inference_mode():
            logits = [
                member.network(torch.from_numpy(member.token_ids[start : start + size]).to(device))[task].cpu()
                for start in starts
            ]
        every.append(torch.cat(logits).double().softmax(dim=1).numpy())
    return np.asarray(np.mean(every, axis=0))


def _chosen(
    request: AttributeRequest,
    members: Sequence[StudiedMember],
    task: str | None,
    sample_ids: pd.Index[Any],
    groups: npt.NDArray[np.object_],
    class_idx: npt.NDArray[np.int64],
    table: ExpressionTable,
) -> Study:
    wanted = np.flatnonzero(np.isin(groups, list(request.classes))) if request.classes else np.arange(len(groups))
    if not len(wanted):
        counts = ", ".join(f"{name}: {n}" for name, n in pd.Series(groups).value_counts().items())
        raise DataError(f"no sample is predicted as {', '.join(request.classes)} ({counts}); leave --class out")
    rows = wanted[choose_samples(groups[wanted], request.n_samples, np.random.default_rng(request.seed))]
    if len(rows) < len(wanted):
        logger.info("%d of %d samples are explained, drawn evenly over the groups (--samples)", len(rows), len(wanted))
    return Study(
        members=[replace(member, token_ids=member.token_ids[rows]) for member in members],
        task=task,
        sample_ids=sample_ids.to_numpy(dtype=object)[rows],
        groups=groups[rows],
        class_idx=class_idx[rows],
        genes=_named_genes(members, table, request.genes),
    )


def _named_genes(members: Sequence[StudiedMember], table: ExpressionTable, path: Path | None) -> GeneVocabulary:
    """Genes that every member has, in the order of the first, with symbols from a list, or from the table."""
    common = set(members[0].gene_ids).intersection(*(member.gene_ids for member in members))
    gene_ids = [gene_id for gene_id in members[0].gene_ids if gene_id in common]
    n_all = len(set().union(*(member.gene_ids for member in members)))
    if n_all > len(gene_ids):
        logger.info(
            "%d genes are in every member of the model; %d that some lack are left out",
            len(gene_ids),
            n_all - len(gene_ids),
        )
    if not gene_ids:
        raise DataError("the members of the model have no gene in common, so nothing can be averaged over them")
    named = table.genes if path is None else GeneVocabulary.from_tsv(path)
    symbols = dict(zip(named.gene_ids, named.symbols, strict=True))
    bare = GeneVocabulary.from_ids(gene_ids)
    if bare.kind == "symbol":
        return bare
    return GeneVocabulary(bare.gene_ids, tuple(symbols.get(gene_id, "") for gene_id in gene_ids), bare.gene_types)


def _explain_gradients(request: AttributeRequest, study: Study) -> Explained:
    assert study.task is not None
    if request.layers:
        raise ConfigError("--layer belongs to --method attention: an attribution goes through all layers")
    values, every = [], []
    baselines: set[Baseline] = set()
    for member in study.members:
        assert member.network is not None
        baseline = resolve_baseline(request.baseline, member.network.encoder)
        baselines.add(baseline)
        logger.info(
            "member %s: %d samples x %d points from the %s baseline, forward and backward, %d genes",
            member.name,
            len(study.sample_ids),
            request.n_steps,
            baseline,
            len(member.gene_ids),
        )
        found = integrated_gradients(
            member.network,
            member.token_ids,
            study.task,
            study.class_idx,
            baseline,
            request.n_steps,
            request.points_at_once,
        )
        every.append(found)
        values.append(_common_columns(member, found.values, study.genes))
    samples = _sample_frame(study, every)
    n_inexact = _warn_of_deltas(samples, request.n_steps)
    settings = {"baseline": sorted(baselines), "n_steps": request.n_steps, "n_inexact": n_inexact}
    return Explained({None: values}, samples, settings)


def _explain_attention(request: AttributeRequest, study: Study) -> Explained:
    if request.baseline is not None:
        raise ConfigError("--baseline belongs to --method ig: attention has none")
    layers = sorted(set(request.layers))
    values: dict[int | None, list[FloatArray]] = {}
    for member in study.members:
        encoder = require_bulkrnabert(member.encoder.network)
        n_layers = encoder.config.n_layers
        if layers and layers[-1] > n_layers:
            raise ConfigError(f"there is no layer {layers[-1]}: this model's layers are numbered 1 to {n_layers}")
        used = None if member.network is None else member.network.config.layer
        genes = None if member.network is None else member.network.encoder_genes()
        device = next(encoder.parameters()).device
        rows = progress(range(len(member.token_ids)), what=f"attention {member.name}", unit="sample")
        parts: dict[int, list[FloatArray]] = {}
        encoder.eval()
        for row in rows:
            ids_1G = torch.from_numpy(member.token_ids[row : row + 1]).to(device)
            with torch.inference_mode():
                received = encoder.attention_received(ids_1G, layers or [used or n_layers], genes)
            for layer, share_1G in received.items():
                # Times the genes: 1 is an even share, whatever the length of the list.
                parts.setdefault(layer, []).append(share_1G[0].cpu().numpy() * share_1G.shape[1])
        for layer, of_samples in parts.items():
            values.setdefault(layer, []).append(_common_columns(member, np.stack(of_samples), study.genes))
    samples = pd.DataFrame({keys.SAMPLE_ID: study.sample_ids, keys.CLASS: study.groups})
    return Explained(values, samples, {"layers": [layer for layer in values if layer is not None]})


def _common_columns(member: StudiedMember, values: FloatArray, genes: GeneVocabulary) -> FloatArray:
    columns = pd.Index(member.gene_ids).get_indexer(pd.Index(genes.gene_ids))
    return values[:, columns]


def _sample_frame(study: Study, every: Sequence[Attributions]) -> pd.DataFrame:
    """A row a sample and member: what was explained, and how far the attributions' sum is from it."""
    frames = []
    for member, found in zip(study.members, every, strict=True):
        difference = found.outputs - found.baseline_outputs
        frames.append(
            pd.DataFrame(
                {
                    keys.SAMPLE_ID: study.sample_ids,
                    keys.CLASS: study.groups,
                    "member": member.name,
                    "output": found.outputs,
                    "baseline_output": found.baseline_outputs,
                    "delta": found.deltas,
                    # Beside a difference near 0 any delta is large; against 1, the natural unit of a logit, it is not.
                    "relative_delta": np.abs(found.deltas) / np.maximum(np.abs(difference), 1.0),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _warn_of_deltas(samples: pd.DataFrame, n_steps: int) -> int:
    is_inexact = samples["relative_delta"] > LARGE_DELTA
    if is_inexact.any():
        worst = samples.loc[samples["relative_delta"].idxmax()]
        logger.warning(
            "%d of %d attributions add up to within more than %.0f %% of the output's difference, sample %s worst "
            "(%.0f %%): raise --steps above %d",
            int(is_inexact.sum()),
            len(samples),
            100 * LARGE_DELTA,
            worst[keys.SAMPLE_ID],
            100 * worst["relative_delta"],
            n_steps,
        )
    return int(is_inexact.sum())
