"""A training that is still going on in MLflow: its records are sent as they are written.

Beside the training and not in it, so that a server that is slow or away never holds it up.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import requests

from bulkrnabert.errors import DataError, PortalError
from bulkrnabert.evaluate.tracking import (
    delete_other_runs,
    import_mlflow,
    keep_trying,
    make_experiment,
    record_points,
    send_points,
)
from bulkrnabert.logs import hide_credentials
from bulkrnabert.provenance import sha256_lines

logger = logging.getLogger(__name__)

TRAINING_TAG: Final = "brb.live"
FILE_TAG: Final = "brb.live_file"
STEPS_TAG: Final = "brb.live_steps"
SUMMARY: Final = "summary"
VALIDATION: Final = "validation"


class Ending:
    """Whether the training is over: the process that started this one has ended, or tells it so by SIGTERM."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._told = threading.Event()
        signal.signal(signal.SIGTERM, lambda _number, _frame: self._told.set())

    def is_over(self) -> bool:
        """Whether to stop after one last look."""
        return self._told.is_set() or os.getppid() != self._parent

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until the signal."""
        self._told.wait(seconds)


def follow_records(
    records: Path,
    tracking_uri: str,
    experiment: str,
    name: str,
    *,
    patience_s: float,
    pause_s: float = 5.0,
    is_over: Callable[[], bool] = lambda: False,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Send what is added to a `records.jsonl` until its summary is there.

    A second call goes on with the same run where the first stopped, a training that was resumed included: what it
    writes again is not sent again. Another training in the same place, or the same from its beginning, is known by its
    first measured step and gets a run of its own. A record that was being sent when the server went away may be sent
    twice, which MLflow keeps as one more point of the same step.

    Args:
        records: Written by the training; may not be there yet.
        tracking_uri: Address of the server.
        experiment: Name of the experiment, made where it is missing.
        name: Name of the run.
        patience_s: How long to wait for a server that does not answer.
        pause_s: Between two looks at the file.
        is_over: Whether to stop without a summary, after one last look.
        pause: Waits for so many seconds.
    Returns:
        Id of the run; empty where the training was over before its first step.
    Raises:
        DataError: a line of the file is no record.
        PortalError: the server stayed away, or refuses.
    """
    mlflow = import_mlflow()
    shown = hide_credentials(tracking_uri)
    follower = _Follower(mlflow.MlflowClient(tracking_uri=tracking_uri), experiment, name, records)
    try:
        while True:
            is_last = is_over()
            is_whole = keep_trying(follower.look, patience_s, shown) == SUMMARY
            if is_whole or is_last:
                status = "FINISHED" if is_whole else "KILLED"
                return keep_trying(partial(follower.end, status), patience_s, shown)
            pause(pause_s)
    except DataError:
        follower.end("FAILED")
        raise
    except (mlflow.exceptions.MlflowException, requests.RequestException) as error:
        raise PortalError(
            f"the MLflow server {shown} does not take the records of {records}: {hide_credentials(str(error))}. The"
            " training goes on without it; `bulkrnabert track` imports the run when it has ended."
        ) from error


class _Follower:
    """One file of records and the run that they go to.

    Its memory between two processes is on the server: of which training the run is, and for each kind of record the
    last step that was sent.
    """

    def __init__(self, client: Any, experiment: str, name: str, records: Path) -> None:
        self._client = client
        self._experiment = experiment
        self._name = name
        self._records = records
        self._file = sha256_lines([name, str(records.absolute())])  # a server need not know paths
        self._training = ""
        self._run_id = ""
        self._read = b""
        self._steps: dict[str, int] = {}

    def look(self) -> str:
        """Send the whole lines that are new; the kind of the file's last record, or nothing."""
        content = self._records.read_bytes() if self._records.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        start = len(self._read) if self._read and whole.startswith(self._read) else 0
        if start == len(whole):
            return _kind_of_last(whole)
        found = _read_lines(self._records, whole, start)
        if start == 0 and not self._is_known(whole, found):
            return ""
        self._send(found)
        self._read = whole
        return str(found[-1]["kind"])

    def end(self, status: str) -> str:
        """Give the run its last status, if there is one; its id, or nothing."""
        if self._run_id:
            self._client.set_terminated(self._run_id, status=status)
        return self._run_id

    def _is_known(self, whole: bytes, found: Sequence[dict[str, Any]]) -> bool:
        """Find or make the run of the training that a file from its beginning is of; False: too early to say."""
        n_head = next((n for n, record in enumerate(found, start=1) if record["kind"] != VALIDATION), None)
        if n_head is None:  # the untrained model's loss: the same for every learning rate
            return False
        head = whole.splitlines()[:n_head]
        training = sha256_lines([self._file, *(line.decode(errors="replace") for line in head)])
        if training != self._training:
            self._run_id, self._steps = self._find_run(training)
            self._training = training
        return True

    def _find_run(self, training: str) -> tuple[str, dict[str, int]]:
        client = self._client
        experiment_id = make_experiment(client, self._experiment)
        same_file = client.search_runs([experiment_id], f"tags.`{FILE_TAG}` = '{self._file}'")
        for run in same_file:
            if run.data.tags[TRAINING_TAG] == training:
                client.update_run(run.info.run_id, status="RUNNING")
                return str(run.info.run_id), json.loads(run.data.tags[STEPS_TAG])
        for run in same_file:
            if run.info.status == "RUNNING":
                client.set_terminated(run.info.run_id, status="KILLED")
        tags = {FILE_TAG: self._file, TRAINING_TAG: training, STEPS_TAG: "{}", "stage": "pretrain"}
        run_id = str(client.create_run(experiment_id, tags=tags, run_name=self._name).info.run_id)
        delete_other_runs(client, experiment_id, TRAINING_TAG, training, [run_id])
        return run_id, {}

    def _send(self, found: Sequence[dict[str, Any]]) -> None:
        new = [record for record in found if record["step"] > self._steps.get(record["kind"], -1)]
        if len(new) < len(found):
            logger.info("%s: %d records are of steps that were sent before", self._records, len(found) - len(new))
        send_points(self._client, self._run_id, record_points(new))
        steps = self._steps | {record["kind"]: record["step"] for record in new}
        self._client.set_tag(self._run_id, STEPS_TAG, json.dumps(steps))
        self._steps = steps


def _read_lines(records: Path, whole: bytes, start: int) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(whole[start:].splitlines(), start=whole[:start].count(b"\n") + 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        is_record = isinstance(record, dict) and isinstance(record.get("kind"), str)
        if not is_record or not isinstance(record.get("step"), int):
            raise DataError(
                f"{records}, line {number}: {line[:80]!r} is no record of a pretraining: expected a JSON object with"
                " `kind` and a whole `step`. Is another program writing to the file? What was sent before stays."
            )
        found.append(record)
    return found


def _kind_of_last(whole: bytes) -> str:
    return str(json.loads(whole.splitlines()[-1])["kind"]) if whole else ""
