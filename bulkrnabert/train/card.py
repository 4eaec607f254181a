"""A model card: front matter that a model hub reads, then titled sections. What is not known is said to be absent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import yaml

from bulkrnabert import keys
from bulkrnabert.provenance import PACKAGE

# Titles of the sections, in the order in which they stand.
INTENDED_USE: Final = "Intended use"
PREDICTS: Final = "What it predicts"
DATA: Final = "Data"
ORIGIN: Final = "Where the data come from"
PREPROCESSING: Final = "Preprocessing"
MODEL: Final = "Model"
TRAINING: Final = "Training"
METRICS: Final = "Metrics (validation patients, last step)"
MEMBERS: Final = "Members (loss on training patients that were set aside to decide when to stop, nats)"
RESULTS: Final = "Results"
LIMITS: Final = "Limits"
COST: Final = "Environmental cost"
HOW_TO_USE: Final = "How to use"
HOW_TO_CITE: Final = "How to cite"
LICENCE: Final = "Licence"
ORDER: Final = (
    *(INTENDED_USE, PREDICTS, DATA, ORIGIN, PREPROCESSING, MODEL, TRAINING, METRICS, MEMBERS, RESULTS),
    *(LIMITS, COST, HOW_TO_USE, HOW_TO_CITE, LICENCE),
)

UNKNOWN_LICENCE: Final = "unknown"
RESEARCH_ONLY: Final = "For research. Not for diagnosis or for decisions about patients."
NO_RESULTS: Final = (
    "None in this folder. `bulkrnabert card --model THIS_FOLDER --results RESULTS` writes those of a finished run "
    "here,\nwith their intervals, protocol and splits."
)
NO_ORIGIN: Final = (
    "Portal, data release and what was left out: not known to this stage. `bulkrnabert card` writes them "
    "here\nfrom the records of the run."
)
NOT_MEASURED: Final = "Energy and emissions were not measured."
TAGS: Final = (PACKAGE, "biology", "transcriptomics", "rna-seq", "cancer", "safetensors")
PAPERS: Final = {
    keys.BULKRNABERT: "Gélard et al., BulkRNABert: Cancer prognosis from bulk RNA-seq based language models, PMLR "
    "259:384-400 (2025).",
    keys.MOJO: "Gélard et al., MOJO, bioRxiv 2025.06.25.661237.",
    keys.GEXBERT: "Jiang and Hassanpour, GexBERT, Sci Rep 15:37581 (2025).",
}
_FRONT = re.compile(r"\A---\n(.*?)\n---\n+", re.DOTALL)
_TITLE = re.compile(r"^# (.+)\n", re.MULTILINE)
_SECTION = re.compile(r"^## (.+)\n", re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """A model card in parts.

    Attributes:
        title: Heading of the page.
        front: Front matter: what a hub reads, as YAML.
        intro: Text before the first section.
        sections: Text of each section by its title.
    """

    title: str
    front: Mapping[str, Any]
    intro: str
    sections: Mapping[str, str]

    def with_section(self, title: str, text: str) -> Self:
        """With a section put in, or in place of the one of that title."""
        return replace(self, sections={**self.sections, title: text})

    def with_front(self, **values: Any) -> Self:
        """With these keys of the front matter."""
        return replace(self, front={**self.front, **values})

    def text(self) -> str:
        """Markdown with YAML front matter; sections of other titles than ours stand at the end."""
        titles = [title for title in ORDER if title in self.sections]
        titles += [title for title in self.sections if title not in ORDER]
        front = yaml.safe_dump(dict(self.front), sort_keys=False, allow_unicode=True, width=1000)
        parts = [f"---\n{front}---\n", f"# {self.title}\n"]
        if self.intro.strip():
            parts.append(f"{self.intro.strip()}\n")
        parts += [f"## {title}\n{self.sections[title].strip()}\n" for title in titles]
        return "\n".join(parts)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a card apart; one without front matter, title or sections is as good as one with.

        Raises:
            ValueError: the front matter is no YAML mapping.
        """
        found = _FRONT.match(text)
        try:
            front = yaml.safe_load(found[1]) if found else {}
        except yaml.YAMLError as error:
            raise ValueError(f"its front matter is no YAML: {error}") from error
        if not isinstance(front, dict):
            raise ValueError(f"its front matter is a {type(front).__name__}, expected `key: value` lines")
        body = text[found.end() :] if found else text
        title = _TITLE.search(body)
        body = body[title.end() :] if title else body
        intro, *rest = _SECTION.split(body)
        sections = {name.strip(): part.strip() for name, part in zip(rest[::2], rest[1::2], strict=True)}
        return cls(title[1].strip() if title else "Model", front, intro.strip(), sections)


def front_matter(
    model: str, pipeline_tag: str | None, tags: tuple[str, ...] = (), licence: str = UNKNOWN_LICENCE
) -> dict[str, Any]:
    """Front matter of any card.

    Args:
        model: Kind of model.
        pipeline_tag: The hub's name of what it does; None where it has none.
        tags: Beside those that all models have.
        licence: The hub's name of the licence of the weights; `unknown` until somebody states it.
    """
    return {
        "library_name": PACKAGE,
        "license": licence,
        **({} if pipeline_tag is None else {"pipeline_tag": pipeline_tag}),
        "tags": list(dict.fromkeys([*TAGS, model, *tags])),
    }


def cite_text(model: str) -> str:
    """What to cite for a model."""
    paper = PAPERS[model]
    return f"The paper of the model: {paper}\nThe software: `CITATION.cff` of {PACKAGE}, with the version above."


def licence_text(licence: str) -> str:
    """The licence of the weights, or that nobody has stated it."""
    if licence == UNKNOWN_LICENCE:
        return "Not stated for these weights. The code that reads them is under the Apache License 2.0."
    return f"Of these weights: {licence}. The code that reads them is under the Apache License 2.0."


ENCODER_USE: Final = f"""
For: vectors of bulk tumour profiles as input of further models; fine-tuning on cancer type or survival.
Not for: single cells, other species, or values in a unit that does not become the one below.
{RESEARCH_ONLY}"""


def encoder_usage(units: Mapping[str, str]) -> str:
    """How to embed with an encoder, in Python and on the command line.

    Args:
        units: Unit of each omic that it reads.
    """
    rnaseq = units.get(keys.RNASEQ)
    methylation = keys.METHYLATION in units
    options = [f"--table FILE --unit {shell_quoted(rnaseq)}"] if rnaseq else []
    options += ["--methylation FILE"] if methylation else []
    if len(units) > 1:
        tables = ", ".join(f'"{omic}": ({omic}_table, "{unit}")' for omic, unit in units.items())
        call = f"brb.embed(model, {{{tables}}})"
    else:
        call = f'brb.embed(model, adata, unit="{next(iter(units.values()))}")'
    return f"""```python
import bulkrnabert as brb

model = brb.load("THIS_FOLDER")  # or a hub id: brb.load("owner/name", revision="…")
embeddings = {call}  # shape (samples, width), float32
```

```bash
bulkrnabert embed --checkpoint THIS_FOLDER {" ".join(options)} --out embeddings.h5ad
```"""


def shell_quoted(unit: str) -> str:
    """A unit as a shell takes it: `log2(tpm+1)` needs quotes."""
    return f"'{unit}'" if "(" in unit else unit
