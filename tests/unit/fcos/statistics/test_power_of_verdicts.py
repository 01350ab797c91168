"""Power is that of the test by which verdicts are reached."""

import numpy as np
import pytest

from fcos.statistics.power import ALPHA, MIN_PAIRS, POWER, resolution
from fcos.statistics.sign_flip import compute_p_values


def test_the_fewest_pairs_are_those_of_the_verdicts() -> None:
    assert MIN_PAIRS == 6


@pytest.mark.parametrize("level", [ALPHA, ALPHA / 2])
@pytest.mark.parametrize("pairs", [7, 8, 12])
def test_power_is_the_share_of_sets_that_a_verdict_finds_higher(pairs: int, level: float) -> None:
    effect = resolution(pairs, level).shows
    draws = np.random.default_rng(7).standard_normal((400, pairs)) + effect
    found = (compute_p_values(draws, (pairs,), level) <= level) & (draws.mean(axis=1) > 0)
    # Two independent simulations: a standard error of 0.022.
    assert found.mean() == pytest.approx(POWER, abs=0.07)
