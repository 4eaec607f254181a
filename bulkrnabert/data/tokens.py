"""`tokens.parquet`: the token ids of every sample of one outer split, with its gene list and tokenizers beside it.

One omic has the column `tokens`; several have a column `tokens.<omic>` each, all over the same gene list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bulkrnabert import keys
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokenizer_file import read_tokenizers, write_tokenizers
from bulkrnabert.errors import DataError
from bulkrnabert.provenance import atomic_path, sha256_file, sha256_lines

SAMPLE_COLUMNS = (keys.SAMPLE_ID, keys.PATIENT_ID, keys.COHORT, keys.PART)


@dataclass(frozen=True)
class Tokens:
    """Token ids with everything needed to know what they mean.

    Attributes:
        samples: A row a sample: `sample_id, patient_id, cohort, part` (`train` or `held_out`).
        token_ids: Shape (samples, omics x genes), uint8, rows as in `samples`; the genes of the first omic, then those
            of the next. An omic that a sample does not have is a block of `<mask>`.
        gene_ids: The genes, in column order; one list for all omics.
        tokenizers: What made the ids, by omic, in the order of the columns.
        split_id: Outer split whose training part the genes and the tokenizers were chosen on.
        split_sha256: Hash of the `splits.tsv` it comes from.
        model: Kind of model that they are for.
        values: For GexBERT: z of each gene, shape (samples, genes), float32, NaN where missing; None for others.
        data_access: Access class of the tables that they were made from; empty where it was not stated.
    """

    samples: pd.DataFrame
    token_ids: NDArray[np.uint8]
    gene_ids: tuple[str, ...]
    tokenizers: Mapping[str, BinnedTokenizer]
    split_id: str
    split_sha256: str
    model: str = keys.BULKRNABERT
    values: NDArray[np.float32] | None = None
    data_access: str = ""

    @property
    def omics(self) -> tuple[str, ...]:
        """The omics, in the order of their columns."""
        return tuple(self.tokenizers)

    @property
    def tokenizer(self) -> BinnedTokenizer:
        """The tokenizer of the first omic."""
        return self.tokenizers[self.omics[0]]

    @property
    def gene_list_sha256(self) -> str:
        """Hash of the gene list, as in every artefact."""
        return sha256_lines(self.gene_ids)

    @property
    def is_training(self) -> NDArray[np.bool_]:
        """Whether each sample is in the training part, shape (samples,)."""
        return np.asarray(self.samples[keys.PART] == keys.TRAIN)


def write_tokens(folder: Path, tokens: Tokens) -> None:
    """Write `genes.txt`, `tokenizer.json` and, last, `tokens.parquet`."""
    n_genes = len(tokens.gene_ids)
    assert tokens.token_ids.shape == (len(tokens.samples), len(tokens.omics) * n_genes)
    with atomic_path(folder / keys.GENES_TXT) as partial:
        partial.write_text("".join(f"{gene}\n" for gene in tokens.gene_ids), encoding="utf-8")
    write_tokenizers(folder / keys.TOKENIZER_JSON, tokens.tokenizers)
    columns = {name: pa.array(tokens.samples[name].astype(str), pa.string()) for name in SAMPLE_COLUMNS}
    for number, name in enumerate(_token_columns(tokens.omics)):
        block = tokens.token_ids[:, number * n_genes : (number + 1) * n_genes]
        flat = pa.array(np.ascontiguousarray(block, dtype=np.uint8).reshape(-1))
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, n_genes)
    if tokens.values is not None:
        assert tokens.values.shape == (len(tokens.samples), n_genes)
        flat = pa.array(np.ascontiguousarray(tokens.values, dtype=np.float32).reshape(-1))
        columns[keys.VALUES] = pa.FixedSizeListArray.from_arrays(flat, n_genes)
    metadata = {
        keys.META_GENES_SHA256: tokens.gene_list_sha256,
        keys.META_TOKENIZER_SHA256: sha256_file(folder / keys.TOKENIZER_JSON),
        keys.META_SPLIT_ID: tokens.split_id,
        keys.META_SPLIT_SHA256: tokens.split_sha256,
        keys.META_MODEL: tokens.model,
        keys.META_OMICS: json.dumps(tokens.omics),
        keys.META_ACCESS: tokens.data_access,
    }
    table = pa.table(columns).replace_schema_metadata(metadata)
    with atomic_path(folder / keys.TOKENS_PARQUET) as partial:
        pq.write_table(table, partial)


def _token_columns(omics: tuple[str, ...]) -> list[str]:
    return [keys.TOKENS] if len(omics) == 1 else [f"{keys.TOKENS}.{omic}" for omic in omics]


def read_tokens(folder: Path) -> Tokens:
    """Read a tokens folder and check that its three files belong together.

    Raises:
        DataError: a file or column is missing, or the gene list or tokenizer is not the one the ids were made with.
    """
    path = folder / keys.TOKENS_PARQUET
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({error}): run `bulkrnabert tokenize`") from error
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    tokenizers = read_tokenizers(folder / keys.TOKENIZER_JSON)
    token_columns = _token_columns(tuple(tokenizers))
    absent = [name for name in (*SAMPLE_COLUMNS, *token_columns) if name not in table.column_names]
    if absent:
        raise DataError(f"{path}: no column {', '.join(absent)}; found {', '.join(table.column_names)}")
    gene_ids = read_gene_list(folder / keys.GENES_TXT)
    _check_hash(path, metadata, keys.META_GENES_SHA256, sha256_lines(gene_ids), keys.GENES_TXT)
    tokenizer_sha256 = sha256_file(folder / keys.TOKENIZER_JSON)
    _check_hash(path, metadata, keys.META_TOKENIZER_SHA256, tokenizer_sha256, keys.TOKENIZER_JSON)
    stated = metadata.get(keys.META_OMICS, json.dumps([keys.RNASEQ]))
    if stated != json.dumps(list(tokenizers)):
        raise DataError(f"{path}: has the omics {stated}, {keys.TOKENIZER_JSON} has {', '.join(tokenizers)}")
    blocks = [_matrix(path, table, name, pa.uint8(), len(gene_ids)) for name in token_columns]
    has_values = keys.VALUES in table.column_names
    return Tokens(
        samples=table.select(list(SAMPLE_COLUMNS)).to_pandas(),
        token_ids=blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1),
        gene_ids=gene_ids,
        tokenizers=tokenizers,
        split_id=metadata.get(keys.META_SPLIT_ID, ""),
        split_sha256=metadata.get(keys.META_SPLIT_SHA256, ""),
        model=metadata.get(keys.META_MODEL, keys.BULKRNABERT),
        values=_matrix(path, table, keys.VALUES, pa.float32(), len(gene_ids)) if has_values else None,
        data_access=metadata.get(keys.META_ACCESS, ""),
    )


def _matrix(path: Path, table: pa.Table, name: str, value_type: pa.DataType, n_genes: int) -> NDArray[Any]:
    """A column of lists as a matrix, shape (samples, genes)."""
    column = table.column(name).combine_chunks()
    kind = column.type
    if not pa.types.is_fixed_size_list(kind) or kind.list_size != n_genes or kind.value_type != value_type:
        raise DataError(f"{path}: column {name} is {kind}, expected fixed_size_list<{value_type}>[{n_genes}]")
    return np.asarray(column.flatten().to_numpy().reshape(table.num_rows, n_genes))


def read_gene_list(path: Path) -> tuple[str, ...]:
    """Gene ids of a `genes.txt`, one a line.

    Raises:
        DataError: the file is missing or empty, or a gene is listed twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the gene list cannot be read: {error}") from error
    gene_ids = tuple(line.strip() for line in lines if line.strip())
    if not gene_ids:
        raise DataError(f"{path}: the gene list is empty; expected one gene id a line")
    if len(set(gene_ids)) != len(gene_ids):
        seen: set[str] = set()
        twice = next(gene for gene in gene_ids if gene in seen or seen.add(gene))  # type: ignore[func-returns-value]
        raise DataError(f"{path}: gene {twice} is listed twice")
    return gene_ids


def _check_hash(path: Path, metadata: dict[str, str], key: str, found: str, beside: str) -> None:
    stated = metadata.get(key, "")
    if stated != found:
        raise DataError(
            f"{path}: was made with another {beside} (sha256 {stated[:12] or 'not stated'}) than the one beside it "
            f"({found[:12]}): run `bulkrnabert tokenize` again"
        )
