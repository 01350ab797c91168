"""Tables of a paper with our matches of their rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.formatting import format_difference, format_number
from analysis.paper_report.matches import PaperMatch
from analysis.papers.rows import ARXIV, ROWS, PaperRow, Version
from analysis.render.tables import Column

TITLES: Mapping[Version, str] = {
    "v1": "FCOS: Fully Convolutional One-Stage Object Detection (ICCV 2019)",
    "v2": "FCOS: A Simple and Strong Anchor-Free Object Detector (TPAMI 2022)",
}
NOT_RUN = "not run"


@dataclass(frozen=True)
class ComparisonRow:
    """A row of a paper, and the arm shown for it. num_others: how many more arms stand for the row."""

    row: PaperRow
    match: PaperMatch | None
    num_others: int


@dataclass(frozen=True)
class ComparisonTable:
    """A table of a paper: its metrics in order, and its rows."""

    title: str
    setting: str
    metrics: tuple[str, ...]
    rows: tuple[ComparisonRow, ...]

    @property
    def matches(self) -> list[PaperMatch]:
        """The matches shown, of the rows that have one."""
        return [row.match for row in self.rows if row.match is not None]


@dataclass(frozen=True)
class PaperDocument:
    """The report of a paper."""

    version: Version
    store: str
    tables: tuple[ComparisonTable, ...]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """Title of the paper, with its venue."""
        return TITLES[self.version]

    @property
    def arxiv(self) -> str:
        """arXiv number of the paper."""
        return ARXIV[self.version]


def make_comparison_tables(
    version: Version, matches: Mapping[str, Sequence[PaperMatch]]
) -> tuple[ComparisonTable, ...]:
    """Return all tables of a paper in its order. matches: see analysis.paper_report.matches.match_rows."""
    by_table: dict[str, list[PaperRow]] = {}
    for row in ROWS.values():
        if row.version == version:
            by_table.setdefault(row.table, []).append(row)
    tables = []
    for title, rows in by_table.items():
        metrics = tuple(dict.fromkeys(metric for row in rows for metric in row.metrics))
        comparison = tuple(_make_row(row, matches.get(row.id, ())) for row in rows)
        tables.append(ComparisonTable(title, rows[0].setting, metrics, comparison))
    return tuple(tables)


def _make_row(row: PaperRow, matches: Sequence[PaperMatch]) -> ComparisonRow:
    return ComparisonRow(row, matches[0] if matches else None, max(0, len(matches) - 1))


def make_header(metric: str) -> str:
    """Return the last part of a metric's name: AP50 for test_dev/AP50."""
    return metric.rsplit("/", 1)[-1].replace("_", " ")


def format_paper_cells(table: ComparisonTable, row: PaperRow) -> list[str]:
    """Return the paper's numbers in a row; "" where it prints none."""
    return [format_number(row.metrics[metric], metric) if metric in row.metrics else "" for metric in table.metrics]


def format_our_cells(table: ComparisonTable, match: PaperMatch) -> list[str]:
    """Return our means and deviations; "" for metrics that the arm does not measure."""
    return [match.format_result(metric) for metric in table.metrics]


def format_difference_cells(table: ComparisonTable, match: PaperMatch) -> list[str]:
    """Return our means minus the paper's numbers; "" on other data than COCO."""
    differences = {metric: match.difference(metric) for metric in table.metrics}
    return ["" if math.isnan(value) else format_difference(value, metric) for metric, value in differences.items()]


def count_rows(tables: Sequence[ComparisonTable]) -> pd.DataFrame:
    """Return a row for each table with numbers of its rows: table, rows, run, coco, reproduced."""
    return pd.DataFrame(
        [
            {
                "table": table.title,
                "rows": len(table.rows),
                "run": len(table.matches),
                "coco": sum(match.is_coco for match in table.matches),
                "reproduced": sum(match.is_reproduced for match in table.matches),
            }
            for table in tables
        ]
    )


COUNT_COLUMNS = (
    Column("table", "table", lambda row: str(row["table"]), "left"),
    Column("rows", "rows", lambda row: str(row["rows"])),
    Column("run", "run", lambda row: str(row["run"])),
    Column("on COCO", "coco", lambda row: str(row["coco"])),
    Column("reproduced", "reproduced", lambda row: str(row["reproduced"])),
)


def collect_numbers(version: Version, tables: Sequence[ComparisonTable]) -> pd.DataFrame:
    """Return a row for each number of the paper, with ours, unrounded (fractions, not percent): table.csv."""
    return pd.DataFrame(
        [
            {
                "version": version,
                "table": table.title,
                "row": row.row.id,
                "label": row.row.label,
                "metric": metric,
                "paper": row.row.metrics[metric],
                **_collect_our_numbers(row.match, metric),
            }
            for table in tables
            for row in table.rows
            for metric in row.row.metrics
        ]
    )


def _collect_our_numbers(match: PaperMatch | None, metric: str) -> dict[str, object]:
    if match is None or metric not in match.values:
        numbers = ("ours", "deviation", "difference")
        texts = ("seeds", "data", "verdict", "sweep", "arm", "runs", "departures")
        return {**dict.fromkeys(numbers, math.nan), **dict.fromkeys(texts, ""), "verdict": NOT_RUN}
    return {
        "ours": match.mean(metric),
        "deviation": match.deviation(metric),
        "difference": match.difference(metric),
        "seeds": " ".join(str(seed) for seed in match.run_ids),
        "data": match.data,
        "verdict": match.verdict,
        "sweep": match.sweep.name,
        "arm": match.arm,
        "runs": " ".join(match.run_ids.values()),
        "departures": "; ".join(match.departures),
    }
