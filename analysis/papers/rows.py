"""All rows of the papers' tables, by id."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.papers.atss import TABLES as ATSS_TABLES
from analysis.papers.fcos_v1 import TABLES as V1_TABLES
from analysis.papers.fcos_v2 import TABLES as V2_TABLES
from analysis.papers.notation import PaperTable, parse_rows
from fcos.errors import suggest

# FCOS v1 and v2, and ATSS, which compares with both.
Version = Literal["v1", "v2", "atss"]
ARXIV: Mapping[Version, str] = {"v1": "1904.01355", "v2": "2006.09214", "atss": "1912.02424"}


class UnknownRowError(ValueError):
    """A row id that no table has; the message names near matches."""


@dataclass(frozen=True)
class PaperRow:
    """One row of one table.

    metrics: fractions for what is printed in percent (37.1 is 0.371), else as printed (images per second).
    """

    id: str
    version: Version
    table: str
    label: str
    metrics: Mapping[str, float]
    setting: str

    @property
    def paper(self) -> str:
        """arXiv number of the paper."""
        return ARXIV[self.version]

    @property
    def source(self) -> str:
        """Paper and table, such as `v1 Table 4`."""
        return f"{'ATSS' if self.version == 'atss' else self.version} {self.table}"


# Source, such as `v1 Table 4`, -> the row there that an arm stands for.
RowsBySource = Mapping[str, PaperRow]


def _make_rows(version: Version, tables: Iterable[PaperTable]) -> Iterable[PaperRow]:
    for table in tables:
        for slug, label, metrics in parse_rows(table):
            yield PaperRow(f"{version}.{table.key}.{slug}", version, table.title, label, metrics, table.setting)


_ALL = (*_make_rows("v1", V1_TABLES), *_make_rows("v2", V2_TABLES), *_make_rows("atss", ATSS_TABLES))
ROWS: Mapping[str, PaperRow] = {row.id: row for row in _ALL}
assert len(ROWS) == len(_ALL), "two rows of the papers share an id"


def get_row(row_id: str) -> PaperRow:
    """Return the row of an id such as v1.table4.branch; raises UnknownRowError with near matches."""
    if row_id not in ROWS:
        hint = suggest(row_id, ROWS) or "ids look like v1.table4.branch"
        raise UnknownRowError(f"the papers' tables have no row {row_id!r}; {hint}")
    return ROWS[row_id]


def resolve_rows(ids: Mapping[str, Sequence[str]]) -> tuple[list[tuple[str, PaperRow]], list[str]]:
    """Return (arm, row) for each known row id of the arms, and notes on unknown ids."""
    resolved, notes = [], []
    for arm, row_ids in ids.items():
        for row_id in row_ids:
            try:
                resolved.append((arm, get_row(row_id)))
            except UnknownRowError as error:
                notes.append(f"Arm {arm}: {error}.")
    return resolved, notes


def group_rows_by_source(ids: Mapping[str, Sequence[str]]) -> tuple[dict[str, dict[str, PaperRow]], list[str]]:
    """Return arm -> source -> row for the row ids of each arm, and notes on unknown ids.

    Of several rows of one source the first is taken, with a note.
    """
    rows: dict[str, dict[str, PaperRow]] = {}
    resolved, notes = resolve_rows(ids)
    for arm, row in resolved:
        first = rows.setdefault(arm, {}).setdefault(row.source, row)
        if first is not row:
            notes.append(f"Arm {arm} names two rows of {row.source}; {first.id} is shown, {row.id} is not.")
    return rows, notes
