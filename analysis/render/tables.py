"""Tables of a report, and their Markdown, LaTeX and CSV."""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from analysis.formatting import (
    MINUS,
    MISSING,
    format_confidence,
    format_difference,
    format_interval,
    format_mean,
    format_number,
    is_percentage,
    shorten_metric,
)
from analysis.papers.rows import RowsBySource
from analysis.stats.comparison import Comparison, collect_comparisons
from fcos.storage.store_conventions import RunStatus


@dataclass(frozen=True)
class Column:
    """A column of a table.

    key: the frame's column. format: from a row (a mapping) to the cell's text. optional: left out on a narrow console.
    """

    header: str
    key: str
    format: Callable[[Mapping[str, Any]], str]
    align: Literal["left", "right"] = "right"
    optional: bool = False


@dataclass(frozen=True)
class Table:
    """A frame with its caption and columns. A header may hold line breaks, which the console alone keeps."""

    caption: str
    frame: pd.DataFrame
    columns: Sequence[Column]


def collect_results(
    values: pd.DataFrame,
    summary: pd.DataFrame,
    comparisons: Sequence[Comparison],
    baseline: str | None,
    rows: Mapping[str, RowsBySource],
) -> pd.DataFrame:
    """Return a row for each (metric, arm): its statistics, `seed <n>` (number or state), `paper <source>`.

    `paper <source> difference` is the paper's number minus that of the baseline's row. values, summary: see
    analysis.stats.paired. rows: arm -> source -> row.
    """
    frame = summary.merge(collect_comparisons(comparisons), on=["metric", "arm"], how="left")
    frame["is_baseline"] = frame["arm"] == baseline
    for seed in sorted(values["seed"].unique()):
        of_seed = values[values["seed"] == seed].set_index(["metric", "arm"])
        frame[f"seed {seed}"] = [
            _get_value_or_state(of_seed, metric, arm) for metric, arm in zip(frame["metric"], frame["arm"], strict=True)
        ]
    for source in dict.fromkeys(source for arm_rows in rows.values() for source in arm_rows):
        keys = list(zip(frame["metric"], frame["arm"], strict=True))
        numbers = [_get_paper_number(rows, arm, source, metric) for metric, arm in keys]
        baselines = [_get_paper_number(rows, baseline or "", source, metric) for metric, _ in keys]
        frame[f"paper {source}"] = numbers
        frame[f"paper {source} difference"] = [ours - base for ours, base in zip(numbers, baselines, strict=True)]
    return frame


def _get_value_or_state(of_seed: pd.DataFrame, metric: str, arm: str) -> float | str:
    if (metric, arm) not in of_seed.index:
        return ""
    row = of_seed.loc[(metric, arm)]
    if pd.notna(row["value"]):
        return float(row["value"])
    return "no value" if row["status"] == RunStatus.FINISHED else str(row["status"]).lower()


def _get_paper_number(rows: Mapping[str, RowsBySource], arm: str, source: str, metric: str) -> float:
    row = rows.get(arm, {}).get(source)
    return float("nan") if row is None else row.metrics.get(metric, float("nan"))


def make_result_columns(frame: pd.DataFrame) -> list[Column]:
    """Return the columns for a frame of collect_results, one for each of its seeds and papers among them."""

    def make_seed_column(key: str) -> Column:
        return Column(key, key, lambda row: _format_seed_cell(row[key], row["metric"]))

    def make_paper_column(key: str) -> Column:
        return Column(key.removesuffix(" difference"), key, lambda row: _format_paper_cell(row, key))

    return [
        Column("arm", "arm", format_arm, "left"),
        Column("n", "n", lambda row: str(row["n"])),
        Column("mean ± sd", "mean", lambda row: format_mean(row["mean"], row["deviation"], row["metric"])),
        Column("paired difference", "difference", lambda row: format_difference(row["difference"], row["metric"])),
        Column("interval", "low", format_interval_cell),
        Column("pairs", "num_pairs", lambda row: MISSING if pd.isna(row["num_pairs"]) else str(row["num_pairs"])),
        Column("p", "adjusted_p", format_p_cell),
        *(make_paper_column(key) for key in frame.columns if key.startswith("paper ") and key.endswith(" difference")),
        # Last, as there may be many.
        *(make_seed_column(key) for key in frame.columns if key.startswith("seed ")),
    ]


