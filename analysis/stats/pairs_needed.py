"""How many pairs would decide what is not decided yet."""

import math

from scipy.special import stdtrit

from fcos.statistics.sign_flip import find_fewest_pairs, spend

MAX_PAIRS_NEEDED = 30


def estimate_pairs_needed(mean: float, deviation: float, level: float) -> int | None:
    """Estimate how many pairs of this mean and spread show a direction in one look.

    From the t quantile at what is spent by then, at least the fewest pairs that can. None where it takes over 30. A
    rough guide: mean and spread are estimates themselves.
    """
    fewest = find_fewest_pairs(level)
    if fewest is None or not math.isfinite(deviation):
        return None
    for pairs in range(fewest, MAX_PAIRS_NEEDED + 1):
        quantile = float(stdtrit(pairs - 1, 1 - level * spend(pairs) / 2))
        if quantile * deviation / math.sqrt(pairs) < abs(mean):
            return pairs
    return None
