"""A finished run in MLflow: a parent run, and one nested run for each pretraining and each probe job.

By default the runs go to a folder of their own, a SQLite file and the artefacts beside it. Nothing in it names the
place where it lies, so that it can be moved: artefacts have `mlflow-artifacts:` addresses, which a server started in
the folder resolves against its `--artifacts-destination`.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import requests

from bulkrnabert import keys
from bulkrnabert.errors import DataError, PortalError
from bulkrnabert.evaluate.artefacts import (
    PRIMARY_METRIC,
    Encoder,
    Metric,
    Numbers,
    RunFacts,
    best_of,
    read_encoder,
    read_numbers,
    read_run,
    select,
)
from bulkrnabert.logs import hide_credentials
from bulkrnabert.provenance import atomic_path, sha256_file, sha256_lines, write_json

logger = logging.getLogger(__name__)

DATABASE = "mlflow.db"
ARTIFACTS_FOLDER = "mlartifacts"
RECEIPT = "mlflow_run.json"
SERVER_RECEIPT = "mlflow_server.json"
ARTIFACT_SCHEME = "mlflow-artifacts:/"
IMPORT_TAG = "brb.import"
MAX_METRICS_PER_BATCH = 1000
MAX_RUNS_FOUND = 50_000
MAX_PARAMS_PER_BATCH = 100
MAX_PARAM_LENGTH = 6000
MAX_KEY_LENGTH = 250
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 30.0
# What a server says while it is down, restarts or is overrun; anything else will not pass by waiting.
PASSING_ERRORS = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED")
PASSING_STATUSES = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class TrackedRun:
    """What is imported: the files of a finished run."""

    metrics: Path
    checkpoints: Sequence[Path]
    predictions: Sequence[Path]
    run: Path | None
    report: Path | None


@dataclass(frozen=True)
class _Job:
    """A probe job and its predictions; the files may be missing."""

    task: str
    scope: str
    files: list[Path]


@dataclass(frozen=True)
class _Contents:
    """What the files of a run say, read before anything is written."""

    files: TrackedRun
    numbers: Numbers
    facts: RunFacts
    encoders: list[tuple[Path, Encoder]]
    jobs: list[_Job]

    @property
    def sha256(self) -> str:
        """The same for the same numbers of the same run, so that a second import replaces the first."""
        return sha256_lines([sha256_file(self.files.metrics), self.facts.session_id or "", self.facts.run_name or ""])


@dataclass(frozen=True)
class _Store:
    """Where runs go: an MLflow client, the experiment, and the folder for artefacts (None: the server takes them).

    `made` are the ids of the runs that were started here.
    """

    client: Any
    experiment_id: str
    artifacts: Path | None
    import_sha256: str
    made: list[str] = field(default_factory=list)

    def start(self, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        all_tags = {**tags, IMPORT_TAG: self.import_sha256}
        if parent is not None:
            all_tags["mlflow.parentRunId"] = parent
        self.made.append(str(self.client.create_run(self.experiment_id, tags=all_tags, run_name=name).info.run_id))
        return self.made[-1]

    def log(self, run_id: str, params: Mapping[str, str], metrics: Sequence[tuple[str, float, int]]) -> None:
        """Log parameters and (name, value, step) triples in batches of the size that MLflow takes."""
        from mlflow.entities import Param

        entries = [Param(name, value) for name, value in params.items()]
        for start in range(0, len(entries), MAX_PARAMS_PER_BATCH):
            self.client.log_batch(run_id, params=entries[start : start + MAX_PARAMS_PER_BATCH])
        send_points(self.client, run_id, metrics)

    def put_file(self, run_id: str, path: Path, subfolder: str = "") -> None:
        if self.artifacts is None:
            self.client.log_artifact(run_id, str(path), subfolder or None)
            return
        folder = self.artifacts / run_id / "artifacts" / subfolder
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.name)

    def finish(self, run_id: str) -> None:
        self.client.set_terminated(run_id, status="FINISHED")


def server_command(folder: str) -> str:
    """The command line that shows an MLflow folder at http://127.0.0.1:5000."""
    return (
        f"cd {shlex.quote(folder)} && MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false "
        f"mlflow server --backend-store-uri sqlite:///{DATABASE} --artifacts-destination ./{ARTIFACTS_FOLDER} "
        "--host 127.0.0.1 --port 5000 --workers 1"
    )


