"""`--api`: the address of a portal, or a synthetic study that a stand-in serves meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EMBEDDED = "embedded:"


@contextmanager
def portal_address(api: str) -> Iterator[str]:
    """The address to ask; for `embedded:FILE` a stand-in that serves the study meanwhile."""
    if not api.startswith(EMBEDDED):
        yield api
        return
    from bulkrnabert.data.sources.gdc_standin import serve
    from bulkrnabert.data.synthetic import SyntheticStudy

    with serve(SyntheticStudy.from_json(Path(api.removeprefix(EMBEDDED)))) as handle:
        yield handle.url


def api_name(api: str) -> str:
    """How a plan names the portal: its address, or the study without its folder."""
    return f"{EMBEDDED}{Path(api.removeprefix(EMBEDDED)).name}" if api.startswith(EMBEDDED) else api
