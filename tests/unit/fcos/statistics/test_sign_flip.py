"""The sequential sign-flip test: exact against all patterns written out, and its interval against itself."""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fcos.statistics import sign_flip
from fcos.statistics.sign_flip import (
    ENUMERATED_PAIRS,
    compute_interval,
    compute_p_values,
    compute_scaled_p_value,
    find_fewest_pairs,
    find_first_rejections,
    make_patterns,
    spend,
)

LEVEL = 0.05


def p_value(differences: Sequence[float], looks: Sequence[int], level: float = LEVEL) -> float:
    return float(compute_p_values(np.array([differences], dtype=float), looks, level)[0])


def p_value_by_hand(differences: Sequence[int], looks: Sequence[int], level: Fraction) -> Fraction:
    """Compute the p value from all 2^n patterns in whole numbers, as the definition says it."""
    patterns = list(itertools.product((1, -1), repeat=len(differences)))
    sizes = [abs(value) for value in differences]

    def statistic(pattern: Sequence[int], look: int) -> int:
        return abs(sum(sign * size for sign, size in list(zip(pattern, sizes, strict=True))[:look]))

    def budget(look: int) -> Fraction:
        return Fraction(look**2, look**2 + 18)

    rejected: set[tuple[int, ...]] = set()
    for look in looks[:-1]:
        still_open = [pattern for pattern in patterns if pattern not in rejected]
        for size in sorted({statistic(pattern, look) for pattern in still_open}, reverse=True):
            group = {pattern for pattern in still_open if statistic(pattern, look) == size}
            if Fraction(len(rejected | group), len(patterns)) > level * budget(look):
                break
            rejected |= group
    last = looks[-1]
    observed = abs(sum(differences))
    extreme = {pattern for pattern in patterns if pattern in rejected or statistic(pattern, last) >= observed}
    return min(Fraction(1), Fraction(len(extreme), len(patterns)) / budget(last))


@st.composite
def samples(draw: st.DrawFn, low: int = -6, high: int = 6) -> tuple[list[int], list[int]]:
    """Draw up to 9 whole differences, small enough for ties and zeros, with looks."""
    differences = draw(st.lists(st.integers(low, high), min_size=1, max_size=9))
    looks = draw(st.sets(st.integers(1, len(differences)), max_size=4)) | {len(differences)}
    return differences, sorted(looks)


@settings(max_examples=120, deadline=None)
@given(samples(), st.sampled_from([Fraction(1, 20), Fraction(1, 10), Fraction(3, 10), Fraction(1, 2)]))
def test_the_p_value_is_that_of_all_patterns_written_out(sample: tuple[list[int], list[int]], level: Fraction) -> None:
    differences, looks = sample
    expected = p_value_by_hand(differences, looks, level)
    assert p_value(differences, looks, float(level)) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("num_pairs", [2, 3, 7, 10])
def test_one_look_is_scipys_permutation_test_over_the_share_that_is_spent(num_pairs: int) -> None:
    differences = np.random.default_rng(num_pairs).normal(0.4, 1, num_pairs)
    oracle = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    expected = min(1.0, float(oracle.pvalue) / spend(num_pairs))
    assert p_value(list(differences), [num_pairs]) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(samples(), st.floats(-3, 3), st.sampled_from([0.05, 0.05 / 3, 0.2]))
def test_the_interval_leaves_zero_out_exactly_where_the_test_rejects(
    sample: tuple[list[int], list[int]], shift: float, level: float
) -> None:
    differences, looks = np.array(sample[0]) + shift, sample[1]
    low, high = compute_interval(differences, looks, [level])
    assert (low > 0 or high < 0) == (p_value(list(differences), looks, level) <= level)
    assert low <= differences.mean() + 1e-9 and high >= differences.mean() - 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 9))
def test_the_interval_holds_the_shifts_that_are_accepted_and_no_other(seed: int, num_pairs: int) -> None:
    generator = np.random.default_rng(seed)
    differences = generator.normal(0.5, 1, num_pairs)
    looks = sorted({*generator.integers(3, num_pairs, 2).tolist(), num_pairs})
    low, high = compute_interval(differences, looks, [0.2])
    shifts = generator.uniform(differences.min() - 0.5, differences.max() + 0.5, 200)
    accepted = compute_p_values(differences - shifts[:, None], looks, 0.2) > 0.2
    assert ((low <= shifts) & (shifts <= high)).tolist() == accepted.tolist()


