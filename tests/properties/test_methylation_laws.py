"""Laws of the gene means: equal to a plain loop, between the extremes, blind to the order of probes and links."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.methylation import GeneMeans, MissingRules
from bulkrnabert.data.probes import ProbeMap


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 8))
def test_means_equal_a_plain_loop(seed: int, n_sites: int, n_genes: int) -> None:
    generator = np.random.default_rng(seed)
    betas = np.where(generator.random(n_sites) < 0.3, np.nan, generator.random(n_sites))
    probes, genes = np.nonzero(generator.random((n_sites, n_genes)) < 0.4)
    names = tuple(f"G{gene}" for gene in range(n_genes))
    vocabulary = GeneVocabulary.from_ids(names)
    order = generator.permutation(len(probes))
    probe_map = ProbeMap(
        "map", tuple(f"cg{site}" for site in range(n_sites)), vocabulary, probes[order], genes[order], ()
    )
    shuffled = generator.permutation(n_sites)
    site_of_probe = np.argsort(shuffled)
    found = GeneMeans(probe_map, site_of_probe, n_sites, vocabulary, MissingRules())(betas[shuffled]).values

    for gene in range(n_genes):
        own = betas[probes[genes == gene]]
        own = own[~np.isnan(own)]
        if own.size:
            np.testing.assert_allclose(found[gene], own.mean(), rtol=1e-6)
            assert own.min() - 1e-6 <= found[gene] <= own.max() + 1e-6
        else:
            assert np.isnan(found[gene])
