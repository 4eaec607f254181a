"""Files of a portal that a user has already: put into a raw folder without fetching them again."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from bulkrnabert.data.sources.transfer_folder import md5_of_file
from bulkrnabert.errors import DataError
from bulkrnabert.provenance import atomic_path

logger = logging.getLogger(__name__)


def place_own_file(path: Path, target: Path) -> str:
    """Hard-link a file to its place in a raw folder, or copy it where links are not possible.

    Args:
        path: The user's file. Not modified.
        target: Final path; an older file there is replaced when its content differs.
    Returns:
        Its md5, hex.
    Raises:
        DataError: no such file, or it cannot be read.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder, expected' if path.is_dir() else 'no such'} file; check the path")
    try:
        md5 = md5_of_file(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if target.is_file() and (target.samefile(path) or md5_of_file(target) == md5):
        return md5
    with atomic_path(target) as partial:
        try:
            os.link(path.resolve(), partial)
            how = "linked"
        except OSError:
            shutil.copyfile(path, partial)
            how = "copied"
    logger.info("%s: %s from %s, %.1f MB", target, how, path, target.stat().st_size / 1e6)
    return md5
