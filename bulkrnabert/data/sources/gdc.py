"""Client of the GDC: asks its HTTP interface, and trusts no answer before it was checked."""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import InvalidHeader
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry

from bulkrnabert.data.sources.gdc_plan import (
    Json,
    Plan,
    PlannedFile,
    RejectedFile,
    read_plan,
)
from bulkrnabert.errors import ConfigError, PortalAnswerError, PortalError
from bulkrnabert.keys import PUBLIC_GDC_API

__all__ = ["GdcClient", "Plan", "PlannedFile", "PortalStatus", "RejectedFile", "read_plan"]

logger = logging.getLogger(__name__)

PAGE_SIZE = 500
CONNECT_TIMEOUT_S = 15.0
TRANSIENT_STATUS = (405, 408, 425, 429, 500, 502, 503, 504)
_SHOWN = 200


class _CappedRetry(Retry):
    """Retries that obey `Retry-After` only up to a limit: an absurd value must not stop a run for hours."""

    max_retry_after_s = 60.0

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        try:
            asked = super().get_retry_after(response)
        except InvalidHeader as error:
            logger.warning("ignored a Retry-After header: %s", error)
            return None
        return None if asked is None else min(float(asked), self.max_retry_after_s)


@dataclass(frozen=True)
class PortalStatus:
    """What `/status` says.

    Attributes:
        data_release: For example `Data Release 45.0 - December 04, 2025`; not interpreted.
        tag: Version of the interface.
    """

    data_release: str
    tag: str


