"""Files that the documents name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").glob("*.md"))]
# A path below one of the project's folders; placeholders such as <name> are none.
NAMED = re.compile(
    r"(?<![\w/<>.-])(?:fcos|conf|orchestration|analysis|benchmarks|tests|docs)/[\w/.-]+\.(?:py|yaml|md|png|html)\b"
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_names_are_there(document: Path) -> None:
    named = set(NAMED.findall(document.read_text()))
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []
