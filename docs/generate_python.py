"""Write docs/python.md from the docstrings; `--check` only says whether it is current."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "python.md"
INTRODUCTION = """# Python

Generated from the docstrings by `docs/generate_python.py`; do not edit. In use: notebooks on
[embeddings](notebooks/embed.ipynb) and on [predictions](notebooks/predict.ipynb).

Importing `bulkrnabert` loads no torch; what needs it does. Errors derive from `bulkrnabert.errors.BulkRNABertError`,
and a message says what was found, where, what was expected and what to do.

"""
DOCUMENTED: dict[str, tuple[str, ...]] = {
    "Models": (
        "bulkrnabert.load",
        "bulkrnabert.downstream.pretrained.PretrainedModel",
        "bulkrnabert.downstream.hub.PublishedModel",
    ),
    "Embeddings": ("bulkrnabert.embed", "bulkrnabert.encode_omics"),
    "Fine-tuned models": (
        "bulkrnabert.load_finetuned",
        "bulkrnabert.predict",
        "bulkrnabert.downstream.finetuned_folder.FinetunedModel",
    ),
    "Restored values": ("bulkrnabert.downstream.impute.impute", "bulkrnabert.downstream.impute.ImputedTable"),
    "Tables": (
        "bulkrnabert.read_cohort",
        "bulkrnabert.to_anndata",
        "bulkrnabert.data.sources.files.read_expression",
        "bulkrnabert.data.sources.files.ExpressionTable",
        "bulkrnabert.data.tables.read_cohorts",
        "bulkrnabert.data.tables.Cohorts",
        "bulkrnabert.data.tokenizer.BinnedTokenizer",
    ),
}
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Source|Example):$")
LONGEST_LINE = 100
ENTRY = re.compile(r"^(?P<names>[\w, .*]+): (?P<meaning>.*)$", re.DOTALL)


def render() -> str:
    """The page: a section for each object, its public methods below it."""
    parts = [INTRODUCTION]
    for title, paths in DOCUMENTED.items():
        parts.append(f"## {title}\n\n")
        for path in paths:
            module, name = path.rsplit(".", 1)
            parts += _described(getattr(importlib.import_module(module), name), path)
    return "".join(parts).rstrip("\n") + "\n"


def _described(thing: Any, path: str) -> Iterator[str]:
    yield f"### `{path}`\n\n"
    if not inspect.isclass(thing):
        yield _signature(thing, path.rsplit(".", 1)[1])
    yield from _docstring(thing)
    if not inspect.isclass(thing):
        return
    for name, member in vars(thing).items():
        if name.startswith("_") or not _is_function(member):
            continue
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        yield f"#### `{path.rsplit('.', 1)[1]}.{name}`\n\n"
        if not isinstance(function, property):
            yield _signature(function, name)
        yield from _docstring(function)


def _is_function(member: Any) -> bool:
    return inspect.isfunction(member) or isinstance(member, classmethod | staticmethod | property)


class _Bare(str):
    """An annotation that is shown without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _signature(function: Any, name: str) -> str:
    signature = inspect.signature(function)
    kept = [
        one.replace(annotation=one.annotation if one.annotation is one.empty else _Bare(one.annotation))
        for one in signature.parameters.values()
        if one.name not in ("self", "cls")
    ]
    returned = f" -> {signature.return_annotation}" if signature.return_annotation is not signature.empty else ""
    bare = signature.replace(parameters=kept, return_annotation=signature.empty)
    text = f"{name}{bare}{returned}"
    if len(text) > LONGEST_LINE:
        text = "\n".join([f"{name}(", *(f"    {one}," for one in _shown(kept)), f"){returned}"])
    return f"```python\n{text}\n```\n\n"


def _shown(parameters: list[inspect.Parameter]) -> Iterator[str]:
    """Parameters one by one, with the star before those that are given by name only."""
    is_after_star = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not is_after_star:
            is_after_star = True
            yield "*"
        yield str(parameter)


def _docstring(thing: Any) -> Iterator[str]:
    section, paragraph = "", []
    for line in [*(inspect.getdoc(thing) or "").splitlines(), ""]:
        heading = SECTION.match(line)
        if heading is None and (section or line.strip()):
            paragraph.append(line)
            continue
        if heading is None and not paragraph:
            continue
        yield from _section(section, paragraph)
        paragraph = []
        section = heading[1] if heading else ""
    yield from _section(section, paragraph)


def _section(title: str, lines: list[str]) -> Iterator[str]:
    text = "\n".join(lines).strip("\n")
    if not text.strip():
        return
    if not title:
        yield f"{_escaped(' '.join(text.split()))}\n\n"
    elif title == "Returns":
        yield f"**Returns**: {_escaped(' '.join(text.split()))}\n\n"
    else:
        yield f"| {title} | |\n|---|---|\n"
        for entry in re.split(r"\n(?=    \S)", text):
            match = ENTRY.match(" ".join(entry.split()))
            names, meaning = (match["names"], match["meaning"]) if match else ("", " ".join(entry.split()))
            yield f"| {f'`{names}`' if names else ''} | {_escaped(meaning).replace('|', chr(92) + '|')} |\n"
        yield "\n"


def _escaped(text: str) -> str:
    pieces = re.split(r"(`[^`]*`)", text)
    plain = re.compile(r"([*\[\]_])")
    return "".join(
        piece if piece.startswith("`") else plain.sub(r"\\\1", piece.replace("<", "&lt;").replace(">", "&gt;"))
        for piece in pieces
    )


def main() -> int:
    """Write or check the page."""
    page = render()
    if "--check" in sys.argv[1:]:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page:
            return 0
        sys.stderr.write("docs/python.md is not current: run python docs/generate_python.py\n")
        return 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
