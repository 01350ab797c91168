"""Printed tables in a compact notation: a head of metric keys, a line for each row, digits as printed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

# Keys whose printed number is no percentage.
PLAIN = ("speed/images_per_second",)


@dataclass(frozen=True)
class PrintedTable:
    """A table as text.

    columns: metric keys, separated by blanks. rows: one a line, `slug | label | numbers`; `-` is an empty
    cell, and numbers missing at the end of a line are not printed in the paper.
    """

    key: str
    title: str
    setting: str
    columns: str
    rows: str


def read_printed(table: PrintedTable) -> Iterable[tuple[str, str, Mapping[str, float]]]:
    """(slug, label, metrics) of each row; percentages become the fraction of the very same digits."""
    columns = table.columns.split()
    for line in table.rows.strip().splitlines():
        slug, label, numbers = (part.strip() for part in line.split("|"))
        cells = numbers.split()
        assert 0 < len(cells) <= len(columns), f"{table.key}, row {slug}: {len(cells)} numbers, {len(columns)} columns"
        yield (
            slug,
            label,
            {key: _fraction(key, cell) for key, cell in zip(columns, cells, strict=False) if cell != "-"},
        )


def _fraction(key: str, cell: str) -> float:
    # Decimal, so that 33.5 becomes the float nearest to 0.335 and prints as 33.5 again.
    return float(Decimal(cell) if key in PLAIN else Decimal(cell) / 100)
