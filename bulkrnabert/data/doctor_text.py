"""A diagnosis as text for a terminal: the verdict first, a line a check, and what to do."""

from __future__ import annotations

import textwrap

from bulkrnabert.data.doctor_findings import Check, Diagnosis, DriftPoint

WIDTH = 110
MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
BARS = "▁▂▃▄▅▆▇█"


def render(diagnosis: Diagnosis) -> str:
    """Text of a diagnosis; its first line is the verdict."""
    by_status = {status: [check for check in diagnosis.checks if check.status == status] for status in MARKS}
    counts = ", ".join(f"{len(found)} {status}" for status, found in by_status.items() if found)
    lines = [f"{diagnosis.verdict.upper()}  {diagnosis.table}: {counts}"]
    width = max((len(check.name) for check in diagnosis.checks), default=0)
    for check in diagnosis.checks:
        lines += _check(check, width)
    if diagnosis.scale is not None:
        evidence = "; ".join(f"{what} {how_much}" for what, how_much in diagnosis.scale.evidence)
        lines += _wrapped(f"{'':6}{'evidence':{width}}  ", evidence)
    if diagnosis.drift:
        lines += _drift(diagnosis.drift)
    return "\n".join(lines)


def _check(check: Check, width: int) -> list[str]:
    lines = _wrapped(f"{MARKS[check.status]}  {check.name:{width}}  ", check.found)
    if check.status != "ok":
        if check.expected:
            lines += _wrapped(f"{'':6}{'':{width}}  expected: ", check.expected)
        if check.cure:
            lines += _wrapped(f"{'':6}{'':{width}}  to do: ", check.cure)
    return lines


def _wrapped(start: str, text: str) -> list[str]:
    one_line = " ".join(text.split())
    return textwrap.wrap(
        one_line, WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False
    ) or [start.rstrip()]


def _drift(points: tuple[DriftPoint, ...]) -> list[str]:
    low = min(point.mean for point in points)
    span = max(1.0 - low, 1e-9)
    bars = "".join(BARS[round((point.mean - low) / span * (len(BARS) - 1))] for point in points)
    lines = ["", f"drift of the embedding when genes are missing (cosine to all genes, {points[0].n_samples} samples)"]
    lines.append(f"  {bars}  {points[0].missing_fraction:.0%} to {points[-1].missing_fraction:.0%} missing")
    lines.append("  missing    mean   5 %    95 %")
    lines += [
        f"  {point.missing_fraction:7.0%}  {point.mean:6.3f} {point.low:6.3f} {point.high:6.3f}" for point in points
    ]
    return lines
