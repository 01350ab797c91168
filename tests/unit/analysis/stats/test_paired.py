"""Means, paired differences, intervals and exact p values, on numbers worked out by hand."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.reader.sweep import Trial
from analysis.stats.paired import (
    collect_final_values,
    compare_arms,
    compute_paired_differences,
    compute_sign_flip_p_value,
    compute_t_interval,
    estimate_pairs_needed,
    get_comparison,
    summarise,
)

AP = "val/AP"


def make_values(**arms: Sequence[float | None]) -> pd.DataFrame:
    rows = [
        {"metric": AP, "arm": arm, "seed": seed, "value": math.nan if value is None else value}
        for arm, results in arms.items()
        for seed, value in enumerate(results)
    ]
    return pd.DataFrame(rows)


def make_trial(arm: str, seed: int, status: str, run_id: str) -> Trial:
    return Trial(arm, seed, run_id, status, datetime(2026, 1, 1, tzinfo=UTC))


def make_point(run_id: str, step: int, value: float) -> dict[str, object]:
    return {"run_id": run_id, "key": AP, "step": step, "value": value}


def test_a_final_value_is_the_last_point_of_a_finished_trial() -> None:
    trials = [make_trial("a", 0, "FINISHED", "r0"), make_trial("a", 1, "FAILED", "r1")]
    points = pd.DataFrame([make_point("r0", 200, 0.4), make_point("r0", 100, 0.9), make_point("r1", 100, 0.9)])
    values = collect_final_values(trials, points, [AP], ["a"], [0, 1])
    assert values["value"].tolist()[0] == 0.4
    assert math.isnan(values["value"][1])
    assert values["status"].tolist() == ["FINISHED", "FAILED"]


def test_a_planned_trial_without_a_run_is_missing_and_an_unplanned_one_is_kept() -> None:
    trials = [make_trial("a", 0, "FINISHED", "r0"), make_trial("b", 5, "FINISHED", "r5")]
    points = pd.DataFrame([make_point("r0", 1, 0.1), make_point("r5", 1, 0.5)])
    values = collect_final_values(trials, points, [AP], ["a"], [0, 1]).set_index(["arm", "seed"])
    assert values.loc[("a", 1), "status"] == "MISSING"
    assert values.loc[("b", 5), "value"] == 0.5


def test_the_deviation_is_of_a_sample_and_missing_seeds_are_listed() -> None:
    summary = summarise(make_values(a=[0.1, 0.3, None], b=[0.2, None, None])).set_index("arm")
    assert summary.loc["a", "mean"] == pytest.approx(0.2)
    assert summary.loc["a", "deviation"] == pytest.approx(np.std([0.1, 0.3], ddof=1))
    assert summary.loc["a", "n"] == 2
    assert summary.loc["a", "missing"] == (2,)
    assert math.isnan(summary.loc["b", "deviation"])
    assert summary.loc["b", "missing"] == (1, 2)


def test_differences_pair_by_seed_and_leave_out_seeds_that_one_arm_lacks() -> None:
    pairs = compute_paired_differences(make_values(base=[0.1, 0.2, None], arm=[0.15, None, 0.9]), "base")
    assert pairs[["arm", "seed"]].to_numpy().tolist() == [["arm", 0]]
    assert pairs["difference"][0] == pytest.approx(0.05)


def test_without_a_baseline_there_are_no_pairs() -> None:
    assert compare_arms(compute_paired_differences(make_values(a=[0.1], b=[0.2]), "gone")).empty


def test_an_arm_without_pairs_has_a_comparison_without_numbers() -> None:
    comparisons = compare_arms(compute_paired_differences(make_values(base=[0.1], arm=[0.2]), "base"))
    assert get_comparison(comparisons, AP, "arm").num_pairs == 1
    absent = get_comparison(comparisons, AP, "absent")
    assert (absent.arm, absent.metric, absent.num_pairs) == ("absent", AP, 0)
    assert math.isnan(absent.difference)


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    base, arm = [0.432, 0.412, 0.448, 0.441], [0.455, 0.437, 0.486, 0.459]
    row = compare_arms(compute_paired_differences(make_values(base=base, arm=arm), "base")).iloc[0]
    expected = stats.ttest_rel(arm, base).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert (row["num_pairs"], row["num_higher"]) == (4, 4)


def test_one_pair_has_no_interval_and_no_p_value() -> None:
    row = compare_arms(compute_paired_differences(make_values(base=[0.1], arm=[0.2]), "base")).iloc[0]
    assert row["num_pairs"] == 1
    assert all(math.isnan(row[key]) for key in ("low", "high", "p_sign_flip"))


def test_the_pairs_needed_are_the_fewest_whose_interval_leaves_out_zero() -> None:
    differences = np.array([0.050, 0.034, 0.014])
    needed = int(estimate_pairs_needed(differences))
    error = differences.std(ddof=1)
    widths = [stats.t.ppf(0.975, n - 1) * error / math.sqrt(n) for n in (needed - 1, needed)]
    assert widths[1] < differences.mean() <= widths[0]
    assert math.isnan(estimate_pairs_needed(np.array([0.01, -0.01])))
    assert math.isnan(estimate_pairs_needed(np.array([0.01])))


def test_equal_differences_have_an_interval_without_width() -> None:
    assert compute_t_interval(np.array([0.25, 0.25, 0.25])) == (0.25, 0.25)


def test_the_sign_flip_test_is_exact() -> None:
    # By hand: of the 8 patterns of signs, +++ and --- are as extreme as the three positive differences.
    assert compute_sign_flip_p_value(np.array([0.01, 0.02, 0.03])) == pytest.approx(2 / 8)
    # Means over 3 of +-1 +-2 +-4: |5| or more in +++ (7), -++ (5) and their mirror images.
    assert compute_sign_flip_p_value(np.array([-1.0, 2.0, 4.0])) == pytest.approx(4 / 8)
    assert compute_sign_flip_p_value(np.zeros(4)) == pytest.approx(1.0)


@settings(max_examples=25)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6))
def test_the_interval_holds_the_mean_and_p_is_at_least_its_floor(differences: list[float]) -> None:
    array = np.array(differences)
    low, high = compute_t_interval(array)
    assert low <= array.mean() + 1e-12
    assert high >= array.mean() - 1e-12
    assert 2 / 2 ** len(array) - 1e-12 <= compute_sign_flip_p_value(array) <= 1.0 + 1e-12
