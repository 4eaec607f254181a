"""`bulkrnabert evaluate`: predictions to numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from bulkrnabert import keys
from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish
from bulkrnabert.errors import DataError

EXAMPLES = {
    "Two heads and their baselines on the same folds": (
        "bulkrnabert evaluate --predictions probe.parquet --predictions finetuned/predictions.parquet --cohorts "
        "cohorts --splits splits/splits.tsv --out numbers"
    ),
    "How many numbers, and how many cannot be estimated": (
        "bulkrnabert evaluate --predictions probe.parquet --cohorts cohorts --splits splits/splits.tsv --out "
        "numbers --json"
    ),
}
GROUPS = {
    "What is judged": ("prediction_paths", "splits_path", "cohorts", "protocol"),
    "How": ("bootstrap", "seed"),
    "For the report": ("embedding_paths", "provenance_paths", "skipped_path"),
    "Output": ("out",),
}


@stage("evaluate", EXAMPLES, GROUPS)
@click.option(
    "--predictions",
    "prediction_paths",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="predictions.parquet of `probe` or `finetune`; those of one job, with different methods, are judged together.",
)
@click.option("--splits", "splits_path", type=click.Path(path_type=Path), required=True, help="splits.tsv.")
@click.option(
    "--cohorts",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder that `preprocess` wrote; its clinical.tsv names the endpoint.",
)
@click.option(
    "--embeddings",
    "embedding_paths",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Embeddings (.h5ad); of each model the first by split_id is laid out in two dimensions.",
)
@click.option(
    "--checkpoint-provenance",
    "provenance_paths",
    type=click.Path(path_type=Path),
    multiple=True,
    help="provenance.json of an encoder; test patients that it was pretrained on are counted.",
)
@click.option(
    "--skipped",
    "skipped_path",
    type=click.Path(path_type=Path),
    help="skipped.tsv of `split`; its rows are handed on to the report.",
)
@click.option(
    "--protocol",
    type=click.Choice(["leak-free", "transductive", "paper"]),
    default="leak-free",
    show_default=True,
    help="As given to `split`. leak-free refuses predictions from an encoder that was pretrained on test patients, and "
    "more than one judged sample a patient.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the resamples and the projection."
)
@click.option(
    "--bootstrap",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Resamples of patients for the 95 % intervals.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
def command(
    prediction_paths: tuple[Path, ...],
    splits_path: Path,
    cohorts: Path,
    embedding_paths: tuple[Path, ...],
    provenance_paths: tuple[Path, ...],
    skipped_path: Path | None,
    protocol: Literal["leak-free", "transductive", "paper"],
    seed: int,
    bootstrap: int,
    out: Path,
) -> None:
    """Judge out-of-fold predictions; write metrics.json, results.csv and embedding_maps.json.

    Classification: accuracy, balanced accuracy, macro and weighted F1, AUROC (higher is better); expected calibration
    error, Brier score, log loss (lower is better). Survival: Harrell's C pooled, within cohort (mean over cohorts,
    weighted by patients or not) and of each cohort, Uno's C up to the time that a tenth of the patients are followed
    beyond, AUC at 1, 3 and 5 years and its mean (higher is better); integrated Brier score and calibration error (lower
    is better). Risks are compared within a fold only. Each has a 95 % interval by patient bootstrap and, over repeats,
    a standard deviation. Every model is compared with the best baseline and with PCA by a corrected resampled t test.
    Also confusion matrices, scores of each class, reliability, calibration, Kaplan-Meier curves of risk tertiles
    (days), and a projection. embedding_maps.json holds UMAP and PCA of each model's embeddings with what is known of
    the samples, for the report's explorer.
    """
    import pandas as pd

    from bulkrnabert.data.splits import read_clinical, read_splits
    from bulkrnabert.data.tables import read_samples
    from bulkrnabert.downstream.embeddings import Embeddings, read_embeddings
    from bulkrnabert.downstream.predictions import read_predictions
    from bulkrnabert.evaluate.embedding_maps import EmbeddingMaps, build_maps, write_maps
    from bulkrnabert.evaluate.evaluate import Setting, evaluate, read_training_patients, results_table
    from bulkrnabert.evaluate.projection import planes_of, project
    from bulkrnabert.provenance import atomic_path, require_writable, write_json

    require_writable(out / keys.METRICS_JSON)
    clinical = read_clinical(cohorts / keys.CLINICAL_TSV).set_index(keys.PATIENT_ID)
    endpoint_of = dict(clinical[keys.ENDPOINT]) if keys.ENDPOINT in clinical.columns else {}
    setting = Setting(read_splits(splits_path), protocol, seed, bootstrap, read_training_patients(provenance_paths))
    predictions = [read_predictions(path) for path in prediction_paths]
    embeddings = sorted((read_embeddings(path) for path in embedding_paths), key=lambda item: item.split_id)
    first_of_model: dict[str, Embeddings] = {}
    for item in embeddings:
        first_of_model.setdefault(item.model, item)
    projected = [(item, planes_of(item, seed)) for item in first_of_model.values()]
    projection = project(*projected[0]) if projected else None
    maps = build_maps(projected, read_samples(cohorts), clinical) if projected else EmbeddingMaps()
    skipped: list[dict[str, str]] = []
    if skipped_path is not None:
        try:
            table = pd.read_csv(skipped_path, sep="\t", dtype=str, keep_default_na=False)
        except ValueError as error:
            raise DataError(f"{skipped_path}: cannot be read as a tab-separated table: {error}") from error
        skipped = [{str(key): str(value) for key, value in row.items()} for row in table.to_dict("records")]
    numbers = evaluate(predictions, endpoint_of, projection, skipped, setting)
    write_json(out / keys.METRICS_JSON, numbers)
    write_maps(out / keys.EMBEDDING_MAPS_JSON, maps)
    with atomic_path(out / keys.RESULTS_CSV) as partial:
        results_table(numbers).to_csv(partial, index=False)
    n_unknown = sum(not row["estimable"] for row in numbers["metrics"])
    metrics = out / keys.METRICS_JSON
    finish(
        metrics,
        f"{len(numbers['metrics'])} numbers of {len(predictions)} jobs, intervals from {bootstrap} resamples of"
        f" patients; {n_unknown} not estimable; as a table: {out / keys.RESULTS_CSV}",
        f"bulkrnabert report --metrics {metrics} --summary {cohorts / keys.SUMMARY_JSON} --out REPORT",
        n_numbers=len(numbers["metrics"]),
        n_not_estimable=n_unknown,
        metrics=[_shown(row) for row in numbers["metrics"]],
        comparisons=numbers["comparisons"],
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    names = ("task", "scope", "scope_cohort", "method", "role", "metric", "value", "low", "high", "n_patients")
    return {name: row[name] for name in names}