def clean_name(name: str) -> str:
    """A name that MLflow takes for a metric or parameter: `embedding + MLP/macro_f1` is `embedding_MLP/macro_f1`."""
    parts = [re.sub(r"[^\w.\-]+", "_", part, flags=re.ASCII).strip("_") for part in name.split("/")]
    return "/".join(part if part.strip(".") else "_" for part in parts)[:MAX_KEY_LENGTH].rstrip("/")


def flatten_parameters(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters as `outer.inner: text`, credentials in addresses hidden."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= flatten_parameters(value, f"{prefix}{name}.")
        else:
            flat[clean_name(f"{prefix}{name}")] = hide_credentials(str(value))[:MAX_PARAM_LENGTH]
    return flat


def send_points(client: Any, run_id: str, metrics: Iterable[tuple[str, float, int]]) -> None:
    """Send (name, value, step) triples in batches of the size that MLflow takes."""
    from mlflow.entities import Metric as Point

    now = int(time.time() * 1000)
    points = [Point(name, value, now, step) for name, value, step in metrics]
    for start in range(0, len(points), MAX_METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=points[start : start + MAX_METRICS_PER_BATCH])


def record_points(records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, float, int]]:
    """The finite numbers of a training's records as (`kind/name`, value, step)."""
    for record in records:
        step = record.get("step")
        for name, value in record.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if name != "step" and is_number and math.isfinite(value):
                yield clean_name(f"{record.get('kind')}/{name}"), float(value), step if isinstance(step, int) else 0


def _log_pretraining(store: _Store, parent: str, folder: Path, encoder: Encoder) -> None:
    tags = {
        "stage": "pretrain",
        "split_id": encoder.name,
        keys.META_SPLIT_SHA256: str(encoder.provenance.get("split_sha256", "")),
        "brb.code_sha256": str(encoder.provenance.get("code_sha256", "")),
    }
    run_id = store.start(f"pretrain {encoder.name}", tags, parent)
    params = flatten_parameters(encoder.provenance.get("parameters") or {}) | flatten_parameters(
        encoder.config, "model."
    )
    if encoder.n_parameters is not None:
        params["n_parameters"] = str(encoder.n_parameters)
    store.log(run_id, params, list(record_points(encoder.records)))
    for name in (keys.PROVENANCE_JSON, keys.RECORDS_JSONL, keys.CONFIG_JSON, keys.MODEL_CARD):
        if (folder / name).is_file():
            store.put_file(run_id, folder / name)
    store.finish(run_id)


def _find_jobs(numbers: Numbers, predictions: Sequence[Path]) -> list[_Job]:
    """Every task and scope that has numbers or predictions, in order."""
    files: dict[tuple[str, str], list[Path]] = {(item.task, item.scope): [] for item in numbers.metrics}
    for path in predictions:
        try:
            table = pq.read_table(path, columns=["task", "scope"])
        except (OSError, KeyError, ValueError) as error:
            raise DataError(f"{path}: not a predictions file with the columns `task` and `scope`: {error}") from error
        pairs = zip(table["task"].to_pylist(), table["scope"].to_pylist(), strict=True)
        for job in dict.fromkeys(pairs):
            files.setdefault(job, []).append(path)
    return [_Job(task, scope, found) for (task, scope), found in files.items()]


def _name_of(metric: Metric) -> str:
    return "/".join(filter(None, (metric.method, metric.metric, metric.scope_cohort)))


def _value_points(name: str, metric: Metric) -> list[tuple[str, float, int]]:
    """A value and its bounds as points at step 0; what is not estimable is left out."""
    values = {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}
    return [(clean_name(key), value, 0) for key, value in values.items() if value is not None]