class GdcClient:
    """HTTP client of one GDC-shaped portal. Use as a context manager.

    Args:
        api: Base URL.
        n_connections: Connections that may be open at once.
        n_retries: Further tries of a request after a transient failure.
        backoff_s: First wait between tries; doubled each time.
        idle_timeout_s: Longest wait for the next bytes of an answer.
        max_retry_after_s: Longest wait that the portal may ask for.
    Raises:
        ConfigError: the address is no http(s) URL.
    """

    def __init__(
        self,
        api: str,
        *,
        n_connections: int = 4,
        n_retries: int = 5,
        backoff_s: float = 0.5,
        idle_timeout_s: float = 60.0,
        max_retry_after_s: float = 60.0,
    ) -> None:
        if not re.match(r"^https?://[^/\s]+", api):
            raise ConfigError(f"--api {api!r} is no address: expected http(s)://host, for example {PUBLIC_GDC_API}")
        self.api = api.rstrip("/")
        self.n_retries = n_retries
        self.backoff_s = backoff_s
        self._timeout_s = (CONNECT_TIMEOUT_S, idle_timeout_s)
        # `max_retry_after_s` is a class attribute there, because urllib3 copies a Retry through its own constructor.
        retry_class = type("_PortalRetry", (_CappedRetry,), {"max_retry_after_s": max_retry_after_s})
        retry = retry_class(
            total=n_retries,
            status_forcelist=TRANSIENT_STATUS,
            allowed_methods=None,
            backoff_factor=backoff_s,
            raise_on_status=False,
        )
        adapter = HTTPAdapter(max_retries=retry, pool_connections=n_connections, pool_maxsize=n_connections)
        self._session = requests.Session()
        # A proxy named in the environment cannot reach this machine's loopback address.
        self._session.trust_env = urlsplit(self.api).hostname not in ("127.0.0.1", "localhost", "::1")
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    # ---- questions ----

    def status(self) -> PortalStatus:
        """Ask for the data release.

        Raises:
            PortalError: no answer, or one that is no GDC status.
        """
        body = self._ask("GET", "/status", None)
        if not isinstance(body.get("data_release"), str) or body.get("status") != "OK":
            raise PortalAnswerError(
                f"{self.api}/status: expected a GDC status with `data_release`, found {_shorten(body)}"
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
        page_size: int = PAGE_SIZE,
    ) -> list[Json]:
        """Every record that a search finds, page by page in a fixed order.

        Args:
            endpoint: `projects`, `cases` or `files`.
            sort: Field that identifies a record; ascending. Without it pages overlap.
            filters: GDC filter; None for all records.
            fields: Fields wanted; none for the portal's default.
            expand: Groups of fields wanted.
            page_size: Records a request.
        Raises:
            PortalError: no usable answer, warnings, the total changed between pages, or records repeated or missing.
        """
        where = f"{self.api}/{endpoint}"
        hits: list[Json] = []
        total: int | None = None
        while total is None or len(hits) < total:
            question: Json = {"format": "JSON", "size": page_size, "from": len(hits), "sort": f"{sort}:asc"}
            if filters is not None:
                question["filters"] = filters
            if fields:
                question["fields"] = ",".join(fields)
            if expand:
                question["expand"] = ",".join(expand)
            page, page_total = self._read_page(where, self._ask("POST", f"/{endpoint}", question))
            if total is not None and page_total != total:
                raise PortalError(
                    f"{where}: the number of records changed from {total} to {page_total} while reading; run it again"
                )
            total = page_total
            hits.extend(page)
            if not page:
                break
        ids = [str(hit.get(sort)) for hit in hits]
        if len(set(ids)) != len(ids) or len(ids) != total:
            raise PortalError(
                f"{where}: {len(ids)} records with {len(set(ids))} different {sort}, but the portal counts {total}; "
                "its pages do not fit together, run it again"
            )
        return hits

    def open_file(self, file_id: str) -> requests.Response:
        """Start the download of one file; the caller reads the body and closes the response.

        Raises:
            requests.RequestException: no connection, or too many transient failures.
        """
        return self._session.get(
            f"{self.api}/data/{file_id}",
            stream=True,
            timeout=self._timeout_s,
            allow_redirects=False,
            headers={"Accept-Encoding": "identity"},
        )

    def explain_missing(self, file_id: str) -> str:
        """What `/history` says about a file that the portal refuses to serve; one phrase, or empty."""
        try:
            response = self._session.get(
                f"{self.api}/history/{file_id}", timeout=self._timeout_s, allow_redirects=False
            )
            versions = [version for version in response.json() if isinstance(version, dict)]
        except (requests.RequestException, ValueError, TypeError):
            return ""
        own = next((version for version in versions if version.get("uuid") == file_id), None)
        if own is None:
            return ""
        latest = versions[-1].get("uuid")
        replaced = f", replaced by {latest}" if latest != file_id else ""
        return f"{own.get('file_change')} in data release {own.get('data_release')}{replaced}"

    # ---- answers ----

    def _ask(self, method: str, path: str, question: Json | None) -> Json:
        where = f"{self.api}{path}"
        response = self._ask_whole(method, where, question)
        if 300 <= response.status_code < 500 and response.status_code not in TRANSIENT_STATUS:
            raise PortalAnswerError(
                f"{where}: answered {response.status_code} {_shorten(response.text)}; is this the address of a GDC"
                " portal?"
            )
        if response.status_code != 200:
            raise PortalError(f"{where}: answered {response.status_code} {_shorten(response.text)}")
        try:
            body = response.json()
        except ValueError as error:
            raise PortalAnswerError(
                f"{where}: expected JSON, found {_shorten(response.text)}; is this the address of a GDC portal?"
            ) from error
        if not isinstance(body, dict):
            raise PortalAnswerError(f"{where}: expected a JSON object, found {_shorten(body)}")
        return body

    def _ask_whole(self, method: str, where: str, question: Json | None) -> requests.Response:
        """A response whose body has arrived: the session retries until an answer begins, this when it breaks off."""
        for attempt in range(self.n_retries + 1):
            response = None
            try:
                response = self._session.request(
                    method, where, json=question, timeout=self._timeout_s, allow_redirects=False, stream=True
                )
                response.content  # noqa: B018  (reads the body)
                return response
            except requests.RequestException as error:
                if response is None or attempt == self.n_retries:
                    raise PortalError(
                        f"{where}: no answer after {self.n_retries + 1} tries "
                        f"({type(error).__name__}: {_shorten(error)}); check the portal's address (--api, or "
                        "--gdc_api of the pipeline) and the network"
                    ) from error
                logger.warning("%s: the answer broke off; try %d of %d", where, attempt + 2, self.n_retries + 1)
                self.wait_before_retry(attempt)
        raise AssertionError("unreachable")

    def wait_before_retry(self, attempt: int) -> None:
        """Wait after the failed try number `attempt` (from 0): doubled each time, with jitter, at most a minute."""
        time.sleep(min(self.backoff_s * 2**attempt, 60.0) * random.uniform(0.5, 1.0))

    @staticmethod
    def _read_page(where: str, body: Json) -> tuple[list[Json], int]:
        if body.get("warnings"):
            raise PortalAnswerError(
                f"{where}: the portal warns {_shorten(body['warnings'])}; "
                "its fields have changed, and this program must follow"
            )
        data = body.get("data")
        hits = data.get("hits") if isinstance(data, dict) else None
        pagination = data.get("pagination") if isinstance(data, dict) else None
        total = pagination.get("total") if isinstance(pagination, dict) else None
        if not isinstance(hits, list) or not all(isinstance(hit, dict) for hit in hits) or not isinstance(total, int):
            raise PortalAnswerError(
                f"{where}: expected `data.hits` and `data.pagination.total`, found {_shorten(body)}"
            )
        return hits, total


def _shorten(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict | list) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
