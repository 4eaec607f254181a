"""Whatever mix of passing faults strikes, every planned file arrives byte for byte, and never a wrong one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bulkrnabert.data.sources.gdc import GdcClient
from bulkrnabert.data.sources.gdc_download import download
from bulkrnabert.data.sources.gdc_faults import Fault
from bulkrnabert.data.sources.gdc_standin import serve
from bulkrnabert.data.synthetic import SyntheticStudy
from bulkrnabert.errors import PortalError

STUDY = SyntheticStudy.create(seed=2, cohorts=1, patients_per_cohort=5, genes=200, oddities=False)
BODIES = {file.file_id: STUDY.file_body(file.file_id) for file in STUDY.all_files.values()}
N_RETRIES = 12  # more than a mix of four faults can strike one file

kinds_of_fault = st.sampled_from(
    [
        *("status", "html_status", "retry_after", "html_200", "json_200", "empty_200", "close_before_headers"),
        *("truncate", "chunked_cut", "short_body", "reset", "corrupt", "gzip_encoding", "no_length", "file_changed"),
        *("ignore_range", "bad_content_range", "wrong_range_length", "bad_header_md5", "no_content_md5"),
    ]
)
faults_on_data = st.builds(
    lambda kind, at_bytes, each_path, nth, times: Fault(
        fault=kind, path="/data/", at_bytes=at_bytes, each_path=each_path, nth=nth, times=times, retry_after="0"
    ),
    kinds_of_fault,
    st.integers(0, 20_000),
    st.booleans(),
    st.integers(1, 3),
    st.integers(1, 2),
)


def files_under_final_names(folder: Path) -> dict[str, bytes]:
    """Bodies by file id."""
    paths = [path for path in folder.glob("*/*") if path.suffix == ".tsv" and path.parent.name in BODIES]
    return {path.parent.name: path.read_bytes() for path in paths}


@settings(max_examples=40)
@given(st.lists(faults_on_data, max_size=4), st.integers(1, 5))
def test_files_arrive_whole_under_any_mix_of_passing_faults(faults: list[Fault], n_workers: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            serve(STUDY, faults) as portal,
            GdcClient(portal.url, n_connections=n_workers, n_retries=N_RETRIES, backoff_s=0.0005) as client,
        ):
            plan = download(client, folder, STUDY.project_ids, "rnaseq").plan
            # An answer is whole for the client a moment before the server is done with it, hence one more a worker.
            assert portal.max_in_flight <= 2 * n_workers
            n_requests = len(portal.data_requests)
            download(client, folder, STUDY.project_ids, "rnaseq")
            assert len(portal.data_requests) == n_requests
        assert len(plan.files) == 5
        assert files_under_final_names(folder) == {file.file_id: BODIES[file.file_id] for file in plan.files}
        assert not [path for path in folder.rglob("*.part*") if path.is_file()]
        assert (folder / "manifest.tsv").is_file()


@settings(max_examples=20)
@given(kinds_of_fault, st.integers(0, 5_000))
def test_no_wrong_file_ever_has_its_final_name(kind: str, at_bytes: int) -> None:
    lasting = Fault.model_validate({"fault": kind, "path": "/data/", "at_bytes": at_bytes, "times": 0})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serve(STUDY, [lasting]) as portal, GdcClient(portal.url, n_retries=1, backoff_s=0.001) as client:
            try:
                download(client, folder, STUDY.project_ids, "rnaseq")
                has_failed = False
            except PortalError:
                has_failed = True
            harmless = {"ignore_range", "bad_content_range", "wrong_range_length", "bad_header_md5", "no_content_md5"}
            # What goes on where it broke off arrives in the end if the pieces are not too small.
            if kind not in {"truncate", "chunked_cut", "reset"}:
                assert has_failed != (kind in {*harmless, "no_length"})
        assert (folder / "manifest.tsv").is_file() != has_failed
        there = files_under_final_names(folder)
        assert there == {file_id: BODIES[file_id] for file_id in there}
        # The next run mends all of it, and goes on from the parts that are there.
        with serve(STUDY) as portal, GdcClient(portal.url) as client:
            download(client, folder, STUDY.project_ids, "rnaseq")
        assert len(files_under_final_names(folder)) == 5
