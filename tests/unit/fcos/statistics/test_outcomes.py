"""Outcomes of an interval: a direction, no difference of note, identical, not shown, or too few pairs."""

import math

import numpy as np
import pytest

from fcos.statistics.holm import ArmTest, PairedSample, make_arm_tests
from fcos.statistics.outcomes import classify_test
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
        # Prints as zero: no direction, also where the margin is narrower still.
        (make_test(0.0001, 0.0004), 0.0002, "equal"),
        (make_test(-0.0004, 0.0001), 0.0002, "not shown"),
        (make_test(0.0001, 0.0005), 0.0002, "higher"),
        (make_test(0.0001, 0.0004), None, "higher"),
        (make_test(-math.inf, math.inf, 5), 0.01, "too few"),
        (make_test(-math.inf, math.inf, 6, 0.025), 0.01, "too few"),
        (make_test(-math.inf, math.inf, 3, identical=True), 0.01, "too few"),
        (make_test(-math.inf, math.inf, 6, 0.025, identical=True), 0.01, "too few"),
        (make_test(-1e-15, 1e-15, 6, identical=True), 0.01, "identical"),
        (make_test(-1e-15, 1e-15, 6, identical=True), None, "identical"),
        (make_test(-math.inf, math.inf, 0), 0.01, "too few"),
    ],
)
def test_the_outcome_is_what_the_interval_shows(test: ArmTest, margin: float | None, expected: str) -> None:
    assert classify_test(test, margin) == expected


def test_no_difference_of_note_is_two_one_sided_tests_at_half_of_the_level_each() -> None:
    differences = (0.2, -0.3, 0.1, 0.4, -0.1, 0.05, 0.3, -0.2)
    test = make_arm_tests([PairedSample(differences, (8,))])[0]
    for margin in (0.05, 0.2, 0.3, 0.35, 1.0):
        shifted = compute_p_values(np.add(differences, [[margin], [-margin]]), [8], 0.05)
        both_rejected = bool((shifted <= 0.05).all()) and abs(sum(differences) / 8) < margin
        assert (classify_test(test, margin) == "equal") == both_rejected
