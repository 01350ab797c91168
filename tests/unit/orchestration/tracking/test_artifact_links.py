"""A file becomes an artifact without another copy of its content, and stays as it was when it is replaced."""

import os
from pathlib import Path

import pytest

from fcos.storage.files import write_atomically
from orchestration.tracking.artifacts import link_artifact


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "index.json"
    path.parent.mkdir()
    path.write_text("first")
    return path


def test_a_linked_file_takes_no_space_and_stays_when_the_other_is_replaced(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts" / "evaluation"
    assert link_artifact(file, folder) and link_artifact(file, folder)
    assert [path.name for path in folder.iterdir()] == ["index.json"]
    assert (folder / "index.json").samefile(file)
    write_atomically(file, "second")
    assert (folder / "index.json").read_text() == "first"
    assert link_artifact(file, folder) and (folder / "index.json").read_text() == "second"


def test_what_cannot_be_linked_is_left_to_be_copied(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(file)
    assert not link_artifact(link, tmp_path / "artifacts")

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert not link_artifact(file, tmp_path / "artifacts") and list((tmp_path / "artifacts").iterdir()) == []
