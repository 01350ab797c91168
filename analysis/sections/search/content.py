"""Content of a search's report: its points best first, the best settings, and what they are worth in other seeds."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from analysis.formatting import MISSING, format_mean, shorten_metric
from analysis.reader.sweep import Search, Sweep
from analysis.render import search_plots
from analysis.render.tables import Column, Table, make_caption
from analysis.sections.content import Figure, ReportContent
from analysis.sections.gallery import build_gallery
from analysis.sections.provenance import describe_provenance_differences, describe_shared_trainings
from analysis.sections.search.best_settings import format_best_settings, shorten_keys
from analysis.sections.search.confirmation import Confirmation, build_confirmation
from analysis.sections.search.front import (
    Front,
    build_front,
    describe_front,
    make_front_table,
    note_incomplete,
)
from analysis.sections.search.points import collect_points, find_best
from analysis.sections.statistics import describe_test
from analysis.stats.importance import compute_importance
from fcos.storage.store_conventions import MetricPrefix


def build_search_content(sweep: Sweep, search: Search) -> ReportContent:
    """Collect everything that a search tried; reads the store for pictures alone."""
    frame = collect_points(sweep, search)
    best = find_best(frame)
    confirmation = None if best is None else build_confirmation(sweep, search, best["value"])
    front = build_front(sweep, search)
    shares = compute_importance(frame, search)
    gallery = build_gallery(sweep if best is None else sweep.of_arms([str(best["trial"])]))
    tables = [
        *_make_front_tables(front, frame, search),
        _make_table(frame, search),
        *([] if confirmation is None else [confirmation.table]),
        *([_make_importance_table(shares, search)] if len(shares) else []),
    ]
    return ReportContent(
        kind="search",
        has_training=not search.metric.startswith(MetricPrefix.COVERAGE),
        values=frame,
        tables=tuple(tables),
        legend=_make_legend(sweep, search, frame, len(shares) > 0),
        verdicts=() if confirmation is None or confirmation.verdict is None else (confirmation.verdict,),
        findings=(
            *(() if confirmation is None else confirmation.findings),
            *(() if front is None else (describe_front(front),)),
        ),
        method=(*describe_confirmation(confirmation), *describe_shared_trainings(sweep)),
        limitations=(
            *_describe_limitations(sweep, frame, search, confirmation),
            *describe_provenance_differences(sweep.finished),
        ),
        figures=(*_plot_front(front), *_plot_figures(frame, search)),
        gallery=gallery,
        notes=(*gallery.notes, *note_incomplete(front)),
        recommended_settings=_recommend_settings(sweep, search, best, shares, confirmation),
        importance=shares,
        confirmation=confirmation,
        front=front,
    )


def _recommend_settings(
    sweep: Sweep,
    search: Search,
    best: Mapping[str, Any] | None,
    shares: pd.DataFrame,
    confirmation: Confirmation | None,
) -> str | None:
    """Return the best settings as YAML to paste; None where no point has a value or several objectives compete."""
    if best is None or search.objectives:
        return None
    return format_best_settings(sweep, search, best, shares, () if confirmation is None else confirmation.design.seeds)


def describe_confirmation(confirmation: Confirmation | None) -> list[str]:
    """Return how the winners were compared with the starting point; nothing where none was."""
    if confirmation is None:
        return []
    tested = [each for each in (confirmation.comparison, *confirmation.earlier) if each is not None]
    lines = describe_test(tested, confirmation.design)
    if confirmation.earlier:
        lines.append("Earlier winners are arms too: each of them was another chance of a false verdict.")
    return lines


def _make_front_tables(front: Front | None, frame: pd.DataFrame, search: Search) -> list[Table]:
    return [] if front is None else [make_front_table(front, frame, shorten_keys(search.space), format_value)]


def _make_table(frame: pd.DataFrame, search: Search) -> Table:
    metric = search.metric
    columns = [
        Column("trial", "trial", lambda row: str(row["trial"]), "left"),
        Column(shorten_metric(metric), "value", lambda row: format_mean(row["value"], row["deviation"], metric)),
        *([Column("seeds", "seeds", lambda row: str(row["seeds"]))] if frame["seeds"].gt(1).any() else []),
        Column("step", "step", lambda row: MISSING if pd.isna(row["step"]) else f"{row['step']:.0f}"),
        Column("state", "state", _format_state_cell, "left"),
        *(Column(header, key, partial(_format_key_cell, key)) for key, header in shorten_keys(search.space).items()),
    ]
    order = "highest" if search.mode == "max" else "lowest"
    return Table(f"{make_caption(metric)}, {order} first", frame, columns)


def _format_state_cell(row: Mapping[str, Any]) -> str:
    reason = str(row["failure"]).splitlines()
    return f"{row['state']}: {reason[0]}" if row["state"] == "failed" and reason else str(row["state"])


def _format_key_cell(key: str, row: Mapping[str, Any]) -> str:
    return format_value(row[key])


def format_value(value: object) -> str:
    """Format a sampled value in a few characters; level ranges by the ends between them."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list) and value and all(isinstance(item, list) and len(item) == 2 for item in value):
        return " | ".join(str(high) for _, high in value[:-1])
    return "null" if value is None else str(value)


