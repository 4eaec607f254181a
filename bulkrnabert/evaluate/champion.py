"""Champion and challenger in MLflow's registry: versions of one registered model, told apart by alias.

A version is a folder of artefacts with an `MLmodel` file that states the signature. It has no Python flavour, so that
nothing in it is a pickle and nothing is run when it is read: `bulkrnabert` reads the checkpoint folders in it.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests

from bulkrnabert import keys
from bulkrnabert.data.tokens import read_gene_list
from bulkrnabert.errors import ConfigError, DataError, PortalError
from bulkrnabert.evaluate.promotion import Decision
from bulkrnabert.evaluate.tracking import delete_other_runs, import_mlflow, keep_trying, make_experiment
from bulkrnabert.logs import hide_credentials
from bulkrnabert.provenance import package_version, sha256_file, sha256_lines, write_json

logger = logging.getLogger(__name__)

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
PREVIOUS: Final = "previous_champion"
WEIGHTS_TAG: Final = "brb.weights_sha256"
ENCODERS: Final = "encoders"
MODEL_FOLDER: Final = "model"
FLAVOUR: Final = "bulkrnabert"
REGISTRY_JSON: Final = "registry.json"
EXAMPLE: Final = "input_example.json"
_FILES: Final = (
    keys.CONFIG_JSON,
    keys.WEIGHTS,
    keys.TOKENIZER_JSON,
    keys.GENES_TXT,
    keys.PROVENANCE_JSON,
    keys.MODEL_CARD,
)


@dataclass(frozen=True)
class Serving:
    """A model as it goes into the registry.

    Attributes:
        encoders: Checkpoint folders, one a fold.
        sha256: Over their weights; the same model is registered once.
    """

    encoders: tuple[Path, ...]
    sha256: str


def find_serving(folders: Sequence[Path]) -> Serving:
    """The encoders of a run.

    Raises:
        DataError: there is none.
    """
    found = sorted(path.parent for folder in folders for path in folder.glob(f"{ENCODERS}/*/{keys.WEIGHTS}"))
    if not found:
        raise DataError(f"{folders[0]}: no {ENCODERS}/*/{keys.WEIGHTS} to register; give the results folder of a run")
    return Serving(tuple(found), sha256_lines(sha256_file(folder / keys.WEIGHTS) for folder in found))


def follow_decision(
    tracking_uri: str,
    name: str,
    champions: Sequence[Path],
    challengers: Sequence[Path],
    decision: Decision,
    out: Path,
    patience_s: float = 0.0,
) -> None:
    """Register both, once each, and let the aliases follow the decision; writes `registry.json`.

    The challenger's version gets the alias `challenger` and the reason as a tag, whatever was decided. Only if it is
    promoted does `champion` move to it, and `previous_champion` to the one before. Where `champion` is on the
    challenger already, nothing moves; where it is on a third model, nothing is registered either.

    Args:
        tracking_uri: Address of the server (or database) with the registry.
        name: Name of the registered model.
        champions: Results folders of the champion.
        challengers: Likewise of the challenger.
        decision: What was decided.
        out: Folder for the receipt.
        patience_s: How long to wait for a server that does not answer; all of it may be done again.
    Raises:
        ConfigError: another model serves than the champion that was judged.
        DataError: a run has no encoders.
        PortalError: the server is out of reach or refuses.
    """
    ours, theirs = find_serving(champions), find_serving(challengers)
    shown = hide_credentials(tracking_uri)

    def follow(client: Any) -> str:
        now, challenger = _follow(client, name, ours, theirs, decision)
        receipt = {"tracking_uri": shown, "model": name, "champion": now, "challenger": challenger}
        write_json(out / REGISTRY_JSON, receipt)
        logger.info("%s in %s: champion is version %s, challenger was version %s", name, shown, now, challenger)
        return now

    _ask(tracking_uri, follow, patience_s)


def require_judged_champion(
    tracking_uri: str, name: str, champions: Sequence[Path], challengers: Sequence[Path], patience_s: float = 0.0
) -> None:
    """Look, before a decision is written, whether the registry can follow it; changes nothing there.

    Args:
        tracking_uri: Address of the server (or database) with the registry.
        name: Name of the registered model.
        champions: Results folders of the champion that was judged.
        challengers: Likewise of the challenger.
        patience_s: How long to wait for a server that does not answer.
    Raises:
        ConfigError: the alias `champion` is on a third model.
        DataError: a run has no encoders.
        PortalError: the server is out of reach or refuses.
    """
    ours, theirs = find_serving(champions), find_serving(challengers)

    def look(client: Any) -> str:
        serving = _version_that_serves(client, name, ours, theirs)
        return "" if serving is None else str(serving.version)

    _ask(tracking_uri, look, patience_s)


def _ask(tracking_uri: str, work: Callable[[Any], str], patience_s: float) -> str:
    """What comes of some requests, which may be sent again from the first one."""
    mlflow = import_mlflow()
    shown = hide_credentials(tracking_uri)
    try:
        client = mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        return keep_trying(lambda: work(client), patience_s, shown)
    except (mlflow.exceptions.MlflowException, requests.RequestException) as error:
        raise PortalError(
            f"the MLflow registry {shown} did not follow: {hide_credentials(str(error))}. The decision does not depend"
            " on it; repeat the same command when the server is up and takes files of this size."
        ) from error


def _follow(client: Any, name: str, ours: Serving, theirs: Serving, decision: Decision) -> tuple[str, str]:
    """Versions of the champion from now on, and of the challenger."""
    serving = _version_that_serves(client, name, ours, theirs)
    if serving is not None and serving.tags[WEIGHTS_TAG] != ours.sha256:
        if not decision.promote:
            logger.warning(
                "%s: version %s is `champion`, though it is the challenger that is not promoted now; the alias stays."
                " Move it in the registry if an earlier promotion is to be undone",
                name,
                serving.version,
            )
        return str(serving.version), str(serving.version)
    experiment_id = make_experiment(client, name)
    with _done_already("RESOURCE_ALREADY_EXISTS"):
        client.create_registered_model(name, description="Encoders of bulk RNA-seq; for research.")
    if serving is None:
        champion = _register(client, experiment_id, name, ours, {"role": CHAMPION})
        client.set_registered_model_alias(name, CHAMPION, champion)
    else:
        champion = str(serving.version)
    challenger = _register(client, experiment_id, name, theirs, {"role": CHALLENGER})
    _version_that_serves(client, name, ours, theirs)  # sending the files took its time, and others promote, too
    for key, value in (("promoted", str(decision.promote).lower()), ("reason", decision.reason[:5000])):
        client.set_model_version_tag(name, challenger, key, value)
    client.set_registered_model_alias(name, CHALLENGER, challenger)
    if decision.promote and champion != challenger:
        client.set_registered_model_alias(name, PREVIOUS, champion)
        client.set_registered_model_alias(name, CHAMPION, challenger)
    return challenger if decision.promote else champion, challenger


@contextmanager
def _done_already(error_code: str) -> Iterator[None]:
    """Pass over the error by which the registry says that what was asked is so already."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != error_code:
            raise


