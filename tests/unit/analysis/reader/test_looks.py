"""Looks of a sweep: rising numbers of seeds from a tag, and nothing else."""

import pytest

from analysis.reader.looks import read_looks


def test_looks_are_rising_numbers_of_seeds_and_none_without_the_tag() -> None:
    assert read_looks({"fcos.looks": "[3, 6, 8]"}) == ((3, 6, 8), ())
    assert read_looks({"fcos.looks": "[]"}) == ((), ())
    assert read_looks({}) == ((), ())


@pytest.mark.parametrize(
    "text", ["", "{}", "3", "[3, 3]", "[6, 3]", "[0, 4]", '["3"]', "[2.5]", "[-1]", "[99999999]", "[null]", "[NaN]"]
)
def test_a_tag_that_is_no_such_list_is_one_note_that_quotes_it(text: str) -> None:
    looks, notes = read_looks({"fcos.looks": text})
    assert looks == () and len(notes) == 1
    assert notes[0].startswith(f"fcos.looks={text}: is no list of rising numbers of seeds")


def test_a_long_tag_is_quoted_in_part() -> None:
    assert len(read_looks({"fcos.looks": "[" + "1," * 5000})[1][0]) < 200
