"""Precision-recall and F1 curves of arms with the band of their seeds, as SVG: the same input gives the same bytes."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from analysis.render.plots import DASHES, Theme, add_legend, escape_label, make_figure, to_svg

# More lines than that are hard to distinguish.
MAX_ARMS = 6


def plot_bands(
    x: NDArray[np.float64],
    curves: Mapping[str, NDArray[np.float64]],
    x_label: str,
    y_label: str,
    theme: Theme,
) -> bytes:
    """Plot the mean of each arm's curves, and from the lowest to the highest of its seeds a band.

    curves: arm -> [seeds, points], fractions; the first MAX_ARMS are drawn.
    """
    figure, axes = make_figure(theme, (6.4, 3.6))
    for index, (arm, of_arm) in enumerate(list(curves.items())[:MAX_ARMS]):
        colour, dash = theme.arms[index % len(theme.arms)], DASHES[index % len(DASHES)]
        if len(of_arm) > 1:
            axes.fill_between(
                x, 100 * of_arm.min(axis=0), 100 * of_arm.max(axis=0), color=colour, alpha=0.18, linewidth=0
            )
        mean = 100 * of_arm.mean(axis=0)
        axes.plot(x, mean, color=colour, linestyle=dash, linewidth=2, label=escape_label(arm))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 102)
    add_legend(axes, theme)
    return to_svg(figure)
