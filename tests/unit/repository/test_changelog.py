"""A release is cut from the changelog, and its notes are what stands there."""

import importlib.util
import shutil
import sys
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

from fcos.installation import ROOT

NAMED = ("CHANGELOG.md", "pyproject.toml", "CITATION.cff")


@pytest.fixture
def changelog() -> ModuleType:
    spec = importlib.util.spec_from_file_location("changelog", ROOT / ".ci" / "changelog.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that a release changes, as they are now."""
    for name in NAMED:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_all_files_that_name_the_version_agree(changelog: ModuleType) -> None:
    changelog.check_named(ROOT, "0.1.0")
    with pytest.raises(changelog.ReleaseError, match="pyproject"):
        changelog.check_named(ROOT, "0.1.1")


def test_a_release_gets_what_is_unreleased_and_its_version_stands_in_all_files(
    changelog: ModuleType, copy: Path
) -> None:
    before = changelog.read_section((copy / "CHANGELOG.md").read_text(), "[Unreleased]")
    changelog.cut(copy, "0.2.0", date(2027, 1, 2))
    text = (copy / "CHANGELOG.md").read_text()
    assert before and changelog.notes(copy, "0.2.0") == before
    assert changelog.read_section(text, "[Unreleased]") == "" and "## [0.2.0] - 2027-01-02\n" in text
    assert 'version = "0.2.0"\n' in (copy / "pyproject.toml").read_text()
    assert "\nversion: 0.2.0\n" in (copy / "CITATION.cff").read_text()
    # The next release has only what came after it.
    (copy / "CHANGELOG.md").write_text(text.replace("## [Unreleased]\n", "## [Unreleased]\n\n### Added\n- More.\n"))
    changelog.cut(copy, "0.3.0", date(2027, 2, 3))
    assert changelog.notes(copy, "0.3.0") == "### Added\n- More."
    assert changelog.read_section((copy / "CHANGELOG.md").read_text(), "[0.2.0]") == before


def test_what_cannot_be_released_is_refused(changelog: ModuleType, copy: Path) -> None:
    with pytest.raises(changelog.ReleaseError, match=r"pyproject\.toml: its version is 0\.1\.0, not 0\.2\.0"):
        changelog.notes(copy, "0.2.0")
    with pytest.raises(changelog.ReleaseError, match=r"nothing stands under \[0\.1\.0\]"):
        changelog.notes(copy, "0.1.0")
    changelog.cut(copy, "0.1.0", date(2027, 1, 2))
    with pytest.raises(changelog.ReleaseError, match=r"has \[0\.1\.0\] already"):
        changelog.cut(copy, "0.1.0", date(2027, 1, 2))
    with pytest.raises(changelog.ReleaseError, match=r"nothing stands under \[Unreleased\]"):
        changelog.cut(copy, "0.2.0", date(2027, 1, 2))


@pytest.mark.parametrize("words", [["cut"], ["notes", "next"], ["make", "0.1.0"]])
def test_other_words_get_the_usage(
    changelog: ModuleType, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["changelog.py", *words])
    assert changelog.main() == 2 and "changelog.py cut 0.2.0" in capsys.readouterr().err


def test_the_changelog_has_the_form_of_keep_a_changelog(changelog: ModuleType) -> None:
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("#")]
    assert headings[:2] == ["# Changelog", "## [Unreleased]"]
    kinds = {"### Added", "### Changed", "### Deprecated", "### Removed", "### Fixed", "### Security"}
    assert {heading for heading in headings if heading.startswith("### ")} <= kinds
