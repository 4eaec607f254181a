"""The folder of a fine-tuned model: enough alone to predict new samples.

config.json                       tasks, classes, members with the hash of each of their files
encoder/                          the encoder, where one serves every member; else one in each member's folder
members/<split_id>/encoder/       config.json, model.safetensors, tokenizer.json, genes.txt
                   adapter.safetensors   adapter, pooling, standardisation, heads
                   baseline.json         for survival: baseline hazard of each stratum
provenance.json, README.md        record and model card
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from bulkrnabert import keys
from bulkrnabert.config import FrozenConfig
from bulkrnabert.data.access import strictest_stated
from bulkrnabert.downstream.finetune import FinetunedFold, Start, base_network
from bulkrnabert.downstream.finetuned_card import finetuned_card
from bulkrnabert.downstream.hub import PublishedModel, locate, publish
from bulkrnabert.downstream.job import Job
from bulkrnabert.downstream.joint import JointJob
from bulkrnabert.downstream.pretrained import ModelInputs, PretrainedModel, is_finetuned, load
from bulkrnabert.downstream.published_form import FINETUNED, StatedAccess, copy_model
from bulkrnabert.downstream.survival import Baseline, CumulativeHazard, FloatArray
from bulkrnabert.errors import CheckpointError, ConfigError, join_problems
from bulkrnabert.models.finetuned import FinetunedConfig, FinetunedNetwork
from bulkrnabert.models.registry import HUB_KEYS, read_safetensors, save_network
from bulkrnabert.provenance import atomic_path, hash_patients, sha256_file, sha256_lines, write_json

ENCODER: Final = "encoder"
MEMBERS: Final = "members"
ADAPTER: Final = "adapter.safetensors"
BASELINE_JSON: Final = "baseline.json"
_ENCODER_FILES: Final = (keys.CONFIG_JSON, keys.WEIGHTS, keys.TOKENIZER_JSON, keys.GENES_TXT)
_NAME: Final = "^[A-Za-z0-9_]+$"


class TaskRecord(FrozenConfig):
    """One task of a model.

    Attributes:
        name: `cancer_type` or `survival`.
        label_column: What the classes were read from; empty for survival.
        classes: In the order of the head's outputs; empty for survival.
    """

    name: Literal["cancer_type", "survival"]
    label_column: str = ""
    classes: tuple[str, ...] = ()


class MemberRecord(FrozenConfig):
    """One network of a model.

    Attributes:
        split_id: The fold that it never saw; `final` for one that learnt from every sample.
        encoder: Folder of its encoder, from the model's.
        sha256: Hash of every file that it is made of, by path from the model's folder.
        network: What stands on the encoder.
        n_samples: Samples of its training part.
        training_patients_sha256: Over the hashes of its training patients.
        best_epoch: Epochs of training.
        inner_loss: Loss on the patients that decided when to stop, at the start and at the best epoch, nats.
    """

    split_id: str = Field(pattern=_NAME)
    encoder: str = Field(pattern=f"^({ENCODER}|{MEMBERS}/[A-Za-z0-9_]+/{ENCODER})$")
    sha256: dict[str, str]
    network: FinetunedConfig
    n_samples: int
    training_patients_sha256: str
    best_epoch: int
    inner_loss: tuple[float, float]


class ModelRecord(FrozenConfig):
    """`config.json` of a fine-tuned model; `model` is the kind of its encoders."""

    model: str = Field(default=keys.BULKRNABERT, pattern=_NAME)
    kind: Literal["finetuned"] = FINETUNED
    version: Literal[1] = 1
    method: str
    scope: str
    start: Start
    seed: int
    split_sha256: str
    tasks: tuple[TaskRecord, ...] = Field(min_length=1)
    members: tuple[MemberRecord, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        names = [task.name for task in self.tasks]
        for member in self.members:
            if sorted(member.network.heads) != sorted(names):
                raise ValueError(
                    f"member {member.split_id} has heads {sorted(member.network.heads)}, tasks are {names}"
                )
        return self


class HazardRecord(FrozenConfig):
    """Cumulative baseline hazard of one stratum: its log at `at_days`, and itself at each `grid_days`."""

    log_hazard: float = Field(allow_inf_nan=False)
    cumulative_hazard: tuple[float, ...]


class BaselineRecord(FrozenConfig):
    """`baseline.json`.

    Attributes:
        at_days: Time of the risk, days.
        grid_days: Times of the curves, days, ascending; the training part's own event times are not kept.
        strata: By cohort, or by project within a merged cohort.
        pooled: Of all strata as one.
        n_without_events: Strata without an event by `at_days`.
    """

    at_days: float = Field(gt=0, allow_inf_nan=False)
    grid_days: tuple[float, ...]
    strata: dict[str, HazardRecord]
    pooled: HazardRecord
    n_without_events: int

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        for name, hazard in {**self.strata, "pooled": self.pooled}.items():
            if len(hazard.cumulative_hazard) != len(self.grid_days):
                raise ValueError(f"{name}: {len(hazard.cumulative_hazard)} hazards for {len(self.grid_days)} times")
        return self

    @classmethod
    def from_baseline(cls, baseline: Baseline, names: Sequence[str], grid_days: FloatArray) -> Self:
        """Of a fitted baseline; `names` are those of its strata, by number."""
        strata = {
            names[number]: HazardRecord(
                log_hazard=value, cumulative_hazard=tuple(baseline.hazard[number](grid_days).tolist())
            )
            for number, value in baseline.log_hazard.items()
        }
        pooled = HazardRecord(
            log_hazard=baseline.pooled_log_hazard,
            cumulative_hazard=tuple(baseline.pooled_hazard(grid_days).tolist()),
        )
        return cls(
            at_days=baseline.at_days,
            grid_days=tuple(grid_days.tolist()),
            strata=strata,
            pooled=pooled,
            n_without_events=baseline.n_without_events,
        )

    def to_baseline(self) -> Baseline:
        """With strata numbered in the order of `strata`."""
        grid = np.array(self.grid_days)

        def curve(hazard: HazardRecord) -> CumulativeHazard:
            return CumulativeHazard(grid, np.array(hazard.cumulative_hazard))

        ordered = list(self.strata.values())
        return Baseline(
            {number: hazard.log_hazard for number, hazard in enumerate(ordered)},
            self.pooled.log_hazard,
            self.at_days,
            self.n_without_events,
            {number: curve(hazard) for number, hazard in enumerate(ordered)},
            curve(self.pooled),
        )


@dataclass(frozen=True)
class Member:
    """One network of a fine-tuned model, ready to use.

    Attributes:
        split_id: The fold that it never saw, or `final`.
        encoder: Tokenizer and genes of its encoder; its network is that of `network.encoder`, adapter included.
        network: Encoder, adapter, pooling and heads, in evaluation mode.
        baseline: For survival.
        strata: Names of the strata of `baseline`, by number.
    """

    split_id: str
    encoder: PretrainedModel
    network: FinetunedNetwork
    baseline: Baseline | None
    strata: tuple[str, ...]

    @property
    def inputs(self) -> ModelInputs:
        """What it reads: the genes of its panel, or all of its encoder's."""
        return ModelInputs.of(self.encoder, self.network.config.gene_idx)


