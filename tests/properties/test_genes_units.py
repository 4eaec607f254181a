"""Laws of gene alignment and unit conversion."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bulkrnabert.data.genes import GeneVocabulary, normalise_gene_ids, strip_version
from bulkrnabert.data.units import LINEAR_BASES, Unit, parse_unit, to_stored

numbers = st.lists(st.integers(0, 99_999_999_999), min_size=1, max_size=30, unique=True)
positive = st.floats(0.0, 1e5, allow_nan=False, width=32)


@given(numbers, st.integers(1, 40))
def test_versions_never_change_which_gene_it_is(ids: list[int], version: int) -> None:
    bare = [f"ENSG{number:011}" for number in ids]
    assert [strip_version(f"{name}.{version}") for name in bare] == bare
    genes = normalise_gene_ids([f"{name}.{version}" for name in bare])
    assert genes.ids == tuple(bare)
    assert normalise_gene_ids(genes.ids).ids == genes.ids


@given(numbers, st.randoms(use_true_random=False))
def test_alignment_does_not_depend_on_the_order_of_the_table(ids: list[int], random: object) -> None:
    genes = GeneVocabulary.from_ids(f"ENSG{number:011}" for number in ids)
    shuffled = list(range(len(ids)))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    values = np.arange(len(ids), dtype=np.float32)[None, shuffled]
    aligned = genes.align([genes.gene_ids[position] for position in shuffled]).apply(values)
    np.testing.assert_array_equal(aligned, np.arange(len(ids), dtype=np.float32)[None, :])


@given(st.sampled_from(LINEAR_BASES), st.sampled_from(["log2", "log10", "ln"]), st.floats(1e-6, 10.0))
def test_units_survive_their_own_text(base: str, log: str, pseudo: float) -> None:
    unit = Unit(base, log, float(f"{pseudo:g}"))  # type: ignore[arg-type]
    assert parse_unit(str(unit)) == unit


@given(st.lists(positive, min_size=1, max_size=20), st.sampled_from([1.0, 0.001, 0.5]))
def test_a_logarithm_is_undone(values: list[float], pseudo: float) -> None:
    tpm = np.array([values], dtype=np.float64)
    stored = to_stored(np.log2(tpm + pseudo), Unit("tpm", "log2", pseudo))
    np.testing.assert_allclose(stored.values, tpm, rtol=1e-5, atol=2e-3 * pseudo)
    assert stored.n_clipped == 0
    assert (stored.values >= 0).all()


@given(st.lists(st.floats(0.01, 1e4), min_size=2, max_size=20), st.floats(0.1, 100.0))
def test_tpm_from_fpkm_does_not_depend_on_depth(values: list[float], depth: float) -> None:
    fpkm = np.array([values])
    once, scaled = to_stored(fpkm, Unit("fpkm")).values, to_stored(fpkm * depth, Unit("fpkm")).values
    np.testing.assert_allclose(once, scaled, rtol=1e-5)
    np.testing.assert_allclose(once.sum(), 1e6, rtol=1e-4)
