"""An HTTP stand-in for the GDC on the loopback address: the demo's embedded portal, and the tests'."""

from __future__ import annotations

import json
import logging
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

from bulkrnabert.data.sources.gdc_answers import PortalRequest, PortalResponse, json_response
from bulkrnabert.data.sources.gdc_faults import Fault, FaultScript
from bulkrnabert.data.sources.gdc_portal import MAX_URL, Portal
from bulkrnabert.data.synthetic import SyntheticStudy

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
IDLE_CONNECTION_S = 30.0
PIECE_BYTES = 1 << 16
DRIP_S = 0.02
LAST_WORDS_S = 1.0
LOGGED_BODY = 10_000
TEXT_TYPES = ("text/tsv", "text/tab-separated-values", "text/plain", "text/csv")


@dataclass(frozen=True)
class LoggedRequest:
    """One request that reached the stand-in.

    Attributes:
        time_s: Seconds since the server started.
        path: As asked, with `/v0` when it was there, without the query string.
        parameters: From the query string or the body.
        byte_range: The `Range` header.
        if_range: The `If-Range` header.
        body: What was sent with it, as text; at most 10,000 characters.
        status: What was answered; 0 when the connection was closed without an answer.
        in_flight: Requests that were being served when this one was answered, itself included.
        bytes_sent: Bytes of the answer's body that were written; None while they are being written.
    """

    time_s: float
    method: str
    path: str
    parameters: Mapping[str, Any]
    byte_range: str | None
    status: int
    if_range: str | None = None
    body: str = ""
    in_flight: int = 1
    bytes_sent: int | None = None


