"""Every command has the one look: groups, defaults, worked examples that parse, plain text off a terminal."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bulkrnabert import cli
from bulkrnabert.cli import program
from bulkrnabert.cli._look import StageCommand, folded

CONTEXT = click.Context(program, info_name="bulkrnabert")
NAMES = program.list_commands(CONTEXT)
MANY = 12


def command_of(name: str) -> StageCommand:
    command = program.get_command(CONTEXT, name)
    assert isinstance(command, StageCommand), f"make `{name}` with cli/_look.py's `stage`"
    return command


def options_of(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option) and not one.hidden]


def parsed(line: str) -> tuple[StageCommand, dict[str, object]]:
    """The command of a line and the options that it gives; stops at unknown ones."""
    words = shlex.split(line)
    assert words[0] == "bulkrnabert"
    command = command_of(words[1])
    context = click.Context(command, info_name=words[1], parent=CONTEXT)
    given, rest, _ = command.make_parser(context).parse_args(words[2:])
    assert rest == [] or all(not word.startswith("-") for word in rest)
    for parameter in command.params:
        value = given.get(parameter.name or "")
        if isinstance(value, (str, tuple, list)) and not isinstance(parameter.type, click.Path):
            parameter.type_cast_value(context, value)
    return command, given


@pytest.mark.parametrize("name", NAMES)
def test_a_command_is_in_one_group(name: str) -> None:
    assert sum(name in names for names in cli.GROUPS.values()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_help_and_a_default_that_is_shown(name: str) -> None:
    context = click.Context(command_of(name), parent=CONTEXT, show_default=True)
    for option in options_of(command_of(name)):
        record = option.get_help_record(context)
        assert record is not None and option.help, f"{name} {option.opts[0]}: has no help"
        assert option.help == option.help.strip(), f"{name} {option.opts[0]}: {option.help!r}"
        default = option.get_default(context)
        has_default = isinstance(default, (str, int, float, tuple, list)) and default not in ("", (), [])
        if has_default and not option.is_flag and not option.required:
            assert "[default: " in record[1] or "; default: " in record[1], f"{name} {option.opts[0]}: {default!r}"


@pytest.mark.parametrize("name", NAMES)
def test_many_options_stand_in_panels(name: str) -> None:
    command = command_of(name)
    shown = [name for panel in command.panels for name in panel.objects]
    known = {one.name for one in options_of(command)} - {"as_json"}
    assert len(shown) == len(set(shown)) and set(shown) == known, set(shown) ^ known
    assert len(known) <= MANY or len(command.panels) > 1


@pytest.mark.parametrize("name", NAMES)
def test_examples_parse_and_give_what_is_required(name: str) -> None:
    examples = command_of(name).examples
    assert 1 <= len(examples) <= 3
    for line in examples.values():
        inner = re.search(r"bulkrnabert[^>)]*", line)
        assert inner is not None
        command, given = parsed(inner[0].strip())
        assert command.name == name
        missing = [one.opts[0] for one in options_of(command) if one.required and one.name not in given]
        assert not missing, f"{line}: lacks {missing}"


def test_the_check_of_examples_can_fail() -> None:
    with pytest.raises(click.NoSuchOption):
        parsed("bulkrnabert split --cohorts c --fold 5")
    with pytest.raises(click.BadParameter):
        parsed("bulkrnabert split --cohorts c --protocol leaky")


@pytest.mark.parametrize("name", ["", *NAMES])
@pytest.mark.parametrize("width", [80, 140])
def test_help_is_plain_text_off_a_terminal(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = CliRunner().invoke(program, [name, "--help"] if name else ["--help"])
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert not re.search("[\x1b\u2500-\u257f]", shown.output)
    assert "Examples:" in lines and lines[-1].startswith("  ")
    assert all(len(line) <= min(width, 110) and line == line.rstrip() for line in lines)


def test_a_folded_line_is_the_same_command() -> None:
    line = "bulkrnabert plan --preset small --genes 2048 --samples 500 --label 'a b  c' --json"
    broken = folded(line, 40)
    assert max(map(len, broken)) <= 40
    assert [part.endswith(" \\") for part in broken] == [True] * (len(broken) - 1) + [False]
    assert shlex.split(" ".join(part.removesuffix("\\") for part in broken)) == shlex.split(line)
    assert folded(line, 200) == [line]


def test_no_command_prints_by_itself() -> None:
    """Results go through `finish`, so that --json gives one document and nothing else."""
    allowed = {"__init__", "_result", "completion", "serve_gdc"}
    for path in sorted(Path(cli.__file__).parent.glob("*.py")):
        if path.stem not in allowed:
            assert "click.echo" not in path.read_text(encoding="utf-8"), path.name
