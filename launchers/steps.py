"""One line a step, one message an error, one set-up at a time."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PYTHON_INDEX = "the Python package index"
MAVEN_CENTRAL = "Maven Central"
STAMP = ".bulkrnabert-setup.json"

_MISMATCH = re.compile(r"hash mismatch|do not match the hashes|sha256 differs", re.IGNORECASE)
_DISK = re.compile(r"no space left|disk quota|os error 28\b|os error 122\b", re.IGNORECASE)
_NETWORK = re.compile(
    r"connect|dns|resolve host|name resolution|timed out|timeout|unreachable|proxy|certificate|\bssl|\btls|tunnel"
    r"|could not fetch|failed to fetch|failed to download|error sending request|no matching distribution|http error"
    r"|max retries|status code|not found in the package registry",
    re.IGNORECASE,
)
_CURES = {
    PYTHON_INDEX: """\
  behind a proxy:    export HTTPS_PROXY=http://proxy.example:3128
  a mirror:          export PIP_INDEX_URL=https://mirror.example/simple     (or UV_INDEX_URL)
  own certificates:  export PIP_CERT=/path/to/certificates.pem              (or SSL_CERT_FILE)""",
    MAVEN_CENTRAL: """\
  behind a proxy:    export HTTPS_PROXY=http://proxy.example:3128
  a mirror:          export BRB_MAVEN_URL=https://mirror.example/maven2
  own certificates:  export REQUESTS_CA_BUNDLE=/path/to/certificates.pem    (or SSL_CERT_FILE)
  or put a `nextflow` of 25.04 or later on PATH; it is used then.""",
}


class SetupError(Exception):
    """Set-up cannot go on: says what was tried, what came back and what to do."""


class CommandError(Exception):
    """A command of the set-up failed; `output` is all that it said."""

    def __init__(self, argv: Sequence[str], code: int, output: str) -> None:
        super().__init__(f"`{' '.join(argv)}` ended with {code}")
        self.output = output


def say(text: str) -> None:
    """Write one line for the user."""
    sys.stderr.write(f"bulkrnabert: {text}\n")
    sys.stderr.flush()


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step, and say how long it took when it is done."""
    start = time.monotonic()
    sys.stderr.write(f"bulkrnabert: {text} ... ")
    sys.stderr.flush()
    try:
        yield
    except BaseException:
        sys.stderr.write("failed\n")
        raise
    sys.stderr.write(f"{time.monotonic() - start:.0f} s\n")


class Runner:
    """Runs the commands of a set-up; they hold its lock too, so that an orphan of a killed launcher is waited for."""

    def __init__(self, environ: Mapping[str, str], lock: IO[str] | None = None) -> None:
        self.environ = dict(environ)
        self.lock = lock

    def __call__(self, *argv: str | Path) -> str:
        """Run a command to its end.

        Returns:
            Its standard output and error, together.
        Raises:
            CommandError: it ended with another code than 0.
        """
        words = [str(word) for word in argv]
        done = subprocess.run(
            words,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=() if self.lock is None else (self.lock.fileno(),),
            check=False,
        )
        if done.returncode != 0:
            raise CommandError(words, done.returncode, done.stdout)
        return done.stdout


def explain(what: str, registry: str, error: CommandError) -> SetupError:
    """The message for a step that needed a registry and failed.

    Args:
        what: What could not be made, as `the Python environment`.
        registry: PYTHON_INDEX or MAVEN_CENTRAL.
        error: The command and what it said.
    """
    said = re.sub(r"//[^/@\s]+@", "//***@", error.output).strip().splitlines()[-12:]
    if _MISMATCH.search(error.output):
        reason = (
            f"A file from {registry} is not the one that is pinned, so it was refused: a proxy or a mirror changed it, "
            "or it was tampered with. Try without the mirror; if it stays, report it."
        )
    elif _DISK.search(error.output):
        reason = (
            "The disk is full or a quota is reached. About 10 GB are needed for the clone and the package cache; "
            "UV_CACHE_DIR moves the cache elsewhere."
        )
    elif _NETWORK.search(error.output):
        name = f"{registry[0].upper()}{registry[1:]}"
        reason = f"{name} is out of reach. What may help, before the same command again:\n{_CURES[registry]}"
    else:
        reason = f"If {registry} is hard to reach from here, this may help:\n{_CURES[registry]}"
    quoted = "\n".join(f"    {line}" for line in said)
    return SetupError(f"{what} could not be made: {error}.\n  It said:\n{quoted}\n{reason}")


def read_stamp(folder: Path) -> dict[str, str] | None:
    """The stamp of a folder, or None where there is none that can be read."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) else None


def write_stamp(folder: Path, stamp: Mapping[str, str]) -> None:
    """Put a stamp on a folder, in one move."""
    partial = folder / f"{STAMP}.part"
    partial.write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / STAMP)


@contextmanager
def only_one(launch: Path) -> Iterator[IO[str]]:
    """Hold the lock of a clone's set-up, waiting for another launcher that has it.

    Args:
        launch: The clone's `.launch` folder; made if missing.
    Raises:
        SetupError: the folder cannot be written.
    """
    try:
        launch.mkdir(exist_ok=True)
        lock = (launch / "lock").open("a")
    except OSError as error:
        raise SetupError(
            f"the clone cannot be written ({error}), and its set-up is not complete: run it as its owner"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another launcher is setting up this clone; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            say(f"this file system has no locks ({error}): do not start two launchers at once until the set-up is done")
        yield lock
