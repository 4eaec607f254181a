"""`tokenizer.json`: the tokenizer of a model with one omic, or those of several."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from bulkrnabert import keys
from bulkrnabert.config import FrozenConfig
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.errors import CheckpointError, ConfigError
from bulkrnabert.provenance import write_json

OMICS = "omics"


class OmicTokenizers(FrozenConfig):
    """The tokenizers of several omics, in the order of the model's columns."""

    version: Literal[1] = 1
    omics: dict[str, BinnedTokenizer] = Field(min_length=2)


def write_tokenizers(path: Path, tokenizers: Mapping[str, BinnedTokenizer]) -> None:
    """Write `tokenizer.json`: of RNA-seq alone as it is, else by omic."""
    if list(tokenizers) == [keys.RNASEQ]:
        tokenizers[keys.RNASEQ].save(path)
    else:
        write_json(path, OmicTokenizers(omics=dict(tokenizers)).model_dump(mode="json"))


def read_tokenizers(path: Path) -> dict[str, BinnedTokenizer]:
    """Read `tokenizer.json`; the tokenizer of a model with one omic is that of `rnaseq`.

    Raises:
        CheckpointError: the file is missing or no tokenizer.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(values, dict) and OMICS in values:
            return OmicTokenizers.from_mapping(values, str(path)).omics
        return {keys.RNASEQ: BinnedTokenizer.from_mapping(values, str(path))}
    except (OSError, ValueError, ConfigError) as error:
        raise CheckpointError(f"{path}: cannot be read as a tokenizer: {error}") from error
