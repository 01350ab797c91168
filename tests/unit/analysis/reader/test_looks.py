"""Looks of a sweep: rising numbers of seeds from a tag, or assumed where seeds were added without one."""

import pytest

from analysis.reader.looks import read_looks


def test_looks_are_rising_numbers_of_seeds_and_none_without_the_tag() -> None:
    assert read_looks({"fcos.looks": "[3, 6, 8]"}, None, 8) == ((3, 6, 8), ())
    assert read_looks({"fcos.looks": "[]"}, None, 8) == ((), ())
    assert read_looks({}, None, 8) == ((), ())


@pytest.mark.parametrize(
    "text", ["", "{}", "3", "[3, 3]", "[6, 3]", "[0, 4]", '["3"]', "[2.5]", "[-1]", "[99999999]", "[null]", "[NaN]"]
)
def test_a_tag_that_is_no_such_list_is_one_note_that_quotes_it(text: str) -> None:
    looks, notes = read_looks({"fcos.looks": text}, None, 8)
    assert looks == () and len(notes) == 1
    assert notes[0].startswith(f"fcos.looks={text}: is no list of rising numbers of seeds")


def test_a_long_tag_is_quoted_in_part() -> None:
    assert len(read_looks({"fcos.looks": "[" + "1," * 5000}, None, 8)[1][0]) < 200


def test_where_seeds_are_added_a_missing_tag_stands_for_a_look_after_each_of_them() -> None:
    looks, notes = read_looks({}, 3, 6)
    assert looks == (3, 4, 5, 6)
    assert notes == ("fcos.looks is not recorded; the report counts a look after each seed from 3 seeds on.",)
    assert read_looks({}, 3, 3)[0] == (3,)


def test_where_seeds_are_added_the_tag_counts_and_a_broken_one_is_a_missing_one() -> None:
    assert read_looks({"fcos.looks": "[3, 5]"}, 3, 6) == ((3, 5), ())
    looks, notes = read_looks({"fcos.looks": "[5, 3]"}, 3, 4)
    assert looks == (3, 4)
    assert "is no list of rising numbers" in notes[0] and "a look after each seed from 3 seeds on" in notes[0]


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_rounds_that_go_on_or_were_killed_have_looked_after_each_seed_since_the_recorded_looks(status: str) -> None:
    tags = {"fcos.looks": "[2, 8]", "fcos.status": status}
    looks, notes = read_looks(tags, 3, 10)
    assert looks == (2, 8, 9, 10)
    assert notes == ("fcos.looks is of an earlier command; the report counts a look after each seed from 9 seeds on.",)
    assert read_looks(tags, 3, 8) == ((2, 8), ())
    assert read_looks(tags, None, 10) == ((2, 8), ()), "given seeds are one look"
    assert read_looks({**tags, "fcos.status": "stopped"}, 3, 10) == ((2, 8), ()), "its end recorded all"
