"""How many pairs would decide."""

import math

from analysis.stats.pairs_needed import estimate_pairs_needed


def test_the_pairs_needed_grow_with_the_spread_and_are_unknown_beyond_thirty() -> None:
    needed = [estimate_pairs_needed(0.03, deviation, 0.05) for deviation in (0.001, 0.02, 0.03, 0.05)]
    assert needed[0] == 6
    assert needed == [6, 6, 8, 15]
    assert estimate_pairs_needed(0.03, 0.3, 0.05) is None
    assert estimate_pairs_needed(0.03, math.nan, 0.05) is None
    assert estimate_pairs_needed(-0.03, 0.02, 0.05) == 6
