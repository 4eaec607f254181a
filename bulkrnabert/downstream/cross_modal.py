"""One omic predicted from another, gene by gene, by a model's own head and by ridge regression."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bulkrnabert import keys
from bulkrnabert.data.tokens import Tokens, read_tokens
from bulkrnabert.downstream.embed import choose_batch_size
from bulkrnabert.downstream.pretrained import PretrainedModel, load
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.logs import progress
from bulkrnabert.models.mojo import Mojo
from bulkrnabert.provenance import write_json

logger = logging.getLogger(__name__)

MIN_SAMPLES = 3
RIDGE_STRENGTHS = tuple(float(10.0**power) for power in range(-1, 7))

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Correlations:
    """How well a method predicts the genes of an omic.

    Attributes:
        per_gene: Pearson correlation over the held-out samples, shape (genes,); NaN where the gene does not vary in
            them or is measured in fewer than 3; 0 where the prediction does not vary.
        within_cohort: The same after each cohort's mean is taken off truth and prediction: without the differences
            between cohorts, which most of the correlation of a mixed set comes from.
    """

    per_gene: Values
    within_cohort: Values

    def summary(self) -> dict[str, Any]:
        """Medians and quartiles over genes; null where no gene can be judged."""
        return {
            "median_pearson": _quantile(self.per_gene, 0.5),
            "quartiles": [_quantile(self.per_gene, 0.25), _quantile(self.per_gene, 0.75)],
            "within_cohort_median_pearson": _quantile(self.within_cohort, 0.5),
        }


@dataclass(frozen=True)
class Direction:
    """One omic from another on the held-out samples that have both.

    Attributes:
        source: Omic that is given.
        target: Omic that is predicted.
        n_samples: Held-out samples with both.
        n_training_samples: Training samples with both, on which ridge regression is fitted.
        model: Of the model's head.
        ridge: Of ridge regression on the same training samples.
    """

    source: str
    target: str
    n_samples: int
    n_training_samples: int
    model: Correlations
    ridge: Correlations

    def as_json(self, gene_ids: tuple[str, ...]) -> dict[str, Any]:
        """For `cross_modal.json`."""
        is_judged = np.isfinite(self.model.per_gene)
        judged = [gene_id for gene_id, judges in zip(gene_ids, is_judged, strict=True) if judges]
        pairs = zip(judged, self.model.per_gene[is_judged], self.ridge.per_gene[is_judged], strict=True)
        return {
            "from": self.source,
            "to": self.target,
            "n_genes": len(judged),
            "n_samples": self.n_samples,
            "n_training_samples": self.n_training_samples,
            "model": self.model.summary(),
            "ridge": self.ridge.summary(),
            "share_of_genes_ahead_of_ridge": _mean(self.model.per_gene[is_judged] > self.ridge.per_gene[is_judged]),
            "per_gene": [
                {"gene_id": gene_id, "model": round(float(model), 4), "ridge": round(float(ridge), 4)}
                for gene_id, model, ridge in pairs
            ],
            "not_judged": [gene_id for gene_id, judges in zip(gene_ids, is_judged, strict=True) if not judges],
        }


def judge_cross_modal(model: PretrainedModel, tokens: Tokens) -> list[Direction]:
    """Predict every omic from every other one, for the held-out samples that have both.

    Values are bins. The model predicts the mean of its distribution over them, from samples whose target omic is fed as
    `<mask>`; ridge regression predicts them from the source's bins, its strength chosen by leave-one-out within the
    training samples.

    Args:
        model: From `load`; a model of several omics.
        tokens: Of the split that the model was trained on. Not modified.
    Raises:
        ConfigError: the model has one omic, or other genes, omics or bins than the tokens, or was trained on another
            split.
        DataError: fewer than 3 held-out or training samples have both omics.
    """
    _check_same(model, tokens)
    blocks = dict(zip(tokens.omics, np.split(tokens.token_ids, len(tokens.omics), axis=1), strict=True))
    n_bins = model.network.config.n_bins
    values = {omic: np.where(block < n_bins, block.astype(np.float64), np.nan) for omic, block in blocks.items()}
    has = {omic: np.isfinite(block).any(axis=1) for omic, block in values.items()}
    cohorts = tokens.samples[keys.COHORT].astype(str).to_numpy()
    directions = []
    for source, target in permutations(tokens.omics, 2):
        is_paired = has[source] & has[target]
        test, training = np.flatnonzero(is_paired & ~tokens.is_training), np.flatnonzero(is_paired & tokens.is_training)
        _check_enough(source, target, tokens.split_id, len(test), len(training))
        truth = values[target][test]
        by_model = predict_omic(model, blocks[source][test], source, target)
        by_ridge = ridge_prediction(values[source][training], values[target][training], values[source][test])
        result = Direction(
            source,
            target,
            len(test),
            len(training),
            *(_correlations(truth, predicted, cohorts[test]) for predicted in (by_model, by_ridge)),
        )
        logger.info(
            "%s from %s: median correlation over genes %s, ridge regression %s (%d held-out samples)",
            target,
            source,
            result.model.summary()["median_pearson"],
            result.ridge.summary()["median_pearson"],
            len(test),
        )
        directions.append(result)
    return directions


def predict_omic(model: PretrainedModel, ids: NDArray[np.uint8], source: str, target: str) -> Values:
    """Expected bin of every gene of an omic that is not given, shape (samples, genes).

    Args:
        model: Of several omics.
        ids: Token ids of the omic that is given, shape (samples, genes).
        source: Its name.
        target: Omic to predict; it and all others are fed as `<mask>`.
    """
    network = model.network
    assert isinstance(network, Mojo)
    device = next(network.parameters()).device
    size = choose_batch_size(model, device)
    bins = torch.arange(network.config.n_bins, dtype=torch.float32, device=device)
    parts = []
    network.eval()
    for start in progress(range(0, len(ids), size), what=f"{target} from {source}", unit="batch"):
        block = torch.from_numpy(np.ascontiguousarray(ids[start : start + size])).to(device)
        absent = torch.full_like(block, keys.MASK_ID)
        with torch.inference_mode():
            fed = {omic: block if omic == source else absent for omic in network.config.omics}
            logits = network(fed).logits[target][..., : network.config.n_bins].float()
            parts.append((logits.softmax(dim=-1) @ bins).cpu().numpy().astype(np.float64))
    return np.concatenate(parts)


def ridge_prediction(source: Values, target: Values, test_source: Values) -> Values:
    """Predictions of ridge regression, shape (test samples, target genes).

    Features are standardised; missing ones, and missing targets, take the training mean. One strength for all genes,
    by leave-one-out.

    Args:
        source: Training samples, shape (samples, genes), NaN where missing. Not modified.
        target: The same samples of the other omic.
        test_source: Samples to predict, as `source`.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    means = _means(source)
    scaler = StandardScaler().fit(_filled(source, means))
    ridge = RidgeCV(alphas=RIDGE_STRENGTHS)
    ridge.fit(scaler.transform(_filled(source, means)), _filled(target, _means(target)))
    return np.asarray(ridge.predict(scaler.transform(_filled(test_source, means))), dtype=np.float64)


