"""Arms of which figures, pictures and what is computed from images are made, where a sweep has too many for all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.formatting import format_count
from analysis.stats.comparison import Comparison

# Of more neither a figure nor a row of pictures is of use, and each takes seconds.
MOST_ARMS = 40


@dataclass(frozen=True)
class ShownArms:
    """Arms in the order of the sweep. notes: that others are left out."""

    arms: tuple[str, ...]
    notes: tuple[str, ...] = ()


def choose_shown_arms(
    arms: Sequence[str], comparisons: Sequence[Comparison], baseline: str | None, metric: str
) -> ShownArms:
    """Return the baseline and the arms with the largest differences to it in a metric, or all where they are few.

    Of arms that are not compared they are the first ones.
    """
    if len(arms) <= MOST_ARMS:
        return ShownArms(tuple(arms))
    sizes = {item.arm: abs(item.difference) for item in comparisons if item.metric == metric}
    by_size = sorted(arms, key=lambda arm: (arm != baseline, -_finite_or_least(sizes.get(arm, math.nan))))
    shown = set(by_size[:MOST_ARMS])
    which = "the first ones" if baseline is None else f"{baseline} and those with the largest differences to it"
    text = (
        f"The tables have all {format_count(len(arms), 'arm')}; figures, sample detections, explorer.html and what is "
        f"computed from images have {MOST_ARMS} of them: {which}."
    )
    return ShownArms(tuple(arm for arm in arms if arm in shown), (text,))


def _finite_or_least(size: float) -> float:
    return size if math.isfinite(size) else -1.0
