"""Logging for the command line: one line a decision, on standard error."""

from __future__ import annotations

import logging
import os
import re
import sys


def is_main_process() -> bool:
    """Whether this process is rank 0 of a distributed job, or not distributed at all."""
    return int(os.environ.get("RANK", "0")) == 0


def set_up_logging(verbose: bool = False) -> None:
    """Send the package's INFO lines (DEBUG with `verbose`) to standard error; warnings only on ranks above 0."""
    level = logging.DEBUG if verbose else logging.INFO
    if not is_main_process():
        level = logging.WARNING
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    package = logging.getLogger("bulkrnabert")
    package.handlers = [handler]
    package.setLevel(level)
    package.propagate = False


def shows_progress() -> bool:
    """Whether a progress bar makes sense: standard error is a terminal and this is rank 0."""
    return sys.stderr.isatty() and is_main_process()


def hide_credentials(text: str) -> str:
    """`https://…@host` for `https://user:password@host`; other text unchanged."""
    return re.sub(r"://[^/@\s]+@", "://…@", text)
