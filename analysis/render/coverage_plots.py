"""Figures of a coverage sweep as SVG: the same input gives the same bytes."""

import math
from collections.abc import Mapping, Sequence

from analysis.reader.coverage import BoxHistogram, CoverageCounts, LevelRange
from analysis.render.plots import Theme, add_legend, escape_label, make_figure, make_stacked_figure, to_svg

# Share of the figure's width: a narrower piece of a range has no room for its level's name.
MIN_NAMED_SHARE = 0.04
MAX_TICKS = 8


def plot_box_sizes(counts: Mapping[str, CoverageCounts], theme: Theme) -> bytes:
    """Plot a histogram of the boxes' longest sides, and below it the level ranges of each entry (label -> counts)."""
    histogram = next(iter(counts.values())).longest_side
    left, right = _x_limits(histogram, [entry.assignment.ranges for entry in counts.values()])
    height = 0.3 * len(counts)
    figure, (top, bottom) = make_stacked_figure(theme, (6.4, 3.1 + height), (2.1, 0.25 + height))
    top.stairs(histogram.boxes, histogram.ends, fill=True, color=theme.quiet, alpha=0.5)
    top.set_ylabel("boxes")
    for line, entry in enumerate(counts.values()):
        for level, (low, high) in zip(entry.levels, entry.assignment.ranges, strict=True):
            start, end = max(low, left), min(right if high is None else high, right)
            if start >= end:
                continue
            bottom.barh(line, end - start, 0.62, left=start, color=_level_colour(level, theme))
            if math.log(end / start) > MIN_NAMED_SHARE * math.log(right / left):
                middle = math.sqrt(start * end)
                bottom.text(middle, line, f"P{level}", ha="center", va="center", fontsize=8, color=theme.on_arm)
    bottom.set_yticks(range(len(counts)), [escape_label(label) for label in counts])
    bottom.set_ylim(len(counts) - 0.5, -0.5)
    bottom.grid(visible=False, axis="y")
    bottom.set_xscale("log", base=2)
    bottom.set_xlim(left, right)
    ticks = _power_ticks(left, right)
    bottom.set_xticks(ticks, [str(tick) for tick in ticks])
    bottom.set_xlabel("pixels: longest side of a box; max(l, t, r, b) of a range")
    return to_svg(figure)


def _x_limits(histogram: BoxHistogram, ranges: Sequence[Sequence[LevelRange]]) -> tuple[float, float]:
    """Return limits that include all boxes and every end of a range, with a margin for the last level."""
    ends = [end for entry in ranges for level_range in entry for end in level_range if end]
    filled = [index for index, count in enumerate(histogram.boxes) if count]
    first, last = (histogram.ends[filled[0]], histogram.ends[filled[-1] + 1]) if filled else (1.0, 2.0)
    return min([first, *(end / 1.5 for end in ends)]), max([last, *(end * 1.5 for end in ends)])


def _power_ticks(left: float, right: float) -> list[int]:
    powers = range(max(math.ceil(math.log2(left)), 0), math.floor(math.log2(right)) + 1)
    return [2**power for power in powers][:: 1 if len(powers) <= MAX_TICKS else 2]


def _level_colour(level: int, theme: Theme) -> str:
    # A level has one colour in all arms.
    return theme.arms[(level - 3) % len(theme.arms)]


def plot_positives_per_level(counts: Mapping[str, CoverageCounts], theme: Theme) -> bytes:
    """Plot the share of the positives on each level, a bar for each arm (arm -> counts)."""
    figure, axes = make_figure(theme, (6.4, 3.3))
    levels = sorted({level for entry in counts.values() for level in entry.levels})
    width = 0.8 / len(counts)
    for index, (arm, entry) in enumerate(counts.items()):
        shares = [100 * entry.metrics.get(f"coverage/positives_P{level}", 0.0) for level in levels]
        x = [position + (index - (len(counts) - 1) / 2) * width for position in range(len(levels))]
        axes.bar(x, shares, width, color=theme.arms[index % len(theme.arms)], label=escape_label(arm))
    axes.set_xticks(range(len(levels)), [f"P{level}" for level in levels])
    axes.set_ylabel("positives, percent")
    axes.grid(visible=False, axis="x")
    add_legend(axes, theme, columns=2)
    return to_svg(figure)
