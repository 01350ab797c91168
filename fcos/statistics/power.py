"""Which difference between two arms a number of paired seeds can show, by the exact sign-flip test.

The one-sided bound that belongs to the test is the K-th smallest of the means of all nonempty subsets of the pairs,
K = floor(level * 2**n / 2) (Hartigan 1969, "Using subsample values as typical values"). So each simulated set of pairs
has one threshold above which the test finds the true difference, and power is the share of sets whose threshold is
lower. Differences are taken as normally distributed.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from fcos.statistics.holm import FAMILY_LEVEL
from fcos.statistics.sign_flip import find_fewest_pairs, spend

# Of one arm beside the baseline.
ALPHA = FAMILY_LEVEL
# Share of the sweeps in which a difference that a number of seeds "can show" is found.
POWER = 0.8
# Fewest pairs that reach ALPHA.
MIN_PAIRS = find_fewest_pairs(ALPHA) or 0
SIMULATED = 2000
# Up to this many subsets all are taken; of more pairs so many are drawn.
SUBSETS = 4096
MAX_PAIRS = 1000
# Above which a number of pairs is taken as if the deviation were known.
SIMULATED_PAIRS = 100


@dataclass(frozen=True)
class Resolution:
    """What n paired seeds resolve, in standard deviations of a pair's difference; infinite where nothing.

    counts_from: expected half-width of the interval; a smaller observed difference does not count. shows: true
    difference that is found in POWER of the sweeps.
    """

    pairs: int
    counts_from: float
    shows: float


def spent_level(pairs: int, level: float = ALPHA) -> float:
    """Return the part of a level that one look at so many pairs may spend."""
    return level * spend(pairs)


@lru_cache(maxsize=64)
def thresholds(pairs: int, level: float = ALPHA) -> Float[np.ndarray, " S"]:
    """Return for each simulated set of pairs the true difference above which the test finds it, in ascending order.

    In standard deviations of a pair's difference. level: of the test. The generator is fixed.
    """
    lowest, subsets = lowest_means(pairs, max(level, ALPHA))
    rejected = _count_rejected(pairs, level, subsets)
    if rejected < 1:
        return np.full(SIMULATED, math.inf)
    return np.sort(-lowest[:, rejected - 1]).astype(float)


# One for each number of pairs up to which `pairs_needed` simulates.
@lru_cache(maxsize=SIMULATED_PAIRS)
def lowest_means(pairs: int, level: float) -> tuple[Float[np.ndarray, "S K"], int]:
    """Return for each simulated set of pairs the K lowest means of its subsets in order, and how many subsets it has.

    level: highest of the tests for which they suffice. Tests of all lower levels share them, as they take long.
    """
    generator = np.random.default_rng(pairs)
    draws = generator.standard_normal((SIMULATED, pairs)).astype(np.float32)
    if pairs < 64 and 2**pairs <= SUBSETS:
        members = (np.arange(1, 2**pairs)[:, None] >> np.arange(pairs)) & 1
        subsets = 2**pairs
    else:
        members = generator.integers(0, 2, (SUBSETS, pairs))
        members = members[members.any(axis=1)]
        subsets = len(members)
    count = _count_rejected(pairs, level, subsets)
    if count < 1:
        return np.zeros((SIMULATED, 0), dtype=np.float32), subsets
    means = draws @ (members / members.sum(axis=1, keepdims=True)).astype(np.float32).T
    means.partition(count - 1, axis=1)
    return np.sort(means[:, :count], axis=1), subsets


def _count_rejected(pairs: int, level: float, subsets: int) -> int:
    return math.floor(spent_level(pairs, level) * subsets / 2)


def find_share(effect: float, pairs: int) -> float:
    """Return the share of sweeps in which a true difference above zero is found (power).

    effect: in standard deviations of a pair's difference.
    """
    return float(np.searchsorted(thresholds(pairs), effect)) / SIMULATED


def resolution(pairs: int, level: float = ALPHA) -> Resolution:
    """Return what so many paired seeds resolve in one look of a test at a level."""
    sorted_thresholds = thresholds(pairs, level)
    return Resolution(
        pairs, float(sorted_thresholds.mean()), float(sorted_thresholds[math.ceil(POWER * SIMULATED) - 1])
    )


def pairs_needed(effect: float, level: float = ALPHA) -> int | None:
    """Return the least number of pairs that find a difference in POWER of the sweeps; None above MAX_PAIRS.

    effect: in standard deviations of a pair's difference, zero or more and perhaps infinite. level: of the test.
    """
    fewest = find_fewest_pairs(level)
    quantiles = NormalDist().inv_cdf(1 - level / 2) + NormalDist().inv_cdf(POWER)
    if fewest is None or effect * math.sqrt(MAX_PAIRS + 1) <= quantiles:
        return None
    # As if the deviation were known: a few too low where few pairs are enough.
    pairs = max(fewest, math.floor((quantiles / effect) ** 2))
    while pairs <= MAX_PAIRS:
        if pairs > SIMULATED_PAIRS or resolution(pairs, level).shows <= effect:
            return pairs
        pairs += 1
    return None


def unpaired_deviation(deviation: float) -> float:
    """Return the deviation of a difference of two runs from that of one, where pairing buys nothing."""
    return math.sqrt(2) * deviation
