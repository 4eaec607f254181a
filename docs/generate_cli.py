"""Write docs/cli.md from the commands themselves; `--check` only says whether it is current."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import click

from bulkrnabert import cli

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "cli.md"
INTRODUCTION = """# Command line

Generated from the commands by `docs/generate_cli.py`; do not edit. `bulkrnabert COMMAND --help` says the same.

"""
LAYOUT = "\b"  # click's mark of a paragraph whose lines stay as they are


def render() -> str:
    """The page: the program, then a section for each subcommand."""
    parts = [INTRODUCTION, *_described(cli.program), *_index()]
    with click.Context(cli.program, info_name="bulkrnabert") as parent:
        for name in cli.STAGES:
            command = cli.program.get_command(parent, name)
            assert command is not None
            with click.Context(command, info_name=name, parent=parent) as context:
                parts += [f"\n## {name}\n", *_described(command), *_tables(command, context), *_examples(command)]
    return "".join(parts)


def _index() -> Iterator[str]:
    yield "| | |\n|---|---|\n"
    for title, names in cli.GROUPS.items():
        yield f"| {title} | {', '.join(f'[{name}](#{name})' for name in names)} |\n"


def _described(command: click.Command) -> Iterator[str]:
    for paragraph in (command.help or "").strip().split("\n\n"):
        if LAYOUT in paragraph:
            kept = dedent(paragraph.split(LAYOUT, 1)[1]).strip("\n")
            yield f"```text\n{kept}\n```\n\n"
        else:
            yield f"{_as_prose(' '.join(paragraph.split()))}\n\n"


def _tables(command: click.Command, context: click.Context) -> Iterator[str]:
    by_name = {one.name: one for one in command.params if isinstance(one, click.Option) and not one.hidden}
    for argument in command.params:
        if isinstance(argument, click.Argument):
            yield f"Argument: `{argument.make_metavar(context)}`\n\n"
    for panel in getattr(command, "panels", ()):
        options = [by_name.pop(name) for name in panel.options if name in by_name]
        yield from _table(panel.name, options, context)
    yield from _table("Other", list(by_name.values()), context)


def _table(title: str, options: list[click.Option], context: click.Context) -> Iterator[str]:
    if not options:
        return
    yield f"| {title} | |\n|---|---|\n"
    for option in options:
        record = option.get_help_record(context)
        assert record is not None
        names, meaning = record
        yield f"| `{_in_a_cell(names)}` | {_in_a_cell(_as_prose(' '.join(meaning.split())))} |\n"
    yield "\n"


def _examples(command: click.Command) -> Iterator[str]:
    for what, line in getattr(command, "examples", {}).items():
        yield f"{what}:\n<!-- not run: an example of the help -->\n```bash\n{line}\n```\n"


def _as_prose(text: str) -> str:
    """Text of a help page as Markdown: what looks like HTML or emphasis is none."""
    pieces = re.split(r"(`[^`]*`)", text)
    plain = re.compile(r"([*\[\]_])")
    return "".join(
        piece if piece.startswith("`") else plain.sub(r"\\\1", piece.replace("<", "&lt;").replace(">", "&gt;"))
        for piece in pieces
    )


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Write or check the page."""
    page = render()
    if "--check" in sys.argv[1:]:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page:
            return 0
        sys.stderr.write("docs/cli.md is not current: run python docs/generate_cli.py\n")
        return 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
