"""One look for every subcommand: help in panels with defaults and worked examples, by rich-click.

On a terminal the help has colours; elsewhere (a pipe, NO_COLOR, TERM=dumb) it is the same text without them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from rich_click import RichCommand, RichContext, RichHelpFormatter
from rich_click.rich_panel import RichOptionPanel

from bulkrnabert.cli._result import json_option

OTHER = "Other"
CONTEXT: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "show_default": True,
    "rich_help_config": {
        "theme": "default-slim",
        "max_width": 110,
        "text_markup": None,
        "text_paragraph_linebreaks": "\n\n",
        "padding_helptext_first_line": (0, 0, 1, 0),
        "commands_before_options": True,
        "style_helptext": "",
        "default_string": "\\[default: {}]",
        "options_panel_title": OTHER,
        "options_table_column_types": ["opt_all_metavar", "help"],
        "options_table_help_sections": ["help", "range", "required", "default"],
    },
}
_METAVARS = {"integer range": "N", "integer": "N", "float range": "NUMBER", "float": "NUMBER", "directory": "FOLDER"}

dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, write nothing, exit status 0.")
patience_option = click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    help="Seconds to wait for a server that does not answer; what was asked of it begins again when it is back.",
)


class WithExamples(RichCommand):
    """Ends its help with worked examples.

    Attributes:
        examples: What it does, to a command line that does it.
    """

    examples: Mapping[str, str] = {}

    def get_help(self, ctx: click.Context) -> str:
        """The help, without the blanks that panels are filled up with."""
        return "\n".join(line.rstrip() for line in super().get_help(ctx).splitlines())

    def format_epilog(  # type: ignore[override]
        self,
        ctx: RichContext,  # noqa: ARG002 - click's signature
        formatter: RichHelpFormatter,
    ) -> None:
        """Write the examples."""
        from rich.text import Text

        if not self.examples:
            return
        width = formatter.console.width - 4
        formatter.write(Text("Examples:", style=formatter.config.style_options_panel_title_style))
        for what, line in self.examples.items():
            formatter.write(Text(f"  # {what}", style="dim"))
            formatter.write(Text("\n".join(f"  {part}" for part in folded(line, width)), no_wrap=True))


class StageCommand(WithExamples):
    """A subcommand of `bulkrnabert`, as `stage` makes it."""


def stage(
    name: str,
    examples: Mapping[str, str],
    groups: Mapping[str, Sequence[str]] | None = None,
    has_json: bool = True,
) -> Callable[[Callable[..., Any]], StageCommand]:
    """Make a subcommand of a function, in place of `click.command`.

    Args:
        name: Of the subcommand.
        examples: What a worked example does, to its command line.
        groups: Title of a panel to the names of its parameters, in order; what is in none stands under `Other`.
            Without any, all options stand in one panel.
        has_json: Give it `--json`; it then ends with `finish`.
    """

    def decorate(function: Callable[..., Any]) -> StageCommand:
        command = click.command(name, cls=StageCommand, context_settings=CONTEXT)(
            json_option(function) if has_json else function
        )
        command.examples = examples
        options = [one.name or "" for one in command.params if isinstance(one, click.Option)]
        panels = groups or {"Options": [name for name in options if name != "as_json"]}
        command.panels = [RichOptionPanel(title, options=list(members)) for title, members in panels.items()]
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                _polish(parameter)
        return command

    return decorate


def _polish(option: click.Option) -> None:
    if option.metavar is None:
        option.metavar = _METAVARS.get(option.type.name)
    if "[default: " in (option.help or "") or option.default == "":
        option.show_default = False  # the help says it in words, or there is none


def folded(line: str, width: int) -> list[str]:
    r"""A command line in lines of at most `width` characters, broken before options, with `\` at the ends."""
    words = re.findall(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""", line)
    lines = [words[0]]
    for number, word in enumerate(words[1:], start=1):
        rest = " ".join(itertools.takewhile(lambda later: not later.startswith("-"), words[number + 1 :]))
        is_option = word.startswith("-")
        if is_option and len(lines[-1]) + len(word) + len(rest) + 4 > width:
            lines[-1] += " \\"
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    return lines
