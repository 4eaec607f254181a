"""Models on a model hub, through huggingface_hub: found by id and revision, and published.

The endpoint, the cache, the token and offline work are that library's: HF_ENDPOINT, HF_HOME, HF_TOKEN or
`hf auth login`, HF_HUB_OFFLINE. No token passes through our hands.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bulkrnabert import keys
from bulkrnabert.downstream.published_form import PATTERNS, StatedAccess, write_published
from bulkrnabert.errors import CheckpointError, ConfigError, PortalError
from bulkrnabert.logs import hide_credentials
from bulkrnabert.provenance import PACKAGE, package_version

logger = logging.getLogger(__name__)

HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Located:
    """A model's folder.

    Attributes:
        folder: On this machine; for a hub id in the hub library's cache.
        source: The path as given, or `owner/name@<commit>`.
    """

    folder: Path
    source: str


@dataclass(frozen=True)
class PublishedModel:
    """A model on the hub: `url` of its page, and the `commit` that holds it."""

    url: str
    commit: str


def locate(path_or_id: str | Path, revision: str | None = None) -> Located:
    """The folder of a model, fetched from the hub where it is no folder here.

    A folder of that name wins over a hub id. Only files that a model is made of are fetched, at one commit.

    Args:
        path_or_id: A folder, or `owner/name` on the hub.
        revision: Commit, tag or branch on the hub; None: what is newest on its main branch.
    Raises:
        CheckpointError: neither a folder nor a model on the hub, or no such revision.
        ConfigError: a revision of a folder, or huggingface_hub is not installed.
        PortalError: the hub does not answer, and the model is not in the cache.
    """
    path = Path(path_or_id)
    if path.is_dir():
        if revision is not None:
            raise ConfigError(f"{path}: is a folder here, which has no revision {revision!r}: leave the revision out")
        return Located(path, str(path))
    expected = f"expected a folder with {keys.CONFIG_JSON} and {keys.WEIGHTS}, or a hub id as owner/name"
    if path.is_file():
        raise CheckpointError(f"{path}: is a file, not a checkpoint folder; {expected}")
    name = str(path_or_id)
    if HUB_ID.fullmatch(name) is None:
        raise CheckpointError(f"{name}: no such checkpoint folder; {expected}")
    return _fetch(name, revision)


def _fetch(repo_id: str, revision: str | None) -> Located:
    with _hub_errors(repo_id, revision, "no such checkpoint folder here, and not fetched from the hub"):
        from huggingface_hub import snapshot_download

        folder = Path(
            snapshot_download(
                repo_id,
                revision=revision,
                allow_patterns=list(PATTERNS),
                library_name=PACKAGE,
                library_version=package_version(),
            )
        )
    commit = folder.name
    pin = "" if revision == commit else f'; revision="{commit}" gives the same files later'
    logger.info("%s: from the hub%s", repo_id, pin)
    return Located(folder, f"{repo_id}@{commit}")


def publish(
    folder: Path,
    repo_id: str,
    *,
    private: bool = True,
    licence: str | None = None,
    data_access: StatedAccess | None = None,
    branch: str | None = None,
) -> PublishedModel:
    """Put a model's folder on the hub, in one commit.

    Args:
        folder: A folder that was loaded without an error.
        repo_id: `owner/name`; made if absent.
        private: Whether others see it. A repository that is there must be so already.
        licence: The hub's name of the licence of the weights, as `cc-by-4.0`; None: as the model card says.
        data_access: `open` or `local`, where the records do not state the class of the training data.
        branch: Where to; None: the main branch.
    Raises:
        CheckpointError: made from controlled data, or no model.
        ConfigError: the access class is not stated, no such id, no right to write, a repository that others see though
            `private`, or huggingface_hub is not installed.
        PortalError: the hub does not answer.
    """
    if HUB_ID.fullmatch(repo_id) is None:
        raise ConfigError(f"{repo_id!r}: expected a hub id as owner/name")
    with tempfile.TemporaryDirectory() as aside:
        files = write_published(folder, Path(aside), repo_id, data_access, licence)
        with _hub_errors(repo_id, branch, "not published"):
            from huggingface_hub import HfApi

            api = HfApi(library_name=PACKAGE, library_version=package_version())
            page = api.create_repo(repo_id, private=private, exist_ok=True)
            if private and not api.model_info(repo_id).private:
                raise ConfigError(
                    f"{repo_id}: is a public repository, and the model would be seen by all: publish it with --public "
                    "(private=False), or give another name"
                )
            if branch is not None:
                api.create_branch(repo_id, branch=branch, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo_id,
                folder_path=aside,
                allow_patterns=[file.as_posix() for file in files],
                revision=branch,
                commit_message=f"{PACKAGE} {package_version()}",
            )
    logger.info("%s: %d files published, commit %s", repo_id, len(files), done.oid)
    return PublishedModel(hide_credentials(str(page)), str(done.oid))


@contextmanager
def _hub_errors(repo_id: str, revision: str | None, what: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into errors that say what to do."""
    try:
        from huggingface_hub import errors
    except ImportError as error:
        raise ConfigError(
            f"{repo_id}: {what}: huggingface_hub is not installed; `pip install '{PACKAGE}[hub]'`, or give a folder"
        ) from error
    http_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{repo_id}: {what}: it has no revision {revision!r}; look up its branches") from error
    except errors.GatedRepoError as error:
        raise CheckpointError(f"{repo_id}: {what}: ask its owners for access on its page, then log in") from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{repo_id}: {what}: no such model, or one that you may not see; check the name, or log in (`hf auth "
            "login`, or HF_TOKEN)"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise PortalError(
            f"{repo_id}: {what}: the hub does not answer (or HF_HUB_OFFLINE is set), and the model is not in the "
            "cache; try again, or copy a checkpoint folder"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise ConfigError(
                f"{repo_id}: {what}: the hub refuses ({status}); log in with the right to write (`hf auth login`, or "
                "HF_TOKEN)"
            ) from error
        raise PortalError(f"{repo_id}: {what}: {hide_credentials(_first_line(error))}") from error
    except errors.HFValidationError as error:
        raise CheckpointError(f"{repo_id}: {what}: {_first_line(error)}") from error
    except (http_error, ConnectionError) as error:
        raise PortalError(
            f"{repo_id}: {what}: the hub does not answer ({hide_credentials(_first_line(error))})"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
