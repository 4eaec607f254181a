"""Write docs/parameters.md from nextflow_schema.json; `--check` only says whether it is current."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "parameters.md"


def _row(name: str, prop: dict[str, Any]) -> str:
    choices = f" One of {', '.join(f'`{choice}`' for choice in prop['enum'])}." if "enum" in prop else ""
    default = f"`{json.dumps(prop['default'])}`" if "default" in prop else ""
    return f"| `--{name}` | {prop['description']}{choices} | {prop['type']} | {default} |"


def render(schema: dict[str, Any]) -> str:
    """The page: a table for each group of parameters."""
    lines = [
        "# Parameters",
        "",
        "Generated from `nextflow_schema.json` by `docs/generate_parameters.py`; do not edit.",
        "",
    ]
    for group in schema["$defs"].values():
        lines += [f"## {group['title']}", ""]
        if "description" in group:
            lines += [group["description"], ""]
        lines += ["| parameter | meaning | type | default |", "|---|---|---|---|"]
        lines += [_row(name, prop) for name, prop in group["properties"].items()]
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Write or check the page."""
    page = render(json.loads((ROOT / "nextflow_schema.json").read_text(encoding="utf-8")))
    if "--check" in sys.argv[1:]:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page:
            return 0
        sys.stderr.write("docs/parameters.md is not current: run python docs/generate_parameters.py\n")
        return 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
