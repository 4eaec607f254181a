"""Encoders for bulk RNA-seq and DNA methylation.

    import bulkrnabert as brb
    model = brb.load("checkpoint-folder")
    adata.obsm["X_bulkrnabert"] = brb.embed(model, adata, unit="tpm")

Importing the package loads no torch; `load` and `embed` do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bulkrnabert.downstream.embed import embed
    from bulkrnabert.downstream.encode import encode_omics
    from bulkrnabert.downstream.pretrained import load

__all__ = ["embed", "encode_omics", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from bulkrnabert.downstream.pretrained import load

        return load
    if name == "embed":
        from bulkrnabert.downstream.embed import embed

        return embed
    if name == "encode_omics":
        from bulkrnabert.downstream.encode import encode_omics

        return encode_omics
    raise AttributeError(f"module 'bulkrnabert' has no attribute {name!r}")