@dataclass(frozen=True)
class FinetunedModel:
    """A fine-tuned model: what it predicts, and the networks whose predictions are averaged.

    Attributes:
        record: Tasks, classes and members.
        members: The networks.
        folder: Where it was loaded from.
        source: The folder as given, or `owner/name@<commit>` on the hub.
    """

    record: ModelRecord
    members: tuple[Member, ...]
    folder: Path | None = None
    source: str = ""

    def task(self, name: str) -> TaskRecord | None:
        """A task, or None if the model does not have it."""
        return next((task for task in self.record.tasks if task.name == name), None)

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the model's files to a folder, whole or not at all; `load_finetuned` reads it.

        Args:
            folder: Made if absent; a fine-tuned model there is replaced.
        Raises:
            ConfigError: the folder holds something else.
        """
        assert self.folder is not None, "loaded from a folder"
        refuse_other_folder(Path(folder))
        copy_model(self.folder, Path(folder))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        licence: str | None = None,
        data_access: StatedAccess | None = None,
        branch: str | None = None,
    ) -> PublishedModel:
        """Publish the model on the hub; arguments and errors as of `PretrainedModel.push_to_hub`."""
        assert self.folder is not None, "loaded from a folder"
        return publish(self.folder, repo_id, private=private, licence=licence, data_access=data_access, branch=branch)


def write_finetuned(
    folder: Path,
    job: JointJob,
    folds: Sequence[FinetunedFold],
    label_column: str,
    provenance: dict[str, Any],
) -> ModelRecord:
    """Write the folder of a fine-tuned model, whole or not at all.

    Args:
        folder: Replaced if it is of a fine-tuned model.
        job: What was learnt.
        folds: Networks; at least one.
        label_column: Where the classes are from.
        provenance: Of the run; completed with splits and patients.
    Raises:
        ConfigError: `folder` holds something else.
        CheckpointError: a checkpoint was changed while the model was trained.
    """
    refuse_other_folder(folder)
    is_shared = len({id(done.encoder) for done in folds}) == 1
    with atomic_path(folder) as partial:
        partial.mkdir()
        members = [_write_member(partial, job, done, is_shared) for done in folds]
        settings = folds[0].settings
        record = ModelRecord(
            model=folds[0].encoder.model.name,
            method=settings.method,
            scope=job.jobs[0].scope,
            start=settings.start,
            seed=settings.seed,
            split_sha256=job.split_sha256,
            tasks=tuple(_task_record(one_task, label_column) for one_task in job.jobs),
            members=tuple(members),
        )
        patients = hash_patients(job.rows[keys.PATIENT_ID])
        access = strictest_stated(done.encoder.data_access for done in folds)
        trained_on = {"split_sha256": job.split_sha256, "patient_hashes": patients}
        if access is not None:
            trained_on["data_access"] = access
        write_json(partial / keys.PROVENANCE_JSON, {**provenance, **trained_on})
        (partial / keys.MODEL_CARD).write_text(finetuned_card(job, folds, access).text(), encoding="utf-8")
        write_json(partial / keys.CONFIG_JSON, record.model_dump(mode="json"))
    return record


def refuse_other_folder(folder: Path) -> None:
    """Refuse to replace a folder that is not of a fine-tuned model."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not is_finetuned(folder):
        raise ConfigError(f"{folder}: holds something else than a fine-tuned model; give a new folder")