def pearson_per_gene(truth: Values, predicted: Values) -> Values:
    """Pearson correlation of each column, shape (genes,): see `Correlations.per_gene`.

    Args:
        truth: Shape (samples, genes), NaN where missing.
        predicted: Same shape.
    """
    is_known = np.isfinite(truth)
    n_known = np.maximum(is_known.sum(axis=0), 1)
    centred_truth, centred = (
        np.where(is_known, values - np.where(is_known, values, 0.0).sum(axis=0) / n_known, 0.0)
        for values in (truth, predicted)
    )
    spread_truth, spread = ((values**2).sum(axis=0) for values in (centred_truth, centred))
    # What is left of equal numbers after their mean is taken off is rounding, which must not be correlated.
    varies_truth, varies = (
        values > 1e-12 * np.maximum(1.0, (np.where(is_known, whole, 0.0) ** 2).sum(axis=0))
        for values, whole in ((spread_truth, truth), (spread, predicted))
    )
    product = np.where(varies_truth & varies, spread_truth * spread, 1.0)
    correlation = np.where(varies, (centred_truth * centred).sum(axis=0) / np.sqrt(product), 0.0)
    return np.where(varies_truth & (is_known.sum(axis=0) >= MIN_SAMPLES), correlation, np.nan)


def write_cross_modal(checkpoint: Path, tokens_folder: Path, out: Path, device: torch.device) -> list[Direction]:
    """Judge a checkpoint and write `cross_modal.json`; arguments and errors as of `judge_cross_modal`."""
    model = load(checkpoint).to(device)
    tokens = read_tokens(tokens_folder)
    directions = judge_cross_modal(model, tokens)
    described = {
        "kind": "cross_modal",
        "version": 1,
        "split_id": tokens.split_id,
        "split_sha256": tokens.split_sha256,
        "checkpoint_sha256": model.weights_sha256,
        "directions": [direction.as_json(tokens.gene_ids) for direction in directions],
    }
    write_json(out, described)
    return directions


