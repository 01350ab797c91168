"""Figures of a factorial experiment: the effects over seeds, and the interaction of each pair of factors."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations

import pandas as pd

from analysis.formatting import format_count, shorten_metric
from analysis.render.interaction_plots import plot_interactions
from analysis.render.plots import plot_paired_differences
from analysis.sections.content import Figure
from analysis.stats.factorial.effects import EffectResult
from analysis.stats.factorial.means import compute_interaction_means
from fcos.statistics.factorial import FactorialDesign

# Pairs of factors that are plotted.
MOST_PANELS = 6


def plot_effects(tested: Sequence[EffectResult], metric: str) -> list[Figure]:
    """Plot the tested effects seed by seed; nothing without a complete seed."""
    with_seeds = [result for result in tested if result.sizes]
    if not with_seeds:
        return []
    rows = [(result.effect.name, seed, size) for result in with_seeds for seed, size in sorted(result.sizes.items())]
    differences = pd.DataFrame(rows, columns=["arm", "seed", "difference"])
    comparisons = [result.comparison for result in with_seeds]
    label = f"effect on {shorten_metric(metric)}"
    return [
        Figure.of_plot(
            f"{shorten_metric(metric)}: effects of the factors",
            "An interval that excludes zero shows a direction.",
            partial(plot_paired_differences, differences, comparisons, {}, metric, label),
        )
    ]


def plot_interaction_means(
    table: pd.DataFrame, tested: Sequence[EffectResult], factorial: FactorialDesign, metric: str
) -> list[Figure]:
    """Plot the means of the pairs of factors with the largest interactions; nothing without a complete seed.

    table: see analysis.stats.factorial.effects.tabulate_cells.
    """
    if table.dropna().empty:
        return []

    def measure_size(pair: tuple[str, str]) -> float:
        return max((abs(each.comparison.difference) for each in tested if each.effect.word == set(pair)), default=0.0)

    pairs = sorted(combinations(factorial.names, 2), key=measure_size, reverse=True)
    shown = pairs[:MOST_PANELS]
    left_out = len(pairs) - len(shown)
    caption = (
        "Means over the seeds and all other factors; lines that are not parallel are an interaction. Bars: 95 % t "
        "interval over seeds, each seed's own mean taken out as by pairing."
    )
    if factorial.relation:
        caption += " In a fraction an interaction may be that of two other factors: see what it is aliased with."
    if left_out:
        caption += f" {format_count(left_out, 'pair')} of factors with smaller interactions left out."
    figure = Figure.of_plot(
        f"{shorten_metric(metric)} by the levels of two factors",
        caption,
        partial(plot_interactions, [compute_interaction_means(table, factorial, pair) for pair in shown], metric),
    )
    return [replace(figure, wide=len(shown) > 1)]
