"""An MLflow server as the documentation starts it, and a connection to it that loses answers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from bulkrnabert.evaluate import tracking


class Server:
    """The documented command on one port, killed without notice and started again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self._line = tracking.server_command(str(folder)).replace("--port 5000", f"--port {port}")

    def start(self) -> None:
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self._process = subprocess.Popen(["bash", "-c", self._line], env=environment, start_new_session=True)
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            try:
                if requests.get(f"{self.address}/health", timeout=5).ok:
                    return
            except requests.RequestException:
                time.sleep(0.5)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(60)


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The address of a server that is up."""
    server = Server(folder)
    server.start()
    try:
        yield server.address
    finally:
        server.kill()


@contextmanager
def losing_answers(upstream: str) -> Iterator[tuple[str, list[str]]]:
    """A connection on which everything arrives, but the first answer to each request that writes does not come back.

    Gives its address and the paths of those requests.
    """
    lost: list[str] = []
    seen: set[tuple[str, str, bytes]] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_given: Any) -> None:
            """Nothing: the server logs its own requests."""

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            sent = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = requests.request(self.command, upstream + self.path, data=body, headers=sent, timeout=60)
            request = (self.command, self.path, body)
            if self.command != "GET" and not self.path.endswith("/search") and request not in seen:
                seen.add(request)
                lost.append(self.path)
                self.close_connection = True
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward  # noqa: N815 - named by the standard library

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}", lost
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
