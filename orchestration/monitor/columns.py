"""A table that fits its terminal: columns are left out by their weight, with a line that names them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

GAP = 2


@dataclass(frozen=True)
class Column:
    """A column with its cells. weight: those of the lowest are left out first; None never is."""

    title: str
    cells: tuple[str, ...]
    weight: int | None = None
    # Of numbers, which are aligned on the right.
    is_number: bool = False

    @cached_property
    def width(self) -> int:
        """Cells of the terminal that it takes: for each of its lines the same number."""
        return max(map(cell_len, (self.title, *self.cells)))

    @property
    def is_empty(self) -> bool:
        """Whether it shows nothing."""
        return not any(self.cells)


def fit(columns: Sequence[Column], width: int) -> tuple[list[Column], list[Column]]:
    """Return the columns that fit into a width, and those that are left out for it; empty ones are in neither."""
    shown = [column for column in columns if not column.is_empty or column.weight is None]
    left_out: list[Column] = []
    while _width(shown) > width and (droppable := [each for each in shown if each.weight is not None]):
        lightest = min(droppable, key=lambda column: column.weight or 0)
        shown.remove(lightest)
        left_out.append(lightest)
    return shown, left_out


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)


def make_table(columns: Sequence[Column], styles: Sequence[str], width: int) -> RenderableType:
    """Return the table for a terminal; styles: of each row."""
    shown, left_out = fit(columns, width)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column in shown:
        table.add_column(column.title, justify="right" if column.is_number else "left", overflow="fold")
    for number, style in enumerate(styles):
        table.add_row(*(Text(column.cells[number], style=style) for column in shown))
    if not left_out:
        return table
    names = ", ".join(column.title for column in reversed(left_out))
    return Group(table, Text(f"not shown for want of width: {names}", style="dim"))


def plain_lines(columns: Sequence[Column]) -> list[str]:
    """Return the table as lines of any length, for files and pipes."""
    shown, _ = fit(columns, width=1 << 30)
    rows = zip(*((column.title, *column.cells) for column in shown), strict=True)
    return [(" " * GAP).join(_padded(*pair) for pair in zip(shown, row, strict=True)).rstrip() for row in rows]


def _padded(column: Column, text: str) -> str:
    space = " " * (column.width - cell_len(text))
    return space + text if column.is_number else text + space
