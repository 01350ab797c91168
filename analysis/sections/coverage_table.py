"""Table of a coverage sweep: a row for each arm, its numbers beside those that the papers print for it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.formatting import MISSING, format_difference, format_number, shorten_metric
from analysis.papers.rows import PaperRow, RowsBySource
from analysis.reader.coverage import CoverageCounts, LevelRange
from analysis.render.tables import Column, Table, format_arm
from fcos.storage.store_conventions import RunStatus

OBJECTIVE = "coverage/objective"
NO_ROW = "no row in the papers"
SEPARATOR = ", "
DERIVED_COLUMNS = ("difference", "levels", "radius", "ranges")


def collect_coverage_values(
    values: pd.DataFrame,
    metrics: Sequence[str],
    baseline: str | None,
    rows: Mapping[str, RowsBySource],
    departures: Mapping[str, str | None],
    counts: Mapping[str, CoverageCounts],
) -> pd.DataFrame:
    """Return a row for each arm: arm, is_baseline, its numbers by metric, DERIVED_COLUMNS, papers, verdict.

    `paper <source> <metric>` is a number that a source of any arm prints, as a fraction; papers lists the arm's own
    sources. difference: of the first metric to the baseline. If the first metric is the objective, the highest comes
    first.

    values: see analysis.stats.paired.collect_final_values; of several seeds, which all count the same, the first with
    a number. departures: arm -> why it counts other boxes than the papers, or None.
    """
    numbers = values.groupby(["arm", "metric"], sort=False)["value"].first()
    states = values.drop_duplicates("arm").set_index("arm")["status"]
    of_baseline = float(numbers.get((baseline, metrics[0]), float("nan")))
    records = []
    for arm in dict.fromkeys(values["arm"]):
        of_arm = {metric: float(numbers.get((arm, metric), float("nan"))) for metric in metrics}
        arm_rows = rows.get(arm, {})
        verdict = _make_verdict(str(states[arm]), of_arm, arm_rows, departures.get(arm)) if rows else ""
        records.append(
            {
                "arm": arm,
                "is_baseline": arm == baseline,
                **of_arm,
                "difference": float("nan") if arm == baseline else of_arm[metrics[0]] - of_baseline,
                **_format_settings(counts.get(arm)),
                **_get_paper_numbers(arm_rows, metrics),
                "papers": SEPARATOR.join(arm_rows),
                "verdict": verdict,
            }
        )
    return _make_frame(records, metrics, rows)


def _make_frame(
    records: Sequence[Mapping[str, Any]], metrics: Sequence[str], rows: Mapping[str, RowsBySource]
) -> pd.DataFrame:
    """Return records as a frame of all columns, ordered by the objective where that is the first metric."""
    paper_columns = {key: None for arm_rows in rows.values() for key in _get_paper_numbers(arm_rows, metrics)}
    columns = ["arm", "is_baseline", *metrics, *DERIVED_COLUMNS, *paper_columns, "papers", "verdict"]
    frame = pd.DataFrame(records, columns=columns)
    if metrics[0] != OBJECTIVE:
        return frame
    return frame.sort_values(OBJECTIVE, ascending=False, kind="stable", ignore_index=True)


def _format_settings(counts: CoverageCounts | None) -> dict[str, str]:
    if counts is None:
        return {"levels": "", "radius": "", "ranges": ""}
    radius = counts.assignment.center_sampling_radius
    return {
        "levels": format_levels(counts.levels),
        "radius": "none" if radius is None else f"{radius:g}",
        "ranges": format_ranges(counts.assignment.ranges),
    }


def format_levels(levels: Sequence[int]) -> str:
    """Format pyramid levels: P3–P7, or P4 for a single one."""
    contiguous = list(levels) == list(range(levels[0], levels[0] + len(levels)))
    if contiguous and len(levels) > 1:
        return f"P{levels[0]}–P{levels[-1]}"
    return " ".join(f"P{level}" for level in levels)


def format_ranges(ranges: Sequence[LevelRange]) -> str:
    """Format level ranges by the ends that they share: 0 64 128 ∞."""
    ends = [ranges[0][0], *(high for _, high in ranges)]
    return " ".join("∞" if end is None else f"{end:g}" for end in ends)


def _get_paper_numbers(rows: RowsBySource, metrics: Sequence[str]) -> dict[str, float]:
    return {
        f"paper {source} {metric}": row.metrics[metric]
        for metric in metrics
        for source, row in rows.items()
        if metric in row.metrics
    }


def _make_verdict(state: str, numbers: Mapping[str, float], rows: RowsBySource, departure: str | None) -> str:
    if state != RunStatus.FINISHED:
        return state.lower()
    if not rows:
        return NO_ROW
    if departure is not None:
        return departure
    verdicts = {source: compare_digits(numbers, row) for source, row in rows.items()}
    if len(verdicts) == 1:
        return next(iter(verdicts.values()))
    return "; ".join(f"{source}: {verdict}" for source, verdict in verdicts.items())


def compare_digits(numbers: Mapping[str, float], row: PaperRow) -> str:
    """Return `reproduced` where all printed digits agree, else the differences of the digits: `bpr +0.01`."""
    common = [metric for metric in numbers if metric in row.metrics and not pd.isna(numbers[metric])]
    if not common:
        return "no number to compare"
    differences = []
    for metric in common:
        ours, theirs = format_number(numbers[metric], metric), format_number(row.metrics[metric], metric)
        if ours != theirs:
            difference = format_difference((float(ours) - float(theirs)) / 100, metric)
            differences.append(f"{shorten_metric(metric)} {difference}")
    return ", ".join(differences) or "reproduced"


def make_coverage_table(frame: pd.DataFrame, metrics: Sequence[str]) -> Table:
    """Return the table of a frame of collect_coverage_values, without columns that are empty here."""
    columns = [Column("arm", "arm", format_arm, "left"), *_make_metric_columns(frame, metrics[0])]
    if frame["is_baseline"].any():
        columns.append(Column("difference", "difference", lambda row: format_difference(row["difference"], metrics[0])))
    columns += [column for metric in metrics[1:] for column in _make_metric_columns(frame, metric)]
    if metrics[0] == OBJECTIVE:
        columns += [_make_text_column("levels", "levels", optional=True)]
        columns += [_make_text_column("radius", "radius", optional=True), _make_text_column("range ends", "ranges")]
    if frame["papers"].any():
        columns += [_make_text_column("source", "papers", optional=True), _make_text_column("verdict", "verdict")]
    return Table("Coverage, in percent", frame, columns)


def _make_metric_columns(frame: pd.DataFrame, metric: str) -> list[Column]:
    """Return the column of a metric, and that of the papers' numbers where there are any."""
    header = "\n".join(shorten_metric(metric).split("_"))
    columns = [Column(header, metric, lambda row: format_number(row[metric], metric))]
    if any(key.startswith("paper ") and key.endswith(f" {metric}") for key in frame):
        columns.append(Column("paper", f"paper {metric}", lambda row: _format_paper_cell(row, metric), optional=True))
    return columns


def _format_paper_cell(row: Mapping[str, Any], metric: str) -> str:
    keys = [f"paper {source} {metric}" for source in row["papers"].split(SEPARATOR)]
    return SEPARATOR.join(format_number(row[key], metric) if key in row else MISSING for key in keys)


def _make_text_column(header: str, key: str, *, optional: bool = False) -> Column:
    return Column(header, key, lambda row: row[key] or MISSING, "left", optional)
