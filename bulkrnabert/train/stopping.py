"""When a run stops before its last step: asked by a signal or by its launcher, or because its time runs out."""

from __future__ import annotations

import logging
import re
import signal
import time
from pathlib import Path
from typing import Final

from bulkrnabert.errors import ConfigError
from bulkrnabert.train.launch import STOP_FILE

logger = logging.getLogger(__name__)

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_MARGIN_SHARE: Final = 0.1
_LARGEST_MARGIN_S: Final = 300.0
_DURATION = re.compile(r"(?:(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>[0-5]?\d):)?(?P<seconds>\d+(?:\.\d+)?)")


def parse_duration(text: str) -> float:
    """Seconds of `SECONDS`, `HH:MM:SS` or `D-HH:MM:SS`.

    Raises:
        ConfigError: neither of them, or zero.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ConfigError(
            f"time limit {text!r}: expected seconds, HH:MM:SS or D-HH:MM:SS, for example 3600 or 01:00:00"
        )
    days, hours, minutes = (int(match[name] or 0) for name in ("days", "hours", "minutes"))
    seconds = ((days * 24 + hours) * 60 + minutes) * 60 + float(match["seconds"])
    if seconds <= 0:
        raise ConfigError(f"time limit {text!r}: expected more than 0 seconds")
    return seconds


class StopWatch:
    """Says after each step whether to stop.

    Args:
        time_limit_s: Seconds that the command may take, from `started`; None: no limit.
        started: Wall-clock time (`time.time()`) at which the command was started.
        launch_folder: Folder of the launcher that started this process, if one did.
    """

    def __init__(self, time_limit_s: float | None, started: float, launch_folder: Path | None = None) -> None:
        self._deadline = None
        if time_limit_s is not None:
            self._deadline = started + time_limit_s - min(_LARGEST_MARGIN_S, _MARGIN_SHARE * time_limit_s)
        self._launch_folder = launch_folder
        self._signal: signal.Signals | None = None
        self._last_call = time.time()
        self._longest_step_s = 0.0
        self.last_reason: str | None = None

    def install_signals(self) -> None:
        """Take SIGTERM, SIGUSR1 and SIGUSR2 as "checkpoint after this step and stop"."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._note_signal)

    def reason(self) -> str | None:
        """Why to stop now (also kept as `last_reason`), or None; call once a step.

        The margin before the time limit is a tenth of it, at most five minutes, and the longest step so far, so that a
        checkpoint and the end of the process fit in.
        """
        now = time.time()
        self._longest_step_s = max(self._longest_step_s, now - self._last_call)
        self._last_call = now
        self.last_reason = self._reason(now)
        return self.last_reason

    def _reason(self, now: float) -> str | None:
        if self._signal is not None:
            return f"received {self._signal.name}"
        if self._launch_folder is not None and (self._launch_folder / STOP_FILE).exists():
            return "received a signal"
        if self._deadline is not None and now + self._longest_step_s > self._deadline:
            return "the time limit is near"
        return None

    def _note_signal(self, number: int, _frame: object) -> None:
        self._signal = signal.Signals(number)
