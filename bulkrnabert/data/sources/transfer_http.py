"""HTTP as the transfers use it: one session, waits between tries, redirects that stay on their host."""

from __future__ import annotations

import base64
import binascii
import logging
import random
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

from bulkrnabert.errors import PortalAnswerError
from bulkrnabert.logs import hide_credentials

logger = logging.getLogger(__name__)

TRANSIENT_STATUS = frozenset((405, 408, 425, 429, 500, 502, 503, 504))
MAX_BACKOFF_S = 60.0
MAX_REDIRECTS = 5
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_REDIRECTS = (301, 302, 303, 307, 308)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class TransferPolicy:
    """How patient a transfer is.

    Attributes:
        n_workers: Files fetched at once.
        n_retries: Further tries of a request after a transient failure.
        backoff_s: First wait between tries; doubled each time up to a minute, with jitter.
        idle_timeout_s: Longest wait for the next bytes of an answer. There is no limit on the whole.
        max_retry_after_s: Longest wait that a server may ask for.
        connect_timeout_s: Longest wait for a connection.
    """

    n_workers: int = 4
    n_retries: int = 5
    backoff_s: float = 0.5
    idle_timeout_s: float = 30.0
    max_retry_after_s: float = 30.0
    connect_timeout_s: float = 15.0

    @property
    def timeout_s(self) -> tuple[float, float]:
        """Limits for a connection and for the next bytes, as `requests` takes them."""
        return (self.connect_timeout_s, self.idle_timeout_s)

    def wait_s(self, attempt: int, response: requests.Response | None = None) -> float:
        """Seconds to wait after the failed try number `attempt` (from 0): what the answer asks for, or the backoff."""
        asked = None if response is None else _retry_after_s(response)
        if asked is None:
            return min(self.backoff_s * 2.0 ** min(attempt, 20), MAX_BACKOFF_S) * random.uniform(0.5, 1.0)
        if asked > self.max_retry_after_s:
            logger.warning(
                "%s asks to wait %.0f s; trying again after %.0f s",
                where(response.url if response is not None else ""),
                asked,
                self.max_retry_after_s,
            )
        return min(asked, self.max_retry_after_s)


def _retry_after_s(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    try:
        return float(Retry(0).parse_retry_after(value))
    except (InvalidHeader, OverflowError) as error:
        logger.warning("ignored the header Retry-After %r: %s", value[:50], error)
        return None


def open_session(n_connections: int, *, use_environment: bool = True) -> requests.Session:
    """A session that tries nothing again by itself: who asks decides, and waits where it can be interrupted.

    Args:
        n_connections: Connections kept open.
        use_environment: Obey the proxies and certificates named in the environment.
    """
    session = requests.Session()
    session.trust_env = use_environment
    adapter = HTTPAdapter(max_retries=0, pool_connections=n_connections, pool_maxsize=n_connections)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def is_loopback(url: str) -> bool:
    """Whether an address leads to this machine, which no proxy can reach."""
    return urlsplit(url).hostname in _LOOPBACK


def where(url: str) -> str:
    """An address without its query string, which may hold a signature, and without a user's name and password."""
    parts = urlsplit(url)
    host = (parts.netloc or "").rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme)


def redirect_target(response: requests.Response) -> str | None:
    """The whole address that an answer leads to; None when it is no redirect."""
    location = response.headers.get("Location")
    if response.status_code not in _REDIRECTS or not location:
        return None
    return urljoin(response.url, location)


def is_same_origin(url: str, other: str) -> bool:
    """Whether two addresses are of one scheme, host and port."""
    return _origin(url) == _origin(other)


def get(
    session: requests.Session,
    url: str,
    headers: Mapping[str, str],
    policy: TransferPolicy,
    redirect_hosts: Collection[str] = (),
) -> requests.Response:
    """One GET whose body is not read yet; the caller closes the response.

    Redirects are followed on the same scheme, host and port, with the same headers; to one of `redirect_hosts` over
    the same scheme and without headers of the caller other than the range.

    Raises:
        PortalAnswerError: a redirect that leads elsewhere, or too many.
        requests.RequestException: no connection, or no answer in time.
    """
    home = _origin(url)
    sent = dict(headers)
    for _ in range(MAX_REDIRECTS + 1):
        response = session.get(url, headers=sent, stream=True, timeout=policy.timeout_s, allow_redirects=False)
        target = redirect_target(response)
        if target is None:
            return response
        response.close()
        origin = _origin(target)
        if origin != home:
            if origin[0] != home[0] or origin[1] not in redirect_hosts:
                raise PortalAnswerError(
                    f"{where(url)}: redirected to {where(target)}, another host or scheme, which is not followed"
                )
            sent = {name: value for name, value in sent.items() if name in ("Range", "If-Range", "Accept-Encoding")}
        url = target
    raise PortalAnswerError(f"{where(url)}: more than {MAX_REDIRECTS} redirects")


def announced_md5(headers: Mapping[str, str]) -> str | None:
    """Hex md5 of a whole body as its server announces it (`Content-MD5`, `x-goog-hash`), or None."""
    value = headers.get("Content-MD5", "")
    google = re.search(r"(?:^|[\s,])md5=([A-Za-z0-9+/]{22}==)", headers.get("x-goog-hash", ""))
    for text in (value.strip(), google[1] if google else ""):
        if re.fullmatch(r"[0-9a-fA-F]{32}", text):
            return text.lower()
        with suppress(binascii.Error, ValueError):
            raw = base64.b64decode(text, validate=True)
            if len(raw) == 16:
                return raw.hex()
    return None


def root_cause(error: Exception) -> Exception:
    """Why a request got no answer, without the layers that libraries wrap around it."""
    inner = getattr(error, "reason", None) or next(iter(error.args), None)
    return root_cause(inner) if isinstance(inner, Exception) else error


def describe_failure(error: Exception) -> str:
    """Why a request got no answer, in words."""
    cause = root_cause(error)
    return shorten(hide_credentials(f"{type(cause).__name__}: {cause}"))


def whole_number(text: str | None) -> int | None:
    """A header's number of bytes, or None when it has none."""
    return int(text) if text is not None and re.fullmatch(r"\d{1,18}", text.strip()) else None


def shorten(text: str, n_shown: int = 200) -> str:
    """One line of a text, cut after so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= n_shown else f"{line[:n_shown]}…"


def refusal_text(response: requests.Response, secrets: Collection[str] = ()) -> str:
    """The beginning of an error's body, without the secrets that the request carried."""
    try:
        body = response.raw.read(2000, decode_content=True)
    except (HTTPError, OSError) as error:
        return f"an unreadable body ({type(error).__name__})"
    text = shorten(body.decode("utf-8", errors="replace"))
    for secret in secrets:
        text = text.replace(secret, "…")
    return text
