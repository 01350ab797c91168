"""Power is that of the test by which verdicts are reached."""

import numpy as np
import pytest

from fcos.statistics.power import ALPHA, MIN_PAIRS, find_share, resolution
from fcos.statistics.sign_flip import compute_p_values, find_fewest_pairs


def test_the_fewest_pairs_are_those_of_the_verdicts() -> None:
    assert find_fewest_pairs(ALPHA) == MIN_PAIRS


@pytest.mark.parametrize("pairs", [6, 8, 12])
def test_power_is_the_share_of_sets_that_a_verdict_finds_higher(pairs: int) -> None:
    effect = resolution(pairs).shows
    draws = np.random.default_rng(7).standard_normal((400, pairs)) + effect
    found = (compute_p_values(draws, (pairs,), ALPHA) <= ALPHA) & (draws.mean(axis=1) > 0)
    # Two independent simulations: a standard error of 0.022.
    assert found.mean() == pytest.approx(find_share(effect, pairs), abs=0.07)
