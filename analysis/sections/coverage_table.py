"""Coverage as one table: a row for each arm, its figures beside those that the papers print for it (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.formatting import MISSING, format_difference, format_number, shorten_metric
from analysis.papers.rows import PaperRow
from analysis.render.tables import Column, Table

OBJECTIVE = "coverage/objective"
NO_ROW = "no row in the papers"
SEPARATOR = ", "
DERIVED = ("difference", "levels", "radius", "ranges")
# Source, such as `v1 Table 1`, -> the row that an arm is the like of.
PaperRows = Mapping[str, PaperRow]


def coverage_values(
    values: pd.DataFrame,
    metrics: Sequence[str],
    baseline: str | None,
    rows: Mapping[str, PaperRows],
    departures: Mapping[str, str | None],
    settings: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """One row per arm: arm, is_baseline, its figures by metric, difference, levels, radius, ranges, papers, verdict.

    Beside them `paper <source> <metric>`, a fraction, for all that a source of any arm prints; papers names the arm's.

    values: see comparison.final_values; of several seeds, which all count the same, the first that has a figure.
    departures: arm -> why it counts other boxes than the papers, or None. settings: arm -> levels and assignment.
    difference is that of the first metric to the baseline. Where it is the objective, the highest comes first.
    """
    figures = values.groupby(["arm", "metric"], sort=False)["value"].first()
    states = values.drop_duplicates("arm").set_index("arm")["status"]
    found = []
    for arm in dict.fromkeys(values["arm"]):
        own = {metric: float(figures.get((arm, metric), float("nan"))) for metric in metrics}
        theirs = float(figures.get((baseline, metrics[0]), float("nan")))
        found.append(
            {
                "arm": arm,
                "is_baseline": arm == baseline,
                **own,
                "difference": float("nan") if arm == baseline else own[metrics[0]] - theirs,
                **_settings(settings.get(arm)),
                **_printed(rows.get(arm, {}), metrics),
                "papers": SEPARATOR.join(rows.get(arm, {})),
                "verdict": _verdict(str(states[arm]), own, rows.get(arm, {}), departures.get(arm)) if rows else "",
            }
        )
    known = {key: None for of_arm in rows.values() for key in _printed(of_arm, metrics)}
    frame = pd.DataFrame(found, columns=["arm", "is_baseline", *metrics, *DERIVED, *known, "papers", "verdict"])
    if metrics[0] != OBJECTIVE:
        return frame
    return frame.sort_values(OBJECTIVE, ascending=False, kind="stable", ignore_index=True)


def _settings(setting: Mapping[str, Any] | None) -> dict[str, str]:
    if setting is None:
        return {"levels": "", "radius": "", "ranges": ""}
    assignment = setting["assignment"]
    radius = assignment["center_sampling_radius"]
    return {
        "levels": levels_text(setting["levels"]),
        "radius": "none" if radius is None else f"{radius:g}",
        "ranges": ranges_text(assignment["ranges"]),
    }


def levels_text(levels: Sequence[int]) -> str:
    """P3–P7, or P4 for a single level."""
    gapless = list(levels) == list(range(levels[0], levels[0] + len(levels)))
    if gapless and len(levels) > 1:
        return f"P{levels[0]}–P{levels[-1]}"
    return " ".join(f"P{level}" for level in levels)


def ranges_text(ranges: Sequence[Sequence[float | None]]) -> str:
    """0 64 128 ∞: where the ranges of the levels end, one after the other."""
    ends = [ranges[0][0], *(high for _, high in ranges)]
    return " ".join("∞" if end is None else f"{end:g}" for end in ends)


def _printed(rows: PaperRows, metrics: Sequence[str]) -> dict[str, float]:
    return {
        f"paper {source} {metric}": row.metrics[metric]
        for metric in metrics
        for source, row in rows.items()
        if metric in row.metrics
    }


def _verdict(state: str, figures: Mapping[str, float], rows: PaperRows, departure: str | None) -> str:
    if state != "FINISHED":
        return state.lower()
    if not rows:
        return NO_ROW
    if departure is not None:
        return departure
    verdicts = {source: beside(figures, row) for source, row in rows.items()}
    if len(verdicts) == 1:
        return next(iter(verdicts.values()))
    return "; ".join(f"{source}: {verdict}" for source, verdict in verdicts.items())


def beside(figures: Mapping[str, float], row: PaperRow) -> str:
    """`reproduced` where all printed digits agree, else the differences of the digits: `bpr +0.01`."""
    both = [metric for metric in figures if metric in row.metrics and not pd.isna(figures[metric])]
    if not both:
        return "no figure to compare"
    gaps = []
    for metric in both:
        ours, printed = format_number(figures[metric], metric), format_number(row.metrics[metric], metric)
        if ours != printed:
            gaps.append(f"{shorten_metric(metric)} {format_difference((float(ours) - float(printed)) / 100, metric)}")
    return ", ".join(gaps) or "reproduced"


def coverage_table(frame: pd.DataFrame, metrics: Sequence[str]) -> Table:
    """The frame of coverage_values with the columns that say something here."""
    columns = [
        Column("arm", "arm", lambda row: row["arm"] + (" (baseline)" if row["is_baseline"] else ""), "left"),
        *_metric_columns(frame, metrics[0]),
    ]
    if frame["is_baseline"].any():
        columns.append(Column("difference", "difference", lambda row: format_difference(row["difference"], metrics[0])))
    columns += [column for metric in metrics[1:] for column in _metric_columns(frame, metric)]
    if metrics[0] == OBJECTIVE:
        columns += [_text_column("levels", "levels", spare=True), _text_column("radius", "radius", spare=True)]
        columns.append(_text_column("range ends", "ranges"))
    if frame["papers"].any():
        columns += [_text_column("source", "papers", spare=True), _text_column("verdict", "verdict")]
    return Table("Coverage, in percent", frame, columns)


def _metric_columns(frame: pd.DataFrame, metric: str) -> list[Column]:
    """The figures of one metric, and the papers' where they print any."""
    header = "\n".join(shorten_metric(metric).split("_"))
    columns = [Column(header, metric, lambda row: format_number(row[metric], metric))]
    if any(key.startswith("paper ") and key.endswith(f" {metric}") for key in frame):
        columns.append(Column("paper", f"paper {metric}", lambda row: _printed_cell(row, metric), spare=True))
    return columns


def _printed_cell(row: Mapping[str, Any], metric: str) -> str:
    sources = [f"paper {source} {metric}" for source in row["papers"].split(SEPARATOR)]
    return SEPARATOR.join(format_number(row[key], metric) if key in row else MISSING for key in sources)


def _text_column(header: str, key: str, *, spare: bool = False) -> Column:
    return Column(header, key, lambda row: row[key] or MISSING, "left", spare)
