"""Encoders for bulk RNA-seq and DNA methylation.

    import bulkrnabert as brb
    model = brb.load("checkpoint-folder")  # or a hub id: brb.load("owner/name", revision="…")
    adata.obsm["X_bulkrnabert"] = brb.embed(model, adata, unit="tpm")

Importing the package loads no torch; its functions do.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bulkrnabert.data.cohort_adata import read_cohort, to_anndata
    from bulkrnabert.downstream.embed import embed
    from bulkrnabert.downstream.encode import encode_omics
    from bulkrnabert.downstream.finetuned_folder import load_finetuned
    from bulkrnabert.downstream.predict import predict
    from bulkrnabert.downstream.pretrained import load
    from bulkrnabert.downstream.pretrained import load as from_pretrained

__all__ = [
    "embed",
    "encode_omics",
    "from_pretrained",
    "load",
    "load_finetuned",
    "predict",
    "read_cohort",
    "to_anndata",
]

_HOMES = {
    "embed": "downstream.embed",
    "encode_omics": "downstream.encode",
    "from_pretrained": "downstream.pretrained",
    "load": "downstream.pretrained",
    "load_finetuned": "downstream.finetuned_folder",
    "predict": "downstream.predict",
    "read_cohort": "data.cohort_adata",
    "to_anndata": "data.cohort_adata",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bulkrnabert' has no attribute {name!r}")
    home = importlib.import_module(f"bulkrnabert.{_HOMES[name]}")
    return getattr(home, "load" if name == "from_pretrained" else name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