def format_arm(row: Mapping[str, Any]) -> str:
    """Return an arm's name, with a mark for the baseline."""
    return str(row["arm"]) + (" (baseline)" if row["is_baseline"] else "")


def format_p_cell(row: Mapping[str, Any]) -> str:
    """Format a corrected p value; missing where a metric is described alone."""
    return MISSING if pd.isna(row["adjusted_p"]) else f"{row['adjusted_p']:.2g}"


def format_interval_cell(row: Mapping[str, Any], noun: str = "pairs") -> str:
    """Format an interval with its confidence, or the range of pairs that are too few for one."""
    if pd.isna(row["low"]) or row["num_pairs"] < 2:
        return MISSING
    interval = format_interval(row["low"], row["high"], row["metric"])
    if interval != MISSING:
        return f"{format_confidence(row['level'])}: {interval}"
    return f"{noun}: {format_interval(row['smallest'], row['largest'], row['metric'])}"


def _format_seed_cell(value: float | str, metric: str) -> str:
    return (value or MISSING) if isinstance(value, str) else format_number(value, metric)


def _format_paper_cell(row: Mapping[str, Any], key: str) -> str:
    text = format_number(row[key.removesuffix(" difference")], row["metric"])
    if row["is_baseline"] or pd.isna(row[key]):
        return text
    return f"{text} ({format_difference(row[key], row['metric'])})"


def make_caption(metric: str) -> str:
    """Return the caption of a metric's table: AP (val/AP), in percent."""
    unit = ", in percent" if is_percentage(metric) else ""
    return f"{shorten_metric(metric)} ({metric}){unit}"


def format_cells(frame: pd.DataFrame, columns: Sequence[Column]) -> list[list[str]]:
    """Return the text of every cell, a list for each row."""
    return [[column.format(row) for column in columns] for row in frame.to_dict("records")]


def to_markdown(frame: pd.DataFrame, columns: Sequence[Column]) -> str:
    """Return a Markdown table; the text is escaped."""
    lines = [
        [_join_lines(column.header) for column in columns],
        ["---:" if column.align == "right" else ":---" for column in columns],
        *([escape_markdown(cell) for cell in row] for row in format_cells(frame, columns)),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _join_lines(header: str) -> str:
    return " ".join(header.split())


def escape_markdown(text: str) -> str:
    """Escape text for Markdown, in tables too; an underscore within a word needs no escape."""
    return re.sub(r"([\\`*|\[\]])", r"\\\1", html.escape(" ".join(str(text).split()), quote=False))


def to_csv(frame: pd.DataFrame) -> str:
    """Return every column of a frame as CSV with unrounded numbers (fractions, not percent)."""
    plain = frame
    if "missing" in frame:
        plain = frame.assign(missing=[" ".join(str(seed) for seed in seeds) for seeds in frame["missing"]])
    return str(plain.to_csv(index=False, lineterminator="\n"))


def to_latex(frame: pd.DataFrame, columns: Sequence[Column]) -> str:
    """Return a booktabs tabular; the text is escaped."""
    text = pd.DataFrame(format_cells(frame, columns), columns=[_join_lines(column.header) for column in columns])
    styler = text.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    layout = "".join("l" if column.align == "left" else "r" for column in columns)
    tabular = str(styler.to_latex(hrules=True, column_format=layout))
    for character, command in ((MINUS, "$-$"), ("±", r"$\pm$"), (MISSING, "--"), ("∞", r"$\infty$")):
        tabular = tabular.replace(character, command)
    return tabular