def _log_probe(store: _Store, parent: str, job: _Job, numbers: Numbers) -> None:
    found = [item for item in numbers.metrics if (item.task, item.scope) == (job.task, job.scope)]
    tags = {"stage": "probe", "task": job.task, "scope": job.scope, keys.META_SPLIT_SHA256: numbers.split_sha256}
    run_id = store.start(f"probe {job.task} {job.scope}", tags, parent)
    points = [point for item in found for point in _value_points(_name_of(item), item)]
    sizes = {
        name: str(max(values))
        for name in ("n_samples", "n_patients", "n_events")
        if (values := [count for item in found if (count := getattr(item, name)) is not None])
    }
    params = {"task": job.task, "scope": job.scope, "methods": ", ".join(dict.fromkeys(item.method for item in found))}
    store.log(run_id, flatten_parameters(params | sizes), points)
    for number, path in enumerate(job.files):
        store.put_file(run_id, path, subfolder=f"more_{number}" if number else "")
    store.finish(run_id)


def _log_parent(store: _Store, contents: _Contents) -> str:
    numbers, facts = contents.numbers, contents.facts
    tags = {
        "stage": "run",
        "protocol": numbers.protocol,
        keys.META_SPLIT_SHA256: numbers.split_sha256,
        "pipeline_version": facts.pipeline_version or "",
        "session_id": facts.session_id or "",
        "command_line": hide_credentials(facts.command_line or ""),
    }
    points: list[tuple[str, float, int]] = []
    for task, metric in PRIMARY_METRIC.items():
        for role in ("model", "baseline"):
            best = best_of(item for item in select(numbers, task, keys.PAN, [metric]) if item.role == role)
            if best is not None:
                tags[clean_name(f"best/{task}/{role}")] = best.method
                points += _value_points(f"{task}/{metric}/{role}", best)
    run_id = store.start(facts.run_name or "run", {name: value for name, value in tags.items() if value})
    params = flatten_parameters(facts.params) | flatten_parameters(facts.software, "software.")
    store.log(run_id, params, points)
    for path in (contents.files.metrics, contents.files.report):
        if path is not None:
            store.put_file(run_id, path)
    return run_id


def _log_everything(store: _Store, contents: _Contents) -> str:
    parent = _log_parent(store, contents)
    for folder, encoder in contents.encoders:
        _log_pretraining(store, parent, folder, encoder)
    for job in contents.jobs:
        _log_probe(store, parent, job, contents.numbers)
    store.finish(parent)
    logger.info("MLflow: a run with %d pretrainings and %d probe jobs", len(contents.encoders), len(contents.jobs))
    return parent


def import_mlflow() -> Any:
    """MLflow without telemetry, its INFO lines and its addresses on standard output, where --json has its document.

    A server that is away is noticed within seconds.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return mlflow


def read_contents(tracked: TrackedRun) -> _Contents:
    """What the files of a run say; writes nothing.

    Raises:
        DataError: a file of the run is not what it should be.
    """
    numbers = read_numbers(tracked.metrics)
    encoders = [(folder, read_encoder(folder)) for folder in tracked.checkpoints]
    return _Contents(
        files=tracked,
        numbers=numbers,
        facts=read_run(tracked.run),
        encoders=sorted(encoders, key=lambda pair: pair[1].name),
        jobs=_find_jobs(numbers, tracked.predictions),
    )


def write_folder(tracked: TrackedRun, out: Path, experiment: str) -> None:
    """Write the runs to a folder that can be moved: `mlflow.db`, `mlartifacts/`, and a receipt.

    The folder takes its name only when it is complete, and replaces an older one.

    Args:
        tracked: The files of the run.
        out: The folder.
        experiment: Name of the experiment.
    Raises:
        DataError: a file of the run is not what it should be.
    """
    contents = read_contents(tracked)
    mlflow = import_mlflow()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with atomic_path(out) as partial:
        (partial / ARTIFACTS_FOLDER).mkdir(parents=True)
        address = f"sqlite:///{(partial / DATABASE).resolve()}"
        # Makes the tables. Given an artefact root, the default experiment does not remember a path of this machine.
        database = SqlAlchemyStore(address, ARTIFACT_SCHEME)
        client = mlflow.MlflowClient(tracking_uri=address)
        experiment_id = client.create_experiment(experiment, artifact_location=ARTIFACT_SCHEME)
        store = _Store(client, experiment_id, partial / ARTIFACTS_FOLDER, contents.sha256)
        run_id = _log_everything(store, contents)
        database.engine.dispose()
        receipt = {"experiment": experiment, "experiment_id": experiment_id, "run_id": run_id}
        write_json(partial / RECEIPT, {**receipt, "open_with": server_command(out.name)})


def make_experiment(client: Any, experiment: str) -> str:
    """Id of the experiment; it is made once, and whoever comes second gets the first one's."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(experiment)
    if found is None:
        try:
            return str(client.create_experiment(experiment))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(experiment)
    return str(found.experiment_id)


