"""Client of the GDC: asks its HTTP interface, and trusts no answer before it was checked."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import requests
from pydantic import SecretStr
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from bulkrnabert.data.sources.gdc_pages import error_text, read_history, read_search_page, unknown_fields
from bulkrnabert.data.sources.gdc_plan import (
    Json,
    Plan,
    PlannedFile,
    RejectedFile,
    file_path,
    read_plan,
)
from bulkrnabert.data.sources.gdc_token import TOKEN_HEADER
from bulkrnabert.data.sources.transfer import RemoteFile, TransferPolicy, is_loopback, open_session
from bulkrnabert.data.sources.transfer_http import (
    MAX_REDIRECTS,
    TRANSIENT_STATUS,
    describe_failure,
    is_same_origin,
    redirect_target,
    root_cause,
    shorten,
    where,
)
from bulkrnabert.errors import ConfigError, PortalAnswerError, PortalError
from bulkrnabert.keys import PUBLIC_GDC_API
from bulkrnabert.logs import hide_credentials

__all__ = ["FileFate", "GdcClient", "Plan", "PlannedFile", "PortalStatus", "RejectedFile", "read_plan"]

logger = logging.getLogger(__name__)

PAGE_SIZE = 500
MAX_PAGE_SIZE = 2000
MIN_PAGE_SIZE = 10
OPEN = "open"
_OVERLOAD_STATUS = (500, 502, 503, 504)


class _TransientError(Exception):
    """A request failed in a way that may pass.

    Args:
        reason: What happened.
        is_overload: Whether a smaller question may fare better.
        response: An answer that may say how long to wait.
        advice: What the user can do.
        is_foreign: Whether the answer may be that of another server than a portal.
    """

    def __init__(
        self,
        reason: str,
        *,
        is_overload: bool = False,
        response: requests.Response | None = None,
        advice: str = "",
        is_foreign: bool = False,
    ) -> None:
        super().__init__(reason)
        self.advice = advice
        self.is_foreign = is_foreign
        self.is_overload = is_overload
        self.response = response


@dataclass(frozen=True)
class PortalStatus:
    """What `/status` says.

    Attributes:
        data_release: For example `Data Release 45.0 - December 04, 2025`; not interpreted.
        tag: Version of the interface.
    """

    data_release: str
    tag: str


@dataclass(frozen=True)
class FileFate:
    """What `/history` says about a file.

    Attributes:
        change: `released`, `superseded` or `redacted`.
        data_release: Release of the newest version, as `32.0`.
        latest_id: Id of the newest version; the file's own when it is the newest.
    """

    file_id: str
    change: str
    data_release: str
    latest_id: str

    def __str__(self) -> str:
        if self.latest_id != self.file_id:
            return f"{self.change} in data release {self.data_release}, replaced by {self.latest_id}"
        return f"{self.change} in data release {self.data_release}"


class GdcClient:
    """HTTP client of one GDC-shaped portal. Use as a context manager.

    Args:
        api: Base URL.
        n_connections: Connections that may be open at once.
        n_retries: Further tries of a request after a transient failure.
        backoff_s: First wait between tries; doubled each time.
        idle_timeout_s: Longest wait for the next bytes of an answer.
        max_retry_after_s: Longest wait that the portal may ask for.
        token: For controlled files; goes to the portal's own host, and with those files only.
    Raises:
        ConfigError: the address is no http(s) URL, or a token would travel unencrypted.
    """

    def __init__(
        self,
        api: str,
        *,
        n_connections: int = 4,
        n_retries: int = 5,
        backoff_s: float = 0.5,
        idle_timeout_s: float = 30.0,
        max_retry_after_s: float = 30.0,
        token: SecretStr | None = None,
    ) -> None:
        if not re.match(r"^https?://[^/\s]+", api):
            raise ConfigError(f"--api {api!r} is no address: expected http(s)://host, for example {PUBLIC_GDC_API}")
        if token is not None and not (api.startswith("https://") or is_loopback(api)):
            raise ConfigError(f"--api {hide_credentials(api)}: a token is sent over https only; give an https address")
        self.api = api.rstrip("/")
        self.policy = TransferPolicy(
            n_workers=n_connections,
            n_retries=n_retries,
            backoff_s=backoff_s,
            idle_timeout_s=idle_timeout_s,
            max_retry_after_s=max_retry_after_s,
        )
        self.session = open_session(n_connections, use_environment=not is_loopback(api))
        self._token = token

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.close()

    # ---- questions ----

    def status(self) -> PortalStatus:
        """Ask for the data release.

        Raises:
            PortalError: no answer, or one that is no GDC status.
        """
        body = self._ask("GET", "/status", None)
        if not isinstance(body.get("data_release"), str) or body.get("status") != "OK":
            raise PortalAnswerError(
                f"{self._where('/status')}: expected a GDC status with `data_release`, found {_shorten(body)}"
            )
        return PortalStatus(data_release=body["data_release"], tag=str(body.get("tag", "")))

    def query(
        self,
        endpoint: str,
        *,
        sort: str,
        filters: Json | None = None,
        fields: Sequence[str] = (),
        expand: Sequence[str] = (),
        optional_fields: Collection[str] = (),
        page_size: int = PAGE_SIZE,
    ) -> list[Json]:
        """Every record that a search finds, page by page in a fixed order.

        A page that the portal cannot give in time is asked for again in half the size.

        Args:
            endpoint: `projects`, `cases` or `files`.
            sort: Field that identifies a record; ascending. Without it pages overlap.
            filters: GDC filter; None for all records.
            fields: Fields wanted; none for the portal's default.
            expand: Groups of fields wanted.
            optional_fields: Fields of `fields` that are done without where the portal does not know them.
            page_size: Records a request, at most 2,000.
        Raises:
            PortalError: no usable answer, warnings, the total changed between pages, or records repeated or missing.
        """
        if not 1 <= page_size <= MAX_PAGE_SIZE:
            raise ValueError(f"page_size {page_size} is not in 1 to {MAX_PAGE_SIZE}")
        question: Json = {"format": "JSON", "sort": f"{sort}:asc"}
        if filters is not None:
            question["filters"] = filters
        if fields:
            question["fields"] = ",".join(fields)
        if expand:
            question["expand"] = ",".join(expand)
        place = self._where(f"/{endpoint}")
        hits: list[Json] = []
        total: int | None = None
        while total is None or len(hits) < total:
            question |= {"size": page_size, "from": len(hits)}
            body = self._ask("POST", f"/{endpoint}", question)
            unknown = unknown_fields(body)
            if unknown and unknown <= set(optional_fields) & set(fields):
                logger.warning("%s: the portal does not know %s; going on without", place, ", ".join(sorted(unknown)))
                fields = [field for field in fields if field not in unknown]
                question["fields"] = ",".join(fields)
                continue
            page = read_search_page(place, body, size=question["size"], start=question["from"])
            if total is not None and page.total != total:
                raise PortalError(
                    f"{place}: the number of records changed from {total} to {page.total} while reading; run it again"
                )
            total, page_size = page.total, page.size
            hits.extend(page.hits)
            if not page.hits:
                break
        ids = [str(hit.get(sort)) for hit in hits]
        if len(set(ids)) != len(ids) or len(ids) != total:
            raise PortalError(
                f"{place}: {len(ids)} records with {len(set(ids))} different {sort}, but the portal counts {total}; "
                "its pages do not fit together, run it again"
            )
        return hits

    def remote_file(self, raw_folder: Path, file: PlannedFile) -> RemoteFile:
        """A file of a plan as a transfer takes it.

        Raises:
            ConfigError: it is controlled and there is no token.
        """
        headers = {}
        if file.access != OPEN:
            if self._token is None:
                raise ConfigError(f"{file.file_id} ({file.sample_id}) is {file.access}; give --token-file")
            headers[TOKEN_HEADER] = self._token.get_secret_value()
        return RemoteFile(
            file_id=file.file_id,
            url=f"{self.api}/data/{file.file_id}",
            target=file_path(raw_folder, file),
            size=file.size,
            md5=file.md5,
            headers=headers,
            label=file.sample_id,
        )

    @property
    def has_token(self) -> bool:
        """Whether controlled files can be asked for."""
        return self._token is not None

    def fate(self, file_id: str) -> FileFate | None:
        """What has become of a file that the portal does not serve (any more); None when it does not say."""
        try:
            response = self.session.get(
                f"{self.api}/history/{file_id}", timeout=self.policy.timeout_s, allow_redirects=False
            )
            versions = read_history(self._where("/history"), response.json())
        except (requests.RequestException, ValueError, PortalAnswerError):
            return None
        own = next((version for version in versions if version.file_id == file_id), None)
        if own is None:
            return None
        latest = max(reversed(versions), key=lambda version: int(version.version) if version.version.isdigit() else 0)
        return FileFate(file_id, own.change, latest.data_release, latest.file_id)

    # ---- answers ----

    def _where(self, path: str) -> str:
        return where(f"{self.api}{path}")

    def _ask(self, method: str, path: str, question: Json | None) -> Json:
        """The JSON object that answers a question; `size` of a question shrinks when the portal is overloaded."""
        for attempt in range(self.policy.n_retries + 1):
            try:
                return self._ask_once(method, path, question)
            except _TransientError as problem:
                if attempt == self.policy.n_retries:
                    kind = PortalAnswerError if problem.is_foreign else PortalError
                    raise kind(
                        f"{self._where(path)}: {problem}, after {attempt + 1} tries{problem.advice}"
                    ) from problem
                if problem.is_overload and attempt > 0 and question is not None and question["size"] > MIN_PAGE_SIZE:
                    question["size"] = max(question["size"] // 2, MIN_PAGE_SIZE)
                    logger.warning("%s: asking for %d records a page", self._where(path), question["size"])
                logger.warning(
                    "%s: %s; try %d of %d", self._where(path), problem, attempt + 2, self.policy.n_retries + 1
                )
                time.sleep(self.policy.wait_s(attempt, problem.response))
        raise AssertionError("unreachable")

    def _send(self, method: str, url: str, question: Json | None) -> requests.Response:
        """The answer to a request, after redirects that stay on the portal's own host."""
        for _ in range(MAX_REDIRECTS + 1):
            response = self.session.request(
                method, url, json=question, timeout=self.policy.timeout_s, allow_redirects=False
            )
            target = redirect_target(response)
            if target is None or not is_same_origin(url, target):
                break
            url = target
        return response

    def _ask_once(self, method: str, path: str, question: Json | None) -> Json:
        try:
            response = self._send(method, f"{self.api}{path}", question)
        except requests.RequestException as error:
            raise _TransientError(
                f"no answer ({describe_failure(error)})",
                advice="; check the portal's address (--api, or --gdc_api of the pipeline) and the network",
                is_overload=isinstance(root_cause(error), ReadTimeoutError | ProtocolError),
            ) from error
        place, code = self._where(path), response.status_code
        if code in TRANSIENT_STATUS or code >= 500:
            raise _TransientError(
                f"answered {code} {shorten(response.text)}", is_overload=code in _OVERLOAD_STATUS, response=response
            )
        if code != 200:
            target = redirect_target(response)
            told = f"with a redirect to {where(target)}" if target else shorten(response.text)
            raise PortalAnswerError(f"{place}: answered {code} {told}; is this the address of a GDC portal?")
        try:
            body = response.json()
        except ValueError as error:
            raise _TransientError(
                f"expected JSON, found {shorten(response.text) or 'an empty answer'}",
                advice="; is this the address of a GDC portal?",
                is_foreign=True,
            ) from error
        if error_text(body):
            raise _TransientError(f"the portal says: {shorten(error_text(body))}", is_foreign=True)
        if not isinstance(body, dict):
            raise PortalAnswerError(f"{place}: expected a JSON object, found {_shorten(body)}")
        return body


def _shorten(value: object) -> str:
    return shorten(value if isinstance(value, str) else json.dumps(value))
