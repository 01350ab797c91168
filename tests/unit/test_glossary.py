"""docs/glossary.md: the definitions that it names exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"


def table_rows() -> list[list[str]]:
    lines = [line for line in GLOSSARY.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in rows if row[0] != "word"]


def test_every_word_has_a_meaning_and_a_definition() -> None:
    rows = table_rows()
    assert len(rows) > 30
    assert all(len(row) == 3 and all(row) for row in rows)
    assert len({row[0] for row in rows}) == len(rows)


def test_every_file_exists_and_holds_the_name() -> None:
    missing = []
    for word, _, definitions in table_rows():
        for path, name in re.findall(r"`([\w./]+/[\w.]*)`(?: `(\w+)`)?", definitions):
            file = ROOT / path
            if not file.exists() or (name and not re.search(rf"\b{name}\b", file.read_text(encoding="utf-8"))):
                missing.append((word, path, name))
    assert missing == []
