"""`bulkrnabert promote`: champion or challenger."""

from __future__ import annotations

from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulkrnabert import keys
from bulkrnabert.cli._look import dry_run_option, patience_option, stage
from bulkrnabert.cli._result import finish
from bulkrnabert.errors import ConfigError, DataError, PortalError

if TYPE_CHECKING:
    from bulkrnabert.downstream.predictions import Predictions
    from bulkrnabert.evaluate.promotion import NewCohort

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
EXAMPLES = {
    "Does the new run take the place of the old one?": (
        "bulkrnabert promote --champion results.2024 --challenger results.2025 --cohorts results.2025/cohorts "
        "--out decision"
    ),
}
GROUPS = {
    "The runs": ("champions", "challengers", "cohorts", "changes"),
    "The rule": ("method", "margin", "bootstrap", "seed"),
    "MLflow": ("tracking_uri", "model_name", "patience"),
    "Output": ("out", "dry_run"),
}


@stage("promote", EXAMPLES, GROUPS)
@click.option(
    "--champion",
    "champions",
    type=_FOLDER,
    multiple=True,
    required=True,
    help="Folder of the run that serves now: every predictions*.parquet below it is read. Repeat.",
)
@click.option(
    "--challenger", "challengers", type=_FOLDER, multiple=True, required=True, help="The same of the new run."
)
@click.option(
    "--cohorts",
    type=_FOLDER,
    help="Folder that `preprocess` wrote for the new run: are the profiles of its new cohorts like the others'?  "
    "[default: not looked at]",
)
@click.option("--method", help="Method to compare, as in predictions.parquet.  [default: the champion's best]")
@click.option(
    "--margin",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="Largest loss that counts as none, in units of the metric (0 to 1); 0 wants a gain to be shown.",
)
@click.option("--bootstrap", type=click.IntRange(min=1), default=1000, show_default=True, help="Resamples of patients.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the resamples.")
@click.option(
    "--changes",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="CHANGES.md of `update`, which becomes a part of DECISION.md.",
)
@click.option(
    "--tracking-uri",
    help="MLflow whose registry follows: the challenger becomes a version, and the alias `champion` moves to it if it "
    "is promoted. Refused, before anything is written, where another model than --champion serves.  [default: none]",
)
@click.option(
    "--model-name", default="bulkrnabert", show_default=True, help="Name of the registered model in --tracking-uri."
)
@patience_option
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write to.")
@dry_run_option
def command(
    champions: tuple[Path, ...],
    challengers: tuple[Path, ...],
    cohorts: Path | None,
    method: str | None,
    margin: float,
    bootstrap: int,
    seed: int,
    changes: Path | None,
    tracking_uri: str | None,
    model_name: str,
    patience: float,
    out: Path,
    dry_run: bool,
) -> None:
    """Decide whether a challenger takes the champion's place; exit status 0 either way.

    Compares out-of-fold predictions on the patients that both predicted, in the same folds (`split --frozen`), with
    today's labels. Promoted only if the 95 % interval of the paired difference lies above minus the margin for the
    primary metric of every task over all cohorts (macro F1; Harrell's C within cohort; higher is better), and the
    held-out patients of new cohorts do not speak against it.

    Writes decision.json ("promote", "reason", the rule, every number) and DECISION.md.
    """
    from bulkrnabert.evaluate.promotion import Judgement, decide
    from bulkrnabert.evaluate.promotion_text import decision_values, write_decision
    from bulkrnabert.provenance import require_writable

    if not dry_run:
        require_writable(out / keys.DECISION_JSON)
    ours, theirs = _read(champions, "--champion"), _read(challengers, "--challenger")
    decision = decide(ours, theirs, Judgement(margin, bootstrap, seed, method), _profiles(cohorts, ours))
    text = f"{'promoted' if decision.promote else 'not promoted'}: {decision.reason}"
    document = decision_values(decision)
    if dry_run:
        following = "the same without --dry-run"
        finish(None, f"nothing was written; {text}", following, text=text, document=document)
        return
    from bulkrnabert.evaluate.champion import REGISTRY_JSON, follow_decision

    away = None if tracking_uri is None else _registry_away(tracking_uri, model_name, champions, challengers, patience)
    (out / REGISTRY_JSON).unlink(missing_ok=True)  # of an earlier decision
    write_decision(out, decision, "" if changes is None else changes.read_text(encoding="utf-8"))
    if away is not None:
        raise away
    if tracking_uri is not None:
        follow_decision(tracking_uri, model_name, champions, challengers, decision, out, patience)
    finish(
        out / keys.DECISION_MD,
        "the decision, and every number behind it",
        f"serve {challengers[0] if decision.promote else champions[0]}",
        text=text,
        document=document,
    )


def _registry_away(
    tracking_uri: str, name: str, champions: tuple[Path, ...], challengers: tuple[Path, ...], patience_s: float
) -> PortalError | None:
    """Why the registry does not answer; the decision does not depend on it. Raises where another model serves."""
    from bulkrnabert.evaluate.champion import require_judged_champion

    try:
        require_judged_champion(tracking_uri, name, champions, challengers, patience_s)
    except PortalError as error:
        return error
    return None


def _read(folders: tuple[Path, ...], option: str) -> list[Predictions]:
    from bulkrnabert.downstream.predictions import read_predictions

    # Nextflow stages links to folders, which glob follows and Path.rglob does not.
    pattern = f"**/{Path(keys.PREDICTIONS_PARQUET).stem}*.parquet"
    paths = [
        folder / name
        for folder in folders
        for name in sorted(glob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207
    ]
    if not paths:
        raise ConfigError(f"{option} {folders[0]}: no {keys.PREDICTIONS_PARQUET} below it; give the folder of a run")
    return [read_predictions(path) for path in paths]


def _profiles(cohorts: Path | None, champion: list[Predictions]) -> list[NewCohort]:
    from bulkrnabert.data.tables import modalities_of, read_cohorts, read_samples
    from bulkrnabert.evaluate.promotion_profiles import profile_findings

    if cohorts is None:
        return []
    known = {str(name) for item in champion for name in item.frame[keys.COHORT].unique()}
    names = {str(name) for name in read_samples(cohorts)[keys.COHORT].unique()}
    if not names & known:
        raise DataError(f"{cohorts}: has none of the champion's cohorts; give the cohorts of the new run")
    findings: list[NewCohort] = []
    for modality in modalities_of(cohorts):
        findings += profile_findings(read_cohorts(cohorts, modality), names - known)
    return findings
