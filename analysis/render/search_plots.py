"""Figures of a search as SVG: the same input gives the same bytes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.formatting import shorten_metric, to_display_units
from analysis.reader.sweep import Search
from analysis.render.plots import Theme, escape_label, make_figure, make_grid_figure, to_svg
from analysis.stats.importance import is_unset, split_components

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3


def plot_search_history(frame: pd.DataFrame, metric: str, mode: str, theme: Theme) -> bytes:
    """Plot values in the order of sampling, and the best of the finished ones so far.

    frame: columns number, state, value; a row for each training with a value, in order.
    """
    figure, axes = make_figure(theme, (6.4, 3.3))
    _plot_values(axes, list(frame["number"]), frame, metric, theme)
    finished = frame[frame["state"] == "finished"]
    best = finished["value"].cummax() if mode == "max" else finished["value"].cummin()
    axes.step(finished["number"], to_display_units(best, metric), where="post", color=theme.arms[1], linewidth=1.5)
    axes.set_xlabel("training")
    axes.set_ylabel(shorten_metric(metric))
    axes.locator_params(axis="x", integer=True)
    return to_svg(figure)


def plot_values_by_key(frame: pd.DataFrame, search: Search, headers: Mapping[str, str], theme: Theme) -> bytes:
    """Plot the metric over each sampled number or choice, in a grid. headers: key -> its short name."""
    columns = split_components(frame, search)
    rows = -(-len(columns) // COLUMNS)
    figure, parts = make_grid_figure(theme, (9.6, 2.3 * rows), len(columns), COLUMNS)
    for index, (axes, (name, values)) in enumerate(zip(parts, columns.items(), strict=True)):
        key = name.split(" ")[0]
        _plot_key(axes, values, frame, search, key, theme)
        axes.set_xlabel(escape_label(name.replace(key, headers[key], 1)))
        if index % COLUMNS == 0:
            axes.set_ylabel(shorten_metric(search.metric))
    return to_svg(figure)


def _plot_key(axes: "Axes", values: list[Any], frame: pd.DataFrame, search: Search, key: str, theme: Theme) -> None:
    is_set = [not is_unset(value) for value in values]
    x = [value for value in values if not is_unset(value)]
    distribution = search.space[key]
    if distribution.choice is not None:
        options = list(dict.fromkeys(str(option) for option in distribution.choice))
        x = [options.index(value) for value in x]
        axes.set_xticks(range(len(options)), [escape_label("null" if text == "None" else text) for text in options])
        axes.set_xlim(-0.5, len(options) - 0.5)
    elif distribution.loguniform or distribution.rising or distribution.ranges:
        axes.set_xscale("log")
    _plot_values(axes, x, frame[is_set], search.metric, theme)


def _plot_values(axes: "Axes", x: Sequence[Any], frame: pd.DataFrame, metric: str, theme: Theme) -> None:
    for state, fill in (("finished", theme.arms[0]), ("pruned", "none")):
        indices = [index for index, row_state in enumerate(frame["state"]) if row_state == state]
        axes.plot(
            [x[index] for index in indices],
            [to_display_units(frame["value"].iloc[index], metric) for index in indices],
            "o",
            color=theme.arms[0],
            markerfacecolor=fill,
            markersize=5,
        )


def plot_front(frame: pd.DataFrame, first: str, other: str, theme: Theme) -> bytes:
    """Plot one objective over another, points on the front filled.

    frame: columns is_front, and for both metrics the mean and `<metric> deviation` (NaN with one seed).
    """
    figure, axes = make_figure(theme, (6.4, 3.6))
    for is_front, fill in ((False, "none"), (True, theme.arms[0])):
        part = frame[frame["is_front"] == is_front]
        x, y = (to_display_units(part[metric], metric) for metric in (other, first))
        x_error, y_error = (
            to_display_units(part[f"{metric} deviation"].fillna(0.0), metric) for metric in (other, first)
        )
        axes.errorbar(
            x, y, xerr=x_error, yerr=y_error, fmt="o", color=theme.arms[0], markerfacecolor=fill, markersize=5,
            elinewidth=0.8,
        )  # fmt: skip
    axes.set_xlabel(escape_label(shorten_metric(other)))
    axes.set_ylabel(escape_label(shorten_metric(first)))
    return to_svg(figure)
