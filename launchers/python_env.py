"""The locked Python environment `.venv`, and the tools that make it."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Literal

from launchers.registry_settings import installer_environment, parse_pip_config
from launchers.steps import PYTHON_INDEX, CommandError, Runner, SetupError, explain, read_stamp, step, write_stamp

State = Literal["ready", "absent", "broken", "outdated", "package"]

UNFINISHED = {"state": "unfinished"}


def base_python() -> str:
    """The interpreter that environments are made from: never the one of an environment, which may be removed."""
    return str(getattr(sys, "_base_executable", sys.executable))


def sha256_of(path: Path) -> str:
    """SHA-256 of a small file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wanted_tools(root: Path) -> dict[str, str]:
    """The stamp that fitting tools carry."""
    return {
        "folder": str(root / ".launch" / "tools"),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "pins": sha256_of(root / "launchers" / "tools.txt"),
    }


def wanted_environment(root: Path) -> dict[str, str]:
    """The stamp that a fitting environment carries."""
    return {
        "folder": str(root / ".venv"),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "lock": sha256_of(root / "requirements.lock"),
        "project": sha256_of(root / "pyproject.toml"),
    }


def environment_state(root: Path) -> State:
    """What `.venv` needs.

    Returns:
        `ready`: nothing. `absent`: to be made. `broken`: half-made, moved or without its Python; to be
        removed and made.
        `outdated`: whole, but other packages than the lock's (or made by someone else); to be brought in line.
        `package`: only our own package is to be installed again.
    """
    venv = root / ".venv"
    if not venv.exists():
        return "absent"
    stamp, wanted = read_stamp(venv), wanted_environment(root)
    if stamp == wanted:
        return "ready" if (venv / "bin" / "python").exists() else "broken"
    if not (venv / "bin" / "python").exists() or stamp == UNFINISHED:
        return "broken"
    if stamp is None:
        return "outdated" if (venv / "lib" / f"python{wanted['python']}").is_dir() else "broken"
    if (stamp.get("folder"), stamp.get("python")) != (wanted["folder"], wanted["python"]):
        return "broken"
    return "package" if stamp.get("lock") == wanted["lock"] else "outdated"


def make_tools(root: Path, run: Runner) -> Path:
    """Install uv and the Maven resolver into `.launch/tools`, unless they are there.

    Returns:
        The `uv` program.
    Raises:
        SetupError: Python has neither venv nor pip, or the index is out of reach.
    """
    tools = root / ".launch" / "tools"
    pip = installer_environment(run.environ)
    if read_stamp(tools) != wanted_tools(root) or not (tools / "bin" / "python").exists():
        remove(tools)
        with step("installers (uv, Maven resolver; 20 MB)"):
            try:
                _make_tools(root, Runner(pip, run.lock))
            except CommandError as error:
                raise explain("the installers", PYTHON_INDEX, error) from None
        write_stamp(tools, wanted_tools(root))
    return tools / "bin" / "uv"


def _make_tools(root: Path, run: Runner) -> None:
    tools = root / ".launch" / "tools"
    has_ensurepip = importlib.util.find_spec("ensurepip") is not None
    has_pip = importlib.util.find_spec("pip") is not None
    if not has_ensurepip and not has_pip:
        raise SetupError(
            f"{base_python()} has neither `ensurepip` nor `pip`, so nothing can be installed with it. "
            "On Debian and Ubuntu: apt-get install python3-venv. Then run this again."
        )
    python = str(tools / "bin" / "python")
    if has_ensurepip:
        run(base_python(), "-m", "venv", tools)
        pip = [python, "-m", "pip"]
    else:
        run(base_python(), "-m", "venv", "--without-pip", tools)
        pip = [base_python(), "-m", "pip", "--python", python]
    run(*pip, "install", "--quiet", "--retries", "2", "--require-hashes", "-r", root / "launchers" / "tools.txt")


def index_runner(root: Path, run: Runner) -> Runner:
    """A runner for uv that knows pip's configuration files too."""
    try:
        listing = Runner(run.environ)(root / ".launch" / "tools" / "bin" / "python", "-m", "pip", "config", "list")
    except CommandError:
        listing = ""
    return Runner(installer_environment(run.environ, parse_pip_config(listing)), run.lock)


def make_environment(root: Path, uv: Path, run: Runner) -> None:
    """Make `.venv` fit `requirements.lock` and `pyproject.toml`, whatever state it is in.

    Raises:
        SetupError: the index is out of reach, or what it sent is not what is pinned.
    """
    state = environment_state(root)
    if state == "ready":
        return
    venv = root / ".venv"
    labels = {
        "absent": "Python environment .venv (3.5 GB to fetch if they are not in uv's cache)",
        "broken": "Python environment .venv again, as it was left unfinished or was moved",
        "outdated": "Python environment .venv, bringing it in line with requirements.lock",
        "package": "Python package, as pyproject.toml changed",
    }
    with step(labels[state]):
        try:
            if state == "broken":
                remove(venv)
            if state in {"absent", "broken"}:
                run(uv, "venv", "--quiet", "--no-project", "--python", base_python(), venv)
            pip, python = (uv, "pip"), ("--python", venv / "bin" / "python")
            pinned_builds = ("--build-constraints", root / "launchers" / "build.txt")
            if state != "package":
                write_stamp(venv, UNFINISHED)
                lock = root / "requirements.lock"
                run(*pip, "sync", *python, "--require-hashes", "--compile-bytecode", *pinned_builds, lock)
            run(*pip, "install", *python, "--no-deps", *pinned_builds, "--editable", root)
        except CommandError as error:
            raise explain("the Python environment .venv", PYTHON_INDEX, error) from None
        write_stamp(venv, wanted_environment(root))


def remove(folder: Path) -> None:
    """Remove a folder that this set-up made, or a link in its place."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
