"""A file that is written piece by piece is there when it is whole, and after an error as it was."""

from pathlib import Path

import pytest

from fcos.storage.whole_file import whole_file


def test_a_file_is_there_only_when_the_block_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    with whole_file(path) as temporary:
        temporary.write_text("[1]")
        assert not path.exists() and temporary.parent == tmp_path and temporary.suffix == ".json"
    assert [file.name for file in tmp_path.iterdir()] == ["list.json"] and path.read_text() == "[1]"


def test_an_error_leaves_the_old_content_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("[1]")
    with pytest.raises(KeyError), whole_file(path) as temporary:
        temporary.write_text("[1, ")
        raise KeyError
    assert [file.name for file in tmp_path.iterdir()] == ["list.json"] and path.read_text() == "[1]"


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "list.json"):
        pass
