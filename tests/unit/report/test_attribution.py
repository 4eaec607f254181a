"""The part of the page that says which genes predictions rest on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from bulkrnabert.cli.report import command
from bulkrnabert.evaluate.findings import read_findings
from bulkrnabert.report.attribution import attribution_part

GROUP = {"n_samples": 20, "n_members": 5, "rank_correlation": 0.5, "top_overlap": 0.4}
FOUND = {
    "kind": "attribution",
    "method": "ig",
    "task": "cancer_type",
    "n_top": 50,
    "n_genes": 1200,
    "groups": [
        {**GROUP, "class": "A", "layer": None, "top": [f"<b>GENE{number}</b>" for number in range(50)]},
        {**GROUP, "class": "B", "layer": None, "top": ["KRT5"], "n_samples": 4, "top_overlap": None},
    ],
    "enrichment": [
        {"class": "A", "layer": "", "set": "HALLMARK", "n_in_top": 4, "n_expected": 1.46, "q_overlap": 0.02},
        {"class": "B", "layer": "", "set": "HALLMARK", "n_in_top": 1, "n_expected": 1.46, "q_overlap": None},
    ],
}


def test_first_genes_and_sets_without_small_groups(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text(json.dumps(FOUND))
    findings = read_findings([tmp_path / "found.json"])
    genes, sets = attribution_part(findings, "cohort", 5)["attribution_tables"]
    assert "1 groups of fewer than 5 samples are left out" in genes.caption
    assert [row[:3] for row in genes.rows] == [["A", "20", "0.400"]] and genes.rows[0][3].count("GENE") == 10
    assert sets.rows == [["A", "HALLMARK", "4", "1.5", "0.020"]]
    everything, _ = attribution_part(findings, "cohort", 0)["attribution_tables"]
    assert everything.rows[1] == ["B", "4", "–", "KRT5"]


def test_the_page_has_the_part_where_there_is_something(study: Any, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text(json.dumps(FOUND))
    for flags, has_part in (([], False), (["--findings", str(tmp_path / "found.json")], True)):
        arguments = [*study.report_arguments(tmp_path / "out"), *flags]
        result = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        assert ('id="attribution"' in page) == ('href="#attribution"' in page) == has_part
        assert "<b>GENE0</b>" not in page
