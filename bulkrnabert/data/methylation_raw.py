"""A raw folder of DNA methylation as a source of `preprocess`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bulkrnabert import keys
from bulkrnabert.data.cohort_source import ExpressionValues, InputOptions, Source
from bulkrnabert.data.gdc_raw import read_raw_folder
from bulkrnabert.data.methylation import (
    BETA,
    FileSites,
    MethylationValues,
    MissingRules,
    methylation_values,
    share_probes,
)
from bulkrnabert.data.probes import ProbeMap, read_probe_map, with_ensembl_ids
from bulkrnabert.data.sources.sesame import Arrays, find_arrays
from bulkrnabert.errors import DataError


def read_methylation_raw(
    folder: Path,
    options: InputOptions,
    *,
    arrays: Arrays = "refuse",
    rules: MissingRules | None = None,
    probe_map: ProbeMap | None = None,
) -> Source:
    """Read the plan and the clinical records of a raw folder of methylation, and the probes of its arrays.

    Args:
        folder: Output of `bulkrnabert download --modality methylation`.
        options: How to read it; see `read_probe_genes` for the probe-to-gene table.
        arrays: What to do with several arrays: `refuse`, or `intersect` to use the probes that all have.
        rules: How many probes may be missing.
        probe_map: The probe-to-gene table where it has been read already.
    Raises:
        DataError: no complete raw folder of methylation, no probe-to-gene table, or arrays are mixed.
    """
    mapping = read_probe_genes(options) if probe_map is None else probe_map
    if mapping is None:
        raise DataError(
            f"{folder}: methylation is averaged over the probes of each gene; give the probe-to-gene table of the array"
            " with --probe-annotation FILE (`bulkrnabert annotate-probes` makes one)"
        )
    genes_of_probes = mapping

    def values_of(paths: tuple[Path, ...]) -> ExpressionValues:
        sites = FileSites(paths, find_arrays(paths, arrays))
        return methylation_values(sites, genes_of_probes, rules or MissingRules(), str(folder))

    return read_raw_folder(folder, options, keys.METHYLATION, BETA, values_of)


def read_probe_genes(options: InputOptions) -> ProbeMap | None:
    """The probe-to-gene table of a run, with Ensembl ids where an annotation was given; None without a table."""
    if options.probe_annotation is None:
        return None
    probe_map = read_probe_map(options.probe_annotation)
    if options.annotation is None:
        return probe_map
    return with_ensembl_ids(probe_map, options.annotation)


def share_arrays(sources: Sequence[Source], arrays: Arrays = "refuse") -> list[Source]:
    """Make all methylation sources of a run use the same probes.

    Args:
        sources: Sources of a run, of any modality. Not modified.
        arrays: `refuse` sources with other probes, or `intersect` them.
    Raises:
        DataError: the probes differ and are not to be intersected, or have nothing in common.
    """
    result = list(sources)
    values = {at: one.values for at, one in enumerate(sources) if isinstance(one.values, MethylationValues)}
    shared = share_probes(list(values.values()), [str(sources[at].where) for at in values], arrays)
    for at, one in zip(values, shared, strict=True):
        result[at] = replace(sources[at], values=one)
    return result
