"""Compact notation for a paper's tables: metric names, then a line for each row, with the digits as printed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

# Metrics that the papers do not print in percent.
NOT_PERCENT = ("speed/images_per_second",)


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper as text.

    columns: metric names, separated by blanks. rows: one per line, `slug | label | numbers`; `-` is an empty cell, and
    numbers missing at the end of a line are not in the paper.
    """

    key: str
    title: str
    setting: str
    columns: str
    rows: str


def parse_rows(table: PaperTable) -> Iterable[tuple[str, str, Mapping[str, float]]]:
    """Yield (slug, label, metrics) of each row; percentages become fractions with exactly the same digits."""
    columns = table.columns.split()
    for line in table.rows.strip().splitlines():
        slug, label, numbers = (part.strip() for part in line.split("|"))
        cells = numbers.split()
        assert 0 < len(cells) <= len(columns), f"{table.key}, row {slug}: {len(cells)} numbers, {len(columns)} columns"
        yield (
            slug,
            label,
            {metric: _parse(metric, cell) for metric, cell in zip(columns, cells, strict=False) if cell != "-"},
        )


def _parse(metric: str, cell: str) -> float:
    # Decimal, so that 33.5 becomes the float nearest to 0.335 and prints as 33.5 again.
    return float(Decimal(cell) if metric in NOT_PERCENT else Decimal(cell) / 100)
