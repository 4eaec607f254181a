"""How samples flow from the sources to the scores: boxes with counts, what leaves on the way at the side."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import PRIMARY_METRIC, CohortsSummary, ReportInputs, select
from bulkrnabert.report.drawing import Figure, open_svg
from bulkrnabert.report.text import format_count, join_names, name_of_rule, name_of_task

SOURCE_NAMES = {"gdc": "GDC", "gtex": "GTEx", "encode": "ENCODE"}
MAX_REASONS = 5
WIDTH, MAIN_WIDTH, GAP, SIDE_X = 520, 270, 22, 306
LINE, PAD, TITLE = 15, 10, 17
CHARACTERS = {MAIN_WIDTH: 46, WIDTH - SIDE_X - 4: 36, 250: 42}


@dataclass(frozen=True)
class Step:
    """One box: what it is, its number, further lines, and what leaves at its side (nothing: an empty list)."""

    title: str
    lines: list[str]
    leaving: list[str]


@dataclass(frozen=True)
class Flow:
    """Steps from top to bottom, and the tasks that stand side by side at the end."""

    steps: list[Step]
    tasks: list[Step]


def _sources(summary: CohortsSummary) -> str:
    names = [name.strip() for cohort in summary.cohorts for name in cohort.source.split(",") if name.strip()]
    portals = [SOURCE_NAMES[name] for name in dict.fromkeys(names) if name in SOURCE_NAMES]
    n_own = len({name for name in names if name not in SOURCE_NAMES})
    own = ["1 own file" if n_own == 1 else f"{n_own} own files"] if n_own else []
    return join_names([*portals, *own]) or "sources not recorded"


def _left_out(summary: CohortsSummary, small_cells: int) -> list[str]:
    by_rule: dict[str, int] = {}
    for item in summary.rejected:
        by_rule[item.rule] = by_rule.get(item.rule, 0) + item.n
    if not by_rule:
        return []
    ranked = sorted(by_rule.items(), key=lambda item: -item[1])
    n_shown = len(ranked) if len(ranked) == MAX_REASONS + 1 else MAX_REASONS
    lines = [f"{format_count(n, small_cells)}: {name_of_rule(rule)}" for rule, n in ranked[:n_shown]]
    others = sum(n for _, n in ranked[n_shown:])
    if others:
        lines.append(f"{format_count(others, small_cells)}: {len(ranked) - n_shown} other reasons")
    return [f"{format_count(sum(by_rule.values()), small_cells)} left out", *lines]


def _kept(summary: CohortsSummary, small_cells: int) -> Step:
    def count(n: int) -> str:
        return format_count(n, small_cells)

    n_patients = sum(cohort.n_patients for cohort in summary.cohorts)
    lines = [f"{count(n_patients)} patients, {len(summary.cohorts)} cohort{'s' * (len(summary.cohorts) != 1)}"]
    typed = [cohort for cohort in summary.cohorts if cohort.has_sample_types]
    if typed:
        n_tumor, n_normal = (sum(getattr(cohort, name) or 0 for cohort in typed) for name in ("n_tumor", "n_normal"))
        lines.append(f"{count(n_tumor)} tumour, {count(n_normal)} normal")
    if summary.pairs:
        parts = ("n_paired_samples", "n_rnaseq_only", "n_methylation_only")
        both, rnaseq, methylation = (sum(getattr(item, part) for item in summary.pairs) for part in parts)
        lines.append(f"{count(both)} with RNA-seq and methylation")
        lines.append(f"{count(rnaseq)} RNA-seq only, {count(methylation)} methylation only")
    return Step(f"{count(sum(cohort.n_samples for cohort in summary.cohorts))} samples kept", lines, [])


def _encoders(inputs: ReportInputs) -> list[Step]:
    if not inputs.encoders:
        return []
    sizes = [
        len(item.provenance["patient_hashes"]) for item in inputs.encoders if item.provenance.get("patient_hashes")
    ]
    names = list(dict.fromkeys(item.model_title for item in inputs.encoders))
    n = len(inputs.encoders)
    lines = [join_names(names)]
    if sizes:
        span = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
        lines.append(f"pretrained on {span} patients{' each' if n > 1 else ''}")
    return [Step(f"{n} encoder{'s' * (n != 1)}", lines, [])]


def _tasks(inputs: ReportInputs, label_column: str, small_cells: int) -> list[Step]:
    steps = []
    for task, metric in PRIMARY_METRIC.items():
        found = select(inputs.numbers, task, keys.PAN, [metric])
        if not found:
            continue
        sizes = found[0]
        lines = [f"{len({item.method for item in found})} methods, on the same patients"]
        leaving: list[str] = []
        if task == keys.SURVIVAL:
            lines.insert(0, f"{format_count(sizes.n_events, small_cells)} events")
            leaving = _without_follow_up(inputs, small_cells)
        name = name_of_task(task, label_column)
        steps.append(Step(f"{name}: {format_count(sizes.n_patients, small_cells)} patients", lines + leaving, []))
    return steps


def _without_follow_up(inputs: ReportInputs, small_cells: int) -> list[str]:
    used = [item for item in inputs.endpoints if item.used]
    n_out = sum(item.n_patients - item.n_usable for item in used)
    return [f"{format_count(n_out, small_cells)} without usable follow-up"] if n_out else []


def build_flow(inputs: ReportInputs, label_column: str, small_cells: int) -> Flow:
    """The boxes; every number is a sum over cohorts of what `preprocess` counted, or that of a score."""
    summary = inputs.summary
    n_rejected = sum(item.n for item in summary.rejected)
    by_modality = [part.n_samples for part in summary.modalities.values()]
    n_kept = sum(by_modality) if len(by_modality) > 1 else sum(cohort.n_samples for cohort in summary.cohorts)
    what = "profiles" if len(by_modality) > 1 else "samples"
    parts = [
        f"{format_count(part.n_samples, small_cells)} {keys.OMIC_TITLES.get(name, name)}"
        for name, part in sorted(summary.modalities.items(), reverse=True)
    ]
    kept = [f"kept: {join_names(parts)}"] if len(parts) > 1 else []
    first = Step(
        f"{format_count(n_kept + n_rejected, small_cells)} {what} examined",
        [_sources(summary), *kept],
        _left_out(summary, small_cells),
    )
    return Flow(
        [first, _kept(summary, small_cells), *_encoders(inputs)],
        _tasks(inputs, label_column, small_cells),
    )


def _wrapped(lines: Sequence[str], width: int) -> list[str]:
    return [part for line in lines for part in textwrap.wrap(line, CHARACTERS[width])]


def _box(x: int, y: int, width: int, lines: list[str], kind: str) -> tuple[str, int]:
    """A box and its height; the first line is its title."""
    title, *rest = lines
    shown = _wrapped(rest, width)
    height = 2 * PAD + TITLE + LINE * len(shown) - 4
    text = f'<text class="t" x="{x + PAD}" y="{y + PAD + 11}">{escape(title)}</text>'
    for number, line in enumerate(shown):
        text += f'<text x="{x + PAD}" y="{y + PAD + 11 + TITLE + LINE * number}">{escape(line)}</text>'
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>{text}', height


def _arrow(path: str, identifier: str) -> str:
    return f'<path class="a" d="{path}" marker-end="url(#{identifier}-head)"/>'


def draw_flow(flow: Flow, identifier: str) -> Figure:
    """The diagram, in the colours of the page."""
    parts: list[str] = []
    y, middle = 4, 4 + MAIN_WIDTH // 2
    for number, step in enumerate(flow.steps):
        box, height = _box(4, y, MAIN_WIDTH, [step.title, *step.lines], "b")
        side_height = 0
        if step.leaving:
            side, side_height = _box(SIDE_X, y, WIDTH - SIDE_X - 4, step.leaving, "s")
            parts += [side, _arrow(f"M{4 + MAIN_WIDTH} {y + height // 2}H{SIDE_X - 3}", identifier)]
        parts.append(box)
        bottom = y + height
        y = max(bottom, y + side_height - GAP) + GAP
        if number < len(flow.steps) - 1:
            parts.append(_arrow(f"M{middle} {bottom}V{y - 3}", identifier))
        elif flow.tasks:
            y = bottom + 2 * GAP
            parts += _branches(len(flow.tasks), middle, bottom, y, identifier)
    heights = [0]
    for number, task in enumerate(flow.tasks):
        box, height = _box(4 + 262 * number, y, 250, [task.title, *task.lines], "b k")
        parts.append(box)
        heights.append(height)
    words = [f"{step.title} ({'; '.join([*step.lines, *step.leaving])})" for step in (*flow.steps, *flow.tasks)]
    opening = open_svg(
        f'viewBox="0 0 {WIDTH} {y + max(heights) + 4}" class="flow"',
        identifier,
        f"Flow of samples: {', then '.join(words)}.",
    )
    head = (
        f'<defs><marker id="{identifier}-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path class="h" d="M0 0L8 4L0 8z"/></marker></defs>'
    )
    # Every text went through `escape`.
    return Figure(identifier, Markup(opening + head + "".join(parts) + "</svg>"), WIDTH)  # noqa: S704


def _branches(n_tasks: int, middle: int, top: int, bottom: int, identifier: str) -> list[str]:
    """From the last step to each task."""
    turn = top + (bottom - top) // 2
    return [
        _arrow(f"M{middle} {top}V{turn}H{4 + 262 * number + 125 if number else middle}V{bottom - 3}", identifier)
        for number in range(n_tasks)
    ]
