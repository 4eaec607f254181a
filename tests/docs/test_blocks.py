"""What is taken from a page: fenced and indented code, reasons, continued lines, our commands among others."""

from __future__ import annotations

from pathlib import Path

from tests.docs.blocks import blocks, commands_of_line, logical_lines

PAGE = """# Title
Text with `bulkrnabert split` in it.
<!-- not run: needs a GPU -->
```bash
one
```
```csv
a,b
```

    indented

- a list
"""


def test_blocks_of_a_page(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(PAGE)
    found = blocks(tmp_path, tmp_path / "page.md")
    assert [(block.line, block.language, block.text, block.not_run) for block in found] == [
        (5, "bash", "one", "needs a GPU"),
        (8, "csv", "a,b", None),
        (11, "", "indented\n", None),
    ]


def test_continued_lines_are_one() -> None:
    assert list(logical_lines("# a comment\nfirst \\\n  --more x\n\nsecond")) == [
        (1, "first    --more x"),
        (4, "second"),
    ]


def test_our_commands_are_told_from_others() -> None:
    line = "A=1 bulkrnabert synth --out x && cd y; ../nextflow run . -profile demo | tee log  # bulkrnabert no"
    found = list(commands_of_line(line, "here"))
    assert [command.words for command in found] == [
        ("bulkrnabert", "synth", "--out", "x"),
        ("../nextflow", "run", ".", "-profile", "demo"),
    ]
    assert all(command.is_whole for command in found)
    assert not next(commands_of_line("bulkrnabert embed …", "here")).is_whole
    assert list(commands_of_line("cd bulkrnabert && ls", "here")) == []
