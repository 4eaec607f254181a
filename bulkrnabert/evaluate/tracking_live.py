"""A training that is still going on in MLflow: its records are sent as they are written.

Beside the training and not in it, so that a server that is slow or away never holds it up.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bulkrnabert.errors import PortalError
from bulkrnabert.evaluate.tracking import (
    MAX_METRICS_PER_BATCH,
    clean_name,
    delete_other_runs,
    import_mlflow,
    keep_trying,
    make_experiment,
)
from bulkrnabert.logs import hide_credentials

logger = logging.getLogger(__name__)

KEY_TAG: Final = "brb.live"
BYTES_TAG: Final = "brb.live_bytes"
SUMMARY: Final = "summary"


def follow_records(
    records: Path,
    tracking_uri: str,
    experiment: str,
    name: str,
    *,
    patience_s: float,
    pause_s: float = 5.0,
    is_over: Callable[[], bool] = lambda: False,
) -> str:
    """Send what is added to a `records.jsonl` until its summary is there.

    A second call goes on with the same run where the first stopped. A record that was being sent when the server went
    away may be sent twice, which MLflow keeps as one more point of the same step.

    Args:
        records: Written by the training; may not be there yet.
        tracking_uri: Address of the server.
        experiment: Name of the experiment, made where it is missing.
        name: Name of the run, and with the experiment its key.
        patience_s: How long to wait for a server that does not answer.
        pause_s: Between two looks at the file.
        is_over: Whether to stop without a summary, after one last look.
    Returns:
        Id of the run.
    Raises:
        PortalError: the server stayed away, or refuses.
    """
    mlflow = import_mlflow()
    client = mlflow.MlflowClient(tracking_uri=tracking_uri)
    shown = hide_credentials(tracking_uri)
    try:
        run_id = keep_trying(lambda: _find_run(client, experiment, name), patience_s, shown)
        while True:
            is_last = is_over()
            sent = keep_trying(lambda: _send_new(client, run_id, records), patience_s, shown)
            if sent == SUMMARY or is_last:
                client.set_terminated(run_id, status="FINISHED" if sent == SUMMARY else "KILLED")
                return run_id
            time.sleep(pause_s)
    except mlflow.exceptions.MlflowException as error:
        raise PortalError(
            f"the MLflow server {shown} does not take the records of {records}: {hide_credentials(str(error))}. The"
            " training goes on without it; `bulkrnabert track` imports the run when it has ended."
        ) from error


def parent_is_gone() -> Callable[[], bool]:
    """Whether the process that started this one has ended since."""
    parent = os.getppid()
    return lambda: os.getppid() != parent


def _find_run(client: Any, experiment: str, name: str) -> str:
    experiment_id = make_experiment(client, experiment)
    key = f"{experiment}/{name}"
    found = client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
    if found:
        run_id = str(found[0].info.run_id)
        client.update_run(run_id, status="RUNNING")
        return run_id
    tags = {KEY_TAG: key, BYTES_TAG: "0", "stage": "pretrain"}
    run_id = str(client.create_run(experiment_id, tags=tags, run_name=name).info.run_id)
    delete_other_runs(client, experiment_id, KEY_TAG, key, [run_id])
    return run_id


def _send_new(client: Any, run_id: str, records: Path) -> str:
    """Send whole lines that were not sent before; the kind of the last record, or nothing."""
    if not records.is_file():
        return ""
    start = int(client.get_run(run_id).data.tags[BYTES_TAG])
    with records.open("rb") as handle:
        if handle.seek(0, os.SEEK_END) < start:  # a resumed training has cut records off that it writes again
            start = 0
        handle.seek(start)
        new = handle.read()
    whole = new[: new.rfind(b"\n") + 1]
    found = [json.loads(line) for line in whole.splitlines() if line.strip()]
    points = [point for record in found for point in _points(record)]
    for first in range(0, len(points), MAX_METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=points[first : first + MAX_METRICS_PER_BATCH])
    if whole:
        client.set_tag(run_id, BYTES_TAG, str(start + len(whole)))
    return str(found[-1].get("kind", "")) if found else ""


def _points(record: dict[str, Any]) -> list[Any]:
    from mlflow.entities import Metric

    now, step = int(time.time() * 1000), record.get("step")
    return [
        Metric(clean_name(f"{record.get('kind')}/{name}"), float(value), now, step if isinstance(step, int) else 0)
        for name, value in record.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    ]
