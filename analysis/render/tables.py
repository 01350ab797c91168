"""Frames as printed tables; columns are data."""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from analysis.formatting import (
    MINUS,
    MISSING,
    format_difference,
    format_interval,
    format_mean,
    format_number,
    is_percentage,
    shorten_metric,
)
from analysis.papers.rows import PaperRow

# Source, such as `v1 Table 4`, -> the row that an arm is the like of.
PaperRows = Mapping[str, PaperRow]


@dataclass(frozen=True)
class Column:
    """key: the frame's column. format: from a whole row (a mapping) to the cell's text. spare: a narrow console does
    without it."""

    header: str
    key: str
    format: Callable[[Mapping[str, Any]], str]
    align: Literal["left", "right"] = "right"
    spare: bool = False


@dataclass(frozen=True)
class Table:
    """A frame as it is printed. A column's header may hold line breaks, which only the console keeps."""

    caption: str
    frame: pd.DataFrame
    columns: Sequence[Column]


def results(
    values: pd.DataFrame,
    summary: pd.DataFrame,
    comparisons: pd.DataFrame,
    baseline: str | None,
    rows: Mapping[str, PaperRows],
) -> pd.DataFrame:
    """One row per (metric, arm): its statistics, `seed <n>` (number or state), `paper <source>`.

    `paper <source> difference` is the printed number minus that of the baseline's row.
    """
    frame = summary.merge(comparisons, on=["metric", "arm"], how="left")
    frame["is_baseline"] = frame["arm"] == baseline
    for seed in sorted(values["seed"].unique()):
        cells = values[values["seed"] == seed].set_index(["metric", "arm"])
        frame[f"seed {seed}"] = [
            _value_or_state(cells, metric, arm) for metric, arm in zip(frame["metric"], frame["arm"], strict=True)
        ]
    for source in _sources(rows):
        keys = list(zip(frame["metric"], frame["arm"], strict=True))
        printed = [_printed(rows, arm, source, metric) for metric, arm in keys]
        frame[f"paper {source}"] = printed
        theirs = [_printed(rows, baseline or "", source, metric) for metric, _ in keys]
        frame[f"paper {source} difference"] = [ours - base for ours, base in zip(printed, theirs, strict=True)]
    return frame


def _value_or_state(cells: pd.DataFrame, metric: str, arm: str) -> float | str:
    if (metric, arm) not in cells.index:
        return ""
    cell = cells.loc[(metric, arm)]
    if pd.notna(cell["value"]):
        return float(cell["value"])
    return "no value" if cell["status"] == "FINISHED" else str(cell["status"]).lower()


def _sources(rows: Mapping[str, PaperRows]) -> list[str]:
    return list(dict.fromkeys(source for arm_rows in rows.values() for source in arm_rows))


def _printed(rows: Mapping[str, PaperRows], arm: str, source: str, metric: str) -> float:
    row = rows.get(arm, {}).get(source)
    return float("nan") if row is None else row.metrics.get(metric, float("nan"))


def result_columns(frame: pd.DataFrame) -> list[Column]:
    """The columns of the printed table of results, as wide as its frame has seeds and papers."""

    def seed_column(key: str) -> Column:
        return Column(key, key, lambda row: _seed_cell(row[key], row["metric"]))

    def paper_column(key: str) -> Column:
        return Column(key.removesuffix(" difference"), key, lambda row: _paper_cell(row, key))

    return [
        Column("arm", "arm", lambda row: row["arm"] + (" (baseline)" if row["is_baseline"] else ""), "left"),
        *(seed_column(key) for key in frame.columns if key.startswith("seed ")),
        Column("n", "n", lambda row: str(row["n"])),
        Column("mean ± sd", "mean", lambda row: format_mean(row["mean"], row["deviation"], row["metric"])),
        Column("paired difference", "difference", lambda row: format_difference(row["difference"], row["metric"])),
        Column("95 % interval", "low", lambda row: format_interval(row["low"], row["high"], row["metric"])),
        Column("pairs", "num_pairs", lambda row: MISSING if pd.isna(row["num_pairs"]) else str(row["num_pairs"])),
        Column(
            "p",
            "p_sign_flip",
            lambda row: MISSING if pd.isna(row["p_sign_flip"]) else f"{row['p_sign_flip']:.2g}",
        ),
        *(paper_column(key) for key in frame.columns if key.startswith("paper ") and key.endswith(" difference")),
    ]


def _seed_cell(value: float | str, metric: str) -> str:
    return (value or MISSING) if isinstance(value, str) else format_number(value, metric)


def _paper_cell(row: Mapping[str, Any], key: str) -> str:
    text = format_number(row[key.removesuffix(" difference")], row["metric"])
    return text if row["is_baseline"] or pd.isna(row[key]) else f"{text} ({format_difference(row[key], row['metric'])})"


def caption(metric: str) -> str:
    unit = ", in percent" if is_percentage(metric) else ""
    return f"{shorten_metric(metric)} ({metric}){unit}"


def cells(frame: pd.DataFrame, columns: Sequence[Column]) -> list[list[str]]:
    """The text of every cell, a list for each row."""
    return [[column.format(row) for column in columns] for row in frame.to_dict("records")]


def to_markdown(frame: pd.DataFrame, columns: Sequence[Column]) -> str:
    head = [
        [_line(column.header) for column in columns],
        ["---:" if c.align == "right" else ":---" for c in columns],
    ]
    lines = [head[0], head[1], *([escape_markdown(cell) for cell in row] for row in cells(frame, columns))]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _line(header: str) -> str:
    return " ".join(header.split())


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, in a table too; an underscore within a word needs no escape."""
    return re.sub(r"([\\`*|\[\]])", r"\\\1", html.escape(" ".join(str(text).split()), quote=False))


def to_csv(frame: pd.DataFrame) -> str:
    """Every column with unrounded numbers (fractions, not percent)."""
    plain = frame
    if "missing" in frame:
        plain = frame.assign(missing=[" ".join(str(seed) for seed in seeds) for seeds in frame["missing"]])
    return str(plain.to_csv(index=False, lineterminator="\n"))


def to_latex(frame: pd.DataFrame, columns: Sequence[Column]) -> str:
    """A booktabs tabular; the text is escaped."""
    text = pd.DataFrame(cells(frame, columns), columns=[_line(column.header) for column in columns])
    styler = text.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    layout = "".join("l" if column.align == "left" else "r" for column in columns)
    tabular = str(styler.to_latex(hrules=True, column_format=layout))
    for character, command in ((MINUS, "$-$"), ("±", r"$\pm$"), (MISSING, "--"), ("∞", r"$\infty$")):
        tabular = tabular.replace(character, command)
    return tabular