def refuse_other_model(folder: Path, tasks: Sequence[tuple[str, str]], scope: str, method: str) -> None:
    """Refuse to replace anything but a fine-tuned model of the same tasks, scope and method.

    Args:
        folder: Where the model would be written; may be absent.
        tasks: Name of each task and what its classes are read from (empty for survival).
        scope: `pan` or a cohort.
        method: What of the encoder is trained, as `FinetuneSettings.method` names it.
    Raises:
        ConfigError: says what the folder holds.
    """
    refuse_other_folder(folder)
    if not (folder / keys.CONFIG_JSON).is_file():
        return
    described = (folder / keys.CONFIG_JSON).read_text(encoding="utf-8")
    try:
        there = ModelRecord.from_mapping(json.loads(described), str(folder / keys.CONFIG_JSON))
    except ConfigError as error:
        raise ConfigError(
            f"{folder}: holds a fine-tuned model whose record cannot be read; give another --out or remove it: {error}"
        ) from error
    held = _model_name([(task.name, task.label_column) for task in there.tasks], there.scope, there.method)
    wanted = _model_name(tasks, scope, method)
    if held != wanted:
        raise ConfigError(
            f"{folder}: holds a fine-tuned model of {held}, and this run makes one of {wanted}; give another --out or"
            " remove it"
        )


