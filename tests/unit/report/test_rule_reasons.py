"""Every rule that leaves a sample or a gene out can be read by people: each has a reason in words."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import bulkrnabert.data
from bulkrnabert.data import gene_lists, probe_positions, probes
from bulkrnabert.data.sources import gdc_rules
from bulkrnabert.report.text import GENE_REASONS, RULE_REASONS, SAMPLE_REASONS

PACKAGE = Path(bulkrnabert.data.__file__).parent
# Tuples of a name and something else that are no rule and its reason stand outside of these functions.
JUDGES = ("fault", "_fault", "_problem", "_judged", "_one_row_a_sample", "rule_of_probe", "_replicate_reason")
GENES_DROPPED = ("dropped", "trna", "absent")


def test_every_rule_has_a_reason() -> None:
    rules = set(gdc_rules.SINGLE_FILE_RULES) | {
        gdc_rules.ONE_ARRAY,
        probes.WITHOUT_GENE,
        probe_positions.NO_POSITION,
        gene_lists.NOT_PROTEIN_CODING,
        gene_lists.NOT_EVERYWHERE,
        gene_lists.NOT_IN_VOCABULARY,
        gene_lists.VOCABULARY_GENE_ABSENT,
    }
    for path in sorted(PACKAGE.rglob("*.py")):
        rules |= set(rules_in(path))
    assert len(rules) > 50, "the search has gone blind"
    assert sorted(rules - set(RULE_REASONS)) == []
    assert sorted(set(RULE_REASONS) - rules) == [], "reasons of rules that are no more"


def test_no_rule_is_both_of_samples_and_of_genes() -> None:
    assert not set(SAMPLE_REASONS) & set(GENE_REASONS)


def rules_in(path: Path) -> Iterator[str]:
    """Names of rules in a module: `rule=…`, the rule of `Rejected(…)`, and what the functions that judge return."""
    name = ".".join(("bulkrnabert", "data", *path.relative_to(PACKAGE).with_suffix("").parts))
    module = importlib.import_module(name.removesuffix(".__init__"))

    def text(node: ast.expr) -> Iterator[str]:
        if isinstance(node, ast.IfExp):
            yield from (*text(node.body), *text(node.orelse))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Name) and isinstance(getattr(module, node.id, None), str):
            yield getattr(module, node.id)

    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "rule":
            yield from text(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Rejected":
            yield from (rule for argument in node.args[4:5] for rule in text(argument))
        elif isinstance(node, ast.FunctionDef) and node.name in JUDGES:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and inner.value is not None and node.name == "rule_of_probe":
                    yield from text(inner.value)
                if isinstance(inner, ast.Tuple) and len(inner.elts) in (2, 3):
                    yield from (rule for rule in text(inner.elts[0]) if rule.isidentifier())
        elif is_about_genes(node):
            yield from (rule for part in ast.walk(node) for rule in of_pair(part, text))


def is_about_genes(node: ast.AST) -> bool:
    """`dropped = …`, `dropped.append(…)`, `dropped.extend(…)` and the like."""
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id in GENES_DROPPED for target in node.targets)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return isinstance(node.func.value, ast.Name) and node.func.value.id in GENES_DROPPED
    return False


def of_pair(node: ast.AST, text: object) -> Iterator[str]:
    assert callable(text)
    if isinstance(node, ast.Tuple) and len(node.elts) == 2:
        yield from text(node.elts[0])