def delete_other_runs(client: Any, experiment_id: str, tag: str, value: str, keep: Collection[str]) -> None:
    """Delete the runs of an experiment whose tag has the value, but for those to keep.

    MLflow's client sends a request once more where the connection breaks before the answer; a run that the first one
    made is then there beside the second one's, and nobody knows its id.
    """
    found = client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'", max_results=MAX_RUNS_FOUND)
    others = [run.info.run_id for run in found if run.info.run_id not in keep]
    for run_id in others:
        client.delete_run(run_id)
    if others:
        logger.info("MLflow: %d runs of an earlier or interrupted try deleted", len(others))


def _will_pass(error: Any) -> bool:
    """Whether a later try may succeed. MLflow lets errors of requests through where it sends files."""
    if isinstance(error, requests.RequestException):
        return error.response is None or error.response.status_code in PASSING_STATUSES
    return error.error_code in PASSING_ERRORS


def keep_trying(work: Callable[[], str], patience_s: float, what: str) -> str:
    """The result of something that may be done again, tried until it succeeds or the patience is over.

    Args:
        work: Asks an MLflow server; must come to the same whether or not an earlier try got half-way.
        patience_s: How long after the first try another may begin.
        what: For the log.
    Raises:
        MlflowException, requests.RequestException: it failed for good, or the last try did.
    """
    from mlflow.exceptions import MlflowException

    deadline, pause = time.monotonic() + patience_s, FIRST_PAUSE_S
    while True:
        try:
            return work()
        except (MlflowException, requests.RequestException) as error:
            if not _will_pass(error) or time.monotonic() + pause > deadline:
                raise
            logger.warning("%s: %s; once more in %g s", what, hide_credentials(str(error)).partition("\n")[0], pause)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def send_to_server(tracked: TrackedRun, out: Path, experiment: str, tracking_uri: str, patience_s: float = 0.0) -> None:
    """Send the runs to an MLflow server and write a receipt; an earlier import of the same run is replaced.

    A server that goes away in the middle is waited for, and the import begins again. What earlier tries left is found
    by its key and deleted when all of the new one is there, so that nothing is there twice and nothing is missing.

    Args:
        tracked: The files of the run.
        out: Folder for the receipt, made where it is missing; what else is in it stays.
        experiment: Name of the experiment, made where it is missing.
        tracking_uri: Address of the server.
        patience_s: How long to wait for a server that does not answer.
    Raises:
        DataError: a file of the run is not what it should be.
        PortalError: the server is out of reach or refuses.
    """
    contents = read_contents(tracked)
    mlflow = import_mlflow()
    shown = hide_credentials(tracking_uri)
    client = mlflow.MlflowClient(tracking_uri=tracking_uri)

    def send() -> str:
        store = _Store(client, make_experiment(client, experiment), None, contents.sha256)
        run_id = _log_everything(store, contents)
        delete_other_runs(client, store.experiment_id, IMPORT_TAG, store.import_sha256, store.made)
        return run_id

    try:
        run_id = keep_trying(send, patience_s, shown)
        experiment_id = make_experiment(client, experiment)
    except (mlflow.exceptions.MlflowException, requests.RequestException) as error:
        raise PortalError(
            f"the MLflow server {shown} did not take the run: {hide_credentials(str(error))}. "
            "Is it up, and does it take files of this size? The run's results do not depend on it; repeat "
            "`bulkrnabert track` later."
        ) from error
    receipt = {"experiment": experiment, "experiment_id": experiment_id, "run_id": run_id}
    write_json(out / SERVER_RECEIPT, {**receipt, "tracking_uri": shown})
