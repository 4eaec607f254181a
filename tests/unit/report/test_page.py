"""The page as a whole, through the command line."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from dataclasses import replace
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
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


def make(study: Any, out: Path, *more: str) -> str:
    result = CliRunner().invoke(command, [*study.report_arguments(out), *more], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return (out / "report.html").read_text(encoding="utf-8")


def edited(path: Path, out: Path, **more: Any) -> Path:
    """A copy of a JSON file with other values under some of its keys."""
    out.mkdir(parents=True, exist_ok=True)
    (out / path.name).write_text(json.dumps({**json.loads(path.read_text()), **more}))
    return out / path.name


def make_with(study: Any, folder: Path, params: dict[str, Any], cohort: dict[str, Any] | None = None) -> str:
    """The page of a run with these parameters, and these values in every cohort of its summary."""
    summary = json.loads(study.summary.read_text())
    cohorts = [{**item, **(cohort or {})} for item in summary["cohorts"]]
    changed = replace(
        study,
        run=edited(study.run, folder / "inputs", params=params),
        summary=edited(study.summary, folder / "inputs", cohorts=cohorts, rejected=[]),
    )
    return make(changed, folder / "report")


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
    wanted = [
        *("summary", "data", "training", "embedding", "classification", "survival", "skipped", "methods", "terms"),
        "run",
    ]
    assert [name for name in sections if name in wanted] == wanted


def test_every_figure_is_there_and_ids_are_unique(page: str) -> None:
    ids = outline(page).ids
    assert len(ids) == len(set(ids))
    figures = {name for name in ids if re.fullmatch(r"fig-[a-z]+(-[a-z]+)?(-\d+)?", name)}
    figures = {name for name in figures if not name.endswith(("-title", "-desc", "-head"))}
    assert figures == {
        "fig-flow", "fig-auc", "fig-classification-0", "fig-concordance-pan",
        "fig-concordance-each", "fig-concordance-cohorts", "fig-embedding",
        "fig-reliability-0", "fig-calibration-0",
        *(f"fig-survival-{index}" for index in range(5)), *(f"fig-training-{index}" for index in range(5)),
    }  # fmt: skip


def test_navigation_leads_somewhere(page: str) -> None:
    ids = outline(page).ids
    assert set(re.findall(r'<a [^>]*href="#([^"]+)"', page)) <= set(ids)


def test_the_headline_names_both_and_who_is_better(page: str) -> None:
    assert "The encoder is level with the best baseline: difference \u22120.011" in page
    assert "The encoder is ahead of the best baseline: difference +0.020 (95\u00a0% interval [+0.005, +0.035];" in page
    assert "0.968" in page
    assert "0.957" in page


def test_the_best_methods_confusions_come_first(page: str) -> None:
    words = " ".join(outline(page).words)
    order = [
        "Confusion matrices",
        "Embedding mlp, all cohorts",
        "Pca logistic, baseline, all",
        "other methods (1)",
        "Embedding logistic, all",
    ]
    words = words[words.index("Confusion matrices") :]
    places = [words.index(part) for part in order]
    assert places == sorted(places)


def test_pooled_concordance_comes_with_its_caution(page: str) -> None:
    assert "Read the pooled C with care." in page
    assert page.index('id="pooled-caution"') < page.index("Concordance by method, all cohorts")


def test_what_was_dropped_and_skipped_is_told(page: str) -> None:
    words = " ".join(outline(page).words)
    assert "further aliquot of a sample" in words
    assert "TCGA-02-01A" in words
    assert "7 events; at least 10 are needed <i>here</i>" in words
    assert "n/e, not estimable: 3 events" in words


def test_the_run_is_told_without_credentials(page: str) -> None:
    assert "curious_curie" in page
    assert "secret" not in page
    assert "cd results/mlflow &amp;&amp;" in page
    assert "5f" * 32 in page


def test_nothing_is_fetched_and_only_our_script_may_run(page: str) -> None:
    tags = outline(page).tags
    assert not {"iframe", "img", "object", "embed"} & set(tags)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(address.startswith(("#", "data:,")) for address in addresses)
    assert "@import" not in page
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == [f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"]
    assert not re.search(r"\b(fetch|XMLHttpRequest|import|eval|innerHTML|WebSocket)\b", script)


def test_hostile_names_are_text(hostile_page: str) -> None:
    parsed = outline(hostile_page)
    assert parsed.tags.count("script") == 2  # the data of the explorer, and ours
    assert "<script>alert(1)</script>" not in hostile_page
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
    assert [row["scope_cohort"] for row in rows] == [item.get("scope_cohort") or "" for item in metrics]
    with (hostile_folder / "results.csv").open(newline="") as handle:
        assert list(csv.DictReader(handle))[-1]["n_events"] == "<5"


def sections_of(folder: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in folder.glob("*_mqc.json")}


def test_multiqc_has_general_statistics_and_a_section_a_family(folder: Path) -> None:
    found = sections_of(folder)
    assert set(found) == {
        f"bulkrnabert{name}_mqc.json"
        for name in ("", "_left_out", "_classification", "_probabilities", "_concordance", "_time_dependent",
                     "_survival_probabilities", "_training")
    }  # fmt: skip
    assert len({section["id"] for section in found.values()}) == len(found)
    general = found["bulkrnabert_mqc.json"]
    assert general["plot_type"] == "generalstats"
    blca = {"samples": 400, "patients": 380, "events": 60, "left_out": 4, "c_model": 0.6, "c_baseline": 0.57}
    assert general["data"]["BLCA"] == blca
    assert [next(iter(header)) for header in general["pconfig"]] == [
        *("samples", "patients", "left_out", "events", "c_model", "c_baseline")
    ]
    table = found["bulkrnabert_classification_mqc.json"]
    assert table["plot_type"] == "table" and table["parent_id"] == "bulkrnabert"
    assert table["data"]["pan | pca_logistic"]["macro_f1"] == 0.968
    assert table["headers"]["macro_f1"]["max"] == 1
    concordance = found["bulkrnabert_concordance_mqc.json"]["data"]
    assert concordance["pan, in BLCA | pca_cox"] == {"c_index_cohort": 0.57}
    assert "c_index_cohort" not in concordance["pan | pca_cox"]
    assert "STAD | pca_cox" not in concordance
    probabilities = found["bulkrnabert_probabilities_mqc.json"]["headers"]
    assert "max" not in probabilities["log_loss"]
    assert probabilities["log_loss"]["description"] == "Lower is better."
    assert found["bulkrnabert_left_out_mqc.json"]["data"]["BRCA"] == {"further aliquot of a sample": 11}
    assert [step for step, _ in found["bulkrnabert_training_mqc.json"]["data"]["r0f0"]][:2] == [50, 100]


def test_multiqc_hides_small_counts(hostile_folder: Path) -> None:
    found = sections_of(hostile_folder)
    general = found["bulkrnabert_mqc.json"]["data"]
    assert "events" not in general["STAD"] and general["STAD"]["samples"] == 440
    assert "left_out" not in general["<script>alert(1)</script>"]
    assert list(found["bulkrnabert_left_out_mqc.json"]["data"]) == ["BRCA"]


def test_only_what_must_be_given(study: Any, tmp_path: Path) -> None:
    numbers = json.loads(study.metrics.read_text())
    lists = [name for name, value in numbers.items() if isinstance(value, list)]
    empty = {**numbers, **{name: [] for name in lists}, "projection": None}
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(empty))
    arguments = ["--metrics", str(path), "--summary", str(study.summary), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "No task over all cohorts was scored" in page
    assert "No encoder was trained in this run" in page
    parsed = outline(page)
    drawn = [name for name in parsed.ids if name.startswith(("comparisons", "probabilities", "term-", "fig-"))]
    assert {name for name in drawn if not name.startswith("fig-flow")} == set()
    assert "embedding" not in parsed.ids
    assert not {"Log loss", "Uno's C", "Brier score"} & set(parsed.words)


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


def test_genes_left_out_are_counted_once_over_sources(page: str) -> None:
    words = " ".join(outline(page).words)
    assert "856 left out" in words  # 812 and 44 in either source; the 4 summary rows are no genes
    assert page.count("_PAR_Y copy") == 1
    assert page.count("N_unmapped") == 1
    assert "N_ambiguous" not in page


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"pooling": "mean"}, "the mean embedding (over genes)"),
        ({"pooling": "marker"}, "the marker-pooled embedding (the mean over genes beside"),
        ({}, "the embedding"),
    ],
)
def test_the_pooling_is_the_runs(study: Any, tmp_path: Path, params: dict[str, str], words: str) -> None:
    page = make_with(study, tmp_path, params)
    assert f"predicted from {words}" in page


def test_another_label_is_named(study: Any, page: str, tmp_path: Path) -> None:
    other = make_with(study, tmp_path, {"label_column": "pam50_subtype"})
    parsed = outline(other)
    assert parsed.words.count("Classification: pam50 subtype") == 3  # contents, card, section
    assert "Classification: pam50 subtype: 1,900 patients" in " ".join(parsed.words)
    assert "<h1>Pam50 subtype and survival from bulk RNA-seq</h1>" in other
    assert "Pam50 subtype and survival were predicted" in other
    assert "Cancer type" not in " ".join(parsed.words)
    assert outline(page).words.count("Cancer type") == 3


def test_what_is_not_known_is_a_dash_and_nothing_left_out_is_zero(study: Any, page: str, tmp_path: Path) -> None:
    other = make_with(study, tmp_path, {}, {"n_tumor": 0, "n_normal": 0, "endpoint": "PFI"})
    assert "<dt>Left out</dt><dd>0<small>" in other
    assert "tumour or normal not stated" in other
    assert '<td class="num">400</td><td class="num">–</td><td class="num">–</td>' in other
    assert '<td class="num">400</td><td class="num">380</td><td class="num">20</td>' in page
    assert "<small>progressions or deaths</small>" in other
    assert "<small>deaths</small>" in page


def test_a_synthetic_study_says_so(study: Any, page: str, tmp_path: Path) -> None:
    name = {"cohort": "TCGA-SYNA"}
    assert 'id="synthetic"' in make_with(study, tmp_path / "made_up", {"gdc_api": "embedded"}, name)
    assert 'id="synthetic"' not in make_with(study, tmp_path / "other_portal", {"gdc_api": "https://x"}, name)
    assert 'id="synthetic"' not in page


def test_every_reference_is_cited(page: str) -> None:
    methods = page[page.index('id="methods"') : page.index("References</h3>")]
    assert re.findall(r"\[(\d)\]", methods) == ["1", "4", "2", "3", "5", "6"]
    references = page[page.index('<ol class="references"') : page.index('id="terms"')]
    assert references.count("<li>") == 6
    assert "values in tpm (other units converted)" in methods


def test_the_data_part_shows_genes_endpoints_pairs_and_diagnoses(study: Any, tmp_path: Path) -> None:
    genes = {"n_kept": 90, "sources": [{"source": "gtex", "n_genes": 120, "n_kept": 88, "n_missing": 2}]}
    pair = {"cohort": "A", "n_paired_samples": 7, "n_paired_patients": 7, "n_rnaseq_only": 3, "n_methylation_only": 1}
    more = {"modalities": {"rnaseq": {"unit": "tpm", "n_samples": 10, "genes": genes}}, "pairs": [pair]}
    arguments = study.report_arguments(tmp_path / "out")
    summary = edited(Path(arguments[arguments.index("--summary") + 1]), tmp_path / "in", **more)
    arguments[arguments.index("--summary") + 1] = str(summary)
    survival = tmp_path / "survival.tsv"
    survival.write_text(
        "cohort\tendpoint\tused\tn_patients\tn_usable\tn_events\tmedian_follow_up_days\texcluded\trecommendation\n"
        "A\tPFI\t1\t40\t31\t12\t365.4\tzero_time:9\tnot_recommended\n"
    )
    check = {"name": "coverage", "status": "fail", "found": "61 %", "expected": "80 %", "cure": "give <another> list"}
    point = {"missing_fraction": 0.3, "mean": 0.9, "low": 0.8, "high": 0.95, "n_samples": 5}
    doctor = tmp_path / "doctor.json"
    doctor.write_text(json.dumps([{"table": "own.tsv", "verdict": "no-go", "checks": [check], "drift": [point]}]))
    result = CliRunner().invoke(command, [*arguments, "--survival", str(survival), "--doctor", str(doctor)])
    assert result.exit_code == 0, result.output
    outline = Outline()
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    outline.feed(page)
    words = " ".join(" ".join(outline.words).split())
    assert {"endpoints", "pairs", "genes", "doctor", "fig-drift-0"} <= set(outline.ids)
    assert "gtex 120 88 32 2" in words
    assert "A PFI used 40 31 12 365 not recommended zero time (9)" in words
    assert "own.tsv : no-go" in words
    assert "give &lt;another&gt; list" in page


def test_new_parts_of_the_page(page: str, hostile_page: str) -> None:
    words = " ".join(" ".join(outline(page).words).split())
    assert "embedding mlp = level pca logistic best baseline \u22120.011 [\u22120.026, +0.004] 0.2 5" in words
    assert "embedding logistic ▼ behind" in words
    assert "embedding cox mlp ▲ ahead" in words
    assert "STAD 0.900 0.950 0.920 3" in words
    hidden = " ".join(" ".join(outline(hostile_page).words).split())
    assert "STAD – – – <5" in hidden
    assert "n/e, not estimable: <5 events; at least 10 are needed" in hidden
    assert "n/e, not estimable: fewer than 5 events before the time" in hidden


def test_the_paper_protocol_shows_the_spread_over_repeats(study: Any, page: str, tmp_path: Path) -> None:
    metrics = json.loads(study.metrics.read_text())["metrics"]
    repeated = [{**item, "n_repeats": 5, "sd_over_repeats": 0.0071} for item in metrics]
    tuned = {**repeated[0], "method": "IA3 fine-tuning", "value": 0.031}
    path = edited(study.metrics, tmp_path / "inputs", protocol="paper", metrics=[*repeated, tuned])
    shown = make(replace(study, metrics=path), tmp_path / "report")
    assert "] ±\u00a00.007 over repeats</small>" in shown
    assert '<span class="sd">±\u00a00.007</span>' in shown
    assert "under the paper protocol: the encoder was pretrained on all samples" in shown
    assert "<dd>paper<small>5 repeats</small></dd>" in shown
    assert "and by the encoder itself (IA3 fine-tuning), under" in shown
    assert "±" not in page[: page.index("<script>")]
    with (tmp_path / "report" / "results.csv").open(newline="") as handle:
        assert {(row["n_repeats"], row["sd_over_repeats"]) for row in csv.DictReader(handle)} == {("5", "0.0071")}
    table = sections_of(tmp_path / "report")["bulkrnabert_classification_mqc.json"]
    assert table["data"]["pan | pca_logistic"]["macro_f1_sd"] == 0.0071
    assert table["headers"]["macro_f1_sd"]["hidden"] is True
