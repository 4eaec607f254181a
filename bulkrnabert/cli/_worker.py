"""The command line of the workers that a command starts through `torchrun`."""

from __future__ import annotations

import click


def worker_command(ctx: click.Context) -> list[str]:
    """The arguments of `bulkrnabert` that make a worker do what this command was asked for.

    Options that the command itself is not given (`--json`) are the launcher's alone.
    """
    arguments = ["--verbose"] if ctx.find_root().params.get("verbose") else []
    assert ctx.command.name is not None
    arguments.append(ctx.command.name)
    for parameter in ctx.command.params:
        value = ctx.params.get(parameter.name or "")
        if value is True:
            arguments.append(parameter.opts[0])
        elif value is not None and value is not False:
            values = value if isinstance(value, tuple) else (value,)
            arguments += [part for item in values for part in (parameter.opts[0], str(item))]
    return arguments
