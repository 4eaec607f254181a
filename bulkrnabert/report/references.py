"""Works that the methods paragraph cites, numbered in the order of their first mention."""

from __future__ import annotations

from collections.abc import Collection

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import Numbers

REFERENCES = {
    keys.BULKRNABERT: "Gélard M, Richard G, Pierrot T, Cournède P-H. BulkRNABert: Cancer prognosis from bulk RNA-seq "
    "based language models. Proceedings of the 4th Machine Learning for Health Symposium, PMLR 259:384–400, 2025.",
    keys.MOJO: "Gélard M, et al. MOJO. bioRxiv 2025.06.25.661237, 2025; PMLR 306:34463–34495, 2026.",
    keys.GEXBERT: "Jiang, Hassanpour. GexBERT. Scientific Reports 15:37581, 2025.",
    "harrell": "Harrell FE, Lee KL, Mark DB. Multivariable prognostic models. Statistics in Medicine 15:361–387, 1996.",
    "kaplan": "Kaplan EL, Meier P. Nonparametric estimation from incomplete observations. Journal of the American "
    "Statistical Association 53:457–481, 1958.",
    "nadeau": "Nadeau C, Bengio Y. Inference for the generalization error. Machine Learning 52:239–281, 2003.",
    "uno": "Uno H, Cai T, Pencina MJ, D'Agostino RB, Wei LJ. On the C-statistics for evaluating overall adequacy of "
    "risk prediction procedures with censored survival data. Statistics in Medicine 30:1105–1117, 2011.",
    "graf": "Graf E, Schmoor C, Sauerbrei W, Schumacher M. Assessment and comparison of prognostic classification "
    "schemes for survival data. Statistics in Medicine 18:2529–2545, 1999.",
}


def cited(models: Collection[str], numbers: Numbers, has_censoring: bool) -> list[str]:
    """Names of the works that are cited, in the order of their numbers.

    Args:
        models: Kinds of model of the run.
        numbers: What was evaluated.
        has_censoring: Whether scores are shown that weigh patients by their follow-up.
    """
    names = [name for name in keys.MODEL_TITLES if name in models]
    names += ["harrell", "kaplan"]
    if numbers.comparisons:
        names.append("nadeau")
    return [*names, "uno", "graf"] if has_censoring else names
