"""How a command ends: one line that says where the result is and what to do next, or with --json one document."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bulkrnabert.logs import is_main_process

_KEY = "bulkrnabert.json"


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json`, which `finish` looks at; the command itself is not given it."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        help="Print the result to standard output as one JSON document; all else goes to standard error.",
    )(command)


def _remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[_KEY] = value


def finish(
    path: Path | None,
    what: str,
    following: str = "",
    *,
    text: str = "",
    document: Any = None,
    **facts: Any,
) -> None:
    """Say what came out: `PATH: what it is; next: what to do`, as the last line of a command on standard error.

    Args:
        path: What was written; None where nothing was.
        what: What it is, with counts.
        following: The next command, or what to do.
        text: Result for people, printed to standard output without --json.
        document: What --json prints.  Without it: command, out, what, next, and the facts.
        facts: Numbers and paths for --json.
    """
    if not is_main_process():
        return
    context = click.get_current_context()
    if context.meta.get(_KEY, False):
        if document is None:
            document = {
                "command": context.info_name,
                "out": None if path is None else str(path),
                "what": what,
                "next": following or None,
                **facts,
            }
        click.echo(json.dumps(document, indent=2, allow_nan=False, default=str))
    elif text:
        click.echo(text)
    place = "" if path is None else f"{path}: "
    after = f"; next: {following}" if following else ""
    assert context.command.callback is not None
    logging.getLogger(context.command.callback.__module__).info("%s%s%s", place, what, after)
