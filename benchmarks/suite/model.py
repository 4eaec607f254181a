"""What a benchmark is made of: cases that run each in a process of its own, and claims about what they gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GIB = 2**30
NO_RESULT = "no_result"

Group = Literal["bulkrnabert", "mojo", "gexbert", "data", "pipeline", "gpu"]


@dataclass(frozen=True)
class Case:
    """One process.

    Attributes:
        name: Within its benchmark.
        script: In `benchmarks/`.
        arguments: Of the script.
        expected_s: Seconds on two quiet cores, start included; for the time left.
        limit_s: Seconds after which it is given up.
        is_memory_limited: Whether it may not take more memory than is free; off where a GPU's driver reserves
            addresses that it never uses.
        skip: Why it cannot be measured on this machine, known beforehand.
    """

    name: str
    script: str
    arguments: tuple[str, ...]
    expected_s: float
    limit_s: float = 600.0
    is_memory_limited: bool = True
    skip: str | None = None


@dataclass(frozen=True)
class Results:
    """What the cases of a benchmark gave.

    Attributes:
        cases: What each case printed; `{"no_result": reason}` where it came to no end.
    """

    cases: Mapping[str, Mapping[str, Any]]

    def get(self, name: str, quantity: str) -> float | None:
        """A number of a case; None where the case was not run, gave nothing, or says nothing of it."""
        value = self.cases.get(name, {}).get(quantity)
        return None if value is None else float(value)

    def ratio(self, upper: tuple[str, str], lower: tuple[str, str]) -> float | None:
        """One number over another, each given as (case, quantity); None where one is missing."""
        above, below = self.get(*upper), self.get(*lower)
        return None if above is None or not below else above / below

    def reason(self, name: str) -> str:
        """Why a case has no result."""
        return str(self.cases.get(name, {}).get(NO_RESULT, "not measured"))


@dataclass(frozen=True)
class Claim:
    """One line of the page.

    Attributes:
        text: What is claimed.
        goal: In words and numbers.
        measured: What was measured, in words and numbers.
        holds: None where it could not be measured.
    """

    text: str
    goal: str
    measured: str
    holds: bool | None

    @classmethod
    def at_least(cls, text: str, value: float | None, goal: float, unit: str = "x", digits: int = 1) -> Claim:
        """More is better."""
        return cls._of(text, value, goal, ("at least", unit, digits), lambda found: found >= goal)

    @classmethod
    def at_most(cls, text: str, value: float | None, goal: float, unit: str, digits: int = 2) -> Claim:
        """Less is better."""
        return cls._of(text, value, goal, ("at most", unit, digits), lambda found: found <= goal)

    @classmethod
    def _of(
        cls, text: str, value: float | None, goal: float, wording: tuple[str, str, int], holds: Callable[[float], bool]
    ) -> Claim:
        word, unit, digits = wording
        measured = "not measured" if value is None else f"{value:,.{digits}f} {unit}"
        return cls(text, f"{word} {goal:,g} {unit}", measured, None if value is None else holds(value))


@dataclass(frozen=True)
class Table:
    """Numbers of a benchmark as the page shows them."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Benchmark:
    """Cases that answer one question.

    Attributes:
        name: For `--only`, and of its record and plot.
        group: For `--only`.
        title: Heading on the page.
        about: What is compared with what, and how.
        stage: Subcommand whose code it measures; the record is out of date when that changes.
        files: Scripts in `benchmarks/` that it runs, for the same.
        cases: Its cases; True for the small sizes.
        claims: What the page says of them.
        tables: Numbers in full.
        plot: Draws into an empty figure; None: no plot.
        alt: What the plot shows, in words.
    """

    name: str
    group: Group
    title: str
    about: str
    stage: str
    files: tuple[str, ...]
    cases: Callable[[bool], list[Case]]
    claims: Callable[[Results], list[Claim]]
    tables: Callable[[Results], list[Table]]
    plot: Callable[[Results, Figure], None] | None = None
    alt: str = ""


def seconds(value: float | None) -> str:
    """Seconds in three digits, or a dash."""
    if value is None:
        return "–"
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def gibibytes(value: float | None) -> str:
    """Bytes as GiB, or a dash."""
    return "–" if value is None else f"{value / GIB:.2f} GiB"


def times(value: float | None) -> str:
    """A ratio, or a dash."""
    if value is None:
        return "–"
    return f"{value:.2f} x" if value < 10 else f"{value:.1f} x"


def gib_of(value: float | None) -> float | None:
    """Bytes as GiB."""
    return None if value is None else value / GIB