@settings(max_examples=30, deadline=None)
@given(samples(), st.floats(0.1, 100))
def test_scaling_and_mirroring_the_differences_does_the_same_to_the_interval(
    sample: tuple[list[int], list[int]], factor: float
) -> None:
    differences, looks = np.array(sample[0], dtype=float), sample[1]
    low, high = compute_interval(differences, looks, [0.2])
    scaled = compute_interval(-factor * differences, looks, [0.2])
    assert scaled == pytest.approx((-factor * high, -factor * low), rel=1e-6, abs=1e-6 * factor)


def test_a_smaller_level_gives_a_wider_interval_with_one_look() -> None:
    differences = np.random.default_rng(3).normal(0.3, 1, 10)
    ends = [compute_interval(differences, [10], [level]) for level in (0.2, 0.05, 0.02)]
    lows, highs = zip(*ends, strict=True)
    assert list(lows) == sorted(lows, reverse=True) and list(highs) == sorted(highs)
    assert len(set(ends)) == 3


def test_a_larger_difference_never_has_a_larger_p_value_with_one_look() -> None:
    differences = np.random.default_rng(1).normal(0, 1, 9)
    values = [p_value(list(differences - differences.mean() + shift), [9]) for shift in np.linspace(0, 3, 30)]
    assert values == sorted(values, reverse=True) and values[-1] < values[0]


def test_the_fewest_pairs_are_six_for_one_arm_and_seven_for_two() -> None:
    assert [find_fewest_pairs(LEVEL / arms) for arms in (1, 2, 3, 4, 5, 10, 11)] == [6, 7, 8, 8, 9, 9, 10]
    assert find_fewest_pairs(1e-9) is None


