"""Print the tables of docs/results.md from results folders: `generate_results.py LEAK_FREE_FOLDER PAPER_FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

CLASS_METRICS = {"weighted_f1": "weighted F1", "macro_f1": "macro F1"}
SURVIVAL_METRICS = {"c_index_within_weighted": "C within cohorts", "c_index_pooled": "C pooled"}
REFERENCES = ("PCA + logistic regression", "PCA + Cox")
PRIMARY = ("macro_f1", "c_index_within_weighted")


def read(folder: Path, protocol: str) -> pd.DataFrame:
    """Numbers of one run: columns of results.csv, the interval as text, and the protocol."""
    numbers = pd.read_csv(folder / "results.csv")
    numbers = numbers[numbers["at_days"].isna() & numbers["value"].notna()]
    text = [
        f"{value:.3f} [{low:.3f}, {high:.3f}]"
        for value, low, high in zip(numbers["value"], numbers["low"], numbers["high"], strict=True)
    ]
    return numbers.assign(text=text, protocol=protocol)


def order(numbers: pd.DataFrame) -> list[str]:
    """Methods: the model's first, each group by its best value."""
    best = numbers.groupby(["role", "method"])["value"].max().reset_index()
    best["is_baseline"] = best["role"] != "model"
    return list(best.sort_values(["is_baseline", "value"], ascending=[True, False])["method"])


def table(numbers: pd.DataFrame, metrics: dict[str, str], title: str) -> list[str]:
    """A Markdown table: a row a method, a column a metric and protocol."""
    columns = [(metric, protocol) for protocol in numbers["protocol"].unique() for metric in metrics]
    head = [title, *(f"{metrics[metric]}, {protocol}" for metric, protocol in columns)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for method in order(numbers[numbers["metric"].isin(metrics)]):
        rows = numbers[numbers["method"] == method]
        own = dict(zip(zip(rows["metric"], rows["protocol"], strict=True), rows["text"], strict=True))
        lines.append("| " + " | ".join([method, *(own.get(column, "") for column in columns)]) + " |")
    return [*lines, ""]


def differences(folder: Path, protocol: str) -> list[str]:
    """Every method of the model against PCA with a linear head, with the interval of the paired difference."""
    lines = []
    for found in json.loads((folder / "numbers" / "metrics.json").read_text())["comparisons"]:
        if found["scope"] == "pan" and found["against"] in REFERENCES and found["metric"] in PRIMARY:
            lines.append(
                f"| {found['method']} against {found['against']}, {protocol} "
                f"| {found['difference']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}] | {found['holds']} |"
            )
    return lines


def main(folders: list[Path]) -> None:
    """Print all tables of one data set."""
    protocols = ["leak-free", "paper"][: len(folders)]
    numbers = pd.concat([read(folder, protocol) for folder, protocol in zip(folders, protocols, strict=True)])
    lines = table(
        numbers[(numbers["task"] == "cancer_type") & (numbers["scope"] == "pan")], CLASS_METRICS, "cancer type"
    )
    of_survival = numbers[numbers["task"] == "survival"]
    for scope in ["pan", *sorted(set(of_survival["scope"]) - {"pan"})]:
        own = of_survival[of_survival["scope"] == scope]
        metrics = SURVIVAL_METRICS if scope == "pan" else {"c_index_pooled": "C"}
        lines += table(own, metrics, f"survival, {'all cohorts' if scope == 'pan' else scope}")
    lines += ["| difference (macro F1; C within cohorts) | | |", "|---|---|---|"]
    for folder, protocol in zip(folders, protocols, strict=True):
        lines += differences(folder, protocol)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
