"""Tables that fit: columns are left out by weight and named, lines of a pipe have all of them."""

import io

import pytest
from rich.console import Console

from orchestration.monitor import columns
from orchestration.monitor.columns import Column, fit, make_table, plain_lines

COLUMNS = (
    Column("name", ("a_long_name", "b")),
    Column("step", ("1 of 9", "12 of 90"), 2, is_number=True),
    Column("host", ("machine", ""), 1),
    Column("empty", ("", ""), 3),
)
FULL = len("a_long_name  12 of 90  machine")


def printed(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(make_table(COLUMNS, ["", "red"], width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("width", "shown", "left_out"),
    [
        (FULL, ["name", "step", "host"], []),
        (FULL - 1, ["name", "step"], ["host"]),
        (12, ["name"], ["host", "step"]),
        (1, ["name"], ["host", "step"]),
    ],
)
def test_the_lightest_columns_are_left_out_first(width: int, shown: list[str], left_out: list[str]) -> None:
    kept, gone = fit(COLUMNS, width)
    assert ([each.title for each in kept], [each.title for each in gone]) == (shown, left_out)


def test_columns_that_are_left_out_are_named() -> None:
    lines = printed(FULL - 1)
    assert lines[0].split() == ["name", "step"] and lines[1].split() == ["a_long_name", "1", "of", "9"]
    # The terminal wraps the line that names it.
    assert " ".join(" ".join(lines[3:]).split()) == "not shown for want of width: host"
    assert not any("not shown" in line for line in printed(FULL))


def test_lines_of_a_pipe_have_every_column_that_is_not_empty() -> None:
    assert plain_lines(COLUMNS) == [
        "name             step  host",
        "a_long_name    1 of 9  machine",
        "b            12 of 90",
    ]


def test_wide_characters_take_two_cells() -> None:
    column = Column("n", ("翘头剪", "abc"))
    assert column.width == 6
    assert plain_lines((column, Column("m", ("x", "y"))))[1:] == ["翘头剪  x", "abc     y"]


def test_the_width_of_a_column_is_found_once_for_all_of_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def count(text: str) -> int:
        measured.append(text)
        return len(text)

    monkeypatch.setattr(columns, "cell_len", count)
    many = [Column("name", tuple(f"training {number}" for number in range(200)))]
    assert len(plain_lines(many)) == 201
    # For the width, and for what is padded of each line.
    assert len(measured) <= 2 * 201