@dataclass
class ServerHandle:
    """A running stand-in.

    Attributes:
        url: Base address, without a slash at the end.
        requests: Every request so far, in order of arrival of the answers.
        max_in_flight: The largest number of requests that were served at once.
    """

    url: str
    requests: list[LoggedRequest] = field(default_factory=list)
    max_in_flight: int = 0
    _idle: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def data_requests(self) -> list[LoggedRequest]:
        """Requests for a file body."""
        return [request for request in self.requests if request.path.removeprefix("/v0").startswith("/data")]

    def wait_until_idle(self, timeout_s: float = 5.0) -> bool:
        """Wait until no request is being served, so that every `bytes_sent` is final; False when it took too long."""
        return self._idle.wait(timeout_s)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, portal: Portal, faults: Sequence[Fault], port: int, log: IO[str] | None) -> None:
        super().__init__((HOST, port), _Handler)
        self.portal = portal
        self.script = FaultScript(faults)
        self.handle = ServerHandle(url=f"http://{HOST}:{self.server_address[1]}")
        self.handle._idle.set()
        self.lock = threading.Lock()
        self.n_in_flight = 0
        self.started = time.monotonic()
        self.is_stopping = threading.Event()
        self._log = log

    def count(self, change: int) -> None:
        with self.lock:
            self.n_in_flight += change
            self.handle.max_in_flight = max(self.handle.max_in_flight, self.n_in_flight)
            if self.n_in_flight:
                self.handle._idle.clear()
            else:
                self.handle._idle.set()

    def begin(self, request: LoggedRequest) -> int:
        """Note a request that is about to be answered; its position in the log."""
        with self.lock:
            self.handle.requests.append(replace(request, in_flight=self.n_in_flight))
            return len(self.handle.requests) - 1

    def end(self, position: int, bytes_sent: int) -> None:
        with self.lock:
            done = replace(self.handle.requests[position], bytes_sent=bytes_sent)
            self.handle.requests[position] = done
            if self._log is not None and not self._log.closed:
                self._log.write(json.dumps(asdict(done)) + "\n")
                self._log.flush()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the signature is given
        if isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            logger.debug("a client went away", exc_info=True)
        else:
            logger.error("the stand-in failed on a request", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "gdc-standin"
    timeout = IDLE_CONNECTION_S
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)

    def _serve(self) -> None:
        self.server.count(+1)
        try:
            self._answer()
        finally:
            self.server.count(-1)

    def _answer(self) -> None:
        url = urlsplit(self.path)
        parameters: Mapping[str, Any] = {}
        body = b""
        if "Transfer-Encoding" in self.headers:
            response = json_response(411, {"message": "send a Content-Length"})
            self.close_connection = True
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if len(self.path) > MAX_URL:
                response = PortalResponse(414, b"URI Too Long")
            else:
                try:
                    parameters, text = self._parameters(url.query, body)
                    response = self._ask(url.path, parameters, text)
                except ValueError as error:
                    response = json_response(400, {"message": f"malformed body: {error}"})
        position = self.server.begin(
            LoggedRequest(
                time_s=time.monotonic() - self.server.started,
                method=self.command,
                path=url.path,
                parameters=parameters,
                byte_range=self.headers.get("Range"),
                if_range=self.headers.get("If-Range"),
                body=body[:LOGGED_BODY].decode(errors="replace"),
                status=response.status,
            )
        )
        self._n_sent = 0
        try:
            self._send(response)
        finally:
            self.server.end(position, self._n_sent)

    def _ask(self, path: str, parameters: Mapping[str, Any], text: str) -> PortalResponse:
        request = PortalRequest(
            method="GET" if self.command == "HEAD" else self.command,
            path=path,
            parameters=parameters,
            byte_range=self.headers.get("Range"),
            if_range=self.headers.get("If-Range"),
            token=self.headers.get("X-Auth-Token"),
            text=text,
        )
        return self.server.portal.answer(request, self.server.script.strike(self.command, path))

    def _parameters(self, query: str, body: bytes) -> tuple[Mapping[str, Any], str]:
        """Parameters of the query string and of the body, and the body where it is plain text."""
        parameters = _last_values(query)
        kind = self.headers.get_content_type() if "Content-Type" in self.headers else ""
        if not body:
            return parameters, ""
        if kind in TEXT_TYPES:
            return parameters, body.decode()
        if kind == "application/x-www-form-urlencoded":
            return parameters | _last_values(body.decode()), ""
        content = json.loads(body)
        if not isinstance(content, dict):
            raise ValueError("expected a JSON object")
        return parameters | content, ""

    # ---- sending ----

    def _send(self, response: PortalResponse) -> None:
        self._wait(response.delay_s)
        if response.is_silent:
            self.close_connection = True
            return
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.framing == "length":
            self.send_header("Content-Length", str(len(response.body)))
        elif response.framing == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(response)
        self.wfile.flush()
        if response.cut_at is not None:
            self.close_connection = True
            if response.is_reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # The server's orderly shutdown would come first and turn the reset into an ordinary end.
                self.connection.close()

    def _send_body(self, response: PortalResponse) -> None:
        body = memoryview(response.body)[: response.cut_at]
        at, seconds = response.stall or (0, 0.0)
        self._send_part(body[:at], response)
        if seconds:
            self.wfile.flush()
            self._wait(seconds)
        self._send_part(body[at:], response)
        if response.framing == "chunked" and response.cut_at is None:
            self.wfile.write(b"0\r\n\r\n")

    def _send_part(self, part: memoryview, response: PortalResponse) -> None:
        speed = response.bytes_per_s
        step = PIECE_BYTES if speed is None else max(1, int(speed * DRIP_S))
        for start in range(0, len(part), step):
            piece = part[start : start + step]
            if response.framing == "chunked":
                self.wfile.write(b"%x\r\n" % len(piece))
            self.wfile.write(piece)
            if response.framing == "chunked":
                self.wfile.write(b"\r\n")
            self._n_sent += len(piece)
            if speed is not None:
                self.wfile.flush()
                self._wait(len(piece) / speed)

    def _wait(self, seconds: float) -> None:
        if seconds:
            self.server.is_stopping.wait(seconds)


def _last_values(query: str) -> dict[str, Any]:
    """Parameters of a query string; of a repeated one the last counts, but `ids` are all kept."""
    found = parse_qs(query, keep_blank_values=True)
    return {key: values if key == "ids" else values[-1] for key, values in found.items()}


@contextmanager
def serve(
    study: SyntheticStudy,
    faults: Sequence[Fault] = (),
    port: int = 0,
    *,
    log: Path | None = None,
    missing_needs_parent: bool = True,
) -> Iterator[ServerHandle]:
    """Serve a study on the loopback address until the block ends.

    Args:
        study: What to serve.
        faults: Scripted misbehaviour.
        port: TCP port; 0 for any free one.
        log: File to write every answered request to, one JSON object a line with the keys of `LoggedRequest`.
        missing_needs_parent: Whether `is MISSING` overlooks records that lack the whole group, as the GDC does.
    Raises:
        OSError: the port cannot be used, or the log cannot be written.
    """
    portal = Portal(study, missing_needs_parent)
    log_file = None if log is None else log.open("w", encoding="utf-8")
    try:
        server = _Server(portal, faults, port, log_file)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server.handle
        finally:
            server.shutdown()
            server.is_stopping.set()
            server.handle.wait_until_idle(LAST_WORDS_S)
            server.server_close()
            thread.join()
    finally:
        if log_file is not None:
            log_file.close()