def _correlations(truth: Values, predicted: Values, cohorts: NDArray[np.object_]) -> Correlations:
    within = []
    for values in (truth, np.where(np.isfinite(truth), predicted, np.nan)):
        centred = values.copy()
        for cohort in np.unique(cohorts):
            centred[cohorts == cohort] -= _means(values[cohorts == cohort])
        within.append(centred)
    return Correlations(pearson_per_gene(truth, predicted), pearson_per_gene(within[0], within[1]))


def _check_same(model: PretrainedModel, tokens: Tokens) -> None:
    if len(model.omics) < 2 or not isinstance(model.network, Mojo):
        raise ConfigError(f"a {model.name} model reads {', '.join(model.omics)} alone: there is no omic to restore")
    if model.gene_ids != tokens.gene_ids or dict(model.tokenizers) != dict(tokens.tokenizers):
        raise ConfigError(
            "the tokens have other genes, omics or bins than the checkpoint: give the tokens that it was trained on, "
            "or `bulkrnabert tokenize --like` it"
        )
    trained_on = model.provenance.get("split_sha256")
    if trained_on and (trained_on, model.provenance.get("split_id")) != (tokens.split_sha256, tokens.split_id):
        raise ConfigError(
            f"the checkpoint was trained on split {model.provenance.get('split_id')} of other splits than the tokens' "
            f"{tokens.split_id}: it may know the samples that are held out here"
        )


def _check_enough(source: str, target: str, split_id: str, n_test: int, n_training: int) -> None:
    for what, count in (("held-out", n_test), ("training", n_training)):
        if count < MIN_SAMPLES:
            raise DataError(
                f"{count} {what} samples of split {split_id} have both {source} and {target}, at least {MIN_SAMPLES} "
                "are needed: tokenize a split that holds samples out, as r0f0"
            )


def _means(values: Values) -> Values:
    """Mean of each column over what is there, 0 where nothing is."""
    is_known = np.isfinite(values)
    total = np.where(is_known, values, 0.0).sum(axis=0)
    return np.asarray(total / np.maximum(is_known.sum(axis=0), 1))


def _filled(values: Values, means: Values) -> Values:
    return np.where(np.isfinite(values), values, means)


def _quantile(values: Values, share: float) -> float | None:
    known = values[np.isfinite(values)]
    return round(float(np.quantile(known, share)), 4) if known.size else None


def _mean(values: NDArray[np.bool_]) -> float | None:
    return round(float(values.mean()), 4) if values.size else None
