"""Gene panels: a small number of genes chosen inside the training part of a fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from bulkrnabert.errors import ConfigError

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]
Chooser = Literal["variance", "anova", "mutual_info", "list"]
PANEL_SIZES = (64, 128, 256, 512, 1024)
CHOOSERS: tuple[Chooser, ...] = ("variance", "anova", "mutual_info")
N_LEVELS = 10


def choose_panel(chooser: Chooser, size: int, levels: FloatArray, class_ids: IntArray) -> IntArray:
    """The genes that say most, by one score a gene; the first of equals.

    `variance`: variance of the level. `anova`: F over the classes. `mutual_info`: mutual information of the class and
    the level in tenths. A constant gene comes last. Scores take no notice of what other genes already say.

    Args:
        chooser: Which score; not `list`.
        size: How many genes, at most as many as there are.
        levels: Training part on a log scale, shape (samples, genes), NaN where missing; missing values are left out of
            a gene's score.
        class_ids: Class of each sample, shape (samples,).
    Returns:
        Genes, ascending, shape (size,).
    """
    assert 0 < size <= levels.shape[1], (size, levels.shape)
    if chooser == "variance":
        scores = np.where((~np.isnan(levels)).sum(axis=0) > 1, _nan_variance(levels), -1.0)
    elif chooser == "anova":
        scores = anova_f(levels, class_ids)
    else:
        assert chooser == "mutual_info", chooser
        scores = np.array([_mutual_information(levels[:, gene], class_ids) for gene in range(levels.shape[1])])
    return np.sort(np.argsort(-scores, kind="stable")[:size]).astype(np.int64)


def anova_f(levels: FloatArray, class_ids: IntArray) -> npt.NDArray[np.float64]:
    """F of a one-way analysis of variance of each gene, shape (genes,); 0 where a gene does not vary between classes.

    Infinite where a gene varies between classes and not at all within them.
    """
    classes = np.unique(class_ids)
    is_there = ~np.isnan(levels)
    n_total = is_there.sum(axis=0)
    filled = np.where(is_there, levels, 0.0).astype(np.float64)
    grand = filled.sum(axis=0) / np.maximum(n_total, 1)
    between, within = np.zeros(levels.shape[1]), np.zeros(levels.shape[1])
    n_classes = np.zeros(levels.shape[1], dtype=np.int64)
    for name in classes:
        inside = class_ids == name
        n = is_there[inside].sum(axis=0)
        mean = filled[inside].sum(axis=0) / np.maximum(n, 1)
        between += n * (mean - grand) ** 2
        within += np.where(is_there[inside], (filled[inside] - mean) ** 2, 0.0).sum(axis=0)
        n_classes += n > 0
    scale = np.maximum(np.where(is_there, (filled - grand) ** 2, 0.0).sum(axis=0), np.finfo(np.float64).tiny)
    varies = (between > 1e-12 * scale) & (n_classes > 1) & (n_total > n_classes)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (between / (n_classes - 1)) / (within / (n_total - n_classes))
    return np.where(varies, np.where(within > 1e-12 * scale, ratio, np.inf), 0.0)


def _nan_variance(levels: FloatArray) -> npt.NDArray[np.float64]:
    is_there = ~np.isnan(levels)
    n = np.maximum(is_there.sum(axis=0), 1)
    mean = np.where(is_there, levels, 0.0).sum(axis=0) / n
    return np.asarray(np.where(is_there, (levels - mean) ** 2, 0.0).sum(axis=0) / n, dtype=np.float64)


def _mutual_information(values: FloatArray, class_ids: IntArray) -> float:
    """In nats, of the class and the tenth that a value is in; equal values share a tenth."""
    is_there = ~np.isnan(values)
    known, classes = values[is_there], np.unique(class_ids[is_there], return_inverse=True)[1]
    if len(known) < 2:
        return 0.0
    edges = np.unique(np.quantile(known, np.linspace(0, 1, N_LEVELS + 1)[1:-1]))
    tenths = np.searchsorted(edges, known, side="right")
    joint = np.zeros((len(edges) + 1, classes.max() + 1))
    np.add.at(joint, (tenths, classes), 1.0 / len(known))
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    inside = joint > 0
    return float((joint[inside] * np.log(joint[inside] / independent[inside])).sum())


def check_sizes(sizes: Sequence[int], n_genes: int, is_default: bool) -> tuple[int, ...]:
    """Sizes that the data has genes for.

    Args:
        sizes: As asked for.
        n_genes: Genes of the data.
        is_default: Whether nobody asked for these; then larger ones are left out.
    Raises:
        ConfigError: a size that was asked for is larger than the data, or none is left.
    """
    too_large = [size for size in sizes if size > n_genes]
    if too_large and not is_default:
        raise ConfigError(f"--size {too_large[0]}: the data has {n_genes} genes; choose at most that many")
    fitting = tuple(dict.fromkeys(size for size in sizes if size <= n_genes))
    if not fitting:
        raise ConfigError(f"the data has {n_genes} genes, fewer than the smallest panel ({min(sizes)}): give --size")
    return fitting
