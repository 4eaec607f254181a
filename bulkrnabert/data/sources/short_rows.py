"""Text on its way to a parser, watched for rows with too few cells: pandas fills those, and so hides a cut file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TextIO

from bulkrnabert.errors import DataError


class RowWatch(io.TextIOBase):
    """Hands a table on as it reads it, and remembers the first row that has fewer cells than the first.

    Rows without text are no rows. Separators in quotes part no cells; a row inside a quoted cell is not judged.

    Args:
        handle: Stands at the first row below the header.
        separator: A tab or a comma.
        n_titles: Titles of the header, those of columns that are not read as well.
        ends_in_separator: Whether the header does: then rows may end in one, or not.
        n_lines_above: Lines of the file above the rows.
    """

    def __init__(
        self, handle: TextIO, separator: str, n_titles: int, ends_in_separator: bool, n_lines_above: int
    ) -> None:
        self._handle = handle
        self._separator = separator
        self._n_titles = n_titles
        self._n_optional = int(ends_in_separator)
        self._line = n_lines_above
        self._begun: list[str] = []
        self._n_first = 0
        self._in_quotes = False
        self._short: tuple[int, int] | None = None

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int | None = -1, /) -> str:
        """The next characters, as they are."""
        text = self._handle.read(-1 if size is None else size)
        first, *lines = text.split("\n")
        self._begun.append(first)
        for line in lines:
            self._judge("".join(self._begun))
            self._begun = [line]
        if not text:
            self._judge("".join(self._begun))
            self._begun = []
        return text

    def _judge(self, line: str) -> None:
        self._line += 1
        parts = line.split('"')
        was_in_quotes = self._in_quotes
        self._in_quotes ^= len(parts) % 2 == 0
        if was_in_quotes or self._in_quotes or not line.strip():
            return
        n_cells = 1 + sum(part.count(self._separator) for part in parts[::2])
        self._n_first = self._n_first or n_cells
        if self._short is None and n_cells < self._n_first - self._n_optional:
            self._short = (self._line, n_cells)

    def refuse_short(self, path: Path) -> None:
        """Stop at the first row that was too short, if there has been one.

        Raises:
            DataError: names the row and its number of cells.
        """
        if self._short is None:
            return
        row, n_cells = self._short
        what = "the header" if self._n_first == self._n_titles else "the first row"
        raise DataError(
            f"{path}: row {row} has {n_cells} cells, {what} {self._n_first}: was the file cut off? Get it again, or"
            " give every row all of its cells, empty where a value is missing"
        )
