"""Figures of a search as SVG: the same input gives the same bytes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.formatting import MISSING, shorten_metric, to_display_units
from analysis.reader.sweep import Search
from analysis.render.plots import Theme, figure_of, grid_figure_of, label_of, svg_of
from analysis.stats.importance import components

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3


def history(frame: pd.DataFrame, metric: str, mode: str, theme: Theme) -> bytes:
    """Values in the order of drawing, and the best of the finished ones so far.

    frame: number, state, value; a row for each training with a value, in order.
    """
    figure, axes = figure_of(theme, (6.4, 3.3))
    _dots(axes, list(frame["number"]), frame, metric, theme)
    finished = frame[frame["state"] == "finished"]
    best = finished["value"].cummax() if mode == "max" else finished["value"].cummin()
    axes.step(finished["number"], to_display_units(best, metric), where="post", color=theme.arms[1], linewidth=1.5)
    axes.set_xlabel("training")
    axes.set_ylabel(shorten_metric(metric))
    axes.locator_params(axis="x", integer=True)
    return svg_of(figure)


def over_keys(frame: pd.DataFrame, search: Search, headers: Mapping[str, str], theme: Theme) -> bytes:
    """The metric over each drawn number or choice, side by side."""
    columns = components(frame, search)
    rows = -(-len(columns) // COLUMNS)
    figure, parts = grid_figure_of(theme, (9.6, 2.3 * rows), len(columns), COLUMNS)
    for place, (axes, (name, values)) in enumerate(zip(parts, columns.items(), strict=True)):
        key = name.split(" ")[0]
        _over_key(axes, values, frame, search, key, theme)
        axes.set_xlabel(label_of(name.replace(key, headers[key], 1)))
        if place % COLUMNS == 0:
            axes.set_ylabel(shorten_metric(search.metric))
    return svg_of(figure)


def _over_key(axes: "Axes", values: list[Any], frame: pd.DataFrame, search: Search, key: str, theme: Theme) -> None:
    is_set = [not (isinstance(value, str) and value == MISSING) for value in values]
    shown = frame[is_set]
    known = [value for value, there in zip(values, is_set, strict=True) if there]
    if search.space[key].get("choice") is not None:
        options = list(dict.fromkeys(str(option) for option in search.space[key]["choice"]))
        known = [options.index(value) for value in known]
        axes.set_xticks(range(len(options)), [label_of("null" if text == "None" else text) for text in options])
        axes.set_xlim(-0.5, len(options) - 0.5)
    elif any(search.space[key].get(kind) is not None for kind in ("loguniform", "rising", "ranges")):
        axes.set_xscale("log")
    _dots(axes, known, shown, search.metric, theme)


def _dots(axes: "Axes", where: list[Any], frame: pd.DataFrame, metric: str, theme: Theme) -> None:
    for state, filling in (("finished", theme.arms[0]), ("pruned", "none")):
        chosen = [place for place, each in enumerate(frame["state"]) if each == state]
        axes.plot(
            [where[place] for place in chosen],
            [to_display_units(frame["value"].iloc[place], metric) for place in chosen],
            "o",
            color=theme.arms[0],
            markerfacecolor=filling,
            markersize=5,
        )
