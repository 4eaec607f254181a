"""Help of a command with many options, in groups under titles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click


def grouped(groups: Mapping[str, Sequence[str]]) -> type[click.Command]:
    """A kind of command whose help shows its options under titles.

    Args:
        groups: Title to names of parameters, in order; what is in none stands under `Other` at the end.
    """

    class GroupedCommand(click.Command):
        """Writes each group of options under its title."""

        def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            """Write the options."""
            records = {
                parameter.name: record
                for parameter in self.get_params(ctx)
                if (record := parameter.get_help_record(ctx)) is not None
            }
            for title, names in groups.items():
                with formatter.section(title):
                    formatter.write_dl([records.pop(name) for name in names])
            with formatter.section("Other"):
                formatter.write_dl(list(records.values()))

    return GroupedCommand
