"""Code of the documentation: blocks of the pages, and the command lines in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<indent>\s*)```(?P<language>\w*)\s*$")
NOT_RUN = re.compile(r"^<!-- not run: (?P<reason>.+) -->$")
INLINE = re.compile(r"`(?P<code>(?:bulkrnabert|\./nextflow run) [^`]+)`")
ASSIGNMENT = re.compile(r"^\w+=")
OPERATORS = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"})
PLACEHOLDERS = ("…", "...", "$(")  # what a shell would fill in cannot be checked
# Pages of another convention: the README, and records and results, which keep the commands of their day.
RECORDS = ("README.md", "containers/README.md", "docs/decisions/", "docs/results", "docs/facility.md")
RECORDS += ("docs/retraining.md", "docs/benchmarks.md")


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Attributes:
        page: Path in the repository.
        line: Line of its first line of code, from 1.
        language: What stands behind the fence; empty where nothing does, or the block is indented.
        text: The code.
        not_run: Reason of the comment above it, if there is one.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: str | None = None

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A call of one of our programs.

    Attributes:
        where: Page and line.
        words: The program and its arguments.
        is_whole: Whether it is meant to be run as it stands: no `…` or `$(` in it, and not a fragment in a sentence.
    """

    where: str
    words: tuple[str, ...]
    is_whole: bool

    @property
    def program(self) -> str:
        return Path(self.words[0]).name


def pages(repository: Path) -> list[Path]:
    """Every page: the README, docs/ and what the site takes from elsewhere."""
    found = sorted((repository / "docs").rglob("*.md"))
    return [repository / "README.md", repository / "containers" / "README.md", *found]


def is_record(page: Path, repository: Path) -> bool:
    """Whether the command lines of a page are checked only, not run."""
    return str(page.relative_to(repository)).startswith(RECORDS)


def blocks(repository: Path, page: Path) -> list[Block]:
    """Fenced and indented code of a page, in its order."""
    found: list[Block] = []
    name = str(page.relative_to(repository))
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        fence = FENCE.match(lines[number])
        if fence is None:
            number = _indented(lines, number, name, found)
            continue
        above = NOT_RUN.match(lines[number - 1].strip()) if number else None
        end = next(at for at in range(number + 1, len(lines)) if lines[at].strip() == "```")
        text = "\n".join(line.removeprefix(fence["indent"]) for line in lines[number + 1 : end])
        found.append(Block(name, number + 2, fence["language"], text, above["reason"] if above else None))
        number = end + 1
    return found


def _indented(lines: list[str], number: int, name: str, found: list[Block]) -> int:
    """Take an indented block that begins here, if one does; where to go on."""
    is_code = lines[number].startswith("    ") and (number == 0 or not lines[number - 1].strip())
    if not is_code:
        return number + 1
    end = number
    while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
        end += 1
    found.append(Block(name, number + 1, "", "\n".join(line[4:] for line in lines[number:end])))
    return end


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations, each with its number in the text from 0; comments and empty lines left out."""
    pending, start = "", 0
    for number, line in enumerate(text.splitlines()):
        if not pending:
            start = number
        if line.rstrip().endswith("\\"):
            pending += line.rstrip()[:-1] + " "
            continue
        whole = (pending + line).strip()
        pending = ""
        if whole and not whole.startswith("#"):
            yield start, whole


def words_of(line: str) -> list[str]:
    """Words of a shell line without its comments; operators are words of their own."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&<>")
    lexer.wordchars += "…{}[]$:,+*%@!^"
    lexer.whitespace_split = True
    return list(lexer)


def commands_of_line(line: str, where: str, is_fragment: bool = False) -> Iterator[Command]:
    """Calls of `bulkrnabert` and `./nextflow` in a shell line."""
    try:
        words = words_of(line)
    except ValueError:
        return
    current: list[str] = []
    for word in [*words, ";"]:
        if word not in OPERATORS:
            current.append(word)
            continue
        while current and (ASSIGNMENT.match(current[0]) or current[0] == "nice"):
            current.pop(0)
        if current and _is_ours(current):
            is_whole = not is_fragment and not any(mark in text for mark in PLACEHOLDERS for text in current)
            yield Command(where, tuple(current), is_whole)
        current = []


def _is_ours(words: list[str]) -> bool:
    if Path(words[0]).name == "nextflow":
        return words[1:2] == ["run"]
    return words[0] == "bulkrnabert" and len(words) > 1


def commands(repository: Path) -> list[Command]:
    """Every call of our programs on any page, in blocks and in sentences."""
    found: list[Command] = []
    for page in pages(repository):
        page_blocks = blocks(repository, page)
        for block in page_blocks:
            for number, line in logical_lines(block.text):
                found += commands_of_line(line, f"{block.page}:{block.line + number}")
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
            for match in INLINE.finditer(line):
                code = match["code"].replace("\\|", "-or-")
                found += commands_of_line(code, f"{page.relative_to(repository)}:{number}", is_fragment=True)
    return found