@pytest.mark.parametrize("differences", [[0.1], [0.1, 0.2], [0.031, 0.032, 0.035], [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_fewer_than_six_pairs_bound_nothing_and_reject_nothing(differences: list[float]) -> None:
    assert p_value(differences, [len(differences)]) > LEVEL
    assert compute_interval(np.array(differences), [len(differences)], [LEVEL]) == (-math.inf, math.inf)


def test_six_pairs_with_one_sign_bound_by_their_extremes() -> None:
    # Of the 64 patterns only the observed one and its mirror image may be rejected: 2 / 64 <= 0.05 * 36 / 54.
    differences = np.array([0.4, 0.1, 0.3, 0.2, 0.6, 0.5])
    assert p_value(list(differences), [6]) == pytest.approx((2 / 64) / (36 / 54))
    assert compute_interval(differences, [6], [LEVEL]) == pytest.approx((0.1, 0.6))


def test_what_is_spent_rises_with_the_pairs_and_leaves_some_for_later_ones() -> None:
    spent = [spend(pairs) for pairs in range(1, 200)]
    assert spent == sorted(spent) and spent[-1] < 1
    assert spend(6) == pytest.approx(2 / 3)


def test_looks_that_could_not_reject_cost_nothing() -> None:
    differences = [0.1] * 6 + [3.0, 4.0]
    assert p_value(differences, [1, 2, 3, 4, 5, 8]) == p_value(differences, [8])
    assert p_value(differences, [6, 8]) != p_value(differences, [8])


def test_an_earlier_crossing_that_later_pairs_take_back_is_no_rejection() -> None:
    early, taken_back = [1.0, 1.1, 1.2, 0.9, 1.3, 0.8], [-9.0, -8.0]
    assert p_value(early, [6]) <= LEVEL
    assert p_value(early + taken_back, [6, 8]) > LEVEL


def test_equal_differences_are_zero_or_bounded_by_themselves() -> None:
    assert p_value([0.0] * 8, [8]) == 1
    assert compute_interval(np.zeros(8), [8], [LEVEL]) == (0, 0)
    assert compute_interval(np.full(7, 0.25), [6, 7], [LEVEL]) == pytest.approx((0.25, 0.25))
    assert compute_interval(np.full(5, 0.25), [5], [LEVEL]) == (-math.inf, math.inf)


def test_zeros_among_the_differences_are_patterns_that_tie() -> None:
    # Both signs of a zero are the same: half of the smallest p value is out of reach for each.
    assert p_value([1, 2, 3, 4, 0], [5]) == pytest.approx(4 / 32 / spend(5))


def test_the_patterns_of_many_pairs_are_a_group_whose_looks_are_those_of_few() -> None:
    patterns = make_patterns(20)
    assert patterns.shape == (2 ** (ENUMERATED_PAIRS - 1), 20)
    assert (patterns[0] == 1).all() and (patterns[:, 0] == 1).all()
    rows = {tuple(row) for row in patterns.astype(int).tolist()}
    generator = np.random.default_rng(0)
    for first, second in generator.integers(0, len(patterns), (50, 2)):
        product = patterns[first] * patterns[second]
        assert tuple((product * product[0]).astype(int).tolist()) in rows
    assert len(rows) == len(patterns)
    repeated = patterns.reshape(2**7, -1, 20)[:, :, :8]
    assert (repeated == make_patterns(8)[:, None]).all()
    # No two columns are the same, nor mirror images: pairs stay independent of each other.
    assert (np.abs(patterns.T @ patterns / len(patterns) - np.eye(20)) < 1e-12).all()


@pytest.mark.parametrize("num_pairs", [17, 24])
def test_more_than_sixteen_pairs_agree_with_patterns_drawn_at_random(num_pairs: int) -> None:
    differences = np.random.default_rng(num_pairs).normal(0.6, 1.5, num_pairs)
    drawn = np.random.default_rng(0).choice([-1.0, 1.0], (200_000, num_pairs))
    expected = float((np.abs(drawn @ differences) >= abs(differences.sum())).mean()) / spend(num_pairs)
    assert p_value(list(differences), [num_pairs]) == pytest.approx(expected, abs=0.01)
    low, high = compute_interval(differences, [num_pairs], [LEVEL])
    assert low < differences.mean() < high
    assert (low > 0 or high < 0) == (p_value(list(differences), [num_pairs]) <= LEVEL)


def test_with_several_looks_at_most_the_level_is_rejected_at_any_of_them() -> None:
    # All 2^9 signs of one set of sizes: exact, no simulation.
    sizes = np.array([0.9, 1.4, 0.2, 2.2, 0.7, 1.1, 0.4, 1.9, 0.6])
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=9)))
    looks = [3, 5, 6, 7, 8, 9]
    ever = np.zeros(len(signs), dtype=bool)
    first = np.zeros(len(signs), dtype=int)
    for index, look in enumerate(looks):
        rejected = compute_p_values((signs * sizes)[:, :look], looks[: index + 1], 0.2) <= 0.2
        first[rejected & ~ever] = look
        ever |= rejected
        assert ever.mean() <= 0.2 * spend(look)
    assert ever.mean() > 0.12
    assert find_first_rejections(signs * sizes, looks, 0.2).tolist() == first.tolist()


def test_a_scaled_p_value_is_above_one_where_any_level_does_not_reject() -> None:
    differences = np.array([1.0, 1.1, 1.2, 0.9, 1.3, 0.8, 1.0, 1.1])
    assert compute_scaled_p_value(differences, [8], [0.025, 0.05]) == p_value(list(differences), [8], 0.025) / 0.025
    looks = [6, 8]
    ratios = [p_value(list(differences), looks, level) / level for level in (0.025, 0.05)]
    assert compute_scaled_p_value(differences, looks, [0.025, 0.05]) == max(ratios)


@pytest.mark.parametrize("looks", [[8], [6, 8], [5, 6, 7, 8, 9, 10]])
def test_of_many_levels_few_decide(looks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(len(looks))
    levels = [0.05 / count for count in range(500, 0, -1)]
    calls: list[float] = []
    compute = sign_flip.compute_p_values

    def count(*values: Any) -> Any:
        calls.append(values[2])
        return compute(*values)

    monkeypatch.setattr(sign_flip, "compute_p_values", count)
    for _ in range(5):
        differences = generator.normal(0.8, 1.0, looks[-1])
        expected = max(float(compute(differences[None], looks, level)[0]) / level for level in levels)
        calls.clear()
        assert compute_scaled_p_value(differences, looks, levels) == expected
        assert len(calls) <= (1 if len(looks) == 1 else 60), "one for each number of patterns that may be rejected"
