"""Thresholds, power and the number of pairs of the exact sign-flip test, against brute force and known limits."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcos.statistics.power import (
    MAX_PAIRS,
    MIN_PAIRS,
    POWER,
    SIMULATED,
    find_share,
    lowest_means,
    pairs_needed,
    resolution,
    spent_level,
    thresholds,
)


def rejects(differences: np.ndarray, level: float) -> bool:
    """Whether the two-sided sign-flip test finds a mean above zero, over every pattern of signs."""
    patterns = np.array(list(itertools.product((1, -1), repeat=len(differences))))
    means = patterns @ differences / len(differences)
    observed = differences.mean()
    return bool(observed > 0 and np.mean(np.abs(means) >= observed - 1e-12) <= level)


@pytest.mark.parametrize("pairs", [6, 7, 9])
def test_power_is_the_share_of_sets_that_the_test_by_all_sign_patterns_rejects(pairs: int) -> None:
    effect = resolution(pairs).shows
    draws = np.random.default_rng(pairs).standard_normal((SIMULATED, pairs)).astype(np.float32).astype(float)[:300]
    by_patterns = np.mean([rejects(row + effect, spent_level(pairs)) for row in draws])
    # The first 300 of the 2,000 sets: a standard error of 0.023.
    assert by_patterns == pytest.approx(find_share(effect, pairs), abs=0.08)


def test_no_difference_is_found_in_at_most_half_of_the_level_on_one_side() -> None:
    for pairs in (6, 8, 12, 20):
        assert find_share(0.0, pairs) <= spent_level(pairs) / 2 + 0.01


@pytest.mark.parametrize("pairs", range(1, MIN_PAIRS))
def test_fewer_than_six_pairs_find_nothing_however_large(pairs: int) -> None:
    assert math.isinf(resolution(pairs).shows) and math.isinf(resolution(pairs).counts_from)
    assert find_share(1000.0, pairs) == 0


def test_what_is_shown_is_found_in_four_of_five_sweeps() -> None:
    for pairs in (6, 12, 30):
        assert find_share(np.nextafter(resolution(pairs).shows, math.inf), pairs) == pytest.approx(POWER, abs=1e-3)


def test_many_pairs_approach_the_normal_bound() -> None:
    # (1.96 + 0.84) / sqrt(n), as if the deviation were known.
    assert resolution(100).shows == pytest.approx(2.8 / 10, rel=0.07)
    assert resolution(100).counts_from == pytest.approx(1.96 / 10, rel=0.07)


@given(st.floats(0, 3), st.floats(0, 3), st.sampled_from([6, 8, 12]))
def test_larger_differences_are_found_no_less_often(one: float, other: float, pairs: int) -> None:
    assert find_share(min(one, other), pairs) <= find_share(max(one, other), pairs)


def test_thresholds_repeat_and_rise() -> None:
    first = thresholds(8).copy()
    thresholds.cache_clear()
    lowest_means.cache_clear()
    assert np.array_equal(first, thresholds(8)) and np.all(np.diff(first) >= 0)


@pytest.mark.parametrize("effect", [3.0, 1.0, 0.6])
def test_the_number_of_pairs_needed_is_the_least_that_shows_the_effect(effect: float) -> None:
    needed = pairs_needed(effect)
    assert needed is not None and resolution(needed).shows <= effect
    assert needed == MIN_PAIRS or resolution(needed - 1).shows > effect


def test_an_effect_far_below_the_noise_needs_more_pairs_than_are_counted() -> None:
    assert pairs_needed(0.2) == pytest.approx(196, abs=2)
    assert pairs_needed(2.8 / math.sqrt(4 * MAX_PAIRS)) is None


def test_at_a_smaller_level_more_pairs_are_needed() -> None:
    one, two, five = (pairs_needed(1.5, 0.05 / arms) or 0 for arms in (1, 2, 5))
    assert 0 < one < two < five
    assert pairs_needed(1.5, 1e-9) is None


@pytest.mark.parametrize(("level", "fewest"), [(0.05, 6), (0.025, 7), (0.005, 9)])
def test_an_effect_without_noise_needs_the_fewest_pairs_that_can_decide(level: float, fewest: int) -> None:
    assert pairs_needed(math.inf, level) == fewest


def test_no_effect_needs_more_pairs_than_are_counted() -> None:
    assert pairs_needed(0.0) is None
    assert pairs_needed(1e-300) is None
