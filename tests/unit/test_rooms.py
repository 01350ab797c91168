"""No folder has more modules than one takes in at a glance, and no module more lines than one reads in one sitting."""

from pathlib import Path

import pytest

from fcos.installation import ROOT

PACKAGES = ("fcos", "orchestration", "analysis")
MOST_MODULES = 14
MOST_LINES = 350


def modules_in(folder: Path) -> list[Path]:
    return [file for file in folder.glob("*.py") if file.name not in ("__init__.py", "conftest.py")]


@pytest.mark.parametrize("root", [*PACKAGES, "tests"])
def test_no_folder_has_more_than_fourteen_modules(root: str) -> None:
    folders = [ROOT / root, *(path for path in (ROOT / root).rglob("*") if path.is_dir())]
    counts = {str(folder.relative_to(ROOT)): len(modules_in(folder)) for folder in folders}
    assert {name: count for name, count in counts.items() if count > MOST_MODULES} == {}


@pytest.mark.parametrize("root", PACKAGES)
def test_no_module_has_more_than_350_lines(root: str) -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in (ROOT / root).rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
