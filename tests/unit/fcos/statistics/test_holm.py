"""Holm's procedure over sign-flip tests by hand; interval and p values never contradict each other."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos.statistics import sign_flip
from fcos.statistics.holm import FAMILY_LEVEL, ArmTest, PairedSample, decide_arms, make_arm_tests, make_sample
from fcos.statistics.sign_flip import spend

SAME_SIGN = (1.0, 1.1, 1.2, 0.9, 1.3, 0.8, 1.05, 0.95)


def make_arm(*differences: float) -> PairedSample:
    return PairedSample(differences, (len(differences),))


def test_a_look_in_seeds_becomes_one_at_the_pairs_that_these_have() -> None:
    sample = make_sample([0.1, None, 0.2, 0.3, None, 0.4], [2, 3, 5])
    assert sample == PairedSample((0.1, 0.2, 0.3, 0.4), (1, 2, 3, 4))
    assert make_sample([0.1, None, 0.2], [1, 2]).looks == (1, 2)
    assert make_sample([0.1, 0.2], [2, 5]).looks == (2,)
    assert make_sample([None, None], [1]) == PairedSample((), ())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_difference_that_is_not_finite_is_no_pair(value: float) -> None:
    assert make_sample([0.1, value, 0.3], [2]) == make_sample([0.1, None, 0.3], [2])
    with pytest.raises(AssertionError):
        PairedSample((0.1, value), (2,))


def test_the_levels_rise_with_each_rejection_and_stay_after_the_first_arm_that_is_none() -> None:
    smallest = 2 / 2**8 / spend(8)
    # One pair of the eight against the others: 2 * (1 + 1) of 256 patterns are as extreme.
    second = 4 / 2**8 / spend(8)
    one_against = (*SAME_SIGN[:7], -0.1)
    mixed, undecided = (1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 1.0, -0.9), (0.1, -0.3, 0.2, 0.4, -0.2, 0.3, -0.1, 0.2)
    tests = make_arm_tests([make_arm(*arm) for arm in (mixed, SAME_SIGN, undecided, one_against)])
    assert [test.is_rejected for test in tests] == [False, True, False, False]
    assert tests[1].level == FAMILY_LEVEL / 4 and tests[1].p == pytest.approx(smallest)
    assert {test.level for test in (tests[0], tests[2], tests[3])} == {FAMILY_LEVEL / 3}
    assert tests[1].adjusted_p == pytest.approx(4 * smallest)
    assert tests[3].adjusted_p == pytest.approx(3 * second)
    assert tests[3].p == pytest.approx(second) and tests[3].p < FAMILY_LEVEL


def test_the_second_of_two_arms_is_tested_at_the_whole_level() -> None:
    one_against = (*SAME_SIGN[:7], -0.1)
    tests = make_arm_tests([make_arm(*SAME_SIGN), make_arm(*one_against)])
    assert [test.level for test in tests] == [FAMILY_LEVEL / 2, FAMILY_LEVEL]
    assert all(test.is_rejected for test in tests)


def test_arms_without_pairs_count_in_the_correction_and_are_bounded_by_nothing() -> None:
    tests = make_arm_tests([make_arm(*SAME_SIGN[:6]), PairedSample((), ())])
    assert tests[1] == ArmTest(0, -math.inf, math.inf, FAMILY_LEVEL / 2, 1.0, 1.0, False)
    assert tests[0].level == FAMILY_LEVEL / 2 and not tests[0].is_rejected
    assert make_arm_tests([make_arm(*SAME_SIGN[:6])])[0].is_rejected


def test_arms_that_agree_in_every_pair_are_identical_from_two_pairs_on() -> None:
    tests = make_arm_tests([make_arm(0.0), make_arm(0.0, 1e-17), make_arm(0.0, 0.1)])
    assert [test.is_identical for test in tests] == [False, True, False]


@st.composite
def drawn_arms(draw: st.DrawFn) -> tuple[list[list[float | None]], list[int]]:
    """Draw the differences of up to three arms, None for a missing seed, and looks in seeds."""
    seeds = draw(st.integers(1, 9))
    looks = sorted(draw(st.sets(st.integers(1, seeds), max_size=3)))
    value = st.none() | st.integers(-2, 5).map(float)
    rows = draw(st.lists(st.lists(value, min_size=seeds, max_size=seeds), min_size=1, max_size=3))
    return rows, looks


@settings(max_examples=60, deadline=None)
@given(drawn_arms())
def test_interval_p_value_and_adjusted_p_value_agree(drawn: tuple[list[list[float | None]], list[int]]) -> None:
    tests = make_arm_tests([make_sample(row, drawn[1]) for row in drawn[0]])
    for test in tests:
        assert test.is_rejected == (test.p <= test.level) == (test.adjusted_p <= FAMILY_LEVEL)
        assert test.low <= test.high
        assert FAMILY_LEVEL / len(tests) <= test.level <= FAMILY_LEVEL


@settings(max_examples=30, deadline=None)
@given(drawn_arms())
def test_an_arm_more_makes_no_other_one_significant(drawn: tuple[list[list[float | None]], list[int]]) -> None:
    samples = [make_sample(row, drawn[1]) for row in drawn[0]]
    both = make_arm_tests([*samples, PairedSample((), ())])
    for alone, beside in zip(make_arm_tests(samples), both, strict=False):
        assert alone.is_rejected or not beside.is_rejected


def test_a_false_direction_in_any_of_three_arms_at_any_look_has_at_most_the_familys_level() -> None:
    # All signs of three arms that share the sizes of their differences, exactly and dependently: each arm's signs are
    # those of the first, turned by a pattern of its own.
    sizes = np.array([0.9, 1.4, 0.2, 2.2, 0.7, 1.1])
    turns = np.random.default_rng(0).choice([-1.0, 1.0], (3, 6))
    patterns = list(itertools.product((1.0, -1.0), repeat=5))
    false = 0
    for pattern in patterns:
        signs = np.array([1.0, *pattern])
        rows = [tuple(float(value) for value in signs * turn * sizes) for turn in turns]
        looks = [(4,), (4, 6)]
        samples = [[PairedSample(row[: look[-1]], look) for row in rows] for look in looks]
        false += any(test.is_rejected for at_look in samples for test in make_arm_tests(at_look, 0.3))
    assert 0 < false / len(patterns) <= 0.3


@settings(max_examples=30, deadline=None)
@given(drawn_arms())
def test_decisions_without_intervals_are_those_of_the_tests(drawn: tuple[list[list[float | None]], list[int]]) -> None:
    samples = [make_sample(row, drawn[1]) for row in drawn[0]]
    for test, decision in zip(make_arm_tests(samples), decide_arms(samples), strict=True):
        assert (test.level, test.adjusted_p) == (decision.levels[0], decision.adjusted_p)
        assert test.is_rejected == decision.is_rejected


def test_the_p_value_of_an_arm_is_computed_once_however_many_others_are_rejected_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples = [make_arm(*(value + 0.01 * number for value in SAME_SIGN)) for number in range(30)]
    calls: list[int] = []
    compute = sign_flip.compute_p_values

    def count(*values: Any) -> Any:
        calls.append(1)
        return compute(*values)

    monkeypatch.setattr(sign_flip, "compute_p_values", count)
    assert all(decision.is_rejected for decision in decide_arms(samples, family_level=0.9))
    assert len(calls) == len(samples)
