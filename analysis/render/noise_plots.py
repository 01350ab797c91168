"""Figures of a noise floor as SVG: the same input gives the same bytes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.formatting import shorten_metric, to_display_units
from analysis.render.plots import DASHES, Theme, add_legend, escape_label, make_figure, to_svg
from analysis.stats.noise import SEED_COUNTS
from fcos.statistics.power import POWER, find_share, resolution, unpaired_deviation


def plot_values_by_source(values: pd.DataFrame, labels: Mapping[str, str], metric: str, theme: Theme) -> bytes:
    """Plot a line for each arm: a dot for each seed, a bar for the mean.

    values: of this metric, see analysis.stats.paired.collect_final_values. labels: arm -> what varies.
    """
    figure, axes = make_figure(theme, (6.4, 1.3 + 0.5 * len(labels)))
    for line, arm in enumerate(labels):
        of_arm = values.loc[values["arm"] == arm, "value"]
        numbers = to_display_units(of_arm[np.isfinite(of_arm)], metric)
        colour = theme.arms[line % len(theme.arms)]
        axes.plot(numbers, [line] * len(numbers), "o", color=colour, alpha=0.6, markersize=7, markeredgewidth=0)
        if len(numbers):
            axes.plot([numbers.mean()], [line], "|", color=colour, markersize=18, markeredgewidth=2)
    axes.set_yticks(range(len(labels)), [escape_label(label) for label in labels.values()])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel(shorten_metric(metric))
    axes.grid(visible=False, axis="y")
    return to_svg(figure)


def plot_power(deviation: float, metric: str, theme: Theme, counts: Sequence[int] = SEED_COUNTS) -> bytes:
    """Plot the share of sweeps that find a true difference of two arms, a curve for each number of paired seeds.

    deviation: of one training, above zero, in the metric's unit.
    """
    figure, axes = make_figure(theme, (6.4, 3.3))
    of_pair = unpaired_deviation(deviation)
    widest = max(resolution(count).shows for count in counts if np.isfinite(resolution(count).shows))
    effects = np.linspace(0, 1.4 * widest, 141)
    for index, count in enumerate(counts):
        shares = [find_share(effect, count) for effect in effects]
        never = ": never" if not any(shares) else ""
        axes.plot(
            to_display_units(effects * of_pair, metric),
            [100 * share for share in shares],
            color=theme.arms[index % len(theme.arms)],
            linestyle=DASHES[index % len(DASHES)],
            linewidth=2,
            label=f"{count} seeds{never}",
        )
    axes.axhline(100 * POWER, color=theme.quiet, linewidth=1)
    axes.set_xlabel(f"true difference in {shorten_metric(metric)}")
    axes.set_ylabel("sweeps that find it, %")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 102)
    add_legend(axes, theme, columns=2)
    return to_svg(figure)
