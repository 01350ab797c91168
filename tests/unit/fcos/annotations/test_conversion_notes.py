"""Notes on a conversion lie beside its files, and nothing else is taken for them."""

from pathlib import Path

import pytest

from fcos.annotations.conversion_notes import CONVERSION, read_conversion_notes, write_conversion_notes


def test_notes_are_read_once_for_all_files_of_a_folder(tmp_path: Path) -> None:
    write_conversion_notes(tmp_path, ["one: 1 (ü.png)", "two"])
    assert read_conversion_notes([tmp_path / "train.json", tmp_path / "val.json"]) == ("one: 1 (ü.png)", "two")


def test_without_notes_there_is_no_file_and_an_earlier_one_is_replaced(tmp_path: Path) -> None:
    write_conversion_notes(tmp_path, [])
    assert not (tmp_path / CONVERSION).exists()
    write_conversion_notes(tmp_path, ["one"])
    write_conversion_notes(tmp_path, [])
    assert read_conversion_notes([tmp_path / "train.json"]) == ()


@pytest.mark.parametrize("content", ["", "[]", '{"from": "png"}'])
def test_a_file_of_another_program_has_no_notes(tmp_path: Path, content: str) -> None:
    (tmp_path / CONVERSION).write_text(content)
    assert read_conversion_notes([tmp_path / "train.json"]) == ()
