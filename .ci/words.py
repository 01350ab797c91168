"""Refuse retired words in names, docstrings and comments, and docstrings of functions without a verb: .ci/words.py"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parent.parent
# Where names are checked, and where docstrings and comments are.
NAMED = ("fcos", "orchestration", "analysis", "benchmarks", "examples", "tests")
WRITTEN = ("fcos", "orchestration", "analysis", "benchmarks", "examples", ".ci")
# A retired word -> the field's own. Words of a name are what underscores and capitals separate.
RETIRED = {
    "abreast": "max_concurrent",
    "asked": "requested",
    "beat": "heartbeat",
    "beats": "heartbeats",
    "board": "progress",
    "book": "recorder",
    "books": "recorder",
    "conduct": "run_tune",
    "contest": "conflicts",
    "evidence": "provenance",
    "hear": "on_<event>",
    "heard": "on_<event>",
    "heart": "on_heartbeat",
    "heed": "<signal>_requested",
    "nobody": "empty, unassigned or no_object",
    "place": "location, slot, index or folder",
    "places": "locations, slots, indices or folders",
    "said": "message, output or reported",
    "say": "log or message",
    "says": "log or message",
    "stake": "scatter_min",
    "tell": "report or log",
    "tells": "report or log",
    "told": "reported",
    "whom": "the name of the receiver",
}
# Words by which a text would make a person of a program or a file.
PERSONIFYING = re.compile(
    r"\b(?:anybody|asks|asked|asking|hears?|heard|heeds?|nobody|said|saying|says?|somebody|speaks?|tells?|telling|told"
    r"|whom)\b",
    re.IGNORECASE,
)
# The same in documents, which may quote what commands print.
PERSONIFYING_IN_DOCUMENTS = re.compile(r"\b(?:anybody|hears?|heard|heeds?|nobody|somebody|told)\b", re.IGNORECASE)
# With which a docstring of a function begins where it names a thing instead of what the function does.
THINGS = frozenset(
    [
        "A",
        "All",
        "An",
        "Any",
        "As",
        "At",
        "Both",
        "Each",
        "Every",
        "Everything",
        "For",
        "How",
        "If",
        "In",
        "It",
        "Its",
        "No",
        "Of",
        "On",
        "One",
        "Other",
        "The",
        "These",
        "They",
        "This",
        "Those",
        "Three",
        "To",
        "Two",
        "What",
        "When",
        "Where",
        "Whether",
        "Which",
        "While",
        "Who",
        "Why",
        "With",
    ]
)
Functions: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


def names_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Iterate over line and name of all that a module defines."""
    for node in ast.walk(tree):
        if isinstance(node, Functions | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def words_of(name: str) -> list[str]:
    """Split a name at underscores and capitals."""
    if name.isupper():
        return name.lower().split("_")
    return "".join(f"_{letter}" if letter.isupper() else letter for letter in name).lower().split("_")


def docstrings_in(tree: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """Iterate over line and text of docstrings, and whether they have to begin with a verb."""
    for node in ast.walk(tree):
        if isinstance(node, Functions | ast.ClassDef | ast.Module) and (text := ast.get_docstring(node)):
            yield node.body[0].lineno, text, isinstance(node, Functions) and not _is_property(node)


def _is_property(node: Functions) -> bool:
    return any(
        ast.unparse(decorator).split(".")[-1] in ("property", "cached_property") for decorator in node.decorator_list
    )


def comments_in(source: str) -> Iterator[tuple[int, str]]:
    """Iterate over line and text of comments."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def check_names(file: str, tree: ast.Module) -> Iterator[str]:
    """Yield a message for each retired word in the names of a file."""
    for line, name in [(1, Path(file).stem), *names_in(tree)]:
        for word in words_of(name):
            if word in RETIRED:
                yield f"{file}:{line}: {name}: {word} is retired; take {RETIRED[word]}"


def check_texts(file: str, source: str, tree: ast.Module) -> Iterator[str]:
    """Yield a message for each personifying word and each docstring of a function that begins without a verb."""
    for line, text, needs_verb in docstrings_in(tree):
        yield from _check_text(f"{file}:{line}", text)
        if needs_verb and text.split()[0].strip(".,:;") in THINGS:
            yield f"{file}:{line}: {text.splitlines()[0]!r} begins without a verb, such as Return"
    for line, text in comments_in(source):
        yield from _check_text(f"{file}:{line}", text)


def check_document(file: str, source: str) -> Iterator[str]:
    """Yield a message for each personifying word of a document."""
    for number, line in enumerate(source.splitlines(), start=1):
        yield from _check_text(f"{file}:{number}", line, PERSONIFYING_IN_DOCUMENTS)


def _check_text(where: str, text: str, refused: re.Pattern[str] = PERSONIFYING) -> Iterator[str]:
    for word in refused.findall(text):
        yield f"{where}: {word}: no program or file does that; write what it holds, reports or requires"


def main() -> int:
    """Print every finding with file and line; return 1 where there is one."""
    listing = ["git", "ls-files", "*.py", "*.md", "*.yaml"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    findings: list[str] = []
    for file in (name for name in listed if (ROOT / name).exists()):
        folder, source = file.split("/")[0], (ROOT / file).read_text(encoding="utf-8")
        if not file.endswith(".py"):
            findings += check_document(file, source)
        elif folder in (*NAMED, *WRITTEN):
            tree = ast.parse(source)
            findings += check_names(file, tree) if folder in NAMED else ()
            findings += check_texts(file, source, tree) if folder in WRITTEN and file != ".ci/words.py" else ()
    print("\n".join(findings), end="\n" if findings else "")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
