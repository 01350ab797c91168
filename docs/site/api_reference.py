"""Make a page for each room of the library, on which mkdocstrings shows the docstrings of its public modules."""

from collections.abc import Iterator
from pathlib import Path

from docs.site.documents import ROOT, write_page
from docs.site.navigation import API_FOLDER

# The library, which knows no orchestrator, and the statistics of reports. What the other packages offer are commands.
ROOTS = ("fcos", "analysis/stats")
# Of the library what reads a command line.
COMMANDS = ("fcos/cli", "fcos/__main__.py")


def rooms() -> Iterator[Path]:
    """Yield the folders with modules below the roots, each before those that it holds."""
    for root in ROOTS:
        for folder in sorted([ROOT / root, *(path for path in (ROOT / root).rglob("*") if path.is_dir())]):
            if public_modules(folder):
                yield folder


def public_modules(folder: Path) -> list[str]:
    """Return the dotted names of the modules in a folder."""
    files = [file for file in sorted(folder.glob("*.py")) if file.name != "__init__.py"]
    paths = [file.relative_to(ROOT) for file in files]
    return [
        ".".join(path.with_suffix("").parts)
        for path in paths
        if not any(path.as_posix().startswith(command) for command in COMMANDS)
    ]


def write_api_pages(pages: Path) -> list[tuple[str, str]]:
    """Write the pages, and return the title and file of each."""
    written = []
    for folder in rooms():
        name = ".".join(folder.relative_to(ROOT).parts)
        file = f"{API_FOLDER}/{name}.md"
        write_page(pages / file, _page(name, public_modules(folder)))
        written.append((name, file))
    return written


def _page(name: str, modules: list[str]) -> str:
    parts = [f"# {name}\n", f"::: {name}\n    options:\n      show_root_heading: false\n      members: false\n"]
    parts += [f"::: {module}\n" for module in modules]
    return "\n".join(parts)
