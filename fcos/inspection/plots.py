"""Plots of a data set as SVG, for light and for dark pages; the same input gives the same bytes."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float64

from fcos.config.choices import Split
from fcos.inspection.counts import DataCounts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Boxes an image from which on a histogram has bins of several numbers.
MAX_BARS: Final = 30


@dataclass(frozen=True)
class Theme:
    """Colours of a plot; those of the splits are Okabe and Ito's, distinct for any colour vision."""

    ink: str
    quiet: str
    grid: str
    splits: tuple[str, str]


LIGHT: Final = Theme("#1f2328", "#59636e", "#dfe3e8", ("#0072b2", "#d55e00"))
DARK: Final = Theme("#e6e8eb", "#9aa4af", "#363c44", ("#56b4e9", "#f08a4b"))
# Train is filled, val an outline, so that neither hides the other.
FILLED: Final = (True, False)


def plot_sizes(counts: DataCounts, theme: Theme) -> bytes:
    """Plot half the longer side of the boxes over a logarithmic axis, with the ends of the level ranges."""
    figure, axes = _make_figure(theme)
    everything = np.concatenate([split.half_sides for split in counts.splits.values()])
    positive = everything[everything > 0]
    low, high = (positive.min(), positive.max()) if len(positive) else (1.0, 2.0)
    # Whole powers of two, so that there are always ticks.
    first, last = np.floor(np.log2(max(low, 0.25))), np.ceil(np.log2(max(high, 0.5)))
    edges = np.geomspace(2**first, 2 ** max(last, first + 2), 41)
    # Smaller ones, as of boxes in other units, are in the first bin.
    values = {name: split.half_sides.clip(edges[0], edges[-1]) for name, split in counts.splits.items()}
    _histograms(axes, values, edges, theme)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlim(edges[0], edges[-1])
    top = axes.get_ylim()[1]
    for level in counts.levels:
        if edges[0] < level.low < edges[-1]:
            axes.axvline(level.low, color=theme.quiet, linewidth=1, linestyle=(0, (3, 2)))
        begin, end = max(level.low, edges[0]), min(level.high or edges[-1], edges[-1])
        if end > begin * 1.15:
            axes.text(
                (begin * end) ** 0.5, top * 1.01, level.level, ha="center", va="bottom", color=theme.quiet, size=9
            )
    axes.set_xlabel("half the longer side of a box at the input, px")
    axes.set_ylabel("share of the split's boxes, %")
    return _to_svg(figure)


def plot_boxes_an_image(counts: DataCounts, theme: Theme) -> bytes:
    """Plot how many boxes the images have."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _make_figure(theme)
    most = max(int(split.per_image.max(initial=0)) for split in counts.splits.values())
    step = max(1, -(-(most + 1) // MAX_BARS))
    edges = np.arange(0, most + step + 1, step) - 0.5
    _histograms(axes, {name: split.per_image * 1.0 for name, split in counts.splits.items()}, edges, theme)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("boxes an image" + (f", in steps of {step}" if step > 1 else ""))
    axes.set_ylabel("share of the split's images, %")
    return _to_svg(figure)


def _histograms(
    axes: "Axes", values: Mapping[Split, Float64[np.ndarray, " _"]], edges: Float64[np.ndarray, " _"],
    theme: Theme,
) -> None:  # fmt: skip
    for (name, of_split), colour, filled in zip(values.items(), theme.splits, FILLED, strict=False):
        heights, _ = np.histogram(of_split, edges)
        shares = 100 * heights / max(len(of_split), 1)
        label = f"{name} ({len(of_split):,})"
        axes.stairs(
            shares, edges, fill=filled, color=colour, alpha=0.55 if filled else 1, linewidth=0 if filled else 1.8,
            label=label,
        )  # fmt: skip
    # Room for the legend.
    axes.set_ylim(0, axes.get_ylim()[1] * 1.2)
    axes.legend(frameon=False, fontsize=9, labelcolor=theme.ink, loc="upper right")


def _make_figure(theme: Theme) -> "tuple[Figure, Axes]":
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    # Derive the SVG's ids from this salt, not from random numbers.
    rcParams["svg.hashsalt"] = "fcos-lab"
    figure = Figure(figsize=(6.4, 3.3), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    axes.tick_params(colors=theme.quiet, labelsize=9, length=0)
    axes.xaxis.label.set(color=theme.ink, size=10)
    axes.yaxis.label.set(color=theme.ink, size=10)
    axes.grid(color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set(color=theme.grid, visible=name == "bottom")
    return figure, axes


def _to_svg(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
