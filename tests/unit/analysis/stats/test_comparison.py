"""Comparisons of arms: pairs in the order of the seeds, looks, one tested metric, what pairing gains."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from analysis.stats.comparison import ComparisonDesign, collect_comparisons, compare_arms, get_comparison
from analysis.stats.pairing import measure_pairing_gain
from fcos.statistics.holm import make_arm_tests, make_sample
from fcos.statistics.power import pairs_needed

AP, AP50 = "val/AP", "val/AP50"
BASE = [0.40, 0.42, 0.38, 0.41, 0.43, 0.39, 0.40, 0.42]
GAINS = [0.03, 0.02, 0.04, 0.03, 0.05, 0.02, 0.03, -0.01]


def make_values(metric: str = AP, **arms: Sequence[float | None]) -> pd.DataFrame:
    rows = [
        {"metric": metric, "arm": arm, "seed": seed, "value": math.nan if value is None else value}
        for arm, results in arms.items()
        for seed, value in enumerate(results)
    ]
    return pd.DataFrame(rows)


def make_design(seeds: Sequence[int] = range(8), looks: Sequence[int] = ()) -> ComparisonDesign:
    return ComparisonDesign("base", AP, tuple(seeds), tuple(looks), margin=0.01)


def test_pairs_are_taken_in_the_order_of_the_seeds_and_without_those_that_one_arm_lacks() -> None:
    arm = [value + gain for value, gain in zip(BASE, GAINS, strict=True)]
    values = make_values(base=[*BASE[:3], None, *BASE[4:]], arm=[None, *arm[1:]])
    order = (7, 1, 5, 0, 3, 2, 4, 6)
    comparison = compare_arms(values, make_design(order, looks=[2, 4, 7]))[0]
    by_seed = [None if seed in (0, 3) else arm[seed] - BASE[seed] for seed in order]
    assert comparison.test == make_arm_tests([make_sample(by_seed, [2, 4, 7])])[0]
    assert (comparison.num_pairs, comparison.num_higher) == (6, 5)
    assert comparison.difference == pytest.approx(np.mean([gain for gain in by_seed if gain is not None]))
    assert (comparison.smallest, comparison.largest) == pytest.approx((-0.01, 0.05))


def test_the_first_metric_is_tested_in_all_arms_and_the_others_are_described_each_by_itself() -> None:
    arm = [value + abs(gain) for value, gain in zip(BASE, GAINS, strict=True)]
    values = pd.concat([make_values(metric, base=BASE, arm=arm, other=BASE[::-1]) for metric in (AP, AP50)])
    comparisons = compare_arms(values, make_design(looks=[6]))
    tested, described = (get_comparison(comparisons, metric, "arm") for metric in (AP, AP50))
    assert (tested.is_tested, described.is_tested) == (True, False)
    assert (tested.test.level, described.test.level) == (0.025, 0.05)
    frame = collect_comparisons(comparisons).set_index(["metric", "arm"])
    assert frame.loc[(AP, "arm"), "adjusted_p"] == tested.test.adjusted_p
    assert math.isnan(frame.loc[(AP50, "arm"), "p"]) and math.isnan(frame.loc[(AP50, "arm"), "adjusted_p"])
    assert math.isfinite(frame.loc[(AP50, "arm"), "low"])


def test_without_a_design_nothing_is_compared_and_without_pairs_there_are_no_numbers() -> None:
    assert compare_arms(make_values(a=[0.1], b=[0.2]), None) == []
    absent = compare_arms(make_values(base=[0.1, None], arm=[None, 0.2]), make_design(range(2)))[0]
    assert (absent.num_pairs, absent.pairing, absent.test.is_rejected) == (0, None, False)
    assert math.isnan(absent.difference)
    assert collect_comparisons([absent])[["low", "high", "p"]].isna().all(axis=None)


def test_an_infinite_loss_makes_no_pair() -> None:
    comparison = compare_arms(make_values(AP, base=[0.1, 0.2], arm=[math.inf, 0.3]), make_design(range(2)))[0]
    assert comparison.num_pairs == 1 and comparison.difference == pytest.approx(0.1)


def test_pairing_gains_as_much_as_the_correlation() -> None:
    baseline = np.array([0.1, 0.2, 0.3, 0.4])
    arm = baseline + np.array([0.01, -0.01, 0.01, -0.01])
    gain = measure_pairing_gain(arm, baseline)
    assert gain is not None
    assert gain.correlation == pytest.approx(np.corrcoef(arm, baseline)[0, 1])
    expected = (arm.var(ddof=1) + baseline.var(ddof=1)) / (arm - baseline).var(ddof=1)
    assert gain.seeds_replaced == pytest.approx(expected) and expected > 50


def test_seeds_without_correlation_are_replaced_one_by_one() -> None:
    generator = np.random.default_rng(0)
    gain = measure_pairing_gain(generator.normal(size=5000), generator.normal(size=5000))
    assert gain is not None and gain.seeds_replaced == pytest.approx(1, abs=0.05)


def test_pairing_has_no_gain_to_show_below_three_seeds_or_without_spread() -> None:
    assert measure_pairing_gain(np.array([0.1, 0.2]), np.array([0.2, 0.1])) is None
    assert measure_pairing_gain(np.array([0.1, 0.2, 0.3]), np.full(3, 0.2)) is None
    constant = measure_pairing_gain(np.array([0.2, 0.3, 0.4]), np.array([0.1, 0.2, 0.3]))
    assert constant is not None and constant.seeds_replaced == math.inf


def test_the_margin_is_of_precision_and_recall_alone() -> None:
    metrics = (AP, "val/ARs", "val/class_AP/cat", "val/errors/missed", "val/score_iou/pearson", "train/loss")
    values = pd.concat([make_values(metric, base=[0.1, 0.2], arm=[0.2, 0.2]) for metric in metrics])
    margins = {item.metric: item.margin for item in compare_arms(values, make_design(range(2)))}
    assert margins == {metric: 0.01 if number < 3 else None for number, metric in enumerate(metrics)}


def test_the_pairs_needed_are_those_of_the_exact_test_at_the_level_of_the_arm() -> None:
    undecided = [value + gain for value, gain in zip(BASE[:4], [0.05, 0.02, 0.03, 0.01], strict=True)]
    values = make_values(base=BASE[:4], arm=undecided)
    alone = compare_arms(values, make_design(range(4)))[0]
    gains = np.subtract(undecided, BASE[:4])
    assert alone.pairs_needed == pairs_needed(gains.mean() / gains.std(ddof=1), 0.05)
    beside = compare_arms(make_values(base=BASE[:4], arm=undecided, other=BASE[:4][::-1]), make_design(range(4)))[0]
    assert beside.pairs_needed == pairs_needed(gains.mean() / gains.std(ddof=1), 0.025)
    assert alone.pairs_needed is not None and beside.pairs_needed is not None
    assert beside.pairs_needed > alone.pairs_needed


def test_where_nothing_differs_no_number_of_pairs_is_named() -> None:
    equal = compare_arms(make_values(base=[0.1, 0.2], arm=[0.1, 0.2]), make_design(range(2)))[0]
    assert equal.pairs_needed is None
    always = compare_arms(make_values(base=[0.25, 0.5], arm=[0.5, 0.75]), make_design(range(2)))[0]
    assert always.pairs_needed == 6


def test_a_comparison_has_the_seeds_of_its_pairs_in_the_order_of_the_design() -> None:
    values = make_values(base=[0.1, None, 0.3, 0.4], arm=[0.2, 0.3, None, 0.5])
    assert compare_arms(values, make_design((3, 2, 1, 0)))[0].seeds == (3, 0)
