"""Set up what a clone needs, then become Nextflow or pytest: `setup.py nextflow|test ARGUMENTS…`.

Called by the launchers `nextflow` and `test` at the root. When all is there this costs a few file reads. Set
BRB_SETUP_ONLY=1 to stop after the set-up.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from launchers import engine, python_env  # noqa: E402
from launchers.registry_settings import installer_environment  # noqa: E402
from launchers.steps import Runner, SetupError, only_one, say  # noqa: E402

NO_TELEMETRY = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
PYTEST = ("-m", "pytest", "-n", "2", "--dist", "loadfile", "-m", "not gpu and not slurm and not network")


def main(target: str, arguments: Sequence[str]) -> int:
    """Set up, then replace this process by the target.

    Args:
        target: `nextflow` or `test`.
        arguments: What the target gets.
    Returns:
        Exit code, where there is no target to become.
    """
    try:
        env, nextflow = prepare(ROOT, dict(os.environ))
    except SetupError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"the set-up of {ROOT} cannot go on: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next start goes on")
        return 130
    if env.get("BRB_SETUP_ONLY"):
        return 0
    if target == "nextflow":
        os.execve(nextflow.program, [str(nextflow.program), *arguments], env)  # noqa: S606
    python = str(ROOT / ".venv" / "bin" / "python")
    os.chdir(ROOT)
    env.setdefault("OMP_NUM_THREADS", "1")
    os.execve(python, [python, *PYTEST, *arguments], env)  # noqa: S606


def prepare(root: Path, environ: Mapping[str, str]) -> tuple[dict[str, str], engine.Nextflow]:
    """Set up what is missing.

    Args:
        root: The clone.
        environ: The user's environment. Not modified.
    Returns:
        Environment to run in, and the Nextflow to run.
    Raises:
        SetupError: it cannot be done.
    """
    nextflow = engine.find_nextflow(root, environ) or engine.pinned_nextflow(root)
    java = engine.find_java(root, environ, engine.NEWEST_JAVA if nextflow.is_pinned else None)
    if not is_complete(root, nextflow, java):
        set_up(root, environ, nextflow, java)
    env = engine.engine_environment(nextflow, java or engine.pinned_java(root), environ)
    if nextflow.is_pinned and environ.get("NXF_VER", engine.NEXTFLOW_VERSION) != engine.NEXTFLOW_VERSION:
        say(f"NXF_VER={environ['NXF_VER']} is not on PATH, so it is not followed; this is {engine.NEXTFLOW_VERSION}")
    venv = root / ".venv"
    env["VIRTUAL_ENV"] = str(venv)
    env["PATH"] = os.pathsep.join([str(venv / "bin"), str(nextflow.program.parent), environ.get("PATH", os.defpath)])
    return NO_TELEMETRY | env, nextflow


def is_complete(root: Path, nextflow: engine.Nextflow, java: Path | None) -> bool:
    """Whether there is nothing to set up."""
    return (
        python_env.environment_state(root) == "ready"
        and (not nextflow.is_pinned or engine.nextflow_is_ready(root))
        and (java is not None or engine.java_is_ready(root))
    )


def set_up(root: Path, environ: Mapping[str, str], nextflow: engine.Nextflow, java: Path | None) -> None:
    """Make what is missing, one launcher at a time; small things first, so that a closed network shows at once."""
    with only_one(root / ".launch") as lock:
        uv = python_env.make_tools(root, Runner(environ, lock))
        run = python_env.index_runner(root, Runner(installer_environment(environ), lock))
        if java is None:
            engine.make_java(root, uv, run)
        if nextflow.is_pinned:
            engine.make_nextflow(root, uv, run)
        python_env.make_environment(root, uv, run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
