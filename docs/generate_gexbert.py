"""Print the tables of docs/results-gexbert.md: `generate_gexbert.py FILE [--plot SVG]`.

FILE is `panels.json` (tables by panel size, and the plot of the report) or `imputation.json` (tables by pattern).
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from bulkrnabert.evaluate.findings import Findings, Imputation, Panels, Value, read_findings
from bulkrnabert.report.drawing import VARIABLES
from bulkrnabert.report.gexbert import PATTERN_NAMES, gexbert_part

MARKS = {"ahead": "+", "level": "=", "behind": "-", None: ""}


def text_of(row: Value | None) -> str:
    """A number with its interval."""
    return "" if row is None or row.value is None else f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"


def panel_tables(found: Panels) -> list[str]:
    """Accuracy and macro F1, a row a method and a column a panel size; then the differences in both."""
    sizes = sorted({row.size for row in found.rows})
    methods = list(dict.fromkeys(row.method for row in found.rows))
    lines = []
    for metric, title in (("accuracy", "accuracy"), ("macro_f1", "macro F1")):
        lines += [
            f"| {title} | " + " | ".join(f"{size} genes" for size in sizes) + " |",
            "|---" * (len(sizes) + 1) + "|",
        ]
        for method in methods:
            own = {row.size: row for row in found.rows if (row.method, row.metric) == (method, metric)}
            lines.append(f"| {method} | " + " | ".join(text_of(own.get(size)) for size in sizes) + " |")
        for other in dict.fromkeys(row.against for row in found.comparisons):
            cells = []
            for size in sizes:
                row = next(
                    row for row in found.comparisons if (row.size, row.metric, row.against) == (size, metric, other)
                )
                p = "" if row.p_corrected is None else f", p {row.p_corrected:.2f}"
                cells.append(f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]{p}, {row.holds}")
            lines.append(f"| GexBERT minus {other} | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def imputation_tables(found: Imputation) -> list[str]:
    """RMSE, a row a method and a column a rate, each baseline with what the paired difference says of the model."""
    lines = []
    for pattern in dict.fromkeys(row.pattern for row in found.rows):
        rates = sorted({row.rate for row in found.rows if row.pattern == pattern})
        title = PATTERN_NAMES[pattern]
        lines += [f"| {title.capitalize()} | " + " | ".join(f"{rate:.0%}" for rate in rates) + " |"]
        lines += ["|---" * (len(rates) + 1) + "|"]
        rows = [row for row in found.rows if (row.pattern, row.metric) == (pattern, "rmse")]
        holds = {
            (row.against, row.rate): row.holds
            for row in found.comparisons
            if (row.pattern, row.metric) == (pattern, "rmse")
        }
        for method in dict.fromkeys(row.method for row in rows):
            own = {row.rate: row for row in rows if row.method == method}
            cells = [f"{text_of(own.get(rate))} {MARKS[holds.get((method, rate))]}".strip() for rate in rates]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        inside = {
            row.rate: row.value
            for row in found.calibration
            if (row.pattern, row.level, row.method) == (pattern, 0.95, "GexBERT")
        }
        if inside:
            cells = ["" if inside.get(rate) is None else f"{inside[rate]:.0%}" for rate in rates]
            lines.append("| true values inside GexBERT's 95 % interval | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def write_plot(findings: Findings, path: Path) -> None:
    """The report's plot over panel sizes, with its colours written out, which a page of its own style sheet has not."""
    (captioned,) = gexbert_part(findings)["panel_figures"]
    colours = {name: colour for colour, name in VARIABLES.items()}
    svg = re.sub(r"var\(--([a-z0-9]+)\)", lambda found: colours[found[1]], str(captioned.figure.svg))
    svg = svg.replace("<title", '<rect width="100%" height="100%" fill="#ffffff"/><title', 1)
    path.write_text(svg.replace("<svg ", '<svg font-family="DejaVu Sans, sans-serif" ', 1) + "\n", encoding="utf-8")


def main() -> None:
    """Print the tables of one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    findings = read_findings([options.file])
    if options.plot and not findings.of(Panels):
        parser.error(f"--plot is drawn from panels.json, which {options.file} is not")
    for item in findings.items:
        lines = panel_tables(item) if isinstance(item, Panels) else []
        lines += imputation_tables(item) if isinstance(item, Imputation) else []
        sys.stdout.write("\n".join(lines) + "\n")
    if options.plot:
        write_plot(findings, options.plot)


if __name__ == "__main__":
    main()
