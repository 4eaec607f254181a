"""Starting several processes of a command through `torchrun`, and getting its true outcome back.

`torchrun` reports every failure as 1 and does not end its workers when it is killed itself. So launcher and workers
share a temporary folder: the launcher holds a lock in it as long as it lives, and leaves a note there when it is told
to stop; the first worker leaves the outcome there. A worker that is killed leaves nothing; so each has a shell as its
parent, and the shell of the first that fails notes its status. What `torchrun` tells of its workers cannot be used for
that: those that it kills itself, because another one failed, are in its list too, and the order in time is not.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bulkrnabert.errors import EXIT_OWN_FAULT, BulkRNABertError, ConfigError, RunMeAgain, TrainingError
from bulkrnabert.logs import is_main_process
from bulkrnabert.provenance import write_json

logger = logging.getLogger(__name__)

STOP_FILE: Final = "stop"
_ALIVE_FILE: Final = "alive"
_OUTCOME_FILE: Final = "outcome.json"
_FAILURE_FILE: Final = "first_failure"
_ERRORS: Final = {kind.__name__: kind for kind in (RunMeAgain, TrainingError)}
_WATCH_S: Final = 0.5
_AFTER_OUTCOME_S: Final = 15.0
_SHELL_SIGNALED: Final = 128  # what a shell, and so every scheduler, adds to the number of a signal
# Signals go to the worker as well; the shell outlives it (a signal that is ignored would be ignored by the worker too).
# torchrun makes `$` of `$$`, so it is not used.
_WORKER_PARENT: Final = """\
trap : INT TERM USR1 USR2
note=$1
shift
"$@"
status=$?
[ "$status" = 0 ] || (set -C; echo "$status" > "$note") 2> /dev/null
exit "$status"
"""
_FORWARDED: Final = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class WorkerKilledError(TrainingError):
    """A signal ended a worker: the kernel's for its memory, the scheduler's, or that of a crash in compiled code.

    Args:
        number: The signal. The exit code is that of a process that it kills, which schedulers and Nextflow know.
    """

    def __init__(self, number: signal.Signals) -> None:
        self.exit_code = _SHELL_SIGNALED + number
        if number == signal.SIGKILL:
            what = (
                "was killed (SIGKILL), most likely because the memory of the machine or of the job was used up: give "
                "the job more memory, or make micro_batch_size or --processes smaller. The"
            )
        else:
            what = f"was ended by {number.name}; what it said itself is above. The"
        super().__init__(
            f"a training process {what} same command goes on from the last checkpoint, or starts over without one"
        )


def is_worker() -> bool:
    """Whether `torchrun` (or something like it) started this process."""
    return all(name in os.environ for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))


def launch(command: list[str], n_processes: int, environment: dict[str, str], launch_option: str) -> None:
    """Run `bulkrnabert COMMAND` on several processes of this machine and wait for it.

    Args:
        command: Arguments of the `bulkrnabert` program.
        n_processes: Processes to start.
        environment: Variables to set for them.
        launch_option: Option of the command that takes the shared folder.
    Raises:
        RunMeAgain: the workers checkpointed and stopped.
        WorkerKilledError: a signal ended a worker, or `torchrun` itself.
        TrainingError: the workers failed.
    """
    with tempfile.TemporaryDirectory(prefix="bulkrnabert-launch-") as name:
        folder = Path(name)
        with (folder / _ALIVE_FILE).open("w") as alive:
            fcntl.flock(alive, fcntl.LOCK_EX)
            # Without `--` torchrun would read our options that begin as its own do.
            arguments = [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--nproc-per-node", str(n_processes), "--no-python", "--"),
                *("sh", "-c", _WORKER_PARENT, "sh", str(folder / _FAILURE_FILE)),
                *(sys.executable, "-u", "-m", "bulkrnabert.cli", *command, launch_option, str(folder)),
            ]
            logger.info("starting %d processes through torchrun", n_processes)
            status = _run_and_forward_signals(arguments, _worker_environment(environment), folder)
        _raise_outcome(folder, status)


def report_outcome(folder: Path | None, work: Callable[[], None]) -> None:
    """Do a worker's work; errors that all workers agree on go to the launcher, and the worker ends quietly.

    Args:
        folder: The launcher's folder; None where no launcher of ours is there, and errors simply go on.
        work: What to do.
    """
    if folder is None:
        work()
        return
    try:
        work()
        outcome = {"error": None, "message": ""}
    except (RunMeAgain, TrainingError) as error:
        outcome = {"error": type(error).__name__, "message": str(error)}
    except BulkRNABertError as error:
        if is_main_process():
            write_json(folder / _OUTCOME_FILE, {"error": type(error).__name__, "message": str(error)})
        raise
    if is_main_process():
        write_json(folder / _OUTCOME_FILE, outcome)


def end_with_launcher(folder: Path | None) -> None:
    """End this worker at once when its launcher or its parent is gone, as if it had been killed too.

    Without it, a worker whose launcher was killed would go on for ever, and write beside the next attempt. A worker is
    also ended, in peace, some time after the outcome is known: it may wait for a first worker that never comes, because
    that one found the state in use, and would do so for half an hour.

    Args:
        folder: The launcher's folder; None where `torchrun` was started by somebody else.
    """
    parent = os.getppid()

    def watch() -> None:
        n_since_outcome = 0
        while os.getppid() == parent and not (folder is not None and _launcher_is_gone(folder)):
            time.sleep(_WATCH_S)
            if folder is not None and (folder / _OUTCOME_FILE).is_file():
                n_since_outcome += 1
                if n_since_outcome * _WATCH_S >= _AFTER_OUTCOME_S:
                    os._exit(0)
        os._exit(EXIT_OWN_FAULT)

    threading.Thread(target=watch, daemon=True, name="launcher-watch").start()


def _launcher_is_gone(folder: Path) -> bool:
    try:
        with (folder / _ALIVE_FILE).open("r") as alive:
            fcntl.flock(alive, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _worker_environment(extra: dict[str, str]) -> dict[str, str]:
    # DeepSpeed looks for ninja on PATH; the environment's own folder is not there when its Python was called directly.
    scripts = str(Path(sys.executable).parent)
    path = os.pathsep.join([scripts, os.environ.get("PATH", "")])
    return {**os.environ, **extra, "PATH": path}


def _run_and_forward_signals(arguments: list[str], environment: dict[str, str], folder: Path) -> int:
    before = {number: signal.getsignal(number) for number in _FORWARDED}
    try:
        for number in _FORWARDED:
            signal.signal(number, lambda _number, _frame: (folder / STOP_FILE).touch())
        with subprocess.Popen(arguments, env=environment) as process:
            return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise_outcome(folder: Path, status: int) -> None:
    path = folder / _OUTCOME_FILE
    outcome = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    if outcome is not None and outcome["error"] is not None:
        raise _ERRORS.get(outcome["error"], ConfigError)(outcome["message"])
    if status == 0 and outcome is not None:
        return
    number = _killed_by(folder, status)
    if number is not None:
        raise WorkerKilledError(number)
    if outcome is None:
        raise TrainingError(
            f"a training process ended with status {status} and left no result; its own message is above. Run the same "
            "command again to go on from the last checkpoint"
        )
    raise TrainingError(f"training was done, but a process ended with status {status}; its own message is above")


def _killed_by(folder: Path, status: int) -> signal.Signals | None:
    """The signal that ended the first worker that failed, or else `torchrun`; None where none did."""
    path = folder / _FAILURE_FILE
    noted = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    number = int(noted) - _SHELL_SIGNALED if noted.isdecimal() else -status
    return signal.Signals(number) if number in set(signal.Signals) else None


def launch_time(folder: Path | None) -> float:
    """Wall-clock time at which the command was started: by the launcher, or now."""
    return time.time() if folder is None else (folder / _ALIVE_FILE).stat().st_mtime