def _model_name(tasks: Sequence[tuple[str, str]], scope: str, method: str) -> str:
    named = [f"{name} (by {column})" if column else name for name, column in sorted(tasks)]
    return f"{' and '.join(named)}, scope {scope}, {method}"


def _task_record(job: Job, label_column: str) -> TaskRecord:
    if job.task == keys.SURVIVAL:
        return TaskRecord(name=job.task)
    return TaskRecord(name=job.task, label_column=label_column, classes=tuple(job.classes))


def _write_member(folder: Path, job: JointJob, done: FinetunedFold, is_shared: bool) -> MemberRecord:
    from safetensors.torch import save_file

    split_id = done.fold.split_id
    own = Path(MEMBERS) / split_id
    (folder / own).mkdir(parents=True)
    encoder = Path(ENCODER) if is_shared else own / ENCODER
    if not (folder / encoder).is_dir():
        _write_encoder(folder / encoder, done)
    weights_sha256 = sha256_file(folder / encoder / keys.WEIGHTS)
    patients = sha256_lines(hash_patients(job.rows[keys.PATIENT_ID].iloc[done.fold.train]))
    losses = done.curve.losses
    metadata = {
        "split_sha256": job.split_sha256,
        "split_id": split_id,
        "encoder_sha256": weights_sha256,
        "training_patients_sha256": patients,
        "inner_loss": str(min(losses)),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in done.network.own_tensors().items()}
    save_file(tensors, folder / own / ADAPTER, metadata=metadata)
    files = [encoder / name for name in _ENCODER_FILES] + [own / ADAPTER]
    survival = next((one_task for one_task in job.jobs if one_task.task == keys.SURVIVAL), None)
    if survival is not None:
        assert done.baseline is not None
        names = sorted(set(survival.rows[keys.STRATUM].astype(str)))
        record = BaselineRecord.from_baseline(done.baseline, names, survival.survival_times)
        write_json(folder / own / BASELINE_JSON, record.model_dump(mode="json"))
        files.append(own / BASELINE_JSON)
    return MemberRecord(
        split_id=split_id,
        encoder=encoder.as_posix(),
        sha256={path.as_posix(): sha256_file(folder / path) for path in files},
        network=done.network.config,
        n_samples=len(done.fold.train),
        training_patients_sha256=patients,
        best_epoch=done.curve.best_epoch,
        inner_loss=(losses[0], min(losses)),
    )


def _write_encoder(folder: Path, done: FinetunedFold) -> None:
    folder.mkdir(parents=True)
    checkpoint = done.encoder.path
    for name in (*_ENCODER_FILES, keys.PROVENANCE_JSON, keys.MODEL_CARD):
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)
    if sha256_file(folder / keys.WEIGHTS) != done.encoder.model.weights_sha256:
        raise CheckpointError(f"{checkpoint / keys.WEIGHTS}: changed while the model was fine-tuned; run again")
    if done.settings.start == "random":
        save_network(folder, base_network(done.encoder, "random", done.settings.seed))
        for name in (keys.PROVENANCE_JSON, keys.MODEL_CARD):
            (folder / name).unlink(missing_ok=True)


