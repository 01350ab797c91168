"""Interaction plots of factors as SVG: the same input gives the same bytes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.formatting import shorten_metric, to_display_units
from analysis.render.plots import DASHES, Theme, add_legend, escape_label, make_grid_figure, to_svg
from analysis.stats.factorial.means import InteractionMeans

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_COLUMNS = 2
# Between the lines of a panel, so that their intervals do not hide each other; in steps of the x axis.
OFFSET = 0.05


def plot_interactions(panels: Sequence[InteractionMeans], metric: str, theme: Theme) -> bytes:
    """Plot a panel for each pair of factors: a line for each level of one over the levels of the other.

    panels: one at the least. Bars are the intervals over seeds; parallel lines are no interaction.
    """
    columns = min(len(panels), MOST_COLUMNS)
    rows = -(-len(panels) // columns)
    size = (6.4, 3.3) if len(panels) == 1 else (4.6 * columns, 3.1 * rows)
    figure, parts = make_grid_figure(theme, size, len(panels), columns)
    for index, (axes, panel) in enumerate(zip(parts, panels, strict=True)):
        _plot_panel(axes, panel, metric, theme)
        if index % columns == 0:
            axes.set_ylabel(shorten_metric(metric))
    return to_svg(figure)


def _plot_panel(axes: "Axes", panel: InteractionMeans, metric: str, theme: Theme) -> None:
    x_levels = list(dict.fromkeys(mean.x_level for mean in panel.means))
    line_levels = list(dict.fromkeys(mean.line_level for mean in panel.means))
    for index, level in enumerate(line_levels):
        of_line = [mean for mean in panel.means if mean.line_level == level]
        shift = OFFSET * (index - (len(line_levels) - 1) / 2)
        axes.errorbar(
            [position + shift for position in range(len(x_levels))],
            [to_display_units(mean.mean, metric) for mean in of_line],
            yerr=[to_display_units(mean.half_width, metric) for mean in of_line],
            color=theme.arms[index % len(theme.arms)],
            linestyle=DASHES[index % len(DASHES)],
            linewidth=2,
            elinewidth=1.2,
            capsize=3,
            marker="o",
            markersize=5,
            label=escape_label(f"{panel.line_factor}: {level}"),
        )
    axes.set_xticks(range(len(x_levels)), [escape_label(level) for level in x_levels])
    axes.set_xlim(-0.4, len(x_levels) - 0.6)
    axes.set_xlabel(escape_label(panel.x_factor))
    axes.grid(visible=False, axis="x")
    for label in axes.get_xticklabels():
        label.set_color(theme.ink)
    add_legend(axes, theme, columns=2)
