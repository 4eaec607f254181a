"""Results beside the samples of an `.h5ad` file: a copy of it with columns and matrices added, all else as it was."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.provenance import PACKAGE, atomic_path

logger = logging.getLogger(__name__)

OBS_PREFIX: Final = "brb_"


@dataclass(frozen=True)
class Additions:
    """What is added to a file; sample order is that of the file.

    Attributes:
        sample_ids: A sample each row, for the check that they are those of the file.
        record: Provenance, as JSON text under `uns["bulkrnabert"][name]`.
        name: Of the record, as `X_bulkrnabert`.
        obs: Columns of `obs`, named with `brb_`; rows as `sample_ids`.
        obsm: Matrices of `obsm`, shape (samples, D).
    """

    sample_ids: tuple[str, ...]
    name: str
    record: Mapping[str, Any]
    obs: pd.DataFrame
    obsm: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def add_to_h5ad(source: Path, out: Path, additions: Additions) -> None:
    """Write a copy of an `.h5ad` file with results added; its matrices are copied as they are, not read.

    What an earlier run of ours wrote under the same name is replaced, and logged; nothing else is.

    Args:
        source: The file. Not modified, unless it is `out`.
        out: File to write, whole or not at all.
        additions: What is added.
    Raises:
        DataError: not an `.h5ad` file, or its samples are others.
        ConfigError: `obsm` has a matrix of that name which is not ours.
    """
    import h5py  # type: ignore[import-untyped]
    from anndata.io import read_elem, write_elem

    with atomic_path(out) as partial:
        shutil.copyfile(source, partial)
        try:
            with h5py.File(partial, "r+") as file:
                obs = read_elem(file["obs"])
                if tuple(str(name) for name in obs.index) != additions.sample_ids:
                    raise DataError(f"{source}: its samples are not those that were computed; give its own table alone")
                ours = read_elem(file[f"uns/{PACKAGE}"]) if f"uns/{PACKAGE}" in file else {}
                _refuse_foreign(source, file, additions, ours)
                if additions.name in ours:
                    logger.info("%s: %s of an earlier run is replaced", source, additions.name)
                if "obsm" not in file:
                    write_elem(file, "obsm", {})
                for name, values in additions.obsm.items():
                    write_elem(file["obsm"], name, values)
                added = additions.obs.set_axis(obs.index, axis=0)
                write_elem(file, "obs", pd.concat([obs.drop(columns=list(added), errors="ignore"), added], axis=1))
                record = json.dumps(dict(additions.record), indent=2)
                if "uns" not in file:
                    write_elem(file, "uns", {})
                write_elem(file["uns"], PACKAGE, {**ours, additions.name: record})
        except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{source}: cannot be copied as .h5ad: {error}; read it with anndata, write it again and give that file"
            ) from error


def _refuse_foreign(source: Path, file: Any, additions: Additions, ours: Mapping[str, Any]) -> None:
    there = [name for name in additions.obsm if f"obsm/{name}" in file and name not in ours]
    if there:
        raise ConfigError(
            f"{source}: obsm has {there[0]!r} already, and not from this program with its record in"
            f' uns["{PACKAGE}"]: rename that matrix'
        )
