"""What the test of an arm shows: a direction, no difference of note, or nothing yet."""

import math
from typing import Literal

from fcos.statistics.holm import ArmTest
from fcos.statistics.sign_flip import find_fewest_pairs, spend

Outcome = Literal["higher", "lower", "equal", "identical", "not shown", "too few"]
DECIDED: tuple[Outcome, ...] = ("higher", "lower", "equal", "identical")
MAX_PAIRS_NEEDED = 30


def classify_test(test: ArmTest, margin: float | None, resolution: float = 0.0) -> Outcome:
    """Return the outcome that the interval gives.

    margin: the largest difference that does not matter, None for a metric without one. An interval within it is two
    one-sided tests at half of the level each (Schuirmann 1987). resolution: what is smaller prints as zero and is no
    direction, however certain it is.
    """
    if test.is_identical:
        return "identical"
    extent = max(-test.low, test.high)
    if test.is_rejected and not extent < resolution:
        return "higher" if test.low > 0 else "lower"
    if margin is not None and extent <= margin:
        return "equal"
    if test.is_rejected:
        return "higher" if test.low > 0 else "lower"
    fewest = find_fewest_pairs(test.level)
    return "too few" if fewest is None or test.num_pairs < fewest else "not shown"


def estimate_pairs_needed(mean: float, deviation: float, level: float) -> int | None:
    """Estimate how many pairs of this mean and spread show a direction in one look.

    From the t quantile at what is spent by then, at least the fewest pairs that can. None where it takes over 30. A
    rough guide: mean and spread are estimates themselves.
    """
    from scipy.special import stdtrit

    fewest = find_fewest_pairs(level)
    if fewest is None or not math.isfinite(deviation):
        return None
    for pairs in range(fewest, MAX_PAIRS_NEEDED + 1):
        quantile = float(stdtrit(pairs - 1, 1 - level * spend(pairs) / 2))
        if quantile * deviation / math.sqrt(pairs) < abs(mean):
            return pairs
    return None
