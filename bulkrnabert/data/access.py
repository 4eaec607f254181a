"""Data-access classes, which travel with every artefact from the tables to the published model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

OPEN: Final = "open"
LOCAL: Final = "local"
CONTROLLED: Final = "controlled"
STRICTNESS: Final = (OPEN, LOCAL, CONTROLLED)
# Counts of patients from 1 to below this are shown as `<5` where the data are not open.
SMALL_CELL: Final = 5


def strictest(classes: Iterable[str]) -> str:
    """The strictest of some classes: an unknown one counts as `controlled`, none at all as `local`."""
    found = {name if name in STRICTNESS else CONTROLLED for name in classes}
    return max(found, key=STRICTNESS.index, default=LOCAL)


def strictest_stated(classes: Iterable[str | None]) -> str | None:
    """As `strictest`; None where any of them was not stated, unless another is `controlled`."""
    stated = list(classes)
    found = strictest(name for name in stated if name)
    return None if found != CONTROLLED and not all(stated) else found
