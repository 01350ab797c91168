"""Stage the documents of the repository as pages of the site, in their words, with their links led to the pages."""

import html
import re
import shutil
from pathlib import Path

from docs.site.navigation import EVERY_EXPERIMENT

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Documents outside of docs/, and the page that each becomes.
OUTSIDE = {
    "README.md": "index.md",
    "AGENTS.md": "AGENTS.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "SECURITY.md": "SECURITY.md",
    "CODE_OF_CONDUCT.md": "CODE_OF_CONDUCT.md",
    "examples/README.md": "examples.md",
}
# What pages link to beside other pages.
FILES = ("config.schema.json", "events.schema.json", "report.schema.json")
# Files that are no documents, and the names under which a browser shows them as text.
TEXTS = {"LICENSE": "license.txt", "CITATION.cff": "citation.txt"}
# A bar in code within a table: a repository page shows it without its backslash, the site's Markdown with it.
ESCAPED_BAR = "\\|"
BAR_IN_CODE = re.compile(r"`([^`\n]*\\\|[^`\n]*)`")
# The end of a Markdown link or the source of an image: `](target)`, `src="target"`.
TARGET = re.compile(r'(?<=\]\()[^)\s]+(?=\))|(?<=src=")[^"]+(?=")')


def stage_documents(pages: Path) -> None:
    """Write every document below a folder, and copy the images and schemas that they link to."""
    for name, page in OUTSIDE.items():
        write_page(pages / page, _page_text(ROOT / name))
    for document in sorted(DOCS.glob("*.md")):
        write_page(pages / document.name, _page_text(document))
    shutil.copytree(DOCS / "images", pages / "images")
    for name in FILES:
        shutil.copyfile(DOCS / name, pages / name)
    shutil.copytree(
        ROOT / "examples", pages / "examples", ignore=shutil.ignore_patterns("*.md", "__pycache__", "outputs")
    )
    for name, text in TEXTS.items():
        shutil.copyfile(ROOT / name, pages / text)


def write_page(file: Path, text: str) -> None:
    """Write a page, with the folders that it needs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _page_text(document: Path) -> str:
    text = document.read_text(encoding="utf-8")
    text = BAR_IN_CODE.sub(
        lambda match: f"<code>{html.escape(match.group(1)).replace(ESCAPED_BAR, '&#124;')}</code>", text
    )
    return TARGET.sub(lambda match: page_target(document, match.group()), text)


def page_target(document: Path, target: str) -> str:
    """Return where a link of a document leads on the site: pages lie in one folder, as the documents of docs/ do."""
    path, mark, anchor = target.partition("#")
    if not path or "://" in path:
        return target
    name = (document.parent / path).resolve().relative_to(ROOT).as_posix()
    if name == "conf/experiment":
        return EVERY_EXPERIMENT
    if name in TEXTS:
        return TEXTS[name]
    return OUTSIDE.get(name, name.removeprefix("docs/")) + mark + anchor
