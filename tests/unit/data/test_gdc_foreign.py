"""A portal with other habits than the stand-in's is served just as well; what the rules need is never done without."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import pytest

from bulkrnabert.data.sources.gdc import GdcClient
from bulkrnabert.data.sources.gdc_download import DownloadSummary, download
from bulkrnabert.data.sources.gdc_plan import file_path
from bulkrnabert.errors import PortalAnswerError, PortalError
from tests.unit.data.foreign_portal import BARCODES, CHOSEN, SUCCESSOR, ForeignPortal, Habits, foreign_portal

USUAL = asdict(Habits())
HTML = b"<html>maintenance</html>"


def fetch(portal: ForeignPortal, folder: Path) -> DownloadSummary:
    with GdcClient(portal.url, n_retries=3, backoff_s=0.01, idle_timeout_s=5.0) as client:
        return download(client, folder, ["TCGA-ZZ"], "rnaseq")


@pytest.mark.parametrize(
    "habits",
    [
        Habits(),
        Habits(unknown=("cases.samples.sample_type", "version", "data_release"), has_old_type=False),
        Habits(has_new_types=False),
        Habits(has_new_types=False, has_old_type=False),
        Habits(page_limit=2),
        Habits(has_warnings=False, quotes_sizes=True),
        Habits(is_chunked=True),
        Habits(breaks_after=700),
        Habits(breaks_after=700, is_chunked=True),
        Habits(nonsense=(200, HTML)),
        Habits(nonsense=(200, b"")),
        Habits(nonsense=(200, b'{"data": {"hits": [')),
        Habits(nonsense=(200, b'{"message": "internal error"}')),
        Habits(nonsense=(405, HTML)),
        Habits(moves=True),
    ],
    ids=lambda habits: str({name: value for name, value in asdict(habits).items() if value != USUAL[name]}),
)
def test_other_habits(tmp_path: Path, habits: Habits) -> None:
    with foreign_portal(habits) as portal:
        summary = fetch(portal, tmp_path)
        assert sorted(file.aliquot_id for file in summary.plan.files) == sorted(CHOSEN)
        assert {file.aliquot_id for file in summary.plan.rejected} == set(BARCODES) - set(CHOSEN)
        for file in summary.plan.files:
            assert file_path(tmp_path, file).read_bytes() == portal.bodies[file.file_id]
        portal.asked.clear()
        fetch(portal, tmp_path)
        assert not any("/data/" in path for path in portal.asked)


def test_what_is_done_without_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with foreign_portal(Habits()) as portal, caplog.at_level(logging.WARNING):
        fetch(portal, tmp_path)
        assert portal.asked.count("/api/files") == 2
    assert "/api/files: the portal does not know annotations.status; going on without" in caplog.text


@pytest.mark.parametrize("lost", ["cases.samples.preservation_method", "access", "annotations.classification"])
def test_what_the_rules_need_is_not_done_without(tmp_path: Path, lost: str) -> None:
    with (
        foreign_portal(Habits(unknown=(lost,))) as portal,
        pytest.raises(PortalAnswerError, match=rf"the portal warns .*{lost}.*; its fields have changed"),
    ):
        fetch(portal, tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_history_that_begins_with_the_newest(tmp_path: Path) -> None:
    message = f"answered 404 .superseded in data release 32.0, replaced by {SUCCESSOR}"
    with foreign_portal(Habits(gone=CHOSEN[0])) as portal, pytest.raises(PortalError, match=message):
        fetch(portal, tmp_path)


def test_a_portal_that_never_gets_on(tmp_path: Path) -> None:
    """The control: a file that breaks off before a twentieth of it has come is given up."""
    with (
        foreign_portal(Habits(breaks_after=50)) as portal,
        pytest.raises(PortalError, match="broke off after 200 bytes"),
    ):
        fetch(portal, tmp_path)
