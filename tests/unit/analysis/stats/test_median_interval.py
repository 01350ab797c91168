"""The interval of a median has the confidence that it names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.median_interval import compute_median_interval


@pytest.mark.parametrize(
    ("count", "confidence"), [(1, 0.0), (2, 0.5), (3, 0.75), (5, 0.9375), (6, 0.96875), (8, 0.9921875)]
)
def test_few_values_give_their_range_with_its_confidence(count: int, confidence: float) -> None:
    interval = compute_median_interval([float(value) for value in range(count)])
    assert (interval.low, interval.high, interval.confidence) == (0.0, count - 1.0, confidence)


@given(st.lists(st.floats(-10, 10), min_size=6, max_size=40))
def test_from_six_values_on_it_is_the_narrowest_of_at_least_95_percent(values: list[float]) -> None:
    interval = compute_median_interval(values)
    ordered = sorted(values)
    rank = next(
        rank for rank in range(len(values), 0, -1) if 1 - 2 * stats.binom.cdf(rank - 1, len(values), 0.5) >= 0.95
    )
    assert (interval.low, interval.high) == (ordered[rank - 1], ordered[-rank])
    assert interval.confidence == pytest.approx(1 - 2 * stats.binom.cdf(rank - 1, len(values), 0.5))
