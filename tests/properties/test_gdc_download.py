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

kinds_of_fault = st.sampled_from(
    ["status", "html_status", "retry_after", "html_200", "json_200", "empty_200", "truncate", "reset", "corrupt"]
)
faults_on_data = st.builds(
    lambda kind, at_bytes, each_path, nth, times: Fault(
        fault=kind, path="/data/", at_bytes=at_bytes, each_path=each_path, nth=nth, times=times
    ),
    kinds_of_fault,
    st.integers(0, 20_000),
    st.booleans(),
    st.integers(1, 3),
    st.integers(1, 2),
)


@settings(max_examples=20, deadline=None)
@given(st.lists(faults_on_data, max_size=3), st.integers(1, 5))
def test_files_arrive_whole_under_any_mix_of_passing_faults(faults: list[Fault], n_workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with serve(STUDY, faults) as portal, GdcClient(portal.url, n_retries=8, backoff_s=0.001) as client:
            plan = download(client, Path(folder), STUDY.project_ids, "rnaseq", n_workers=n_workers).plan
        assert len(plan.files) == 5
        for file in plan.files:
            assert (Path(folder) / file.file_id / file.file_name).read_bytes() == STUDY.file_body(file.file_id)


@settings(max_examples=15, deadline=None)
@given(kinds_of_fault, st.integers(0, 5_000))
def test_no_wrong_file_ever_has_its_final_name(kind: str, at_bytes: int) -> None:
    lasting = Fault.model_validate({"fault": kind, "path": "/data/", "at_bytes": at_bytes, "times": 0})
    with tempfile.TemporaryDirectory() as folder:
        with serve(STUDY, [lasting]) as portal, GdcClient(portal.url, n_retries=1, backoff_s=0.001) as client:
            try:
                download(client, Path(folder), STUDY.project_ids, "rnaseq")
                has_failed = False
            except PortalError:
                has_failed = True
        assert has_failed
        assert not (Path(folder) / "manifest.tsv").exists()
        assert not [path for path in Path(folder).glob("*/*") if path.is_file()]
