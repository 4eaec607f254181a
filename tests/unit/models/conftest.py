"""Small models for the tests of this folder."""

from __future__ import annotations

import pytest
import torch

from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig


@pytest.fixture
def small_config() -> BulkRNABertConfig:
    return BulkRNABertConfig(
        n_genes=11, embed_dim=16, init_gene_embed_dim=6, n_heads=2, key_size=4, ffn_embed_dim=24, n_layers=3
    )


@pytest.fixture
def small_model(small_config: BulkRNABertConfig) -> BulkRNABert:
    return BulkRNABert(small_config, torch.Generator().manual_seed(3)).eval()


@pytest.fixture
def small_tokens() -> torch.Tensor:
    return torch.randint(0, 66, (4, 11), generator=torch.Generator().manual_seed(4))