def _version_that_serves(client: Any, name: str, ours: Serving, theirs: Serving) -> Any | None:
    """The version with the alias `champion`; None where there is none yet.

    Raises:
        ConfigError: it is neither the champion that was judged nor the challenger.
    """
    from mlflow.exceptions import MlflowException

    try:
        alias = client.get_registered_model(name).aliases.get(CHAMPION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    if alias is None:
        return None
    version = client.get_model_version(name, str(alias))
    found = version.tags.get(WEIGHTS_TAG)
    if found not in (ours.sha256, theirs.sha256):
        weights = f"tag {WEIGHTS_TAG} {found[:12]}…" if found else f"no tag {WEIGHTS_TAG}"
        raise ConfigError(
            f"the registered model {name!r} has version {version.version} as `{CHAMPION}` ({weights}, from"
            f" {hide_credentials(str(version.source))}); expected the run of --champion ({ours.sha256[:12]}…, as"
            f" {ours.encoders[0]}) or of --challenger ({theirs.sha256[:12]}…). A challenger takes the place only of the"
            f" model that it was judged against: give the run of version {version.version} as --champion and judge"
            f" again; if that version should not serve, move the alias in the registry first"
        )
    return version


def _register(client: Any, experiment_id: str, name: str, serving: Serving, tags: dict[str, str]) -> str:
    """The version of a model; made where the registry does not have these weights yet."""
    if not _versions_of(client, name, serving):
        made = _make_version(client, experiment_id, name, serving, tags)
        # The answer may have been lost, and the request sent once more: one version stays.
        for version in _versions_of(client, name, serving):
            if version.version != made.version:
                with _done_already("RESOURCE_DOES_NOT_EXIST"):
                    client.delete_model_version(name, str(version.version))
    found = _versions_of(client, name, serving)
    # Likewise for its run, and earlier tries may have stopped before they made a version.
    delete_other_runs(client, experiment_id, WEIGHTS_TAG, serving.sha256, [version.run_id for version in found])
    return str(found[0].version)


def _make_version(client: Any, experiment_id: str, name: str, serving: Serving, tags: dict[str, str]) -> Any:
    run = client.create_run(experiment_id, tags={WEIGHTS_TAG: serving.sha256, **tags}, run_name=tags["role"])
    run_id = run.info.run_id
    for folder in serving.encoders:
        for file in _FILES:
            if (folder / file).is_file():
                client.log_artifact(run_id, str(folder / file), f"{MODEL_FOLDER}/{ENCODERS}/{folder.name}")
    with tempfile.TemporaryDirectory() as temporary:
        for path in _describe(Path(temporary), serving.encoders[0], run_id):
            client.log_artifact(run_id, str(path), MODEL_FOLDER)
    client.set_terminated(run_id, status="FINISHED")
    source, weights = f"{run.info.artifact_uri}/{MODEL_FOLDER}", {WEIGHTS_TAG: serving.sha256}
    return client.create_model_version(name, source=source, run_id=run_id, tags=weights)


def _versions_of(client: Any, name: str, serving: Serving) -> list[Any]:
    """Oldest first, so that a repetition finds the same one."""
    found = client.search_model_versions(f"name = '{name}'")
    of_weights = [version for version in found if version.tags.get(WEIGHTS_TAG) == serving.sha256]
    return sorted(of_weights, key=lambda version: int(version.version))


def _describe(folder: Path, encoder: Path, run_id: str) -> list[Path]:
    """`MLmodel` with the signature, and an input example: a profile that has every gene masked."""
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    described = json.loads((encoder / keys.CONFIG_JSON).read_text(encoding="utf-8"))
    n_genes = len(read_gene_list(encoder / keys.GENES_TXT))
    width = int(described["config"].get("embed_dim", -1))
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, n_genes), "token_ids")]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, width), "embedding")]),
    )
    flavour = {"version": package_version(), "model": described["model"], "data": ENCODERS}
    model = Model(artifact_path=MODEL_FOLDER, run_id=run_id, signature=signature, flavors={FLAVOUR: flavour})
    model.saved_input_example_info = {"artifact_path": EXAMPLE, "type": "ndarray", "format": "tf-serving"}
    (folder / "MLmodel").write_text(model.to_yaml(), encoding="utf-8")
    write_json(folder / EXAMPLE, {"inputs": {"token_ids": [[keys.MASK_ID] * n_genes]}})
    return [folder / "MLmodel", folder / EXAMPLE]
