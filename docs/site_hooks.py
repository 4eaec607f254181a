"""What mkdocs does beside its own work: pages made from files elsewhere, and links that leave docs/.

One rule for links: they are written as GitHub needs them. In the site, a link to a file of the repository that is no
page becomes the file's name, as the site is whole without the repository; that the file exists is checked.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

logger = logging.getLogger("mkdocs.hooks.docs")

ROOT = Path(__file__).resolve().parents[1]
MADE_PAGES = {"CHANGELOG.md": "changelog.md", "containers/README.md": "containers.md"}
"""Page of the site, by the file of the repository that it is made from."""
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s#]+)(?P<anchor>#[^()\s]*)?\)")
TABLE_ROW = re.compile(r"^\|.*`.*$", re.MULTILINE)
FENCED = re.compile(r"^[ \t]*```.*?^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here, and to the navigation those that come and go."""
    for source, page in MADE_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=in_the_site(text, source)))
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        add_notebook(files, config, notebook)
    for title, pattern in (
        ("Decisions", "decisions/[0-9]*.md"),
        ("Results", "results-*.md"),
        ("Results", "benchmarks.md"),
    ):
        section = next(entry[title] for entry in config.nav or [] if title in entry)
        section += sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob(pattern))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:  # noqa: ARG001 - mkdocs' own
    """Rewrite the links of a page of docs/."""
    if page.file.generated_by is not None:
        return markdown
    return in_the_site(markdown, f"docs/{page.file.src_uri}")


def in_the_site(markdown: str, source: str) -> str:
    """Links of a page as the site needs them.

    Args:
        markdown: Text of a file of the repository.
        source: Its path in the repository, as `docs/data.md`.
    """
    page = MADE_PAGES.get(source, source.removeprefix("docs/"))

    def rewritten(match: re.Match[str]) -> str:
        target = match["target"]
        if "://" in target or target.startswith(("/", "mailto:")):
            return match[0]
        path = normpath(str(PurePosixPath(source).parent / target))
        inside = MADE_PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if inside is not None and (ROOT / "docs" / inside).is_dir():
            inside = f"{inside}/README.md" if (ROOT / "docs" / inside / "README.md").is_file() else None
        if inside is not None and inside.endswith(".ipynb"):
            inside = inside.removesuffix(".ipynb") + ".md"
        if inside is not None and inside.endswith(".py"):
            inside = None
        if inside is None:
            if not (ROOT / path).exists():
                logger.warning("%s: links to %s, which is not in the repository", source, path)
            return match["text"]
        url = relpath(inside, str(PurePosixPath(page).parent))
        return f"{match['image']}[{match['text']}]({url}{match['anchor'] or ''})"

    made, after = "", 0
    for code in [*FENCED.finditer(markdown), None]:
        prose = markdown[after : code.start() if code else len(markdown)]
        made += TABLE_ROW.sub(_bare_pipes, LINK.sub(rewritten, prose)) + (code[0] if code else "")
        after = code.end() if code else after
    return made


def _bare_pipes(row: re.Match[str]) -> str:
    """A row of a table whose code has bare pipes: the site shows the stroke that GitHub wants before one."""
    return re.sub(r"`[^`\n]*`", lambda code: code[0].replace("\\|", "|"), row[0])


def add_notebook(files: Files, config: MkDocsConfig, notebook: Path) -> None:
    """A notebook, with the outputs that are stored in it, as a page with its pictures."""
    from nbconvert import MarkdownExporter

    body, resources = MarkdownExporter().from_filename(str(notebook))
    body += f"\n\nThis page is the notebook `docs/notebooks/{notebook.name}`.\n"
    own = f"{notebook.stem}_"  # pictures of several notebooks are in one folder
    files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=body.replace("output_", own)))
    for name, content in resources["outputs"].items():
        files.append(File.generated(config, f"notebooks/{name.replace('output_', own)}", content=content))
