"""Fetch pinned jars from Maven Central, several at a time: `fetch_jars.py PINS FOLDER`.

Runs on the Python of `.launch/tools`, where the Maven resolver (jgo) and requests are; which repository is asked is the
resolver's default, or BRB_MAVEN_URL. Nothing is resolved: every jar is named and its SHA-256 known.
"""

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

N_AT_A_TIME = 8
N_TRIES = 3
TIMEOUT_S = 60


@dataclass(frozen=True)
class Jar:
    """A pinned jar.

    Attributes:
        group: As `io.nextflow`.
        artifact: As `nf-lang`.
        version: As `25.04.0`.
        sha256: In hex.
    """

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        """File name."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        """Where a Maven repository keeps it."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.name}"


def read_pins(text: str) -> list[Jar]:
    """Jars out of lines as `group:artifact:version sha256`; lines that begin with # are comments."""
    jars = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            coordinate, sha256 = line.split()
            group, artifact, version = coordinate.split(":")
            jars.append(Jar(group, artifact, version, sha256))
    return jars


def store(jar: Jar, content: bytes, folder: Path) -> None:
    """Write a jar under its name, after its hash was checked.

    Raises:
        ValueError: its SHA-256 is another one; nothing is written.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != jar.sha256:
        raise ValueError(f"{jar.name}: its sha256 differs from the pinned one: {found}, not {jar.sha256}")
    partial = folder / f"{jar.name}.part"
    partial.write_bytes(content)
    partial.replace(folder / jar.name)


def fetch(jar: Jar, repository: str, folder: Path) -> None:
    """Fetch one jar, trying a few times.

    Raises:
        requests.RequestException: it cannot be had.
        ValueError: what came is not what is pinned.
    """
    import requests

    for n_left in reversed(range(N_TRIES)):
        try:
            response = requests.get(f"{repository.rstrip('/')}/{jar.path}", timeout=TIMEOUT_S)
            response.raise_for_status()
        except requests.RequestException:
            if n_left == 0:
                raise
        else:
            store(jar, response.content, folder)
            return


def default_repository() -> str:
    """The Maven repository that the resolver asks when it is told nothing."""
    from jgo.constants import MAVEN_CENTRAL_URL  # type: ignore[import-not-found,unused-ignore]

    return str(MAVEN_CENTRAL_URL)


def main(pins: Path, folder: Path) -> int:
    """Fetch all jars; the exit code."""
    import requests

    repository = os.environ.get("BRB_MAVEN_URL") or default_repository()
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(N_AT_A_TIME) as pool:
        waiting = [pool.submit(fetch, jar, repository, folder) for jar in read_pins(pins.read_text(encoding="utf-8"))]
        try:
            for done in waiting:
                done.result()
        except (requests.RequestException, ValueError) as error:
            pool.shutdown(cancel_futures=True)
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
