"""Refuse retired words in names of files, functions, classes, parameters and variables: python .ci/words.py"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKED = ("fcos", "orchestration", "analysis", "benchmarks")
# A retired word -> the field's own. Words of a name are what underscores and capitals separate.
RETIRED = {
    "abreast": "max_concurrent",
    "beat": "heartbeat",
    "board": "progress",
    "books": "recorder",
    "conduct": "run_tune",
    "contest": "conflicts",
    "evidence": "provenance",
    "hear": "on_<event>",
    "heard": "on_<event>",
    "heart": "on_heartbeat",
    "heed": "<signal>_requested",
    "nobody": "empty, unassigned or no_object",
    "place": "location, slot or index",
    "places": "locations, slots or indices",
    "say": "log or message",
    "says": "log or message",
    "stake": "scatter_min",
    "tell": "report or log",
    "tells": "report or log",
    "told": "reported",
    "whom": "the name of the receiver",
}


def names_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Iterate over line and name of all that a module defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def words_of(name: str) -> list[str]:
    """Split a name at underscores and capitals."""
    return "".join(f"_{letter}" if letter.isupper() else letter for letter in name).lower().split("_")


def main() -> int:
    """Print every retired word with file, line and the field's own; return 1 where there is one."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = 0
    for file in listed.splitlines():
        if file.split("/")[0] not in CHECKED or not (ROOT / file).exists():
            continue
        names = [(1, Path(file).stem), *names_in(ast.parse((ROOT / file).read_text()))]
        for line, name in names:
            for word in words_of(name) if not name.isupper() else name.lower().split("_"):
                if word in RETIRED:
                    print(f"{file}:{line}: {name}: {word} is retired; say {RETIRED[word]}")
                    found += 1
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
