"""Model cards in parts."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard

from bulkrnabert.train import card as parts
from bulkrnabert.train.card import Card, encoder_usage, front_matter, licence_text


def make() -> Card:
    front = front_matter("mojo", "feature-extraction", ("fine-tuned",))
    return Card("MOJO: a model", front, "Made here.", {parts.LICENCE: "None.", "Own": "b", parts.DATA: "- a\n- b"})


def test_sections_stand_in_their_order_and_survive_parsing() -> None:
    text = make().text()
    assert text.index("## Data") < text.index("## Licence") < text.index("## Own")
    assert Card.parse(text) == make()
    assert Card.parse(text).text() == text
    longer = make().with_section(parts.RESULTS, "| 1 |").with_section(parts.DATA, "c")
    assert Card.parse(longer.text()).sections == {
        parts.DATA: "c",
        parts.RESULTS: "| 1 |",
        parts.LICENCE: "None.",
        "Own": "b",
    }


def test_the_hub_reads_the_front_matter() -> None:
    index = [
        {
            "name": "MOJO: a model",
            "results": [
                {
                    "task": {"type": "tabular-classification", "name": "cancer type, pan"},
                    "dataset": {"type": "bulkrnabert-cohorts", "name": "A, B"},
                    "metrics": [{"type": "macro_f1", "name": "macro F1", "value": 0.5}],
                }
            ],
        }
    ]
    data = ModelCard(make().with_front(**{"model-index": index}).text()).data
    assert (data.library_name, data.license, data.pipeline_tag) == ("bulkrnabert", "unknown", "feature-extraction")
    assert data.tags[-2:] == ["mojo", "fine-tuned"] and len(set(data.tags)) == len(data.tags)
    assert [(one.metric_type, one.metric_value) for one in data.eval_results] == [("macro_f1", 0.5)]


def test_a_card_of_other_hands() -> None:
    card = Card.parse("Some text.\n")
    assert (card.title, card.front, card.intro, card.sections) == ("Model", {}, "Some text.", {})
    with pytest.raises(ValueError, match="front matter is no YAML"):
        Card.parse("---\na: [\n---\n")
    with pytest.raises(ValueError, match="front matter is a list"):
        Card.parse("---\n- a\n---\n")


def test_usage_and_licence() -> None:
    assert "--table FILE --unit 'log2(tpm+1)' --out" in encoder_usage({"rnaseq": "log2(tpm+1)"})
    both = encoder_usage({"rnaseq": "tpm", "methylation": "beta"})
    assert '"methylation": (methylation_table, "beta")' in both and "--unit tpm --methylation FILE" in both
    assert licence_text("unknown").startswith("Not stated") and "cc-by-4.0" in licence_text("cc-by-4.0")
