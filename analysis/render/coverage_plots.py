"""Figures of coverage as SVG: the same input gives the same bytes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.render.plots import Theme, figure_of, label_of, legend_of, stacked_figure_of, svg_of

# Of a figure's width: a narrower piece of a range has no room for its level's name.
NARROWEST_NAMED = 0.04
MOST_TICKS = 8


def box_sizes(shown: Mapping[str, Mapping[str, Any]], theme: Theme) -> bytes:
    """A histogram of the boxes' longest sides, and under it the level ranges of each entry (label -> counts)."""
    first = next(iter(shown.values()))["longest_side"]
    left, right = _limits(first, [table["assignment"]["ranges"] for table in shown.values()])
    line = 0.3 * len(shown)
    figure, (top, bottom) = stacked_figure_of(theme, (6.4, 3.1 + line), (2.1, 0.25 + line))
    top.stairs(first["boxes"], first["ends"], fill=True, color=theme.quiet, alpha=0.5)
    top.set_ylabel("boxes")
    for place, table in enumerate(shown.values()):
        for level, (low, high) in zip(table["levels"], table["assignment"]["ranges"], strict=True):
            start, end = max(low, left), min(right if high is None else high, right)
            if start >= end:
                continue
            bottom.barh(place, end - start, 0.62, left=start, color=_colour(level, theme))
            if math.log(end / start) > NARROWEST_NAMED * math.log(right / left):
                middle = math.sqrt(start * end)
                bottom.text(middle, place, f"P{level}", ha="center", va="center", fontsize=8, color=theme.paper)
    bottom.set_yticks(range(len(shown)), [label_of(label) for label in shown])
    bottom.set_ylim(len(shown) - 0.5, -0.5)
    bottom.grid(visible=False, axis="y")
    bottom.set_xscale("log", base=2)
    bottom.set_xlim(left, right)
    ticks = _ticks(left, right)
    bottom.set_xticks(ticks, [str(tick) for tick in ticks])
    bottom.set_xlabel("pixels: longest side of a box; max(l, t, r, b) of a range")
    return svg_of(figure)


def _limits(sizes: Mapping[str, Any], ranges: Sequence[Sequence[Sequence[float | None]]]) -> tuple[float, float]:
    """What holds all boxes and every end of a range, with room for the last level."""
    ends = [float(end) for of_entry in ranges for pair in of_entry for end in pair if end]
    filled = [place for place, count in enumerate(sizes["boxes"]) if count]
    first, last = (sizes["ends"][filled[0]], sizes["ends"][filled[-1] + 1]) if filled else (1.0, 2.0)
    return min([first, *(end / 1.5 for end in ends)]), max([last, *(end * 1.5 for end in ends)])


def _ticks(left: float, right: float) -> list[int]:
    powers = range(max(math.ceil(math.log2(left)), 0), math.floor(math.log2(right)) + 1)
    return [2**power for power in powers][:: 1 if len(powers) <= MOST_TICKS else 2]


def _colour(level: int, theme: Theme) -> str:
    # A level has one colour in all arms.
    return theme.arms[(level - 3) % len(theme.arms)]


def positives_per_level(shown: Mapping[str, Mapping[str, Any]], theme: Theme) -> bytes:
    """Share of the positives on each level, a bar for each arm (arm -> counts)."""
    figure, axes = figure_of(theme, (6.4, 3.3))
    levels = sorted({level for table in shown.values() for level in table["levels"]})
    width = 0.8 / len(shown)
    for place, (arm, table) in enumerate(shown.items()):
        shares = [100 * table["metrics"].get(f"coverage/positives_P{level}", 0.0) for level in levels]
        x = [position + (place - (len(shown) - 1) / 2) * width for position in range(len(levels))]
        axes.bar(x, shares, width, color=theme.arms[place % len(theme.arms)], label=label_of(arm))
    axes.set_xticks(range(len(levels)), [f"P{level}" for level in levels])
    axes.set_ylabel("positives, percent")
    axes.grid(visible=False, axis="x")
    legend_of(axes, theme, columns=2)
    return svg_of(figure)
