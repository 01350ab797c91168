"""Check the built pages: links and anchors lead somewhere, and nothing is fetched from another host to show a page."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Attributes that a browser fetches by itself, by tag; what <a> names is fetched only when it is followed.
FETCHED = {
    "img": ("src", "srcset"),
    "script": ("src",),
    "link": ("href",),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "object": ("data",),
    "embed": ("src",),
}
# Relations of <link> that name an address without fetching it.
NAMED = {"canonical", "next", "prev", "alternate"}
IN_CSS = re.compile(r"(?:url\(\s*|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)")


@dataclass
class Page:
    """Identifiers of a page, and where its elements lead."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.page.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.page.links.append(values["href"])
        if tag == "link" and values.get("rel") in NAMED:
            return
        self.page.fetched += [values[name] for name in FETCHED.get(tag, ()) if name in values]


def read_page(file: Path) -> Page:
    """Return what a built page holds."""
    reader = _Reader()
    reader.feed(file.read_text(encoding="utf-8"))
    return reader.page


def find_faults(html: Path) -> list[str]:
    """Return a line for each link that leads nowhere, and for each address of another host that a page fetches."""
    pages = {file: read_page(file) for file in sorted(html.rglob("*.html"))}
    faults = []
    for file, page in pages.items():
        name = file.relative_to(html).as_posix()
        # Shown in place of any page, so that its links count from the top.
        folder = html if name == "404.html" else file.parent
        faults += [f"{name}: fetches {target}" for target in page.fetched if _is_elsewhere(target)]
        own = [target for target in (*page.links, *page.fetched) if not _is_elsewhere(target)]
        faults += [f"{name}: {target} leads nowhere" for target in own if not _leads(target, file, folder, html, pages)]
    return faults + list(_style_faults(html))


def _style_faults(html: Path) -> Iterator[str]:
    for file in sorted(html.rglob("*.css")):
        for target in IN_CSS.findall(file.read_text(encoding="utf-8")):
            yield f"{file.relative_to(html).as_posix()}: fetches {target}"


def _is_elsewhere(target: str) -> bool:
    parts = urlsplit(target)
    return bool(parts.netloc) or parts.scheme in ("mailto", "http", "https")


def _leads(target: str, file: Path, folder: Path, html: Path, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(target)
    if parts.scheme in ("data", "javascript"):
        return True
    path = unquote(parts.path)
    start = html if path.startswith("/") else folder
    leads_to = (start / path.lstrip("/")).resolve() if path else file
    if leads_to.is_dir():
        leads_to = leads_to / "index.html"
    if not leads_to.is_file():
        return False
    return not parts.fragment or leads_to not in pages or unquote(parts.fragment) in pages[leads_to].ids
