"""The page as a whole, through the command line."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bulkrnabert.cli.report import command

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Outline(HTMLParser):
    """Collects tags, ids and visible text, and checks that elements nest."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def make(study: Any, out: Path, *more: str) -> str:
    result = CliRunner().invoke(command, [*study.report_arguments(out), *more], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return (out / "report.html").read_text(encoding="utf-8")


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def folder(study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    make(study, out)
    return out


@pytest.fixture(scope="module")
def hostile_folder(hostile_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hostile_report")
    make(hostile_study, out)
    return out


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hostile_page(hostile_folder: Path) -> str:
    return (hostile_folder / "report.html").read_text(encoding="utf-8")


def test_every_section_is_there_in_order(page: str) -> None:
    sections = [name for name in outline(page).ids if not name.startswith(("fig-", "verdict"))]
    wanted = ["summary", "data", "classification", "survival", "embedding", "training", "skipped", "methods", "run"]
    assert [name for name in sections if name in wanted] == wanted


def test_every_figure_is_there_and_ids_are_unique(page: str) -> None:
    ids = outline(page).ids
    assert len(ids) == len(set(ids))
    figures = {name for name in ids if re.fullmatch(r"fig-[a-z]+(-[a-z]+)?(-\d+)?", name)}
    assert figures == {
        "fig-verdict-0", "fig-verdict-1", "fig-classification-0",
        *(f"fig-confusion-{index}" for index in range(3)),
        "fig-concordance-pan", "fig-concordance-cohorts", "fig-embedding",
        *(f"fig-survival-{index}" for index in range(5)), *(f"fig-training-{index}" for index in range(5)),
    }  # fmt: skip


def test_navigation_leads_somewhere(page: str) -> None:
    ids = outline(page).ids
    assert set(re.findall(r'<a [^>]*href="#([^"]+)"', page)) <= set(ids)


def test_the_headline_names_both_and_who_is_better(page: str) -> None:
    assert "The baseline scores higher; their 95\u00a0% intervals overlap" in page
    assert "The encoder scores higher; their 95\u00a0% intervals overlap" in page
    assert "0.968" in page
    assert "0.957" in page


def test_the_best_methods_confusions_come_first(page: str) -> None:
    words = " ".join(outline(page).words)
    order = [
        "Embedding mlp, all cohorts.",
        "Pca logistic, baseline, all",
        "other methods (1)",
        "Embedding logistic, all",
    ]
    places = [words.index(part) for part in order]
    assert places == sorted(places)


def test_pooled_concordance_comes_with_its_caution(page: str) -> None:
    assert "Read the pooled C with care." in page
    assert page.index('id="pooled-caution"') < page.index("Concordance by method, all cohorts")


def test_what_was_dropped_and_skipped_is_told(page: str) -> None:
    words = " ".join(outline(page).words)
    assert "second aliquot" in words
    assert "TCGA-02-01A" in words
    assert "7 events; at least 10 are needed <i>here</i>" in words
    assert "n/e, not estimable: 3 events" in words


def test_the_run_is_told_without_credentials(page: str) -> None:
    assert "curious_curie" in page
    assert "secret" not in page
    assert "cd results/mlflow &amp;&amp;" in page
    assert "5f" * 32 in page


def test_nothing_is_fetched_and_no_script_runs(page: str) -> None:
    tags = outline(page).tags
    assert not {"script", "iframe", "img", "object", "embed"} & set(tags)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(address.startswith(("#", "data:,")) for address in addresses)
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_hostile_names_are_text(hostile_page: str) -> None:
    parsed = outline(hostile_page)
    assert "script" not in parsed.tags
    assert "<script>alert(1)</script>" in " ".join(parsed.words)
    assert "pca $x^2$ & <b>'logit\"</b>" in " ".join(parsed.words)


def test_local_data_hide_small_counts_and_samples(hostile_page: str, page: str) -> None:
    assert "&lt;5" in hostile_page
    assert "TCGA-02-01A" not in hostile_page
    assert "&lt;5" not in page


def test_small_cells_can_be_switched_off(hostile_study: Any, tmp_path: Path) -> None:
    shown = make(hostile_study, tmp_path, "--small-cells", "0")
    assert "&lt;5" not in shown
    assert "TCGA-02-01A" in shown


def test_the_page_is_deterministic(study: Any, page: str, tmp_path: Path) -> None:
    assert make(study, tmp_path) == page


def test_results_are_the_metrics(study: Any, folder: Path, hostile_folder: Path) -> None:
    with (folder / "results.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    metrics = json.loads(study.metrics.read_text())["metrics"]
    assert [row["value"] for row in rows] == ["" if item["value"] is None else str(item["value"]) for item in metrics]
    assert rows[-1]["n_events"] == "3"
    with (hostile_folder / "results.csv").open(newline="") as handle:
        assert list(csv.DictReader(handle))[-1]["n_events"] == "<5"


def test_multiqc_table(folder: Path) -> None:
    table = json.loads((folder / "bulkrnabert_mqc.json").read_text())
    assert table["plot_type"] == "table"
    assert table["data"]["cancer_type | pan | pca_logistic"]["macro_f1"] == 0.968
    assert "survival | STAD | pca_cox" not in table["data"]


def test_only_what_must_be_given(study: Any, tmp_path: Path) -> None:
    numbers = json.loads(study.metrics.read_text())
    empty = {**numbers, "metrics": [], "confusion": [], "kaplan_meier": [], "projection": None, "skipped": []}
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(empty))
    arguments = ["--metrics", str(path), "--summary", str(study.summary), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "No task over all cohorts was scored" in page
    assert "No encoder was trained in this run" in page
    outline(page)


def test_nothing_is_left_under_a_final_name_after_a_failure(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("no")

    monkeypatch.setattr("bulkrnabert.report.page.render_page", fail)
    with pytest.raises(RuntimeError):
        make(study, tmp_path)
    assert not (tmp_path / "report.html").exists()
    assert not list(tmp_path.glob(".*"))
