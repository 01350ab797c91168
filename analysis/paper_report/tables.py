"""The tables of a paper as they are printed, each row with what has been run for it (pure)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.formatting import format_difference, format_number
from analysis.paper_report.matches import Filling, cell
from analysis.papers.rows import ARXIV, ROWS, PaperRow, Version
from analysis.render.tables import Column

TITLES: Mapping[Version, str] = {
    "v1": "FCOS: Fully Convolutional One-Stage Object Detection (ICCV 2019)",
    "v2": "FCOS: A Simple and Strong Anchor-Free Object Detector (TPAMI 2022)",
}
NOT_RUN = "not run"


@dataclass(frozen=True)
class Line:
    """A printed row: what the paper says, and below it ours where it has been run."""

    row: PaperRow
    filling: Filling | None
    # How many more arms stand for the row.
    others: int


@dataclass(frozen=True)
class PaperTable:
    """One table: its metrics in order, and its rows."""

    title: str
    setting: str
    metrics: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def filled(self) -> list[Filling]:
        return [line.filling for line in self.lines if line.filling is not None]


@dataclass(frozen=True)
class PaperDocument:
    """Everything that the report of a paper says."""

    version: Version
    store: str
    tables: tuple[PaperTable, ...]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        return TITLES[self.version]

    @property
    def arxiv(self) -> str:
        return ARXIV[self.version]


def paper_tables(version: Version, found: Mapping[str, Sequence[Filling]]) -> tuple[PaperTable, ...]:
    """All tables of a paper in its order; found: see paper_fillings.fillings."""
    rows: dict[str, list[PaperRow]] = {}
    for item in ROWS.values():
        if item.version == version:
            rows.setdefault(item.table, []).append(item)
    tables = []
    for title, of_table in rows.items():
        metrics = tuple(dict.fromkeys(key for item in of_table for key in item.metrics))
        lines = [
            Line(item, fills[0] if fills else None, max(0, len(fills) - 1))
            for item in of_table
            for fills in [found.get(item.id, ())]
        ]
        tables.append(PaperTable(title, of_table[0].setting, metrics, tuple(lines)))
    return tuple(tables)


def heading(metric: str) -> str:
    """The last word of a metric key: AP50 for test_dev/AP50."""
    return metric.rsplit("/", 1)[-1].replace("_", " ")


def printed_cells(table: PaperTable, line: Line) -> list[str]:
    """What the paper prints in a row; empty where it prints nothing."""
    return [format_number(line.row.metrics[key], key) if key in line.row.metrics else "" for key in table.metrics]


def our_cells(table: PaperTable, filling: Filling) -> list[str]:
    return [cell(filling, key) for key in table.metrics]


def difference_cells(table: PaperTable, filling: Filling) -> list[str]:
    """Ours minus the paper's; empty on other data than COCO."""
    gaps = [filling.difference(key) for key in table.metrics]
    return [
        "" if math.isnan(gap) else format_difference(gap, key) for gap, key in zip(gaps, table.metrics, strict=True)
    ]


def summary(tables: Sequence[PaperTable]) -> pd.DataFrame:
    """table, rows, run, coco, reproduced: one line for each table, in numbers of rows."""
    found = [
        {
            "table": table.title,
            "rows": len(table.lines),
            "run": len(table.filled),
            "coco": sum(filling.on_coco for filling in table.filled),
            "reproduced": sum(filling.reproduced for filling in table.filled),
        }
        for table in tables
    ]
    return pd.DataFrame(found)


SUMMARY_COLUMNS = (
    Column("table", "table", lambda row: str(row["table"]), "left"),
    Column("rows", "rows", lambda row: str(row["rows"])),
    Column("run", "run", lambda row: str(row["run"])),
    Column("on COCO", "coco", lambda row: str(row["coco"])),
    Column("reproduced", "reproduced", lambda row: str(row["reproduced"])),
)


def numbers(version: Version, tables: Sequence[PaperTable]) -> pd.DataFrame:
    """One line for each printed number, with ours, unrounded (fractions, not percent)."""
    rows = [
        {
            "version": version,
            "table": table.title,
            "row": line.row.id,
            "label": line.row.label,
            "metric": metric,
            "paper": line.row.metrics[metric],
            **_ours(line.filling, metric),
        }
        for table in tables
        for line in table.lines
        for metric in line.row.metrics
    ]
    return pd.DataFrame(rows)


def _ours(filling: Filling | None, metric: str) -> dict[str, object]:
    if filling is None or metric not in filling.values:
        names = ("ours", "deviation", "difference")
        texts = ("seeds", "data", "verdict", "sweep", "arm", "runs", "departures")
        return {**dict.fromkeys(names, math.nan), **dict.fromkeys(texts, ""), "verdict": NOT_RUN}
    return {
        "ours": filling.mean(metric),
        "deviation": filling.deviation(metric),
        "difference": filling.difference(metric),
        "seeds": " ".join(str(seed) for seed in filling.runs),
        "data": filling.data,
        "verdict": filling.verdict,
        "sweep": filling.sweep.name,
        "arm": filling.arm,
        "runs": " ".join(filling.runs.values()),
        "departures": "; ".join(filling.departures),
    }
