"""`bulkrnabert predict`: a fine-tuned model on a new table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulkrnabert import keys
from bulkrnabert.cli._device import device_option
from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish
from bulkrnabert.cli._tables import table_files, table_options
from bulkrnabert.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from bulkrnabert.downstream.finetuned_folder import FinetunedModel
    from bulkrnabert.evaluate.labelled import Score

logger = logging.getLogger(__name__)

EXAMPLES = {
    "New samples": "bulkrnabert predict --model finetuned/model --table tpm.tsv --unit tpm --out predictions.tsv",
    "New patients whose labels are known: how good is it?": (
        "bulkrnabert predict --model finetuned/model --table tpm.tsv --unit tpm --labels clinical.tsv --out "
        "predictions.parquet --json"
    ),
}
GROUPS = {
    "The model and the samples": (
        *("model_folder", "revision", "table", "unit", "file_format", "methylation", "methylation_unit"),
    ),
    "Survival": ("cohort",),
    "How good it is": ("labels", "label_column", "endpoint"),
    "Output": ("out", "device"),
}


@stage("predict", EXAMPLES, GROUPS)
@click.option(
    "--model",
    "model_folder",
    required=True,
    metavar="FOLDER|ID",
    help="Folder of a fine-tuned model: the `model` folder that `finetune` wrote; or its id on the hub, as owner/name.",
)
@click.option("--revision", help="Commit, tag or branch of a model on the hub; a commit gives the same files always.")
@table_options
@click.option(
    "--cohort",
    help="Cohort whose baseline hazard the samples share; for survival.  [default: all training samples together]",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Clinical table (TSV or CSV; sample_id or patient_id, labels, time_days, event or OS, OS.time): prints how "
    "good the predictions are.",
)
@click.option("--label-column", help="Class column of --labels.  [default: the one that the model was trained on]")
@click.option(
    "--endpoint",
    type=click.Choice(["OS", "PFI", "DSS", "DFI"]),
    default="OS",
    show_default=True,
    help="Survival endpoint of --labels.",
)
@device_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write: .parquet (with provenance), .tsv, .csv or .h5ad.",
)
def command(
    model_folder: str,
    revision: str | None,
    table: Path | None,
    unit: str | None,
    file_format: str | None,
    methylation: Path | None,
    methylation_unit: str | None,
    cohort: str | None,
    labels: Path | None,
    label_column: str | None,
    endpoint: str,
    device: str,
    out: Path,
) -> None:
    """Predict the samples of a table with a fine-tuned model.

    Genes are matched by id, in any order, with or without Ensembl versions; at least half of the model's genes must be
    there, the rest is fed as missing; of a model of a gene panel, half of the panel. The model's members, one a fold,
    are averaged. A model of RNA-seq and methylation (mojo) takes either or both.

    Writes a row a sample: sample_id; for classes predicted, confidence (0 to 1), confidence_spread and a column
    probability_<class> each; for survival risk (log of the cumulative hazard, higher is worse), risk_spread and
    survival_1y, _3y, _5y (probability of no event by then); missing_share (share of the model's genes that the sample
    lacks). Spreads are standard deviations over the members. An .h5ad has the columns in obs, named with brb_; where
    --table is .h5ad, it is a copy of that with them added. For research, not for decisions about patients.
    """
    if label_column is not None and labels is None:
        raise ConfigError("--label-column belongs to --labels")
    files = table_files(table, unit, file_format, methylation, methylation_unit)
    if not files:
        raise ConfigError("give the new samples with --table, or --methylation for a model that reads it")
    from bulkrnabert.cli._device import torch_device
    from bulkrnabert.data.sources.files import read_expression
    from bulkrnabert.downstream.encode import refuse_unknown_omic
    from bulkrnabert.downstream.finetuned_folder import load_finetuned
    from bulkrnabert.downstream.predict import check_out, h5ad_of, predict_tables, write_table
    from bulkrnabert.provenance import describe_run, require_writable

    check_out(out)
    require_writable(out)
    model = load_finetuned(model_folder, revision=revision)
    for omic in files:
        refuse_unknown_omic(model.members[0].inputs, omic)
    tables = {
        omic: (read_expression(file.path, file.file_format or "", missing="keep"), file.unit)
        for omic, file in files.items()
    }
    frame = predict_tables(model, tables, cohort, torch_device(device))
    assert model.folder is not None
    inputs = {"model": model.folder / keys.CONFIG_JSON}
    inputs |= {f"{omic} table": file.path for omic, file in files.items() if file.path.is_file()}
    units = {omic: file.unit for omic, file in files.items()}
    write_table(frame, out, describe_run("predict", {"unit": units, "cohort": cohort}, inputs), h5ad_of(files))
    scores: list[Score] = []
    if labels is not None:
        logger.warning(
            "scores of patients that the model was trained on say nothing about new ones, and these files do not tell"
            " which they are; judge by the out-of-fold predictions of finetune, or give new patients only"
        )
        scores = _scores(model, frame, labels, label_column, endpoint)
    finish(
        out,
        f"{len(frame)} samples predicted by {len(model.members)} members",
        "which genes it rests on: bulkrnabert attribute --model "
        f"{model_folder} --table {table} --unit '{unit}' --out ATTRIBUTIONS"
        if table is not None and model.members[0].encoder.name == keys.BULKRNABERT
        else "",
        text="\n".join(f"{one.metric}\t{one.value:.4f}\t{one.n_samples} samples" for one in scores),
        n_samples=len(frame),
        n_members=len(model.members),
        scores=[{"metric": one.metric, "value": one.value, "n_samples": one.n_samples} for one in scores],
    )


def _scores(
    model: FinetunedModel, frame: pd.DataFrame, labels: Path, label_column: str | None, endpoint: str
) -> list[Score]:
    from bulkrnabert.data.clinical import read_clinical_table
    from bulkrnabert.evaluate.labelled import score_classes, score_risk

    clinical = read_clinical_table(labels, endpoint)
    scores = []
    classes = model.task(keys.CANCER_TYPE)
    if classes is not None:
        scores += score_classes(frame, clinical, label_column or classes.label_column)
    elif label_column is not None:
        raise ConfigError("--label-column: this model predicts no classes")
    if model.task(keys.SURVIVAL) is not None:
        scores += score_risk(frame, clinical)
    return scores
