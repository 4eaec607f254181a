"""What of a model's folder is published, and in which form: known files only, nothing made from controlled data."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from bulkrnabert import keys
from bulkrnabert.data.access import CONTROLLED, OPEN, strictest
from bulkrnabert.errors import CheckpointError, ConfigError
from bulkrnabert.provenance import PACKAGE, atomic_path, write_json
from bulkrnabert.train import card as parts
from bulkrnabert.train.card import Card

logger = logging.getLogger(__name__)

StatedAccess = Literal["open", "local"]
FINETUNED: Final = "finetuned"
CHECKPOINT_FILES: Final = (
    *(keys.CONFIG_JSON, keys.WEIGHTS, keys.TOKENIZER_JSON, keys.GENES_TXT),
    *(keys.PROVENANCE_JSON, keys.MODEL_CARD),
)
TRIPOD_MD: Final = "TRIPOD+AI.md"
TRIPOD_CSV: Final = "TRIPOD+AI.csv"
# Everything that a model is made of, an encoder or a fine-tuned one; nothing else is downloaded or published.
PATTERNS: Final = (
    *CHECKPOINT_FILES,
    *(TRIPOD_MD, TRIPOD_CSV),
    *(f"encoder/{name}" for name in CHECKPOINT_FILES),
    *(f"members/*/encoder/{name}" for name in CHECKPOINT_FILES),
    *("members/*/adapter.safetensors", "members/*/baseline.json"),
)


def refuse_other_folder(out: Path) -> None:
    """Refuse to write a checkpoint over something else.

    Raises:
        ConfigError: `out` is a file, or a folder that holds a file which is not of a checkpoint.
    """
    if out.is_file():
        raise ConfigError(f"{out}: is a file; give a folder to write the checkpoint to")
    if out.is_dir():
        others = sorted(path.name for path in out.iterdir() if path.name not in CHECKPOINT_FILES)
        if others:
            raise ConfigError(f"{out}: holds {others[0]}, which is not of a checkpoint; give a new folder")


def published_files(folder: Path) -> list[Path]:
    """Files of a model's folder that are published, relative and sorted; the others are logged.

    Raises:
        CheckpointError: no `config.json`: the folder is no model, as a folder of training state.
    """
    if not (folder / keys.CONFIG_JSON).is_file():
        raise CheckpointError(
            f"{folder}: no {keys.CONFIG_JSON}, so no model; training state (`state/`, --checkpoint-dir) is not "
            "published"
        )
    known = {path for pattern in PATTERNS for path in folder.glob(pattern) if path.is_file()}
    found = sorted(path.relative_to(folder) for path in known)
    others = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path not in known]
    left = sorted({path.parts[0] if len(path.parts) == 1 else f"{path.parts[0]}/" for path in others})
    if left:
        logger.info("%s: not published: %s", folder, ", ".join(left))
    return found


def copy_model(folder: Path, out: Path) -> None:
    """Copy what a model is made of, whole or not at all; an older folder there is replaced."""
    with atomic_path(out) as partial:
        for file in published_files(folder):
            (partial / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, partial / file)


def check_export(folder: Path, stated: StatedAccess | None) -> str:
    """The data-access class of a model's folder, which must not be `controlled`.

    Args:
        folder: A model's folder.
        stated: What the user says, where the records say nothing, as those of imported weights.
    Raises:
        CheckpointError: something is of class `controlled`, or of a class that is not known.
        ConfigError: nobody states the class, or the user contradicts the records.
    """
    declared = {path: _read_object(folder / path).get("data_access") for path in _provenance_files(folder)}
    strict = [path for path, access in declared.items() if access and strictest([str(access)]) == CONTROLLED]
    if strict:
        raise CheckpointError(
            f"{folder / strict[0]}: made from data of access class {declared[strict[0]]}; what is made from controlled "
            "data, weights too, is not exported"
        )
    own = declared.get(Path(keys.PROVENANCE_JSON))
    if own and stated and own != stated:
        raise ConfigError(
            f"{folder}: its records say that it was made from data of class {own}, not {stated}: leave "
            "--data-access out"
        )
    if not own and not stated:
        raise ConfigError(
            f"{folder}: its records do not say whether it was made from open data: say so with --data-access open, or "
            "--data-access local for your own; what was made from controlled data is not exported"
        )
    return str(own or stated)


def write_published(
    folder: Path, out: Path, repo_id: str, stated: StatedAccess | None, licence: str | None
) -> list[Path]:
    """Write the published form of a model's folder: what a hub reads in `config.json` and card, no state.

    Where the data are not open, the hashes of the training patients stay behind: ids can be guessed and hashed.

    Args:
        folder: A model's folder.
        out: Folder to fill, empty.
        repo_id: Its name on the hub, for the card.
        stated: As `check_export`.
        licence: The hub's name of the licence of the weights; None: as the card says.
    Returns:
        The files, relative.
    Raises:
        CheckpointError, ConfigError: as `check_export` and `published_files`.
    """
    access = check_export(folder, stated)
    files = published_files(folder)
    for file in files:
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        if file.name == keys.PROVENANCE_JSON:
            write_json(out / file, _published_provenance(_read_object(folder / file), access))
        else:
            shutil.copyfile(folder / file, out / file)
    described = _read_object(folder / keys.CONFIG_JSON)
    write_json(out / keys.CONFIG_JSON, hub_config(described))
    card = read_card(folder)
    usage = card.sections.get(parts.HOW_TO_USE, "").replace("THIS_FOLDER", repo_id)
    card = card.with_section(parts.HOW_TO_USE, usage) if usage else card
    if licence is not None:
        card = card.with_front(license=licence).with_section(parts.LICENCE, parts.licence_text(licence))
    (out / keys.MODEL_CARD).write_text(card.text(), encoding="utf-8")
    return sorted({*files, Path(keys.MODEL_CARD)})


def hub_config(described: Mapping[str, Any]) -> dict[str, Any]:
    """A `config.json`, of an encoder or of a fine-tuned model, with what a model hub looks for (`registry.HUB_KEYS`).

    Args:
        described: Content of the file; its `model` is the kind of model. Not modified.
    """
    name = str(described["model"])
    architecture = keys.MODEL_TITLES.get(name, name)
    if described.get("kind") == FINETUNED:
        architecture = f"Finetuned{architecture}"
    return {**described, "library_name": PACKAGE, "model_type": name, "architectures": [architecture]}


def read_card(folder: Path) -> Card:
    """The model card of a folder; where there is none, one that says so little.

    Raises:
        CheckpointError: its front matter cannot be read.
    """
    path = folder / keys.MODEL_CARD
    described = _read_object(folder / keys.CONFIG_JSON)
    model = str(described.get("model"))
    if not path.is_file():
        sections = {
            parts.DATA: "Not stated.",
            parts.LIMITS: parts.RESEARCH_ONLY,
            parts.HOW_TO_CITE: parts.cite_text(model),
            parts.LICENCE: parts.licence_text(parts.UNKNOWN_LICENCE),
        }
        return Card(keys.MODEL_TITLES.get(model, model), parts.front_matter(model, None), "", sections)
    try:
        card = Card.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: the model card cannot be read: {error}") from error
    return card if card.front else card.with_front(**parts.front_matter(model, None))


def _published_provenance(record: dict[str, Any], access: str) -> dict[str, Any]:
    record = {**record, "data_access": access}
    hashes = record.get("patient_hashes")
    if access == OPEN or not hashes:
        return record
    logger.info("the hashes of %d training patients are not published: the data are of class %s", len(hashes), access)
    return {**record, "patient_hashes": None}


def _provenance_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob(keys.PROVENANCE_JSON)):
        yield path.relative_to(folder)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values
