"""Errors that a user can act on, and the exit codes they map to."""

from __future__ import annotations

EXIT_OWN_FAULT = 1
EXIT_BAD_INPUT = 2
EXIT_RUN_ME_AGAIN = 75


class BulkRNABertError(Exception):
    """Base of every error raised on purpose.

    The message says what was found, where (file, row, sample, gene), what was expected and what to do.
    """

    exit_code: int = EXIT_BAD_INPUT


class ConfigError(BulkRNABertError):
    """A parameter, option or configuration file is wrong."""


class DataError(BulkRNABertError):
    """An input file or table is wrong: format, ids, units, values."""


class VocabularyError(DataError):
    """Gene identifiers do not fit: duplicates, too little coverage, two gene lists that differ."""


class PortalError(BulkRNABertError):
    """A portal answered nonsense, or planned files could not be fetched and verified."""

    exit_code = EXIT_OWN_FAULT


class PortalAnswerError(PortalError):
    """What answers at the given address is not the expected portal, or speaks another version of its language."""

    exit_code = EXIT_BAD_INPUT


class CheckpointError(BulkRNABertError):
    """A checkpoint folder is incomplete, hostile or does not fit the request."""


class TrainingError(BulkRNABertError):
    """Training cannot go on, for example because the loss is not finite."""

    exit_code = EXIT_OWN_FAULT


class RunMeAgain(BulkRNABertError):  # noqa: N818 - an outcome, not a fault
    """Work was checkpointed before the time limit; the same command goes on from there."""

    exit_code = EXIT_RUN_ME_AGAIN


MAX_PROBLEMS_LISTED = 30


def join_problems(title: str, problems: list[str]) -> str:
    """One message that lists every problem (the first 30 of very many), so that a user mends them in one go."""
    if len(problems) == 1:
        return f"{title}: {problems[0]}"
    lines = [f"  {number}. {problem}" for number, problem in enumerate(problems[:MAX_PROBLEMS_LISTED], start=1)]
    if len(problems) > MAX_PROBLEMS_LISTED:
        lines.append(f"  and {len(problems) - MAX_PROBLEMS_LISTED} more")
    return "\n".join([f"{title}: {len(problems)} problems", *lines])
