"""Interaction plots: a line for each level, the same input gives the same bytes, hostile names stay inert."""

from itertools import combinations

import pandas as pd

from analysis.render.interaction_plots import plot_interactions
from analysis.render.plots import DARK, LIGHT
from analysis.stats.factorial.effects import tabulate_cells
from analysis.stats.factorial.means import InteractionMeans, LevelMean, compute_interaction_means
from tests.helpers.experiments.factorial_values import AP, draw_values, make_factorial


def make_panels(values: pd.DataFrame, names: str, seeds: int) -> list[InteractionMeans]:
    design = make_factorial(names=names)
    table = tabulate_cells(values, AP, design, range(seeds))
    return [compute_interaction_means(table, design, pair) for pair in combinations(design.names, 2)]


def test_a_plot_is_deterministic_and_follows_its_theme() -> None:
    panels = make_panels(draw_values(make_factorial(names="abc"), {"a*b": 0.04}, 4), "abc", 4)
    first = plot_interactions(panels, AP, LIGHT)
    assert first.startswith(b"<?xml")
    assert first == plot_interactions(panels, AP, LIGHT)
    assert first != plot_interactions(panels, AP, DARK)
    assert first != plot_interactions(panels[:1], AP, LIGHT)


def test_one_seed_is_plotted_without_intervals() -> None:
    values = draw_values(make_factorial(names="ab"), {"a*b": 0.04}, 1)
    assert plot_interactions(make_panels(values, "ab", 1), AP, LIGHT).startswith(b"<?xml")


def test_names_are_no_markup() -> None:
    means = tuple(LevelMean(x, line, 0.4, 0.01) for x in ("$a", "<b>") for line in ("_c", "d"))
    figure = plot_interactions([InteractionMeans("$x$", "<script>", means)], AP, LIGHT)
    assert b"<script>" not in figure and b"<b>" not in figure
