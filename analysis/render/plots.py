"""Figures of an ablation as SVG, and what all figures share: the same input gives the same bytes."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from analysis.formatting import MINUS, shorten_metric, to_display_units
from analysis.stats.comparison import Comparison
from fcos.storage.store_conventions import RunStatus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The arms' colours are Okabe and Ito's, distinct for any colour vision; lines differ in their dashes too.
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
MAX_LABEL = 40


@dataclass(frozen=True)
class Theme:
    """Colours of a figure. on_arm: of text on a colour of an arm."""

    ink: str
    quiet: str
    grid: str
    on_arm: str
    arms: tuple[str, ...]


LIGHT = Theme(
    "#1f2328", "#59636e", "#dfe3e8", "#ffffff", ("#0072b2", "#d55e00", "#009e73", "#a8518a", "#b07d00", "#4a90b8")
)
DARK = Theme(
    "#e6e8eb", "#9aa4af", "#363c44", "#15181c", ("#56b4e9", "#f08a4b", "#2bc39a", "#dc9ac3", "#e6b93f", "#9ccbe6")
)


def plot_learning_curves(points: pd.DataFrame, metric: str, arms: Sequence[str], theme: Theme) -> bytes:
    """Plot one metric over steps: a thin line for each seed, a thick one for their mean.

    points: columns arm, seed, status, step, value of this metric. The mean is over the finished trials.
    """
    figure, axes = make_figure(theme, (6.4, 3.3))
    for index, arm in enumerate(arms):
        of_arm = points[points["arm"] == arm]
        if of_arm.empty:
            continue
        curves = to_display_units(of_arm.pivot_table(index="step", columns="seed", values="value"), metric)
        finished = sorted(of_arm.loc[of_arm["status"] == RunStatus.FINISHED, "seed"].unique())
        colour, dash = theme.arms[index % len(theme.arms)], DASHES[index % len(DASHES)]
        for seed in curves.columns:
            curve = curves[seed].dropna()
            axes.plot(curve.index, curve, color=colour, linewidth=0.8, alpha=0.4)
        mean = curves[finished].dropna().mean(axis="columns")
        marker = "o" if len(mean) <= 12 else ""
        axes.plot(
            mean.index,
            mean,
            color=colour,
            linestyle=dash,
            linewidth=2,
            marker=marker,
            markersize=4,
            label=escape_label(arm),
        )
    axes.set_xlabel("step")
    axes.set_ylabel(shorten_metric(metric))
    axes.set_xlim(left=0)
    add_legend(axes, theme)
    return to_svg(figure)


def plot_paired_differences(
    differences: pd.DataFrame,
    comparisons: Sequence[Comparison],
    paper_differences: Mapping[str, Mapping[str, float]],
    metric: str,
    label: str,
    theme: Theme,
) -> bytes:
    """Plot a line for each arm: dots for the pairs, their mean with its interval, diamonds for the papers.

    differences: of this metric, see analysis.stats.paired. comparisons: of this metric, with pairs. paper_differences:
    arm -> source -> difference of the same rows in a paper. label: of the x axis, escaped.
    """
    arms = [comparison.arm for comparison in comparisons]
    figure, axes = make_figure(theme, (6.4, 1.5 + 0.62 * len(arms)))
    axes.axvline(0, color=theme.quiet, linewidth=1)
    for line, (arm, comparison) in enumerate(zip(arms, comparisons, strict=True)):
        pairs = to_display_units(differences.loc[differences["arm"] == arm, "difference"], metric)
        colour = theme.arms[0]
        axes.plot(pairs, [line + 0.16] * len(pairs), "o", color=colour, alpha=0.45, markersize=5, markeredgewidth=0)
        ends = [to_display_units(end, metric) for end in (comparison.test.low, comparison.test.high)]
        if all(math.isfinite(end) for end in ends):
            axes.plot(ends, [line] * 2, color=colour, linewidth=2)
        axes.plot([to_display_units(comparison.difference, metric)], [line], "o", color=colour, markersize=8)
        for value in paper_differences.get(arm, {}).values():
            x = to_display_units(value, metric)
            axes.plot([x], [line - 0.2], "D", color=theme.arms[1], markersize=5, mfc="none")
    axes.set_yticks(range(len(arms)), [escape_label(arm) for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel(label)
    axes.grid(visible=False, axis="y")
    _add_difference_legend(axes, theme, bool(paper_differences))
    return to_svg(figure)


def _add_difference_legend(axes: "Axes", theme: Theme, with_papers: bool) -> None:
    colour = theme.arms[0]
    axes.plot([], [], "o", color=colour, alpha=0.45, markersize=5, markeredgewidth=0, label="one seed")
    axes.plot([], [], "o-", color=colour, markersize=7, label="mean, interval of the test")
    if with_papers:
        axes.plot([], [], "D", color=theme.arms[1], markersize=5, mfc="none", label="papers")
    add_legend(axes, theme)


def escape_label(text: str) -> str:
    """Return a label in one line of at most MAX_LABEL characters, without special meaning for matplotlib."""
    # A dollar sign would start TeX, a leading underscore would hide the line from the legend.
    text = " ".join(text.split())
    short = text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…"
    escaped = short.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def make_figure(theme: Theme, size: tuple[float, float]) -> "tuple[Figure, Axes]":
    """Return a figure with one pair of axes. size: inches."""
    figure, (axes,) = make_stacked_figure(theme, size, (1.0,))
    return figure, axes


def make_stacked_figure(
    theme: Theme, size: tuple[float, float], heights: Sequence[float]
) -> "tuple[Figure, Sequence[Axes]]":
    """Return a figure of several axes over one x axis, the first on top. heights: relative."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    # Derive the SVG's ids from this salt, not from random numbers.
    rcParams["svg.hashsalt"] = "fcos-lab"
    rcParams["axes.unicode_minus"] = MINUS == "\u2212"
    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_alpha(0)
    parts = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes in parts:
        _apply_theme(axes, theme)
    return figure, list(parts)


def make_grid_figure(theme: Theme, size: tuple[float, float], count: int, columns: int) -> "tuple[Figure, list[Axes]]":
    """Return a figure of `count` axes in a grid with a shared y axis, row by row."""
    figure, _ = make_stacked_figure(theme, size, (1.0,))
    figure.clear()
    rows = -(-count // columns)
    parts = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for axes in parts[:count]:
        _apply_theme(axes, theme)
    for axes in parts[count:]:
        axes.set_axis_off()
    return figure, parts[:count]


def _apply_theme(axes: "Axes", theme: Theme) -> None:
    axes.patch.set_alpha(0)
    axes.tick_params(colors=theme.quiet, labelsize=9, length=0)
    axes.xaxis.label.set(color=theme.ink, size=10)
    axes.yaxis.label.set(color=theme.ink, size=10)
    axes.grid(color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_color(theme.ink)


def add_legend(axes: "Axes", theme: Theme, columns: int = 3) -> None:
    """Add a legend above the axes where anything has a label."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=columns,
            frameon=False,
            fontsize=9,
            labelcolor=theme.ink,
        )


def to_svg(figure: "Figure") -> bytes:
    """Return a figure as SVG without a date."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