def load_finetuned(path: str | Path, *, revision: str | None = None) -> FinetunedModel:
    """Load the folder of a fine-tuned model, on the CPU. Reads safetensors and JSON only, runs no code from the folder.

    Args:
        path: Folder that `finetune` wrote, or `owner/name` on the hub, where no folder has that name.
        revision: Commit, tag or branch on the hub.
    Raises:
        ConfigError, PortalError: as `load`.
        CheckpointError: no such folder, a file is missing or is not the one that was written, or parts do not fit.
    """
    located = locate(path, revision)
    folder = located.folder
    record = _read_record(folder)
    problems = [
        f"{name}: {'missing' if not (folder / name).is_file() else 'not the file that was written'}"
        for name, stated in sorted({item for member in record.members for item in member.sha256.items()})
        if not (folder / name).is_file() or sha256_file(folder / name) != stated
    ]
    if problems:
        raise CheckpointError(join_problems(f"{folder} is not whole; copy it again", problems))
    members = tuple(_load_member(folder, record, member) for member in record.members)
    return FinetunedModel(record, members, folder, located.source)


def _read_record(folder: Path) -> ModelRecord:
    path = folder / keys.CONFIG_JSON
    if not path.is_file():
        inside = folder / "model"
        hint = f"; the model is {inside}" if (inside / keys.CONFIG_JSON).is_file() else ""
        raise CheckpointError(f"{path}: no such file; expected the folder of a model that `finetune` wrote{hint}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}") from error
    if isinstance(values, dict) and "config" in values and values.get("kind") != FINETUNED:
        raise CheckpointError(f"{path}: a pretrained encoder, which predicts nothing: run `bulkrnabert finetune` first")
    if isinstance(values, dict):
        values = {name: value for name, value in values.items() if name not in HUB_KEYS}
    try:
        record = ModelRecord.from_mapping(values, str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    for member in record.members:
        needed = _files_of(record, member)
        if set(member.sha256) != needed:
            raise CheckpointError(
                f"{path}: member {member.split_id} must be made of {', '.join(sorted(needed))}; found "
                f"{', '.join(sorted(member.sha256))}"
            )
    return record


def _files_of(record: ModelRecord, member: MemberRecord) -> set[str]:
    own = f"{MEMBERS}/{member.split_id}"
    needed = {f"{member.encoder}/{name}" for name in _ENCODER_FILES} | {f"{own}/{ADAPTER}"}
    if any(task.name == keys.SURVIVAL for task in record.tasks):
        needed.add(f"{own}/{BASELINE_JSON}")
    return needed


def _load_member(folder: Path, record: ModelRecord, member: MemberRecord) -> Member:
    from safetensors import safe_open

    own = folder / MEMBERS / member.split_id
    tensors = read_safetensors(own / ADAPTER)
    with safe_open(own / ADAPTER, framework="pt") as file:
        metadata = file.metadata() or {}
    encoder = load(folder / member.encoder)
    if encoder.name != record.model:
        raise CheckpointError(f"{folder / member.encoder}: a {encoder.name} encoder, in a model of {record.model}")
    trained_on = metadata.get("encoder_sha256", "not stated")
    if trained_on != encoder.weights_sha256:
        raise CheckpointError(
            f"{own / ADAPTER}: was trained on another encoder (sha256 {trained_on[:12]}) than "
            f"{folder / member.encoder} ({encoder.weights_sha256[:12]})"
        )
    try:
        network = FinetunedNetwork(encoder.network, member.network)
    except ConfigError as error:
        raise CheckpointError(f"{own}: {error}") from error
    network.load_own_tensors(tensors, str(own / ADAPTER))
    for task in record.tasks:
        n_outputs = member.network.heads[task.name].n_outputs
        if n_outputs != (len(task.classes) or 1):
            raise CheckpointError(f"{own}: head {task.name} has {n_outputs} outputs for {len(task.classes)} classes")
    if not any(task.name == keys.SURVIVAL for task in record.tasks):
        return Member(member.split_id, encoder, network.eval(), None, ())
    path = own / BASELINE_JSON
    try:
        baseline = BaselineRecord.from_mapping(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise CheckpointError(f"{path}: cannot be read as baseline hazards: {error}") from error
    return Member(member.split_id, encoder, network.eval(), baseline.to_baseline(), tuple(baseline.strata))
