"""`tokens.parquet`: the token ids of every sample of one outer split, with its gene list and tokenizer beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bulkrnabert import keys
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.errors import DataError
from bulkrnabert.provenance import atomic_path, sha256_file, sha256_lines

SAMPLE_COLUMNS = (keys.SAMPLE_ID, keys.PATIENT_ID, keys.COHORT, keys.PART)


@dataclass(frozen=True)
class Tokens:
    """Token ids with everything needed to know what they mean.

    Attributes:
        samples: A row a sample: `sample_id, patient_id, cohort, part` (`train` or `held_out`).
        token_ids: Shape (samples, genes), uint8, rows as in `samples`.
        gene_ids: The genes, in column order.
        tokenizer: What made the ids.
        split_id: Outer split whose training part the genes and the tokenizer were chosen on.
        split_sha256: Hash of the `splits.tsv` it comes from.
    """

    samples: pd.DataFrame
    token_ids: NDArray[np.uint8]
    gene_ids: tuple[str, ...]
    tokenizer: BinnedTokenizer
    split_id: str
    split_sha256: str

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
    assert tokens.token_ids.shape == (len(tokens.samples), len(tokens.gene_ids))
    with atomic_path(folder / keys.GENES_TXT) as partial:
        partial.write_text("".join(f"{gene}\n" for gene in tokens.gene_ids), encoding="utf-8")
    tokens.tokenizer.save(folder / keys.TOKENIZER_JSON)
    columns = [pa.array(tokens.samples[name].astype(str), pa.string()) for name in SAMPLE_COLUMNS]
    flat = pa.array(np.ascontiguousarray(tokens.token_ids, dtype=np.uint8).reshape(-1))
    columns.append(pa.FixedSizeListArray.from_arrays(flat, len(tokens.gene_ids)))
    metadata = {
        keys.META_GENES_SHA256: tokens.gene_list_sha256,
        keys.META_TOKENIZER_SHA256: sha256_file(folder / keys.TOKENIZER_JSON),
        keys.META_SPLIT_ID: tokens.split_id,
        keys.META_SPLIT_SHA256: tokens.split_sha256,
    }
    table = pa.table(columns, names=[*SAMPLE_COLUMNS, keys.TOKENS]).replace_schema_metadata(metadata)
    with atomic_path(folder / keys.TOKENS_PARQUET) as partial:
        pq.write_table(table, partial)


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
    absent = [name for name in (*SAMPLE_COLUMNS, keys.TOKENS) if name not in table.column_names]
    if absent:
        raise DataError(f"{path}: no column {', '.join(absent)}; found {', '.join(table.column_names)}")
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    gene_ids = read_gene_list(folder / keys.GENES_TXT)
    _check_hash(path, metadata, keys.META_GENES_SHA256, sha256_lines(gene_ids), keys.GENES_TXT)
    tokenizer = BinnedTokenizer.load(folder / keys.TOKENIZER_JSON)
    tokenizer_sha256 = sha256_file(folder / keys.TOKENIZER_JSON)
    _check_hash(path, metadata, keys.META_TOKENIZER_SHA256, tokenizer_sha256, keys.TOKENIZER_JSON)
    column = table.column(keys.TOKENS).combine_chunks()
    kind = column.type
    if not pa.types.is_fixed_size_list(kind) or kind.list_size != len(gene_ids) or kind.value_type != pa.uint8():
        raise DataError(f"{path}: column {keys.TOKENS} is {kind}, expected fixed_size_list<uint8>[{len(gene_ids)}]")
    return Tokens(
        samples=table.select(list(SAMPLE_COLUMNS)).to_pandas(),
        token_ids=column.flatten().to_numpy().reshape(table.num_rows, len(gene_ids)),
        gene_ids=gene_ids,
        tokenizer=tokenizer,
        split_id=metadata.get(keys.META_SPLIT_ID, ""),
        split_sha256=metadata.get(keys.META_SPLIT_SHA256, ""),
    )


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
