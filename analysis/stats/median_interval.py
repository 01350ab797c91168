"""Distribution-free interval of a median from few values: the interval that inverts the sign test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fcos.statistics.holm import FAMILY_LEVEL

CONFIDENCE: Final = 1 - FAMILY_LEVEL


@dataclass(frozen=True)
class MedianInterval:
    """Interval that covers the median with probability `confidence`."""

    low: float
    high: float
    confidence: float


def compute_median_interval(values: Sequence[float]) -> MedianInterval:
    """Return the narrowest pair of order statistics with a confidence of at least 95 %, else the range.

    From the k-th smallest to the k-th largest of n independent values lies the median with probability
    1 - 2 P(X < k), X binomial of n and 1/2, whatever their distribution (Thompson 1936, doi:10.1214/aoms/1177732563).
    Below six values even the range has less than 95 %: 1 - 2^(1 - n). Needs at least one value.
    """
    ordered = sorted(values)
    count, rank = len(ordered), 1
    while 2 * (rank + 1) <= count and _cover(count, rank + 1) >= CONFIDENCE:
        rank += 1
    return MedianInterval(ordered[rank - 1], ordered[count - rank], _cover(count, rank))


def _cover(count: int, rank: int) -> float:
    """Return the probability that the median lies between the rank-th smallest and the rank-th largest."""
    outside: int = 2 * sum(math.comb(count, below) for below in range(rank))
    return max(0.0, 1 - outside / float(2**count))