def _make_legend(sweep: Sweep, search: Search, frame: pd.DataFrame, with_importance: bool) -> str:
    raced = bool(frame["seeds"].gt(1).any())
    first = "One training for each point."
    if raced:
        first = "Mean ± sample standard deviation over the seeds of the search that a point got"
        first += (
            "."
            if sweep.winner is None
            else ", the winner first: it took the lead on common seeds, so that a point of fewer seeds may show more."
        )
    lines = [f"{first} Level ranges are given by the ends between the levels."]
    if search.strategy.early_stopping != "none":
        lines.append("Pruned: stopped early, with its value at that step, below all that were trained to the end.")
    if with_importance:
        lines.append(
            "Importance: PED-ANOVA (arXiv 2304.10255) over the finished trainings, of keys that all of them have."
        )
    return " ".join(lines)


def _describe_limitations(
    sweep: Sweep, frame: pd.DataFrame, search: Search, confirmation: Confirmation | None
) -> list[str]:
    lines = []
    count = int(frame["value"].notna().sum())
    if confirmation is not None:
        lines.append(
            f"The values of the {count} points are those by which the winner was chosen; only seeds that the "
            "search did not see show what its settings are worth."
        )
    elif count and not search.objectives:
        lines.append(
            f"The best of {count} was chosen by the number shown here: expect a worse one in other seeds. "
            "Only a comparison over seeds shows what the settings are worth; its command is among the best settings."
        )
    trainings = sum(trial.seed in sweep.experiment.seeds for trial in sweep.current)
    if trainings < search.trials and search.strategy.searcher != "grid":
        lines.append(f"{trainings} of {search.trials} trainings have been sampled.")
    return lines


def _make_importance_table(shares: pd.DataFrame, search: Search) -> Table:
    columns = [
        Column("key", "key", lambda row: str(row["key"]), "left"),
        Column("importance", "importance", lambda row: f"{100 * row['importance']:.0f} %"),
    ]
    return Table(f"Importance of the keys for {shorten_metric(search.metric)}", shares, columns)


def _plot_front(front: Front | None) -> list[Figure]:
    """Return a figure of the first objective over each other one."""
    if front is None:
        return []
    first = front.metrics[0]
    return [
        Figure.of_plot(
            f"{shorten_metric(first)} and {shorten_metric(other)}",
            "Filled: on the front of all objectives. Hollow: others. Bars: the standard deviation over seeds.",
            partial(search_plots.plot_front, front.frame, first, other),
        )
        for other in front.metrics[1:]
    ]


def _plot_figures(frame: pd.DataFrame, search: Search) -> Sequence[Figure]:
    with_value = frame[frame["value"].notna()].sort_values("number")
    if with_value.empty:
        return []
    name = shorten_metric(search.metric)
    return [
        Figure.of_plot(
            f"{name} of each training",
            "Filled: trained to the end. Hollow: pruned. The line is the best of those trained to the end so far.",
            partial(search_plots.plot_search_history, with_value, search.metric, search.mode),
        ),
        Figure.of_plot(
            f"{name} over each key",
            "Filled: trained to the end. Hollow: pruned.",
            partial(search_plots.plot_values_by_key, with_value, search, shorten_keys(search.space)),
        ),
    ]
