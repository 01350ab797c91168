"""Outcomes of an interval: a direction, no difference of note, identical, or nothing yet."""

import math

import numpy as np
import pytest

from fcos.statistics.holm import ArmTest, PairedSample, make_arm_tests
from fcos.statistics.outcomes import classify_test, estimate_pairs_needed
from fcos.statistics.sign_flip import compute_p_values


def make_test(low: float, high: float, pairs: int = 8, level: float = 0.05, identical: bool = False) -> ArmTest:
    p = 0.01 if low > 0 or high < 0 else 0.5
    return ArmTest(pairs, low, high, level, p, p, identical)


@pytest.mark.parametrize(
    ("test", "margin", "expected"),
    [
        (make_test(0.012, 0.050), 0.01, "higher"),
        (make_test(-0.050, -0.012), 0.01, "lower"),
        (make_test(0.001, 0.009), 0.01, "higher"),
        (make_test(-0.004, 0.010), 0.01, "equal"),
        (make_test(-0.004, 0.011), 0.01, "not shown"),
        (make_test(-0.004, 0.009), None, "not shown"),
        (make_test(-0.004, 0.009), 0.005, "not shown"),
        (make_test(0.0001, 0.0004), 0.01, "equal"),
        (make_test(0.0001, 0.0004), None, "higher"),
        (make_test(-math.inf, math.inf, 5), 0.01, "too few"),
        (make_test(-math.inf, math.inf, 6, 0.025), 0.01, "too few"),
        (make_test(-math.inf, math.inf, 3, identical=True), 0.01, "identical"),
        (make_test(-math.inf, math.inf, 0), 0.01, "too few"),
    ],
)
def test_the_outcome_is_what_the_interval_shows(test: ArmTest, margin: float | None, expected: str) -> None:
    assert classify_test(test, margin, 0.0 if margin is None else 0.0005) == expected


def test_no_difference_of_note_is_two_one_sided_tests_at_half_of_the_level_each() -> None:
    differences = (0.2, -0.3, 0.1, 0.4, -0.1, 0.05, 0.3, -0.2)
    test = make_arm_tests([PairedSample(differences, (8,))])[0]
    for margin in (0.05, 0.2, 0.3, 0.35, 1.0):
        shifted = compute_p_values(np.add(differences, [[margin], [-margin]]), [8], 0.05)
        both_rejected = bool((shifted <= 0.05).all()) and abs(sum(differences) / 8) < margin
        assert (classify_test(test, margin) == "equal") == both_rejected


def test_the_pairs_needed_grow_with_the_spread_and_are_unknown_beyond_thirty() -> None:
    needed = [estimate_pairs_needed(0.03, deviation, 0.05) for deviation in (0.001, 0.02, 0.03, 0.05)]
    assert needed[0] == 6
    assert needed == [6, 6, 8, 15]
    assert estimate_pairs_needed(0.03, 0.3, 0.05) is None
    assert estimate_pairs_needed(0.03, math.nan, 0.05) is None
    assert estimate_pairs_needed(-0.03, 0.02, 0.05) == 6
