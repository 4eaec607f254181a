"""Every command line of the documentation is one that the programs understand: options, choices, parameters."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from bulkrnabert.cli import program
from tests.conftest import REPOSITORY
from tests.docs.blocks import Command, blocks, commands, commands_of_line, is_record, pages

COMMANDS = commands(REPOSITORY)
OF_BULKRNABERT = [command for command in COMMANDS if command.program == "bulkrnabert"]
OF_NEXTFLOW = [command for command in COMMANDS if command.program == "nextflow"]
NEXTFLOW_OPTIONS = {"-profile": 1, "-params-file": 1, "-work-dir": 1, "-c": 1, "-r": 1, "-resume": 0, "-stub": 0}
PLACEHOLDER = re.compile(r"^<?[A-Z][A-Z_.0-9]*>?$")


@cache
def parameters() -> dict[str, dict[str, Any]]:
    schema = json.loads((REPOSITORY / "nextflow_schema.json").read_text(encoding="utf-8"))
    return {name: prop for group in schema["$defs"].values() for name, prop in group["properties"].items()}


@cache
def profiles() -> frozenset[str]:
    config = (REPOSITORY / "nextflow.config").read_text(encoding="utf-8")
    body = config.split("\nprofiles {", 1)[1].split("\n}", 1)[0]
    return frozenset(re.findall(r"^    '?([\w-]+)'?\s*\{", body, re.MULTILINE))


def problems_of_bulkrnabert(command: Command) -> list[str]:
    """What click would refuse of a call, without looking at files; of a fragment only its options and choices."""
    words = list(command.words[1:])
    if words[0] == "--verbose":
        words.pop(0)
    if words[0] in ("--help", "--version", "-h", "COMMAND"):
        return []
    with click.Context(program) as parent:
        stage = program.get_command(parent, words[0])
        if stage is None:
            return [f"no subcommand {words[0]}"]
        if set(words[1:]) & {"--help", "-h"}:
            return []
        context = click.Context(stage, parent=parent, info_name=words[0])
        arguments = [word for word in words[1:] if word not in ("…", "...")]
        if not command.is_whole and arguments and arguments[-1].startswith("--"):
            arguments.append("VALUE")
        try:
            given, _, _ = stage.make_parser(context).parse_args(arguments)
        except click.UsageError as error:
            return [error.format_message()]
        found = []
        for parameter in stage.params:
            if parameter.name not in given:
                if parameter.required and command.is_whole:
                    found.append(f"needs {parameter.opts[0]}")
                continue
            found += _wrong_values(parameter, given[parameter.name], context)
        return found


def _wrong_values(parameter: click.Parameter, value: Any, context: click.Context) -> list[str]:
    if not isinstance(parameter.type, click.Choice | click.IntRange | click.FloatRange):
        return []
    found = []
    for one in value if isinstance(value, list | tuple) else [value]:
        if not isinstance(one, str) or "-or-" in one or PLACEHOLDER.match(one):
            continue
        try:
            parameter.type.convert(one, parameter, context)
        except click.UsageError as error:
            found.append(error.format_message())
    return found


def problems_of_nextflow(command: Command) -> list[str]:
    """What the pipeline would refuse of a call, without looking at files."""
    words, found = list(command.words[3:]), []
    while words:
        word = words.pop(0)
        if word in NEXTFLOW_OPTIONS:
            values = [words.pop(0) for _ in range(NEXTFLOW_OPTIONS[word])]
            if word == "-profile":
                found += [f"no profile {name}" for name in values[0].split(",") if name not in profiles()]
        elif word.startswith("--"):
            name, _, joined = word.removeprefix("--").partition("=")
            value = joined or (words.pop(0) if words and not words[0].startswith("-") else None)
            found += _wrong_parameter(name, value, command.is_whole)
        elif word not in ("…", "..."):
            found.append(f"{word!r} is no option")
    return found


def _wrong_parameter(name: str, value: str | None, is_whole: bool) -> list[str]:
    if name not in parameters():
        return [f"no parameter --{name}"]
    rule = {key: kept for key, kept in parameters()[name].items() if key in ("type", "enum", "pattern", "minimum")}
    if value is None:
        return [] if rule["type"] == "boolean" or not is_whole else [f"--{name} needs a value"]
    if PLACEHOLDER.match(value) or "-or-" in value or any(mark in value for mark in ("…", "$")):
        return []
    typed: Any = json.loads(value) if rule["type"] in ("integer", "number", "boolean") else value
    if rule["type"] == "integer" and "enum" in rule:
        rule["enum"] = [int(choice) for choice in rule["enum"]]
    return [f"--{name}: {error.message}" for error in jsonschema.Draft202012Validator(rule).iter_errors(typed)]


@pytest.mark.parametrize("command", OF_BULKRNABERT, ids=lambda command: f"{command.where} {command.words[1]}")
def test_bulkrnabert_understands(command: Command) -> None:
    assert problems_of_bulkrnabert(command) == [], " ".join(command.words)


@pytest.mark.parametrize("command", OF_NEXTFLOW, ids=lambda command: command.where)
def test_the_pipeline_understands(command: Command) -> None:
    assert problems_of_nextflow(command) == [], " ".join(command.words)


def test_there_are_commands_to_check() -> None:
    assert len(OF_BULKRNABERT) > 40 and len(OF_NEXTFLOW) > 10


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("bulkrnabert embedd --out x", "no subcommand embedd"),
        ("bulkrnabert split --cohort x --out y --no-such 1", "No such option"),
        ("bulkrnabert split --cohorts x", "needs --out"),
        ("bulkrnabert split --cohorts x --out y --protocol leaky", "'leaky' is not one of"),
        ("FOO=1 bulkrnabert split --cohorts x --out y && bulkrnabert synth --cohorts", "requires an argument"),
        ("./nextflow run . --fold 3", "no parameter --fold"),
        ("./nextflow run . -profile demo,dokcer", "no profile dokcer"),
        ("./nextflow run . --folds 1", "minimum"),
        ("./nextflow run . --protocol leaky", "is not one of"),
        ("./nextflow run . --outdir", "needs a value"),
    ],
)
def test_the_check_can_fail(line: str, problem: str) -> None:
    found = []
    for command in commands_of_line(line, "here"):
        check = problems_of_bulkrnabert if command.program == "bulkrnabert" else problems_of_nextflow
        found += check(command)
    assert any(problem in text for text in found), found


@pytest.mark.parametrize("page", pages(REPOSITORY), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_blocks_say_what_they_are(page: Path) -> None:
    """A block with a language is run, checked or shown; a bare one would be forgotten by every test."""
    if is_record(page, REPOSITORY):
        pytest.skip("a record: its command lines are checked, not run")
    bare = [block.name for block in blocks(REPOSITORY, page) if not block.language]
    assert bare == []
