"""Notes on a conversion lie beside its files, and nothing else is taken for them."""

from pathlib import Path

import pytest

from fcos.annotations.conversion_notes import CONVERSION, read_conversion_notes, write_conversion_notes


@pytest.fixture
def converted(tmp_path: Path) -> list[Path]:
    files = [tmp_path / "train.json", tmp_path / "val.json"]
    for file in files:
        file.write_text(file.stem)
    return files


def test_notes_are_read_once_for_all_files_of_a_folder(converted: list[Path]) -> None:
    write_conversion_notes(converted[0].parent, ["one: 1 (ü.png)", "two"], converted)
    assert read_conversion_notes(converted) == ("one: 1 (ü.png)", "two")


def test_without_notes_there_is_no_file_and_an_earlier_one_is_replaced(tmp_path: Path, converted: list[Path]) -> None:
    write_conversion_notes(tmp_path, [], converted)
    assert not (tmp_path / CONVERSION).exists()
    write_conversion_notes(tmp_path, ["one"], converted)
    write_conversion_notes(tmp_path, [], converted)
    assert read_conversion_notes(converted) == ()


def test_a_file_that_was_added_or_written_anew_has_no_notes(tmp_path: Path, converted: list[Path]) -> None:
    write_conversion_notes(tmp_path, ["one"], converted)
    (tmp_path / "other.json").write_text("train")
    converted[0].write_text("val")
    assert read_conversion_notes([tmp_path / "other.json", converted[0]]) == ()
    assert read_conversion_notes(converted) == ("one",)


@pytest.mark.parametrize("content", ["", "[]", '{"from": "png"}', '{"conversion_notes": ["one"]}'])
def test_a_file_of_another_program_has_no_notes(tmp_path: Path, converted: list[Path], content: str) -> None:
    (tmp_path / CONVERSION).write_text(content)
    assert read_conversion_notes(converted) == ()
