"""Logging and progress for the command line: one line a decision, on standard error."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Never, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 300.0
_TIME = "%H:%M:%S"
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}, {rate_fmt}, {remaining} left"
_LINE_WITHOUT_END = "{desc}: {n_fmt} {unit}, {rate_fmt}"


def is_main_process() -> bool:
    """Whether this process is rank 0 of a distributed job, or not distributed at all."""
    return int(os.environ.get("RANK", "0")) == 0


def set_up_logging(verbose: bool = False) -> None:
    """Send the package's INFO lines (DEBUG with `verbose`) to standard error; warnings only on ranks above 0.

    Off a terminal and with `verbose` a line also has its level and module.
    """
    level = logging.DEBUG if verbose else logging.INFO
    if not is_main_process():
        level = logging.WARNING
    handler = _AboveBars(sys.stderr)
    long = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(_ForPeople() if shows_progress() and not verbose else logging.Formatter(long, _TIME))
    package = logging.getLogger("bulkrnabert")
    package.handlers = [handler]
    package.setLevel(level)
    package.propagate = False


def shows_progress() -> bool:
    """Whether a progress bar makes sense: standard error is a terminal and this is rank 0."""
    return sys.stderr.isatty() and is_main_process()


def progress(items: Iterable[Item], *, what: str, unit: str, total: int | None = None, initial: int = 0) -> tqdm[Item]:
    """Work through items, showing how far it is, with the rate and the time that is left.

    On a terminal a bar. Elsewhere no bar, but every five minutes a line of the log; so work that is over before leaves
    none. Nothing at all on ranks above 0.

    Args:
        items: What is worked through.
        what: What is done, as `embed`.
        unit: What is counted, as `sample`.
        total: How many there are; None for the length of `items`.
        initial: How many were done before.
    """
    from tqdm import tqdm

    has_end = total is not None or hasattr(items, "__len__")
    return tqdm(items, desc=what, unit=unit, total=total, initial=initial, **_manner(has_end))


def progress_bar(total: int, *, what: str, unit: str) -> tqdm[Never]:
    """As `progress`, for work that calls `update`."""
    from tqdm import tqdm

    return tqdm(desc=what, unit=unit, total=total, **_manner(has_end=True))


def _manner(has_end: bool) -> dict[str, Any]:
    common = {"leave": False, "disable": not is_main_process()}
    if shows_progress():
        return common
    return {
        **common,
        "file": _LogLines(),
        "bar_format": _LINE if has_end else _LINE_WITHOUT_END,
        "delay": SECONDS_BETWEEN_LINES,
        "mininterval": SECONDS_BETWEEN_LINES,
        "miniters": 1,
    }


class _LogLines:
    """Where tqdm writes to off a terminal: each of its lines becomes one of the log."""

    def write(self, text: str) -> None:
        line = text.strip()
        if line:
            logging.getLogger(__name__).info("%s", line)

    def flush(self) -> None:
        """Nothing is held back."""


class _AboveBars(logging.StreamHandler[Any]):
    """Writes lines above the progress bars that are on the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" not in sys.modules or not shows_progress():
            super().emit(record)
            return
        from tqdm import tqdm

        tqdm.write(self.format(record), file=self.stream)
        self.flush()


class _ForPeople(logging.Formatter):
    """Lines on a terminal: the time and the message; the level where it is more than information."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname}: "
        return f"{self.formatTime(record, _TIME)} {level}{super().format(record)}"


def hide_credentials(text: str) -> str:
    """`https://…@host` for `https://user:password@host`; other text unchanged."""
    return re.sub(r"://[^/\s]+@", "://…@", text)
