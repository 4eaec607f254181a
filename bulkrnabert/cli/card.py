"""`bulkrnabert card`: the model card of a model, with the numbers of the run that made it, and its TRIPOD+AI list."""

from __future__ import annotations

from pathlib import Path

import click

from bulkrnabert import keys
from bulkrnabert.cli._look import stage
from bulkrnabert.cli._model_folder import model_folder
from bulkrnabert.cli._result import finish

EXAMPLES = {
    "Put the numbers of a run into the card of its encoder": (
        "bulkrnabert card --model results/encoders/r0f0 --results results"
    ),
    "A fine-tuned model: card and TRIPOD+AI list, into a folder": (
        "bulkrnabert card --model results/finetuned/survival.pan.ia3.pretrained/model --results results --out card"
    ),
}


@stage("card", EXAMPLES)
@model_folder
@click.option(
    "--results",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Results folder of the run that made it.  [default: the model's own records alone]",
)
@click.option(
    "--gpus",
    type=click.IntRange(min=0),
    default=0,
    help="GPUs that each task of a GPU stage had, as given to the run; the trace does not say it.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.  [default: the model's folder]"
)
def command(folder: Path, results: Path | None, gpus: int, out: Path | None) -> None:
    """Complete a model card from records: origin and release of the data, numbers with intervals, hours.

    Writes README.md (front matter that a model hub reads, with the numbers as model-index) and, for a fine-tuned model,
    TRIPOD+AI.md and TRIPOD+AI.csv: the items of the TRIPOD+AI statement (BMJ 2024;385:e078378) with what the records
    answer, what they answer partly, and what is left to the authors. What no record knows is said to be absent. Refused
    (exit status 2) where the run was made under other splits than the model, or from controlled data. Run again, it
    replaces what it wrote.
    """
    from bulkrnabert.downstream.published_form import TRIPOD_CSV, TRIPOD_MD, read_card
    from bulkrnabert.evaluate.run_card import completed_card, read_model_facts, read_records
    from bulkrnabert.evaluate.tripod import tripod_csv, tripod_markdown
    from bulkrnabert.provenance import atomic_path, require_writable

    out = out or folder
    require_writable(out / keys.MODEL_CARD)
    model = read_model_facts(folder)
    records = None if results is None else read_records(results, gpus)
    card = read_card(folder) if records is None else completed_card(model, records)
    texts = {keys.MODEL_CARD: card.text()}
    if model.is_finetuned:
        texts |= {TRIPOD_MD: tripod_markdown(model, records), TRIPOD_CSV: tripod_csv(model, records)}
    for name, text in texts.items():
        with atomic_path(out / name) as partial:
            partial.write_text(text, encoding="utf-8")
    finish(
        out,
        ", ".join(texts),
        f"bulkrnabert push --model {folder} --to OWNER/NAME --dry-run",
        files=[str(out / name) for name in texts],
    )
