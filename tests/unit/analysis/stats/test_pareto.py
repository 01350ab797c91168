"""Pareto fronts, and the share of resampled seeds in which a point is on one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.stats.pareto import find_front, measure_front_shares

MODES = ("max", "min")


def test_points_that_another_dominates_are_not_on_the_front() -> None:
    values = np.array([[0.4, 10.0], [0.3, 5.0], [0.3, 6.0], [0.2, 20.0]])
    assert find_front(values, MODES).tolist() == [True, True, False, False]


def test_equal_points_are_both_on_the_front() -> None:
    assert find_front(np.array([[0.4, 10.0], [0.4, 10.0]]), MODES).tolist() == [True, True]


@given(arrays(float, (6, 3), elements=st.floats(-10, 10)))
def test_each_point_off_the_front_is_beaten_by_one_on_it(values: np.ndarray) -> None:
    modes = ("max", "min", "max")
    front = find_front(values, modes)
    assert front.any()
    signed = values * [1, -1, 1]
    for point in signed[~front]:
        assert any((other >= point).all() and (other > point).any() for other in signed[front])


def test_a_point_that_leads_in_every_seed_is_always_on_the_front() -> None:
    values = np.array([[[0.4, 5.0], [0.5, 5.0]], [[0.3, 5.0], [0.4, 5.0]], [[0.45, 6.0], [0.1, 6.0]]])
    shares = measure_front_shares(values, MODES)
    assert shares[:2].tolist() == [1.0, 0.0]
    # The third leads in the first seed alone, which is drawn twice in a quarter of the resamples.
    assert shares[2] == pytest.approx(0.25, abs=0.05)


def test_one_seed_shows_nothing_about_others() -> None:
    assert np.isnan(measure_front_shares(np.ones((2, 1, 2)), MODES)).all()
